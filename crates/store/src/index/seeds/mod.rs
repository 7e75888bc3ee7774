//! Seeded workloads over state and history with faults at every I/O call.

mod history;
mod recovery;
mod state;

use super::IndexError;
use crate::error::StoreError;

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
