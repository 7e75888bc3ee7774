//! What a child says of its runs, and how much of it counts.

use super::*;
use crate::js::frame::{Failure, FromChild, List, listed};
use crate::js::worker::Ending;

/// What the child said of a request of its first run.
fn fetch(shared: &Arc<Shared>, child: u64) -> Ending {
    let run = shared.lock().workers[&child].flights[0].id;
    let mut ending = Ending::default();
    let asks = FromChild::Fetch {
        run,
        call: 0,
        unawaited: false,
        method: "GET",
        url: "http://127.0.0.1:1/",
        headers: List::new(&[]),
        body: "",
    };
    worker::handle(shared, child, asks, &mut ending).unwrap();
    ending
}

/// What it says of a run that is through.
fn done<'a>(run: u64, last: bool, outcome: Result<&'a str, Failure<'a>>, logs: &'a [u8]) -> FromChild<'a> {
    FromChild::Done {
        run,
        last,
        cpu_us: 0,
        waited: false,
        unanswered: None,
        unhandled: false,
        outcome,
        logs: List::new(logs),
    }
}

#[tokio::test]
async fn who_waits_behind_a_run_that_sends_a_request_goes_elsewhere_at_once() {
    let mut waiting = Vec::new();
    let (shared, child) = pool_that_holds(&[1, 2], &mut waiting);
    assert!(!fetch(&shared, child).is_cut);
    let state = shared.lock();
    assert!(state.workers[&child].flights.len() == 1 && state.workers[&child].retiring);
    let RunRequest { owner, script, .. } = request(1, 2, 0);
    assert!(state.queue.has(owner) && state.patience.waits(owner.customer, &script));
}

#[tokio::test]
async fn who_was_killed_for_another_begins_again_unless_it_sent_something() {
    for (asks_before, is_failed) in [(false, false), (true, true)] {
        let mut waiting = Vec::new();
        let (shared, child) = pool_that_holds(&[1, 2], &mut waiting);
        let doom = || shared.lock().workers.get_mut(&child).unwrap().doom();
        // The second has begun when what the first was killed for comes about.
        if asks_before {
            end(&shared, false);
            assert!(!fetch(&shared, child).is_cut);
            doom();
        } else {
            doom();
            end(&shared, false);
            assert!(fetch(&shared, child).is_cut, "it was asked for too late");
        }
        shared.lock().departed(child, false, &shared);
        happen(&shared, Event::Arrived, &mut waiting);
        let outcome = waiting[1].1.try_recv().map(|report| report.outcome);
        let expected = if is_failed {
            Ok(Err(RunError::Killed))
        } else {
            Err(TryRecvError::Empty)
        };
        assert_eq!(outcome, expected);
        assert_eq!(shared.lock().roster.holders().len(), usize::from(!is_failed));
        assert!(!shared.lock().patience.remembers(request(1, 2, 0).owner), "it did nothing wrong");
    }
}

#[tokio::test]
async fn a_child_whose_words_do_not_count_has_not_said_that_it_ends() {
    let (shared, child) = pool_that_holds(&[1, 2], &mut Vec::new());
    let mut state = shared.lock();
    let worker = state.workers.get_mut(&child).unwrap();
    worker.doom();
    let run = worker.flights[1].id;
    drop(state);
    let mut ending = Ending::default();
    let done = done(run, true, Ok("{}"), &[]);
    worker::handle(&shared, child, done, &mut ending).unwrap();
    assert!(ending.is_cut && !ending.said_so);
}

#[tokio::test]
async fn what_a_child_says_that_its_script_threw_is_cut() {
    let mut waiting = Vec::new();
    let (shared, child) = pool_that_holds(&[1], &mut waiting);
    let run = shared.lock().workers[&child].flights[0].id;
    let most = shared.options.max_thrown;
    let thrown = "x".repeat(60_000_000);
    let done = done(run, false, Err(Failure::Threw(&thrown)), &[]);
    worker::handle(&shared, child, done, &mut Ending::default()).unwrap();
    let outcome = waiting[0].1.try_recv().map(|report| report.outcome);
    assert_eq!(outcome, Ok(Err(RunError::Threw("x".repeat(most)))));
}

#[tokio::test]
async fn a_child_that_says_more_log_lines_than_a_script_may_write_is_ended() {
    for (beyond, is_ended) in [(1, false), (2, true), (1_000_000, true)] {
        let (shared, child) = pool_that_holds(&[1], &mut Vec::new());
        let run = shared.lock().workers[&child].flights[0].id;
        let lines = listed((0..shared.options.max_log_lines + beyond).map(|_| (2_u8, 0_u64, "")));
        let done = done(run, false, Ok("{}"), &lines);
        let handled = worker::handle(&shared, child, done, &mut Ending::default());
        assert_eq!(handled.is_err(), is_ended, "{beyond} more");
    }
}
