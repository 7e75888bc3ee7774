//! The owner's decisions where its supervisor and its users reach them.

use super::actor::Supervisor;
use super::messages::{Settled, TurnsOver};
use crate::instance::{CancelFor, InstanceActor, StartFor};
use crate::kit::{Mailbox, Refused, Relayed, Unavailable, relayed};
use perseat_domain::fair::Cost;
use perseat_domain::id::{ExecutionId, InstanceId};
use perseat_domain::owner::{Owner, OwnerOptions, Reached, Refusal, Turn, UserKey, Users};
use perseat_journal::{Append, AppendError};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

/// One owner's table: written by its supervisor, read by its users when they take an execution up.
#[derive(Debug)]
pub struct OwnerTable {
    owner: Mutex<Owner>,
    /// Whether the supervisor was told that turns are over and did not look since.
    is_told: AtomicBool,
}

impl OwnerTable {
    /// A table with nothing live.
    #[must_use]
    pub fn new(options: OwnerOptions) -> Self {
        Self {
            owner: Mutex::new(Owner::new(options)),
            is_told: AtomicBool::new(false),
        }
    }

    /// The table. All that use it run on one arbiter; nobody waits.
    pub fn lock(&self) -> MutexGuard<'_, Owner> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn is over. The supervisor hears it once for all that are until it looks.
    pub fn over(&self, turn: &Turn, cost: Option<Cost>, supervisor: &Mailbox<Supervisor>) {
        self.lock().over(turn, cost);
        if !self.is_told.swap(true, Ordering::Relaxed) {
            supervisor.tell_past_the_bound(TurnsOver);
        }
    }

    /// The supervisor looks.
    pub(super) fn is_heard(&self) {
        self.is_told.store(false, Ordering::Relaxed);
    }
}

/// Where the appends of one execution are accounted for when nobody waits for them any more.
#[derive(Clone, Debug)]
pub struct Writes {
    /// The execution.
    pub execution: ExecutionId,
    /// Whose it is.
    pub user: UserKey,
    /// The table that it is in.
    pub owner: Arc<OwnerTable>,
    /// Hears that an append is settled.
    pub supervisor: Mailbox<Supervisor>,
}

impl Writes {
    /// Waits for an append. If the execution dies meanwhile, it is not gone on with before the outcome is known.
    pub async fn wait(&self, append: Append) -> Result<(), AppendError> {
        let mut left = Left {
            append: Some(relayed(append)),
            writes: self,
        };
        std::future::poll_fn(|cx| match &mut left.append {
            Some(append) => Pin::new(append).poll(cx).map(|outcome| {
                left.append = None;
                outcome.map(drop)
            }),
            None => Poll::Ready(Err(AppendError::Closed)),
        })
        .await
    }
}

/// An append that is waited for.
struct Left<'a> {
    append: Option<Relayed<Append>>,
    writes: &'a Writes,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let Some(append) = self.append.take() else { return };
        let Writes {
            execution,
            user,
            owner,
            supervisor,
        } = self.writes.clone();
        owner.lock().unsettled(execution);
        // It ends with the journal's answer, which always comes.
        actix_rt::spawn(async move {
            let outcome = append.await;
            tracing::warn!(%execution, is_durable = outcome.is_ok(), "the append of an execution that died is settled");
            if supervisor.tell(Settled { user, execution }).is_err() {
                tracing::error!(%execution, "a settled append could not be told; the supervisor is overloaded or gone");
            }
        });
    }
}

/// What a child that cannot be had means to its work: it is heard of again, or there are too many.
pub(crate) fn unavailable(why: Unavailable) -> Refusal {
    match why {
        Unavailable::Waiting | Unavailable::Leaving | Unavailable::Quarantined | Unavailable::Closing => Refusal::Down,
        Unavailable::Crowded => Refusal::Busy,
    }
}

/// What a message that was not taken means to its work. Of an actor that ended, its exit is heard.
pub(crate) fn refusal(why: Refused) -> Refusal {
    match why {
        Refused::Full => Refusal::Busy,
        Refused::Gone => Refusal::Down,
    }
}

/// Reaches users through the instances that `instance` finds or starts.
pub(super) struct Through<F>(pub(super) F);

impl<F: FnMut(InstanceId) -> Result<Mailbox<InstanceActor>, Unavailable>> Users for Through<F> {
    fn start(&mut self, turn: &Turn) -> Reached {
        let instance = (self.0)(turn.user.instance).map_err(unavailable)?;
        instance.tell(StartFor(*turn)).map_err(refusal)
    }

    /// An instance that is about to be put away may still run something; it is asked again once it is known.
    fn cancel(&mut self, user: UserKey, execution: ExecutionId) -> Reached {
        let instance = (self.0)(user.instance).map_err(|why| match why {
            Unavailable::Leaving => Refusal::Busy,
            other => unavailable(other),
        })?;
        instance.tell(CancelFor(user.config, execution)).map_err(refusal)
    }
}
