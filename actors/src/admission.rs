//! Counts what is accepted and not yet ended, and refuses what there is no room for.
//!
//! The front claims room before it appends; the claim stands until the owner sees the execution's end, or falls with
//! its guard when the append fails. Before readiness the counters are rebuilt from the live executions. Counters live
//! in a sharded table and vanish at zero: a configured user without events costs nothing.
//!
//! Called from front threads and owner threads alike; no lock is held across a wait.

use crate::kit::Clock;
use futures_util::future::{Either, select};
use perseat_domain::budget::{Claim, Limits, Scope, Source};
use perseat_domain::id::{CustomerId, FlowNumber, IdMap, InstanceId, UserId, give_back};
use perseat_domain::owner::Shares;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Limits of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionOptions {
    /// How much may be accepted and not ended.
    pub limits: Limits,
    /// How long a caller waits for room.
    pub wait: Duration,
    /// Callers that wait at once, at most; more are refused immediately. A quarter of them may wait for one user's room, half for
    /// one customer's or flow's.
    pub waiters_max: usize,
    /// What a refused caller is told to wait.
    pub retry_after: Duration,
}

impl Default for AdmissionOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            wait: Duration::from_millis(250),
            waiters_max: 1_024,
            retry_after: Duration::from_secs(2),
        }
    }
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many events of this {} wait for their turn", scope.as_str())]
pub struct Overload {
    /// Which counter is full.
    pub scope: Scope,
    /// When to try again.
    pub retry_after: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Customer(CustomerId),
    Flow(InstanceId, FlowNumber),
    User(UserId),
}

impl Key {
    /// The counters of a claim, in the order they are raised; the widest first.
    fn all(claim: &Claim) -> [Option<Self>; 3] {
        [
            claim.customer.map(Self::Customer),
            claim.flow.map(|(instance, flow)| Self::Flow(instance, flow)),
            claim.user.map(Self::User),
        ]
    }

    const fn scope(&self) -> Scope {
        match self {
            Self::Customer(_) => Scope::Customer,
            Self::Flow(..) => Scope::Flow,
            Self::User(_) => Scope::User,
        }
    }

    fn shard(&self) -> usize {
        let (id, salt) = match self {
            Self::Customer(id) => (id.0, 0),
            Self::Flow(id, flow) => (id.0, u64::from(flow.0)),
            Self::User(id) => (id.0, 0),
        };
        let bits = id.as_u128();
        let folded = (bits as u64 ^ (bits >> 64) as u64 ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (folded >> (64 - SHARDS.ilog2())) as usize
    }
}

const SHARDS: usize = 64;

type Waiters = VecDeque<oneshot::Sender<()>>;

/// The counter that stopped a claim.
#[derive(Clone, Copy)]
enum Full {
    Total(Scope),
    Key(Key),
}

impl Full {
    const fn scope(&self) -> Scope {
        match self {
            Self::Total(scope) => *scope,
            Self::Key(key) => key.scope(),
        }
    }
}

/// Where a claim from outside stands among those that wait for the same room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Behind them: it has only just come.
    Last,
    /// It has waited, and it is its turn.
    Now,
}

#[derive(Default)]
struct Counter {
    count: u64,
    bytes: u64,
    waiters: Waiters,
}

/// Up to where a counter may rise.
struct Mark {
    count: u64,
    bytes: Option<u64>,
}

impl Mark {
    /// Whether there is room for one event more that holds so many bytes; alone, even an oversized one fits.
    fn has_room(&self, counter: &Counter, bytes: u64) -> bool {
        let fits = |mark| counter.count == 0 || counter.bytes.saturating_add(bytes) <= mark;
        counter.count < self.count && self.bytes.is_none_or(fits)
    }
}

struct Shared {
    options: AdmissionOptions,
    clock: Arc<dyn Clock>,
    total: AtomicU64,
    bytes: AtomicU64,
    /// Those who wait for room in all, and how many: read on every release.
    total_waiters: Mutex<Waiters>,
    total_waiting: AtomicUsize,
    waiting: AtomicUsize,
    shards: [Mutex<IdMap<Key, Counter>>; SHARDS],
}

/// The counters. Clones are the same ones.
#[derive(Clone)]
pub struct Admission(Arc<Shared>);

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (total, bytes) = self.total();
        f.debug_struct("Admission")
            .field("total", &total)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

/// Room that was claimed. Dropping it gives the room back; [`keep`](Self::keep) it once the event is durable.
#[derive(Debug)]
#[must_use = "dropping it gives the room back"]
pub struct Admitted {
    held: Option<(Admission, Claim)>,
}

impl Admitted {
    /// The event is durable: its room is given back by [`Admission::ended`].
    pub fn keep(mut self) {
        self.held = None;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some((admission, claim)) = self.held.take() {
            admission.ended(&claim);
        }
    }
}

impl Admission {
    /// Counters at zero.
    #[must_use]
    pub fn new(options: AdmissionOptions, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared {
            options,
            clock,
            total: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            total_waiters: Mutex::default(),
            total_waiting: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            shards: std::array::from_fn(|_| Mutex::default()),
        }))
    }

    /// Claims room for an event from outside, if there is some and nobody waits for it.
    ///
    /// # Errors
    /// If there is none.
    pub fn try_admit(&self, claim: Claim) -> Result<Admitted, Overload> {
        match self.claim(&claim, Source::Outside, Turn::Last) {
            Ok(()) => Ok(self.admitted(claim)),
            Err(full) => Err(self.overload(full)),
        }
    }

    /// Claims room for an event from outside, waiting for it if there is none yet. Room goes to whoever waits longest.
    ///
    /// # Errors
    /// If there is still none after [`AdmissionOptions::wait`], or too many wait already.
    pub async fn admit(&self, claim: Claim) -> Result<Admitted, Overload> {
        match self.claim(&claim, Source::Outside, Turn::Last) {
            Ok(()) => Ok(self.admitted(claim)),
            // Boxed: who does not wait should not carry the room for it.
            Err(full) => Box::pin(self.wait(claim, full)).await,
        }
    }

    /// Claims room for an event that Perseat makes itself, without waiting.
    ///
    /// # Errors
    /// If a limit is reached.
    pub fn admit_own(&self, claim: Claim) -> Result<Admitted, Overload> {
        match self.claim(&claim, Source::Inside, Turn::Now) {
            Ok(()) => Ok(self.admitted(claim)),
            Err(full) => Err(self.overload(full)),
        }
    }

    /// Counts an event that is durable already, whatever the limits: at start.
    pub fn restore(&self, claim: &Claim) {
        self.0.total.fetch_add(1, Ordering::AcqRel);
        self.0.bytes.fetch_add(claim.bytes, Ordering::AcqRel);
        for key in Key::all(claim).into_iter().flatten() {
            let mut shard = self.shard(&key);
            let counter = shard.entry(key).or_default();
            counter.count += 1;
            counter.bytes += claim.bytes;
        }
    }

    /// A counted event has written so many bytes, whatever the limits.
    pub fn grew(&self, claim: &Claim) {
        self.0.bytes.fetch_add(claim.bytes, Ordering::AcqRel);
        for key in Key::all(claim).into_iter().flatten() {
            if let Some(counter) = self.shard(&key).get_mut(&key) {
                counter.bytes += claim.bytes;
            }
        }
    }

    /// The event ended: its room is free.
    pub fn ended(&self, claim: &Claim) {
        for key in Key::all(claim).into_iter().flatten().rev() {
            self.lower(key, claim.bytes);
        }
        self.lower_total(claim.bytes);
    }

    /// Events accepted and not ended, and their bytes.
    #[must_use]
    pub fn total(&self) -> (u64, u64) {
        (self.0.total.load(Ordering::Acquire), self.0.bytes.load(Ordering::Acquire))
    }

    /// Of the bytes that are held, what one user's and one customer's executions may hold that have begun.
    #[must_use]
    pub fn shares(&self) -> Shares {
        let limits = &self.0.options.limits;
        Shares {
            user: limits.user_bytes,
            customer: limits.customer_bytes,
        }
    }

    /// Counters above zero: what the table holds.
    #[must_use]
    pub fn counters(&self) -> usize {
        self.0.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn admitted(&self, claim: Claim) -> Admitted {
        Admitted {
            held: Some((self.clone(), claim)),
        }
    }

    fn overload(&self, full: Full) -> Overload {
        Overload {
            scope: full.scope(),
            retry_after: self.0.options.retry_after,
        }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, IdMap<Key, Counter>> {
        lock(&self.0.shards[key.shard()])
    }

    /// Raises all counters or none.
    fn claim(&self, claim: &Claim, source: Source, turn: Turn) -> Result<(), Full> {
        let mark = |scope| self.0.options.limits.mark(scope, source);
        if turn == Turn::Last && self.0.total_waiting.load(Ordering::SeqCst) > 0 && has_any(&mut lock(&self.0.total_waiters)) {
            return Err(Full::Total(Scope::Total));
        }
        raise(&self.0.total, 1, mark(Scope::Total)).map_err(|()| Full::Total(Scope::Total))?;
        if raise(&self.0.bytes, claim.bytes, mark(Scope::Bytes)).is_err() {
            self.0.total.fetch_sub(1, Ordering::SeqCst);
            return Err(Full::Total(Scope::Bytes));
        }
        let keys = Key::all(claim);
        for (place, key) in keys.iter().enumerate() {
            let Some(key) = key else { continue };
            if !self.raise_key(*key, claim.bytes, source, turn) {
                keys[..place].iter().flatten().for_each(|raised| self.lower(*raised, claim.bytes));
                self.lower_total(claim.bytes);
                return Err(Full::Key(*key));
            }
        }
        Ok(())
    }

    fn mark(&self, key: Key, source: Source) -> Mark {
        let limits = &self.0.options.limits;
        Mark {
            count: limits.mark(key.scope(), source),
            bytes: limits.bytes_mark(key.scope(), source),
        }
    }

    fn raise_key(&self, key: Key, bytes: u64, source: Source, turn: Turn) -> bool {
        let mark = self.mark(key, source);
        let mut shard = self.shard(&key);
        let counter = shard.entry(key).or_default();
        let has_room = mark.has_room(counter, bytes) && (turn == Turn::Now || !has_any(&mut counter.waiters));
        if has_room {
            counter.count += 1;
            counter.bytes += bytes;
        }
        has_room
    }

    fn lower(&self, key: Key, bytes: u64) {
        let mark = self.mark(key, Source::Outside);
        let mut shard = self.shard(&key);
        let Some(counter) = shard.get_mut(&key) else {
            tracing::error!(scope = key.scope().as_str(), "an event ended that was not counted");
            return;
        };
        counter.count -= 1;
        counter.bytes = counter.bytes.saturating_sub(bytes);
        if counter.count == 0 {
            let waiters = std::mem::take(&mut counter.waiters);
            shard.remove(&key);
            give_back(&mut shard);
            wake(waiters.into_iter(), usize::MAX);
        } else if mark.has_room(counter, 0) {
            wake(std::iter::from_fn(|| counter.waiters.pop_front()), 1);
        }
    }

    fn lower_total(&self, bytes: u64) {
        let limits = &self.0.options.limits;
        let total = take_off(&self.0.total, 1);
        let bytes = take_off(&self.0.bytes, bytes);
        let has_room = total < limits.mark(Scope::Total, Source::Outside) && bytes < limits.mark(Scope::Bytes, Source::Outside);
        if has_room && self.0.total_waiting.load(Ordering::SeqCst) > 0 {
            let mut waiters = lock(&self.0.total_waiters);
            wake(std::iter::from_fn(|| waiters.pop_front()), 1);
            self.0.total_waiting.store(waiters.len(), Ordering::SeqCst);
        }
    }

    async fn wait(&self, claim: Claim, mut full: Full) -> Result<Admitted, Overload> {
        let mut deadline = self.0.clock.sleep(self.0.options.wait);
        let Some(_place) = Waiting::enter(&self.0) else {
            return Err(self.overload(full));
        };
        let mut turn = Turn::Last;
        loop {
            let place = self.enqueue(full, turn)?;
            // Room that came free before the place in the queue was taken woke nobody.
            if place.as_ref().is_none_or(|place| place.is_only_one) {
                match self.claim(&claim, Source::Outside, Turn::Now) {
                    Ok(()) => return Ok(self.admitted(claim)),
                    Err(still) => full = still,
                }
            }
            let Some(place) = place else { continue };
            let is_over = matches!(select(place.room, &mut deadline).await, Either::Right(_));
            match self.claim(&claim, Source::Outside, Turn::Now) {
                Ok(()) => return Ok(self.admitted(claim)),
                Err(full) if is_over => return Err(self.overload(full)),
                Err(still) => (full, turn) = (still, Turn::Now),
            }
        }
    }

    /// A place in the queue of a counter, in front for who has had a turn; `None` if the counter has gone to zero meanwhile.
    fn enqueue(&self, full: Full, turn: Turn) -> Result<Option<Place>, Overload> {
        let (sender, room) = oneshot::channel();
        let most = match full.scope() {
            Scope::User => self.0.options.waiters_max / 4,
            Scope::Customer | Scope::Flow => self.0.options.waiters_max / 2,
            Scope::Total | Scope::Bytes => usize::MAX,
        };
        let push = |waiters: &mut Waiters| {
            let is_only_one = !has_any(waiters);
            match turn {
                Turn::Last if !is_only_one && !has_place(waiters, most) => return Err(self.overload(full)),
                Turn::Last => waiters.push_back(sender),
                Turn::Now => waiters.push_front(sender),
            }
            Ok(is_only_one)
        };
        let is_only_one = match full {
            Full::Key(key) => match self.shard(&key).get_mut(&key) {
                Some(counter) => push(&mut counter.waiters)?,
                None => return Ok(None),
            },
            Full::Total(_) => {
                let mut waiters = lock(&self.0.total_waiters);
                let is_only_one = push(&mut waiters)?;
                self.0.total_waiting.store(waiters.len(), Ordering::SeqCst);
                is_only_one
            }
        };
        Ok(Some(Place { room, is_only_one }))
    }
}

/// A place in a queue.
struct Place {
    /// Fires when there may be room.
    room: oneshot::Receiver<()>,
    /// Nobody else waits there.
    is_only_one: bool,
}

/// Whether somebody waits; whoever gave up in front is taken out.
fn has_any(waiters: &mut Waiters) -> bool {
    while waiters.front().is_some_and(oneshot::Sender::is_closed) {
        waiters.pop_front();
    }
    !waiters.is_empty()
}

/// Whether one more may wait; whoever gave up is taken out first.
fn has_place(waiters: &mut Waiters, most: usize) -> bool {
    if waiters.len() >= most {
        waiters.retain(|waiter| !waiter.is_closed());
    }
    waiters.len() < most
}

/// A caller that waits; there are not more than [`AdmissionOptions::waiters_max`].
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn enter(shared: &'a Shared) -> Option<Self> {
        let max = shared.options.waiters_max;
        let enter = |waiting| (waiting < max).then_some(waiting + 1);
        shared
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, enter)
            .ok()
            .map(|_| Self(shared))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Adds, if the sum stays within `mark`; alone, even an oversized amount fits.
fn raise(counter: &AtomicU64, amount: u64, mark: u64) -> Result<(), ()> {
    let add = |held: u64| held.checked_add(amount).filter(|sum| held == 0 || *sum <= mark);
    counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, add)
        .map(|_| ())
        .map_err(|_| ())
}

/// Takes off and returns what is left. A counter that went below zero would close admission for ever.
fn take_off(counter: &AtomicU64, amount: u64) -> u64 {
    let less = |held: u64| Some(held.saturating_sub(amount));
    let before = counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .unwrap_or_else(|held| held);
    if before < amount {
        tracing::error!(before, amount, "more ended than was counted");
    }
    before.saturating_sub(amount)
}

/// Wakes that many of those that still wait.
fn wake(waiters: impl Iterator<Item = oneshot::Sender<()>>, count: usize) {
    let _ = waiters.filter_map(|waiter| waiter.send(()).ok()).take(count).count();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
