//! Backup and restore from outside: the command line beside real daemons.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../harness/mod.rs"]
mod harness;

mod cut_off;
mod flips;
mod held;
mod load;
mod media;
mod removed;
mod restore;
mod rewritten;
mod world;
