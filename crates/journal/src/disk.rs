//! The narrow, synchronous view of one directory that the log needs; a real one and a deterministic twin.

mod campaign;
mod content;
mod memory;
mod real;
mod seeded;

use std::{fmt, io, sync::Arc};

pub use campaign::{CALLS, Campaign, Coverage, Trouble};
pub use memory::{Fault, MemoryDisk, MemoryFile};
pub use real::RealDisk;
pub use seeded::{Random, SeededStamp};

/// One flat directory.
pub trait Disk: Send + Sync + fmt::Debug {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Creates an empty file; it must not exist.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Gives a file a new name, replacing nothing.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_directory(&self) -> io::Result<()>;
    /// Where a file is, for people.
    fn path(&self, name: &str) -> std::path::PathBuf;
}

/// One open file.
pub trait File: Send + Sync + fmt::Debug {
    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Keeps room for the first `length` bytes, so that writing them later finds it; the length stays as it is. Does nothing on a file
    /// system that cannot.
    fn reserve(&self, length: u64) -> io::Result<()>;
    /// Writes so many zeros at `offset`.
    fn write_zeros(&self, length: usize, offset: u64) -> io::Result<()> {
        self.write_at(&vec![0; length], offset)
    }
    /// Makes everything written so far durable.
    fn sync(&self) -> io::Result<()>;
    /// The file's length.
    fn length(&self) -> io::Result<u64>;
}
