//! Placeholder.

pub mod index;
pub mod pressure;
pub mod state;
