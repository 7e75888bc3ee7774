//! Starts without state.

use super::*;

/// What is live after a start without state, or how many executions are in doubt.
fn live_without_state(directory: &Path, resume_carried: bool) -> Result<Vec<ExecutionId>, usize> {
    let run = match Run::try_start(directory, FeedOptions::default(), resume_carried) {
        Ok(run) => run,
        Err(RecoverError::StateLost { executions }) => return Err(executions),
        Err(error) => panic!("{error}"),
    };
    let live = run.recovered.live.iter().map(|live| live.execution).collect();
    run.stop();
    Ok(live)
}

#[test]
fn a_carried_execution_without_an_end_keeps_a_daemon_that_lost_its_state_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    let mut indexer = run.indexer();
    run.append([accepted(0, 100), accepted(1, 100)]);
    run.fill(10);
    catch_up(&mut indexer);
    let carried = run.append(run.packed(0).into_iter().chain(run.packed(1)));
    run.append([ended(1)]);
    drop(indexer);
    run.stop();
    let state = directory.path().join("state.redb");
    std::fs::remove_file(&state).unwrap();
    assert_eq!(
        live_without_state(directory.path(), false),
        Ok(vec![id(0)]),
        "all of it is still in the journal"
    );

    let run = Run::start(directory.path(), FeedOptions::default());
    assert!(run.journal.release(carried.segment()).unwrap().segments > 0);
    run.stop();
    std::fs::remove_file(&state).unwrap();
    for _ in 0..2 {
        assert_eq!(
            live_without_state(directory.path(), false),
            Err(1),
            "a refusal leaves no state behind"
        );
    }
    assert_eq!(live_without_state(directory.path(), true), Ok(vec![id(0)]));
    assert_eq!(live_without_state(directory.path(), false), Ok(vec![id(0)]), "once is enough");
    let run = Run::start(directory.path(), FeedOptions::default());
    assert_eq!(run.request_of(id(0)), request(0, 100));
}

#[test]
fn an_end_before_the_copy_is_believed_where_state_was_lost() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::start(directory.path(), FeedOptions::default());
    let mut indexer = run.indexer();
    run.append([accepted(0, 100)]);
    run.fill(10);
    catch_up(&mut indexer);
    let packed = run.packed(0);
    // It ends between the collector's reading and its append.
    run.append([ended(0)]);
    let carried = run.append(packed);
    catch_up(&mut indexer);
    drop(indexer);
    assert!(run.journal.release(carried.segment()).unwrap().segments > 0);
    run.stop();
    std::fs::remove_file(directory.path().join("state.redb")).unwrap();
    assert_eq!(live_without_state(directory.path(), false), Ok(vec![]));
}
