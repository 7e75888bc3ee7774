//! Test switches of the writer, flipped at run time; compiled only with the `faults` feature.

use std::sync::atomic::{AtomicBool, Ordering};

/// What a test may do to the writer.
#[derive(Debug, Default)]
pub struct Faults {
    acknowledge_early: AtomicBool,
    freeze_writer: AtomicBool,
    sync_again: AtomicBool,
    fill_disk: AtomicBool,
}

impl Faults {
    /// Resolve tickets before the write and its sync: the crash test must catch it.
    pub fn acknowledge_early(&self, on: bool) {
        self.acknowledge_early.store(on, Ordering::SeqCst);
    }

    /// Stop the writer before its next turn until switched off: the watchdog must see it. While it acknowledges early it
    /// stops between the acknowledgement and the write.
    pub fn freeze_writer(&self, on: bool) {
        self.freeze_writer.store(on, Ordering::SeqCst);
    }

    /// Take a second sync of a segment for an answer after the first has failed: the fault campaign must catch it.
    pub fn sync_again(&self, on: bool) {
        self.sync_again.store(on, Ordering::SeqCst);
    }

    /// Let every write that makes a file larger fail for lack of space until switched off.
    pub fn fill_disk(&self, on: bool) {
        self.fill_disk.store(on, Ordering::SeqCst);
    }

    pub(crate) fn disk_is_full(&self) -> bool {
        self.fill_disk.load(Ordering::SeqCst)
    }

    pub(crate) fn syncs_again(&self) -> bool {
        self.sync_again.load(Ordering::SeqCst)
    }

    pub(crate) fn acknowledges_early(&self) -> bool {
        self.acknowledge_early.load(Ordering::SeqCst)
    }

    pub(crate) fn hold_before_turn(&self) {
        if !self.acknowledges_early() {
            self.hold_while_frozen();
        }
    }

    pub(crate) fn hold_while_frozen(&self) {
        while self.freeze_writer.load(Ordering::SeqCst) {
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
    }
}
