//! Ends on their way to the disk.
//!
//! An execution is through once it has handed over its last entries. What is left, to wait until they are durable, to give its
//! turn back and to answer whoever waits for it, needs neither its user nor a task of its own: the supervisor does it
//! for all its executions, in the order in which the journal answers, woken once for all that one sync made durable.

use super::table::OwnerTable;
use crate::execution::ExecutionEnv;
use crate::kit::relayed;
use crate::waiters::Answer;
use perseat_domain::fair::Cost;
use perseat_domain::owner::Turn;
use perseat_journal::{Append, AppendError, NewEntry};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What an execution hands over at its end.
#[derive(Debug)]
pub struct Ending {
    /// The turn that is over once the end is durable.
    pub turn: Turn,
    /// Its last entries, appended at once.
    pub entries: Vec<NewEntry>,
    /// What a synchronous caller will hear.
    pub answer: Option<Box<Answer>>,
    /// When it was taken up, on the clock's uptime.
    pub began: Duration,
    /// Processor time of its steps.
    pub cpu: Duration,
}

impl Ending {
    /// Its end is durable: answers whoever waits for it. Gives its turn and what that cost.
    pub(super) fn settle(self, env: &ExecutionEnv) -> (Turn, Cost) {
        if let Some(answer) = self.answer {
            env.waiters.answer(self.turn.execution, *answer);
        }
        let slot = env.clock.uptime().saturating_sub(self.began);
        (self.turn, Cost { slot, cpu: self.cpu })
    }

    /// Appends again until there is room. A journal that is closed or broken ends the daemon; until then the execution
    /// stands still, and recovery takes it up from its last durable entry.
    pub(super) async fn append_again(self, env: &ExecutionEnv) -> Option<Self> {
        loop {
            env.clock.sleep(env.limits.full_retry).await;
            match relayed(env.journal.append(self.entries.clone())).await {
                Ok(_) => return Some(self),
                Err(error) if error.is_for_lack_of_room() => {}
                Err(error) => {
                    self.stands_still(error);
                    return None;
                }
            }
        }
    }

    pub(super) fn stands_still(&self, error: AppendError) {
        let execution = self.turn.execution;
        tracing::error!(%execution, %error, "cannot record an execution; it waits for the restart of the daemon");
    }
}

/// The ends of one owner that the journal has not answered: as many as there are slots, and what ended without one or whose user has
/// died since.
#[derive(Debug, Default)]
pub(super) struct Endings(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    ends: VecDeque<(Ending, Append)>,
    /// Whoever waits for the first of them.
    waits: Option<Waker>,
}

impl Endings {
    pub(super) fn push(&self, ending: Ending, append: Append) {
        let mut line = self.line();
        line.ends.push_back((ending, append));
        let first = line.waits.take();
        drop(line);
        if let Some(waits) = first {
            waits.wake();
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next ends that the journal has answered, with its answers. It does not lose any where it is dropped.
#[derive(Debug)]
pub(super) struct Answered(pub(super) Arc<OwnerTable>);

impl Future for Answered {
    type Output = Vec<(Ending, Result<(), AppendError>)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut line = self.0.endings.line();
        let mut answered = Vec::new();
        loop {
            let Some((_, append)) = line.ends.front_mut() else {
                line.waits = Some(cx.waker().clone());
                break;
            };
            let Poll::Ready(outcome) = Pin::new(append).poll(cx) else { break };
            answered.extend(line.ends.pop_front().map(|(ending, _)| (ending, outcome.map(drop))));
        }
        match answered.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(answered),
        }
    }
}
