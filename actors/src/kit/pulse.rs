//! Notices that a thread is frozen: a plain OS thread asks every heart each second whether it still beats.
//!
//! Nothing on a frozen arbiter can say so itself. A heart silent for five seconds degrades readiness and is logged; at
//! fifteen the process logs what it knows and aborts, because a handler that never returns cannot be undone in the
//! process and recovery after a crash is the path that is tested most. Silence counts rounds, not the clock: a machine
//! that was suspended for a minute finds all hearts as they were.

use super::arbiters::Arbiter;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Thresholds of the pulse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PulseOptions {
    /// Time between rounds.
    pub interval: Duration,
    /// Silence after which the daemon is degraded.
    pub degraded_after: Duration,
    /// Silence after which the process ends.
    pub abort_after: Duration,
}

impl Default for PulseOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            degraded_after: Duration::from_secs(5),
            abort_after: Duration::from_secs(15),
        }
    }
}

/// What the last round found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Every heart answered within the last round.
    Well,
    /// One did not, but has not been silent for long.
    Late,
    /// One has been silent past the first threshold: not ready.
    Degraded,
}

/// What a round does besides noting.
pub struct PulseHooks {
    /// Called after every round.
    pub on_round: Box<dyn FnMut(Health) + Send>,
    /// Called on each watched arbiter's thread with every sign of life that it gives.
    pub on_beat: Arc<dyn Fn() + Send + Sync>,
    /// Called once, with what is known, when a heart was silent past the last threshold. Ends the process.
    pub on_frozen: Box<dyn FnOnce(&str) + Send>,
}

impl Default for PulseHooks {
    /// Nothing after a round and with a beat; aborts the process when a thread is frozen.
    fn default() -> Self {
        Self {
            on_round: Box::new(|_| {}),
            on_beat: Arc::new(|| {}),
            on_frozen: Box::new(|_| perseat_journal::abort()),
        }
    }
}

impl fmt::Debug for PulseHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PulseHooks")
    }
}

struct Heart {
    name: String,
    answered: Box<dyn FnMut() -> bool + Send>,
    silent: Duration,
}

struct Shared {
    options: PulseOptions,
    health: AtomicU8,
    /// When the last round was.
    beat: Mutex<Instant>,
    hearts: Mutex<Vec<Heart>>,
}

/// The pulse. Clones are the same one; its thread ends when the last is dropped.
#[derive(Clone)]
pub struct Pulse {
    shared: Arc<Shared>,
    on_beat: Arc<dyn Fn() + Send + Sync>,
    _alive: mpsc::Sender<()>,
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl Pulse {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(options: PulseOptions, mut hooks: PulseHooks) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            options,
            health: AtomicU8::new(Health::Well as u8),
            beat: Mutex::new(Instant::now()),
            hearts: Mutex::new(Vec::new()),
        });
        let (alive, dropped) = mpsc::channel::<()>();
        let rounds = Arc::clone(&shared);
        let on_beat = Arc::clone(&hooks.on_beat);
        std::thread::Builder::new().name("pulse".into()).spawn(move || {
            let mut last = Instant::now();
            while dropped.recv_timeout(options.interval) == Err(RecvTimeoutError::Timeout) {
                let frozen = rounds.round(last.elapsed());
                last = Instant::now();
                (hooks.on_round)(rounds.health());
                if let Some(report) = frozen {
                    tracing::error!(%report, "a thread is frozen: ending the process");
                    (hooks.on_frozen)(&report);
                    return;
                }
            }
        })?;
        Ok(Self {
            shared,
            on_beat,
            _alive: alive,
        })
    }

    /// Watches an arbiter: it must run a small closure between two rounds, until it is told to stop.
    pub fn watch_arbiter(&self, arbiter: &Arbiter) {
        let answered = Arc::new(AtomicBool::new(true));
        let (watched, on_beat) = (arbiter.clone(), Arc::clone(&self.on_beat));
        self.watch(arbiter.name(), move || {
            if watched.is_stopping() {
                // Whoever stops it bounds how long that takes.
                return true;
            }
            let has_answered = answered.swap(false, Ordering::AcqRel);
            if has_answered {
                // Asked again only after an answer: a frozen thread collects no backlog of questions.
                let (answer, beat) = (Arc::clone(&answered), Arc::clone(&on_beat));
                let _ = watched.execute(move || {
                    beat();
                    answer.store(true, Ordering::Release);
                });
            }
            has_answered
        });
    }

    /// Watches anything else. `answered` is called each round: it says whether there was a sign of life since the last
    /// call, and asks for the next one. It must not block.
    pub fn watch(&self, name: &str, answered: impl FnMut() -> bool + Send + 'static) {
        self.shared.hearts().push(Heart {
            name: name.to_owned(),
            answered: Box::new(answered),
            silent: Duration::ZERO,
        });
    }

    /// Watches nothing any more: what was watched has ended in order.
    pub fn rest(&self) {
        self.shared.hearts().clear();
    }

    /// What the last round found.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Whether nobody was silent for long in the last round, and that was not long ago: the system's watchdog may be fed. A journal that
    /// waits for a slow disk is late in most rounds, and answers.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let PulseOptions {
            interval, degraded_after, ..
        } = self.shared.options;
        self.health() < Health::Degraded && self.shared.beat().elapsed() <= 2 * interval + degraded_after
    }
}

impl Shared {
    fn hearts(&self) -> MutexGuard<'_, Vec<Heart>> {
        self.hearts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self) -> MutexGuard<'_, Instant> {
        self.beat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn health(&self) -> Health {
        match self.health.load(Ordering::Acquire) {
            0 => Health::Well,
            1 => Health::Late,
            _ => Health::Degraded,
        }
    }

    /// Asks every heart. Returns a report if one has been silent too long.
    fn round(&self, elapsed: Duration) -> Option<String> {
        let PulseOptions {
            interval,
            degraded_after,
            abort_after,
        } = self.options;
        // A suspended machine makes one long round; it counts as a late one, not as minutes of silence.
        let counted = elapsed.min(interval * 2);
        let mut hearts = self.hearts();
        for heart in hearts.iter_mut() {
            let before = heart.silent;
            heart.silent = if (heart.answered)() { Duration::ZERO } else { before + counted };
            if before < degraded_after && heart.silent >= degraded_after {
                tracing::error!(heart = heart.name, silent = ?heart.silent, "a thread does not answer: not ready");
            } else if before >= degraded_after && heart.silent.is_zero() {
                tracing::info!(heart = heart.name, silent = ?before, "a thread answers again");
            }
        }
        let longest = hearts.iter().map(|heart| heart.silent).max().unwrap_or_default();
        let health = match longest {
            Duration::ZERO => Health::Well,
            silent if silent < degraded_after => Health::Late,
            _ => Health::Degraded,
        };
        self.health.store(health as u8, Ordering::Release);
        *self.beat() = Instant::now();
        let describe = |heart: &Heart| format!("{} silent for {:?}", heart.name, heart.silent);
        (longest >= abort_after).then(|| hearts.iter().map(describe).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heart_that_is_late_in_most_rounds_feeds_the_watchdog_and_a_silent_one_does_not() {
        let second = Duration::from_secs(1);
        let options = PulseOptions::default();
        let mut rounds = 0;
        let is_late = move || {
            rounds += 1;
            rounds % 3 == 0 && rounds < 9
        };
        let heart = Heart {
            name: "writer".into(),
            answered: Box::new(is_late),
            silent: Duration::ZERO,
        };
        let (alive, _dropped) = mpsc::channel();
        let pulse = Pulse {
            shared: Arc::new(Shared {
                options,
                health: AtomicU8::new(Health::Well as u8),
                beat: Mutex::new(Instant::now()),
                hearts: Mutex::new(vec![heart]),
            }),
            on_beat: Arc::new(|| {}),
            _alive: alive,
        };
        let round = || {
            let _ = pulse.shared.round(second);
            // However often somebody looks.
            pulse.is_alive() && pulse.is_alive()
        };
        // It answers in the third and the sixth round, and then never again: silent for five seconds in the eleventh.
        let fed: Vec<bool> = (1..=13).map(|_| round()).collect();
        assert_eq!(fed, [[true; 10].as_slice(), &[false; 3]].concat());
    }
}
