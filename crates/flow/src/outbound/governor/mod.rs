//! Holds calls back as providers ask and operators want, in turns: the clock, the waiting and the keeping around the pure
//! [`Rates`].
//!
//! One governor serves all arbiters, because a provider counts what the whole daemon sends. What a pause was learnt from is
//! handed on only when the pause is durable: whoever knows that a provider refused will wait for it after a crash, too.

mod caller;
mod said;
mod waiting;

pub(crate) use caller::connection_of;
pub use caller::{Caller, TokenCaller};
pub(crate) use said::retry_after;
pub(crate) use waiting::Held;

use ::http::{HeaderMap, StatusCode};
use caller::host_scope;
use perseat_domain::rate::{Call, Learnt, Level, Limits, Rate, Rates, ScopeId};
use perseat_domain::time::Timestamp;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

/// What an operator sets.
#[derive(Clone, Debug, Default)]
pub struct GovernorOptions {
    /// Spans and bounds; its rates of single hosts come from `hosts`.
    pub limits: Limits,
    /// Rates by host, with the port where it is not the scheme's own.
    pub hosts: Vec<(String, Rate)>,
    /// How long a script's later requests may wait while it holds its process.
    pub script_wait: Duration,
    /// How long a request for a token may wait.
    pub token_wait: Duration,
}

/// Where pauses are kept.
pub trait Keeper: Send + fmt::Debug {
    /// Replaces what was kept, durably.
    ///
    /// # Errors
    /// If the disk fails.
    fn keep(&mut self, paused: &[(ScopeId, Timestamp)]) -> io::Result<()>;
}

/// A pause that is shorter is not kept. No key: a restart takes about as long.
const SHORT: Duration = Duration::from_secs(1);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Governor {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    state: Mutex<State>,
    /// The driver has something to look at.
    wake: Notify,
    /// Hosts that have a name in metrics.
    names: HashMap<ScopeId, Arc<str>>,
    script_wait: Duration,
    token_wait: Duration,
    keeping: Option<Keeping>,
}

struct Keeping {
    news: SyncSender<()>,
    /// What was learnt up to here is durable.
    durable: watch::Sender<u64>,
}

struct State {
    rates: Rates,
    waiters: HashMap<u64, oneshot::Sender<Result<(), Timestamp>>>,
    is_driven: bool,
    /// Counts pauses.
    learnt: u64,
}

impl fmt::Debug for Governor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Governor")
    }
}

/// The right to make one call.
#[derive(Debug)]
pub struct Pass {
    call: Call,
    began: Timestamp,
}

impl Pass {
    /// Whether it is for such a call.
    pub(crate) fn is_for(&self, call: &Call) -> bool {
        self.call == *call
    }
}

/// The time by the wall clock, for what others say in times and for what a restart has to understand.
pub(crate) fn wall() -> Timestamp {
    Timestamp::default().after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The time by which calls wait: that of the wall clock when this was first asked, and what has passed since. Setting the wall
/// clock neither ends a wait nor makes it longer.
fn now() -> Timestamp {
    static BEGAN: LazyLock<(Timestamp, Instant)> = LazyLock::new(|| (wall(), Instant::now()));
    BEGAN.0.after(BEGAN.1.elapsed())
}

/// Pauses that end by one clock, by another.
fn by(paused: &[(ScopeId, Timestamp)], from: Timestamp, to: Timestamp) -> Vec<(ScopeId, Timestamp)> {
    paused.iter().map(|(scope, until)| (*scope, to.after(until.since(from)))).collect()
}

impl Governor {
    /// Begins with the pauses that were kept.
    ///
    /// # Errors
    /// If no thread can be started for the keeper.
    pub fn new(options: GovernorOptions, kept: &[(ScopeId, Timestamp)], keeper: Option<Box<dyn Keeper>>) -> io::Result<Self> {
        let GovernorOptions {
            mut limits,
            hosts,
            script_wait,
            token_wait,
        } = options;
        let rate = |(host, rate): &(String, Rate)| (host_scope(host), *rate);
        limits.rates = hosts.iter().map(rate).collect();
        let names = hosts.iter().map(|(host, _)| (host_scope(host), Arc::from(host.as_str()))).collect();
        let mut rates = Rates::new(limits);
        rates.resume(&by(kept, wall(), now()), now());
        let (news, heard) = sync_channel(1);
        let keeping = keeper.is_some().then(|| Keeping {
            news,
            durable: watch::Sender::new(0),
        });
        let inner = Arc::new(Inner {
            state: Mutex::new(State {
                rates,
                waiters: HashMap::new(),
                is_driven: false,
                learnt: 0,
            }),
            wake: Notify::new(),
            names,
            script_wait,
            token_wait,
            keeping,
        });
        if let Some(keeper) = keeper {
            let inner = Arc::downgrade(&inner);
            std::thread::Builder::new()
                .name("limits".into())
                .spawn(move || keep(keeper, &inner, &heard))?;
        }
        Ok(Self { inner })
    }

    /// The right to make a call, once it may be made.
    ///
    /// # Errors
    /// If that would take longer than until `until`, or than the limits allow.
    pub(crate) async fn pass(&self, call: Call, until: Instant) -> Result<Pass, Held> {
        waiting::pass(&self.inner, call, until).await
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// If it would have to wait.
    pub(crate) fn pass_now(&self, call: Call) -> Result<Pass, Held> {
        waiting::pass_now(&self.inner, call)
    }

    /// How long a script's later requests may wait.
    pub(crate) fn script_wait(&self) -> Duration {
        self.inner.script_wait
    }

    /// How long a request for a token may wait.
    pub(crate) fn token_wait(&self) -> Duration {
        self.inner.token_wait
    }

    /// Hears what the answer to a call says about limits; ready when what has to outlive a crash does.
    pub(crate) async fn heard(&self, pass: Pass, host: &str, (status, headers): (StatusCode, &HeaderMap)) {
        let now = now();
        let Some(said) = said::said(status, headers, wall()) else {
            return;
        };
        let (learnt, number) = {
            let mut state = self.inner.state();
            let Some(learnt) = state.rates.answered(&pass.call, pass.began, said, now) else {
                return;
            };
            state.learnt += 1;
            (learnt, state.learnt)
        };
        self.inner.tell(&pass.call, host, learnt, now);
        let Some(keeping) = self.inner.keeping.as_ref().filter(|_| learnt.until.since(now) >= SHORT) else {
            return;
        };
        // Where one waits to be heard already, it stands for this one, too.
        let _ = keeping.news.try_send(());
        // The sender lives as long as this borrow, so the wait ends only well.
        let _ = keeping.durable.subscribe().wait_for(|durable| *durable >= number).await;
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if something did, waiting calls must go on all the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host as metrics know it.
    fn label(&self, call: &Call) -> Arc<str> {
        self.names.get(&call.host).cloned().unwrap_or_else(|| Arc::from("other"))
    }

    fn tell(&self, call: &Call, host: &str, learnt: Learnt, now: Timestamp) {
        let level = learnt.level.as_str();
        metrics::counter!("perseat_outbound_refusals_total", "host" => self.label(call), "scope" => level).increment(1);
        if !learnt.is_news {
            return;
        }
        let seconds = learnt.until.since(now).as_secs_f64();
        if learnt.level == Level::Account {
            tracing::info!(host, scope = level, seconds, "a provider takes no more calls for now; they wait");
        } else {
            tracing::warn!(host, scope = level, seconds, "a provider takes no more calls for now; they wait");
        }
    }
}

/// Writes pauses down until the governor is gone.
fn keep(mut keeper: Box<dyn Keeper>, inner: &Weak<Inner>, news: &Receiver<()>) {
    let mut is_failing = false;
    while news.recv().is_ok() {
        let Some(inner) = inner.upgrade() else { return };
        let (learnt, paused) = {
            let state = inner.state();
            (state.learnt, state.rates.paused(now()))
        };
        let kept = keeper.keep(&by(&paused, now(), wall()));
        if let Err(error) = &kept
            && !is_failing
        {
            tracing::warn!(%error, "the pauses that providers asked for cannot be written down; a restart would forget them");
        }
        is_failing = kept.is_err();
        if let Some(keeping) = &inner.keeping {
            keeping.durable.send_replace(learnt);
        }
    }
}
