//! The folder that databases live in: a directory, or its deterministic twin.

use crate::error::StoreError;
#[cfg(feature = "faults")]
use crate::faults::{Faults, Filling};
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One flat folder of databases.
pub trait Folder: Debug + Send + Sync {
    /// The names of all files.
    ///
    /// # Errors
    /// If the folder cannot be read.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file for a database, made if it is not there.
    ///
    /// # Errors
    /// If it is in use by another process, or the disk fails.
    fn open(&self, name: &str) -> Result<Box<dyn StorageBackend>, StoreError>;

    /// Whether there is such a file.
    fn exists(&self, name: &str) -> bool;

    /// How many bytes it has; 0 if it is not there.
    fn bytes(&self, name: &str) -> u64;

    /// Removes a file.
    ///
    /// # Errors
    /// If it is not there, or the disk fails.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file a new name.
    ///
    /// # Errors
    /// If it is not there, or the disk fails.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the names of files durable.
    ///
    /// # Errors
    /// If the disk fails.
    fn sync(&self) -> io::Result<()>;

    /// Whether nothing that is written gets to a disk.
    fn is_read_only(&self) -> bool {
        false
    }
}

/// A directory on a file system.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    #[cfg(feature = "faults")]
    faults: Arc<Faults>,
}

impl Directory {
    /// The directory at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            #[cfg(feature = "faults")]
            faults: Arc::default(),
        }
    }

    /// The directory, with files that a test can say the disk is full for.
    #[cfg(feature = "faults")]
    #[must_use]
    pub fn with_faults(path: &Path, faults: Arc<Faults>) -> Self {
        Self {
            path: path.to_owned(),
            faults,
        }
    }

    /// The directory and the name that make up the path of a file.
    pub(crate) fn of(path: &Path) -> (Arc<dyn Folder>, String) {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        (Arc::new(Self::new(parent)), name)
    }
}

impl Folder for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> Result<Box<dyn StorageBackend>, StoreError> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path.join(name));
        let backend = FileBackend::new(file.map_err(StoreError::from_io)?)?;
        #[cfg(feature = "faults")]
        let backend = Filling::new(backend, name, self.faults.clone());
        Ok(Box::new(backend))
    }

    fn exists(&self, name: &str) -> bool {
        self.path.join(name).exists()
    }

    fn bytes(&self, name: &str) -> u64 {
        fs::metadata(self.path.join(name)).map_or(0, |meta| meta.len())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel does not sync its own directories, and says so: who asks it hears that.
    #[test]
    fn a_sync_asks_the_operating_system() {
        let folder = tempfile::tempdir().unwrap();
        Directory::new(folder.path()).sync().unwrap();
        let refused = Directory::new(Path::new("/proc/self")).sync().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
}
