//! Keeps the few history files open that are in use, so that their caches stay within one budget.

use super::file_name;
use crate::folder::Folder;
use crate::index::fault::IndexError;
use crate::index::file::IndexFile;
use std::collections::HashMap;
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

    /// The file of this number, made if it is not there. Waits while all places are taken by files in use.
    pub(super) fn lease(&self, number: u32) -> Result<Lease<'_>, IndexError> {
        let mut open = self.open();
        loop {
            if let Some(file) = open.touch(number) {
                return Ok(Lease {
                    pool: self,
                    file: Some(file),
                });
            }
            if open.files.len() < self.max_open || open.close_idle() {
                let file = Arc::new(IndexFile::open(Arc::clone(&self.folder), &file_name(number), self.cache_bytes)?);
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

    /// As [`Pool::lease`], but `None` where there is no such file.
    pub(super) fn lease_existing(&self, number: u32) -> Result<Option<Lease<'_>>, IndexError> {
        if !self.open().files.contains_key(&number) && !self.folder.exists(&file_name(number)) {
            return Ok(None);
        }
        self.lease(number).map(Some)
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
    fn touch(&mut self, number: u32) -> Option<Arc<IndexFile>> {
        self.uses += 1;
        let (file, last_use) = self.files.get_mut(&number)?;
        *last_use = self.uses;
        Some(Arc::clone(file))
    }

    /// Closes the file that was used least recently and is not in use; leases are only given under the lock.
    fn close_idle(&mut self) -> bool {
        let idle = self.files.iter().filter(|(_, (file, _))| Arc::strong_count(file) == 1);
        match idle.min_by_key(|(_, (_, last_use))| *last_use).map(|(number, _)| *number) {
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
        // Taking the lock orders this return before a waiter's next look.
        drop(self.pool.open());
        self.pool.returned.notify_one();
    }
}
