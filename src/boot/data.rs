//! The data directory: made private, and held by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It cannot be made or its lock file cannot be opened.
    #[error("the data directory {path} cannot be used: {source}")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the data directory {path} is in use by process {holder}; stop that one, or give this one another data.dir")]
    Held {
        /// The directory.
        path: PathBuf,
        /// The holder's process id, as it wrote it down.
        holder: String,
    },
}

/// The data directory, ours until this is dropped or the process ends in whatever way.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Makes the directory (0700) when it is missing, and takes its lock.
    ///
    /// # Errors
    /// No access, or another process has it.
    pub fn take(path: &Path) -> Result<Self, DataError> {
        let unusable = |source| DataError::Unusable {
            path: path.to_owned(),
            source,
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let mut options = OpenOptions::new();
        let mut lock = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = lock.read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() {
                    "unknown".to_owned()
                } else {
                    holder.trim().to_owned()
                };
                return Err(DataError::Held {
                    path: path.to_owned(),
                    holder,
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(unusable)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The process that has the directory; `None` when none has.
    ///
    /// # Errors
    /// The lock file cannot be read.
    pub fn holder(path: &Path) -> io::Result<Option<i32>> {
        let mut lock = match File::open(path.join("lock")) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if lock.try_lock_shared().is_ok() {
            return Ok(None);
        }
        let mut holder = String::new();
        lock.read_to_string(&mut holder)?;
        Ok(holder.trim().parse().ok())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDirectory::take(&dir.path().join("data")).unwrap();
        let told = DataDirectory::take(held.path()).unwrap_err().to_string();
        assert!(told.contains(&format!("in use by process {}", std::process::id())), "{told}");
        assert_eq!(DataDirectory::holder(held.path()).unwrap(), i32::try_from(std::process::id()).ok());
        let path = held.path().to_owned();
        drop(held);
        assert_eq!(DataDirectory::holder(&path).unwrap(), None);
        assert!(DataDirectory::take(&path).is_ok());
    }
}
