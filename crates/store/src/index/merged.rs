//! The index as readers see it: what was committed to redb, and everything acknowledged since, as one.

use super::copies::Beginning;
use super::core::{Backlog, Change, Core, Stored};
use super::fault::IndexError;
use super::feed::Feed;
use super::row::{ExecutionRow, LiveExecution};
use super::status::{Filter, Gather, Page};
use super::{Limits, Logged};
use crate::history::History;
use crate::state::StateStore;
use perseat_domain::entry::EntryRef;
use perseat_domain::id::{CustomerId, ExecutionId};
use perseat_domain::time::Timestamp;
use perseat_domain::usage::{Amount, Day, UsageKey};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many stored rows a list looks at between two tests for its end.
const STATE_PAGE: usize = 512;

/// What a commit stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Journal entries.
    pub entries: u64,
    /// Live executions written.
    pub live: usize,
    /// Executions that went into history.
    pub ended: usize,
}

/// What has to be carried of a live execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToCarry {
    /// Which execution.
    pub execution: ExecutionId,
    /// The partition that its entries carry.
    pub partition: u8,
    /// Each run of its entries that stands there: how many of its entries come before, and where they stand.
    pub runs: Vec<(u32, Vec<EntryRef>)>,
}

impl ToCarry {
    fn of(execution: ExecutionId, row: &ExecutionRow, position: u64) -> Option<Self> {
        let is_through = |reference: &EntryRef| reference.position <= position;
        let (mut first, mut runs) = (0, Vec::new());
        for run in row.entries.chunk_by(|one, next| is_through(one) == is_through(next)) {
            if run.first().is_some_and(is_through) {
                runs.push((first, run.to_vec()));
            }
            first += run.iter().map(|reference| reference.entries).sum::<u32>();
        }
        (!runs.is_empty()).then_some(Self {
            execution,
            partition: row.partition,
            runs,
        })
    }
}

/// State, history and what is not yet committed to them.
#[derive(Debug)]
pub struct ExecutionIndex {
    core: Mutex<Core>,
    /// Whether the last commit failed.
    fails: AtomicBool,
    feed: Arc<Feed>,
    state: Arc<StateStore>,
    history: Arc<History>,
}

impl Stored for StateStore {
    fn stored(&self, execution: ExecutionId) -> Result<Option<ExecutionRow>, IndexError> {
        self.get(execution)
    }
}

impl ExecutionIndex {
    /// The index as of the last commit. `head` is the end of what the journal holds: where there is no state, it is
    /// made again from entries up to there.
    ///
    /// # Errors
    /// If state cannot be read or written.
    pub fn open(state: Arc<StateStore>, history: Arc<History>, feed: Arc<Feed>, head: u64, limits: Limits) -> Result<Self, IndexError> {
        let watermark = state.watermark()?;
        if watermark.is_none() {
            state.rebuild_through(head)?;
        }
        let mut backlog = Backlog::default();
        for row in state.live() {
            backlog.executions += 1;
            backlog.bytes += row?.1.bytes;
        }
        let core = Core::new(watermark, backlog, limits);
        Ok(Self {
            core: Mutex::new(core),
            fails: AtomicBool::new(false),
            feed,
            state,
            history,
        })
    }

    /// Where state is made again, an execution that these copies make known, before anything is applied: see [`crate::state`].
    pub fn take_over(&self, beginning: &Beginning, copies: &[Logged]) {
        self.core().take_over(beginning, copies);
    }

    /// State is made again up to the end of the journal.
    ///
    /// # Errors
    /// If state cannot be written.
    pub fn rebuilt(&self) -> Result<(), IndexError> {
        self.core().forget_repeated();
        match self.state.rebuilt_through()? {
            Some(1..) => self.state.rebuild_through(0),
            _ => Ok(()),
        }
    }

    /// Applies entries read from the journal, in position order; those that were applied before are passed over.
    ///
    /// # Errors
    /// If an entry does not decode or state cannot be read; the entries before it are applied.
    pub fn apply<'a>(&self, entries: impl IntoIterator<Item = &'a Logged>) -> Result<(), IndexError> {
        let mut core = self.core();
        entries
            .into_iter()
            .try_for_each(|logged| core.apply(logged, &*self.state).map(drop))
    }

    /// Applies every queued batch, so that whatever was acknowledged before the call is seen after it: but for what the queue
    /// had no room for, and, while commits fail, for what would wait for one beyond [`Limits::pending`].
    ///
    /// # Errors
    /// If state cannot be read; the batch stays queued.
    pub fn catch_up(&self) -> Result<(), IndexError> {
        let fails = self.fails.load(Ordering::Relaxed);
        let most = if fails { self.core().limits().pending } else { u64::MAX };
        self.catch_up_by(most)
    }

    /// As [`ExecutionIndex::catch_up`], but ends after the batch with which `entries` wait for a commit.
    ///
    /// # Errors
    /// If state cannot be read; the batch stays queued.
    pub fn catch_up_by(&self, entries: u64) -> Result<(), IndexError> {
        let mut core = self.core();
        while core.pending() < entries
            && let Some(batch) = self.feed.front()
        {
            for logged in batch.iter() {
                apply_or_skip(&mut core, logged, &self.state)?;
            }
            self.feed.pop();
        }
        Ok(())
    }

    /// As [`ExecutionIndex::apply`], but an entry that does not decode is logged and passed over.
    ///
    /// # Errors
    /// If state cannot be read.
    pub fn apply_all(&self, entries: &[Logged]) -> Result<(), IndexError> {
        let mut core = self.core();
        entries.iter().try_for_each(|logged| apply_or_skip(&mut core, logged, &self.state))
    }

    /// Commits the net effect since the last commit: history first, then state with the watermark, so that a crash
    /// between them only repeats rows.
    ///
    /// # Errors
    /// If the disk is full or fails. Nothing is forgotten: readers go on seeing it, and the next call tries again.
    pub fn flush(&self) -> Result<Flushed, IndexError> {
        let flushed = self.commit();
        self.fails.store(flushed.is_err(), Ordering::Relaxed);
        flushed
    }

    fn commit(&self) -> Result<Flushed, IndexError> {
        let mut core = self.core();
        if core.pending() == 0 {
            return Ok(Flushed::default());
        }
        let Some((batch, ended)) = core.net() else {
            return Ok(Flushed::default());
        };
        self.history.apply(&ended, core.segments().iter().copied())?;
        #[cfg(feature = "faults")]
        perseat_journal::kill_point::reach("history-stored");
        self.state.apply(&batch).inspect_err(|_| core.doubtful())?;
        #[cfg(feature = "faults")]
        perseat_journal::kill_point::reach("state-stored");
        let flushed = Flushed {
            entries: core.pending(),
            live: batch.put.len(),
            ended: ended.len(),
        };
        core.committed();
        Ok(flushed)
    }

    /// The ended executions.
    #[must_use]
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// The position of the last applied entry.
    #[must_use]
    pub fn applied(&self) -> Option<u64> {
        self.core().applied()
    }

    /// Entries applied and not yet committed.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.core().pending()
    }

    /// Entries that belonged to no live execution, since the start.
    #[must_use]
    pub fn orphans(&self) -> u64 {
        self.core().orphans()
    }

    /// The live executions in all.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.core().backlog()
    }

    /// One execution, live or ended.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn get(&self, execution: ExecutionId) -> Result<Option<ExecutionRow>, IndexError> {
        self.catch_up()?;
        let core = self.core();
        if let Some(change) = core.changes().get(&execution) {
            return Ok(Some(change.row.as_ref().clone()));
        }
        let live = self.state.get(execution)?;
        drop(core);
        match live {
            Some(row) => Ok(Some(row)),
            None => self.history.get(execution),
        }
    }

    /// The newest matching executions below `before`, at most `limit`.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn list(&self, filter: &Filter, before: Option<ExecutionId>, limit: usize) -> Result<Page, IndexError> {
        self.catch_up()?;
        let mut gather = Gather::new(limit);
        let core = self.core();
        let upper = |execution: &ExecutionId| before.is_none_or(|before| *execution < before);
        let recent = core.changes().iter().rev().filter(|(execution, _)| upper(execution));
        for (execution, change) in recent.filter(|(_, change)| filter.matches(&change.row)).take(limit) {
            gather.offer(*execution, change.row.as_ref().clone());
        }
        self.gather_live(&core, filter, before, &mut gather)?;
        drop(core);
        self.history.gather(filter, before, &mut gather)?;
        Ok(gather.page())
    }

    /// Gives what was used from one day to another, both included: rows of one key may come twice, as what is stored and what
    /// is not yet. Gives the oldest day that is kept.
    ///
    /// # Errors
    /// If state cannot be read, or what `each` returns.
    pub fn usage<E: From<IndexError>>(
        &self,
        days: std::ops::RangeInclusive<Day>,
        customer: Option<CustomerId>,
        mut each: impl FnMut(UsageKey, Amount) -> Result<(), E>,
    ) -> Result<Option<Day>, E> {
        self.catch_up()?;
        let core = self.core();
        let recent = core.usage().flat_map(|added| added.addition.rows());
        let recent: Vec<_> = recent.map(|(key, amount)| (key.clone(), *amount)).collect();
        let stored = self.state.usage(days.clone(), customer, move || drop(core), &mut each)?;
        for (key, amount) in &recent {
            if days.contains(&key.day) && customer.is_none_or(|customer| customer == key.customer) {
                each(key.clone(), *amount)?;
            }
        }
        Ok(stored.into_iter().chain(recent.into_iter().map(|(key, _)| key.day)).min())
    }

    /// Every live execution, in the order in which they were accepted: what owners are fed with after a restart.
    ///
    /// # Errors
    /// If state cannot be read.
    pub fn live(&self) -> Result<Vec<LiveExecution>, IndexError> {
        let core = self.core();
        let mut live: Vec<LiveExecution> = live_changes(&core).map(LiveExecution::from).collect();
        for row in self.state.live() {
            let (execution, row) = row?;
            if !core.changes().contains_key(&execution) {
                live.push(LiveExecution::from((execution, row)));
            }
        }
        live.sort_unstable_by_key(|live| live.accepted);
        Ok(live)
    }

    /// When the oldest live execution was accepted, or earlier where not all are known yet; `None` while nothing is live. As
    /// exact as the ids of executions are: those begin with their time.
    ///
    /// # Errors
    /// If state cannot be read.
    pub fn oldest_live(&self) -> Result<Option<Timestamp>, IndexError> {
        self.catch_up()?;
        let has_overflowed = self.feed.has_overflowed();
        let core = self.core();
        let is_behind = has_overflowed || core.pending() >= core.limits().pending;
        // Accepted later than what was applied, or at the same time.
        let unknown = is_behind.then(|| core.accepted_through());
        let recent = live_changes(&core).next();
        let stored = self
            .state
            .live()
            .find(|row| row.as_ref().map_or(true, |(execution, _)| !core.changes().contains_key(execution)));
        let stored = stored.transpose()?;
        let known = recent.into_iter().chain(stored).map(|(_, row)| row.accepted_at);
        Ok(known.chain(unknown).min())
    }

    /// One live execution as of the last applied entry.
    pub(crate) fn live_row(&self, execution: ExecutionId) -> Result<Option<ExecutionRow>, IndexError> {
        let core = self.core();
        match core.changes().get(&execution) {
            Some(change) => Ok(change.ended_in.is_none().then(|| change.row.as_ref().clone())),
            None => self.state.get(execution),
        }
    }

    /// What goes on behind the last applied entry, and is not this index's.
    pub(crate) fn core_behind(&self) -> Core {
        let core = self.core();
        Core::new(core.applied(), core.backlog(), *core.limits())
    }

    /// Where one live execution's entries stand now; `None` once it ended. For an owner whose positions expired.
    ///
    /// # Errors
    /// If state cannot be read.
    pub fn live_one(&self, execution: ExecutionId) -> Result<Option<LiveExecution>, IndexError> {
        let row = self.get(execution)?.filter(|row| row.outcome.is_none());
        Ok(row.map(|row| LiveExecution::from((execution, row))))
    }

    /// The live executions with an entry at or below `position`, and these entries: what has to be carried before the journal
    /// forgets it. What they have behind that is left where it is: it may be far more.
    ///
    /// # Errors
    /// If state cannot be read.
    pub fn live_through(&self, position: u64) -> Result<Vec<ToCarry>, IndexError> {
        let core = self.core();
        let mut found: Vec<ToCarry> = live_changes(&core)
            .filter_map(|(execution, row)| ToCarry::of(execution, &row, position))
            .collect();
        for row in self.state.live() {
            let (execution, row) = row?;
            if !core.changes().contains_key(&execution) {
                found.extend(ToCarry::of(execution, &row, position));
            }
        }
        Ok(found)
    }

    fn gather_live(&self, core: &Core, filter: &Filter, before: Option<ExecutionId>, gather: &mut Gather) -> Result<(), IndexError> {
        let (mut below, mut found, mut looked_at) = (before, 0, 0);
        while found < gather.limit() {
            let page = self.state.page_before(below, STATE_PAGE)?;
            let Some((lowest, _)) = page.last() else { return Ok(()) };
            below = Some(*lowest);
            looked_at += page.len();
            for (execution, row) in page {
                if !core.changes().contains_key(&execution) && filter.matches(&row) {
                    gather.offer(execution, row);
                    found += 1;
                }
            }
            if let Some(lowest) = below.filter(|_| looked_at >= core.limits().state_scan) {
                gather.stopped_at(lowest);
                return Ok(());
            }
        }
        Ok(())
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn apply_or_skip(core: &mut Core, logged: &Logged, state: &StateStore) -> Result<(), IndexError> {
    match core.apply(logged, state) {
        Ok(_) => Ok(()),
        Err(IndexError::Entry { position, source }) => {
            tracing::error!(position = %format_args!("{position:#x}"), error = %source, "journal entry passed over: it does not decode");
            core.skip(position);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn live_changes(core: &Core) -> impl Iterator<Item = (ExecutionId, ExecutionRow)> + '_ {
    let live = core.changes().iter().filter(|(_, Change { ended_in, .. })| ended_in.is_none());
    live.map(|(execution, change)| (*execution, change.row.as_ref().clone()))
}
