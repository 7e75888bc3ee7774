//! Opens a redb database with a bounded cache, and opens it again after an I/O error.
//!
//! After any failed read or write redb refuses everything until it is opened again. A full disk must not need a
//! restart, so the handle closes a failed database once its last reader is gone and opens it on the next use.

use crate::error::StoreError;
use redb::backends::FileBackend;
use redb::{BackendError, Builder, Database, StorageBackend};
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

type Open = Box<dyn Fn(Arc<AtomicBool>) -> Result<Database, StoreError> + Send + Sync>;

/// A database that survives I/O errors.
pub(crate) struct Handle {
    open: Open,
    slot: Mutex<Slot>,
}

enum Slot {
    /// With the flag that its backend raises on a failure.
    Open(Arc<Database>, Arc<AtomicBool>),
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
        let file = move || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        Self::with(Box::new(move |failed| {
            let inner = FileBackend::new(file().map_err(StoreError::from_io)?)?;
            Ok(builder(cache_bytes).create_with_backend(Watched { inner, failed })?)
        }))
    }

    /// Opens or creates over backends that `make` gives, one for each opening.
    pub(crate) fn open_with<B: StorageBackend>(
        make: impl Fn() -> io::Result<B> + Send + Sync + 'static,
        cache_bytes: usize,
    ) -> Result<Self, StoreError> {
        Self::with(Box::new(move |failed| {
            let inner = make().map_err(StoreError::from_io)?;
            Ok(builder(cache_bytes).create_with_backend(Watched { inner, failed })?)
        }))
    }

    fn with(open: Open) -> Result<Self, StoreError> {
        let slot = Mutex::new(open_slot(&open)?);
        Ok(Self { open, slot })
    }

    /// The open database.
    pub(crate) fn get(&self) -> Result<Arc<Database>, StoreError> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Slot::Open(database, failed) = &*slot {
            if !failed.load(Ordering::Acquire) {
                return Ok(Arc::clone(database));
            }
            let last = Arc::downgrade(database);
            *slot = Slot::Failed(last);
        }
        match &*slot {
            Slot::Failed(last) if last.strong_count() > 0 => Err(StoreError::Reopening),
            _ => match open_slot(&self.open) {
                Ok(Slot::Open(database, failed)) => {
                    *slot = Slot::Open(Arc::clone(&database), failed);
                    Ok(database)
                }
                // Its last reader is just closing it.
                Ok(Slot::Failed(_)) | Err(StoreError::Locked { .. }) => Err(StoreError::Reopening),
                Err(error) => Err(error),
            },
        }
    }
}

fn open_slot(open: &Open) -> Result<Slot, StoreError> {
    let failed = Arc::new(AtomicBool::new(false));
    let database = open(Arc::clone(&failed))?;
    Ok(Slot::Open(Arc::new(database), failed))
}

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    builder
}

/// A backend that remembers whether it ever failed.
#[derive(Debug)]
struct Watched<B> {
    inner: B,
    failed: Arc<AtomicBool>,
}

impl<B> Watched<B> {
    fn watch<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        result
    }
}

impl<B: StorageBackend> StorageBackend for Watched<B> {
    fn len(&self) -> io::Result<u64> {
        self.watch(self.inner.len())
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.watch(self.inner.read(offset, out))
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch(self.inner.set_len(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.watch(self.inner.sync_data())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.watch(self.inner.write(offset, data))
    }
    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }
    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }
    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }
    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }
    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
