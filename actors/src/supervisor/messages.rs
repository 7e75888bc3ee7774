//! What a supervisor accepts.

use crate::kit::Reply;
use crate::user::{Slot, UserKey};
use actix::Message;
use perseat_domain::fair::Cost;
use perseat_domain::id::InstanceId;
use perseat_journal::Committed as CommittedEntry;
use perseat_store::index::LiveExecution as RecoveredExecution;
use std::sync::Arc;

/// Sent by the journal's writer: entries that just became durable, in position order.
/// Meaning: take up what is new, note what went on. Never refused while the owner is alive: the writer waits.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Committed(pub Arc<[CommittedEntry]>);

/// Sent by boot before anything is accepted: executions from before the restart, in the order of acceptance.
/// Answered once they are counted and queued.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Recovered {
    /// The executions of this owner.
    pub executions: Vec<RecoveredExecution>,
    /// Where to answer.
    pub reply: Reply<()>,
}

/// Sent by whoever changed the catalog: these instances, with their users, must be read again before the next start.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ConfigChanged {
    /// The instances; all of them if absent.
    pub instances: Option<Vec<InstanceId>>,
}

/// Sent by a user actor: a granted slot is free again.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SlotFreed {
    /// The grant.
    pub slot: Slot,
    /// What was used.
    pub cost: Cost,
}

/// Sent by an instance actor: the actor of this user died and is needed again; feed it what is live.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct FeedAgain(pub UserKey);

/// Sent by boot when the daemon ends: start nothing new; answers once nothing runs.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain(pub Reply<()>);

/// Sent by the supervisor to itself: an instance's back-off is over.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct RestartDue(pub(super) InstanceId);

/// Sent by the supervisor to itself: put away what is idle.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct TidyDue;
