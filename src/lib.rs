//! Perseat's daemon: composition of the parts, and the adapters to the outside world.
//!
//! Reading order: [`cli`] → [`config`] → [`boot`] → [`indexer`] → [`telemetry`].

pub mod boot;
pub mod cli;
pub mod config;
mod demo;
pub mod indexer;
pub mod telemetry;
