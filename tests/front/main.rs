//! Black-box tests of the daemon at its doors: where a request goes, what an execution sees, what a proxy changes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod daemon;
mod executions;
mod http;
mod provider;
mod proxy;
mod removal;
mod requests;
mod routing;
mod set_up;
mod world;
