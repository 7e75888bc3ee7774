//! Black-box tests of the daemon at its doors: where a request goes, what an execution sees, what a proxy changes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod configuration;
mod daemon;
mod ends;
mod executions;
#[path = "../harness/mod.rs"]
mod harness;
mod http;
mod memory;
mod provider;
mod proxy;
mod removal;
mod requests;
mod retries;
mod routing;
mod set_up;
mod signals;
mod world;
