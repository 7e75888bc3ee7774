//! The data directory: made private, and held by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::backup::manifest;
use crate::backup::write::{create, sync_directory};

/// Stands in a directory while a backup is restored into it.
const RESTORING: &str = "restoring";
/// Stands in a restored directory until it is resumed.
pub const PAUSED: &str = "paused";
/// What an empty data directory may hold: what a file system, this module and whoever brings the master key put there.
const HARMLESS: [&str; 3] = ["lock", "master-key", "lost+found"];

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
    /// It is a backup, whole or not.
    #[error("{0} is a backup; restore it into a directory of its own with `perseat restore`")]
    Backup(PathBuf),
    /// A restore was cut off.
    #[error("a restore into {0} was cut off; empty the directory and restore again")]
    Restoring(PathBuf),
    /// It should be empty.
    #[error("{path} is not empty ({found}); a backup is restored into an empty directory")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
}

/// What a daemon writes beside its process id: a command has no configuration to read again.
const SERVES: &str = "serve";

/// Who has a data directory, as they wrote it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub process: i32,
    /// Whether it is a daemon, and no command.
    pub serves: bool,
}

/// The data directory, ours until this is dropped or the process ends in whatever way.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    lock: File,
}

impl DataDirectory {
    /// Makes the directory (0700) when it is missing, and takes its lock.
    ///
    /// # Errors
    /// No access, or another process has it.
    pub fn take(path: &Path) -> Result<Self, DataError> {
        Self::is_no_backup(path)?;
        let taken = Self::lock(path)?;
        // A restore that goes on has the lock, so that here one was cut off.
        Self::is_whole(path)?;
        Ok(taken)
    }

    /// Looks whether it is another kind of directory.
    ///
    /// # Errors
    /// It is a backup.
    pub fn is_no_backup(path: &Path) -> Result<(), DataError> {
        match [manifest::NAME, manifest::INCOMPLETE].iter().any(|name| path.join(name).exists()) {
            true => Err(DataError::Backup(path.to_owned())),
            false => Ok(()),
        }
    }

    fn is_whole(path: &Path) -> Result<(), DataError> {
        match path.join(RESTORING).exists() {
            true => Err(DataError::Restoring(path.to_owned())),
            false => Ok(()),
        }
    }

    /// Writes down that a daemon has it.
    ///
    /// # Errors
    /// The lock file cannot be written.
    pub fn serves(&mut self) -> io::Result<()> {
        writeln!(self.lock, "{SERVES}")
    }

    /// Looks at a directory that nobody has, and keeps others from taking it until the file is dropped. Writes nothing.
    ///
    /// # Errors
    /// Another process has it, or a restore into it was cut off.
    pub fn look(path: &Path) -> Result<Option<File>, DataError> {
        let unusable = |source| DataError::Unusable {
            path: path.to_owned(),
            source,
        };
        let mut lock = match File::open(path.join("lock")) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::is_whole(path).map(|()| None),
            Err(error) => return Err(unusable(error)),
        };
        match lock.try_lock_shared() {
            Ok(()) => Self::is_whole(path).map(|()| Some(lock)),
            Err(TryLockError::WouldBlock) => Err(Self::held(path, &mut lock)),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    fn held(path: &Path, lock: &mut File) -> DataError {
        let holder = written(lock).ok().flatten();
        DataError::Held {
            path: path.to_owned(),
            holder: holder.map_or_else(|| "unknown".to_owned(), |holder| holder.process.to_string()),
        }
    }

    /// Takes an empty directory, made where it is missing, for a restore; until [`DataDirectory::is_restored`] nobody else takes it.
    ///
    /// # Errors
    /// No access, another process has it, or it is not empty.
    pub fn take_empty(path: &Path) -> Result<Self, DataError> {
        let unusable = |source| DataError::Unusable {
            path: path.to_owned(),
            source,
        };
        if let Some(found) = first_in(path).map_err(unusable)? {
            return Err(DataError::NotEmpty {
                path: path.to_owned(),
                found,
            });
        }
        let taken = Self::lock(path)?;
        create(&path.join(RESTORING))
            .and_then(|file| file.sync_all())
            .and_then(|()| sync_directory(path))
            .map_err(unusable)?;
        Ok(taken)
    }

    /// The restore is whole, or was undone.
    ///
    /// # Errors
    /// The mark cannot be taken away.
    pub fn is_restored(&self) -> io::Result<()> {
        std::fs::remove_file(self.path.join(RESTORING))?;
        sync_directory(&self.path)
    }

    fn lock(path: &Path) -> Result<Self, DataError> {
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
            Err(TryLockError::WouldBlock) => return Err(Self::held(path, &mut lock)),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(unusable)?;
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// The process that has the directory; `None` when none has.
    ///
    /// # Errors
    /// The lock file cannot be read.
    pub fn holder(path: &Path) -> io::Result<Option<Holder>> {
        let mut lock = match File::open(path.join("lock")) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if lock.try_lock_shared().is_ok() {
            return Ok(None);
        }
        written(&mut lock)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Who wrote themselves down in a lock file, if that can be read.
fn written(lock: &mut File) -> io::Result<Option<Holder>> {
    let mut text = String::new();
    lock.read_to_string(&mut text)?;
    let mut words = text.split_whitespace();
    let process = words.next().and_then(|word| word.parse().ok());
    let serves = words.next() == Some(SERVES);
    Ok(process.map(|process| Holder { process, serves }))
}

/// Something in a directory that an empty one has not.
fn first_in(path: &Path) -> io::Result<Option<String>> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !HARMLESS.contains(&name.as_str()) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let mut held = DataDirectory::take(&dir.path().join("data")).unwrap();
        let told = DataDirectory::take(held.path()).unwrap_err().to_string();
        assert!(told.contains(&format!("in use by process {}", std::process::id())), "{told}");
        let process = i32::try_from(std::process::id()).unwrap();
        let holder = |serves| Some(Holder { process, serves });
        assert_eq!(DataDirectory::holder(held.path()).unwrap(), holder(false));
        held.serves().unwrap();
        assert_eq!(DataDirectory::holder(held.path()).unwrap(), holder(true));
        let told = DataDirectory::take(held.path()).unwrap_err().to_string();
        assert!(told.contains(&format!("in use by process {process};")), "{told}");
        let path = held.path().to_owned();
        drop(held);
        assert_eq!(DataDirectory::holder(&path).unwrap(), None);
        assert!(DataDirectory::take(&path).is_ok());
    }

    #[test]
    fn a_restore_that_goes_on_holds_its_directory_and_one_that_was_cut_off_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let is_held = |taken: &DataError| matches!(taken, DataError::Held { .. });
        let restoring = DataDirectory::take_empty(&path).unwrap();
        assert!(is_held(&DataDirectory::take(&path).unwrap_err()));
        assert!(is_held(&DataDirectory::look(&path).unwrap_err()));
        drop(restoring);
        let is_cut_off = |taken: &DataError| matches!(taken, DataError::Restoring(_));
        assert!(is_cut_off(&DataDirectory::take(&path).unwrap_err()));
        assert!(is_cut_off(&DataDirectory::look(&path).unwrap_err()));
    }
}
