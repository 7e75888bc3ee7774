//! The owner's decisions where its supervisor and its users reach them.

use crate::instance::{CancelFor, InstanceActor, StartFor};
use crate::kit::{Mailbox, Refused, Unavailable};
use perseat_domain::id::{ExecutionId, InstanceId};
use perseat_domain::owner::{Owner, OwnerOptions, Reached, Refusal, Turn, UserKey, Users};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One owner's table: written by its supervisor, read by its users when they take an execution up.
#[derive(Debug)]
pub struct OwnerTable(Mutex<Owner>);

impl OwnerTable {
    /// A table with nothing live.
    #[must_use]
    pub fn new(options: OwnerOptions) -> Self {
        Self(Mutex::new(Owner::new(options)))
    }

    /// The table. All that use it run on one arbiter; nobody waits.
    pub fn lock(&self) -> MutexGuard<'_, Owner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn cancel(&mut self, user: UserKey, execution: ExecutionId) -> Reached {
        let instance = (self.0)(user.instance).map_err(unavailable)?;
        instance.tell(CancelFor(user.config, execution)).map_err(refusal)
    }
}
