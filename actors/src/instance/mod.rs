//! One deployed integration of one customer: its configuration and its users.
//!
//! ```text
//! supervisor ── Start, Cancel ─► instance ─► user, user, user …
//! ```
//!
//! Holds the customer-wide configuration, hands every message on to the user it is for, and restarts users that die.

mod actor;
mod messages;

pub use actor::InstanceActor;
pub use messages::{CancelFor, CredentialRefused, Forget, Leave, StartFor, StillNeeded, WhatNow};
