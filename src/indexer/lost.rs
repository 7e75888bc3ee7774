//! What the journal alone says of executions whose first entries are gone, for a start without state.
//!
//! A `Carried` repeats the entries of an execution that was live when the collector read them. It may have ended before
//! the `Carried` was written. With state that is known; without, an `Ended` in the journal decides, wherever it stands.
//! Where there is none, it may have stood in a segment that was dropped.

use perseat_domain::entry::EntryHead;
use perseat_domain::id::ExecutionId;
use perseat_journal::Journal;
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
/// What cannot be read is passed over here; recovery reports it.
pub(super) fn look(journal: &Journal) -> Found {
    let heads = || {
        let entries = journal.scan(None).filter_map(Result::ok);
        entries.filter_map(|entry| Some((entry.position.to_bits(), EntryHead::read(&entry.payload).ok()?)))
    };
    let carried: HashSet<ExecutionId> = heads()
        .filter_map(|(_, head)| match head {
            EntryHead::Carried { execution, .. } => Some(execution),
            _ => None,
        })
        .collect();
    if carried.is_empty() {
        return Found::default();
    }
    let (mut in_doubt, mut ended_at) = (carried.clone(), HashMap::new());
    for (position, head) in heads() {
        match head {
            // All of it is here, and so would its end be.
            EntryHead::Accepted { execution, .. } => {
                in_doubt.remove(&execution);
            }
            EntryHead::Ended(execution) if carried.contains(&execution) => {
                in_doubt.remove(&execution);
                ended_at.insert(execution, position);
            }
            _ => {}
        }
    }
    Found {
        in_doubt: in_doubt.len(),
        ended_at,
    }
}
