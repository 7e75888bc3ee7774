//! Folds journal entries, in position order, into their net effect since the last commit.
//!
//! Pure: what is stored already comes in through [`Stored`]. Any cut into batches and any restart at a committed
//! watermark gives the same rows, because entries at or below the applied position are passed over and everything else
//! depends on the rows alone.

use super::carry::unpack;
use super::copies::Beginning;
use super::fault::IndexError;
use super::row::{ExecutionRow, Outcome, ParkedRow, StepRow};
use super::{Limits, Logged};
use crate::state::StateBatch;
use crate::usage::{Added, Addition};
use perseat_domain::entry::{Accepted, Carried, Ended, Entry, EntryRef, Started, StepsDone};
use perseat_domain::id::ExecutionId;
use perseat_domain::time::Timestamp;
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The live executions as of the last commit.
pub trait Stored {
    /// One of them.
    ///
    /// # Errors
    /// If it cannot be read.
    fn stored(&self, execution: ExecutionId) -> Result<Option<ExecutionRow>, IndexError>;
}

/// An ended execution on its way into history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedRow {
    /// Which execution.
    pub execution: ExecutionId,
    /// The segment that holds its last entry: decides the history file.
    pub segment: u32,
    /// The row.
    pub row: ExecutionRow,
}

/// What became of an execution since the last commit.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// Its row as it is now.
    pub(crate) row: Box<ExecutionRow>,
    /// Whether a stored row has to be replaced or removed.
    pub(crate) stored: bool,
    /// The segment of its last entry, once it ended.
    pub(crate) ended_in: Option<u32>,
}

/// Live executions in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many.
    pub executions: u64,
    /// The sum of the sizes of their entries.
    pub bytes: u64,
}

/// The net effect of the entries since the last commit.
#[derive(Debug)]
pub struct Core {
    changes: BTreeMap<ExecutionId, Change>,
    segments: BTreeSet<u32>,
    applied: Option<u64>,
    /// When the newest of what was applied was accepted.
    accepted_through: Timestamp,
    /// Up to where entries are only what the rows that were [taken over](Self::take_over) begin with.
    repeated_through: HashMap<ExecutionId, u64>,
    limits: Limits,
    backlog: Backlog,
    pending: u64,
    orphans: u64,
    /// What the entries since the last commit add to usage.
    usage: Added,
    /// What may have been stored although storing it failed.
    doubted: Vec<Added>,
}

impl Core {
    /// What is bounded.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A core that goes on after `watermark`, where `backlog` is live. Entries of unknown executions are passed over.
    #[must_use]
    pub fn new(watermark: Option<u64>, backlog: Backlog, limits: Limits) -> Self {
        Self {
            changes: BTreeMap::new(),
            segments: BTreeSet::new(),
            applied: watermark,
            accepted_through: Timestamp(0),
            repeated_through: HashMap::new(),
            limits,
            backlog,
            pending: 0,
            orphans: 0,
            usage: Added::default(),
            doubted: Vec::new(),
        }
    }

    /// An execution that is known before its first entry comes: by these copies of it.
    pub(crate) fn take_over(&mut self, beginning: &Beginning, copies: &[Logged]) {
        let repeated = beginning.repeated_through.map(|through| (beginning.execution, through));
        self.repeated_through.extend(repeated);
        // With anything applied its row is stored, or it has ended since.
        if self.applied.is_some() {
            return;
        }
        let Some(row) = told_by(beginning, copies, &self.limits, &mut self.usage.addition) else {
            return;
        };
        self.backlog.executions += 1;
        self.backlog.bytes += row.bytes;
        let change = Change {
            row: Box::new(row),
            stored: false,
            ended_in: None,
        };
        self.changes.insert(beginning.execution, change);
    }

    /// Everything that is repeated was passed over.
    pub(crate) fn forget_repeated(&mut self) {
        self.repeated_through.clear();
    }

    /// The position of the last entry applied.
    #[must_use]
    pub fn applied(&self) -> Option<u64> {
        self.applied
    }

    /// When the newest of what was applied since the start was accepted; the beginning of time if nothing was.
    pub(crate) fn accepted_through(&self) -> Timestamp {
        self.accepted_through
    }

    /// What is live.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.backlog
    }

    /// Entries applied since the last commit.
    pub(crate) fn pending(&self) -> u64 {
        self.pending
    }

    /// Entries that belonged to no live execution.
    pub(crate) fn orphans(&self) -> u64 {
        self.orphans
    }

    /// The segments of the entries applied since the last commit.
    pub(crate) fn segments(&self) -> &BTreeSet<u32> {
        &self.segments
    }

    pub(crate) fn changes(&self) -> &BTreeMap<ExecutionId, Change> {
        &self.changes
    }

    /// What the entries since the last commit add to usage.
    pub(crate) fn usage(&self) -> impl Iterator<Item = &Added> {
        self.doubted.iter().chain([&self.usage])
    }

    /// Applies one entry; `false` if it was applied before.
    ///
    /// # Errors
    /// If it does not decode or what is stored cannot be read; nothing changed then.
    pub fn apply(&mut self, logged: &Logged, stored: &impl Stored) -> Result<bool, IndexError> {
        if self.applied.is_some_and(|applied| logged.position <= applied) {
            return Ok(false);
        }
        let entry = Entry::decode(&logged.payload).map_err(|source| IndexError::Entry {
            position: logged.position,
            source,
        })?;
        self.fold(logged, entry, stored)?;
        self.segments.insert(logged.segment);
        self.skip(logged.position);
        Ok(true)
    }

    /// Passes over the entry at `position`.
    pub(crate) fn skip(&mut self, position: u64) {
        self.applied = Some(position);
        self.usage.through = position;
        self.pending += 1;
    }

    /// What has to be stored: state up to the applied position, and the executions that ended.
    #[must_use]
    pub fn net(&self) -> Option<(StateBatch, Vec<EndedRow>)> {
        let mut batch = StateBatch {
            watermark: self.applied?,
            usage: self.usage().filter(|added| !added.addition.is_empty()).cloned().collect(),
            ..StateBatch::default()
        };
        let mut ended = Vec::new();
        for (execution, change) in &self.changes {
            let row = change.row.as_ref().clone();
            match change.ended_in {
                None => batch.put.push((*execution, row)),
                Some(segment) => {
                    batch.remove.extend(change.stored.then_some(*execution));
                    ended.push(EndedRow {
                        execution: *execution,
                        segment,
                        row,
                    });
                }
            }
        }
        Some((batch, ended))
    }

    /// Storing the net effect failed, and yet it may have been stored: what ends now has to be removed whether or not it
    /// seemed to be there.
    pub(crate) fn doubtful(&mut self) {
        for change in self.changes.values_mut() {
            change.stored = true;
        }
        // What comes from now on was certainly not stored.
        let added = std::mem::take(&mut self.usage);
        self.doubted.extend(Some(added).filter(|added| !added.addition.is_empty()));
    }

    /// The net effect was stored.
    pub fn committed(&mut self) {
        self.changes.clear();
        self.usage = Added::default();
        self.doubted.clear();
        self.segments.clear();
        self.pending = 0;
    }

    fn fold(&mut self, logged: &Logged, entry: Entry, stored: &impl Stored) -> Result<(), IndexError> {
        let reference = EntryRef {
            position: logged.position,
            entries: 1,
            bytes: u32::try_from(logged.payload.len()).unwrap_or(u32::MAX),
        };
        let execution = entry.execution();
        let is_repeated = self
            .repeated_through
            .get(&execution)
            .is_some_and(|through| logged.position <= *through);
        if is_repeated && !matches!(entry, Entry::Carried(_)) {
            return Ok(());
        }
        let usage = &mut self.usage.addition;
        let change = match self.changes.entry(execution) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => match first_sight(&entry, logged, reference, stored)? {
                FirstSight::Stored(row) => slot.insert(Change {
                    row: Box::new(row),
                    stored: true,
                    ended_in: None,
                }),
                FirstSight::New(row) => {
                    self.accepted_through = self.accepted_through.max(row.accepted_at);
                    self.backlog.executions += 1;
                    self.backlog.bytes += row.bytes;
                    slot.insert(Change {
                        row: Box::new(row),
                        stored: false,
                        ended_in: None,
                    });
                    return Ok(());
                }
                FirstSight::Unknown => {
                    self.orphans += 1;
                    return Ok(());
                }
            },
        };
        if change.ended_in.is_some() {
            self.orphans += 1;
            return Ok(());
        }
        let row = change.row.as_mut();
        let before = row.bytes;
        match entry {
            Entry::Accepted(_) => self.orphans += 1,
            Entry::Carried(carried) => carry(row, &carried, reference),
            other => {
                push(row, reference);
                update(row, other, &self.limits, usage);
            }
        }
        self.backlog.bytes = self.backlog.bytes.saturating_sub(before) + row.bytes;
        if row.outcome.is_some() {
            self.backlog.executions = self.backlog.executions.saturating_sub(1);
            self.backlog.bytes = self.backlog.bytes.saturating_sub(row.bytes);
            change.ended_in = Some(logged.segment);
        }
        Ok(())
    }
}

enum FirstSight {
    Stored(ExecutionRow),
    New(ExecutionRow),
    Unknown,
}

/// What is known of an execution whose first entry since the last commit this is.
fn first_sight(entry: &Entry, logged: &Logged, reference: EntryRef, stored: &impl Stored) -> Result<FirstSight, IndexError> {
    if let Entry::Accepted(accepted) = entry {
        let mut row = accept(accepted, logged.partition, logged.position);
        push(&mut row, reference);
        return Ok(FirstSight::New(row));
    }
    Ok(stored.stored(entry.execution())?.map_or(FirstSight::Unknown, FirstSight::Stored))
}

/// The row as its own entries say it is, in place of what is stored; `None` where they do not begin with `Accepted`.
#[must_use]
pub fn retold(row: &ExecutionRow, entries: &[bytes::Bytes]) -> Option<ExecutionRow> {
    let (first, rest) = entries.split_first()?;
    let Ok(Entry::Accepted(accepted)) = Entry::decode(first) else {
        return None;
    };
    let limits = Limits {
        steps_listed: row.steps.len(),
        ..Limits::default()
    };
    let mut told = accept(&accepted, row.partition, row.accepted);
    update_all(&mut told, rest, &limits, &mut Addition::default());
    told.entries.clone_from(&row.entries);
    told.bytes = row.entries.iter().map(|reference| u64::from(reference.bytes)).sum();
    Some(told)
}

/// A row made from copies alone, which hold its entries from the first on; `None` where they do not.
fn told_by(beginning: &Beginning, copies: &[Logged], limits: &Limits, usage: &mut Addition) -> Option<ExecutionRow> {
    let places = copies.iter().zip(&beginning.places);
    let entries = places
        .clone()
        .map(|(logged, (_, entries))| unpack(logged.payload.clone(), *entries).ok());
    let entries = entries.collect::<Option<Vec<_>>>()?.concat();
    let Ok(Entry::Accepted(accepted)) = Entry::decode(entries.first()?) else {
        return None;
    };
    let first = copies.first()?;
    let mut row = accept(&accepted, first.partition, first.position);
    update_all(&mut row, &entries, limits, usage);
    for (logged, (position, entries)) in places {
        let reference = EntryRef {
            position: *position,
            entries: *entries,
            bytes: u32::try_from(logged.payload.len()).unwrap_or(u32::MAX),
        };
        push(&mut row, reference);
    }
    if beginning.may_lack {
        push(&mut row, EntryRef::UNKNOWN);
    }
    Some(row)
}

fn accept(accepted: &Accepted, partition: u8, position: u64) -> ExecutionRow {
    ExecutionRow {
        partition,
        identity: accepted.identity,
        origin: accepted.origin,
        accepted: position,
        accepted_at: accepted.received_at,
        started_at: None,
        attempt: 0,
        activation: 0,
        definition_version: 0,
        cancel_requested: false,
        steps: Vec::new(),
        steps_finished: 0,
        log_counts: Vec::new(),
        entries: Vec::new(),
        bytes: 0,
        outcome: None,
        parked: None,
    }
}

fn push(row: &mut ExecutionRow, reference: EntryRef) {
    row.entries.push(reference);
    row.bytes += u64::from(reference.bytes);
}

fn update(row: &mut ExecutionRow, entry: Entry, limits: &Limits, usage: &mut Addition) {
    match entry {
        Entry::Started(started) => {
            if row.attempt == 0 {
                usage.began(row.identity.as_ref(), started.at);
            }
            begin(row, &started);
        }
        Entry::Called(called) => usage.called(row.identity.as_ref(), &called),
        Entry::StepsDone(done) => finish_steps(row, done, limits),
        Entry::Parked(parked) => {
            row.parked = Some(ParkedRow {
                since: parked.since,
                connection: parked.connection,
            });
        }
        Entry::Cancelled(_) => row.cancel_requested = true,
        Entry::Ended(ended) => {
            row.outcome = Some(outcome(ended));
            row.parked = None;
        }
        Entry::Accepted(_) | Entry::Carried(_) => {}
    }
}

fn update_all(row: &mut ExecutionRow, entries: &[bytes::Bytes], limits: &Limits, usage: &mut Addition) {
    for entry in entries.iter().filter_map(|bytes| Entry::decode(bytes).ok()) {
        update(row, entry, limits, usage);
    }
}

fn begin(row: &mut ExecutionRow, started: &Started) {
    if started.attempt != row.attempt {
        row.steps.clear();
        row.steps_finished = 0;
        row.started_at = Some(started.at);
    }
    row.attempt = started.attempt;
    row.activation = started.activation;
    row.definition_version = started.definition_version;
    row.parked = None;
}

fn finish_steps(row: &mut ExecutionRow, done: StepsDone, limits: &Limits) {
    let room = limits.steps_listed.saturating_sub(row.steps.len());
    row.steps_finished = row
        .steps_finished
        .saturating_add(u32::try_from(done.steps.len()).unwrap_or(u32::MAX));
    row.steps.extend(done.steps.into_iter().take(room).map(|step| StepRow {
        path: step.path,
        name: step.name,
        status: step.status,
        started_at: step.started_at,
        ended_at: step.ended_at,
    }));
    for (level, count) in done.log_counts {
        match row.log_counts.iter_mut().find(|(known, _)| *known == level) {
            Some((_, total)) => *total = total.saturating_add(count),
            None => row.log_counts.push((level, count)),
        }
    }
}

fn outcome(ended: Ended) -> Outcome {
    Outcome {
        status: ended.status,
        code: ended.code,
        failed_step: ended.failed_step,
        cost: ended.cost,
        at: ended.at,
    }
}

/// Puts a `Carried` in the place of the entries it repeats. One that does not fit changes nothing.
fn carry(row: &mut ExecutionRow, carried: &Carried, reference: EntryRef) {
    let reference = EntryRef {
        entries: carried.entries.len() as u32,
        ..reference
    };
    // Which number an entry has is not known then.
    if row.entries.contains(&EntryRef::UNKNOWN) {
        return;
    }
    if reference.take_place(&mut row.entries, carried.first) {
        row.bytes = row.entries.iter().map(|reference| u64::from(reference.bytes)).sum();
    }
}
