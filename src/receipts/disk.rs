//! How long the disk itself takes to make a small write durable: what every receipt waits for at least.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const BLOCK: [u8; 4096] = [7; 4096];
const BLOCKS: u64 = 64;
const WRITES: u64 = 256;

/// Times of `fdatasync` after a write of 4 KiB into a file that is there, as the journal does it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SyncTimes {
    pub(super) median: Duration,
    pub(super) p99: Duration,
}

/// Measures in `directory`; leaves nothing behind.
pub(super) fn measure(directory: &Path) -> io::Result<SyncTimes> {
    let mut file: File = tempfile::tempfile_in(directory)?;
    for _ in 0..BLOCKS {
        file.write_all(&BLOCK)?;
    }
    file.sync_all()?;
    let mut times = Vec::new();
    for write in 0..WRITES {
        let began = Instant::now();
        file.write_all_at(&BLOCK, write % BLOCKS * BLOCK.len() as u64)?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    Ok(SyncTimes {
        median: at(50),
        p99: at(99),
    })
}
