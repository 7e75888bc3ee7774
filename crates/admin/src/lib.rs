//! One rule set below every way of changing Perseat: commands, validation, revision, audit.
//!
//! `apply` is its first user; the API and the web console come to stand on the same commands.

pub mod manifest;
