//! The indexer over a real journal and real files: retention, overflow, restart.

use super::collector::{Collector, RetentionOptions};
use super::thread::{End, Indexer, Pace};
use super::{IndexSink, Options, Parts, RecoverError, Recovered, recover, start};
use perseat_domain::entry::{Accepted, EndStatus, Ended, Entry, EntryError, Origin, StepRecord, StepStatus, StepsDone};
use perseat_domain::id::{CustomerId, ExecutionId, FlowNumber, InstanceId};
use perseat_domain::identity::Identity;
use perseat_domain::model::Sealed;
use perseat_domain::time::Timestamp;
use perseat_journal::{Disk, Journal, NewEntry, Position, RealDisk, Room};
use perseat_store::folder::{Directory, Folder};
use perseat_store::history::{History, HistoryOptions};
use perseat_store::index::{EntryRef, ExecutionIndex, Feed, FeedOptions, Filter, Status, pack, unpack};
use perseat_store::pressure::{Ballast, IndexLag, StoragePressure};
use perseat_store::state::{StateOptions, StateStore};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

mod crowded;
#[cfg(feature = "faults")]
mod full;
mod lost;
mod reads;
mod released;
mod smaller;

const BUDGET: u64 = 16 << 20;

/// Where a run keeps its files.
struct Disks {
    journal: Arc<dyn Disk>,
    state: Arc<dyn Folder>,
    history: Arc<dyn Folder>,
    /// Of the journal.
    segment_bytes: u32,
}

impl Disks {
    fn of(directory: &Path) -> Self {
        let history = directory.join("history");
        std::fs::create_dir_all(&history).unwrap();
        Self {
            journal: Arc::new(RealDisk::open(directory.join("journal")).unwrap()),
            state: Arc::new(Directory::new(directory)),
            history: Arc::new(Directory::new(&history)),
            segment_bytes: 1 << 20,
        }
    }
}

/// Everything of one run of the daemon that concerns the index.
struct Run {
    journal: Journal,
    feed: Arc<Feed>,
    pressure: Arc<StoragePressure>,
    ballast: Arc<Ballast>,
    recovered: Recovered,
    options: Options,
}

impl Run {
    fn start(directory: &Path, feed_options: FeedOptions) -> Self {
        Self::try_start(directory, feed_options, false).unwrap()
    }

    fn try_start(directory: &Path, feed_options: FeedOptions, resume_carried: bool) -> Result<Self, RecoverError> {
        Self::start_on(Disks::of(directory), directory, feed_options, resume_carried, || {})
    }

    /// With its files there; `before_recovery` they are open.
    fn start_on(
        disks: Disks,
        directory: &Path,
        feed_options: FeedOptions,
        resume_carried: bool,
        before_recovery: impl FnOnce(),
    ) -> Result<Self, RecoverError> {
        let pressure = Arc::new(StoragePressure::default());
        let feed = Arc::new(Feed::new(feed_options, Arc::new(IndexLag::default()), Arc::clone(&pressure)));
        let journal_directory = directory.join("journal");
        let journal_options = perseat_journal::Options {
            segment_bytes: disks.segment_bytes,
            max_entry_bytes: disks.segment_bytes / 2,
            max_frame_bytes: disks.segment_bytes / 2,
            ..perseat_journal::Options::for_budget(BUDGET)
        };
        let retention = RetentionOptions::new(BUDGET, directory, &journal_directory, &journal_options);
        let journal = Journal::open(journal_options, disks.journal, Box::new(IndexSink(Arc::clone(&feed)))).unwrap();
        let options = Options {
            commit_entries: 50,
            scan_entries: 20,
            resume_carried,
            ..Options::new(retention)
        };
        let state = Arc::new(StateStore::open_in(disks.state, "state.redb", &StateOptions::default()).unwrap());
        let history = Arc::new(History::open_in(disks.history, HistoryOptions::default()).unwrap());
        let ballast = Arc::new(Ballast::new(&directory.join("ballast"), 100_000));
        before_recovery();
        let recovered = recover(&journal, state, &history, &feed, &ballast, &options, &mut |_| ())?;
        Ok(Self {
            journal,
            feed,
            pressure,
            ballast,
            recovered,
            options,
        })
    }

    /// Fills the segment that is being written with executions that end.
    fn fill(&self, from: u64) {
        let segment = self.journal.head().segment();
        for n in from.. {
            self.append([accepted(n, 64 << 10), ended(n)]);
            if self.journal.head().segment() > segment {
                return;
            }
        }
    }

    /// The execution's only entry, as the collector would append it again.
    fn packed(&self, n: u64) -> Vec<Entry> {
        let reference = self.index().live_one(id(n)).unwrap().unwrap().entries[0];
        let payload = self.journal.read(Position::from_bits(reference.position)).unwrap().payload;
        pack(id(n), 0, vec![payload], 1 << 19).into_iter().map(Entry::from).collect()
    }

    /// Ends it, with everything indexed.
    fn stop(self) {
        catch_up(&mut self.indexer());
        self.wait_for_files();
    }

    fn parts(&self) -> Parts {
        Parts {
            journal: self.journal.clone(),
            index: Arc::clone(&self.recovered.index),
            feed: Arc::clone(&self.feed),
            pressure: Arc::clone(&self.pressure),
            ballast: Arc::clone(&self.ballast),
        }
    }

    fn indexer(&self) -> Indexer {
        Indexer::new(self.parts(), self.options.clone())
    }

    fn index(&self) -> &ExecutionIndex {
        &self.recovered.index
    }

    fn append(&self, entries: impl IntoIterator<Item = Entry>) -> Position {
        let entry = |entry: Entry| NewEntry {
            partition: 3,
            epoch: 0,
            payload: entry.encode().into(),
        };
        self.journal.append(entries.into_iter().map(entry).collect()).wait().unwrap()
    }

    /// The request of a live execution, read through its references.
    fn request_of(&self, execution: ExecutionId) -> Sealed {
        match self.entries_of(execution).swap_remove(0) {
            Entry::Accepted(accepted) => accepted.request,
            other => panic!("the first entry is {other:?}"),
        }
    }

    /// The entries of a live execution, read through its references.
    fn entries_of(&self, execution: ExecutionId) -> Vec<Entry> {
        let live = self.index().live_one(execution).unwrap().unwrap();
        let read = |reference: &EntryRef| self.journal.read(Position::from_bits(reference.position)).unwrap().payload;
        let payloads = live
            .entries
            .iter()
            .flat_map(|reference| unpack(read(reference), reference.entries).unwrap());
        payloads.map(|payload| Entry::decode(&payload).unwrap()).collect()
    }

    fn wait_for_files(&self) {
        // The journal's own thread removes and prepares files; closing waits for it.
        self.journal.close();
    }
}

/// Everything indexed.
fn catch_up(indexer: &mut Indexer) {
    while indexer.advance().unwrap() {}
}

fn id(n: u64) -> ExecutionId {
    ExecutionId(Uuid::from_u128(u128::from(1_000_000 + n) << 80 | 7 << 76 | 2 << 62))
}

fn request(n: u64, bytes: usize) -> Sealed {
    Sealed(n.to_le_bytes().into_iter().cycle().take(bytes).collect())
}

fn accepted(n: u64, bytes: usize) -> Entry {
    let instance = InstanceId(Uuid::from_u128(u128::from(n % 5) + 1));
    let customer = CustomerId(Uuid::from_u128(1));
    Entry::from(Accepted {
        execution: id(n),
        identity: Some(Identity {
            customer,
            instance,
            flow: FlowNumber(1),
            user: None,
        }),
        origin: Origin::Webhook,
        received_at: Timestamp(1_000_000 + n),
        dedupe_id: None,
        unique_request_id: None,
        catalog_revision: 1,
        sync_deadline: None,
        refusal: None,
        request: request(n, bytes),
    })
}

/// One step with so large a result.
fn done(n: u64, bytes: usize) -> Entry {
    let step = StepRecord {
        path: "0".into(),
        name: "step".into(),
        status: StepStatus::Ok,
        started_at: Timestamp(1_000_000 + n),
        ended_at: Timestamp(1_000_001 + n),
        output: request(n, bytes),
        masks: Vec::new(),
        credentials: Vec::new(),
        tries: 1,
    };
    Entry::from(StepsDone {
        execution: id(n),
        attempt: 1,
        steps: vec![step],
        branches: Vec::new(),
        logs: None,
        log_counts: Vec::new(),
    })
}

fn ended(n: u64) -> Entry {
    Entry::from(Ended {
        execution: id(n),
        attempt: 0,
        status: EndStatus::Succeeded,
        code: None,
        failed_step: None,
        message: None,
        response: None,
        cost: (0, 0),
        at: Timestamp(2_000_000 + n),
    })
}

fn directory_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter_map(|path| match std::fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => Some(directory_bytes(&path)),
            Ok(meta) => Some(meta.blocks() * 512),
            Err(_) => None,
        })
        .sum()
}

#[test]
fn the_directory_stays_within_its_budget_and_live_executions_survive_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    let mut indexer = run.indexer();
    let mut collector = Collector::default();
    indexer.is_urgent = true;
    // The first stays live throughout; every tenth of the early ones too.
    let live: Vec<u64> = (0..60).step_by(10).collect();
    for batch in 0..100 {
        let numbers = batch * 20..(batch + 1) * 20;
        run.append(numbers.clone().map(|n| accepted(n, 16 << 10)));
        run.append(numbers.filter(|n| !live.contains(n)).map(ended));
        assert!(indexer.step(&mut collector));
        assert!(directory_bytes(directory.path()) <= BUDGET, "batch {batch}");
    }
    assert!(run.journal.segments()[0].number > 10, "33 MB were written, so segments went");
    for n in &live {
        assert_eq!(run.request_of(id(*n)), request(*n, 16 << 10));
    }
    let listed = run.index().list(&Filter::default(), None, 10_000).unwrap().rows;
    assert_eq!(listed.iter().filter(|(_, row)| row.status() == Status::Queued).count(), live.len());
    assert!(listed.len() < 1_500, "history went with its segments");
    assert!(listed.len() > 100, "recent history is there");
    run.wait_for_files();
    drop((indexer, run));

    let run = Run::start(directory.path(), FeedOptions::default());
    let expected: Vec<ExecutionId> = live.iter().map(|n| id(*n)).collect();
    assert_eq!(run.recovered.live.iter().map(|live| live.execution).collect::<Vec<_>>(), expected);
    for n in live {
        assert_eq!(run.request_of(id(n)), request(n, 16 << 10));
    }
}

/// At low priority it would take too long where other programs want the processors: there is another thread for it.
#[test]
fn making_room_is_left_to_whoever_waits_for_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    let mut indexer = run.indexer();
    let mut collector = Collector::default();
    let mut n = 0;
    while run.journal.room() == Room::Ample {
        run.append([accepted(n, 16 << 10), ended(n)]);
        n += 1;
    }
    let oldest = || run.journal.segments()[0].number;
    let mut step = |is_urgent| {
        let lag = run.feed.lag();
        indexer.is_urgent = is_urgent;
        assert!(indexer.step(&mut collector));
        (lag - run.feed.lag(), indexer.is_drop_due)
    };
    let (indexed, is_drop_due) = step(false);
    assert!((50..60).contains(&indexed) && is_drop_due, "one commit, not {indexed}");
    assert_eq!(oldest(), 1, "nothing went");
    step(true);
    assert!(oldest() > 1);
}

#[test]
fn a_commit_is_small_where_it_takes_long_and_room_is_short() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    let mut indexer = run.indexer();
    let cases = [(false, false, 50), (true, false, 50), (false, true, 6), (true, true, 50)];
    indexer.options.retention.margin = BUDGET;
    for (is_urgent, are_processors_short, entries) in cases {
        indexer.is_urgent = is_urgent;
        indexer.arrivals.are_processors_short = are_processors_short;
        assert_eq!(indexer.commit_entries(), entries, "{is_urgent} {are_processors_short}");
    }
    indexer.is_urgent = false;
    indexer.options.retention.margin = 0;
    assert_eq!(indexer.commit_entries(), 50, "there is room");
}

#[test]
fn entries_that_come_while_the_collector_carries_keep_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    let mut indexer = run.indexer();
    run.append([accepted(0, 100)]);
    catch_up(&mut indexer);
    let reference = run.index().live_one(id(0)).unwrap().unwrap().entries[0];
    // The owner writes between the collector's reading and its append.
    let payload = run.journal.read(Position::from_bits(reference.position)).unwrap().payload;
    let cancelled = perseat_domain::entry::Cancelled {
        execution: id(0),
        at: Timestamp(5),
        by: "local:0".into(),
    };
    let later = run.append([Entry::from(cancelled)]);
    let packed = pack(id(0), 0, vec![payload], 1 << 19);
    let carried = run.append(packed.into_iter().map(Entry::from));
    catch_up(&mut indexer);
    let positions: Vec<u64> = run
        .index()
        .live_one(id(0))
        .unwrap()
        .unwrap()
        .entries
        .iter()
        .map(|it| it.position)
        .collect();
    assert_eq!(positions, [carried.to_bits(), later.to_bits()]);
}

#[test]
fn a_queue_that_overflows_is_made_good_from_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(
        directory.path(),
        FeedOptions {
            max_lag: 100,
            queue_entries: 30,
            queue_bytes: 1 << 20,
        },
    );
    for batch in 0..40 {
        run.append((batch * 10..(batch + 1) * 10).map(|n| accepted(n, 50)));
    }
    assert!(run.feed.has_overflowed());
    assert!(
        run.pressure.index_lag.load(Ordering::Relaxed),
        "a lag of 400 closes admission at 100"
    );
    let mut indexer = run.indexer();
    indexer.options.yield_lag = 0;
    assert!(indexer.step(&mut Collector::default()));
    assert_eq!(run.index().backlog().executions, 400);
    assert!(!run.feed.has_overflowed());
    assert!(!run.pressure.index_lag.load(Ordering::Relaxed));
    run.append([ended(7)]);
    assert_eq!(
        run.index().get(id(7)).unwrap().unwrap().status(),
        Status::Succeeded,
        "the queue takes batches again"
    );
}

#[test]
fn what_is_read_again_is_bounded_by_bytes_too() {
    let directory = tempfile::tempdir().unwrap();
    let options = FeedOptions {
        queue_bytes: 100_000,
        ..FeedOptions::default()
    };
    let run = Run::start(directory.path(), options);
    let sizes = [20_000, 20_000, 90_000, 200_000, 200_000, 20_000, 20_000];
    for (n, bytes) in (0..).zip(sizes) {
        run.append([accepted(n, bytes)]);
    }
    let indexer = run.indexer();
    let mut scan = run.journal.scan(None);
    let batches = std::iter::from_fn(|| Some(indexer.read_batch(&mut scan).0.len()));
    assert_eq!(
        batches.take(4).collect::<Vec<_>>(),
        [3, 1, 1, 2],
        "up to the entry that passes the bound"
    );
}

#[test]
fn the_index_stands_back_while_much_arrives_and_catches_up_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    let mut indexer = run.indexer();
    // Nobody looks again within the test.
    indexer.options.commit_interval = Duration::from_secs(36_000);
    indexer.options.commit_entries = 100;
    for batch in 0..60 {
        run.append((batch * 10..(batch + 1) * 10).map(|n| accepted(n, 50)));
    }
    let step = |indexer: &mut Indexer, yield_lag, rate, is_high| {
        indexer.options.yield_lag = yield_lag;
        indexer.arrivals.pace = Pace { rate, is_high };
        assert!(indexer.step(&mut Collector::default()));
        run.feed.lag()
    };
    assert_eq!(step(&mut indexer, 10_000, 1e6, true), 500, "one commit, and the rest for later");
    assert_eq!(step(&mut indexer, 700, 1e6, true), 300, "down to less than half of index.yield-lag");
    assert_eq!(step(&mut indexer, 10_000, 4.0, true), 100, "or of what arrives in index.yield-for");
    assert_eq!(step(&mut indexer, 10_000, 0.0, false), 0, "all of it once little arrives");
}

#[test]
fn an_eighth_is_much_where_processors_are_short() {
    let directory = tempfile::tempdir().unwrap();
    let options = Run::start(directory.path(), FeedOptions::default()).options;
    let full = options.commit_entries as f64 / options.commit_interval.as_secs_f64();
    let is_high = |rate, are_short| Pace::of(rate, are_short, &options).is_high;
    assert!(is_high(full, false) && !is_high(full - 1.0, false));
    assert!(is_high(full / 8.0, true) && !is_high(full / 8.0 - 1.0, true));
}

#[test]
fn a_batch_larger_than_the_queue_is_taken_where_nothing_else_waits() {
    let directory = tempfile::tempdir().unwrap();
    let options = FeedOptions {
        queue_bytes: 1,
        ..FeedOptions::default()
    };
    let run = Run::start(directory.path(), options);
    run.append([accepted(1, 50)]);
    assert!(!run.feed.has_overflowed(), "readers find it at once");
    run.append([accepted(2, 50)]);
    assert!(run.feed.has_overflowed());
}

/// While it grows, the index makes history files: nothing else may wait for the end of that.
#[test]
fn the_collector_has_its_turn_after_every_commit() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(
        directory.path(),
        FeedOptions {
            queue_entries: 100,
            ..FeedOptions::default()
        },
    );
    let mut indexer = run.indexer();
    for batch in 0..30 {
        run.append((batch * 10..(batch + 1) * 10).map(|n| accepted(n, 50)));
    }
    let mut left = vec![run.feed.lag()];
    while indexer.advance().unwrap() {
        left.push(run.feed.lag());
    }
    left.push(run.feed.lag());
    // From the queue until it was full, from the journal after that, fifty or a batch more at a time.
    assert!(
        left.iter()
            .zip(&left[1..])
            .all(|(before, after)| (50..70).contains(&(before - after)) || *after == 0),
        "{left:?}"
    );
    assert_eq!((left[0], left.last()), (300, Some(&0)));
}

#[test]
fn live_bytes_close_admission_and_open_it_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = Run::start(directory.path(), FeedOptions::default());
    run.options.retention.backlog_max_bytes = 50_000;
    let mut indexer = run.indexer();
    run.append((0..6).map(|n| accepted(n, 10_000)));
    indexer.step(&mut Collector::default());
    assert!(run.pressure.storage_budget.load(Ordering::Relaxed));
    run.append((0..3).map(ended));
    indexer.step(&mut Collector::default());
    assert!(!run.pressure.storage_budget.load(Ordering::Relaxed));
}

#[test]
fn the_thread_commits_what_came_before_it_was_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    let index = Arc::clone(&run.recovered.index);
    let handle = start(run.parts(), run.options.clone()).unwrap();
    let last = run.append([accepted(1, 10)]);
    handle.stop(Duration::from_secs(600), CancellationToken::new());
    assert_eq!((index.pending(), index.applied()), (0, Some(last.to_bits())));
}

#[test]
fn what_there_is_no_time_for_at_the_end_comes_from_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = Run::start(directory.path(), FeedOptions::default());
    run.options.commit_entries = 10;
    run.append((0..100).map(|n| accepted(n, 50)));
    let index = Arc::clone(&run.recovered.index);
    let mut indexer = run.indexer();
    let now = CancellationToken::new();
    let (begun, within) = (Instant::now(), Duration::from_secs(600));
    let end = End {
        begun,
        within,
        now: now.clone(),
    };
    indexer.end.set(end).unwrap();
    now.cancel();
    run.feed.close();
    indexer.finish();
    assert_eq!((index.applied(), run.feed.lag()), (None, 100));
    drop((index, indexer));
    run.wait_for_files();
    drop(run);
    let run = Run::start(directory.path(), FeedOptions::default());
    assert_eq!(run.recovered.replayed, 100);
    assert_eq!(run.recovered.live.len(), 100);
}

#[test]
fn what_was_not_committed_before_a_crash_comes_from_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    {
        let run = Run::start(directory.path(), FeedOptions::default());
        run.append((0..120).map(|n| accepted(n, 50)));
        assert!(run.indexer().step(&mut Collector::default()));
        run.append((0..100).map(ended).chain((120..130).map(|n| accepted(n, 50))));
    }
    let run = Run::start(directory.path(), FeedOptions::default());
    assert_eq!(run.recovered.replayed, 111, "the entry at the watermark and those after it");
    assert_eq!(
        run.recovered.live.iter().map(|live| live.execution).collect::<Vec<_>>(),
        (100..130).map(id).collect::<Vec<_>>()
    );
    assert_eq!(run.index().list(&Filter::default(), None, 1_000).unwrap().rows.len(), 130);
}
