//! One rule set below every way of changing Perseat: commands, validation, revision, audit.
//!
//! [`apply()`](apply::apply) is its first user; the API and the web console come to stand on the same commands.
//! Whoever changes the catalog publishes what changed: [`routing`] turns records into the routing snapshot.

pub mod apply;
pub mod endpoints;
pub mod export;
pub mod manifest;
pub mod routing;
