//! The fault-injecting twin of a folder of databases: the journal's deterministic disk, as redb and the keyring see it.

use crate::error::StoreError;
use crate::folder::Folder;
use perseat_journal::disk::{Disk, File, MemoryDisk, MemoryFile};
use redb::StorageBackend;
use std::io;
use std::sync::Arc;

/// A folder on a [`MemoryDisk`].
#[derive(Debug)]
pub(crate) struct FaultFolder {
    disk: MemoryDisk,
    /// A file that is on the disk and not in the folder.
    beside: Option<&'static str>,
    /// Says that it has synced and has not: what every campaign must catch.
    lies: bool,
}

impl FaultFolder {
    /// All files of the disk.
    pub(crate) fn of(disk: &MemoryDisk) -> Arc<dyn Folder> {
        Arc::new(Self {
            disk: disk.clone(),
            beside: None,
            lies: false,
        })
    }

    /// All files but one.
    pub(crate) fn beside(disk: &MemoryDisk, name: &'static str) -> Arc<dyn Folder> {
        Arc::new(Self {
            disk: disk.clone(),
            beside: Some(name),
            lies: false,
        })
    }

    /// All files, and no sync does anything.
    pub(crate) fn lying(disk: &MemoryDisk) -> Arc<dyn Folder> {
        Arc::new(Self {
            disk: disk.clone(),
            beside: None,
            lies: true,
        })
    }
}

impl Folder for FaultFolder {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = self.disk.list()?;
        names.retain(|name| Some(name.as_str()) != self.beside);
        Ok(names)
    }

    fn open(&self, name: &str) -> Result<Box<dyn StorageBackend>, StoreError> {
        let file = self.disk.file(name).map_err(StoreError::from_io)?;
        Ok(Box::new(FaultBackend { file, lies: self.lies }))
    }

    fn exists(&self, name: &str) -> bool {
        self.disk.exists(name)
    }

    fn bytes(&self, name: &str) -> u64 {
        self.disk.file(name).and_then(|file| file.length()).unwrap_or_default()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }
}

/// One file of it.
#[derive(Debug)]
struct FaultBackend {
    file: MemoryFile,
    lies: bool,
}

impl StorageBackend for FaultBackend {
    fn len(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.file.read_at(out, offset)? {
            read if read == out.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.resize(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.lies { Ok(()) } else { self.file.sync() }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(data, offset)
    }
}

/// Opens whatever it takes: planned faults are used up by trying, now after a crash and now after the process's end alone.
pub(crate) fn open_at_last<T, E: std::error::Error>(disk: &MemoryDisk, open: impl Fn() -> Result<T, E>) -> Result<T, String> {
    let mut refusal = String::new();
    for attempt in 0..8 {
        match open() {
            Ok(opened) => return Ok(opened),
            Err(error) => refusal = format!("it does not open: {error} ({error:?})"),
        }
        if attempt % 2 == 0 {
            disk.crash();
        } else {
            disk.reopen();
        }
    }
    Err(refusal)
}
