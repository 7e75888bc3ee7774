//! Test switches of the disk below the databases, flipped at run time; compiled only with the `faults` feature.

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Which files find the disk full or broken, or told what is not so.
#[derive(Debug, Default)]
pub struct Faults(Mutex<BTreeMap<String, Fault>>);

#[derive(Debug)]
enum Fault {
    /// Until what is held is gone, if anything is.
    Full(Option<Held>),
    /// Every write fails so.
    Broken(io::ErrorKind),
    /// A sync is made and said to have failed, after so many that go well.
    DeniesSync { before: u32, then_breaks: bool },
}

/// A file whose removal makes room. On a disk that is not full at all somebody may write it anew at once: that is another.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    modified: Option<SystemTime>,
}

impl Held {
    fn new(path: PathBuf) -> Self {
        let modified = modified(&path);
        Self { path, modified }
    }

    fn is_gone(&self) -> bool {
        self.modified.is_none() || modified(&self.path) != self.modified
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

impl Faults {
    /// Lets every write that makes the file larger fail for lack of space from now on; with `until_gone` only until the file
    /// at that path is found gone: its removal is what makes room.
    pub fn fill(&self, name: &str, until_gone: Option<PathBuf>) {
        self.files().insert(name.to_owned(), Fault::Full(until_gone.map(Held::new)));
    }

    /// Lets every write fail from now on.
    pub fn break_down(&self, name: &str) {
        self.files().insert(name.to_owned(), Fault::Broken(io::ErrorKind::Other));
    }

    /// Lets every write fail for lack of space from now on, as on a file system that writes elsewhere what it changes.
    pub fn exhaust(&self, name: &str) {
        self.files().insert(name.to_owned(), Fault::Broken(io::ErrorKind::StorageFull));
    }

    /// Lets the last of the two syncs of the next commit say that it failed: what was written is there all the same. Then every write
    /// fails, or all is well.
    pub fn deny_commit(&self, name: &str, then_breaks: bool) {
        self.files().insert(name.to_owned(), Fault::DeniesSync { before: 1, then_breaks });
    }

    /// All is well again.
    pub fn heal(&self, name: &str) {
        self.files().remove(name);
    }

    fn is_full(&self, name: &str) -> bool {
        let mut files = self.files();
        match files.get(name) {
            Some(Fault::Full(Some(held))) if held.is_gone() => {
                files.remove(name);
                false
            }
            found => matches!(found, Some(Fault::Full(_))),
        }
    }

    fn is_denied(&self, name: &str) -> bool {
        let mut files = self.files();
        match files.get_mut(name) {
            Some(
                fault @ Fault::DeniesSync {
                    before: 0,
                    then_breaks: true,
                },
            ) => {
                *fault = Fault::Broken(io::ErrorKind::Other);
                true
            }
            Some(Fault::DeniesSync { before: 0, .. }) => {
                files.remove(name);
                true
            }
            Some(Fault::DeniesSync { before, .. }) => {
                *before -= 1;
                false
            }
            _ => false,
        }
    }

    fn broken(&self, name: &str) -> Option<io::ErrorKind> {
        match self.files().get(name) {
            Some(Fault::Broken(kind)) => Some(*kind),
            _ => None,
        }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file of a disk that a test may fill or break.
#[derive(Debug)]
pub(crate) struct Filling {
    inner: FileBackend,
    name: String,
    faults: Arc<Faults>,
}

impl Filling {
    pub(crate) fn new(inner: FileBackend, name: &str, faults: Arc<Faults>) -> Self {
        Self {
            inner,
            name: name.to_owned(),
            faults,
        }
    }

    /// What makes the file larger needs room.
    fn check(&self, end: u64) -> io::Result<()> {
        if let Some(kind) = self.faults.broken(&self.name) {
            return Err(io::Error::new(kind, "on purpose"));
        }
        // One that was made under another name is full under both.
        let named = self.name.strip_suffix(".new");
        let is_full = self.faults.is_full(&self.name) || named.is_some_and(|name| self.faults.is_full(name));
        if is_full && end > self.inner.len()? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Filling {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check(len)?;
        self.inner.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()?;
        if self.faults.is_denied(&self.name) {
            return Err(io::Error::other("denied on purpose"));
        }
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(offset + data.len() as u64)?;
        self.inner.write(offset, data)
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

    #[test]
    fn a_file_that_is_written_anew_at_once_was_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, faults) = (folder.path().join("ballast"), Faults::default());
        let write = |second: u64| {
            std::fs::write(&path, [0]).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        };
        write(1);
        faults.fill("catalog.redb", Some(path.clone()));
        assert!(faults.is_full("catalog.redb"));
        std::fs::remove_file(&path).unwrap();
        write(2);
        assert!(!faults.is_full("catalog.redb"));
        faults.fill("state.redb", None);
        assert!(faults.is_full("state.redb"), "nothing makes room there");
    }
}
