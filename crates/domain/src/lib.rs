//! Pure types and decisions: who, what is configured, where a request goes, how an execution proceeds.
//!
//! Nothing here waits, reads a clock, draws a random number or touches a disk. Time and randomness arrive as
//! arguments, so that every decision can be replayed from a seed.
//!
//! Reading order: [`id`] → [`code`] → [`identity`] → [`definition`] → [`model`] → [`entry`] →
//! [`route`] → [`execution`] → [`owner`]; [`grant`], [`rate`] and [`usage`] beside them.

pub mod account;
pub mod budget;
pub mod code;
pub mod definition;
pub mod entry;
pub mod execution;
pub mod fair;
pub mod grant;
pub mod id;
pub mod identity;
pub mod model;
pub mod owner;
pub mod rate;
pub mod reach;
pub mod registration;
pub mod route;
pub mod sharing;
pub mod supervision;
pub mod time;
pub mod usage;
