//! What can go wrong with the indexes, sorted by what to do about it.

use crate::error::StoreError;
use perseat_domain::entry::EntryError;

/// Why the indexes could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A file fails: wait for room on the disk, or make history again from the journal, or restore state.
    #[error("the index {file} cannot be used")]
    Store {
        /// The file's name.
        file: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// An entry of the journal does not decode.
    #[error("the journal entry at {position:#x} cannot be indexed")]
    Entry {
        /// Where.
        position: u64,
        /// Why.
        #[source]
        source: EntryError,
    },
}

impl IndexError {
    pub(crate) fn from_io(file: &str, error: std::io::Error) -> Self {
        Self::Store {
            file: file.to_owned(),
            source: StoreError::from_io(error),
        }
    }

    pub(crate) fn undecodable(file: &str) -> Self {
        let source = StoreError::corrupt("a row, or it is of a newer version, and so the file");
        Self::Store {
            file: file.to_owned(),
            source,
        }
    }

    pub(crate) fn panicked(file: &str) -> Self {
        Self::Store {
            file: file.to_owned(),
            source: StoreError::corrupt("a page (the library panicked on it)"),
        }
    }

    /// The file says that it is of another format.
    pub(crate) fn of_another_format(file: &str, found: u64, known: u64) -> Self {
        let narrow = |format| u32::try_from(format).unwrap_or(u32::MAX);
        Self::Store {
            file: file.to_owned(),
            source: StoreError::UnknownFormat {
                what: "the file",
                found: narrow(found),
                known: narrow(known),
            },
        }
    }

    pub(crate) fn incomplete(file: &str) -> Self {
        Self::Store {
            file: file.to_owned(),
            source: StoreError::corrupt("the file: it was not made to its end"),
        }
    }

    /// Whether the same may go well a while later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Store { source, .. } => source.is_passing(),
            Self::Entry { .. } => false,
        }
    }

    /// Whether the file is at fault, and not the disk or another process.
    pub(crate) fn is_damage(&self) -> bool {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        match self {
            Self::Store { source, .. } => match source {
                StoreError::Io(error) => matches!(error.kind(), InvalidData | UnexpectedEof),
                StoreError::Full(_) | StoreError::Locked { .. } | StoreError::Reopening => false,
                _ => true,
            },
            Self::Entry { .. } => false,
        }
    }

    /// Whether the only remedy is room on the disk.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(
            self,
            Self::Store {
                source: StoreError::Full(_),
                ..
            }
        )
    }
}
