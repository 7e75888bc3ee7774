//! What a supervisor accepts.

use crate::kit::Reply;
use actix::Message;
use perseat_domain::fair::Cost;
use perseat_domain::grant::Holder;
use perseat_domain::id::{ExecutionId, InstanceId};
use perseat_domain::owner::{Refusal, Turn, UserKey, Wait};
use perseat_domain::time::Timestamp;
use perseat_journal::Committed as CommittedEntry;
use perseat_store::index::LiveExecution as RecoveredExecution;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Sent by the journal's writer: entries that just became durable, in position order.
/// Meaning: take up what is new, note what went on. Never refused while the owner is alive: the writer waits.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Committed(pub Arc<[CommittedEntry]>);

/// Sent by boot before anything is accepted, to an owner that is [held](Hold): executions from before the restart, in the order of acceptance,
/// in one part or several. Answered once they are counted and queued.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Recovered {
    /// The executions of this owner.
    pub executions: Vec<RecoveredExecution>,
    /// Where to answer.
    pub reply: Reply<()>,
}

/// Sent by boot before what is live is handed over; and again once the start is through or, where the data was restored, once it is to go on.
/// Meaning: start nothing, tend no grant and run no data source; start what waits. Answered once that is so.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Hold {
    /// Whether nothing starts.
    pub is_held: bool,
    /// Where to answer.
    pub reply: Reply<()>,
}

/// Sent by whoever changed the catalog: these instances, with their users, and these users must be read again before the next start.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ConfigChanged {
    /// The instances; all of them if absent.
    pub instances: Option<BTreeSet<InstanceId>>,
    /// Users, of other instances, whose own configurations changed.
    pub users: BTreeSet<UserKey>,
    /// Whose shared connections changed; where all instances did, all of them.
    pub holders: Vec<Holder>,
}

impl ConfigChanged {
    /// Everything may be another.
    #[must_use]
    pub fn everywhere() -> Self {
        Self {
            instances: None,
            users: BTreeSet::new(),
            holders: Vec::new(),
        }
    }

    pub(super) fn is_about(&self, instance: InstanceId) -> bool {
        self.instances.as_ref().is_none_or(|ids| ids.contains(&instance))
    }

    pub(super) fn is_about_user(&self, user: &UserKey) -> bool {
        self.is_about(user.instance) || self.users.contains(user)
    }
}

/// Sent by a user actor: turns are over in the table in which nothing was to be done, so that others may start. One of these waits
/// at most.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct TurnsOver;

/// Sent by a user actor: an execution cannot go on before a credential is back. That it waits is durable and was told.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Park {
    /// Which.
    pub turn: Turn,
    /// What was used.
    pub cost: Cost,
    /// What it waits for.
    pub wait: Wait,
}

/// Sent by a user actor: an execution found no memory, and has begun nothing. It stands apart until there is some.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct GiveBack(pub Turn);

/// Sent by a user actor after that: there is memory for it, which its user holds.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct HasRoom(pub ExecutionId);

/// Sent by a user actor that has read its configuration: what waits for other connections than these can go on.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Usable {
    /// Whose.
    pub user: UserKey,
    /// The stable keys of connections that cannot be used.
    pub missing: Vec<String>,
}

/// Sent by a user actor that is idle and whose configuration may have changed: find out whether what is parked can go on.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct TryParked(pub UserKey);

/// Sent by the supervisor to itself: parked executions have to be looked at now.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct LookDue(pub(super) Timestamp);

/// Sent by a user actor: an execution panicked, after all that it saw become durable was told.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Fell(pub Turn);

/// Sent for an actor that died while it waited for an append: the append's outcome is known, and was told if it is durable.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Settled {
    /// Whose.
    pub user: UserKey,
    /// Which.
    pub execution: ExecutionId,
}

/// Sent by an instance actor: a turn did not reach its user.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct NotStarted {
    /// Which.
    pub turn: Turn,
    /// Why.
    pub why: Refusal,
}

/// Sent by an instance actor: a running execution did not hear that it is to end.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct NotHeard(pub ExecutionId);

/// Sent by an instance actor: the actor of a user died, the table knows, and its slots are free.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct UserDied;

/// Sent by an instance actor: the actor of this user can be started again; give it what is live.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct UserBack(pub UserKey);

/// Sent by boot when the daemon ends: start nothing new; answers once nothing runs. No data source is run.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain(pub Reply<()>);

/// Sent by boot once nothing runs at any owner, since what runs at one borrows what another renews, or has had its time: begin no renewal;
/// answers once none is under way, and what became of them is written down. What runs still waits for a credential as for one that
/// cannot be had now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Conclude(pub Reply<()>);

/// Sent by the supervisor to itself: an instance's back-off is over.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct RestartDue(pub(super) InstanceId);

/// Sent by the supervisor to itself: put away what is idle.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct TidyDue;

/// Sent by tests · let every actor of a kind panic · no reply.
#[cfg(feature = "faults")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum Fail {
    /// Those of instances.
    Instances,
    /// Those of users.
    Users,
    /// The supervisor's own.
    Supervisor,
}
