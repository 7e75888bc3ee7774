//! What the journal alone says of executions whose first entries are gone, for a start without state.
//!
//! A `Carried` repeats the entries of an execution that was live when the collector read them. It may have ended before
//! the `Carried` was written. With state that is known; without, an `Ended` in the journal decides, wherever it stands.
//! Where there is none, it may have stood in a segment that was dropped.

use super::recover::Progress;
use perseat_domain::entry::EntryHead;
use perseat_domain::id::ExecutionId;
use perseat_journal::{Journal, ReadError};
use std::collections::{HashMap, HashSet};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Carried executions with neither `Accepted` nor `Ended`: live, or ended in a segment that was dropped.
    pub(super) in_doubt: usize,
    /// Where the other carried executions ended.
    pub(super) ended_at: HashMap<ExecutionId, u64>,
}

/// Reads the journal once, and once more where something was carried: what is kept in memory is what was live at once.
/// What is damaged is passed over here; recovery reports it. `progress` hears of each entry that is read.
///
/// # Errors
/// If the disk does not answer: an end that was not read must not be taken for none.
pub(super) fn look(journal: &Journal, progress: Progress<'_>) -> Result<Found, ReadError> {
    let mut carried = HashSet::new();
    each(journal, progress, |_, head| {
        if let EntryHead::Carried { execution, .. } = head {
            carried.insert(execution);
        }
    })?;
    if carried.is_empty() {
        return Ok(Found::default());
    }
    let (mut in_doubt, mut ended_at) = (carried.clone(), HashMap::new());
    each(journal, progress, |position, head| match head {
        // All of it is here, and so would its end be.
        EntryHead::Accepted { execution, .. } => {
            in_doubt.remove(&execution);
        }
        EntryHead::Ended(execution) if carried.contains(&execution) => {
            in_doubt.remove(&execution);
            ended_at.insert(execution, position);
        }
        _ => {}
    })?;
    Ok(Found {
        in_doubt: in_doubt.len(),
        ended_at,
    })
}

/// Gives the head of every entry that is intact, with its position's bits.
fn each(journal: &Journal, progress: Progress<'_>, mut look: impl FnMut(u64, EntryHead)) -> Result<(), ReadError> {
    let mut read = 0;
    for entry in journal.scan(None) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error @ ReadError::Io(_)) => return Err(error),
            Err(_) => continue,
        };
        read += 1;
        progress(read);
        if let Ok(head) = EntryHead::read(&entry.payload) {
            look(entry.position.to_bits(), head);
        }
    }
    Ok(())
}
