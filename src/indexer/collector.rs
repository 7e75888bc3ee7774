//! Keeps the data directory within its byte budget by dropping the oldest segment, never what is live in it.
//!
//! What is still live in the oldest segment is appended again as `Carried`, and no more: that takes no more than it gives
//! back. Only when it is durable, applied and committed is the segment released and the history of its range unlinked.
//! Live bytes are capped, so carrying is bounded; where they do not fit all the same, because databases take most of a small budget, the collector rests after
//! a round through all segments that was for nothing, so that it does not copy them without end.

use super::thread::{AdvanceError, Indexer};
use bytes::Bytes;
use perseat_domain::entry::{Entry, EntryError};
use perseat_domain::id::ExecutionId;
#[cfg(feature = "faults")]
use perseat_journal::kill_point;
use perseat_journal::{Append, AppendError, NewEntry, Position, ReadError, ReleaseError, SegmentInfo};
use perseat_store::history::DroppedHistory;
use perseat_store::index::{EntryRef, IndexError, ToCarry, pack, unpack};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A round was for nothing that copied more than so many fourths of what was in use in the segments that it released; and so many
/// fourths of what was live then are still live where the next one would be, too. No key: as `backlog.max-bytes` comes, live
/// executions are far below that where it is not the databases that take the budget.
const MOST: u64 = 3;

/// What the data directory may hold.
#[derive(Clone, Debug)]
pub struct RetentionOptions {
    /// All files of the data directory together (`retention.budget`).
    pub budget: u64,
    /// The entries of live executions together (`backlog.max-bytes`).
    pub backlog_max_bytes: u64,
    /// How much of the budget is kept free for what grows between two looks: the databases.
    pub margin: u64,
    /// The data directory.
    pub data_directory: PathBuf,
    /// The journal's directory within it.
    pub journal_directory: PathBuf,
    /// The journal's segment size.
    pub segment_bytes: u64,
    /// How many spare segments the journal keeps.
    pub spare_segments: u64,
    /// The journal's limit for one entry.
    pub max_entry_bytes: usize,
    /// How many bytes are being appended again at a time.
    pub carry_bytes: usize,
    /// The epoch of this daemon's appends.
    pub epoch: u64,
    /// How far the directory may exceed its budget by segments that are kept for a backup (`backup.pinned-bytes`).
    pub pinned_bytes: u64,
    /// For how long they are kept where there is no room for them (`backup.pinned-for`).
    pub pinned_for: Duration,
    /// How long the collector rests at least after a round for nothing: so short that who waits for a segment gets one in time (a
    /// quarter of `journal.spare-wait`).
    pub rest: Duration,
}

impl RetentionOptions {
    /// The defaults for a budget and a journal.
    #[must_use]
    pub fn new(budget: u64, data_directory: &Path, journal_directory: &Path, journal: &perseat_journal::Options) -> Self {
        Self {
            budget,
            backlog_max_bytes: budget / 4,
            margin: budget / 16,
            data_directory: data_directory.to_owned(),
            journal_directory: journal_directory.to_owned(),
            segment_bytes: u64::from(journal.segment_bytes),
            spare_segments: u64::from(journal.spare_segments),
            max_entry_bytes: journal.max_entry_bytes as usize,
            carry_bytes: 4 << 20,
            epoch: 0,
            pinned_bytes: budget / 16,
            pinned_for: Duration::from_secs(3_600),
            rest: journal.spare_wait / 4,
        }
    }

    /// What is left of the budget for the journal's files beside everything else that is in the data directory now; at
    /// least what the journal cannot do without.
    ///
    /// # Errors
    /// If the directory cannot be measured.
    pub fn journal_limit(&self) -> io::Result<u64> {
        Ok(self.limit_beside(self.others()?))
    }

    fn limit_beside(&self, others: u64) -> u64 {
        let left = self.budget.saturating_sub(self.margin).saturating_sub(others);
        // One to hold entries, one to write to, the spares.
        left.max((self.spare_segments + 2) * self.segment_bytes)
    }

    /// Beside what holds entries: the spares, and one released file, so that the next change of segment waits for nobody.
    fn ahead(&self) -> u64 {
        (self.spare_segments + 1) * self.segment_bytes
    }

    /// What is left for entries beside so many bytes of other files, where live executions may take more.
    fn short_room(&self, others: u64) -> Option<u64> {
        let room = self.limit_beside(others).saturating_sub(self.ahead());
        (room < self.backlog_max_bytes).then_some(room)
    }

    /// Bytes of everything in the data directory but the journal.
    fn others(&self) -> io::Result<u64> {
        allocated(&self.data_directory, &self.journal_directory)
    }
}

/// Why a segment could not be dropped now.
#[derive(Debug, thiserror::Error)]
enum CollectError {
    #[error("live execution {execution} cannot be carried: its entry does not read")]
    Read {
        execution: ExecutionId,
        #[source]
        source: ReadError,
    },
    #[error("live execution {execution} cannot be carried: its entry does not decode")]
    Decode {
        execution: ExecutionId,
        #[source]
        source: EntryError,
    },
    #[error("live execution {execution} cannot be carried: the journal refused it")]
    Append {
        execution: ExecutionId,
        #[source]
        source: AppendError,
    },
    #[error("live executions are still in the segment after they were carried")]
    StillLive,
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Advance(#[from] AdvanceError),
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error("the data directory cannot be measured")]
    Measure(#[from] io::Error),
}

/// Drops segments when the budget asks for it.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    held_up: Option<String>,
    /// Since the last round for nothing, until there is enough room.
    pub(super) rest: Option<Rest>,
}

/// Copying again would be for nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    since: Instant,
    /// At least as long as the round took.
    pub(super) span: Duration,
    /// Bytes of live executions then.
    live: u64,
}

impl Rest {
    /// Until it has lasted, or a part of the executions has ended.
    fn goes_on(self, live: u64) -> bool {
        self.since.elapsed() < self.span && live * 4 > self.live * MOST
    }
}

/// How dropping went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Collected {
    /// The journal has what it needs, or nobody waits for it.
    Enough,
    /// There is nothing to drop.
    Nothing,
    /// What was released was needed for what was live in it.
    ForNothing,
}

/// One way through the segments that were there when it began.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// The newest of them.
    last: u32,
    /// Bytes that were in use in what went.
    released: u64,
    copied: u64,
}

impl Round {
    fn beginning_at(last: u32) -> Self {
        Self {
            last,
            released: 0,
            copied: 0,
        }
    }

    fn is_over(self, oldest: u32) -> bool {
        oldest > self.last
    }

    fn was_for_nothing(self) -> bool {
        self.copied * 4 > self.released * MOST
    }
}

impl Collector {
    /// Drops the oldest segments until the directory is within its budget; at low priority only finds that this is due. A failure
    /// is logged once, and tried again at the next call; until then the indexer does not count on a release.
    pub(crate) fn collect(&mut self, indexer: &mut Indexer) {
        let (began, live) = (Instant::now(), indexer.parts.index.backlog().bytes);
        let rests = self.rest.is_some_and(|rest| rest.goes_on(live));
        let was_short = indexer.short_room.is_some();
        let collected = collect(indexer, rests);
        if let (Some(room), false) = (indexer.short_room, was_short) {
            forewarn(room, indexer.options.retention.backlog_max_bytes);
        }
        match collected {
            Ok(collected) => {
                indexer.makes_room = collected == Collected::Enough;
                self.held_up = None;
                match collected {
                    Collected::ForNothing if rests => {}
                    Collected::ForNothing => {
                        let span = indexer.options.retention.rest.max(began.elapsed());
                        self.rest(span, indexer.parts.index.backlog().bytes);
                    }
                    Collected::Enough | Collected::Nothing => self.rest = None,
                }
            }
            Err(error) => {
                indexer.makes_room = false;
                metrics::counter!("perseat_retention_failures_total").increment(1);
                let reason = error.to_string();
                if self.held_up.as_ref() != Some(&reason) {
                    tracing::error!(error = &error as &dyn std::error::Error, "the oldest segment cannot be dropped");
                }
                self.held_up = Some(reason);
            }
        }
    }

    fn rest(&mut self, span: Duration, live: u64) {
        let rest = Rest {
            since: Instant::now(),
            span,
            live,
        };
        if self.rest.replace(rest).is_none() {
            tracing::warn!(
                live_bytes = live,
                "live executions take what the budget leaves for the journal: raise retention.budget, or let executions end"
            );
        }
    }
}

/// Says that live executions may not fit, before they do not.
fn forewarn(room_bytes: u64, backlog_max_bytes: u64) {
    tracing::warn!(
        room_bytes,
        backlog_max_bytes,
        "databases leave live executions less of the budget than they may take: raise retention.budget, or lower backlog.max-bytes"
    );
}

/// Drops segments while that is due; while the collector `rests`, only finds whether it is.
fn collect(indexer: &mut Indexer, rests: bool) -> Result<Collected, CollectError> {
    let mut round: Option<Round> = None;
    loop {
        let (options, journal) = (&indexer.options.retention, &indexer.parts.journal);
        let others = options.others()?;
        metrics::gauge!("perseat_storage_bytes").set((journal.total_bytes() + others) as f64);
        let limit = options.limit_beside(others);
        let pinned = journal.pinned();
        let extra = pinned
            .filter(|pinned| pinned.age <= options.pinned_for)
            .map_or(0, |_| options.pinned_bytes);
        journal.limit(limit + extra);
        indexer.short_room = options.short_room(others);
        let segments = journal.segments();
        let oldest = segments.first().filter(|segment| segment.sealed && segments.len() > 1);
        // Kept for a backup: within bounds the directory grows, past them the backup fails and nothing else does.
        let is_kept = oldest.is_some_and(|oldest| pinned.is_some_and(|pinned| pinned.from <= oldest.number));
        let most = if is_kept { limit + extra } else { limit };
        indexer.is_drop_due = journal.held_bytes() + options.ahead() > most;
        if !indexer.is_drop_due || !indexer.is_urgent {
            return Ok(Collected::Enough);
        }
        let (Some(oldest), Some(newest)) = (oldest, segments.last()) else {
            return Ok(Collected::Nothing);
        };
        if rests {
            return Ok(Collected::ForNothing);
        }
        let now = match round.take() {
            Some(round) if !round.is_over(oldest.number) => round,
            Some(round) if round.was_for_nothing() => return Ok(Collected::ForNothing),
            _ => Round::beginning_at(newest.number),
        };
        if indexer.is_out_of_time() {
            return Ok(Collected::Nothing);
        }
        if is_kept {
            tracing::warn!("segments that a backup had not copied yet are given up for room; the backup fails");
            journal.break_pins();
            round = Some(now);
        } else {
            let copied = drop_segment(indexer, oldest)?;
            // A round may take long, and events wait for no longer than they may.
            indexer.set_pressure();
            round = Some(Round {
                released: now.released + oldest.bytes,
                copied: now.copied + copied,
                ..now
            });
        }
    }
}

/// Whether the journal may grow for a while without the index: half of its spares and more are left below the limit.
pub(super) fn has_headroom(indexer: &Indexer) -> bool {
    let (options, journal) = (&indexer.options.retention, &indexer.parts.journal);
    let growth = options.margin / 2 + options.ahead();
    options.journal_limit().is_ok_and(|limit| journal.held_bytes() + growth <= limit)
}

/// Bytes allocated to the files below `directory`, without those below `except`.
fn allocated(directory: &Path, except: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // A file may be removed while this runs.
        let Ok(meta) = entry.metadata() else { continue };
        // A database that is being written anew has taken the place of another within seconds: the margin is for that.
        let is_draft = entry.file_name().as_encoded_bytes().ends_with(b".redb.new");
        // A file system's own, which often nobody but root may read.
        let is_foreign = entry.file_name() == "lost+found";
        if meta.is_dir() && !is_foreign && entry.path() != except {
            total += readable(allocated(&entry.path(), except))?;
        } else if meta.is_file() && !is_draft {
            total += meta.blocks() * 512;
        }
    }
    Ok(total)
}

/// What may not be read is somebody else's, and what is gone by now takes nothing: neither keeps room from being made.
fn readable(bytes: io::Result<u64>) -> io::Result<u64> {
    let is_passed_over = |error: &io::Error| matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound);
    bytes.or_else(|error| if is_passed_over(&error) { Ok(0) } else { Err(error) })
}

/// What was live and is appended again.
#[derive(Clone, Copy, Debug, Default)]
struct Carried {
    executions: u64,
    bytes: u64,
}

/// Gives how many bytes were appended again for it.
fn drop_segment(indexer: &mut Indexer, segment: &SegmentInfo) -> Result<u64, CollectError> {
    let carried = match segment.last {
        Some(last) => carry_all(indexer, last)?,
        None => Carried::default(),
    };
    let released = indexer.parts.journal.release(segment.number + 1)?;
    if released.segments == 0 {
        // A backup began in between.
        return Ok(carried.bytes);
    }
    #[cfg(feature = "faults")]
    kill_point::reach("segment-released");
    let DroppedHistory { files, rows, bytes } = indexer.parts.index.history().drop_before(segment.number + 1);
    #[cfg(feature = "faults")]
    kill_point::reach("history-dropped");
    metrics::counter!("perseat_retention_dropped_segments_total").increment(u64::from(released.segments));
    metrics::counter!("perseat_retention_dropped_executions_total").increment(rows);
    metrics::counter!("perseat_retention_carried_executions_total").increment(carried.executions);
    tracing::info!(
        segment = segment.number,
        segment_bytes = released.bytes,
        executions_carried = carried.executions,
        bytes_carried = carried.bytes,
        history_files = files,
        history_rows = rows,
        history_bytes = bytes,
        "dropped the oldest segment to stay within the storage budget"
    );
    Ok(carried.bytes)
}

/// Appends what of live executions stands at or below `last` again and waits until it is committed to state; gives how much that is.
fn carry_all(indexer: &mut Indexer, last: Position) -> Result<Carried, CollectError> {
    indexer.advance_to(last)?;
    let live = indexer.parts.index.live_through(last.to_bits())?;
    let mut carried = Carried {
        executions: live.len() as u64,
        bytes: 0,
    };
    let mut in_flight: Vec<(ExecutionId, Append)> = Vec::new();
    let (mut bytes, mut copied) = (0, last);
    for ToCarry {
        execution,
        partition,
        runs,
    } in live
    {
        for payload in pack_runs(indexer, execution, &runs)? {
            bytes += payload.len();
            carried.bytes += payload.len() as u64;
            let entry = NewEntry {
                partition,
                epoch: indexer.options.retention.epoch,
                payload: payload.into(),
            };
            in_flight.push((execution, indexer.parts.journal.append_first(vec![entry])));
        }
        if bytes >= indexer.options.retention.carry_bytes {
            copied = copied.max(settle(in_flight.drain(..))?.unwrap_or(copied));
            bytes = 0;
        }
    }
    copied = copied.max(settle(in_flight.drain(..))?.unwrap_or(copied));
    #[cfg(feature = "faults")]
    if carried.executions > 0 {
        kill_point::reach("entries-carried");
    }
    indexer.advance_to(copied)?;
    #[cfg(feature = "faults")]
    if carried.executions > 0 {
        kill_point::reach("carried-indexed");
    }
    match indexer.parts.index.live_through(last.to_bits())?.is_empty() {
        true => Ok(carried),
        false => Err(CollectError::StillLive),
    }
}

/// Waits for all; gives the last position.
fn settle(appends: impl Iterator<Item = (ExecutionId, Append)>) -> Result<Option<Position>, CollectError> {
    let mut settled = Ok(None);
    // Every append is waited for, also after one was refused: what was written has to be applied before a retry.
    for (execution, append) in appends {
        match append.wait() {
            Ok(position) => settled = settled.map(|last| last.max(Some(position))),
            Err(source) => settled = settled.and(Err(CollectError::Append { execution, source })),
        }
    }
    settled
}

fn pack_runs(indexer: &Indexer, execution: ExecutionId, runs: &[(u32, Vec<EntryRef>)]) -> Result<Vec<Vec<u8>>, CollectError> {
    let mut all = Vec::new();
    for (first, references) in runs {
        let read = |reference| to_copy(indexer, execution, reference);
        let entries = references.iter().map(read).collect::<Result<Vec<_>, _>>()?.concat();
        let packed = pack(execution, *first, entries, indexer.options.retention.max_entry_bytes);
        all.extend(packed.into_iter().map(|carried| Entry::from(carried).encode()));
    }
    Ok(all)
}

/// What stands there. In the place of what is damaged are as many entries that are none: it could hold up the release of its segment for
/// ever, and so everybody; whoever takes its execution up finds out.
fn to_copy(indexer: &Indexer, execution: ExecutionId, reference: &EntryRef) -> Result<Vec<Bytes>, CollectError> {
    let (journal, at) = (&indexer.parts.journal, Position::from_bits(reference.position));
    let read = match journal.read(at) {
        // A read may go wrong where the disk holds what it should.
        Err(ReadError::Corrupt { .. }) => journal.read(at),
        read => read,
    };
    let damage = match read {
        Ok(committed) => match unpack(committed.payload, reference.entries) {
            Err(error @ EntryError::Malformed { .. }) => error.to_string(),
            // What a newer version wrote is left to it.
            known => return known.map_err(|source| CollectError::Decode { execution, source }),
        },
        // Nobody but the collector releases a segment: one that is not there was lost.
        Err(error @ (ReadError::Corrupt { .. } | ReadError::Expired(_))) => error.to_string(),
        Err(source @ ReadError::Io(_)) => return Err(CollectError::Read { execution, source }),
    };
    tracing::error!(%execution, position = reference.position, damage, "an entry of a live execution is damaged, and so copied as a gap");
    Ok(vec![Bytes::new(); reference.entries as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_being_written_anew_costs_no_history() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let journal = data.join("journal");
        std::fs::create_dir(&journal).unwrap();
        std::fs::write(data.join("catalog.redb"), [1; 50_000]).unwrap();
        let options = RetentionOptions::new(1 << 30, data, &journal, &perseat_journal::Options::default());
        let before = options.journal_limit().unwrap();
        std::fs::write(data.join("catalog.redb.new"), [1; 50_000]).unwrap();
        assert_eq!(options.journal_limit().unwrap(), before);
        std::fs::write(data.join("catalog.redb.copy"), [1; 50_000]).unwrap();
        assert!(options.journal_limit().unwrap() < before);
    }

    #[test]
    fn what_the_file_system_keeps_for_itself_is_not_measured() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = folder.path().join("lost+found");
        std::fs::create_dir(&foreign).unwrap();
        std::fs::write(foreign.join("#12"), [1; 50_000]).unwrap();
        assert_eq!(allocated(folder.path(), &folder.path().join("journal")).unwrap(), 0);
    }

    #[test]
    fn what_may_not_be_read_or_is_gone_keeps_nobody_from_measuring_the_rest() {
        let measured = |kind: io::ErrorKind| readable(Err(kind.into())).map_err(|error| error.kind());
        assert_eq!(measured(io::ErrorKind::PermissionDenied), Ok(0));
        assert_eq!(measured(io::ErrorKind::NotFound), Ok(0));
        assert_eq!(
            measured(io::ErrorKind::Other),
            Err(io::ErrorKind::Other),
            "how much is there is not known then"
        );
        assert_eq!(readable(Ok(7)).unwrap(), 7);
    }
}
