//! What one owner decides: which executions are live, whose turn it is, and what becomes of them when an actor dies.
//!
//! ```text
//!                    room in the queue         a slot              a user took it up
//!  accepted ─► Withheld ─────────► Waiting ─────────► Granted ─────────────────► Running ─► Ending ─► ended
//!                 ▲                  │                   │ refused                 │ died
//!                 └──────────────────┴───────────────────┴─────────────────────────┘
//! ```
//!
//! A running execution that lacks a credential is *parked*: it gives its slot back and stands apart. When the credential may
//! be back, the first of each user, the *scout*, lines up to find out; when it is, the others follow, each in its old place.
//! Nothing that was parked begins while an older one of its user waits for the same connection or is the scout for it.
//!
//! One for which there is no memory is *short*: it gives its slot back, too, and stands apart until there is some. So does one that may not
//! begin while others of its user or its customer hold their whole share of what is kept.
//!
//! An [`Owner`] is told what became durable, in position order, and what its users did; it answers by what it has the
//! users start and cancel. Its table is the only place that knows what is to be done: an actor that dies loses
//! nothing. What has handed over its end needs its user no more and is nobody's to lose. A user whose actor cannot take
//! work is *paused*: its executions are withheld until it is back, and then line up in the order of their acceptance,
//! those that ran included.

mod decide;
mod parked;
mod recover;
mod shares;
mod short;
mod table;
#[cfg(test)]
mod tests;

pub use decide::{Commit, Owner, OwnerOptions, Reached, Refusal, Users};
pub use parked::Wait;
pub use recover::Recovered;
pub use shares::Shares;
pub use table::{Deaths, TakenUp};

use crate::budget::Claim;
use crate::fair::{Grant, Work};
use crate::id::{ExecutionId, FlowNumber, InstanceId, UserConfigId};
use crate::identity::Identity;

/// Names a queue and the actor that runs what waits in it; without user-level configuration an instance has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey {
    /// The instance.
    pub instance: InstanceId,
    /// The user's configuration of it.
    pub config: Option<UserConfigId>,
}

impl UserKey {
    /// The user that runs executions of this identity.
    #[must_use]
    pub fn of(identity: &Identity) -> Self {
        Self {
            instance: identity.instance,
            config: identity.user.map(|user| user.config),
        }
    }
}

/// An execution that waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub execution: ExecutionId,
    /// Of which flow.
    pub flow: FlowNumber,
}

impl Work<UserKey> for Waiting {
    type Flow = (InstanceId, FlowNumber);

    fn flow(&self, user: &UserKey) -> Self::Flow {
        (user.instance, self.flow)
    }
}

/// A grant of one execution slot.
pub type Slot = Grant<UserKey, Waiting>;

/// An execution whose turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which.
    pub execution: ExecutionId,
    /// Whose.
    pub user: UserKey,
    /// What it runs in; none for one that is only to be ended.
    pub slot: Option<Slot>,
}

/// What a committed entry means to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// An execution is live now.
    Accepted,
    /// A live one has written so much more that is kept until it ends.
    Grew(Claim),
    /// One is no longer: its room is free.
    Ended(Claim),
    /// Nothing.
    Other,
}
