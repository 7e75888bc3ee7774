//! Names of the data plane's metrics. No label names a user or an execution.

/// Executions whose end is durable, by status.
pub const FINISHED: &str = "perseat_executions_finished_total";
/// Executions taken up by an owner.
pub const TAKEN_UP: &str = "perseat_executions_taken_up_total";
/// Users put in quarantine.
pub const QUARANTINES: &str = "perseat_quarantines_total";
/// Executions that are accepted and not ended, by owner.
pub const LIVE: &str = "perseat_executions_live";
/// Executions that hold a slot, by owner.
pub const RUNNING: &str = "perseat_executions_running";
