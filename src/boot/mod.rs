//! From a checked configuration to a running daemon, and from a running daemon to a clean stop.
//!
//! The order of start is the order in which things can refuse: configuration, logs, the data directory, the master key, the
//! addresses; then what needs them. The admin listener answers from then on, with `boot` as the reason for not being ready.

pub mod data;
pub mod http;
pub mod listeners;
pub mod local;
pub mod master_key;
pub mod reload;
pub mod signals;
pub mod systemd;
pub mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use listenfd::ListenFd;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use self::data::DataDirectory;
use self::http::Limits;
use self::listeners::Listeners;
use self::local::{LocalSocket, Router};
use self::master_key::MasterKey;
use self::reload::Given;
use self::signals::{Signal, Signals};
use self::systemd::Watchdog;
use self::tls::Certificate;
use crate::config::Config;
use crate::telemetry::admin::Admin;
use crate::telemetry::health::Reason;
use crate::telemetry::logs::Logs;
use crate::telemetry::metrics;

/// What the daemon has before it has any data open.
struct Base {
    logs: Logs,
    data: DataDirectory,
    master_key: MasterKey,
    listeners: Listeners,
    certificate: Option<Certificate>,
}

impl Base {
    fn lay(config: &Config) -> anyhow::Result<Self> {
        let logs = Logs::start(&config.log)?;
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        let data = DataDirectory::take(&config.data.dir)?;
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let master_key = master_key::find(config.keys.master_key.as_deref(), credentials, data.path())?;
        if master_key.created {
            let path = master_key.path.display();
            tracing::warn!(
                "a master key was made at {path}: copy it to a safe place apart from the data; without it nothing sealed can be read"
            );
        }
        let certificate = match (&config.tls.cert, &config.tls.key) {
            (Some(cert), Some(key)) => Some(Certificate::load(cert, key)?),
            _ => None,
        };
        let listeners = Listeners::open(config, ListenFd::from_env())?;
        for (name, address) in listeners.addresses() {
            tracing::info!(listener = name, %address, "listening");
        }
        Ok(Self {
            logs,
            data,
            master_key,
            listeners,
            certificate,
        })
    }
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// Whatever keeps it from starting.
pub fn serve(given: &Given, config: Config) -> anyhow::Result<()> {
    let base = Base::lay(&config)?;
    let metrics = metrics::install()?;
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build();
    let control = control.context("the control threads did not start")?;
    let stop = CancellationToken::new();
    let signals = {
        let _inside = control.enter();
        Signals::take().context("signals could not be taken over")?
    };

    let started = Arc::new(AtomicBool::new(false));
    let readiness = {
        let started = Arc::clone(&started);
        move || {
            let booting = Reason {
                part: "boot",
                why: "starting or stopping".to_owned(),
            };
            if started.load(Ordering::Relaxed) {
                Vec::new()
            } else {
                vec![booting]
            }
        }
    };
    control.spawn(metrics::upkeep(metrics.clone(), base.logs.dropped()));
    let admin = Arc::new(Admin::new(metrics, Arc::new(readiness)));
    let listener = base.listeners.admin.try_clone().context("the admin listener")?;
    let admin = spawn_admin(&control, listener, &config, admin, stop.clone())?;

    let socket = {
        let _inside = control.enter();
        LocalSocket::open(&config.socket())?
    };
    let local = control.spawn(http::serve(
        socket,
        local_limits(&config),
        local::service(Router::default()),
        stop.clone(),
    ));
    let watchdog = Watchdog::start(|| true);
    started.store(true, Ordering::Relaxed);
    systemd::ready("serving");
    tracing::info!(data = %base.data.path().display(), "ready");

    let config = control.block_on(until_drain(given, config, &base, signals));
    systemd::stopping(config.drain.deadline);
    started.store(false, Ordering::Relaxed);
    tracing::info!(deadline = ?config.drain.deadline, "draining");
    stop.cancel();
    control.block_on(async {
        let _ = local.await;
        let _ = admin.await;
    });
    drop(watchdog);
    drop(base.master_key);
    tracing::info!("stopped");
    Ok(())
}

/// Answers reloads until the drain begins; the configuration that is then in force.
async fn until_drain(given: &Given, mut config: Config, base: &Base, mut signals: Signals) -> Config {
    while signals.next().await == Signal::Reload {
        systemd::reloading();
        match given.reload(&config) {
            Ok(now) => {
                apply(&now, base);
                config = now;
            }
            Err(error) => tracing::error!("the configuration was read again and is wrong, so nothing changed: {error}"),
        }
        systemd::ready("serving");
    }
    config
}

fn apply(config: &Config, base: &Base) {
    if let Err(error) = base.logs.set_level(&config.log.level) {
        tracing::error!("{error}");
    }
    if let (Some(certificate), Some(cert), Some(key)) = (&base.certificate, &config.tls.cert, &config.tls.key) {
        match certificate.reload(cert, key) {
            Ok(()) => tracing::info!("certificate read again"),
            Err(error) => tracing::error!("the old certificate stays: {error}"),
        }
    }
}

fn spawn_admin(
    control: &Runtime,
    listener: std::net::TcpListener,
    config: &Config,
    admin: Arc<Admin>,
    stop: CancellationToken,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let _inside = control.enter();
    let listener = tokio::net::TcpListener::from_std(listener).context("the admin listener")?;
    let limits = Limits {
        connections: config.admin.connections.as_usize(),
        max_body: 0,
        read_timeout: config.admin.header_timeout,
        drain: config.admin.header_timeout,
    };
    Ok(control.spawn(http::serve(listener, limits, admin, stop)))
}

fn local_limits(config: &Config) -> Limits {
    Limits {
        connections: config.local.connections.as_usize(),
        max_body: config.local.max_body.as_usize(),
        read_timeout: config.local.read_timeout,
        drain: config.drain.deadline,
    }
}
