//! What can go wrong at each boundary of the log.

use std::io;

use thiserror::Error;

use crate::Position;

/// Why an append was not acknowledged.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AppendError {
    /// An entry's epoch is below the fence of its partition: another owner has taken over.
    #[error("the partition is fenced at a higher epoch")]
    Fenced,
    /// No room for the next segment. It passes by itself once there is room.
    #[error("no room for the next segment")]
    Full,
    /// More callers wait than the queue's limits allow.
    #[error("the append queue is at its limit")]
    Busy,
    /// The entries of the call do not fit `Options::max_entry_bytes`.
    #[error("the entry is larger than the limit")]
    TooLarge,
    /// Two segments in a row failed; nothing more is written before a restart.
    #[error("the journal failed to write and must be opened again")]
    Poisoned,
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
}

impl AppendError {
    /// Whether the same append may succeed later without anybody's doing.
    #[must_use]
    pub fn is_for_lack_of_room(self) -> bool {
        matches!(self, Self::Full | Self::Busy)
    }
}

/// Why an entry could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Its segment was released; the bytes may already belong to another one.
    #[error("the entry at {0} has expired")]
    Expired(Position),
    /// There is no intact entry where one has to be.
    #[error("no intact entry at {position}: {what}")]
    Corrupt {
        /// Where.
        position: Position,
        /// What is wrong.
        what: &'static str,
    },
    /// The disk did not answer. That says nothing of what is there: the same read may succeed later.
    #[error("reading the journal failed")]
    Io(#[from] io::Error),
}

/// Why the journal could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The options contradict each other.
    #[error("journal options: {0}")]
    Options(&'static str),
    /// A segment's header or name is damaged; nothing is dropped silently, so a person has to look.
    #[error("segment file {file} is damaged: {what}")]
    Corrupt {
        /// The file's name.
        file: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A later version of the daemon wrote this.
    #[error("segment file {file} has format version {found}; this build reads {supported}")]
    Version {
        /// The file's name.
        file: String,
        /// The version found.
        found: u16,
        /// The version this build reads.
        supported: u16,
    },
    /// Entries are gone that the caller remembers.
    #[error("its files end at segment {newest}, but what was written came to segment {remembered}")]
    Lost {
        /// The newest that is there; 0 where none is.
        newest: u32,
        /// The one that has to be.
        remembered: u32,
    },
    /// The disk did not answer.
    #[error("opening the journal failed")]
    Io(#[from] io::Error),
}

/// Why segments could not be released.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// The disk did not answer. What was released before stays released.
    #[error("releasing a segment failed")]
    Io(#[from] io::Error),
}
