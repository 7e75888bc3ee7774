//! What the running script and the child's loop share: calls going out, timers, log lines, the result.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A call of `fetch` that was not sent yet.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) call: u32,
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

/// The limits of a run's side effects.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    pub(super) log_lines: usize,
    pub(super) log_bytes: usize,
    pub(super) fetches: u32,
    pub(super) timers: usize,
}

/// The state of one run.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) run: u64,
    pub(super) bounds: Bounds,
    /// JSON of context, configuration, then each step's results.
    pub(super) segments: Vec<String>,
    pub(super) logs: Vec<(u8, u64, String)>,
    pub(super) log_bytes: usize,
    pub(super) outgoing: Vec<Outgoing>,
    pub(super) fetches: u32,
    /// Calls that are not answered.
    pub(super) waiting: BTreeSet<u32>,
    /// Whether the run waited for anything.
    pub(super) waited: bool,
    pub(super) timers: BTreeSet<(Instant, u32)>,
    pub(super) next_timer: u32,
    pub(super) result: Option<Result<String, String>>,
}

/// Shared between the loop and the functions a script can call.
#[derive(Clone, Debug, Default)]
pub(super) struct Bridge(Rc<RefCell<State>>);

impl Bridge {
    /// Begins a run with its own state.
    pub(super) fn begin(&self, run: u64, bounds: Bounds, segments: Vec<String>) {
        *self.0.borrow_mut() = State {
            run,
            bounds,
            segments,
            ..State::default()
        };
    }

    /// Ends the run: what a left-over callback says after this concerns nobody.
    pub(super) fn take(&self) -> State {
        self.0.take()
    }

    /// The state, if `run` is the one that runs.
    pub(super) fn with<T>(&self, run: u64, act: impl FnOnce(&mut State) -> T) -> Option<T> {
        let mut state = self.0.borrow_mut();
        (state.run == run && run != 0).then(|| act(&mut state))
    }

    /// The state of whatever runs.
    pub(super) fn now<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.borrow_mut())
    }
}

impl State {
    /// Adds a line; past the limit one last line says so.
    pub(super) fn log(&mut self, level: u8, text: String) {
        if self.logs.len() > self.bounds.log_lines {
            return;
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let fits = self.logs.len() < self.bounds.log_lines && self.log_bytes + text.len() <= self.bounds.log_bytes;
        if fits {
            self.log_bytes += text.len();
            self.logs.push((level.min(6), at, text));
        } else {
            self.logs
                .push((3, at, "further log lines of this step are left out: it logs too much".into()));
            self.bounds.log_lines = 0;
        }
    }

    /// Sets a timer; `None` past the limit.
    pub(super) fn timer(&mut self, delay: Duration) -> Option<u32> {
        if self.timers.len() >= self.bounds.timers {
            return None;
        }
        self.next_timer += 1;
        self.timers.insert((Instant::now() + delay, self.next_timer));
        Some(self.next_timer)
    }

    /// Takes the timer that is due first.
    pub(super) fn due(&mut self, now: Instant) -> Option<u32> {
        let (at, id) = *self.timers.first()?;
        (at <= now).then(|| {
            self.timers.pop_first();
            id
        })
    }
}
