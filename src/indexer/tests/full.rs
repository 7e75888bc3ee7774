//! Starts on a full disk.

use super::*;
use perseat_store::faults::Faults;
use perseat_store::index::LiveExecution;

/// A start on a disk that a test may fill.
fn start(directory: &Path, faults: &Arc<Faults>) -> Run {
    let folder = |path: &Path| Arc::new(Directory::with_faults(path, Arc::clone(faults))) as Arc<dyn Folder>;
    let disks = Disks {
        state: folder(directory),
        history: folder(&directory.join("history")),
        ..Disks::of(directory)
    };
    Run::start_on(disks, directory, FeedOptions::default(), false, || {}).unwrap()
}

fn history_files(directory: &Path) -> usize {
    std::fs::read_dir(directory.join("history")).unwrap().count()
}

const LIVE: u64 = 20_000;

/// Three files of history, the ballast, and much that was accepted and is not indexed.
fn lagging(directory: &Path) {
    let run = Run::start(directory, FeedOptions::default());
    (0..9).for_each(|segment| run.fill(segment * 1_000));
    catch_up(&mut run.indexer());
    assert_eq!(history_files(directory), 3);
    assert!(run.ballast.restore().unwrap());
    for batch in 0..LIVE / 500 {
        let first = 100_000 + batch * 500;
        run.append((first..first + 500).map(|n| accepted(n, 50)));
    }
    run.wait_for_files();
}

#[test]
fn what_a_full_disk_does_not_take_at_a_start_is_stored_once_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    lagging(directory.path());
    let faults = Arc::<Faults>::default();
    faults.fill("state.redb", None);
    let run = start(directory.path(), &faults);
    assert_eq!(run.recovered.live.len() as u64, LIVE);
    assert!(!run.ballast.is_ready(), "the ballast went");
    assert_eq!(history_files(directory.path()), 1, "and history, but for the newest");
    let (pending, applied) = (run.index().pending(), run.index().live().unwrap().len() as u64);
    assert_eq!(pending, run.options.commit_entries);
    assert_eq!(run.feed.lag(), LIVE - applied + pending);

    faults.heal("state.redb");
    catch_up(&mut run.indexer());
    assert_eq!((run.index().pending(), run.feed.lag()), (0, 0));
    assert_eq!(run.index().live().unwrap().len() as u64, LIVE);
}

#[test]
fn a_start_on_a_full_disk_knows_what_is_live_and_leaves_the_rest_to_small_commits() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    run.append((0..1_000).map(|n| accepted(n, 50)));
    catch_up(&mut run.indexer());
    for first in (1_000..LIVE).step_by(500) {
        run.append((first..first + 500).map(|n| accepted(n, 50)));
    }
    // Those of before the lag among them; each long after it was accepted.
    let stays = |n: &u64| n.is_multiple_of(7);
    for first in (0..LIVE).step_by(500) {
        run.append((first..first + 500).filter(|n| !stays(n)).map(ended));
    }
    run.wait_for_files();
    drop(run);

    let faults = Arc::<Faults>::default();
    faults.fill("state.redb", None);
    let run = start(directory.path(), &faults);
    assert_eq!(run.index().pending(), run.options.commit_entries);
    let expected: Vec<ExecutionId> = (0..LIVE).filter(stays).map(id).collect();
    let is_expected = |live: &[LiveExecution]| live.iter().map(|live| live.execution).eq(expected.iter().copied());
    assert!(is_expected(&run.recovered.live), "{} are live", run.recovered.live.len());
    assert_eq!(run.recovered.backlog.executions, expected.len() as u64);
    assert_eq!(
        run.recovered.backlog.bytes,
        run.recovered.live.iter().map(|live| live.bytes).sum::<u64>()
    );

    faults.heal("state.redb");
    let mut indexer = run.indexer();
    let most = run.options.commit_entries + run.options.scan_entries as u64;
    loop {
        let lag = run.feed.lag();
        let is_more = indexer.advance().unwrap();
        assert!(lag - run.feed.lag() <= most, "{lag} and then {}", run.feed.lag());
        if !is_more {
            break;
        }
    }
    assert_eq!((run.index().pending(), run.feed.lag(), run.feed.has_overflowed()), (0, 0, false));
    assert!(is_expected(&run.index().live().unwrap()));
    assert_eq!(run.index().backlog(), run.recovered.backlog);
    assert_eq!(run.index().orphans(), 0);
}

#[test]
fn a_start_gives_up_no_more_than_it_needs() {
    let directory = tempfile::tempdir().unwrap();
    lagging(directory.path());
    let faults = Arc::<Faults>::default();
    faults.fill("state.redb", Some(directory.path().join("ballast")));
    let run = start(directory.path(), &faults);
    assert!(!run.ballast.is_ready(), "the ballast made room");
    assert!(directory.path().join("history/000000.redb").exists());
    assert_eq!((run.index().pending(), run.feed.lag()), (0, 0));
}

#[test]
fn history_that_there_is_no_room_for_is_made_again_at_a_later_start() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    (0..5).for_each(|segment| run.fill(segment * 1_000));
    run.append([accepted(100_000, 50)]);
    let all = |run: &Run| run.index().list(&Filter::default(), None, 1_000).unwrap().rows.len();
    catch_up(&mut run.indexer());
    let expected = all(&run);
    let dropped = run.index().history().drop_oldest();
    assert!(dropped.files == 1 && dropped.rows > 0);
    run.stop();

    let faults = Arc::<Faults>::default();
    faults.fill("000000.redb", None);
    let run = start(directory.path(), &faults);
    let history = run.index().history();
    let missing = history.missing([1]);
    assert!(missing == [0].into() && history.has_given_away(&missing));
    assert_eq!(all(&run) as u64, expected as u64 - dropped.rows);
    assert_eq!(run.recovered.live.len(), 1);
    run.stop();
    assert_eq!(all(&Run::start(directory.path(), FeedOptions::default())), expected);
}
