//! The live executions of one owner: accepted and not ended.
//!
//! The supervisor writes it as batches are committed; user actors read it when they start an execution. It is what a
//! restarted child is fed from, so that no work is lost with an actor.

use crate::user::UserKey;
use bytes::Bytes;
use perseat_domain::id::ExecutionId;
use perseat_domain::identity::Identity;
use perseat_store::index::EntryRef;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One live execution.
#[derive(Clone, Debug)]
pub struct LiveExecution {
    /// On whose behalf.
    pub identity: Identity,
    /// Bits of the position that it was first accepted at: the order of queues.
    pub order: u64,
    /// Where its entries stand, oldest first.
    pub entries: Vec<EntryRef>,
    /// Bytes of its accepted entry: what admission counts.
    pub bytes: u64,
    /// Its accepted entry, while it is young and there is room in memory.
    pub accepted: Option<Bytes>,
}

impl LiveExecution {
    /// Whether an actor has taken it up before: there is more than its acceptance.
    fn has_started(&self) -> bool {
        self.entries.iter().map(|reference| reference.entries).sum::<u32>() > 1
    }
}

#[derive(Debug, Default)]
struct Table {
    executions: HashMap<ExecutionId, LiveExecution>,
    cached: usize,
}

/// All live executions of one owner.
#[derive(Debug)]
pub struct LiveTable {
    table: Mutex<Table>,
    cache_bytes: usize,
}

impl LiveTable {
    /// An empty table that keeps at most `cache_bytes` of accepted entries in memory (`execution.payload-cache`).
    #[must_use]
    pub fn new(cache_bytes: usize) -> Self {
        Self {
            table: Mutex::default(),
            cache_bytes,
        }
    }

    /// Adds an execution.
    pub fn insert(&self, id: ExecutionId, mut live: LiveExecution) {
        let mut table = self.table();
        let size = live.accepted.as_ref().map_or(0, Bytes::len);
        if table.cached + size > self.cache_bytes {
            live.accepted = None;
        } else {
            table.cached += size;
        }
        table.executions.insert(id, live);
    }

    /// Adds an entry of an execution.
    pub fn push(&self, id: ExecutionId, reference: EntryRef) {
        if let Some(live) = self.table().executions.get_mut(&id) {
            live.entries.push(reference);
        }
    }

    /// The entries of an execution from the one numbered `first` on stand at `reference` now, as many as it says. One
    /// that fits no run of whole references changes nothing.
    pub fn carried(&self, id: ExecutionId, first: u32, reference: EntryRef) {
        if let Some(live) = self.table().executions.get_mut(&id) {
            let starts: Vec<u32> = live
                .entries
                .iter()
                .scan(0, |next, reference| {
                    let start = *next;
                    *next += reference.entries;
                    Some(start)
                })
                .chain([live.entries.iter().map(|reference| reference.entries).sum()])
                .collect();
            let start = starts.iter().position(|start| *start == first);
            let end = starts.iter().position(|start| *start == first.saturating_add(reference.entries));
            if let (Some(start), Some(end)) = (start, end) {
                live.entries.splice(start..end, [reference]);
            }
        }
    }

    /// Removes an execution that ended.
    pub fn remove(&self, id: ExecutionId) -> Option<LiveExecution> {
        let mut table = self.table();
        let live = table.executions.remove(&id)?;
        table.cached -= live.accepted.as_ref().map_or(0, Bytes::len);
        Some(live)
    }

    /// An execution that starts: its entries, and its accepted entry if that is all there is.
    #[must_use]
    pub fn take(&self, id: ExecutionId) -> Option<LiveExecution> {
        let mut table = self.table();
        let live = table.executions.get_mut(&id)?;
        let accepted = live.accepted.take();
        let mut taken = live.clone();
        table.cached -= accepted.as_ref().map_or(0, Bytes::len);
        taken.accepted = accepted.filter(|_| taken.entries.len() == 1);
        Some(taken)
    }

    /// On whose behalf an execution runs.
    #[must_use]
    pub fn identity(&self, id: ExecutionId) -> Option<Identity> {
        self.table().executions.get(&id).map(|live| live.identity)
    }

    /// The executions of the users that `which` picks, in the order of acceptance, and whether each had started.
    #[must_use]
    pub fn of(&self, which: impl Fn(&UserKey) -> bool) -> Vec<(ExecutionId, Identity, bool)> {
        let table = self.table();
        let picked = table.executions.iter().filter(|(_, live)| which(&UserKey::of(&live.identity)));
        let mut found: Vec<_> = picked
            .map(|(id, live)| (live.order, (*id, live.identity, live.has_started())))
            .collect();
        found.sort_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, execution)| execution).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().executions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
