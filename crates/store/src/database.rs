//! Opens a redb database with a bounded cache, and opens it again after an I/O error.
//!
//! After any failed read or write redb refuses everything until it is opened again. A full disk must not need a
//! restart, so the handle closes a failed database once its last reader is gone and opens it on the next use.

use crate::error::StoreError;
use redb::{Builder, Database, StorageBackend};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

type Open = Box<dyn Fn() -> Result<Database, StoreError> + Send + Sync>;

/// A database that survives I/O errors.
pub(crate) struct Handle {
    open: Open,
    slot: Mutex<Slot>,
}

enum Slot {
    Open(Arc<Database>),
    Failed(Weak<Database>),
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    /// Opens or creates the file at `path`.
    pub(crate) fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let path = path.to_owned();
        Self::with(Box::new(move || Ok(builder(cache_bytes).create(&path)?)))
    }

    /// Opens or creates over backends that `make` gives, one for each opening.
    pub(crate) fn open_with<B: StorageBackend>(
        make: impl Fn() -> io::Result<B> + Send + Sync + 'static,
        cache_bytes: usize,
    ) -> Result<Self, StoreError> {
        Self::with(Box::new(move || {
            let backend = make().map_err(StoreError::from_io)?;
            Ok(builder(cache_bytes).create_with_backend(backend)?)
        }))
    }

    fn with(open: Open) -> Result<Self, StoreError> {
        let slot = Mutex::new(Slot::Open(Arc::new(open()?)));
        Ok(Self { open, slot })
    }

    /// The open database.
    pub(crate) fn get(&self) -> Result<Arc<Database>, StoreError> {
        let mut slot = self.slot();
        if let Slot::Failed(last) = &*slot {
            if last.strong_count() > 0 {
                return Err(StoreError::Reopening);
            }
            *slot = Slot::Open(Arc::new((self.open)()?));
        }
        match &*slot {
            Slot::Open(database) => Ok(Arc::clone(database)),
            Slot::Failed(_) => Err(StoreError::Reopening),
        }
    }

    /// Notes what an operation on `database` ended with; an error of the disk closes it.
    pub(crate) fn note<T>(&self, database: Arc<Database>, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Io(_) | StoreError::Full(_) | StoreError::Reopening) = &result {
            let mut slot = self.slot();
            if matches!(&*slot, Slot::Open(open) if Arc::ptr_eq(open, &database)) {
                *slot = Slot::Failed(Arc::downgrade(&database));
            }
            // The last holder closes the file; never while `slot` is held by another thread that opens it.
            drop(database);
        }
        result
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    builder
}
