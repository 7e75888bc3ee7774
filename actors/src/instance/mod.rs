//! One deployed integration of one customer: its configuration and its users.
//!
//! ```text
//! supervisor ── StartFor, CancelFor ─► instance ─► user, user, user …
//!      └─ give, forget ─► the instance's table ─────────┘
//! ```
//!
//! Holds the customer-wide configuration, hands every message on to the user it is for, and restarts users that die. While the
//! configuration is at hand the supervisor gives turns to the users in the instance's table.

mod actor;
mod messages;
mod table;

pub use actor::InstanceActor;
pub use messages::{CancelFor, CredentialRefused, Forget, Leave, StartFor, StillNeeded, WhatNow};
pub use table::{InstanceHandle, InstanceTable};
