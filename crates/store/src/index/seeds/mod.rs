//! Seeded workloads over state and history with faults at every I/O call.

mod history;
mod recovery;
mod state;

use super::samples::identity;
use super::{EntryRef, ExecutionRow, IndexError};
use crate::error::StoreError;
use perseat_domain::entry::Origin;
use perseat_domain::time::Timestamp;

/// The row of execution `n` as it was written the `version`th time.
fn row(n: u64, version: u64) -> ExecutionRow {
    ExecutionRow {
        partition: 5,
        identity: Some(identity(n.into())),
        origin: Origin::Webhook,
        accepted: n,
        accepted_at: Timestamp(n),
        started_at: None,
        attempt: 0,
        activation: version as u32,
        definition_version: 1,
        cancel_requested: false,
        steps: Vec::new(),
        steps_finished: 0,
        log_counts: Vec::new(),
        entries: vec![EntryRef {
            position: n,
            entries: 1,
            bytes: version as u32,
        }],
        bytes: version,
        outcome: None,
        parked: None,
    }
}

/// Whether a failing disk may be the reason.
fn is_of_the_disk(error: &IndexError) -> bool {
    matches!(
        error,
        IndexError::Store {
            source: StoreError::Io(_) | StoreError::Full(_) | StoreError::Reopening,
            ..
        }
    )
}
