//! Live executions that do not fit into what other files leave of the budget.

use super::*;
use std::sync::mpsc::channel;
use std::thread;

const LIVE: u64 = 100;
const SIZE: usize = 64 << 10;

/// A run whose live executions, more than six megabytes, have four beside a large database; with what collects there.
fn crowded(directory: &Path, live: u64, size: usize) -> (Run, Indexer) {
    let run = Run::start(directory, FeedOptions::default());
    for n in 0..live {
        run.append([accepted(n, size)]);
    }
    std::fs::write(directory.join("large.redb"), vec![1; 12 << 20]).unwrap();
    let mut indexer = run.indexer();
    indexer.options.retention.rest = Duration::from_secs(36_000);
    indexer.is_urgent = true;
    catch_up(&mut indexer);
    (run, indexer)
}

/// One call of the collector, which must return.
fn collect(mut indexer: Indexer, mut collector: Collector) -> (Indexer, Collector) {
    let (done, is_done) = channel();
    thread::spawn(move || {
        collector.collect(&mut indexer);
        let _ = done.send((indexer, collector));
    });
    is_done.recv_timeout(Duration::from_secs(300)).expect("it collects without end")
}

#[test]
fn live_executions_that_do_not_fit_are_copied_once_until_some_of_them_end() {
    let directory = tempfile::tempdir().unwrap();
    let (run, indexer) = crowded(directory.path(), LIVE, SIZE);
    let begin = run.journal.head().segment();
    let (indexer, collector) = collect(indexer, Collector::default());
    let once = run.journal.head();
    assert!(indexer.is_drop_due && !indexer.makes_room);
    assert!(
        (begin + 5..=begin + 9).contains(&once.segment()),
        "from {begin} to {}",
        once.segment()
    );

    let (indexer, collector) = collect(indexer, collector);
    assert_eq!(run.journal.head(), once, "it rests");
    for n in 0..LIVE {
        assert_eq!(run.request_of(id(n)), request(n, SIZE));
    }

    let oldest = run.journal.segments()[0].number;
    run.append((0..LIVE).map(ended));
    let mut indexer = indexer;
    catch_up(&mut indexer);
    let (indexer, _) = collect(indexer, collector);
    assert!(run.journal.segments()[0].number > oldest, "most of it is over, and goes");
    assert!(!indexer.is_drop_due && indexer.makes_room);
}

/// Two fit a segment, and a third of it stays empty.
#[test]
fn what_is_empty_behind_live_executions_is_nothing_to_be_gained() {
    let directory = tempfile::tempdir().unwrap();
    let (run, indexer) = crowded(directory.path(), 20, 360 << 10);
    let begin = run.journal.head().segment();
    let (indexer, _) = collect(indexer, Collector::default());
    let now = run.journal.head().segment();
    assert!(indexer.is_drop_due && !indexer.makes_room);
    assert!((begin + 8..=begin + 13).contains(&now), "from {begin} to {now}");
}

#[test]
fn admission_is_looked_at_within_a_round() {
    let directory = tempfile::tempdir().unwrap();
    let (run, mut indexer) = crowded(directory.path(), LIVE, SIZE);
    indexer.options.retention.backlog_max_bytes = SIZE as u64;
    let pressure = Arc::clone(&indexer.parts.pressure);
    let oldest = run.journal.segments()[0].number;
    let (_, _) = collect(indexer, Collector::default());
    assert!(run.journal.segments()[0].number > oldest);
    assert!(pressure.storage_budget.load(Ordering::Relaxed));
}

#[test]
fn a_round_goes_no_further_once_the_daemon_is_out_of_time() {
    let directory = tempfile::tempdir().unwrap();
    let (run, indexer) = crowded(directory.path(), LIVE, SIZE);
    let before = run.journal.head();
    let end = End {
        begun: Instant::now(),
        within: Duration::ZERO,
        now: CancellationToken::new(),
    };
    indexer.end.set(end).unwrap();
    let (_, _) = collect(indexer, Collector::default());
    assert_eq!(run.journal.head(), before);
}

#[test]
fn what_does_not_fit_is_copied_again_after_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let (run, indexer) = crowded(directory.path(), LIVE, SIZE);
    let (indexer, mut collector) = collect(indexer, Collector::default());
    let once = run.journal.head();
    collector.rest.as_mut().unwrap().span = Duration::ZERO;
    let (_, _) = collect(indexer, collector);
    assert!(run.journal.head() > once, "what ends needs room, too");
}

#[test]
fn that_live_executions_may_not_fit_is_known_before_they_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    let mut indexer = run.indexer();
    let mut collector = Collector::default();
    let mut room_beside = |bytes: usize| {
        std::fs::write(directory.path().join("large.redb"), vec![1; bytes]).unwrap();
        collector.collect(&mut indexer);
        assert!(!indexer.is_drop_due && indexer.makes_room, "nothing is short yet");
        indexer.short_room
    };
    assert_eq!(room_beside(0), None);
    let room = room_beside(9 << 20).unwrap();
    assert!((1 << 20..run.options.retention.backlog_max_bytes).contains(&room), "{room}");
    assert_eq!(room_beside(1 << 20), None, "known anew from each look");
}

#[test]
fn what_is_damaged_of_a_live_execution_holds_up_no_release() {
    use std::os::unix::fs::FileExt as _;
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    let mut indexer = run.indexer();
    indexer.is_urgent = true;
    let at = run.append([accepted(1, 1 << 10)]);
    run.append([accepted(2, 1 << 10)]);
    run.fill(1_000);
    catch_up(&mut indexer);
    let oldest = run.journal.segments()[0].number;
    let file = directory.path().join(format!("journal/{oldest:010}.seg"));
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&[0xff; 8], u64::from(at.to_bits() as u32) + 200).unwrap();
    assert!(run.journal.read(at).is_err());
    for n in 10_000.. {
        if run.journal.room() != Room::Ample {
            break;
        }
        run.append([accepted(n, 64 << 10), ended(n)]);
    }
    catch_up(&mut indexer);
    Collector::default().collect(&mut indexer);
    assert!(indexer.makes_room && run.journal.segments()[0].number > oldest);
    assert_eq!(run.entries_of(id(2)), [accepted(2, 1 << 10)]);
    // Whoever takes it up finds nothing there.
    let entries = run.index().live_one(id(1)).unwrap().unwrap().entries;
    let payload = run.journal.read(Position::from_bits(entries[0].position)).unwrap().payload;
    let nothing = unpack(payload, 1).unwrap();
    assert_eq!(nothing.len(), 1);
    assert_eq!(Entry::decode(&nothing[0]), Err(EntryError::Gap));
}

/// What these have in newer segments would fill half of the journal, and stays where it is.
#[test]
fn to_carry_the_oldest_segment_takes_no_more_than_it_gives_back() {
    const WITH_RESULTS: u64 = 45;
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    let mut indexer = run.indexer();
    indexer.is_urgent = true;
    run.append((0..WITH_RESULTS).map(|n| accepted(n, 1 << 10)));
    run.fill(1_000);
    for n in 0..WITH_RESULTS {
        run.append([done(n, 128 << 10)]);
    }
    let mut others = 10_000..;
    let mut other = || {
        let n = others.next().unwrap();
        run.append([accepted(n, 64 << 10), ended(n)])
    };
    while run.journal.room() == Room::Ample {
        other();
    }
    catch_up(&mut indexer);
    let mut collector = Collector::default();
    collector.collect(&mut indexer);
    assert!(indexer.makes_room, "the oldest goes at once, and all that ended behind it");
    let is_whole = |run: &Run| {
        for n in 0..WITH_RESULTS {
            assert_eq!(run.entries_of(id(n)), [accepted(n, 1 << 10), done(n, 128 << 10)]);
        }
    };
    is_whole(&run);
    // Until the segments with the results went, too.
    let newest = run.journal.head().segment();
    while run.journal.segments()[0].number <= newest {
        other();
        assert!(indexer.step(&mut collector));
    }
    is_whole(&run);
    drop(indexer);
    run.stop();

    std::fs::remove_file(directory.path().join("state.redb")).unwrap();
    let run = Run::try_start(directory.path(), FeedOptions::default(), true).unwrap();
    assert_eq!(run.recovered.live.len() as u64, WITH_RESULTS);
    is_whole(&run);
    run.append((0..WITH_RESULTS).map(ended));
    run.stop();

    std::fs::remove_dir_all(directory.path().join("history")).unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    for n in 0..WITH_RESULTS {
        let row = run.index().get(id(n)).unwrap().unwrap();
        let entries = row.entries.iter().map(|reference| reference.entries).sum::<u32>();
        assert_eq!((row.status(), row.steps_finished, entries), (Status::Succeeded, 1, 3));
    }
}
