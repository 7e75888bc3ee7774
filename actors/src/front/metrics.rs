//! The front's metrics: the names, and handles that cost one atomic addition each.
//!
//! No metric is labelled by user, instance or execution.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use perseat_domain::code::ErrorCode;
use std::fmt;

/// Requests accepted, that is durable.
pub const ACCEPTED_TOTAL: &str = "perseat_front_accepted_total";
/// Requests refused, by `code`.
pub const REFUSED_TOTAL: &str = "perseat_front_refused_total";
/// Connections open.
pub const CONNECTIONS: &str = "perseat_front_connections";
/// Connections closed at once: their address had as many as it may.
pub const CONNECTIONS_REFUSED_TOTAL: &str = "perseat_front_connections_refused_total";
/// Keys read from the disk for an event.
pub const KEYS_READ_TOTAL: &str = "perseat_front_keys_read_total";
/// Events that wait for a key to be read from the disk.
pub const KEY_WAITERS: &str = "perseat_front_key_waiters";
/// Connections closed by a time-out, by `phase`.
pub const CLOSED_TOTAL: &str = "perseat_front_timeouts_total";

/// Handles to the front's metrics; made after the recorder was installed.
pub struct FrontMetrics {
    pub(super) accepted: Counter,
    refused: Vec<Counter>,
    pub(super) connections: Gauge,
    pub(super) connections_refused: Counter,
    pub(super) keys_read: Counter,
    pub(super) key_waiters: Gauge,
    pub(super) header_timeouts: Counter,
    pub(super) idle_timeouts: Counter,
    pub(super) answer_timeouts: Counter,
}

impl FrontMetrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new() -> Self {
        describe_counter!(ACCEPTED_TOTAL, "Requests accepted: durable before they were answered");
        describe_counter!(REFUSED_TOTAL, "Requests refused, by stable code");
        describe_gauge!(CONNECTIONS, "Connections open on the hooks listener");
        describe_counter!(
            CONNECTIONS_REFUSED_TOTAL,
            "Connections closed at once: their address had as many as it may"
        );
        describe_counter!(KEYS_READ_TOTAL, "Keys read from the disk for events");
        describe_gauge!(KEY_WAITERS, "Events that wait for a key to be read from the disk");
        describe_counter!(CLOSED_TOTAL, "Connections closed by a time-out, by phase");
        Self {
            accepted: counter!(ACCEPTED_TOTAL),
            refused: ErrorCode::ALL
                .iter()
                .map(|code| counter!(REFUSED_TOTAL, "code" => code.as_str()))
                .collect(),
            connections: gauge!(CONNECTIONS),
            connections_refused: counter!(CONNECTIONS_REFUSED_TOTAL),
            keys_read: counter!(KEYS_READ_TOTAL),
            key_waiters: gauge!(KEY_WAITERS),
            header_timeouts: counter!(CLOSED_TOTAL, "phase" => "header"),
            idle_timeouts: counter!(CLOSED_TOTAL, "phase" => "idle"),
            answer_timeouts: counter!(CLOSED_TOTAL, "phase" => "answer"),
        }
    }

    pub(super) fn refused(&self, code: ErrorCode) {
        if let Some(counter) = self.refused.get(code as usize) {
            counter.increment(1);
        }
    }
}

impl Default for FrontMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FrontMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrontMetrics")
    }
}
