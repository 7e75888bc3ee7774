//! Brings the index up to the end of the journal before anything new is accepted.

use super::collector::RetentionOptions;
use super::full::hold_up;
use super::logged;
use super::lost;
use super::thread::Options;
use bytes::Bytes;
use perseat_domain::entry::EntryError;
use perseat_domain::id::ExecutionId;
use perseat_journal::{Journal, Position, ReadError};
use perseat_store::history::History;
use perseat_store::index::{
    Ahead, Backlog, Beginning, CARRY_OVERHEAD, Copies, ExecutionIndex, Feed, Found, IndexError, LiveExecution, Logged, Rebuild, unpack,
};
use perseat_store::pressure::Ballast;
use perseat_store::state::StateStore;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Hears how many entries were read.
pub type Progress<'p> = &'p mut dyn FnMut(u64);

/// What the owners start from.
#[derive(Debug)]
pub struct Recovered {
    /// The index, at the end of the journal; on a full disk before it, and the feed leaves the rest to the journal.
    pub index: Arc<ExecutionIndex>,
    /// Every live execution, in the order in which they were accepted.
    pub live: Vec<LiveExecution>,
    /// Their number and size: the admission counters start from here.
    pub backlog: Backlog,
    /// Journal entries read after the watermark.
    pub replayed: u64,
    /// Places where the journal could not be read.
    pub damaged: u64,
    /// The highest epoch of the entries that were read.
    pub epoch: u64,
}

/// Why the daemon must not start.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The indexes cannot be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The disk did not answer. What it holds is not known, so nothing of it may be passed over.
    #[error("the journal cannot be read; nothing of it is passed over, and the next start reads it again")]
    Journal(#[source] ReadError),
    /// State is gone, and the journal does not say whether executions in it had ended.
    #[error(
        "state.redb is missing, and {executions} executions are in the journal only as copies of their entries: whether they had \
         ended cannot be told, and to run one again that had may repeat what it did outside. Put back state.redb as it was when the \
         daemon stopped, or, to let them run, start once with `perseat serve --resume-carried`"
    )]
    StateLost {
        /// How many.
        executions: usize,
    },
    /// Segments are smaller than they were. What cannot be carried keeps its segment, and in the end there is no room for anything.
    #[error(
        "execution {execution} is live and has an entry of {bytes} bytes, for which a segment of the journal has to hold {segment_bytes}: \
         raise retention.budget to {budget} bytes at least until it has ended (where journal.segment is set, that)"
    )]
    Oversized {
        /// Which.
        execution: ExecutionId,
        /// Of its entry.
        bytes: usize,
        /// The least that works.
        segment_bytes: u64,
        /// The least with which segments are so large by themselves.
        budget: u64,
    },
    /// The journal holds an entry that this version does not know.
    #[error("the journal entry at {position} cannot be read")]
    Entry {
        /// Where.
        position: Position,
        /// Why.
        #[source]
        source: EntryError,
    },
}

/// Makes missing history again, applies what the journal holds after the watermark, and lists what is live. On a full disk it does without
/// that history, and of what cannot be stored one commit stays in memory: behind it the journal is read for what is live alone, and
/// the indexer takes the rest from there. `progress` hears of each entry that is read.
///
/// # Errors
/// If an index fails, the disk does not answer, an entry was written by a newer version, or state was lost and the journal leaves it in doubt what
/// is live.
pub fn recover(
    journal: &Journal,
    state: Arc<StateStore>,
    history: &Arc<History>,
    feed: &Arc<Feed>,
    ballast: &Ballast,
    options: &Options,
    progress: Progress<'_>,
) -> Result<Recovered, RecoverError> {
    let watermark = state.watermark()?.map(Position::from_bits);
    let mut damaged = 0;
    let missing = watermark.map_or(BTreeSet::new(), |watermark| missing_history(journal, history, watermark));
    let is_being_rebuilt = state.is_being_rebuilt()?;
    let copies = match is_being_rebuilt || !missing.is_empty() {
        true => lost::look(journal, progress).map_err(RecoverError::Journal)?,
        false => Copies::default(),
    };
    if let Some(watermark) = watermark.filter(|_| !missing.is_empty()) {
        rebuild_history(journal, history, (missing, watermark), &copies, options, &mut damaged, progress)?;
    }
    let in_doubt = if is_being_rebuilt { copies.in_doubt() } else { 0 };
    if in_doubt > 0 && !options.resume_carried {
        return Err(RecoverError::StateLost { executions: in_doubt });
    }
    if in_doubt > 0 {
        tracing::warn!(
            executions = in_doubt,
            "state was lost: executions of which only copies are left are live again, as the command line says"
        );
    }
    let head = journal.head().to_bits();
    let index = ExecutionIndex::open(state, Arc::clone(history), Arc::clone(feed), head, options.limits)?;
    if is_being_rebuilt {
        let take = |beginning: &Beginning, copies: &[Logged]| index.take_over(beginning, copies);
        lost::take_over(journal, &copies, &mut damaged, take)?;
    }
    let (mut replayed, mut epoch, mut ahead) = (0, 0, None::<Ahead<'_>>);
    for entry in journal.scan(watermark) {
        match entry {
            Ok(committed) => {
                match &mut ahead {
                    None => index.apply([&logged(&committed)])?,
                    Some(ahead) => ahead.apply(&logged(&committed))?,
                }
                epoch = epoch.max(committed.epoch);
                #[cfg(feature = "faults")]
                perseat_journal::kill_point::reach("entry-replayed");
                replayed += 1;
                progress(replayed);
            }
            Err(error) => note_damage(error, &mut damaged)?,
        }
        if ahead.is_none() && index.pending() >= options.commit_entries && !commit(&index, ballast, is_being_rebuilt)? {
            ahead = Some(Ahead::new(&index));
        }
    }
    commit(&index, ballast, is_being_rebuilt)?;
    feed.lags(index.pending());
    if let Err(error) = index.rebuilt() {
        // The next start looks at the journal once more, and finds the same.
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "that state is whole again could not be noted"
        );
    }
    #[cfg(feature = "faults")]
    perseat_journal::kill_point::reach("index-recovered");
    let (live, backlog) = match ahead.map(Ahead::finish).transpose()? {
        Some(Found { live, backlog, entries }) => {
            feed.leave(entries, head);
            (live, backlog)
        }
        None => (index.live()?, index.backlog()),
    };
    check_sizes(journal, &live, &options.retention)?;
    tracing::info!(replayed, live = live.len(), damaged, "index recovered");
    Ok(Recovered {
        index: Arc::new(index),
        live,
        backlog,
        replayed,
        damaged,
        epoch,
    })
}

/// Whether each entry of what is live can be carried: for all of a segment together the journal makes room past its limit, as much as packing
/// them anew can take. What cannot be read the collector finds.
fn check_sizes(journal: &Journal, live: &[LiveExecution], retention: &RetentionOptions) -> Result<(), RecoverError> {
    let most = journal.most_first().saturating_sub(CARRY_OVERHEAD);
    for LiveExecution { execution, entries, .. } in live {
        for reference in entries.iter().filter(|reference| reference.bytes as usize > most) {
            let Ok(committed) = journal.read(Position::from_bits(reference.position)) else {
                continue;
            };
            let entries = unpack(committed.payload, reference.entries).unwrap_or_default();
            let largest = entries.iter().map(Bytes::len).max().unwrap_or(0);
            if largest > most {
                let segment_bytes = retention.segment_bytes + (largest - most) as u64;
                return Err(RecoverError::Oversized {
                    execution: *execution,
                    bytes: largest,
                    segment_bytes,
                    // It gives segments of a thirty-second.
                    budget: segment_bytes * 32,
                });
            }
        }
    }
    Ok(())
}

/// Commits what is pending. Where the disk stays full it is kept, but not the whole journal; whether it was stored.
fn commit(index: &ExecutionIndex, ballast: &Ballast, is_being_rebuilt: bool) -> Result<bool, IndexError> {
    loop {
        match index.flush() {
            Ok(_) => return Ok(true),
            Err(error) if !error.is_full() => return Err(error),
            Err(error) if hold_up(&error, true, ballast, index.history()) => {}
            Err(error) if is_being_rebuilt => return Err(error),
            Err(_) => return Ok(false),
        }
    }
}

/// The numbers of the history files that have to be made again up to the watermark.
fn missing_history(journal: &Journal, history: &History, watermark: Position) -> BTreeSet<u32> {
    let with_entries = journal
        .segments()
        .into_iter()
        .filter(|segment| segment.first.is_some_and(|first| first <= watermark));
    history.missing(with_entries.map(|segment| segment.number))
}

fn rebuild_history(
    journal: &Journal,
    history: &History,
    (missing, watermark): (BTreeSet<u32>, Position),
    copies: &Copies,
    options: &Options,
    damaged: &mut u64,
    progress: Progress<'_>,
) -> Result<(), RecoverError> {
    let files = missing.len();
    let mut rebuild = Rebuild::new(history, missing, options.limits);
    let take = |beginning: &Beginning, copies: &[Logged]| rebuild.take_over(beginning, copies);
    lost::take_over(journal, copies, damaged, take)?;
    match make_again(journal, rebuild, watermark, damaged, progress) {
        Ok(rows) => tracing::warn!(files, rows, "history made again from the journal"),
        Err(RecoverError::Index(error)) if error.is_full() => {
            let files = history.give_away_incomplete();
            tracing::warn!(
                files,
                error = &error as &dyn std::error::Error,
                "there is no room to make history again; the next start tries it"
            );
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Gives the number of rows.
fn make_again(
    journal: &Journal,
    mut rebuild: Rebuild<'_>,
    watermark: Position,
    damaged: &mut u64,
    progress: Progress<'_>,
) -> Result<u64, RecoverError> {
    let mut read = 0;
    for entry in journal.scan(None) {
        match entry {
            Ok(committed) if committed.position > watermark => break,
            Ok(committed) => {
                rebuild.apply(&logged(&committed))?;
                read += 1;
                progress(read);
            }
            Err(error) => note_damage(error, damaged)?,
        }
    }
    Ok(rebuild.finish()?)
}

/// Damage stays: what is behind it is taken all the same. What the disk did not answer may be whole.
pub(super) fn note_damage(error: ReadError, damaged: &mut u64) -> Result<(), RecoverError> {
    if matches!(error, ReadError::Io(_)) {
        return Err(RecoverError::Journal(error));
    }
    *damaged += 1;
    tracing::error!(error = &error as &dyn std::error::Error, "part of the journal cannot be read");
    Ok(())
}
