//! Synchronous callers: who waits for the end of which execution.
//!
//! The front registers a waiter before it appends, its owner answers after the execution's end is durable. A caller that goes
//! away takes only its waiter along.

use perseat_domain::code::ErrorCode;
use perseat_domain::entry::{EndStatus, SyncResponse};
use perseat_domain::id::{ExecutionId, IdMap, give_back};
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

/// All waiters of a daemon.
#[derive(Debug, Default)]
pub struct Waiters {
    waiting: Mutex<IdMap<ExecutionId, oneshot::Sender<Answer>>>,
    is_closed: AtomicBool,
}

impl Waiters {
    /// Registers a waiter; dropping it removes it.
    #[must_use]
    pub fn register(self: &Arc<Self>, execution: ExecutionId) -> Waiter {
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting();
        if !self.is_closed.load(Ordering::Relaxed) {
            waiting.insert(execution, sender);
        }
        drop(waiting);
        Waiter {
            waiters: self.clone(),
            execution,
            answer,
        }
    }

    /// Answers who waits for `execution`, if anybody does.
    pub fn answer(&self, execution: ExecutionId, answer: Answer) {
        let waiter = self.waiting().remove(&execution);
        if let Some(waiter) = waiter {
            // The caller may have gone away meanwhile.
            let _ = waiter.send(answer);
        }
    }

    /// Nothing ends in this process any more: whoever waits hears so, and whoever comes.
    pub fn close(&self) {
        let mut waiting = self.waiting();
        self.is_closed.store(true, Ordering::Relaxed);
        waiting.clear();
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting().len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn waiting(&self) -> MutexGuard<'_, IdMap<ExecutionId, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller's place.
#[derive(Debug)]
pub struct Waiter {
    waiters: Arc<Waiters>,
    execution: ExecutionId,
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
        waiting.remove(&self.execution);
        give_back(&mut waiting);
    }
}
