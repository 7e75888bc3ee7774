//! The threads that actors live on: each a named OS thread with a current-thread runtime.
//!
//! Every thread runs an actix system of its own, so none depends on the thread that started it, and stopping one
//! stops nothing else. An instance and its users live where [`Arbiters::owner_of`] puts their partition.

use super::mailbox::Refused;
use actix_rt::{ArbiterHandle, System};
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How many threads of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArbiterOptions {
    /// Threads that own instances, users and executions.
    pub owners: usize,
    /// Threads that serve connections.
    pub fronts: usize,
}

impl ArbiterOptions {
    /// The layout for a machine: one owner up to four cores, then half of the cores, which leaves the journal writer and
    /// the JavaScript children theirs; two fronts up to eight cores, then a quarter. Serving a connection is most of an
    /// event's cost: a second front takes what the other threads leave of the second core.
    #[must_use]
    pub fn for_cores(cores: usize) -> Self {
        Self {
            owners: if cores <= 4 { 1 } else { cores / 2 },
            fronts: (cores / 4).max(cores.clamp(1, 2)),
        }
    }
}

/// A handle to one thread. Cheap to clone.
#[derive(Clone)]
pub struct Arbiter {
    name: Arc<str>,
    handle: ArbiterHandle,
    told_to_stop: Arc<AtomicBool>,
}

impl Arbiter {
    /// The thread's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on the thread, after what it was given before.
    ///
    /// # Errors
    /// [`Refused::Gone`] if the thread has stopped.
    pub fn execute(&self, work: impl FnOnce() + Send + 'static) -> Result<(), Refused> {
        if self.handle.spawn_fn(work) { Ok(()) } else { Err(Refused::Gone) }
    }

    /// Runs a future on the thread.
    ///
    /// # Errors
    /// [`Refused::Gone`] if the thread has stopped.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Result<(), Refused> {
        if self.handle.spawn(future) { Ok(()) } else { Err(Refused::Gone) }
    }

    /// Whether [`Arbiters::stop`] has begun to end the thread.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.told_to_stop.load(Ordering::Acquire)
    }

    /// Blocks the thread until the returned switch is dropped: what a handler that never returns does. Returns once it is blocked.
    ///
    /// # Errors
    /// [`Refused::Gone`] if the thread has stopped.
    #[cfg(feature = "faults")]
    pub fn freeze(&self) -> Result<Frozen, Refused> {
        let (thaw, frozen) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel::<()>();
        self.execute(move || {
            let _ = begin.send(());
            let _ = frozen.recv();
        })?;
        let _ = begun.recv();
        Ok(Frozen(thaw))
    }
}

/// Keeps an arbiter frozen; dropping it thaws the thread.
#[cfg(feature = "faults")]
#[derive(Debug)]
pub struct Frozen(#[expect(dead_code, reason = "held for its drop")] mpsc::Sender<()>);

impl fmt::Debug for Arbiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arbiter({})", self.name)
    }
}

#[derive(Debug)]
struct Thread {
    arbiter: Arbiter,
    system: System,
    /// Disconnects when the thread ends, also by a panic.
    ended: mpsc::Receiver<()>,
}

/// All threads of a daemon.
#[derive(Debug)]
pub struct Arbiters {
    owners: Vec<Thread>,
    fronts: Vec<Thread>,
}

impl Arbiters {
    /// Starts the threads; each count is at least one.
    ///
    /// # Errors
    /// If the system refuses a thread or a runtime.
    pub fn start(options: ArbiterOptions) -> io::Result<Self> {
        let named = |kind: &str, count: usize| -> io::Result<Vec<Thread>> {
            (0..count.max(1)).map(|n| start_thread(format!("{kind}-{n}"))).collect()
        };
        Ok(Self {
            owners: named("owner", options.owners)?,
            fronts: named("front", options.fronts)?,
        })
    }

    /// The owner thread of a partition; fixed while the daemon runs.
    #[must_use]
    pub fn owner_of(&self, partition: u8) -> &Arbiter {
        &self.owners[self.owner_index(partition)].arbiter
    }

    /// The place of that thread in [`Arbiters::owners`].
    #[must_use]
    pub fn owner_index(&self, partition: u8) -> usize {
        usize::from(partition) % self.owners.len()
    }

    /// The owner threads, in order.
    pub fn owners(&self) -> impl ExactSizeIterator<Item = &Arbiter> {
        self.owners.iter().map(|thread| &thread.arbiter)
    }

    /// The front threads, in order.
    pub fn fronts(&self) -> impl ExactSizeIterator<Item = &Arbiter> {
        self.fronts.iter().map(|thread| &thread.arbiter)
    }

    /// Stops all threads and waits for them, at most `within` in all; what still runs on them is dropped. Drain first.
    /// Returns the names of those that did not end.
    #[must_use]
    pub fn stop(self, within: Duration) -> Vec<Arc<str>> {
        let threads: Vec<Thread> = self.fronts.into_iter().chain(self.owners).collect();
        for thread in &threads {
            thread.arbiter.told_to_stop.store(true, Ordering::Release);
            thread.system.stop();
        }
        let deadline = Instant::now() + within;
        let ended = |thread: &Thread| {
            thread.ended.recv_timeout(deadline.saturating_duration_since(Instant::now())) != Err(RecvTimeoutError::Timeout)
        };
        threads
            .into_iter()
            .filter(|thread| !ended(thread))
            .map(|thread| thread.arbiter.name)
            .collect()
    }
}

fn start_thread(name: String) -> io::Result<Thread> {
    let (ready, started) = mpsc::sync_channel(1);
    let (alive, ended) = mpsc::channel();
    std::thread::Builder::new().name(name.clone()).spawn(move || {
        let _alive: mpsc::Sender<()> = alive;
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let runner = System::with_tokio_rt(|| runtime);
                let _ = ready.send(Ok(System::current()));
                if let Err(error) = runner.run() {
                    tracing::error!(%error, "arbiter ended with an error");
                }
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    })?;
    let system = started.recv().map_err(io::Error::other)??;
    let handle = system.arbiter().clone();
    Ok(Thread {
        arbiter: Arbiter {
            name: name.into(),
            handle,
            told_to_stop: Arc::default(),
        },
        system,
        ended,
    })
}
