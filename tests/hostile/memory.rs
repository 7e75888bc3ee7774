//! What a process holds in memory, as the kernel counts it.

use crate::harness::processes::children;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Resident bytes of a process at one moment, and the most since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    process: u32,
    before: u64,
}

impl Memory {
    /// Looks at a process, and lets the kernel count its peak anew.
    pub(crate) fn of(process: u32) -> Self {
        fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
        Self {
            process,
            before: field(process, "VmRSS:"),
        }
    }

    /// By how much the process grew at its peak.
    pub(crate) fn growth(&self) -> u64 {
        field(self.process, "VmHWM:").saturating_sub(self.before)
    }

    /// The process grew by no more than `bytes`; `limit` says which limit that is.
    #[track_caller]
    pub(crate) fn grew_within(&self, bytes: u64, limit: &str) {
        let growth = self.growth();
        println!("{limit}: grew by {} of {} KiB", growth >> 10, bytes >> 10);
        assert!(growth <= bytes, "grew by {growth} bytes, more than {bytes}: {limit}");
    }
}

fn field(process: u32, name: &str) -> u64 {
    look(process, name).expect("the process lives")
}

/// `None` for a process that has ended.
fn look(process: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10)
}

/// Watches the children of a process, which come and go.
#[derive(Debug)]
pub(crate) struct Nursery {
    process: u32,
    ends: Arc<AtomicBool>,
    watcher: JoinHandle<u64>,
}

impl Nursery {
    pub(crate) fn watch(process: u32) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ends);
        let watcher = std::thread::spawn(move || {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                let peaks = children(process).into_iter().filter_map(|child| look(child, "VmHWM:"));
                most = peaks.fold(most, u64::max);
                std::thread::yield_now();
            }
            most
        });
        Self { process, ends, watcher }
    }

    /// No child ever held more than `bytes` beyond what a fresh one holds.
    #[track_caller]
    pub(crate) fn grew_within(self, bytes: u64, limit: &str) {
        self.ends.store(true, Ordering::Relaxed);
        let most = self.watcher.join().unwrap();
        let fresh = children(self.process).into_iter().filter_map(|child| look(child, "VmRSS:")).min();
        let growth = most.saturating_sub(fresh.expect("a child"));
        println!("{limit}: grew by {} of {} KiB", growth >> 10, bytes >> 10);
        assert!(growth <= bytes, "grew by {growth} bytes, more than {bytes}: {limit}");
    }
}
