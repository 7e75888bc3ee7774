//! The real prism CLI, as npm installs it, against a real daemon.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod cli;
mod compatibility;
mod end_to_end;
#[path = "../harness/mod.rs"]
mod harness;
mod instances;
mod integrations;
mod organization;
mod people;
mod sign_in;
