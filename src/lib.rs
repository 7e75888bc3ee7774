//! The daemon.
pub mod indexer;
