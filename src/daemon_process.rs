//! The daemon as a process of its own, for commands that run one: this very binary, on free ports, with a configuration
//! written for it.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};

/// Where a daemon is to live, and what it takes there over the defaults.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Holds its data, its configuration and its log.
    pub(crate) directory: PathBuf,
    /// Where its notifications arrive; a short path.
    pub(crate) scratch: PathBuf,
    /// Keys of the configuration, by section.
    pub(crate) settings: Vec<(&'static str, &'static str, toml::Value)>,
    /// How long it may take to start.
    pub(crate) start: Duration,
}

/// The running daemon. Killed when dropped.
#[derive(Debug)]
pub(crate) struct DaemonProcess {
    child: Child,
    notifications: UnixDatagram,
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

impl DaemonProcess {
    /// Starts it and waits, by the service manager's protocol, until it serves.
    pub(crate) async fn start(place: &Place) -> anyhow::Result<Self> {
        let mut daemon = Self::launch(place)?;
        daemon.until_ready(place.start).await?;
        Ok(daemon)
    }

    /// Starts it and does not wait. What is there of an earlier start is gone on with.
    pub(crate) fn launch(place: &Place) -> anyhow::Result<Self> {
        let directory = &place.directory;
        let (data, config, log) = (directory.join("data"), directory.join("perseat.toml"), directory.join("daemon.log"));
        std::fs::write(&config, configuration(&data, &place.settings)?)?;
        let notify = place.scratch.join("notify.sock");
        if notify.exists() {
            std::fs::remove_file(&notify)?;
        }
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
        let output = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().context("the daemon did not start")?;
        Ok(Self {
            child,
            notifications,
            data,
            log,
            config,
        })
    }

    /// Waits until it serves.
    pub(crate) async fn until_ready(&mut self, within: Duration) -> anyhow::Result<()> {
        let ended = tokio::select! {
            ready = tokio::time::timeout(within, ready(&self.notifications)) => {
                ready.with_context(|| format!("the daemon was not ready after {within:?}: {}", self.last_words()))??;
                return Ok(());
            }
            ended = self.child.wait() => ended?,
        };
        anyhow::bail!("the daemon ended with {ended}: {}", self.last_words())
    }

    /// Kills it with SIGKILL, and waits for its end. Gives how it ended, with its last words, if it did so before.
    pub(crate) async fn kill(mut self) -> anyhow::Result<Option<String>> {
        if self.child.try_wait()?.is_none() {
            self.child.start_kill()?;
            if self.child.wait().await?.signal() == Some(Signal::KILL.as_raw()) {
                return Ok(None);
            }
        }
        Ok(Some(self.ended().await))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.data.join("perseat.sock")
    }

    /// Waits until it ends by itself; its last words.
    pub(crate) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => format!("{status}: {}", self.last_words()),
            Err(error) => error.to_string(),
        }
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn stop(mut self, within: Duration) -> anyhow::Result<()> {
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

fn configuration(data: &Path, settings: &[(&str, &str, toml::Value)]) -> anyhow::Result<String> {
    let mut file = toml::Table::new();
    let mut set = |section: &str, key: &str, value: toml::Value| {
        let section = file.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let Some(section) = section.as_table_mut() {
            section.insert(key.to_owned(), value);
        }
    };
    set("data", "dir", data.display().to_string().into());
    for listener in ["hooks", "api", "admin"] {
        set(listener, "listen", "127.0.0.1:0".into());
    }
    // It must run on kernels that cannot confine code steps, too; the daemon's log says where that is so.
    set("code", "sandbox", "best-effort".into());
    for (section, key, value) in settings {
        set(section, key, value.clone());
    }
    Ok(toml::to_string(&file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(script: &str, directory: &Path) -> DaemonProcess {
        DaemonProcess {
            child: Command::new("sh").arg("-c").arg(script).stdin(Stdio::piped()).spawn().unwrap(),
            notifications: UnixDatagram::unbound().unwrap(),
            data: directory.to_owned(),
            log: directory.join("daemon.log"),
            config: directory.join("perseat.toml"),
        }
    }

    #[tokio::test]
    async fn an_end_before_the_kill_is_told_with_the_last_words() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("daemon.log"), "a thread is silent\n").unwrap();
        // It reads until its input is closed.
        let killed = running("read line", directory.path());
        assert_eq!(killed.kill().await.unwrap(), None);
        for (script, end) in [
            ("exit 3", "exit status: 3"),
            ("kill -ABRT $$", "signal: 6"),
            ("kill -KILL $$", "signal: 9"),
        ] {
            let mut gone = running(script, directory.path());
            gone.child.wait().await.unwrap();
            let told = gone.kill().await.unwrap().unwrap();
            assert!(told.contains(end) && told.contains("a thread is silent"), "{script}: {told}");
        }
    }
}
