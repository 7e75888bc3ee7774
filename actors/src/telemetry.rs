//! Names of the data plane's metrics, and handles to those that every execution touches. No label names a user or an
//! execution.

use metrics::{Counter, Gauge, counter, gauge};
use perseat_domain::grant::Outcome;
use std::fmt;

/// Executions whose end is durable, by status.
pub const FINISHED: &str = "perseat_executions_finished_total";
/// Executions taken up by an owner.
pub const TAKEN_UP: &str = "perseat_executions_taken_up_total";
/// Users put in quarantine.
pub const QUARANTINES: &str = "perseat_quarantines_total";
/// Renewals of third parties' tokens, by outcome.
pub const RENEWALS: &str = "perseat_grant_renewals_total";
/// Executions that are accepted and not ended, by owner.
pub const LIVE: &str = "perseat_executions_live";
/// Executions that hold a slot, by owner.
pub const RUNNING: &str = "perseat_executions_running";
/// Executions that wait for a connection to be usable, by owner.
pub const PARKED: &str = "perseat_executions_parked";
/// Executions that do not begin for now because their user or customer holds a whole share, by owner.
pub const APART: &str = "perseat_executions_apart";

/// Users in memory, by owner.
pub const USERS: &str = "perseat_users_in_memory";

pub(crate) fn renewed(outcome: &Outcome) {
    let outcome = match outcome {
        Outcome::Token(_) => "renewed",
        Outcome::Over(_) => "over",
        Outcome::Passing { .. } => "passing",
        Outcome::Unknown(_) => "unknown",
    };
    counter!(RENEWALS, "outcome" => outcome).increment(1);
}

/// Handles that cost one atomic operation each; made after the recorder was installed.
pub(crate) struct OwnerMetrics {
    pub(crate) taken_up: Counter,
    pub(crate) finished: Counter,
    pub(crate) live: Gauge,
    pub(crate) running: Gauge,
    pub(crate) parked: Gauge,
    pub(crate) apart: Gauge,
    pub(crate) users: Gauge,
}

impl OwnerMetrics {
    /// The handles of the owner with this index.
    pub(crate) fn new(owner: usize) -> Self {
        let owner = owner.to_string();
        Self {
            taken_up: counter!(TAKEN_UP),
            finished: counter!(FINISHED),
            live: gauge!(LIVE, "owner" => owner.clone()),
            running: gauge!(RUNNING, "owner" => owner.clone()),
            parked: gauge!(PARKED, "owner" => owner.clone()),
            apart: gauge!(APART, "owner" => owner.clone()),
            users: gauge!(USERS, "owner" => owner),
        }
    }
}

impl fmt::Debug for OwnerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnerMetrics")
    }
}
