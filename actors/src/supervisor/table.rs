//! The owner's decisions where its supervisor and its users reach them.

use super::actor::{Supervisor, SupervisorOptions};
use super::endings::{Ending, Endings};
use super::messages::{Settled, TurnsOver};
use crate::instance::{CancelFor, InstanceActor, InstanceHandle, InstanceTable, StartFor};
use crate::kit::{Mailbox, Nursery, Refused, Relayed, Unavailable, relayed, start_here};
use crate::user::UserEnv;
use perseat_domain::id::{ExecutionId, InstanceId};
use perseat_domain::owner::{Owner, OwnerOptions, Reached, Refusal, Turn, UserKey, Users};
use perseat_journal::{Append, AppendError};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

/// One owner's table: written by its supervisor, and by its users where they take an execution up and give its turn back.
#[derive(Debug)]
pub struct OwnerTable {
    owner: Mutex<Owner>,
    /// Whether the supervisor was told that turns are over and did not look since.
    is_told: AtomicBool,
    pub(super) endings: Endings,
}

impl OwnerTable {
    /// A table with nothing live.
    #[must_use]
    pub fn new(options: OwnerOptions) -> Self {
        Self {
            owner: Mutex::new(Owner::new(options)),
            is_told: AtomicBool::new(false),
            endings: Endings::default(),
        }
    }

    /// The table. All that use it run on one arbiter; nobody waits.
    pub fn lock(&self) -> MutexGuard<'_, Owner> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing was to be done in a turn. The supervisor hears it once for all that are over so until it looks.
    pub fn over(&self, turn: &Turn, supervisor: &Mailbox<Supervisor>) {
        self.lock().over(turn, None);
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
    /// Its turn.
    pub turn: Turn,
    /// The table that it is in.
    pub owner: Arc<OwnerTable>,
    /// Hears that an append is settled.
    pub supervisor: Mailbox<Supervisor>,
}

impl Writes {
    /// Whether its turn has a slot. One without is taken up to be ended.
    pub(crate) fn has_slot(&self) -> bool {
        self.turn.slot.is_some()
    }

    /// Whether the execution may write its end: from then on that is its owner's, whatever becomes of its user. Not where the death of
    /// its actor was taken in already, and it is to be taken up again.
    pub(crate) fn may_end(&self) -> bool {
        self.owner.lock().ending(self.turn.execution)
    }

    /// Its end is waited for by the owner from now on.
    pub(crate) fn end(&self, ending: Ending, append: Append) {
        self.owner.endings.push(ending, append);
    }

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
        let Writes { turn, owner, supervisor } = self.writes.clone();
        let Turn { execution, user, .. } = turn;
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

/// Reaches users through their instances, started where there is none.
pub(super) struct Through<'a> {
    pub(super) instances: &'a mut Nursery<InstanceId, InstanceHandle>,
    pub(super) env: &'a UserEnv,
    pub(super) parent: &'a Mailbox<Supervisor>,
    pub(super) options: &'a SupervisorOptions,
}

impl Through<'_> {
    pub(super) fn instance(&mut self, id: InstanceId) -> Result<&InstanceHandle, Unavailable> {
        let (env, parent, options) = (self.env, self.parent, self.options);
        let started = self.instances.ensure(&id, |birth| {
            let table = Arc::new(InstanceTable::new(id, env.clone(), options.users, options.seed ^ birth.generation));
            let shared = table.clone();
            let actor = start_here(env.mailbox, birth.obituary(parent), move |ctx| InstanceActor::new(shared, ctx));
            InstanceHandle { actor, table }
        });
        started.map(|instance| &*instance)
    }
}

impl Users for Through<'_> {
    fn start(&mut self, turn: &Turn) -> Reached {
        let InstanceHandle { actor, table } = self.instance(turn.user.instance).map_err(unavailable)?;
        table
            .give(turn, actor)
            .unwrap_or_else(|| actor.tell(StartFor(*turn)).map_err(refusal))
    }

    /// An instance that is about to be put away may still run something; it is asked again once it is known.
    fn cancel(&mut self, user: UserKey, execution: ExecutionId) -> Reached {
        let instance = self.instance(user.instance).map_err(|why| match why {
            Unavailable::Leaving => Refusal::Busy,
            other => unavailable(other),
        })?;
        instance.actor.tell(CancelFor(user.config, execution)).map_err(refusal)
    }
}
