//! Perseat's daemon: composition of the parts, and the adapters to the outside world.
//!
//! Reading order: [`cli`] → [`config`] → [`boot`] → [`control`] → [`indexer`] → [`telemetry`] → [`receipts`].

pub mod boot;
pub mod cli;
pub mod config;
mod daemon_process;
pub mod control;
mod demo;
pub mod indexer;
pub mod receipts;
pub mod telemetry;
