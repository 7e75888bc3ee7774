//! Opens a redb database with a bounded cache, and opens it again after an I/O error.
//!
//! After any failed read or write redb refuses everything until it is opened again. A full disk must not need a
//! restart, so the handle closes a failed database once its last reader is gone and opens it on the next use.
//!
//! Writers wait for each other here, not in redb: whoever waited there would begin on a database that failed or was replaced
//! meanwhile, and keep it open.

use crate::error::StoreError;
use crate::folder::Folder;
use redb::{
    BackendError, Builder, CommitError, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase as _, StorageBackend,
    StorageError, WriteTransaction,
};
use std::fmt;
use std::io;
use std::ops::{Bound, Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

mod moment;
mod rewrite;

pub(crate) use moment::Moment;

/// A database that survives I/O errors.
pub(crate) struct Handle {
    place: Place,
    slot: Mutex<Slot>,
    /// Held by whoever writes.
    writer: Mutex<()>,
}

/// Where the file is and how it is opened.
struct Place {
    folder: Arc<dyn Folder>,
    name: String,
    cache_bytes: usize,
}

enum Slot {
    Open {
        database: Arc<Database>,
        /// Raised by its backend on a failure.
        failed: Arc<AtomicBool>,
        /// What readers share until the next commit.
        moment: Option<Arc<Moment>>,
    },
    Failed(Weak<Database>),
}

impl Slot {
    fn open(database: Arc<Database>, failed: Arc<AtomicBool>) -> Self {
        Self::Open {
            database,
            failed,
            moment: None,
        }
    }
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
        let (database, failed) = place.open()?;
        let slot = Mutex::new(Slot::open(database, failed));
        Ok(Self {
            place,
            slot,
            writer: Mutex::default(),
        })
    }

    /// The open database.
    pub(crate) fn get(&self) -> Result<Arc<Database>, StoreError> {
        self.open_in(&mut self.slot())
    }

    fn open_in(&self, slot: &mut Slot) -> Result<Arc<Database>, StoreError> {
        if let Slot::Open { database, failed, .. } = &*slot {
            if !failed.load(Ordering::Acquire) {
                return Ok(Arc::clone(database));
            }
            let last = Arc::downgrade(database);
            *slot = Slot::Failed(last);
        }
        match &*slot {
            Slot::Failed(last) if last.strong_count() > 0 => Err(StoreError::Reopening),
            _ => match self.place.open() {
                Ok((database, failed)) => {
                    *slot = Slot::open(Arc::clone(&database), failed);
                    Ok(database)
                }
                // Its last reader is just closing it.
                Err(StoreError::Locked { .. }) => Err(StoreError::Reopening),
                Err(error) => Err(error),
            },
        }
    }

    /// Begins to write, once nobody else does. The only way to.
    pub(crate) fn write(&self) -> Result<Writing<'_>, StoreError> {
        let turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let database = self.get()?;
        Ok(Writing {
            transaction: database.begin_write()?,
            database,
            handle: self,
            _turn: turn,
        })
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one write transaction of the open database.
pub(crate) struct Writing<'h> {
    // Before the database, so that it ends first, and both before the turn: whoever writes next finds the database closed if
    // it failed.
    transaction: WriteTransaction,
    database: Arc<Database>,
    handle: &'h Handle,
    _turn: MutexGuard<'h, ()>,
}

impl Writing<'_> {
    /// Makes what was written durable; whoever reads afterwards sees it.
    pub(crate) fn commit(self) -> Result<(), CommitError> {
        let Self { transaction, handle, .. } = self;
        let committed = transaction.commit();
        // While nobody else writes: what the next one writes depends on what it reads.
        handle.pass();
        committed
    }

    /// Takes back what was written.
    pub(crate) fn abort(self) -> Result<(), StorageError> {
        self.transaction.abort()
    }
}

impl Deref for Writing<'_> {
    type Target = WriteTransaction;

    fn deref(&self) -> &WriteTransaction {
        &self.transaction
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut WriteTransaction {
        &mut self.transaction
    }
}

impl Place {
    fn open(&self) -> Result<(Arc<Database>, Arc<AtomicBool>), StoreError> {
        if !self.folder.exists(&self.name) {
            self.create()?;
        }
        // Also for a file that is there: its name may be the remains of a creation that failed, seen and not on disk.
        self.folder.sync().map_err(StoreError::from_io)?;
        let (database, failed) = self.database(&self.name)?;
        Ok((Arc::new(database), failed))
    }

    /// Makes the database under another name first: one whose making was cut off would not open, and nobody could tell it
    /// from one that is damaged.
    fn create(&self) -> Result<(), StoreError> {
        let (database, failed) = self.begin_draft()?;
        drop(database);
        // Closing it writes, and says nothing of a failure.
        check(&failed)?;
        Ok(self.folder.rename(&self.draft(), &self.name)?)
    }

    /// The name under which a database is made.
    fn draft(&self) -> String {
        format!("{}.new", self.name)
    }

    /// An empty database under that name.
    fn begin_draft(&self) -> Result<(Database, Arc<AtomicBool>), StoreError> {
        self.remove_draft()?;
        self.database(&self.draft())
    }

    /// Removes what is there under that name.
    fn remove_draft(&self) -> Result<(), StoreError> {
        let draft = self.draft();
        if self.folder.exists(&draft) {
            self.folder.remove(&draft)?;
        }
        Ok(())
    }

    fn database(&self, name: &str) -> Result<(Database, Arc<AtomicBool>), StoreError> {
        let (watched, failed) = Watched::new(self.folder.open(name)?, self.folder.is_read_only());
        Ok((self.builder().create_with_backend(watched)?, failed))
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder.set_cache_size(self.cache_bytes);
        builder
    }
}

/// A database that is only read: its file stays as it is. After an I/O error it has to be opened again.
pub(crate) struct Reader {
    database: ReadOnlyDatabase,
    /// Raised by its backend on a failure.
    failed: Arc<AtomicBool>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a file that is there; `None` if it was not closed: only writing to it repairs it.
    pub(crate) fn open(folder: Arc<dyn Folder>, name: &str, cache_bytes: usize) -> Result<Option<Self>, StoreError> {
        let place = Place {
            folder,
            name: name.to_owned(),
            cache_bytes,
        };
        let (watched, failed) = Watched::new(place.folder.open(name)?, true);
        match place.builder().open_read_only_with_backend(watched) {
            Ok(database) => Ok(Some(Self { database, failed })),
            Err(DatabaseError::RepairAborted) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        Ok(self.database.begin_read()?)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}

/// Whether everything that was written to a new database got to its file.
fn check(failed: &AtomicBool) -> Result<(), StoreError> {
    match failed.load(Ordering::Acquire) {
        true => Err(io::Error::other("a new database could not be written").into()),
        false => Ok(()),
    }
}

/// Where redb's header says whether the file was closed, and the bit that says it was not (the "god byte" of its documented
/// file format; `a_file_that_was_not_closed_says_so` holds an upgrade to it).
const STATE_OFFSET: usize = 9;
const NOT_CLOSED: u8 = 2;
/// The file is written again in pieces of this size.
const PIECE: usize = 1 << 20;

/// Writes what the file holds once more, and syncs it.
fn write_again(file: &dyn StorageBackend) -> io::Result<()> {
    let length = file.len()?;
    let mut piece = vec![0; PIECE];
    for offset in (0..length).step_by(PIECE) {
        let bytes = PIECE.min(usize::try_from(length - offset).unwrap_or(PIECE));
        file.read(offset, &mut piece[..bytes])?;
        file.write(offset, &piece[..bytes])?;
    }
    file.sync_data()
}

/// A backend that remembers whether it ever failed, and sees to it that what a file shows is on the disk before anything is
/// built on it: after a sync that failed the system shows what was written and takes it for stored, and a repair would keep
/// pages that a crash takes back.
#[derive(Debug)]
struct Watched {
    inner: Box<dyn StorageBackend>,
    failed: Arc<AtomicBool>,
    /// Whether the header was read: redb has locked the file by then, and read nothing else. True from the start where nothing that is
    /// built on the file gets to the disk.
    is_seen: AtomicBool,
}

impl Watched {
    fn new(inner: Box<dyn StorageBackend>, is_seen: bool) -> (Self, Arc<AtomicBool>) {
        let failed = Arc::new(AtomicBool::new(false));
        let watched = Self {
            inner,
            failed: Arc::clone(&failed),
            is_seen: AtomicBool::new(is_seen),
        };
        (watched, failed)
    }

    fn look(&self, header: &[u8]) -> io::Result<()> {
        let was_closed = header.get(STATE_OFFSET).is_none_or(|state| state & NOT_CLOSED == 0);
        if header.len() <= STATE_OFFSET || self.is_seen.swap(true, Ordering::Relaxed) || was_closed {
            return Ok(());
        }
        write_again(&*self.inner)
    }

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
        let read = self.inner.read(offset, out);
        let looked = read.and_then(|()| if offset == 0 { self.look(out) } else { Ok(()) });
        self.watch(looked)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault_backend::FaultFolder;
    use perseat_journal::disk::{Fault, MemoryDisk};
    use redb::{ReadableTable, TableDefinition};
    use std::collections::BTreeSet;

    const NUMBERS: TableDefinition<'_, u32, u32> = TableDefinition::new("numbers");

    /// Writes many pages of one number.
    fn write(database: &Database, number: u32) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        let mut table = transaction.open_table(NUMBERS)?;
        for key in 0..3_000 {
            table.insert(key, number)?;
        }
        drop(table);
        Ok(transaction.commit()?)
    }

    fn read(database: &Database) -> BTreeSet<u32> {
        let read = database.begin_read().unwrap();
        let table = read.open_table(NUMBERS).unwrap();
        let rows = table.iter().unwrap().map(|row| row.unwrap().1.value());
        rows.collect()
    }

    #[test]
    fn what_a_failed_sync_left_is_stored_before_anything_is_built_on_it() {
        let mut failures = 0;
        for (seed, call) in (0..8).flat_map(|seed| (0..40).map(move |call| (seed, call))) {
            let disk = MemoryDisk::new(seed);
            let open = || Handle::open(FaultFolder::of(&disk), "numbers.redb", 1 << 20).unwrap();
            let handle = open();
            write(&handle.get().unwrap(), 1).unwrap();
            disk.fail_at(disk.calls() + call, Fault::FailedSync);
            failures += u32::from(write(&handle.get().unwrap(), 2).is_err());
            drop(handle);
            // Another process finds what the system still shows, and closes the file.
            disk.heal();
            disk.reopen();
            let seen = read(&open().get().unwrap());
            assert!(seen == BTreeSet::from([1]) || seen == BTreeSet::from([2]), "{seen:?}");
            disk.crash();
            assert_eq!(read(&open().get().unwrap()), seen, "seed {seed}, call {call}");
        }
        assert!(failures >= 8, "{failures}");
    }

    fn state(disk: &MemoryDisk) -> u8 {
        let mut head = [0; STATE_OFFSET + 1];
        FaultFolder::of(disk).open("numbers.redb").unwrap().read(0, &mut head).unwrap();
        head[STATE_OFFSET] & NOT_CLOSED
    }

    #[test]
    fn a_file_that_was_not_closed_says_so() {
        let disk = MemoryDisk::new(1);
        let handle = Handle::open(FaultFolder::of(&disk), "numbers.redb", 1 << 20).unwrap();
        let database = handle.get().unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(NUMBERS).unwrap().insert(1, 2).unwrap();
        transaction.commit().unwrap();
        assert_eq!(state(&disk), NOT_CLOSED);
        drop((database, handle));
        assert_eq!(state(&disk), 0);
        let handle = Handle::open(FaultFolder::of(&disk), "numbers.redb", 1 << 20).unwrap();
        let read = handle.get().unwrap().begin_read().unwrap();
        assert_eq!(read.open_table(NUMBERS).unwrap().get(1).unwrap().unwrap().value(), 2);
    }
}
