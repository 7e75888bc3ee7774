//! At the limit: who gets the last spare, and what a release gives back.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::rig::{Op, Rig, SEGMENT, options};
use crate::format::{ENTRY_HEADER, FRAME_HEADER, FRAMES_AT};
use crate::{AppendError, Committed, Fault, Journal, MemoryDisk, NewEntry, Options, Room};

/// Three of these fill a segment, each in a frame of its own.
const BYTES: usize = 7000;
const LIMIT: u32 = 7;

fn entry() -> NewEntry {
    NewEntry {
        partition: 1,
        epoch: 1,
        payload: vec![7; BYTES].into(),
    }
}

/// One spare is kept back of the two.
fn limited() -> Options {
    Options {
        spare_segments: 2,
        max_bytes: u64::from(LIMIT * SEGMENT),
        ..options(1)
    }
}

fn rig() -> Rig {
    Rig::with(MemoryDisk::new(1), limited())
}

/// Longer than any test takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log whose writer and keeper run, filled but for the spare that is kept back: the next event has to wait.
fn full(spare_wait: Duration) -> Journal {
    let options = Options { spare_wait, ..limited() };
    let journal = Journal::open(options, Arc::new(MemoryDisk::new(1)), Box::new(|_: Arc<[Committed]>| {})).unwrap();
    let appends: Vec<_> = (0..3 * (LIMIT - 1)).map(|_| journal.append(vec![entry()])).collect();
    for append in appends {
        append.wait().unwrap();
    }
    journal
}

fn soon(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE / 2, "{what}");
        thread::yield_now();
    }
}

#[test]
fn what_goes_first_gets_the_spare_that_others_leave() {
    let mut rig = rig();
    while rig.append_now(&[BYTES]).is_ok() {}
    let open = rig.open();
    open.keep();
    let before = open.journal.segments().len();
    let first = open.journal.append_first(vec![entry()]);
    open.writer.turn(false);
    let at = first.wait().unwrap();
    assert_eq!(open.journal.segments().len(), before + 1, "it took the spare");
    open.keep();
    assert!(rig.journal().read(at).is_ok());
}

#[test]
fn a_spare_that_waits_for_a_release_is_no_full_disk() {
    let mut rig = rig();
    while rig.journal().room() == Room::Ample {
        rig.append_now(&[BYTES]).unwrap();
    }
    assert_eq!(rig.journal().room(), Room::Limit);
    let newest = rig.journal().segments().last().unwrap().number;
    rig.journal().release(newest).unwrap();
    rig.open().keep();
    assert_eq!(rig.journal().room(), Room::Ample);
    assert!(rig.journal().held_bytes() < rig.journal().total_bytes());
}

#[test]
fn a_lower_limit_takes_files_away_as_they_are_released() {
    let mut rig = rig();
    while rig.append_now(&[BYTES]).is_ok() {}
    let lower = 4 * u64::from(SEGMENT);
    rig.journal().limit(lower);
    rig.open().keep();
    assert!(rig.journal().total_bytes() > lower, "nothing that holds entries is taken away");
    let newest = rig.journal().segments().last().unwrap().number;
    rig.journal().release(newest).unwrap();
    rig.open().keep();
    assert!(rig.journal().total_bytes() <= lower);
}

#[test]
fn an_append_that_waits_for_room_lets_the_one_pass_on_which_the_room_depends() {
    let journal = full(PATIENCE);
    let waiting = journal.append(vec![entry()]);
    journal.append_first(vec![entry()]).wait().unwrap();
    let segments = journal.segments();
    assert_eq!(segments.len(), LIMIT as usize, "all there may be");
    journal.release(segments[2].number).unwrap();
    waiting.wait().unwrap();
}

#[test]
fn others_take_nothing_of_the_spare_on_which_a_release_depends() {
    let journal = full(PATIENCE);
    journal.append_first(vec![entry()]).wait().unwrap();
    let (waiting, pulse) = (journal.append(vec![entry()]), journal.pulse());
    soon("the writer looked", || journal.last_heartbeat() >= pulse);
    for _ in 0..2 {
        journal.append_first(vec![entry()]).wait().unwrap();
    }
    let segments = journal.segments();
    assert_eq!(segments.len(), LIMIT as usize, "three fit the spare");
    journal.release(segments[2].number).unwrap();
    waiting.wait().unwrap();
}

#[test]
fn what_a_release_depends_on_finds_room_past_the_limit_where_nothing_is_left() {
    let journal = full(PATIENCE);
    for _ in 0..4 {
        journal.append_first(vec![entry()]).wait().unwrap();
    }
    let (segments, limit) = (journal.segments(), u64::from(LIMIT * SEGMENT));
    assert_eq!(journal.total_bytes(), limit + u64::from(SEGMENT), "one for the last of them");
    journal.release(segments[3].number).unwrap();
    for _ in 0..3 {
        journal.append(vec![entry()]).wait().unwrap();
    }
    // A released file becomes a spare before it goes.
    let newest = journal.segments().last().unwrap().number;
    journal.release(newest).unwrap();
    soon("what is too much went", || journal.total_bytes() <= limit);
}

/// Two calls fail while it is made, also those by which a file is taken back.
#[test]
fn what_a_release_depends_on_finds_room_past_the_limit_once_the_disk_gives_it() {
    for then in [1, 2] {
        for call in 0.. {
            let mut rig = rig();
            while rig.append_now(&[BYTES]).is_ok() {}
            let first = |rig: &mut Rig| {
                let append = rig.journal().append_first(vec![entry()]);
                rig.open().writer.turn(false);
                append.wait().map(drop)
            };
            for _ in 0..3 {
                assert_eq!(first(&mut rig), Ok(()), "they fit the spare that is kept back");
            }
            assert_eq!(first(&mut rig), Err(AppendError::Full));
            let begun = rig.disk.calls() + call;
            rig.disk.fail_at(begun, Fault::Error);
            rig.disk.fail_at(begun + then, Fault::Error);
            rig.open().keep();
            let has_failed = rig.disk.calls() > begun;
            rig.disk.heal();
            rig.open().keep();
            assert_eq!(first(&mut rig), Ok(()), "calls {call} and {then} after it");
            assert_eq!(rig.journal().total_bytes(), u64::from((LIMIT + 1) * SEGMENT));
            if !has_failed {
                assert!(call > 5, "{call} calls");
                break;
            }
        }
    }
}

#[test]
fn what_goes_first_may_take_a_whole_segment_and_no_more() {
    let mut rig = Rig::new(1);
    rig.append_now(&[100]).unwrap();
    let whole = (SEGMENT - FRAMES_AT - FRAME_HEADER - ENTRY_HEADER) as usize;
    let mut first = |bytes: usize| {
        let journal = rig.journal();
        let entry = NewEntry {
            partition: 0,
            epoch: 0,
            payload: vec![7; bytes].into(),
        };
        let append = journal.append_first(vec![entry]);
        rig.open().writer.turn(false);
        append.wait().map(|at| journal.read(at).unwrap().payload.len())
    };
    assert_eq!(first(whole), Ok(whole));
    assert_eq!(first(whole + 1), Err(AppendError::TooLarge));
    rig.append_now(&[100]).unwrap();
}

/// Old segments are twice as large as new ones, which their files cannot become.
#[test]
fn what_a_release_depends_on_finds_room_where_limit_and_segments_are_smaller_than_they_were() {
    let disk = MemoryDisk::new(1);
    let open = |segment_bytes: u32, segments: u32| {
        let options = Options {
            segment_bytes,
            max_bytes: u64::from(segments * segment_bytes),
            spare_wait: PATIENCE,
            ..limited()
        };
        Journal::open(options, Arc::new(disk.clone()), Box::new(|_: Arc<[Committed]>| {})).unwrap()
    };
    let before = open(2 * SEGMENT, LIMIT);
    while before.segments().len() < LIMIT as usize - 1 {
        before.append(vec![entry()]).wait().unwrap();
    }
    before.close();
    drop(before);
    let (journal, limit) = (open(SEGMENT, LIMIT), u64::from(LIMIT * SEGMENT));
    let held = journal.total_bytes();
    assert!(held > limit, "{held}");
    for _ in 0..2 {
        // Three fill a segment, and two of these come to one from before.
        for _ in 0..6 {
            journal.append_first(vec![entry()]).wait().unwrap();
        }
        assert!(journal.total_bytes() <= held + u64::from(2 * SEGMENT));
        let oldest = journal.segments()[0].number;
        journal.release(oldest + 1).unwrap();
        soon("the oldest file went", || journal.total_bytes() <= held);
    }
}

/// Each of these has a new segment of its own, while thirteen of them nearly filled an old one.
#[test]
fn what_a_release_depends_on_finds_room_however_badly_it_packs() {
    const OLD: u32 = 8 * SEGMENT;
    const BYTES: usize = SEGMENT as usize * 3 / 5 - 400;
    let limited = |segment_bytes, max_entry_bytes| Options {
        segment_bytes,
        max_entry_bytes,
        max_bytes: u64::from(LIMIT * segment_bytes),
        ..limited()
    };
    let mut rig = Rig::with(MemoryDisk::new(1), limited(OLD, SEGMENT));
    while rig.journal().segments().len() < 2 {
        rig.append_now(&[BYTES]).unwrap();
    }
    let oldest = rig.journal().segments()[0].number;
    let held = rig.acknowledged.keys().filter(|at| at.segment() == oldest).count();
    assert_eq!(held, 13);
    rig.options = limited(SEGMENT, SEGMENT / 2);
    rig.apply(&Op::Restart);
    rig.open().keep();
    let before = rig.journal().total_bytes();
    let mut first = || {
        let entry = NewEntry {
            payload: vec![7; BYTES].into(),
            ..entry()
        };
        let append = rig.journal().append_first(vec![entry]);
        rig.open().writer.turn(false);
        rig.open().keep();
        append.wait()
    };
    // The first try of each only asks for a spare.
    let carried = (0..100).take_while(|_| first().or_else(|_| first()).is_ok()).count();
    assert!(carried >= held, "{carried} of {held}");
    let made = rig.journal().total_bytes() - before;
    assert!(made < u64::from(2 * OLD + 2 * SEGMENT), "{made} bytes for the {OLD} of the oldest");
}

#[test]
fn a_writer_that_waits_for_room_answers_for_its_life() {
    let journal = full(PATIENCE);
    let waiting = journal.append(vec![entry()]);
    let pulse = journal.pulse();
    // The keeper has to see first that the last segment is taken.
    soon("the writer answers", || {
        journal.last_heartbeat() >= pulse && journal.room() != Room::Ample
    });
    assert_eq!(journal.room(), Room::Limit, "it has given up nothing");
    journal.release(journal.segments()[2].number).unwrap();
    waiting.wait().unwrap();
}

#[test]
fn events_in_line_wait_together_and_not_one_after_the_other() {
    const WAIT: Duration = Duration::from_secs(2);
    let journal = full(WAIT);
    let waiting: Vec<_> = (0..8).map(|_| journal.append(vec![entry()])).collect();
    let answered: Vec<_> = waiting
        .into_iter()
        .map(|append| {
            assert_eq!(append.wait(), Err(AppendError::Full));
            Instant::now()
        })
        .collect();
    assert!(
        answered[7] - answered[0] < 3 * WAIT,
        "each waited anew: {:?}",
        answered[7] - answered[0]
    );
}

#[test]
fn what_goes_before_an_event_does_not_begin_its_wait_anew() {
    let journal = full(Duration::from_secs(1));
    let waiting = journal.append(vec![entry()]);
    let waiting = thread::spawn(move || waiting.wait());
    let small = || NewEntry {
        payload: vec![7; 10].into(),
        ..entry()
    };
    for _ in 0..200 {
        if waiting.is_finished() {
            break;
        }
        journal.append_first(vec![small()]).wait().unwrap();
        thread::park_timeout(Duration::from_millis(50));
    }
    assert!(waiting.is_finished(), "ten times as long as it may");
    assert_eq!(waiting.join().unwrap(), Err(AppendError::Full));
}

#[test]
fn a_writer_that_waits_for_room_ends_when_the_log_is_closed() {
    let journal = full(60 * PATIENCE);
    let waiting = journal.append(vec![entry()]);
    journal.close();
    assert_eq!(waiting.wait(), Err(AppendError::Full));
}

/// One call and one of the next, by which a release, a spare or a deletion makes the first good.
#[test]
fn what_is_counted_is_there_whichever_calls_fail() {
    for then in 1..=3 {
        for call in 0.. {
            let mut rig = Rig::new(1);
            while rig.journal().segments().len() < 4 {
                rig.append_now(&[BYTES]).unwrap();
            }
            // More files than are kept for reuse, and one that is not fit for it.
            rig.disk.fail_at(rig.disk.calls(), Fault::Error);
            rig.append_now(&[BYTES]).unwrap();
            let first = rig.disk.calls() + call;
            rig.disk.fail_at(first, Fault::Error);
            rig.disk.fail_at(first + then, Fault::Error);
            for kept in [4, 1, 1] {
                rig.apply(&Op::Release(kept));
                rig.open().keep();
                for _ in 0..4 {
                    // Refused where both fell upon it.
                    let _ = rig.append_now(&[BYTES]);
                }
            }
            let have_failed = rig.disk.calls() > first + then;
            rig.disk.heal();
            // There are more files to reuse than are kept, unless nothing is written any more.
            while rig.journal().segments().len() < 4 && rig.append_now(&[BYTES]).is_ok() {}
            rig.apply(&Op::Release(1));
            rig.open().keep();
            let (journal, when) = (rig.journal(), format!("calls {call} and {then} after it"));
            assert_eq!(journal.total_bytes(), rig.disk.used(), "{when}");
            let kept = rig.options.spare_segments + rig.options.max_free_segments;
            let needed = journal.held_bytes() + u64::from(kept * SEGMENT);
            assert!(journal.total_bytes() <= needed, "{when} a file is neither used nor deleted");
            rig.check().unwrap();
            if !have_failed {
                assert!(call > 20, "{call} calls");
                break;
            }
        }
    }
}
