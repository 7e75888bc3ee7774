//! The embedded pages: what the host product's frames get by HTTP, and what a browser makes of them with the real SDK.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../harness/mod.rs"]
mod harness;

mod accessibility;
mod browser;
mod choosing;
mod configuring;
mod disconnecting;
mod hostile;
mod house;
mod refusals;
mod registering;
mod screens;
mod seeing;
mod sharing;
mod sources;
mod story;
mod world;
