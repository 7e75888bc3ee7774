//! From a checked configuration to a running daemon, and from a running daemon to a clean stop.
//!
//! The order of start is the order in which things can refuse: configuration, logs, the data directory, the master key, the
//! addresses; then what needs them. The admin listener answers from then on, with `boot` as the reason for not being ready.

pub mod administration;
mod allocator;
mod api;
mod backup;
pub(crate) mod customer_keys;
pub mod data;
mod doors;
#[cfg(feature = "faults")]
mod faults;
mod governor;
mod housekeeping;
pub mod http;
pub mod listeners;
pub mod local;
pub mod master_key;
pub(crate) mod people;
pub(crate) mod plane;
mod reading;
pub mod reload;
pub(crate) mod rotation;
pub mod secret_file;
pub mod signals;
pub mod stores;
pub mod systemd;
pub mod tls;
pub(crate) mod tokens;
pub(crate) mod transfer;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use listenfd::ListenFd;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use self::administration::Administration;
use self::backup::Backups;
use self::customer_keys::CustomerKeys;
use self::data::{DataDirectory, DataError};
use self::housekeeping::Housekeeping;
use self::http::Limits;
use self::listeners::Listeners;
use self::local::LocalSocket;
use self::master_key::MasterKey;
use self::plane::{Plane, PlaneReadiness};
use self::reading::Reading;
use self::reload::Given;
use self::rotation::Rotations;
use self::signals::{Signal, Signals};
use self::stores::Stores;
use self::systemd::{Starting, Watchdog};
use self::tls::Certificate;
use self::transfer::Transfers;
use crate::config::Config;
use crate::config::settings::Drain;
use crate::control::Mail;
use crate::mail::{Outbox, Post};
use crate::notices::Notices;
use crate::oauth::GivingBack;
use crate::telemetry::admin::Admin;
use crate::telemetry::health::Reason;
use crate::telemetry::logs::{Ending, Logs};
use crate::telemetry::metrics;
use perseat_store::catalog::Lookup as _;
use perseat_store::keyring;

/// What the daemon has before it has any data open.
struct Base {
    logs: Logs,
    data: DataDirectory,
    master_key: MasterKey,
    listeners: Listeners,
    certificate: Option<Certificate>,
    /// What the front shakes hands with; none without TLS.
    tls: Arc<ArcSwapOption<rustls::ServerConfig>>,
}

impl Base {
    fn lay(config: &Config, logs: Logs) -> anyhow::Result<Self> {
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        let mut data = take_directory(config)?;
        data.serves().context("the lock of the data directory")?;
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
        let tls = Arc::new(ArcSwapOption::new(certificate.as_ref().map(Certificate::config)));
        Ok(Self {
            tls,
            logs,
            data,
            master_key,
            listeners,
            certificate,
        })
    }
}

/// For how long a start waits for its data directory, and how often it looks. No keys: past it the start fails, and the service manager
/// makes another.
const DIRECTORY_WAIT: Duration = Duration::from_mins(15);
const DIRECTORY_LOOK: Duration = Duration::from_secs(1);

/// Takes the data directory. A command that works on it without a daemon, such as a backup, is waited for; another daemon, which answers on
/// its socket, is not.
fn take_directory(config: &Config) -> Result<DataDirectory, DataError> {
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        match DataDirectory::take(&config.data.dir) {
            Err(error @ DataError::Held { .. }) if begun.elapsed() < DIRECTORY_WAIT && !local::is_answered(&config.socket()) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%error, "the start waits for the data directory");
                    Starting::waits(DIRECTORY_WAIT);
                }
            }
            taken => return taken,
        }
        std::thread::sleep(DIRECTORY_LOOK);
    }
}

/// Runs the daemon until a signal ends it. `resume_carried` is [`crate::indexer::Options::resume_carried`].
///
/// # Errors
/// Whatever keeps it from starting.
pub fn serve(given: &Given, config: Config, resume_carried: bool) -> anyhow::Result<()> {
    let logs = Logs::start(&config.log)?;
    let ending = logs.ending();
    perseat_journal::before_abort(move || ending.flush());
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
    let through = CancellationToken::new();
    let starting = control.spawn(until_through(signals, through.clone(), logs.ending()));
    let base = Base::lay(&config, logs)?;
    let metrics = metrics::install()?;

    let started = Arc::new(AtomicBool::new(false));
    let plane_readiness: Arc<OnceLock<PlaneReadiness>> = Arc::default();
    let readiness = readiness(started.clone(), plane_readiness.clone());
    control.spawn(metrics::upkeep(metrics.clone(), base.logs.dropped()));
    let admin = Arc::new(Admin::new(metrics, Arc::new(readiness)));
    let listener = base.listeners.admin.try_clone().context("the admin listener")?;
    let admin = spawn_admin(&control, listener, &config, admin, stop.clone())?;

    let randomness = std::thread::Builder::new().name("randomness".to_owned());
    let randomness = randomness.spawn(keyring::gather_randomness).context("no thread could be started")?;
    let master_key = keyring::MasterKey::new(&base.master_key.bytes);
    let stores = Stores::open(&config, base.data.path(), master_key, resume_carried)?;
    rotation::settle(&base.master_key, base.data.path(), stores.custody.catalog()).context("the master key")?;
    #[cfg(feature = "faults")]
    let faults = stores.faults.clone();
    let hooks = base.listeners.hooks.try_clone().context("the hooks listener")?;
    let plane = Plane::start(&config, stores, base.data.path(), hooks, base.tls.clone())?;
    let _ = plane_readiness.set(plane.readiness());

    let socket = {
        let _inside = control.enter();
        LocalSocket::open(&config.socket(), config.local.accept_queue.get())?
    };
    let reading = Reading::of(&plane, &config);
    let router = reading.routes(Administration::of(&plane, config.definition_limits()).router());
    let mail_options = config.mail_options();
    let post = Post::open(&mail_options)?;
    let mail = post.as_ref().map(|_| Mail::new(&mail_options, config.sign_in_options().remembered));
    let desk = Arc::new(api::desk(&config, &plane, &base.listeners, reading.executions(), mail.clone())?);
    let notices = Notices::open(&config, desk.clone(), post.clone(), &control)?;
    let giving_back = GivingBack::new(desk.clone(), config.owed_options());
    let outbox = post
        .zip(mail)
        .map(|(post, mail)| Outbox::new(desk.clone(), post, mail_options, mail.wake));
    let router = people::routes(&desk, tokens::routes(&desk, router));
    let backups = Backups::of(&plane, &config, base.data.path().to_owned(), control.handle().clone(), stop.clone());
    let router = Transfers::of(&plane).routes(backups.routes(router));
    let router = Rotations::of(&plane, &base.master_key, base.data.path()).routes(router);
    let keys = CustomerKeys::of(&plane, &config);
    let router = keys.routes(router);
    if desk.catalog().organization().is_ok_and(|organization| organization.is_none()) {
        tracing::info!(
            "nobody can sign in yet: `perseat user create-owner --email you@example.com` makes the first owner; \
             `perseat token create --role owner` makes a bearer for a program"
        );
    }
    let api = api::serve(&config, &base, &plane, desk, &control, stop.clone())?;
    #[cfg(feature = "faults")]
    let router = faults::Switches::new(faults, &plane, base.data.path()).routes(router);
    let local = control.spawn(http::serve(socket, local_limits(&config), local::service(router), stop.clone()));
    let outbox = outbox.map(|outbox| control.spawn(outbox.run(stop.clone())));
    let notices = control.spawn(plane.pause.then(stop.clone(), notices.run(stop.clone())));
    let giving_back = control.spawn(plane.pause.then(stop.clone(), giving_back.run(stop.clone())));
    let publisher = plane.publisher.clone();
    let doubts = control.spawn(publisher.settle_doubts(plane.clock.clone(), config.execution.full_retry, stop.clone()));
    let keys = control.spawn(keys.run(stop.clone()));
    let housekeeping = control.spawn(Housekeeping::of(&plane, &config).run(stop.clone()));
    let watchdog = Watchdog::start(plane.is_alive());
    randomness
        .join()
        .map_err(|_| anyhow::anyhow!("no random bytes could be gathered"))?;
    #[cfg(feature = "faults")]
    perseat_journal::kill_point::reach("start-through");
    through.cancel();
    let (mut signals, is_due) = control.block_on(starting).context("signals could not be waited for")?;
    plane.open_door()?;
    started.store(true, Ordering::Relaxed);
    systemd::ready("serving");
    tracing::info!(data = %base.data.path().display(), "ready");

    let config = control.block_on(until_drain(given, config, &base, &plane, &mut signals, is_due));
    let Drain { deadline, thread_timeout } = config.drain;
    let begun = Instant::now();
    // Renewals, threads of the plane, what is left after it, and threads of this part.
    systemd::stopping(deadline + 4 * thread_timeout);
    started.store(false, Ordering::Relaxed);
    tracing::info!(?deadline, "draining");
    let now = CancellationToken::new();
    control.spawn(second(signals, now.clone()));
    plane.drain(&control, &config.drain, &now);
    stop.cancel();
    let left = deadline.saturating_sub(begun.elapsed()).max(thread_timeout);
    let rest = async {
        let _ = local.await;
        if let Some(api) = api {
            let _ = api.await;
        }
        let _ = housekeeping.await;
        let _ = keys.await;
        let _ = notices.await;
        let _ = giving_back.await;
        let _ = doubts.await;
        if let Some(outbox) = outbox {
            let _ = outbox.await;
        }
        let _ = admin.await;
    };
    let ended = control.block_on(now.run_until_cancelled(async { tokio::time::timeout(left, rest).await }));
    if ended.is_some_and(|ended| ended.is_err()) {
        tracing::warn!(
            "what still answered, or worked on the catalog, was cut off at the drain deadline; the next start begins such work anew"
        );
    }
    drop(watchdog);
    drop(base.master_key);
    // What cannot be interrupted ends with the process.
    control.shutdown_timeout(thread_timeout);
    tracing::info!("stopped");
    Ok(())
}

fn readiness(started: Arc<AtomicBool>, plane: Arc<OnceLock<PlaneReadiness>>) -> impl Fn() -> Vec<Reason> + Send + Sync + 'static {
    move || match plane.get() {
        Some(plane) if started.load(Ordering::Relaxed) => crate::telemetry::health::Readiness::reasons(plane),
        _ => vec![Reason {
            part: "boot",
            why: "starting or stopping".to_owned(),
        }],
    }
}

/// Whoever stops a start waits for no journal to be read: nothing was accepted by it, and the next one begins as after a crash. Tells
/// whether a reload is due.
async fn until_through(mut signals: Signals, through: CancellationToken, logs: Ending) -> (Signals, bool) {
    let mut is_due = false;
    loop {
        tokio::select! {
            biased;
            signal = signals.next() => match signal {
                Signal::Reload => {
                    tracing::info!("the daemon is starting; the configuration is read again once it has");
                    is_due = true;
                }
                Signal::Drain => {
                    systemd::stopping(Duration::ZERO);
                    tracing::info!("stopped before it was ready");
                    logs.flush();
                    std::process::exit(0);
                }
            },
            () = through.cancelled() => return (signals, is_due),
        }
    }
}

/// Answers reloads until the drain begins, the first one at once where it is due; the configuration that is then in force.
async fn until_drain(given: &Given, started: Config, base: &Base, plane: &Plane, signals: &mut Signals, mut is_due: bool) -> Config {
    let mut config = started.clone();
    while std::mem::take(&mut is_due) || signals.next().await == Signal::Reload {
        systemd::reloading();
        match given.reload(&started, &config) {
            Ok(now) => {
                apply(&now, base, plane);
                config = now;
            }
            Err(error) => tracing::error!("the configuration was read again and is wrong, so nothing changed: {error}"),
        }
        systemd::ready("serving");
    }
    config
}

/// Waits, while the daemon drains, for the signal that means: now.
async fn second(mut signals: Signals, now: CancellationToken) {
    while signals.next().await == Signal::Reload {
        tracing::warn!("the daemon is stopping; the configuration was not read again");
    }
    tracing::warn!("a second signal: stopping now; what has not ended resumes at the next start");
    now.cancel();
}

fn apply(config: &Config, base: &Base, plane: &Plane) {
    plane.trust(config.network.trusted_proxies.clone());
    if let Err(error) = base.logs.set_level(&config.log.level) {
        tracing::error!("{error}");
    }
    if let (Some(certificate), Some(cert), Some(key)) = (&base.certificate, &config.tls.cert, &config.tls.key) {
        match certificate.reload(cert, key) {
            Ok(()) => {
                base.tls.store(Some(certificate.config()));
                tracing::info!("certificate read again");
            }
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
        body_memory: 0,
        read_timeout: config.admin.header_timeout,
        drain: config.admin.header_timeout,
        accept_pause: config.admin.accept_pause,
    };
    Ok(control.spawn(http::serve(listener, limits, admin, stop)))
}

fn local_limits(config: &Config) -> Limits {
    Limits {
        connections: config.local.connections.as_usize(),
        max_body: config.local.max_body.as_usize(),
        // The operator's own: as much as all of them may send, who are one client and have three eighths of it.
        body_memory: config
            .local
            .max_body
            .as_usize()
            .saturating_mul(3 * config.local.connections.as_usize()),
        read_timeout: config.local.read_timeout,
        drain: config.drain.deadline,
        accept_pause: config.local.accept_pause,
    }
}
