//! Opens a redb database with a bounded cache, and opens it again after an I/O error.
//!
//! After any failed read or write redb refuses everything until it is opened again. A full disk must not need a
//! restart, so the handle closes a failed database once its last reader is gone and opens it on the next use.

use crate::error::StoreError;
use crate::folder::Folder;
use redb::{BackendError, Builder, Database, StorageBackend};
use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A database that survives I/O errors.
pub(crate) struct Handle {
    place: Place,
    slot: Mutex<Slot>,
}

/// Where the file is and how it is opened.
struct Place {
    folder: Arc<dyn Folder>,
    name: String,
    cache_bytes: usize,
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
    /// Opens or creates the file.
    pub(crate) fn open(folder: Arc<dyn Folder>, name: &str, cache_bytes: usize) -> Result<Self, StoreError> {
        let place = Place {
            folder,
            name: name.to_owned(),
            cache_bytes,
        };
        let slot = Mutex::new(place.open()?);
        Ok(Self { place, slot })
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
            _ => match self.place.open() {
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

impl Place {
    fn open(&self) -> Result<Slot, StoreError> {
        if !self.folder.exists(&self.name) {
            self.create()?;
        }
        // Also for a file that is there: its name may be the remains of a creation that failed, seen and not on disk.
        self.folder.sync().map_err(StoreError::from_io)?;
        let (database, failed) = self.database(&self.name)?;
        Ok(Slot::Open(Arc::new(database), failed))
    }

    /// Makes the database under another name first: one whose making was cut off would not open, and nobody could tell it
    /// from one that is damaged.
    fn create(&self) -> Result<(), StoreError> {
        let draft = format!("{}.new", self.name);
        if self.folder.exists(&draft) {
            self.folder.remove(&draft)?;
        }
        let (database, failed) = self.database(&draft)?;
        drop(database);
        // Closing it writes, and says nothing of a failure.
        if failed.load(Ordering::Acquire) {
            return Err(io::Error::other("a new database could not be written").into());
        }
        Ok(self.folder.rename(&draft, &self.name)?)
    }

    fn database(&self, name: &str) -> Result<(Database, Arc<AtomicBool>), StoreError> {
        let inner = self.folder.open(name)?;
        let failed = Arc::new(AtomicBool::new(false));
        let mut builder = Builder::new();
        builder.set_cache_size(self.cache_bytes);
        let database = builder.create_with_backend(Watched {
            inner,
            failed: Arc::clone(&failed),
        })?;
        Ok((database, failed))
    }
}

/// A backend that remembers whether it ever failed.
#[derive(Debug)]
struct Watched {
    inner: Box<dyn StorageBackend>,
    failed: Arc<AtomicBool>,
}

impl Watched {
    fn watch<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        result
    }
}

impl StorageBackend for Watched {
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
