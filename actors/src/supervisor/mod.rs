//! The root of one owner's tree: takes up committed entries, grants slots, starts and restarts instances.
//!
//! ```text
//! journal writer ── Committed ─► Supervisor ─► InstanceActor ─► UserActor ─► execution
//!                                 │  the owner's table: what is live, whose turn it is
//!                                 │  ends on their way to the disk ◄─────── hands over
//!                                 └─ RestartDue, TidyDue (its own timers)
//! ```
//!
//! The journal is its only input about executions: what is accepted, went on and ended arrives as committed entries
//! in position order, after a restart from recovery in the same order. It knows no configuration and no payload.

mod actor;
mod endings;
mod feed;
mod messages;
mod shares;
mod sources;
mod table;

pub use actor::{InstanceStillNeeded, Supervisor, SupervisorOptions};
pub use endings::Ending;
pub use feed::Feed;
#[cfg(feature = "faults")]
pub use messages::Fail;
pub use messages::{
    Committed, Conclude, ConfigChanged, Drain, Fell, GiveBack, HasRoom, Hold, NotHeard, NotStarted, Park, Recovered, Settled, TryParked,
    TurnsOver, Usable, UserBack, UserDied,
};
pub use shares::ShareStillNeeded;
pub use table::{OwnerTable, Writes};
pub(crate) use table::{refusal, unavailable};
