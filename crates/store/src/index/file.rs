//! One redb file that can be closed and opened again: redb refuses all work after an I/O error until it was.

use super::fault::IndexError;
use redb::{Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, WriteTransaction};
use std::fmt;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// A redb database and how to open it again.
pub(crate) struct IndexFile {
    name: String,
    open: Opener,
    database: RwLock<Option<Database>>,
}

impl fmt::Debug for IndexFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexFile").field("name", &self.name).finish_non_exhaustive()
    }
}

impl IndexFile {
    pub(crate) fn open(path: &Path, cache_bytes: usize) -> Result<Self, IndexError> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let path = path.to_owned();
        Self::with_opener(name, Box::new(move || Builder::new().set_cache_size(cache_bytes).create(&path)))
    }

    pub(crate) fn with_opener(name: String, open: Opener) -> Result<Self, IndexError> {
        let database = open().map_err(|source| IndexError::of_file(&name, source.into()))?;
        Ok(Self {
            name,
            open,
            database: RwLock::new(Some(database)),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `read` in one read transaction.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, IndexError> {
        self.with(|database| read(&database.begin_read()?))
    }

    /// Runs `write` in one durable transaction.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>) -> Result<T, IndexError> {
        self.with(|database| {
            let transaction = database.begin_write()?;
            let result = write(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, IndexError> {
        let guard = self.ready()?;
        let Some(database) = guard.as_ref() else {
            return Err(IndexError::of_file(&self.name, redb::Error::DatabaseClosed));
        };
        let result = work(database);
        drop(guard);
        if let Err(redb::Error::Io(_) | redb::Error::PreviousIo) = &result {
            *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        result.map_err(|source| IndexError::of_file(&self.name, source))
    }

    /// The open database; opens it again where an I/O error closed it.
    fn ready(&self) -> Result<RwLockReadGuard<'_, Option<Database>>, IndexError> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        if guard.is_some() {
            return Ok(guard);
        }
        drop(guard);
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some((self.open)().map_err(|source| IndexError::of_file(&self.name, source.into()))?);
        }
        drop(slot);
        Ok(self.database.read().unwrap_or_else(PoisonError::into_inner))
    }
}
