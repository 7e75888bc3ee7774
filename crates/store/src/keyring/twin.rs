//! The keyring's file in memory, for tests: with faults, slow, or failing.

use super::file::Medium;
use super::slot::SLOT;
use perseat_journal::disk::{Disk, File, MemoryDisk, MemoryFile};
use std::io;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};

/// A file of a disk in memory.
#[derive(Debug)]
pub(super) struct Twin {
    disk: MemoryDisk,
    file: MemoryFile,
    reads: Arc<Mutex<Reads>>,
}

impl Twin {
    /// The file of this name.
    pub(super) fn on(disk: &MemoryDisk, name: &str) -> io::Result<Self> {
        Ok(Self {
            disk: disk.clone(),
            file: disk.file(name)?,
            reads: Arc::default(),
        })
    }

    /// How it reads, to be changed.
    pub(super) fn reads(&self) -> Arc<Mutex<Reads>> {
        Arc::clone(&self.reads)
    }
}

/// How a file reads.
#[derive(Debug, Default)]
pub(super) enum Reads {
    /// As the disk does.
    #[default]
    AtOnce,
    /// The next one says that it has been, and gives what it found only once it may.
    Slowly { has_read: Sender<()>, goes_on: Receiver<()> },
    /// After so many slots none.
    Not { after: usize },
}

impl Medium for Twin {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(buffer, offset);
        let mut reads = self.reads.lock().unwrap();
        match &mut *reads {
            Reads::AtOnce => {}
            Reads::Slowly { .. } => {
                let Reads::Slowly { has_read, goes_on } = std::mem::take(&mut *reads) else {
                    unreachable!()
                };
                drop(reads);
                has_read.send(()).unwrap();
                goes_on.recv().unwrap();
            }
            Reads::Not { after } if buffer.len() == SLOT => match after.checked_sub(1) {
                Some(left) => *after = left,
                None => return Err(io::Error::other("on purpose")),
            },
            Reads::Not { .. } => {}
        }
        read
    }
    fn read_at_once(&self, buffer: &mut [u8], offset: u64) -> bool {
        let is_fast = matches!(*self.reads.lock().unwrap(), Reads::AtOnce);
        is_fast && self.file.read_at(buffer, offset).is_ok_and(|read| read == buffer.len())
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn sync_name(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }
}
