//! One moment of a database, shared by all who read until the next commit.
//!
//! Beginning a transaction and finding its tables costs as much as reading two rows, and between two commits every reader would
//! find the same. What a commit gives up may be reused one commit later for that.

use super::{Handle, Slot};
use crate::error::StoreError;
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, TableDefinition, TableHandle as _};
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows of bytes by bytes.
type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// What a database holds at one moment.
pub(crate) struct Moment {
    // Before the database, so that they end first.
    opened: Mutex<Vec<Arc<Rows>>>,
    transaction: ReadTransaction,
    _database: Arc<Database>,
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moment").finish_non_exhaustive()
    }
}

impl Moment {
    fn of(database: &Arc<Database>) -> Result<Self, StoreError> {
        Ok(Self {
            opened: Mutex::default(),
            transaction: database.begin_read()?,
            _database: Arc::clone(database),
        })
    }

    /// A table of this moment, opened once.
    pub(crate) fn rows(&self, table: TableDefinition<'static, &'static [u8], &'static [u8]>) -> Result<Arc<Rows>, StoreError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = opened.iter().find(|found| found.name() == table.name()) {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(self.transaction.open_table(table)?);
        opened.push(Arc::clone(&found));
        Ok(found)
    }
}

impl Deref for Moment {
    type Target = ReadTransaction;

    fn deref(&self) -> &ReadTransaction {
        &self.transaction
    }
}

impl Handle {
    /// The newest moment.
    pub(crate) fn moment(&self) -> Result<Arc<Moment>, StoreError> {
        let mut slot = self.slot();
        let database = self.open_in(&mut slot)?;
        let Slot::Open { moment, .. } = &mut *slot else {
            return Ok(Arc::new(Moment::of(&database)?));
        };
        if let Some(moment) = moment {
            return Ok(Arc::clone(moment));
        }
        Ok(Arc::clone(moment.insert(Arc::new(Moment::of(&database)?))))
    }

    /// Whoever reads from now on sees what was committed.
    pub(super) fn pass(&self) {
        let passed = match &mut *self.slot() {
            Slot::Open { moment, .. } => moment.take(),
            Slot::Failed(_) => None,
        };
        // Its end is not waited for by others.
        drop(passed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault_backend::FaultFolder;
    use perseat_journal::disk::{Fault, MemoryDisk};

    const TEXTS: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("texts");

    fn put(handle: &Handle, text: &[u8]) -> Result<(), StoreError> {
        let writing = handle.write()?;
        writing.open_table(TEXTS)?.insert(b"key".as_slice(), text)?;
        Ok(writing.commit()?)
    }

    fn read(moment: &Moment) -> Vec<u8> {
        moment
            .rows(TEXTS)
            .unwrap()
            .get(b"key".as_slice())
            .unwrap()
            .unwrap()
            .value()
            .to_vec()
    }

    #[test]
    fn readers_share_a_moment_until_the_next_commit() {
        let disk = MemoryDisk::new(1);
        let handle = Handle::open(FaultFolder::of(&disk), "texts.redb", 1 << 20).unwrap();
        put(&handle, b"first").unwrap();
        let first = handle.moment().unwrap();
        assert!(Arc::ptr_eq(&first, &handle.moment().unwrap()));
        assert!(Arc::ptr_eq(&first.rows(TEXTS).unwrap(), &first.rows(TEXTS).unwrap()));

        let writing = handle.write().unwrap();
        writing
            .open_table(TEXTS)
            .unwrap()
            .insert(b"key".as_slice(), b"never".as_slice())
            .unwrap();
        assert_eq!(read(&handle.moment().unwrap()), b"first", "nothing was committed yet");
        writing.abort().unwrap();
        assert_eq!(read(&handle.moment().unwrap()), b"first", "nor was this");

        put(&handle, b"second").unwrap();
        let second = handle.moment().unwrap();
        assert_eq!((read(&first), read(&second)), (b"first".to_vec(), b"second".to_vec()));
    }

    #[test]
    fn a_writer_reads_what_was_committed_before_it_began() {
        let disk = MemoryDisk::new(1);
        let handle = Handle::open(FaultFolder::of(&disk), "texts.redb", 1 << 20).unwrap();
        put(&handle, &0_u32.to_le_bytes()).unwrap();
        let number = || u32::from_le_bytes(read(&handle.moment().unwrap()).try_into().unwrap());
        let count = || {
            for _ in 0..500 {
                let writing = handle.write().unwrap();
                let next = (number() + 1).to_le_bytes();
                writing
                    .open_table(TEXTS)
                    .unwrap()
                    .insert(b"key".as_slice(), next.as_slice())
                    .unwrap();
                writing.commit().unwrap();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(count);
            }
        });
        assert_eq!(number(), 2_000);
    }

    #[test]
    fn a_file_does_not_grow_for_a_moment_that_is_kept() {
        let sizes = [false, true].map(|is_read| {
            let disk = MemoryDisk::new(1);
            let folder = FaultFolder::of(&disk);
            let handle = Handle::open(folder.clone(), "texts.redb", 1 << 20).unwrap();
            for round in 0..200_u32 {
                put(&handle, &round.to_le_bytes().repeat(2_000)).unwrap();
                if is_read {
                    read(&handle.moment().unwrap());
                }
            }
            folder.bytes("texts.redb")
        });
        assert_eq!(sizes[0], sizes[1]);
    }

    #[test]
    fn a_database_that_failed_is_opened_again_while_its_moment_was_kept() {
        let disk = MemoryDisk::new(1);
        let handle = Handle::open(FaultFolder::of(&disk), "texts.redb", 1 << 20).unwrap();
        put(&handle, b"first").unwrap();
        read(&handle.moment().unwrap());
        disk.fail_at(disk.calls(), Fault::Error);
        assert!(put(&handle, b"second").is_err());
        disk.heal();
        put(&handle, b"third").unwrap();
        assert_eq!(read(&handle.moment().unwrap()), b"third");
    }
}
