//! Makes missing history files again from a scan of the journal.

use super::copies::Beginning;
use super::core::{Backlog, Core, Stored};
use super::fault::IndexError;
use super::row::ExecutionRow;
use super::{Limits, Logged, STORE_EVERY};
use crate::history::{History, SEGMENTS_PER_FILE};
use perseat_domain::id::ExecutionId;
use std::collections::{BTreeSet, HashMap};

/// Fed with every entry of the journal up to the watermark; stores the ended executions of the missing files.
///
/// Entries of executions whose first segments were dropped are passed over, unless copies hold what was in them: those rows are gone.
#[derive(Debug)]
pub struct Rebuild<'a> {
    history: &'a History,
    missing: BTreeSet<u32>,
    core: Core,
    live: Live,
    rows: u64,
}

#[derive(Debug, Default)]
struct Live(HashMap<ExecutionId, ExecutionRow>);

impl Stored for Live {
    fn stored(&self, execution: ExecutionId) -> Result<Option<ExecutionRow>, IndexError> {
        Ok(self.0.get(&execution).cloned())
    }
}

impl<'a> Rebuild<'a> {
    /// Prepares the files that [`History::missing`] named. Until [`Rebuild::finish`] they count as missing at the next start.
    #[must_use]
    pub fn new(history: &'a History, missing: BTreeSet<u32>, limits: Limits) -> Self {
        let core = Core::new(None, Backlog::default(), limits);
        history.begin(&missing);
        Self {
            history,
            missing,
            core,
            live: Live::default(),
            rows: 0,
        }
    }

    /// An execution that these copies make known, before the first entry.
    pub fn take_over(&mut self, beginning: &Beginning, copies: &[Logged]) {
        self.core.take_over(beginning, copies);
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// If it does not decode, or a file cannot be written.
    pub fn apply(&mut self, logged: &Logged) -> Result<(), IndexError> {
        self.core.apply(logged, &self.live)?;
        if self.core.pending() >= STORE_EVERY { self.store() } else { Ok(()) }
    }

    /// Stores the rest, and makes files that would be empty; gives the number of rows.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn finish(mut self) -> Result<u64, IndexError> {
        self.store()?;
        self.missing.iter().try_for_each(|number| self.history.complete(*number))?;
        Ok(self.rows)
    }

    fn store(&mut self) -> Result<(), IndexError> {
        let Some((batch, mut ended)) = self.core.net() else { return Ok(()) };
        ended.retain(|row| self.missing.contains(&(row.segment / SEGMENTS_PER_FILE)));
        self.history.apply(&ended, None)?;
        self.rows += ended.len() as u64;
        self.live.0.extend(batch.put);
        for execution in batch.remove {
            self.live.0.remove(&execution);
        }
        self.core.committed();
        Ok(())
    }
}
