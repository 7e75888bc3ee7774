//! Customers and their people as records: files that belong to them, lists of them, and how much of them one request may read.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bounds;
#[path = "../harness/mod.rs"]
mod harness;
mod lists;
mod marketplace;
mod media;
mod room;
mod uploads;
