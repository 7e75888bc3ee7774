//! Reads what the journal holds of one execution.

use perseat_domain::entry::{Accepted, Entry, EntryError, Started, StepRecord};
use perseat_domain::execution::Progress;
use perseat_journal::{Journal, Position, ReadError};
use perseat_store::index::EntryRef;

/// Why the past cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum PastError {
    /// The journal failed.
    #[error("cannot read an entry of the execution")]
    Read(#[from] ReadError),
    /// An entry does not decode.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// Nothing among the entries says how it began.
    #[error("the execution has no accepted entry")]
    NoAccepted,
}

/// The durable past of one execution.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) accepted: Accepted,
    pub(super) progress: Progress,
    pub(super) steps: Vec<StepRecord>,
    pub(super) started: Option<Started>,
}

impl Past {
    /// Reads the entries that `references` name; blocking.
    pub(super) fn read(journal: &Journal, references: &[EntryRef]) -> Result<Self, PastError> {
        let entries = references
            .iter()
            .map(|at| Ok(journal.read(Position::from_bits(at.position))?.payload));
        Self::gather(entries)
    }

    /// From stored forms, oldest first.
    pub(super) fn gather<B: AsRef<[u8]>>(entries: impl IntoIterator<Item = Result<B, PastError>>) -> Result<Self, PastError> {
        let (mut accepted, mut progress, mut steps, mut started) = (None, Progress::default(), Vec::new(), None);
        let mut take = |entry: Entry| {
            progress.record(&entry);
            match entry {
                Entry::Accepted(entry) => accepted = Some(entry),
                Entry::Started(entry) => started = Some(entry),
                Entry::StepsDone(entry) => steps.extend(entry.steps),
                Entry::Cancelled(_) | Entry::Ended(_) | Entry::Carried(_) => {}
            }
        };
        for bytes in entries {
            match Entry::decode(bytes?.as_ref())? {
                Entry::Carried(carried) => {
                    for bytes in carried.entries {
                        take(Entry::decode(&bytes)?);
                    }
                }
                entry => take(entry),
            }
        }
        Ok(Self {
            accepted: accepted.ok_or(PastError::NoAccepted)?,
            progress,
            steps,
            started,
        })
    }
}
