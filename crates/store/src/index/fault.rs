//! What can go wrong with the indexes, sorted by what to do about it.

use perseat_domain::entry::EntryError;
use std::io::ErrorKind;

/// Why the indexes could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The disk has no room: indexing stops until there is some.
    #[error("no room on disk for the index {file}")]
    Full {
        /// The file's name.
        file: String,
        /// What redb said.
        #[source]
        source: Box<redb::Error>,
    },
    /// The file is damaged. History is rebuilt from the journal, state must be restored.
    #[error("the index {file} is damaged")]
    Corrupt {
        /// The file's name.
        file: String,
        /// What redb said, unless a row did not decode.
        #[source]
        source: Option<Box<redb::Error>>,
    },
    /// Another fault of the file.
    #[error("the index {file} cannot be used")]
    Storage {
        /// The file's name.
        file: String,
        /// What redb said.
        #[source]
        source: Box<redb::Error>,
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
    pub(crate) fn of_file(file: &str, source: redb::Error) -> Self {
        let file = file.to_owned();
        match &source {
            redb::Error::Io(error) if is_full(error.kind()) => Self::Full {
                file,
                source: Box::new(source),
            },
            redb::Error::Io(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => Self::Corrupt {
                file,
                source: Some(Box::new(source)),
            },
            redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) | redb::Error::TableTypeMismatch { .. } => Self::Corrupt {
                file,
                source: Some(Box::new(source)),
            },
            _ => Self::Storage {
                file,
                source: Box::new(source),
            },
        }
    }

    pub(crate) fn undecodable(file: &str) -> Self {
        Self::Corrupt {
            file: file.to_owned(),
            source: None,
        }
    }

    /// Whether the only remedy is room on the disk.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
