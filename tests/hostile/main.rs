//! Hostile input against the real daemon: each ends in the documented error or a closed connection, within bounded
//! memory, and others are served meanwhile. `docs/hostile-input.md` is the list.
//!
//! Time-outs are configured short; nothing here measures time, every end is waited for.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bodies;
mod client;
mod connections;
mod definitions;
#[path = "../harness/mod.rs"]
mod harness;
mod heads;
mod memory;
mod outbound;
mod results;
mod scripts;
mod world;
