//! What executions did with a connection: which one used it last, and which wait for it.

use super::ExecutionReader;
use crate::index::{Filter, IndexError};
use perseat_domain::entry::{Entry, EntryRef};
use perseat_domain::id::ExecutionId;
use perseat_domain::time::Timestamp;

use super::unpack;

/// As far as it was looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// The newest execution with a step that used it, and when the last of those steps ended.
    pub last: Option<(ExecutionId, Timestamp)>,
    /// Executions that wait for it.
    pub parked: u64,
    /// Since when the first of them waits.
    pub parked_since: Option<Timestamp>,
}

impl ExecutionReader {
    /// What the newest `looked_at` executions of `filter` did with the connection of this stable key; as many of their entries are
    /// read at most. Nothing is unsealed. Blocks on the disk.
    ///
    /// # Errors
    /// If an index cannot be read.
    pub fn uses(&self, filter: &Filter, connection: &str, looked_at: usize) -> Result<Uses, IndexError> {
        let (mut uses, mut entries_left) = (Uses::default(), looked_at);
        for (execution, row) in self.index.list(filter, None, looked_at)?.rows {
            if let Some(parked) = row.parked.filter(|parked| parked.connection == connection) {
                uses.parked += 1;
                uses.parked_since = Some(uses.parked_since.map_or(parked.since, |since| since.min(parked.since)));
            }
            if uses.last.is_none() {
                let newest = row.entries.iter().rev().take(entries_left);
                entries_left = entries_left.saturating_sub(row.entries.len());
                uses.last = self.use_in(newest, connection).map(|at| (execution, at));
            }
        }
        Ok(uses)
    }

    /// When the last step among these entries that used the connection ended.
    fn use_in<'e>(&self, mut newest: impl Iterator<Item = &'e EntryRef>, connection: &str) -> Option<Timestamp> {
        newest.find_map(|reference| {
            // What has expired or does not read says nothing.
            let payload = self.entries.payload(reference.position).ok()?;
            let payloads = unpack(payload, reference.entries).ok()?;
            let entries = payloads.iter().filter_map(|payload| Entry::decode(payload).ok());
            let steps = entries.filter_map(|entry| match entry {
                Entry::StepsDone(done) => Some(done.steps),
                _ => None,
            });
            let used = steps
                .flatten()
                .filter(|step| step.credentials.iter().any(|(key, _)| key == connection));
            used.map(|step| step.ended_at).max()
        })
    }
}
