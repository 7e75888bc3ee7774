//! One redb file of the index, with errors that name it.

use super::fault::IndexError;
use crate::database::Handle;
use crate::error::StoreError;
use redb::{ReadTransaction, ReadableDatabase, WriteTransaction};
use std::path::Path;
use std::sync::Arc;

/// A named database.
#[derive(Debug)]
pub(crate) struct IndexFile {
    name: String,
    handle: Handle,
}

impl IndexFile {
    pub(crate) fn open(path: &Path, cache_bytes: usize) -> Result<Self, IndexError> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let opened = Handle::open(path, cache_bytes);
        Self::with_handle(name, opened)
    }

    pub(crate) fn with_handle(name: String, opened: Result<Handle, StoreError>) -> Result<Self, IndexError> {
        match opened {
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
    pub(crate) fn write<T>(&self, write: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>) -> Result<T, IndexError> {
        self.named(|| {
            let database: Arc<_> = self.handle.get()?;
            let transaction = database.begin_write()?;
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
