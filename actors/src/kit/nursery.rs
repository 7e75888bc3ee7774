//! A parent's children: started on first use, restarted with back-off, quarantined, put away when idle, shut down.
//!
//! The parent actor owns a nursery, handles [`ChildExited`] by [`Nursery::on_exit`] and does what the [`Verdict`] says.
//! A nursery keeps no messages: a parent that cannot reach a child leaves the work in its own table, and a child that
//! is started again is given that work. [`Nursery::ensure`] remembers that a child was wanted meanwhile.
//!
//! ```text
//!          ensure             panic: back-off, or quarantine past the budget
//! absent ──────────► running ─────────────────────────────────────────────────► down
//!    ▲                │   ▲ ▲                                                    │
//!    │ stopped        │   │ └────────── ensure, once its time has passed ────────┘
//!    │       put_away │   │ keep: it has work
//!    └───── leaving ◄─┴───┘
//! ```

use super::clock::Clock;
use super::mailbox::Mailbox;
use super::obituary::{ChildExited, Exit, Obituary};
use actix::{Actor, Context, Handler};
use perseat_domain::id::{IdMap, give_back};
use perseat_domain::supervision::{Decision, Dice, Record, RestartPolicy};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// Limits of a nursery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NurseryOptions {
    /// When to restart and when to give up.
    pub restart: RestartPolicy,
    /// A child unused for so long may be put away.
    pub idle_after: Duration,
    /// Children at most; past it no new one starts.
    pub children_max: usize,
}

impl Default for NurseryOptions {
    fn default() -> Self {
        Self {
            restart: RestartPolicy::default(),
            idle_after: Duration::from_secs(300),
            children_max: 1_048_576,
        }
    }
}

/// Why a child cannot be had now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// It panicked and waits for its restart; the parent is reminded by its own timer.
    #[error("restarts after a failure")]
    Waiting,
    /// It is being put away; its exit will say [`Verdict::StartNow`].
    #[error("is being put away")]
    Leaving,
    /// It panicked too often.
    #[error("is quarantined after repeated failures")]
    Quarantined,
    /// The nursery shuts down.
    #[error("shuts down")]
    Closing,
    /// There are as many children as allowed.
    #[error("too many children")]
    Crowded,
}

/// What a child is born with. The parent passes it to the kit's start function.
#[derive(Debug)]
pub struct Birth<K> {
    /// The child's name among its siblings.
    pub key: K,
    /// Its incarnation, unique within the nursery.
    pub generation: u64,
}

impl<K: Send + 'static> Birth<K> {
    /// The child's obituary, addressed to `parent`.
    #[must_use]
    pub fn obituary<P>(self, parent: &Mailbox<P>) -> Obituary
    where
        P: Actor<Context = Context<P>> + Handler<ChildExited<K>>,
    {
        Obituary::to(parent, self.key, self.generation)
    }
}

/// What a parent does about an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The notice is about an older incarnation or an unknown child: nothing.
    Stale,
    /// The child is gone, and nobody asked for it meanwhile.
    Gone,
    /// It was asked for while it left: `ensure` it and give it its work.
    StartNow,
    /// It panicked: remind yourself after this time, then `ensure` it if it has work.
    RestartAfter(Duration),
    /// It panicked too often: answer its work, raise an alert. After this time it may be ensured again.
    Quarantine(Duration),
}

enum State<H> {
    Running { handle: H, used_at: Duration },
    Leaving { handle: H, wanted: bool },
    Down { until: Duration, why: Unavailable },
}

struct Child<H> {
    state: State<H>,
    generation: u64,
    record: Record,
}

/// A parent's children, by key, each reached by a handle.
pub struct Nursery<K, H> {
    options: NurseryOptions,
    clock: Arc<dyn Clock>,
    dice: Dice,
    children: IdMap<K, Child<H>>,
    next_generation: u64,
    closing: bool,
}

impl<K, H> fmt::Debug for Nursery<K, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nursery")
            .field("children", &self.children.len())
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}

impl<K: Clone + Eq + Hash, H> Nursery<K, H> {
    /// An empty nursery. `seed` feeds the jitter of its back-off.
    #[must_use]
    pub fn new(options: NurseryOptions, clock: Arc<dyn Clock>, seed: u64) -> Self {
        Self {
            options,
            clock,
            dice: Dice::new(seed),
            children: IdMap::default(),
            next_generation: 1,
            closing: false,
        }
    }

    /// The running child, started by `start` if there is none. Counts as a use.
    ///
    /// # Errors
    /// If the child cannot run now; a child that waits or leaves is remembered as wanted.
    pub fn ensure(&mut self, key: &K, start: impl FnOnce(Birth<K>) -> H) -> Result<&mut H, Unavailable> {
        let now = self.clock.uptime();
        if self.closing {
            return Err(Unavailable::Closing);
        }
        let is_crowded = self.children.len() >= self.options.children_max;
        match self.children.get_mut(key).map(|child| &mut child.state) {
            Some(State::Running { used_at, .. }) => *used_at = now,
            Some(State::Leaving { wanted, .. }) => {
                *wanted = true;
                return Err(Unavailable::Leaving);
            }
            Some(State::Down { until, why }) if now < *until => return Err(*why),
            None if is_crowded => return Err(Unavailable::Crowded),
            Some(State::Down { .. }) | None => self.start(key, now, start),
        }
        match self.children.get_mut(key).map(|child| &mut child.state) {
            Some(State::Running { handle, .. }) => Ok(handle),
            _ => Err(Unavailable::Waiting),
        }
    }

    fn start(&mut self, key: &K, now: Duration, start: impl FnOnce(Birth<K>) -> H) {
        let generation = self.next_generation;
        self.next_generation += 1;
        let handle = start(Birth {
            key: key.clone(),
            generation,
        });
        let record = self.children.remove(key).map(|child| child.record).unwrap_or_default();
        let state = State::Running { handle, used_at: now };
        self.children.insert(key.clone(), Child { state, generation, record });
    }

    /// The running child, if there is one. Does not count as a use.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&H> {
        match &self.children.get(key)?.state {
            State::Running { handle, .. } | State::Leaving { handle, .. } => Some(handle),
            State::Down { .. } => None,
        }
    }

    /// Notes an exit and says what to do.
    pub fn on_exit(&mut self, exited: &ChildExited<K>) -> Verdict {
        let now = self.clock.uptime();
        let Some(child) = self.children.get_mut(&exited.key) else {
            return Verdict::Stale;
        };
        if child.generation != exited.generation {
            return Verdict::Stale;
        }
        match exited.exit {
            Exit::Stopped => {
                let wanted = matches!(child.state, State::Leaving { wanted: true, .. });
                self.children.remove(&exited.key);
                give_back(&mut self.children);
                if wanted && !self.closing {
                    Verdict::StartNow
                } else {
                    Verdict::Gone
                }
            }
            Exit::Panicked if self.closing => {
                self.children.remove(&exited.key);
                Verdict::Gone
            }
            Exit::Panicked => {
                let (delay, why, verdict) = match child.record.on_panic(&self.options.restart, now, self.dice.roll()) {
                    Decision::RestartAfter(delay) => (delay, Unavailable::Waiting, Verdict::RestartAfter(delay)),
                    Decision::Quarantine(span) => (span, Unavailable::Quarantined, Verdict::Quarantine(span)),
                };
                child.state = State::Down { until: now + delay, why };
                verdict
            }
        }
    }

    /// Lifts a back-off or quarantine early and forgets the failures: an operator's act. Returns whether there was one.
    pub fn pardon(&mut self, key: &K) -> bool {
        let is_down = self
            .children
            .get(key)
            .is_some_and(|child| matches!(child.state, State::Down { .. }));
        if is_down {
            self.children.remove(key);
        }
        is_down
    }

    /// The running children that nobody used for the idle time, at most `limit`. Also forgets failures that are past
    /// counting. Call it now and then; the cost is that of one walk over the children.
    pub fn idle(&mut self, limit: usize) -> Vec<K> {
        self.idle_for(self.options.idle_after, limit)
    }

    /// The same, unused for so long.
    pub fn idle_for(&mut self, idle_after: Duration, limit: usize) -> Vec<K> {
        let now = self.clock.uptime();
        let restart = self.options.restart;
        self.children
            .retain(|_, child| !matches!(child.state, State::Down { until, .. } if now >= until + restart.within));
        let unused = |child: &Child<H>| matches!(child.state, State::Running { used_at, .. } if now >= used_at + idle_after);
        let idle = self.children.iter().filter(|(_, child)| unused(child));
        idle.take(limit).map(|(key, _)| key.clone()).collect()
    }

    /// Marks a running child as leaving and returns its handle, to tell it to stop. It is there until its exit; if it
    /// has work after all it must not stop, and the parent [keeps](Self::keep) it.
    pub fn put_away(&mut self, key: &K) -> Option<H>
    where
        H: Clone,
    {
        let child = self.children.get_mut(key)?;
        let State::Running { handle, .. } = &child.state else {
            return None;
        };
        let handle = handle.clone();
        child.state = State::Leaving {
            handle: handle.clone(),
            wanted: false,
        };
        Some(handle)
    }

    /// A leaving child has work after all. Returns its handle if it was wanted meanwhile: give it what was withheld.
    pub fn keep(&mut self, key: &K) -> Option<H>
    where
        H: Clone,
    {
        let now = self.clock.uptime();
        let child = self.children.get_mut(key)?;
        let State::Leaving { handle, wanted } = &child.state else {
            return None;
        };
        let (handle, wanted) = (handle.clone(), *wanted);
        child.state = State::Running {
            handle: handle.clone(),
            used_at: now,
        };
        wanted.then_some(handle)
    }

    /// Begins the shutdown: nothing starts any more, whoever is down is forgotten. Returns the handles of the children
    /// to tell to stop; the nursery [is empty](Self::is_empty) once their exits have come.
    pub fn close(&mut self) -> Vec<H>
    where
        H: Clone,
    {
        self.closing = true;
        self.children.retain(|_, child| !matches!(child.state, State::Down { .. }));
        let handles = self.children.values().filter_map(|child| match &child.state {
            State::Running { handle, .. } | State::Leaving { handle, .. } => Some(handle.clone()),
            State::Down { .. } => None,
        });
        handles.collect()
    }

    /// Children that run or leave, with their handles.
    pub fn alive(&self) -> impl Iterator<Item = (&K, &H)> {
        self.children.iter().filter_map(|(key, child)| match &child.state {
            State::Running { handle, .. } | State::Leaving { handle, .. } => Some((key, handle)),
            State::Down { .. } => None,
        })
    }

    /// Whether there is no child, not even one that is down.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// How many children there are, those that are down included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.children.len()
    }
}
