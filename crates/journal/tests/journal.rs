//! The journal as its users hold it: with its threads, on a real directory and on the deterministic disk.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use bytes::Bytes;
use perseat_journal::{
    AppendError, CommitSink, Committed, Disk, Journal, MemoryDisk, NewEntry, Options, Position, ReadError, RealDisk, inspect,
};

const SEGMENT: u32 = 256 << 10;

fn options() -> Options {
    Options {
        segment_bytes: SEGMENT,
        max_bytes: 64 * u64::from(SEGMENT),
        max_entry_bytes: SEGMENT / 2,
        max_frame_bytes: SEGMENT / 4,
        ..Options::default()
    }
}

fn entry(payload: impl Into<Bytes>) -> NewEntry {
    NewEntry {
        partition: 1,
        epoch: 1,
        payload: payload.into(),
    }
}

fn ignore() -> Box<dyn CommitSink> {
    Box::new(|_: Arc<[Committed]>| {})
}

fn open(disk: &MemoryDisk) -> Journal {
    Journal::open(options(), Arc::new(disk.clone()), ignore()).unwrap()
}

fn payloads(journal: &Journal) -> Vec<Bytes> {
    journal.scan(None).map(|entry| entry.unwrap().payload).collect()
}

#[test]
fn a_real_directory_keeps_its_entries_over_restarts_and_recycles_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Journal::open(options(), Arc::new(RealDisk::open(directory.path()).unwrap()), ignore()).unwrap();
    let mut expected = Vec::new();
    for round in 0..3_u8 {
        let journal = open();
        assert_eq!(payloads(&journal), expected);
        for _ in 0..8 {
            let payload = vec![round; 60_000];
            let at = journal.append(vec![entry(payload.clone())]).wait().unwrap();
            assert_eq!(journal.read(at).unwrap().payload, payload);
            expected.push(Bytes::from(payload));
        }
    }
    let journal = open();
    let first = journal.scan(None).next().unwrap().unwrap().position;
    let segments = journal.segments();
    let released = journal.release(segments[2].number).unwrap();
    assert_eq!(released.segments, 2);
    assert!(matches!(journal.read(first), Err(ReadError::Expired(_))));
    let left: u64 = segments[2..].iter().map(|segment| segment.entries).sum();
    assert_eq!(payloads(&journal), expected[expected.len() - left as usize..]);
    let inspected: u64 = inspect::segments(directory.path())
        .unwrap()
        .iter()
        .map(|found| found.as_ref().unwrap().info().entries)
        .sum();
    assert_eq!(inspected, left, "inspection works beside the writer");
}

#[test]
fn a_directory_has_one_writer() {
    let directory = tempfile::tempdir().unwrap();
    let first = RealDisk::open(directory.path()).unwrap();
    let second = RealDisk::open(directory.path()).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::ResourceBusy);
    drop(first);
    RealDisk::open(directory.path()).unwrap();
}

#[test]
fn the_sink_sees_every_entry_once_in_position_order_before_its_caller() {
    let seen: Arc<Mutex<Vec<Position>>> = Arc::default();
    let sink = seen.clone();
    let sink = move |batch: Arc<[Committed]>| sink.lock().unwrap().extend(batch.iter().map(|entry| entry.position));
    let journal = Journal::open(options(), Arc::new(MemoryDisk::new(1)), Box::new(sink)).unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let at = journal.append(vec![entry("one"), entry("two")]).wait().unwrap();
                    assert!(seen.lock().unwrap().contains(&at));
                }
            });
        }
    });
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3200);
    assert!(seen.is_sorted());
    assert_eq!(*seen, journal.scan(None).map(|entry| entry.unwrap().position).collect::<Vec<_>>());
}

#[test]
fn an_append_needs_no_runtime_and_works_in_one() {
    let journal = open(&MemoryDisk::new(1));
    let outside = journal.append(vec![entry("made outside")]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let first = runtime.block_on(outside).unwrap();
    let second = runtime.block_on(journal.append(vec![entry("made outside, too")])).unwrap();
    assert!(first < second);
}

#[test]
fn dropping_an_append_does_not_withdraw_its_entries() {
    let disk = MemoryDisk::new(1);
    let journal = open(&disk);
    drop(journal.append(vec![entry("given up")]));
    journal.append(vec![entry("waited for")]).wait().unwrap();
    assert_eq!(payloads(&journal), ["given up", "waited for"]);
}

#[test]
fn closing_writes_what_waits_and_refuses_the_rest() {
    let disk = MemoryDisk::new(1);
    let journal = open(&disk);
    let waiting: Vec<_> = (0..100).map(|_| journal.append(vec![entry("x")])).collect();
    journal.close();
    assert!(waiting.into_iter().all(|append| append.wait().is_ok()));
    assert_eq!(journal.append(vec![entry("late")]).wait(), Err(AppendError::Closed));
    assert_eq!(payloads(&open(&disk)).len(), 100);
}

/// A sink that stops the writer until the test lets it go on.
fn gate() -> (Box<dyn CommitSink>, Receiver<()>, Sender<()>) {
    let (entered, in_sink) = channel();
    let (release, held) = channel::<()>();
    let sink = move |_: Arc<[Committed]>| {
        let _ = entered.send(());
        let _ = held.recv();
    };
    (Box::new(sink), in_sink, release)
}

#[test]
fn a_stalled_writer_leaves_pulses_unanswered_and_answers_once_it_goes_on() {
    let (sink, in_sink, release) = gate();
    let journal = Journal::open(options(), Arc::new(MemoryDisk::new(1)), sink).unwrap();
    let append = journal.append(vec![entry("x")]);
    in_sink.recv().unwrap();
    let pulse = journal.pulse();
    assert!(journal.last_heartbeat() < pulse);
    drop(release);
    append.wait().unwrap();
    journal.close();
    assert_eq!(journal.last_heartbeat(), pulse);
}

/// A sink that says what it was asked for, in order.
struct Answers {
    says: Sender<&'static str>,
}

impl CommitSink for Answers {
    fn committed(&mut self, _: Arc<[Committed]>) {
        self.says.send("committed").unwrap();
    }

    fn answering(&mut self, answer: &mut dyn FnMut()) {
        self.says.send("before").unwrap();
        answer();
        self.says.send("after").unwrap();
    }
}

#[test]
fn the_callers_of_a_frame_are_answered_where_the_sink_has_them_answered() {
    let (says, heard) = channel();
    let journal = Journal::open(options(), Arc::new(MemoryDisk::new(1)), Box::new(Answers { says })).unwrap();
    journal.append(vec![entry("x")]).wait().unwrap();
    journal.close();
    assert_eq!(heard.iter().collect::<Vec<_>>(), ["committed", "before", "after"]);
}

#[test]
fn a_panicking_sink_leaves_nobody_waiting() {
    let sink = |_: Arc<[Committed]>| panic!("the sink is broken");
    let journal = Journal::open(options(), Arc::new(MemoryDisk::new(1)), Box::new(sink)).unwrap();
    assert_eq!(journal.append(vec![entry("x")]).wait(), Err(AppendError::Closed));
    assert_eq!(journal.append(vec![entry("x")]).wait(), Err(AppendError::Closed));
}

#[test]
fn total_bytes_are_those_of_the_files() {
    let disk = MemoryDisk::new(1);
    let journal = open(&disk);
    for _ in 0..20 {
        journal.append(vec![entry(vec![1; 60_000])]).wait().unwrap();
    }
    journal.close();
    let files: u64 = disk
        .list()
        .unwrap()
        .iter()
        .map(|name| disk.open(name).unwrap().length().unwrap())
        .sum();
    assert_eq!(journal.total_bytes(), files);
}

#[cfg(feature = "faults")]
#[test]
fn a_frozen_writer_answers_nothing_until_it_thaws() {
    let options = options();
    let faults = options.faults.clone();
    faults.freeze_writer(true);
    let journal = Journal::open(options, Arc::new(MemoryDisk::new(1)), ignore()).unwrap();
    let mut append = journal.append(vec![entry("x")]);
    let pulse = journal.pulse();
    let poll = std::pin::Pin::new(&mut append).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(poll.is_pending() && journal.last_heartbeat() < pulse);
    faults.freeze_writer(false);
    append.wait().unwrap();
    assert_eq!(journal.last_heartbeat(), pulse);
}

#[test]
fn pinned_segments_stay_until_the_pin_moves_on_goes_or_breaks() {
    let journal = open(&MemoryDisk::new(1));
    let fill = || {
        for _ in 0..16 {
            journal.append(vec![entry(vec![7; 60_000])]).wait().unwrap();
        }
    };
    fill();
    let numbers = || journal.segments().iter().map(|segment| segment.number).collect::<Vec<_>>();
    let held = numbers();
    assert!(held.len() >= 3, "{held:?}");
    assert_eq!(journal.pinned(), None);
    let pin = journal.pin();
    assert_eq!(journal.release(u32::MAX).unwrap().segments, 0);
    assert_eq!((numbers(), journal.pinned().unwrap().from), (held.clone(), held[0]));

    pin.advance(held[1]);
    pin.advance(held[0]);
    assert_eq!(journal.release(u32::MAX).unwrap().segments, 1);
    assert_eq!(numbers(), held[1..]);

    let other = journal.pin();
    drop(pin);
    assert_eq!(journal.release(u32::MAX).unwrap().segments, 0, "the other one holds them");
    assert!(other.is_whole());
    journal.break_pins();
    assert!(!other.is_whole() && journal.pinned().is_none());
    assert_eq!(journal.release(u32::MAX).unwrap().segments as usize, held.len() - 2);
}
