//! Behaviour over time: the actors of the data plane and the kit that starts, watches and restarts them.

pub mod admission;
pub mod kit;
