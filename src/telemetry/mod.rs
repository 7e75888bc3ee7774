//! What the daemon tells its operator: log lines, metrics, and whether it is alive and ready.

pub mod admin;
pub mod health;
pub mod logs;
pub mod metrics;
