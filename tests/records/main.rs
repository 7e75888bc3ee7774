//! Customers and their people as records: files that belong to them, lists of them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../harness/mod.rs"]
mod harness;
mod lists;
mod media;
mod room;
mod uploads;
