//! Why a store refuses or fails.
//!
//! Callers match on the variant; the library below stays in the source chain and never in the type.

use std::io;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a store refuses or fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A value that must be unique is taken.
    #[error("{record}: {field} {value:?} is taken")]
    Conflict {
        /// The type of the record that was to be written.
        record: &'static str,
        /// The field whose value is taken.
        field: &'static str,
        /// The value.
        value: String,
    },
    /// A field that is fixed at creation was to change.
    #[error("{record} {id}: {field} cannot change")]
    Fixed {
        /// The type of the record.
        record: &'static str,
        /// Its id.
        id: String,
        /// The field.
        field: &'static str,
    },
    /// Something else still refers to the record.
    #[error("{record} {id} is in use by {by}")]
    InUse {
        /// The type of the record.
        record: &'static str,
        /// Its id.
        id: String,
        /// The type of what refers to it.
        by: &'static str,
    },
    /// There is no such record.
    #[error("there is no {record} {id}")]
    NotFound {
        /// The type of the record.
        record: &'static str,
        /// Its id.
        id: String,
    },
    /// The key that would open this was destroyed, or never made.
    #[error("there is no key of {owner}")]
    NoKey {
        /// Whose key.
        owner: String,
    },
    /// A deleted owner's key is still to be destroyed, and a new one would be, too. Try again.
    #[error("the key of {owner} is still to be destroyed")]
    KeyLeft {
        /// Whose key.
        owner: String,
    },
    /// The keyring belongs to another master key.
    #[error("the master key does not fit this keyring")]
    WrongMasterKey,
    /// Another process holds the file.
    #[error("{path} is in use by another process")]
    Locked {
        /// The file.
        path: String,
    },
    /// The master key's file can be read by others.
    #[error("{path}: mode {mode:o} lets others read the master key; make it 600")]
    KeyExposed {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Stored bytes are not what was written.
    #[error("{what} is corrupt")]
    Corrupt {
        /// What was read.
        what: String,
    },
    /// Stored bytes were written by another version.
    #[error("{what} has format {found}, and this version reads {known}: the data was written by {} version", if found < known { "an older" } else { "a newer" })]
    UnknownFormat {
        /// What was read.
        what: &'static str,
        /// The format found.
        found: u32,
        /// The only format that this version reads.
        known: u32,
    },
    /// A stored record goes on where this version's ends.
    #[error("{what} has fields that this version does not know: the data was written by a newer version")]
    UnknownFields {
        /// What was read.
        what: &'static str,
    },
    /// A catalog of a backup, which is no catalog before it was restored.
    #[error("the catalog is a copy for a backup, in which what belongs to users is sealed with their keys")]
    SealedCopy,
    /// The disk or its quota is full. Nothing was written.
    #[error("the disk is full")]
    Full(#[source] Source),
    /// The database met an error and opens again once its readers are gone. Try again.
    #[error("the database is being opened again after an error")]
    Reopening,
    /// The disk failed.
    #[error("the disk failed")]
    Io(#[from] io::Error),
    /// More would be read than the caller may.
    #[error(transparent)]
    Spent(#[from] crate::catalog::Spent),
    /// Sealed bytes do not open.
    #[error(transparent)]
    Sealed(#[from] crate::seal::SealError),
    /// The database refused or failed.
    #[error("the database failed")]
    Database(#[source] Source),
}

impl StoreError {
    /// Whether the same may go well a while later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Reopening | Self::Io(_) | Self::KeyLeft { .. })
    }

    /// Sorts an I/O error: a full disk is a case of its own.
    pub(crate) fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::Full(error.into()),
            _ => Self::Io(error),
        }
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }

    fn from_storage(error: redb::StorageError) -> Self {
        match error {
            redb::StorageError::Io(error) => Self::from_io(error),
            redb::StorageError::Corrupted(what) => Self::Corrupt { what },
            redb::StorageError::PreviousIo | redb::StorageError::DatabaseClosed => Self::Reopening,
            other => Self::Database(other.into()),
        }
    }
}

impl From<redb::StorageError> for StoreError {
    fn from(error: redb::StorageError) -> Self {
        Self::from_storage(error)
    }
}

macro_rules! from_database_errors {
    ($($name:ident),*) => {$(
        impl From<redb::$name> for StoreError {
            fn from(error: redb::$name) -> Self {
                match error {
                    redb::$name::Storage(error) => Self::from_storage(error),
                    other => Self::Database(other.into()),
                }
            }
        }
    )*};
}

from_database_errors!(TableError, TransactionError, CommitError);

impl From<redb::DatabaseError> for StoreError {
    fn from(error: redb::DatabaseError) -> Self {
        match error {
            redb::DatabaseError::Storage(error) => Self::from_storage(error),
            redb::DatabaseError::DatabaseAlreadyOpen => Self::Locked {
                path: "the database".to_owned(),
            },
            other => Self::Database(other.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_format_is_said_to_be_older_or_newer() {
        let said = |found| {
            let what = "catalog";
            StoreError::UnknownFormat { what, found, known: 3 }.to_string()
        };
        assert_eq!(
            said(2),
            "catalog has format 2, and this version reads 3: the data was written by an older version"
        );
        assert_eq!(
            said(4),
            "catalog has format 4, and this version reads 3: the data was written by a newer version"
        );
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let full = redb::CommitError::Storage(redb::StorageError::Io(io::ErrorKind::StorageFull.into()));
        assert!(matches!(StoreError::from(full), StoreError::Full(_)));
        let broken = redb::StorageError::Io(io::ErrorKind::Other.into());
        assert!(matches!(StoreError::from(broken), StoreError::Io(_)));
    }
}
