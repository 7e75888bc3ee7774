//! Looks further along the journal than the index can follow: on a full disk all that it applied would stay in memory.

use super::core::{Backlog, Core, Stored};
use super::fault::IndexError;
use super::merged::ExecutionIndex;
use super::row::{ExecutionRow, LiveExecution};
use super::{Logged, STORE_EVERY};
use perseat_domain::id::ExecutionId;
use std::collections::HashMap;

/// Fed with every entry behind what the index has applied; keeps what is live, and nothing of what has ended.
#[derive(Debug)]
pub struct Ahead<'i> {
    core: Core,
    live: Live<'i>,
    entries: u64,
}

/// What is found there.
#[derive(Debug)]
pub struct Found {
    /// Every live execution, in the order in which they were accepted.
    pub live: Vec<LiveExecution>,
    /// Their number and size.
    pub backlog: Backlog,
    /// How many entries the index has not applied.
    pub entries: u64,
}

#[derive(Debug)]
struct Live<'i> {
    index: &'i ExecutionIndex,
    /// What is otherwise than the index has it; nothing where it has ended.
    rows: HashMap<ExecutionId, Option<Box<ExecutionRow>>>,
}

impl Stored for Live<'_> {
    fn stored(&self, execution: ExecutionId) -> Result<Option<ExecutionRow>, IndexError> {
        match self.rows.get(&execution) {
            Some(row) => Ok(row.as_deref().cloned()),
            None => self.index.live_row(execution),
        }
    }
}

impl<'i> Ahead<'i> {
    /// Begins where the index is.
    #[must_use]
    pub fn new(index: &'i ExecutionIndex) -> Self {
        Self {
            core: index.core_behind(),
            live: Live {
                index,
                rows: HashMap::new(),
            },
            entries: 0,
        }
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// If it does not decode, or state cannot be read.
    pub fn apply(&mut self, logged: &Logged) -> Result<(), IndexError> {
        self.entries += u64::from(self.core.apply(logged, &self.live)?);
        if self.core.pending() >= STORE_EVERY {
            self.forget_ended()
        } else {
            Ok(())
        }
    }

    /// What is live behind the last entry.
    ///
    /// # Errors
    /// If state cannot be read.
    pub fn finish(mut self) -> Result<Found, IndexError> {
        self.forget_ended()?;
        let Live { index, rows } = self.live;
        let mut live = index.live()?;
        live.retain(|known| !rows.contains_key(&known.execution));
        let otherwise = rows.into_iter().filter_map(|(execution, row)| Some((execution, *row?)));
        live.extend(otherwise.map(LiveExecution::from));
        live.sort_unstable_by_key(|live| live.accepted);
        Ok(Found {
            live,
            backlog: self.core.backlog(),
            entries: self.entries,
        })
    }

    fn forget_ended(&mut self) -> Result<(), IndexError> {
        let Live { index, rows } = &mut self.live;
        for (execution, change) in self.core.changes() {
            if change.ended_in.is_none() {
                rows.insert(*execution, Some(change.row.clone()));
            } else if index.live_row(*execution)?.is_some() {
                rows.insert(*execution, None);
            } else {
                rows.remove(execution);
            }
        }
        self.core.committed();
        Ok(())
    }
}
