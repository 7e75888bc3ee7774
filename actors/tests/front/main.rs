//! The front over real sockets: one file per situation, raw bytes in and out.

mod calls;
mod drain;
mod harness;
mod limits;
mod routing;
mod transport;
