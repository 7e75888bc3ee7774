//! What goes with a segment: nothing that a restart needs.

use super::*;

/// Nothing commits after the collector, as if the daemon had been killed.
#[test]
fn a_segment_goes_only_when_what_was_live_in_it_is_committed_to_stand_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    let mut indexer = run.indexer();
    // From here on a restart reads on; without anything committed it would read all of the journal.
    run.append([accepted(1, 100), ended(1)]);
    catch_up(&mut indexer);
    run.append([accepted(0, 1_000)]);
    let mut n = 2;
    while run.journal.room() == Room::Ample {
        run.append([accepted(n, 64 << 10), ended(n)]);
        n += 1;
    }
    // Whoever lists applies what there is, and commits nothing.
    run.index().list(&Filter::default(), None, 1).unwrap();
    let oldest = run.journal.segments()[0].number;
    indexer.is_urgent = true;
    Collector::default().collect(&mut indexer);
    assert!(run.journal.segments()[0].number > oldest);
    run.wait_for_files();
    drop((indexer, run));

    let run = Run::start(directory.path(), FeedOptions::default());
    let live: Vec<ExecutionId> = run.recovered.live.iter().map(|live| live.execution).collect();
    assert_eq!(live, [id(0)]);
    assert_eq!(run.request_of(id(0)), request(0, 1_000));
}
