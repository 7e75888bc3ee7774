//! Keys that are replaced while the daemon runs.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod customer;
mod files;
mod given_away;
#[path = "../harness/mod.rs"]
mod harness;
mod lost;
mod master;
