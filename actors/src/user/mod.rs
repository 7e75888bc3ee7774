//! One user of one instance: their queue, their credentials, their running executions.
//!
//! ```text
//! instance ── Enqueue, StartNext ─► user ─► execution (a local future under its own obituary)
//!    ▲                               │
//!    └── PutAway / ChildExited ──────┘        SlotFreed ─► supervisor
//! ```
//!
//! The only place that holds this user's unsealed connections, and their only writer. A failing, slow or flooding
//! flow of this user fills this queue and no other. What is queued is live in the owner's table: an actor that dies
//! loses nothing.

mod actor;
mod messages;

pub use actor::{UserActor, UserEnv};
pub use messages::{CancelExecution, Enqueue, ForgetConfig, PutAway, StartNext};

use perseat_domain::fair::Grant;
use perseat_domain::id::{FlowNumber, InstanceId, UserConfigId};
use perseat_domain::identity::Identity;

/// Names a user actor; without user-level configuration an instance has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey {
    /// The instance.
    pub instance: InstanceId,
    /// The user's configuration of it.
    pub config: Option<UserConfigId>,
}

impl UserKey {
    /// The actor that runs executions of this identity.
    #[must_use]
    pub fn of(identity: &Identity) -> Self {
        Self {
            instance: identity.instance,
            config: identity.user.map(|user| user.config),
        }
    }
}

/// A grant of one execution slot.
pub type Slot = Grant<UserKey, (InstanceId, FlowNumber)>;
