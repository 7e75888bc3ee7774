//! The loop: wait, apply, commit, collect.

use super::collector::{Collector, RetentionOptions, has_headroom};
use super::full::hold_up;
use super::logged;
use super::nice::Nice;
use super::processors::Processors;
use perseat_journal::{AbortOnPanic, Bookmark, Journal, Position, ReadError, Room, Scan};
use perseat_store::index::{ExecutionIndex, Feed, IndexError, Limits, Logged};
use perseat_store::pressure::{Ballast, StoragePressure};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Such a part of what is much on any machine is much where processors are short. No key: it goes with `commit_entries`.
const PART_WHERE_SHORT: u64 = 8;

/// Limits of the indexer.
#[derive(Clone, Debug)]
pub struct Options {
    /// A commit takes at most about so many entries.
    pub commit_entries: u64,
    /// A commit comes at the latest after this time, unless the index yields.
    pub commit_interval: Duration,
    /// While more than `commit_entries` arrive in a `commit_interval`, or an eighth of them while processors are short, the
    /// index leaves processor and disk to them until it lags by so many entries,
    pub yield_lag: u64,
    /// or by as many as arrive in this time.
    pub yield_for: Duration,
    /// How soon a failed commit is tried again.
    pub retry_interval: Duration,
    /// How many entries are read from the journal at a time where the queue overflowed; fewer where they pass its bytes.
    pub scan_entries: usize,
    /// The nice value of what may wait: all but making room. A failure to set it is logged and ignored.
    pub nice: i32,
    /// What is bounded in a row.
    pub limits: Limits,
    /// What the data directory may hold.
    pub retention: RetentionOptions,
    /// Whether executions of which the journal does not say that they ended are taken as live where state was lost.
    pub resume_carried: bool,
}

impl Options {
    /// The defaults for what `retention` says.
    #[must_use]
    pub fn new(retention: RetentionOptions) -> Self {
        Self {
            commit_entries: 8_000,
            commit_interval: Duration::from_millis(250),
            yield_lag: 1_572_864,
            yield_for: Duration::from_secs(60),
            retry_interval: Duration::from_secs(1),
            scan_entries: 1_024,
            nice: 19,
            limits: Limits::default(),
            retention,
            resume_carried: false,
        }
    }
}

/// A running indexer; it goes on until [`IndexerHandle::stop`].
#[derive(Debug)]
pub struct IndexerHandle {
    feed: Arc<Feed>,
    end: Arc<OnceLock<End>>,
    thread: JoinHandle<()>,
}

/// For how long the thread may go on once it is told to end.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) begun: Instant,
    pub(crate) within: Duration,
    /// No longer, in any case.
    pub(crate) now: CancellationToken,
}

impl End {
    fn has_come(&self) -> bool {
        self.now.is_cancelled() || self.begun.elapsed() >= self.within
    }
}

impl IndexerHandle {
    /// Commits what was handed over so far, as far as it begins to within the time and before `now`, and ends the thread. The
    /// next start takes the rest from the journal.
    pub fn stop(self, within: Duration, now: CancellationToken) {
        let begun = Instant::now();
        let _ = self.end.set(End { begun, within, now });
        self.feed.close();
        // After a panic there would be no process any more.
        let _ = self.thread.join();
    }
}

/// What the indexer works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The journal: read where the queue overflowed, written to carry what is live.
    pub journal: Journal,
    /// The index, as [`super::recover`] left it.
    pub index: Arc<ExecutionIndex>,
    /// The queue that the journal's sink fills.
    pub feed: Arc<Feed>,
    /// The flags that close admission.
    pub pressure: Arc<StoragePressure>,
    /// Room that is given back first when the disk is full.
    pub ballast: Arc<Ballast>,
}

/// Starts the threads.
///
/// # Errors
/// If the system gives no thread.
pub fn start(parts: Parts, options: Options) -> io::Result<IndexerHandle> {
    let feed = Arc::clone(&parts.feed);
    let nice = Nice::start("indexer-nice", options.nice, Work::step)?;
    let work = Box::new(Work {
        indexer: Indexer::new(parts, options),
        collector: Collector::default(),
    });
    let end = Arc::clone(&work.indexer.end);
    let index = move || {
        // A panic of the nice thread is passed on.
        let _without_it = AbortOnPanic;
        run(work, &nice);
    };
    let thread = std::thread::Builder::new().name("indexer".into()).spawn(index)?;
    Ok(IndexerHandle { feed, end, thread })
}

/// What one thread or the other works on.
#[derive(Debug)]
struct Work {
    indexer: Indexer,
    collector: Collector,
}

impl Work {
    fn step(&mut self) {
        self.indexer.step(&mut self.collector);
    }
}

/// Until the feed is closed: waits here, and works there until that is urgent.
fn run(mut work: Box<Work>, nice: &Nice<Work>) {
    loop {
        work.indexer.wait();
        if work.indexer.parts.feed.is_closed() {
            return work.indexer.finish();
        }
        work.indexer.is_urgent = false;
        if !work.indexer.is_pressed() {
            work = nice.visit(work);
        }
        if work.indexer.is_pressed() {
            work.indexer.is_urgent = true;
            work.step();
        }
    }
}

/// How much arrives: looked at ten times in a `commit_interval` at most, and at the processors once.
#[derive(Debug)]
pub(crate) struct Arrivals {
    since: Instant,
    before: u64,
    processors: Processors,
    processors_since: Instant,
    pub(crate) are_processors_short: bool,
    /// How much arrived lately.
    pub(crate) pace: Pace,
}

/// How much arrives, of what is too much for an index beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pace {
    /// Entries a second.
    pub(crate) rate: f64,
    /// So many that the index stands back.
    pub(crate) is_high: bool,
}

impl Pace {
    /// A `commit_interval` that fills a commit is much on any machine; on one whose processors are short an eighth of it is.
    pub(super) fn of(rate: f64, are_processors_short: bool, options: &Options) -> Self {
        let full = options.commit_entries as f64 / options.commit_interval.as_secs_f64();
        let high = if are_processors_short {
            full / PART_WHERE_SHORT as f64
        } else {
            full
        };
        Self {
            rate,
            is_high: rate >= high,
        }
    }

    /// By how many entries the index may lag before it no longer stands back.
    fn yield_lag(self, options: &Options) -> u64 {
        let in_time = (self.rate * options.yield_for.as_secs_f64()) as u64;
        options.yield_lag.min(in_time)
    }
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            before: 0,
            processors: Processors::default(),
            processors_since: Instant::now(),
            are_processors_short: false,
            pace: Pace::default(),
        }
    }
}

impl Arrivals {
    fn look(&mut self, feed: &Feed, options: &Options) {
        let passed = self.since.elapsed();
        if passed < options.commit_interval / 10 {
            return;
        }
        if self.processors_since.elapsed() >= options.commit_interval {
            self.processors_since = Instant::now();
            self.are_processors_short = self.processors.are_short();
        }
        let arrived = feed.arrived();
        let rate = (arrived - self.before) as f64 / passed.as_secs_f64();
        (self.since, self.before) = (Instant::now(), arrived);
        self.pace = Pace::of(rate, self.are_processors_short, options);
    }
}

/// Why the index did not get further; the next try goes on from there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdvanceError {
    /// An index fails.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The disk did not answer.
    #[error("what the queue had no room for cannot be read from the journal")]
    Journal(#[source] ReadError),
}

impl AdvanceError {
    /// Whether the only remedy is room on the disk.
    fn is_full(&self) -> bool {
        matches!(self, Self::Index(error) if error.is_full())
    }
}

/// The threads' state; tests drive it step by step.
#[derive(Debug)]
pub(crate) struct Indexer {
    pub(crate) parts: Parts,
    pub(crate) options: Options,
    /// Whether it works at the daemon's priority: events wait for the room that it makes, or soon will.
    pub(crate) is_urgent: bool,
    /// Whether the oldest segment has to go.
    pub(super) is_drop_due: bool,
    /// Whether the collector can give the journal a file when it needs one.
    pub(super) makes_room: bool,
    /// What the budget leaves for entries, where live executions may take more.
    pub(super) short_room: Option<u64>,
    failing: bool,
    /// Where the next entries are read from the journal.
    read_to: Option<Bookmark>,
    pub(crate) arrivals: Arrivals,
    /// When to leave the rest to the next start; set when the thread is to end.
    pub(crate) end: Arc<OnceLock<End>>,
}

impl Indexer {
    pub(crate) fn new(parts: Parts, options: Options) -> Self {
        Self {
            parts,
            options,
            is_urgent: false,
            is_drop_due: false,
            makes_room: true,
            short_room: None,
            failing: false,
            read_to: None,
            arrivals: Arrivals::default(),
            end: Arc::default(),
        }
    }

    /// Commits what is left, for as long as there is time.
    pub(crate) fn finish(&mut self) {
        let lag = self.parts.feed.lag();
        if lag > self.options.commit_entries {
            tracing::info!(entries = lag, "committing what the index lags");
        }
        while !self.is_out_of_time() {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.note_failure(&error),
            }
        }
        let lag = self.parts.feed.lag();
        if lag > 0 {
            tracing::warn!(
                entries = lag,
                "the index lags at the drain deadline; the next start takes the rest from the journal"
            );
        }
    }

    pub(super) fn is_out_of_time(&self) -> bool {
        self.end.get().is_some_and(End::has_come)
    }

    /// Waits until there is something to do, and longer under load: processor and disk are left to what arrives for as
    /// long as the limits allow.
    fn wait(&mut self) {
        let feed = self.parts.feed.clone();
        if self.failing {
            return feed.pause(self.options.retry_interval);
        }
        let entries = usize::try_from(self.options.commit_entries).unwrap_or(usize::MAX);
        feed.wait(entries, self.options.commit_interval);
        self.arrivals.look(&feed, &self.options);
        while !feed.is_closed() && self.may_yield(1) {
            feed.pause(self.options.commit_interval);
            self.arrivals.look(&feed, &self.options);
            metrics::gauge!("perseat_index_lag_entries").set(feed.lag() as f64);
        }
    }

    /// Whether room has to be made: that waits for nobody.
    fn is_pressed(&self) -> bool {
        self.is_drop_due || self.parts.journal.room() != Room::Ample
    }

    /// Whether the index leaves the rest for later, once it lags little.
    fn stands_back(&mut self) -> bool {
        self.arrivals.look(&self.parts.feed, &self.options);
        self.may_yield(2)
    }

    /// Whether so much arrives that the index stands back, and it may: it lags by less than this part of what it may, what
    /// readers applied meanwhile stays small, and there is room.
    fn may_yield(&self, part: u64) -> bool {
        let pace = self.arrivals.pace;
        let lags_little = self.parts.feed.lag() < pace.yield_lag(&self.options) / part;
        pace.is_high && lags_little && self.parts.index.pending() < self.options.limits.pending && has_headroom(self)
    }

    /// Applies and commits what there is, or part of it under load; whether that succeeded. The collector has its turn after
    /// every commit: while much arrives there is always more to apply, and what a commit adds takes room.
    pub(crate) fn step(&mut self, collector: &mut Collector) -> bool {
        loop {
            let advanced = self.advance();
            self.failing = advanced.is_err();
            if let Err(error) = &advanced {
                self.note_failure(error);
            } else if let Err(error) = self.parts.ballast.restore() {
                tracing::warn!(%error, "the ballast file cannot be written");
            }
            self.set_pressure();
            let Ok(is_more) = advanced else { return false };
            collector.collect(self);
            if !is_more || self.is_urgent != self.is_pressed() || self.stands_back() || self.is_out_of_time() {
                return true;
            }
        }
    }

    /// Brings the index to `last`, and commits.
    pub(crate) fn advance_to(&mut self, last: Position) -> Result<(), AdvanceError> {
        let is_there = |index: &ExecutionIndex| index.applied() >= Some(last.to_bits()) && index.pending() == 0;
        // What is damaged is passed over, so that the end of the journal may come first.
        while !is_there(&self.parts.index) && self.advance()? {}
        Ok(())
    }

    /// Entries of the next commit: fewer where it would take long and making room may become urgent meanwhile.
    pub(crate) fn commit_entries(&self) -> u64 {
        let all = self.options.commit_entries;
        match !self.is_urgent && self.arrivals.are_processors_short && !has_headroom(self) {
            true => (all / PART_WHERE_SHORT).max(1),
            false => all,
        }
    }

    /// Applies and commits at most about `commit_entries`; whether there is more.
    pub(crate) fn advance(&mut self) -> Result<bool, AdvanceError> {
        // What the last commit could not store comes first: nothing is added to it.
        if self.failing {
            self.commit()?;
        }
        if !self.parts.feed.is_empty() {
            self.parts.index.catch_up_by(self.commit_entries())?;
        } else if self.parts.feed.has_overflowed() {
            self.take_from_journal(self.commit_entries())?;
        }
        self.commit()?;
        Ok(!self.parts.feed.is_empty() || self.parts.feed.has_overflowed())
    }

    /// Reads what the queue had no room for, up to what is durable now. Where the disk does not answer the queue stays as it is:
    /// the next try reads on from what was applied.
    fn take_from_journal(&mut self, most: u64) -> Result<(), AdvanceError> {
        let head = self.parts.journal.head();
        let from = self.parts.index.applied().map(Position::from_bits);
        let mut scan = self.parts.journal.scan_on(self.read_to, from);
        while self.parts.index.pending() < most {
            let (batch, read) = self.read_batch(&mut scan);
            self.read_to = scan.bookmark();
            self.parts.index.apply_all(&batch)?;
            read.map_err(AdvanceError::Journal)?;
            if batch.is_empty() {
                self.parts.feed.resume(head.to_bits());
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next entries, up to `scan_entries` of them or to the one that passes the bytes of the queue, and what kept it from
    /// reading on. What is damaged is passed over: recovery and inspection report it.
    pub(super) fn read_batch(&self, scan: &mut Scan) -> (Vec<Logged>, Result<(), ReadError>) {
        let most_bytes = self.parts.feed.queue_bytes();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < self.options.scan_entries && bytes <= most_bytes {
            match scan.next() {
                Some(Ok(committed)) => {
                    bytes += committed.payload.len();
                    batch.push(logged(&committed));
                }
                Some(Err(error @ ReadError::Io(_))) => return (batch, Err(error)),
                Some(Err(_)) => {}
                None => break,
            }
        }
        (batch, Ok(()))
    }

    fn commit(&self) -> Result<(), IndexError> {
        let flushed = self.parts.index.flush()?;
        if flushed.entries > 0 {
            self.parts.feed.indexed(flushed.entries);
            metrics::counter!("perseat_index_commits_total").increment(1);
            metrics::counter!("perseat_index_entries_total").increment(flushed.entries);
        }
        Ok(())
    }

    fn note_failure(&self, error: &AdvanceError) {
        // What was given up for room is of use to the next try.
        let _ = hold_up(error, error.is_full(), &self.parts.ballast, self.parts.index.history());
    }

    pub(super) fn set_pressure(&self) {
        let backlog = self.parts.index.backlog();
        let limit = self.options.retention.backlog_max_bytes;
        let flag = &self.parts.pressure.storage_budget;
        let over = backlog.bytes > if flag.load(Ordering::Relaxed) { limit - limit / 10 } else { limit };
        if flag.swap(over, Ordering::Relaxed) != over {
            tracing::warn!(
                live_bytes = backlog.bytes,
                limit,
                closed = over,
                "admission by the size of live executions changed"
            );
        }
        let full = match self.parts.journal.room() {
            Room::Ample => false,
            Room::Limit => !self.makes_room,
            Room::Reserve | Room::Full => true,
        };
        if self.parts.pressure.storage_full.swap(full, Ordering::Relaxed) != full {
            tracing::warn!(closed = full, "admission by room on the disk changed");
        }
        metrics::gauge!("perseat_backlog_executions").set(backlog.executions as f64);
        metrics::gauge!("perseat_backlog_bytes").set(backlog.bytes as f64);
        metrics::gauge!("perseat_index_lag_entries").set(self.parts.feed.lag() as f64);
    }
}
