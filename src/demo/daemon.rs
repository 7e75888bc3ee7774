//! The daemon as a process of its own: this very binary, on free ports, with a configuration written for it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};

/// The running daemon. Killed when dropped.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    data: PathBuf,
    log: PathBuf,
    config: PathBuf,
}

/// Variables of a service manager or of the caller that would configure the daemon.
const FOREIGN: [&str; 7] = [
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "CREDENTIALS_DIRECTORY",
    "NOTIFY_SOCKET",
];

impl Daemon {
    /// Starts it and waits, by the service manager's protocol, until it serves.
    ///
    /// `scratch` is where the notifications arrive; `outbound` is the one address that flows may call.
    pub(super) async fn start(directory: &Path, scratch: &Path, outbound: SocketAddr, within: Duration) -> anyhow::Result<Self> {
        let (data, config, log) = (directory.join("data"), directory.join("perseat.toml"), directory.join("daemon.log"));
        std::fs::write(&config, configuration(&data, outbound)?)?;
        let notify = scratch.join("notify.sock");
        let notifications = UnixDatagram::bind(&notify).context("the notification socket")?;
        let mut command = Command::new(std::env::current_exe()?);
        let given = std::env::vars_os()
            .map(|(name, _)| name)
            .filter(|name| name.to_string_lossy().starts_with("PERSEAT_"));
        for name in given.chain(FOREIGN.map(Into::into)) {
            command.env_remove(name);
        }
        command
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .env("NOTIFY_SOCKET", &notify)
            .kill_on_drop(true);
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().context("the daemon did not start")?;
        let mut daemon = Self { child, data, log, config };
        let ended = tokio::select! {
            ready = tokio::time::timeout(within, ready(&notifications)) => {
                ready.with_context(|| format!("the daemon was not ready after {within:?}: {}", daemon.last_words()))??;
                return Ok(daemon);
            }
            ended = daemon.child.wait() => ended?,
        };
        anyhow::bail!("the daemon ended with {ended}: {}", daemon.last_words())
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.data.join("perseat.sock")
    }

    /// Waits until it ends by itself; its last words.
    pub(super) async fn ended(&mut self) -> String {
        let status = self.child.wait().await;
        format!("{status:?}: {}", self.last_words())
    }

    /// Asks it to end, and waits for that.
    pub(super) async fn stop(mut self, within: Duration) -> anyhow::Result<()> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            // It may have had the terminal's Ctrl-C already and be gone.
            let _ = kill_process(id, Signal::TERM);
        }
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        let status: ExitStatus = ended.with_context(|| format!("the daemon did not stop within {within:?}"))??;
        anyhow::ensure!(status.success(), "the daemon ended with {status}: {}", self.last_words());
        Ok(())
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

const LAST_LINES: usize = 10;

async fn ready(notifications: &UnixDatagram) -> std::io::Result<()> {
    let mut message = [0; 4096];
    loop {
        let length = notifications.recv(&mut message).await?;
        if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            return Ok(());
        }
    }
}

fn configuration(data: &Path, outbound: SocketAddr) -> anyhow::Result<String> {
    use toml::{Table, Value};
    let section = |key: &str, value: Value| Value::Table([(key.to_owned(), value)].into_iter().collect());
    let text = |text: &str| Value::String(text.to_owned());
    let mut file = Table::new();
    file.insert("data".into(), section("dir", text(&data.display().to_string())));
    for listener in ["hooks", "api", "admin"] {
        file.insert(listener.into(), section("listen", text("127.0.0.1:0")));
    }
    file.insert("outbound".into(), section("allow", Value::Array(vec![text(&outbound.to_string())])));
    // A demo must run on kernels that cannot confine code steps, too; the daemon's log says where that is so.
    file.insert("code".into(), section("sandbox", text("best-effort")));
    Ok(toml::to_string(&file)?)
}
