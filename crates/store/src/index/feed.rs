//! The bounded queue between the journal's writer and the index.
//!
//! The writer only links a batch in; whoever looks first (the indexer's thread or a reader) decodes it. Past its limits
//! the queue stops taking batches, and the index reads them from the journal instead: the writer never waits and the
//! memory is bounded even while nothing can be indexed.

use super::Logged;
use crate::pressure::{IndexLag, StoragePressure};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The limits of the queue.
#[derive(Clone, Copy, Debug)]
pub struct FeedOptions {
    /// How many committed entries may be missing in the indexes before admission closes (`index.max-lag`).
    pub max_lag: u64,
    /// How many entries are queued at most.
    pub queue_entries: usize,
    /// How many payload bytes are queued at most, and read from the journal at a time where they were not.
    pub queue_bytes: usize,
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self {
            max_lag: 2_097_152,
            queue_entries: 65_536,
            queue_bytes: 1 << 20,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Feed {
    options: FeedOptions,
    lag: Arc<IndexLag>,
    pressure: Arc<StoragePressure>,
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<Arc<[Logged]>>,
    entries: usize,
    bytes: usize,
    last: Option<u64>,
    segment: Option<u32>,
    segment_changed: bool,
    overflowed: bool,
    closed: bool,
    /// Entries committed since the start.
    arrived: u64,
    /// For how many entries the index waits, if it does: what does not end its wait does not wake it.
    awaited: Option<usize>,
}

impl Queue {
    fn is_worth_while(&self, entries: usize) -> bool {
        self.entries >= entries || self.segment_changed || self.overflowed || self.closed
    }
}

impl Feed {
    /// An empty queue that keeps `lag` and its flag in `pressure`.
    #[must_use]
    pub fn new(options: FeedOptions, lag: Arc<IndexLag>, pressure: Arc<StoragePressure>) -> Self {
        Self {
            options,
            lag,
            pressure,
            queue: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    /// Takes a committed batch, in position order. Never waits for the index. A batch that does not fit is left out: it
    /// is read from the journal later.
    pub fn push(&self, batch: impl ExactSizeIterator<Item = Logged> + DoubleEndedIterator + Clone) {
        let count = batch.len();
        let Some((last, segment)) = batch.clone().next_back().map(|logged| (logged.position, logged.segment)) else {
            return;
        };
        self.lags(count as u64);
        let mut queue = self.queue();
        queue.last = Some(last);
        queue.segment_changed |= queue.segment.replace(segment).is_some_and(|before| before != segment);
        queue.arrived += count as u64;
        if queue.overflowed {
            return;
        }
        let batch: Arc<[Logged]> = batch.collect();
        let bytes: usize = batch.iter().map(|logged| logged.payload.len()).sum();
        // A single batch is bounded by the journal's frames: alone it has room, however large it is.
        let fits = queue.entries + count <= self.options.queue_entries && queue.bytes + bytes <= self.options.queue_bytes;
        if fits || queue.batches.is_empty() {
            queue.entries += count;
            queue.bytes += bytes;
            queue.batches.push_back(batch);
        } else {
            queue.overflowed = true;
        }
        let is_awaited = queue.awaited.is_some_and(|entries| queue.is_worth_while(entries));
        drop(queue);
        if is_awaited {
            self.arrived.notify_one();
        }
    }

    /// Counts entries that are committed and not in the indexes, and raises the flag past the limit.
    pub fn lags(&self, entries: u64) {
        if self.lag.committed(entries) > self.options.max_lag {
            self.pressure.index_lag.store(true, Ordering::Relaxed);
        }
    }

    /// Leaves committed entries, `last` among them, to be read from the journal, as those that do not fit.
    pub fn leave(&self, entries: u64, last: u64) {
        self.lags(entries);
        let mut queue = self.queue();
        queue.last = queue.last.max(Some(last));
        queue.overflowed = true;
    }

    /// Waits until `entries` are queued, the journal has gone on to its next segment since the last wait, the queue
    /// overflowed or was closed, or the time is over.
    pub fn wait(&self, entries: usize, limit: Duration) {
        let mut queue = self.queue();
        queue.awaited = Some(entries);
        let (mut queue, _) = self
            .arrived
            .wait_timeout_while(queue, limit, |queue| !queue.is_worth_while(entries))
            .unwrap_or_else(PoisonError::into_inner);
        queue.awaited = None;
        queue.segment_changed = false;
    }

    /// Waits until the queue was closed, or the time is over.
    pub fn pause(&self, limit: Duration) {
        let queue = self.queue();
        drop(self.arrived.wait_timeout_while(queue, limit, |queue| !queue.closed));
    }

    /// Ends every wait, now and later.
    pub fn close(&self) {
        self.queue().closed = true;
        self.arrived.notify_all();
    }

    /// Whether [`Feed::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.queue().closed
    }

    /// Whether no batch is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue().batches.is_empty()
    }

    /// Whether batches after the queued ones have to be read from the journal.
    #[must_use]
    pub fn has_overflowed(&self) -> bool {
        self.queue().overflowed
    }

    /// Takes batches again if none after `read_to` was left out; whether it does. `read_to` is how far the journal was
    /// read, at least.
    pub fn resume(&self, read_to: u64) -> bool {
        let mut queue = self.queue();
        if queue.batches.is_empty() && queue.last.is_none_or(|last| last <= read_to) {
            queue.overflowed = false;
        }
        !queue.overflowed
    }

    /// How many payload bytes are taken at a time, but for a single entry that has more.
    #[must_use]
    pub fn queue_bytes(&self) -> usize {
        self.options.queue_bytes
    }

    /// How many entries were committed since the start.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        self.queue().arrived
    }

    /// How many committed entries are not in the indexes.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.lag.entries()
    }

    /// Counts entries that reached the indexes and lowers the flag once the lag is well below its limit.
    pub fn indexed(&self, entries: u64) {
        if self.lag.indexed(entries) <= self.options.max_lag / 2 {
            self.pressure.index_lag.store(false, Ordering::Relaxed);
        }
    }

    /// The oldest batch, which stays queued.
    pub(crate) fn front(&self) -> Option<Arc<[Logged]>> {
        self.queue().batches.front().cloned()
    }

    /// Drops the oldest batch.
    pub(crate) fn pop(&self) {
        let mut queue = self.queue();
        if let Some(batch) = queue.batches.pop_front() {
            queue.entries -= batch.len();
            queue.bytes -= batch.iter().map(|logged| logged.payload.len()).sum::<usize>();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
