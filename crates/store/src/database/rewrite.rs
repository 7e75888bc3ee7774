//! Writes a database anew, row by row.
//!
//! redb writes what changes to other pages and gives up the old ones as they are: what was deleted can be read in its file until
//! something else is written there. A file that is written anew holds rows alone.

use super::{Handle, Place, Slot, check};
use crate::copy::{self, Copy};
use crate::error::StoreError;
use redb::{Database, ReadableDatabase as _};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

/// The size of a file that was written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) before: u64,
    pub(crate) after: u64,
}

impl Handle {
    /// Puts what `work` copies in the place of the file. Whoever writes waits for that, and then writes to the new file; whoever
    /// reads goes on with the old one, whose room is free once nobody does.
    ///
    /// # Errors
    /// If the disk is full or fails. Every row is there all the same, and the next call uses the file that has its name.
    pub(crate) fn rewrite(&self, work: impl FnOnce(&mut Copy<'_>) -> Result<(), StoreError>) -> Result<Sizes, StoreError> {
        // Nothing is written by it: it keeps others from writing.
        let writing = self.write()?;
        let place = &self.place;
        let before = place.folder.bytes(&place.name);
        let drafted = place.write_draft(&writing.database, work);
        let (database, failed) = drafted.inspect_err(|_| place.give_draft_up())?;
        let renamed = place.folder.rename(&place.draft(), &place.name);
        match renamed.and_then(|()| place.folder.sync()) {
            Ok(()) => {
                *self.slot() = Slot::open(Arc::new(database), failed);
                Ok(Sizes {
                    before,
                    after: place.folder.bytes(&place.name),
                })
            }
            Err(error) => {
                drop(database);
                if place.folder.exists(&place.draft()) {
                    place.give_draft_up();
                } else {
                    // A crash may bring the old file back: before anything is written to the new one, its name has to be on the
                    // disk. Opening it sees to that.
                    *self.slot() = Slot::Failed(Weak::new());
                }
                Err(StoreError::from_io(error))
            }
        }
    }
}

impl Place {
    /// Makes the new database, whole and on the disk but for its name.
    fn write_draft(
        &self,
        source: &Database,
        work: impl FnOnce(&mut Copy<'_>) -> Result<(), StoreError>,
    ) -> Result<(Database, Arc<AtomicBool>), StoreError> {
        let (database, failed) = self.begin_draft()?;
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(true);
        copy::into_transaction(&source.begin_read()?, transaction, work)?;
        check(&failed)?;
        Ok((database, failed))
    }

    /// What cannot be removed takes room until the next one is made.
    fn give_draft_up(&self) {
        let _ = self.remove_draft();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault_backend::FaultFolder;
    use crate::folder::{Directory, Folder};
    use perseat_journal::disk::MemoryDisk;
    use redb::{ReadTransaction, TableDefinition};
    use std::collections::BTreeMap;
    use std::sync::mpsc;
    use std::thread;

    const TEXTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("texts");
    const NAME: &str = "texts.redb";

    fn open(folder: Arc<dyn Folder>) -> Handle {
        Handle::open(folder, NAME, 1 << 20).unwrap()
    }

    /// Every third row is of somebody who is removed.
    fn text(row: u64) -> String {
        let who = if row.is_multiple_of(3) { "removed" } else { "staying" };
        format!("{who}-person-{row}")
    }

    fn filled(folder: Arc<dyn Folder>) -> Handle {
        let handle = open(folder);
        put(&handle, (0..3_000).map(|row| (row, text(row))));
        let writing = handle.write().unwrap();
        writing.open_table(TEXTS).unwrap().retain(|row, _| !row.is_multiple_of(3)).unwrap();
        writing.commit().unwrap();
        handle
    }

    fn put(handle: &Handle, rows: impl Iterator<Item = (u64, String)>) {
        let writing = handle.write().unwrap();
        {
            let mut table = writing.open_table(TEXTS).unwrap();
            for (row, text) in rows {
                table.insert(row, text.as_bytes()).unwrap();
            }
        }
        writing.commit().unwrap();
    }

    fn rows(read: &ReadTransaction) -> BTreeMap<u64, String> {
        let table = read.open_table(TEXTS).unwrap();
        let row = |row: Result<(redb::AccessGuard<'_, u64>, redb::AccessGuard<'_, &[u8]>), redb::StorageError>| {
            let (key, value) = row.unwrap();
            (key.value(), String::from_utf8(value.value().to_vec()).unwrap())
        };
        table.range::<u64>(..).unwrap().map(row).collect()
    }

    fn now(handle: &Handle) -> BTreeMap<u64, String> {
        rows(&handle.get().unwrap().begin_read().unwrap())
    }

    fn copy_all(handle: &Handle) -> Sizes {
        handle.rewrite(|copy| copy.table(TEXTS, |_, _| Ok(()))).unwrap()
    }

    fn count(bytes: &[u8], text: &str) -> usize {
        bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
    }

    #[test]
    fn a_file_that_is_written_anew_holds_every_row_and_nothing_that_was_deleted() {
        let disk = MemoryDisk::new(1);
        let handle = filled(FaultFolder::of(&disk));
        let (before, bytes) = (now(&handle), disk.durable(NAME));
        assert!(count(&bytes, "removed-person") > 500 && count(&bytes, "staying-person") >= 2_000);
        let sizes = copy_all(&handle);
        let after = disk.durable(NAME);
        assert_eq!((count(&after, "removed-person"), count(&after, "staying-person")), (0, 2_000));
        assert_eq!((sizes.before, sizes.after), (bytes.len() as u64, after.len() as u64));
        assert_eq!(now(&handle), before);
        assert!(!disk.exists("texts.redb.new"));
        put(&handle, [(7, "later".to_owned())].into_iter());
        let then = now(&handle);
        drop(handle);
        disk.crash();
        assert_eq!(now(&open(FaultFolder::of(&disk))), then);
    }

    #[test]
    fn a_reader_goes_on_with_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let handle = filled(Arc::new(Directory::new(folder.path())));
        let (database, before) = (handle.get().unwrap(), now(&handle));
        let read = database.begin_read().unwrap();
        copy_all(&handle);
        put(&handle, [(1, "later".to_owned())].into_iter());
        assert_eq!(rows(&read), before);
        assert_eq!(now(&handle)[&1], "later");
        drop((read, database));
        assert_eq!(now(&handle)[&1], "later");
    }

    #[test]
    fn whoever_waits_to_write_writes_to_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let handle = Arc::new(filled(Arc::new(Directory::new(folder.path()))));
        let old = handle.get().unwrap();
        let (began, begin) = mpsc::channel();
        let (begins, begun) = mpsc::channel();
        let waiting = {
            let handle = handle.clone();
            thread::spawn(move || {
                begin.recv().unwrap();
                begins.send(()).unwrap();
                put(&handle, [(1, "waited".to_owned())].into_iter());
            })
        };
        let sizes = handle.rewrite(|copy| {
            began.send(()).unwrap();
            begun.recv().unwrap();
            copy.table(TEXTS, |_, _| Ok(()))
        });
        sizes.unwrap();
        waiting.join().unwrap();
        assert_eq!(rows(&old.begin_read().unwrap())[&1], text(1));
        assert_eq!(now(&handle)[&1], "waited");
        drop((handle, old));
        assert_eq!(now(&open(Arc::new(Directory::new(folder.path()))))[&1], "waited");
    }

    #[test]
    fn a_table_that_is_not_copied_keeps_the_file_as_it_is() {
        let disk = MemoryDisk::new(1);
        let handle = filled(FaultFolder::of(&disk));
        let before = now(&handle);
        assert!(matches!(handle.rewrite(|_| Ok(())), Err(StoreError::Corrupt { .. })));
        assert!(!disk.exists("texts.redb.new"));
        put(&handle, [(1, "later".to_owned())].into_iter());
        assert_eq!(now(&handle).len(), before.len());
    }
}
