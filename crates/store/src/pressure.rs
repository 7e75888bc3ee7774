//! What storage tells intake: flags and figures that close admission, shared without locks.
//!
//! The indexer and the collector write them, the front reads them for every request. They say *that* there is no room,
//! never why in detail: the log and the metrics do. The ballast file is here too: room kept back so that deletes can
//! still commit on a full disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Why new events are refused, one flag for each reason.
#[derive(Debug, Default)]
pub struct StoragePressure {
    /// Live executions use more than `backlog.max-bytes`: 503 `storage_budget`.
    pub storage_budget: AtomicBool,
    /// The disk has no room for another segment: 503 `storage_full`.
    pub storage_full: AtomicBool,
    /// The index lags by more than `index.max-lag`: 503 `index_lag`.
    pub index_lag: AtomicBool,
    /// The directory was restored and nobody has resumed it: 503 `paused`.
    pub paused: AtomicBool,
}

impl StoragePressure {
    /// Whether any flag is up.
    #[must_use]
    pub fn any(&self) -> bool {
        [&self.storage_budget, &self.storage_full, &self.index_lag, &self.paused]
            .iter()
            .any(|flag| flag.load(Ordering::Relaxed))
    }
}

/// How many committed entries are not yet in the indexes.
#[derive(Debug, Default)]
pub struct IndexLag(AtomicU64);

impl IndexLag {
    /// The lag in entries.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts entries that were committed; the new lag.
    pub fn committed(&self, entries: u64) -> u64 {
        self.0.fetch_add(entries, Ordering::Relaxed).saturating_add(entries)
    }

    /// Counts entries that reached the indexes; the new lag.
    pub fn indexed(&self, entries: u64) -> u64 {
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |lag| Some(lag.saturating_sub(entries)));
        before.unwrap_or_else(|lag| lag).saturating_sub(entries)
    }
}

/// How many times its own size must be free before a ballast file is written again: what was deleted to make room must
/// be able to commit first.
pub const ROOMY: u64 = 4;

/// A file of written zeros that is deleted when the disk is full, so that a delete can commit.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// A ballast file of `bytes` at `path`; nothing is written yet.
    #[must_use]
    pub fn new(path: &Path, bytes: u64) -> Self {
        Self {
            path: path.to_owned(),
            bytes,
        }
    }

    /// How much room it keeps back.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the file is there, whole.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|meta| meta.len() >= self.bytes)
    }

    /// Writes the file if it is not there and the disk has [`ROOMY`] times as much room; whether it is there. On an
    /// error nothing is left behind.
    ///
    /// # Errors
    /// If the disk cannot be measured or written.
    pub fn restore(&self) -> io::Result<bool> {
        if self.bytes == 0 || self.is_ready() {
            return Ok(true);
        }
        if free_room(self.path.parent().unwrap_or(Path::new(".")))? < self.bytes.saturating_mul(ROOMY) {
            return Ok(false);
        }
        let filled = self.fill().map(|()| true);
        filled.inspect_err(|_| {
            self.give_way();
        })
    }

    /// Deletes the file; whether that made room.
    #[must_use = "without room a retry is pointless"]
    pub fn release(&self) -> bool {
        self.give_way()
    }

    fn give_way(&self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }

    fn fill(&self) -> io::Result<()> {
        let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).open(&self.path)?;
        let block = [0u8; 64 * 1024];
        let mut left = self.bytes;
        while left > 0 {
            let step = left.min(block.len() as u64) as usize;
            file.write_all(&block[..step])?;
            left -= step as u64;
        }
        file.sync_all()
    }
}

/// Bytes that may still be written to the disk of this folder.
///
/// # Errors
/// If it cannot be measured.
pub fn free_room(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballast_takes_room_and_gives_it_back_once() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(&dir.path().join("ballast"), 100_000);
        assert!(ballast.restore().unwrap());
        assert_eq!(std::fs::metadata(dir.path().join("ballast")).unwrap().len(), 100_000);
        assert!(ballast.release());
        assert!(!ballast.release(), "there is nothing more to give");
        assert!(!ballast.is_ready());
    }

    #[test]
    fn ballast_that_does_not_fit_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(&dir.path().join("missing/ballast"), 10);
        assert!(ballast.restore().is_err());
        assert!(!ballast.is_ready());
    }

    #[test]
    fn ballast_is_not_written_where_room_is_short() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(&dir.path().join("ballast"), u64::MAX / 8);
        assert!(!ballast.restore().unwrap());
        assert!(!dir.path().join("ballast").exists());
    }

    #[test]
    fn the_lag_counts_what_is_committed_and_not_indexed() {
        let lag = IndexLag::default();
        assert_eq!(lag.committed(10), 10);
        assert_eq!(lag.indexed(4), 6);
        assert_eq!(lag.entries(), 6);
    }
}
