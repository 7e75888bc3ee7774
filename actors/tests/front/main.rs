//! The front over real sockets: one file per situation, raw bytes in and out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod calls;
mod drain;
mod harness;
mod keys;
mod limits;
mod routing;
mod transport;
