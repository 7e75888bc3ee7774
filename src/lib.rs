//! Perseat's daemon: composition of the parts, and the adapters to the outside world.
//!
//! Reading order: [`cli`] → [`config`] → [`boot`] → [`control`] → `oauth` → [`console`] → [`indexer`] → [`mail`] → [`notices`] →
//! [`telemetry`] → [`receipts`].

pub mod backup;
pub mod boot;
pub mod cli;
pub mod config;
pub mod console;
pub mod control;
mod daemon_process;
mod demo;
pub mod indexer;
pub mod mail;
pub mod notices;
mod oauth;
pub mod receipts;
pub mod telemetry;
mod templates;
pub mod verify;
