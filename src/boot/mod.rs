//! From a checked configuration to a running daemon, and from a running daemon to a clean stop.

pub mod data;
pub mod http;
pub mod listeners;
pub mod local;
pub mod master_key;
pub mod reload;
pub mod signals;
pub mod systemd;
pub mod tls;
