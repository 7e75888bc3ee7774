//! Keeps the few history files open that are in use, so that their caches stay within one budget.
//!
//! A file that is only read is opened to be read alone: to open it for writing, and to close it again, takes several syncs.

use super::file_name;
use crate::folder::Folder;
use crate::index::fault::IndexError;
use crate::index::file::IndexFile;
use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(super) struct Pool {
    folder: Arc<dyn Folder>,
    cache_bytes: usize,
    max_open: usize,
    open: Mutex<Open>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<u32, (Arc<IndexFile>, u64)>,
    /// What is about to be written: it is opened to be read alone no more.
    to_write: BTreeSet<u32>,
    uses: u64,
}

/// A file that stays open until this is dropped.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    file: Option<Arc<IndexFile>>,
}

impl Pool {
    pub(super) fn new(folder: Arc<dyn Folder>, cache_bytes: usize, max_open: usize) -> Self {
        let max_open = max_open.max(1);
        Self {
            folder,
            cache_bytes: cache_bytes / max_open,
            max_open,
            open: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    /// The file of this number to write to it, made if it is not there. Waits while all places are taken by files in use, or it is open to
    /// be read alone and in use.
    pub(super) fn lease(&self, number: u32) -> Result<Lease<'_>, IndexError> {
        self.open().to_write.insert(number);
        let lease = self.lease_open(number);
        self.open().to_write.remove(&number);
        lease
    }

    /// The file of this number to read it; `None` where there is none. Waits as [`Pool::lease`] does.
    pub(super) fn lease_existing(&self, number: u32) -> Result<Option<Lease<'_>>, IndexError> {
        if !self.open().files.contains_key(&number) && !self.folder.exists(&file_name(number)) {
            return Ok(None);
        }
        self.lease_open(number).map(Some)
    }

    fn lease_open(&self, number: u32) -> Result<Lease<'_>, IndexError> {
        let mut open = self.open();
        loop {
            if let Some(file) = open.touch(number) {
                return Ok(Lease {
                    pool: self,
                    file: Some(file),
                });
            }
            if open.close_unfit(number) && (open.files.len() < self.max_open || open.close_idle()) {
                let begin = match open.to_write.contains(&number) {
                    true => IndexFile::open,
                    false => IndexFile::open_to_read,
                };
                let file = Arc::new(begin(Arc::clone(&self.folder), &file_name(number), self.cache_bytes)?);
                open.uses += 1;
                let stamp = open.uses;
                open.files.insert(number, (Arc::clone(&file), stamp));
                return Ok(Lease {
                    pool: self,
                    file: Some(file),
                });
            }
            open = self.returned.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Closes the file as soon as nobody uses it.
    pub(super) fn forget(&self, number: u32) {
        self.open().files.remove(&number);
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// The file, if it is open and fit for what is to be done.
    fn touch(&mut self, number: u32) -> Option<Arc<IndexFile>> {
        self.uses += 1;
        let is_to_write = self.to_write.contains(&number);
        let (file, last_use) = self.files.get_mut(&number)?;
        if file.has_failed() || is_to_write && !file.is_writable() {
            return None;
        }
        *last_use = self.uses;
        Some(Arc::clone(file))
    }

    /// Closes a file that is not fit unless it is in use; whether it is closed.
    fn close_unfit(&mut self, number: u32) -> bool {
        match self.files.get(&number) {
            Some((file, _)) if Arc::strong_count(file) > 1 => false,
            _ => {
                self.files.remove(&number);
                true
            }
        }
    }

    /// Closes a file that is not in use, the one that was used least recently, of those that are only read if there is one; leases are only
    /// given under the lock.
    fn close_idle(&mut self) -> bool {
        let idle = self.files.iter().filter(|(_, (file, _))| Arc::strong_count(file) == 1);
        let first = idle.min_by_key(|(_, (file, last_use))| (file.is_writable(), *last_use));
        match first.map(|(number, _)| *number) {
            Some(number) => self.files.remove(&number).is_some(),
            None => false,
        }
    }
}

impl Deref for Lease<'_> {
    type Target = IndexFile;

    fn deref(&self) -> &IndexFile {
        match &self.file {
            Some(file) => file,
            None => unreachable!("a lease holds its file until it is dropped"),
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        drop(self.file.take());
        // Taking the lock orders this return before a waiter's next look. They wait for different files.
        drop(self.pool.open());
        self.pool.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Directory;
    use std::thread;

    #[test]
    fn whoever_writes_waits_for_those_who_read_a_file_and_they_for_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let pool = || Pool::new(Arc::new(Directory::new(folder.path())), 1 << 20, 2);
        pool().lease(1).unwrap().write(|_| Ok(())).unwrap();
        let pool = pool();
        let (reads, too) = (pool.lease_existing(1).unwrap().unwrap(), pool.lease_existing(1).unwrap().unwrap());
        assert!(!reads.is_writable() && !too.is_writable());
        thread::scope(|scope| {
            let writes = scope.spawn(|| pool.lease(1)?.write(|_| Ok(())));
            while pool.open().to_write.is_empty() && !writes.is_finished() {
                thread::yield_now();
            }
            reads.read(|_| Ok(())).unwrap();
            drop((reads, too));
            writes.join().unwrap().unwrap();
        });
        assert!(pool.lease_existing(1).unwrap().unwrap().is_writable(), "it stays open");
        assert!(pool.open().to_write.is_empty());
    }
}
