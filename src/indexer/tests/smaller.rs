//! Segments that are smaller than they were, as after a budget was lowered.

use super::*;

const BEFORE: usize = 1 << 20;

fn restart(directory: &Path, segment_bytes: usize) -> Result<Run, RecoverError> {
    let disks = Disks {
        segment_bytes: segment_bytes as u32,
        ..Disks::of(directory)
    };
    Run::start_on(disks, directory, FeedOptions::default(), false, || {})
}

/// Two entries fit one of the old segments, and not one of these.
#[test]
fn what_was_carried_together_is_carried_apart_where_segments_are_smaller_now() {
    let directory = tempfile::tempdir().unwrap();
    let run = restart(directory.path(), BEFORE).unwrap();
    let mut indexer = run.indexer();
    let entries = [accepted(0, BEFORE * 2 / 5), done(0, BEFORE * 2 / 5)];
    run.append([entries[0].clone()]);
    run.append([entries[1].clone()]);
    run.fill(1_000);
    let stored = entries.iter().map(|entry| entry.encode().into()).collect();
    let carried = pack(id(0), 0, stored, BEFORE).into_iter().map(|carried| NewEntry {
        partition: 3,
        epoch: 0,
        payload: Entry::from(carried).encode().into(),
    });
    let together = run.journal.append_first(carried.collect()).wait().unwrap();
    catch_up(&mut indexer);
    assert_eq!(run.index().live_one(id(0)).unwrap().unwrap().entries.len(), 1);
    drop(indexer);
    run.stop();

    let run = restart(directory.path(), 600 << 10).unwrap();
    let mut indexer = run.indexer();
    indexer.is_urgent = true;
    let mut n = 10_000;
    while run.journal.room() == Room::Ample {
        run.append([accepted(n, 64 << 10), ended(n)]);
        n += 1;
    }
    catch_up(&mut indexer);
    Collector::default().collect(&mut indexer);
    assert!(run.journal.segments()[0].number > together.segment());
    assert_eq!(run.entries_of(id(0)), entries);
}

#[test]
fn a_start_is_refused_whose_segments_cannot_hold_what_is_live_and_says_which_can() {
    let directory = tempfile::tempdir().unwrap();
    let run = restart(directory.path(), BEFORE).unwrap();
    run.append([accepted(0, BEFORE * 2 / 5), accepted(1, 1_000), ended(1)]);
    run.stop();
    let Err(RecoverError::Oversized {
        execution,
        segment_bytes,
        budget,
        ..
    }) = restart(directory.path(), BEFORE / 3)
    else {
        panic!("it started, or said something else");
    };
    assert_eq!((execution, budget), (id(0), segment_bytes * 32));
    let too_small = restart(directory.path(), segment_bytes as usize - 1);
    assert!(matches!(too_small, Err(RecoverError::Oversized { .. })));
    restart(directory.path(), segment_bytes as usize).unwrap().stop();
}
