//! What the daemon tells the service manager, and the watchdog it feeds only while it is healthy.
//!
//! Every call does nothing when no manager asked (`NOTIFY_SOCKET` is not set). A failure to notify is logged and never fatal:
//! the manager has its own time-outs.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be notified");
    }
}

/// Start-up, or a reload, is done.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

fn extended_by(more: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(more.as_micros()).unwrap_or(u32::MAX))
}

/// What is told while a start waits, or reads the journal, however long that takes.
#[derive(Debug, Default)]
pub struct Starting {
    told_at: Option<Instant>,
}

impl Starting {
    /// How often it is said. No key, as with the other: nothing is refused by it, and systemd's own time-out is the unit's.
    const EVERY: Duration = Duration::from_secs(30);
    /// By how much the start's time-out is put off each time, for what follows the reading.
    const MORE: Duration = Duration::from_mins(15);

    /// So many entries are read.
    pub fn goes_on(&mut self, entries: u64) {
        if self.told_at.is_some_and(|at| at.elapsed() < Self::EVERY) {
            return;
        }
        if self.told_at.replace(Instant::now()).is_some() {
            tracing::info!(entries, "the journal is being read");
        }
        notify(&[
            NotifyState::Status(&format!("reading the journal: {entries} entries")),
            extended_by(Self::MORE),
        ]);
    }

    /// The data directory is waited for, for so long at most.
    pub fn waits(most: Duration) {
        notify(&[
            NotifyState::Status("waiting for the data directory"),
            extended_by(most + Self::MORE),
        ]);
    }
}

/// The drain has begun; it may take `deadline`.
pub fn stopping(deadline: Duration) {
    notify(&[
        NotifyState::Stopping,
        NotifyState::Status("draining"),
        extended_by(deadline + Duration::from_secs(5)),
    ]);
}

/// A reload has begun; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "no monotonic clock for the service manager"),
    }
}

/// The thread that feeds the watchdog; it ends when this is dropped.
#[derive(Debug)]
pub struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Feeds the watchdog at a third of its interval for as long as `is_alive` says so; `None` when no manager asked for it.
    ///
    /// A thread of its own, because a frozen arbiter must not be able to freeze it and a busy one must not delay it.
    pub fn start(is_alive: impl Fn() -> bool + Send + 'static) -> Option<Self> {
        let interval = sd_notify::watchdog_enabled()?;
        let pause = interval / 3;
        let (stop, stopped) = channel();
        let feed = move || {
            let mut is_fed = true;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let was_fed = std::mem::replace(&mut is_fed, is_alive());
                if is_fed {
                    notify(&[NotifyState::Watchdog]);
                } else if was_fed {
                    tracing::error!(
                        ?interval,
                        "the service manager's watchdog is not fed: a thread is silent or the journal has stopped; it ends the process after \
                         its interval"
                    );
                }
            }
        };
        let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(feed);
        let thread = thread
            .inspect_err(|error| tracing::error!(%error, "the watchdog thread did not start"))
            .ok()?;
        Some(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
