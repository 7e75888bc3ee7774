//! Synchronous callers: who waits for the end of which execution.
//!
//! The front registers a waiter before it appends, its owner answers after the execution's end is durable. A caller that goes
//! away takes only its waiter along. Of the callers that may wait a user has a quarter and a customer half: whose executions
//! hang holds their own callers' connections, and leaves the others'.

use perseat_domain::code::ErrorCode;
use perseat_domain::entry::{EndStatus, SyncResponse};
use perseat_domain::id::{CustomerId, ExecutionId, IdMap, UserId, give_back};
use perseat_domain::identity::Identity;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// How an execution ended, for who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How.
    pub status: EndStatus,
    /// Why, unless it succeeded.
    pub code: Option<ErrorCode>,
    /// A sentence, masked.
    pub message: Option<String>,
    /// The flow's own answer.
    pub response: Option<SyncResponse>,
}

/// Whose executions are waited for: a user's, or a customer's without users.
type Whose = (CustomerId, Option<UserId>);

/// All waiters of a daemon.
#[derive(Debug, Default)]
pub struct Waiters {
    waiting: Mutex<Waiting>,
    is_closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    callers: IdMap<ExecutionId, oneshot::Sender<Answer>>,
    /// Places that are taken, in all and by whom.
    taken: usize,
    users: BTreeMap<Whose, usize>,
    customers: BTreeMap<CustomerId, usize>,
}

impl Waiting {
    /// Takes a place among `most`, if there is one.
    fn enter(&mut self, whose: Whose, most: usize) -> bool {
        let count = |found: Option<&usize>| found.copied().unwrap_or(0);
        let has_place = self.taken < most
            && count(self.customers.get(&whose.0)) < (most / 2).max(1)
            && count(self.users.get(&whose)) < (most / 4).max(1);
        if has_place {
            self.taken += 1;
            *self.users.entry(whose).or_default() += 1;
            *self.customers.entry(whose.0).or_default() += 1;
        }
        has_place
    }

    fn leave(&mut self, whose: Whose) {
        self.taken -= 1;
        lower(&mut self.users, whose);
        lower(&mut self.customers, whose.0);
    }
}

fn lower<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

impl Waiters {
    /// Registers a waiter among `most`; dropping it removes it. `None` where as many wait, or its share of them by user or customer.
    #[must_use]
    pub fn register(self: &Arc<Self>, execution: ExecutionId, identity: &Identity, most: usize) -> Option<Waiter> {
        let whose = (identity.customer, identity.user.map(|bound| bound.user));
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting();
        if !waiting.enter(whose, most) {
            return None;
        }
        if !self.is_closed.load(Ordering::Relaxed) {
            waiting.callers.insert(execution, sender);
        }
        drop(waiting);
        Some(Waiter {
            waiters: self.clone(),
            execution,
            whose,
            answer,
        })
    }

    /// Answers who waits for `execution`, if anybody does.
    pub fn answer(&self, execution: ExecutionId, answer: Answer) {
        let waiter = self.waiting().callers.remove(&execution);
        if let Some(waiter) = waiter {
            // The caller may have gone away meanwhile.
            let _ = waiter.send(answer);
        }
    }

    /// Nothing ends in this process any more: whoever waits hears so, and whoever comes.
    pub fn close(&self) {
        let mut waiting = self.waiting();
        self.is_closed.store(true, Ordering::Relaxed);
        waiting.callers.clear();
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting().callers.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller's place.
#[derive(Debug)]
pub struct Waiter {
    waiters: Arc<Waiters>,
    execution: ExecutionId,
    whose: Whose,
    answer: oneshot::Receiver<Answer>,
}

impl Waiter {
    /// Waits for the end; `None` if the execution will not end in this process.
    pub async fn answer(mut self) -> Option<Answer> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.waiters.waiting();
        waiting.callers.remove(&self.execution);
        give_back(&mut waiting.callers);
        waiting.leave(self.whose);
    }
}
