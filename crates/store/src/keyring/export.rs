//! The keyring as one file that goes elsewhere: wrapped keys only, so the master key is not needed.

use super::file::{self, HEADER};
use super::slot::SLOT;
use super::{Keyring, Room};
use crate::error::StoreError;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::MutexGuard;

/// Bytes handed over at once.
const PIECE: usize = 1 << 20;

/// Which keyring, and how often it had been changed: tells an older copy from a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The random id of the file.
    pub id: [u8; 16],
    /// Raised whenever keys are made or destroyed; 0 in a file from before it was counted.
    pub generation: u64,
    /// Slots, free ones included. They never become fewer.
    pub slots: u64,
}

impl Mark {
    /// Whether a copy with this mark makes one with the mark `before` superfluous: it is of the same keyring, and not older.
    #[must_use]
    pub fn supersedes(&self, before: &Self) -> bool {
        self.id == before.id && self.generation >= before.generation
    }
}

/// Why a copy was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum KeyringCopyError<E> {
    /// The keyring cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whoever takes it refused.
    #[error("{0}")]
    Taker(E),
}

/// Reads the mark of a keyring file that nobody has open.
///
/// # Errors
/// If it is no keyring, or the disk fails.
pub fn mark(path: &Path) -> Result<Mark, StoreError> {
    let mut header = [0; HEADER];
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.read_exact(&mut header).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => StoreError::corrupt("keyring header"),
        _ => error.into(),
    })?;
    file::mark_of(&header, length).ok_or_else(|| StoreError::corrupt("keyring header"))
}

impl Keyring {
    /// Which keyring this is, and how often it was changed.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn mark(&self) -> Result<Mark, StoreError> {
        let room = self.room();
        self.mark_within(&room)
    }

    fn mark_within(&self, room: &MutexGuard<'_, Room>) -> Result<Mark, StoreError> {
        let header = self.vault().file.header()?;
        let length = (HEADER + room.slots as usize * SLOT) as u64;
        file::mark_of(&header, length).ok_or_else(|| StoreError::corrupt("keyring header"))
    }

    /// Hands the whole file over in pieces, as it is at one moment: nothing is made or destroyed meanwhile. `take` must not
    /// wait for anybody.
    ///
    /// # Errors
    /// What `take` returns, or if the disk fails.
    pub fn copy<E>(&self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<Mark, KeyringCopyError<E>> {
        let room = self.room();
        let mark = self.mark_within(&room)?;
        let end = (HEADER + room.slots as usize * SLOT) as u64;
        let (mut at, mut piece) = (0, vec![0; PIECE]);
        while at < end {
            let length = PIECE.min((end - at) as usize);
            self.vault().file.raw(at, &mut piece[..length])?;
            take(&piece[..length]).map_err(KeyringCopyError::Taker)?;
            at += length as u64;
        }
        Ok(mark)
    }
}
