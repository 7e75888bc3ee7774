//! One redb file of the index, with errors that name it.

use super::fault::IndexError;
use crate::database::Handle;
use crate::error::StoreError;
use crate::folder::Folder;
use redb::{ReadTransaction, ReadableDatabase, WriteTransaction};
use std::sync::Arc;

/// A named database.
#[derive(Debug)]
pub(crate) struct IndexFile {
    name: String,
    handle: Handle,
}

impl IndexFile {
    pub(crate) fn open(folder: Arc<dyn Folder>, name: &str, cache_bytes: usize) -> Result<Self, IndexError> {
        let name = name.to_owned();
        match Handle::open(folder, &name, cache_bytes) {
            Ok(handle) => Ok(Self { name, handle }),
            Err(source) => Err(IndexError::Store { file: name, source }),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `read` in one read transaction.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, IndexError> {
        self.named(|| read(&self.handle.get()?.begin_read()?))
    }

    /// Runs `write` in one durable transaction.
    ///
    /// It is written in two phases: rows first, then what makes them count. Were a sync to fail after both were written at
    /// once, the rows would be seen and counted on, and yet perhaps never get to the disk.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>) -> Result<T, IndexError> {
        self.named(|| {
            let mut transaction = self.handle.write()?;
            transaction.set_two_phase_commit(true);
            let result = write(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
    }

    fn named<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, IndexError> {
        work().map_err(|source| IndexError::Store {
            file: self.name.clone(),
            source,
        })
    }
}
