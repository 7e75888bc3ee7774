//! All time that actors see: real in the daemon, moved by hand in tests.

use perseat_domain::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A wait on a [`Clock`].
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock: for records. It may jump.
    fn now(&self) -> Timestamp;

    /// Time since the clock was made: for spans. It never goes back.
    fn uptime(&self) -> Duration;

    /// Waits for `span`.
    fn sleep(&self, span: Duration) -> Sleep;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct RealClock {
    origin: Instant,
}

impl RealClock {
    /// A clock whose uptime starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        Timestamp::default().after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    fn uptime(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep(&self, span: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(span))
    }
}

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Clone, Default)]
pub struct VirtualClock {
    state: Arc<Mutex<VirtualState>>,
}

#[derive(Default)]
struct VirtualState {
    start: Timestamp,
    uptime: Duration,
    sleepers: BTreeMap<(Duration, u64), Option<Waker>>,
    next_sleeper: u64,
}

impl VirtualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        let clock = Self::default();
        clock.state().start = start;
        clock
    }

    /// Moves time forward and wakes whoever is due.
    pub fn advance(&self, span: Duration) {
        let due = {
            let mut state = self.state();
            state.uptime += span;
            let later_than = (state.uptime + Duration::from_nanos(1), 0);
            let later = state.sleepers.split_off(&later_than);
            std::mem::replace(&mut state.sleepers, later)
        };
        due.into_values().flatten().for_each(Waker::wake);
    }

    /// Sets the wall clock, as an operator or a time server does: time goes on from there, and no span is shorter or longer for it.
    pub fn set_wall(&self, now: Timestamp) {
        let mut state = self.state();
        let uptime = u64::try_from(state.uptime.as_millis()).unwrap_or(u64::MAX);
        state.start = Timestamp(now.0.saturating_sub(uptime));
    }

    /// How many wait, and for how long the first of them still has to: what a test waits for before it moves time.
    #[must_use]
    pub fn sleepers(&self) -> (usize, Option<Duration>) {
        let state = self.state();
        let first = state.sleepers.keys().next().map(|(due, _)| due.saturating_sub(state.uptime));
        (state.sleepers.len(), first)
    }

    fn state(&self) -> MutexGuard<'_, VirtualState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualClock({:?})", self.uptime())
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let state = self.state();
        state.start.after(state.uptime)
    }

    fn uptime(&self) -> Duration {
        self.state().uptime
    }

    fn sleep(&self, span: Duration) -> Sleep {
        let mut state = self.state();
        let key = (state.uptime + span, state.next_sleeper);
        state.next_sleeper += 1;
        state.sleepers.insert(key, None);
        Box::pin(VirtualSleep { clock: self.clone(), key })
    }
}

struct VirtualSleep {
    clock: VirtualClock,
    key: (Duration, u64),
}

impl Future for VirtualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.state();
        if self.key.0 <= state.uptime {
            return Poll::Ready(());
        }
        state.sleepers.insert(self.key, Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for VirtualSleep {
    fn drop(&mut self) {
        self.clock.state().sleepers.remove(&self.key);
    }
}
