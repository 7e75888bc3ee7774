//! One rule set below every way of changing Perseat: commands, validation, revision, audit.
//!
//! [`apply()`](apply::apply), the API and later the web console stand on the same commands. Who may do what is one table
//! ([`access`]); what somebody sees is decided in one place ([`query`]).
//! Whoever changes the catalog publishes what changed: [`routing`] turns records into the routing snapshot.

pub mod access;
pub mod accounts;
pub mod actor;
pub mod apply;
pub mod command;
pub mod edit;
pub mod endpoints;
pub mod export;
pub mod fault;
pub mod grants;
pub mod identity;
pub mod manifest;
pub mod media;
#[cfg(feature = "faults")]
pub mod mutants;
pub mod notices;
pub mod owed;
mod picked;
pub mod picture;
pub mod query;
pub mod routing;
pub mod transfer;
