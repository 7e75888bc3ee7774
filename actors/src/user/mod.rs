//! One user of one instance: their credentials, their running executions.
//!
//! ```text
//! instance ── Start, Cancel ─► user ─► execution (a local future under its own obituary)
//!    ▲                          │
//!    └── PutAway / ChildExited ─┘   TurnsOver ─► supervisor
//! ```
//!
//! The only place that holds this user's unsealed connections, and their only writer. What waits for its turn waits in
//! the owner's table, as does what runs here: an actor that dies loses nothing.

mod actor;
mod crowd;
mod messages;
mod short;
mod sources;

pub use actor::{UserActor, UserEnv};
pub use crowd::Crowd;
pub use messages::{Answer, Cancel, ForgetConfig, InstanceIs, Orphaned, PutAway, Start};
