//! One redb file of the index, with errors that name it.

use super::fault::IndexError;
use crate::database::{Handle, Reader};
use crate::error::StoreError;
use crate::folder::Folder;
use redb::{ReadTransaction, ReadableDatabase, WriteTransaction};
use std::io;
use std::sync::Arc;

/// A named database.
#[derive(Debug)]
pub(crate) struct IndexFile {
    name: String,
    access: Access,
}

#[derive(Debug)]
enum Access {
    Write(Handle),
    Read(Reader),
}

impl IndexFile {
    /// Opens a file to write to it, made if it is not there.
    pub(crate) fn open(folder: Arc<dyn Folder>, name: &str, cache_bytes: usize) -> Result<Self, IndexError> {
        let access = Handle::open(folder, name, cache_bytes).map(Access::Write);
        Self::named(name, access)
    }

    /// Opens a file that is there to read it alone, which changes nothing on the disk. One that was not closed has to be repaired first:
    /// it is opened to be written.
    pub(crate) fn open_to_read(folder: Arc<dyn Folder>, name: &str, cache_bytes: usize) -> Result<Self, IndexError> {
        match Reader::open(Arc::clone(&folder), name, cache_bytes) {
            Ok(None) => Self::open(folder, name, cache_bytes),
            Ok(Some(reader)) => Self::named(name, Ok(Access::Read(reader))),
            Err(error) => Self::named(name, Err(error)),
        }
    }

    fn named(name: &str, access: Result<Access, StoreError>) -> Result<Self, IndexError> {
        let name = name.to_owned();
        match access {
            Ok(access) => Ok(Self { name, access }),
            Err(source) => Err(IndexError::Store { file: name, source }),
        }
    }

    pub(crate) fn is_writable(&self) -> bool {
        matches!(self.access, Access::Write(_))
    }

    /// Whether it has to be opened again before anything can be read.
    pub(crate) fn has_failed(&self) -> bool {
        match &self.access {
            Access::Write(_) => false,
            Access::Read(reader) => reader.has_failed(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `read` in one read transaction.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, IndexError> {
        self.run(|| match &self.access {
            Access::Write(handle) => read(&handle.get()?.begin_read()?),
            Access::Read(reader) => read(&reader.begin_read()?),
        })
    }

    /// Runs `write` in one durable transaction.
    ///
    /// It is written in two phases: rows first, then what makes them count. Were a sync to fail after both were written at
    /// once, the rows would be seen and counted on, and yet perhaps never get to the disk.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>) -> Result<T, IndexError> {
        self.run(|| {
            let Access::Write(handle) = &self.access else {
                return Err(StoreError::Io(io::ErrorKind::ReadOnlyFilesystem.into()));
            };
            let mut transaction = handle.write()?;
            transaction.set_two_phase_commit(true);
            let result = write(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
    }

    fn run<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, IndexError> {
        work().map_err(|source| IndexError::Store {
            file: self.name.clone(),
            source,
        })
    }
}
