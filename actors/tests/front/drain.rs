//! A front that is not ready, under pressure, or on its way out.

use crate::harness::*;
#[cfg(feature = "faults")]
use perseat_actors::kit::VirtualClock;
#[cfg(feature = "faults")]
use perseat_domain::supervision::RestartPolicy;
#[cfg(feature = "faults")]
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
fn what_is_not_ready_or_has_no_room_says_so_and_when_to_try_again() {
    let world = start();
    world.front.set_ready(false);
    let refused = |code: &str| {
        let answer = world.post(&plain(1), "", "");
        assert_eq!(answer.refusal(), (503, code.to_owned()));
        assert_eq!(answer.headers["retry-after"], "1");
    };
    refused("not_ready");
    world.front.set_ready(true);
    for (flag, code) in [
        (&world.pressure.storage_budget, "storage_budget"),
        (&world.pressure.storage_full, "storage_full"),
        (&world.pressure.index_lag, "index_lag"),
    ] {
        flag.store(true, Ordering::Relaxed);
        refused(code);
        flag.store(false, Ordering::Relaxed);
    }
    assert_eq!(world.post(&plain(1), "", "").status, 200);
}

#[test]
fn whoever_waits_for_a_result_hears_that_it_will_not_come_in_this_process() {
    let world = start();
    let ask = |count| {
        let mut client = world.connect();
        client.write(post(&plain(3), "", "").as_bytes());
        let execution = world.appended(count).execution;
        (client, execution)
    };
    let hears = |(mut client, execution): (Client, _)| {
        let answer = client.answer();
        assert_eq!(answer.refusal(), (503, "not_ready".to_owned()));
        assert_eq!(answer.execution(), execution);
    };
    let waits = ask(1);
    world.settle();
    assert!(waits.0.is_silent());
    world.front.give_up_waiting();
    hears(waits);
    hears(ask(2));
}

#[test]
fn draining_closes_idle_connections_ends_begun_requests_and_takes_no_others() {
    let world = start();
    let release = world.hold();
    let mut idle = world.connect();
    idle.write(post("/trigger/nothing", "", "").as_bytes());
    assert_eq!(idle.answer().status, 404);
    let mut begun = world.connect();
    begun.write(post(&plain(1), "", "").as_bytes());
    world.appended(1);
    world.front.begin_drain();
    until("the idle connection to close", || world.front.connections() == 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(
        runtime.block_on(world.fronts.drain(Duration::from_millis(1))),
        1,
        "one request has not ended"
    );
    assert!(idle.is_closed());
    until("the listener to close", || std::net::TcpStream::connect(world.address).is_err());
    release.send_replace(Some(Ok(())));
    let answer = begun.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.closes() && begun.is_closed());
    assert_eq!(runtime.block_on(world.fronts.drain(PATIENCE)), 0);
}

#[test]
fn a_connection_that_has_said_nothing_yet_is_answered_and_not_cut() {
    let world = start();
    let mut fresh = world.connect();
    until("the connection to be taken", || world.front.connections() == 1);
    world.front.begin_drain();
    until("the listener to close", || std::net::TcpStream::connect(world.address).is_err());
    fresh.write(post(&plain(1), "", "").as_bytes());
    let answer = fresh.answer();
    assert_eq!(answer.refusal(), (503, "not_ready".to_owned()));
    assert!(answer.closes() && fresh.is_closed());
}

#[test]
fn a_request_behind_one_that_has_begun_is_not_taken_any_more() {
    let world = start();
    let release = world.hold();
    let mut client = world.connect();
    client.write([post(&plain(1), "", "first"), post(&plain(1), "", "second")].concat().as_bytes());
    world.appended(1);
    world.front.begin_drain();
    release.send_replace(Some(Ok(())));
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.closes() && client.is_closed());
    assert_eq!(world.appends(), 1);
}

#[test]
fn threads_that_are_stopped_in_the_middle_of_an_append_end() {
    let world = start();
    let _held = world.hold();
    let mut client = world.connect();
    client.write(post(&plain(1), "", "").as_bytes());
    world.appended(1);
    drop(world);
    assert!(client.is_closed(), "nothing durable, nothing answered");
}

#[test]
fn several_front_threads_share_the_connections() {
    let setup = Setup {
        fronts: 3,
        ..Setup::default()
    };
    let world = setup.start();
    let mut clients: Vec<_> = (0..12).map(|_| world.connect()).collect();
    for client in &mut clients {
        client.write(post(&plain(1), "", "").as_bytes());
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(world.front.connections(), 12);
    assert_eq!(world.fronts.connections(), vec![4, 4, 4]);
}

#[test]
fn none_is_cut_that_comes_while_a_front_is_late() {
    let mut setup = Setup::options(|options| options.handover = 2);
    setup.fronts = 2;
    let world = setup.start();
    let late = world.freeze(1);
    let mut clients: Vec<_> = (0..20).map(|_| world.connect()).collect();
    for client in &mut clients {
        client.write(post(&plain(1), "", "").as_bytes());
    }
    // It has as many as may wait for it; the other one takes the rest.
    until("all to be accepted", || world.fronts.connections() == [18, 2]);
    drop(late);
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
}

/// Only the switch makes a front panic.
#[cfg(feature = "faults")]
#[test]
fn a_front_that_dies_is_restarted_while_the_others_serve() {
    let clock = VirtualClock::default();
    let setup = Setup {
        fronts: 2,
        clock: Arc::new(clock.clone()),
        ..Setup::default()
    };
    let world = setup.start();
    let served = |client: &mut Client| {
        client.write(post(&plain(1), "", "").as_bytes());
        assert_eq!(client.answer().status, 200);
    };
    let mut clients = [world.connect(), world.connect()];
    clients.iter_mut().for_each(served);
    assert_eq!(world.fronts.connections(), [1, 1]);
    world.fronts.threads().fail(0);
    until("the dead front's connection to be cut", || world.fronts.connections()[0] == 0);
    let mut kept: Vec<_> = clients.iter_mut().filter(|client| client.is_silent()).collect();
    assert_eq!(kept.len(), 1, "the other front's connection stays open");
    served(kept[0]);
    served(&mut world.connect());
    until("the back-off to begin", || clock.sleepers().0 == 1);
    assert_eq!(world.fronts.threads().alive(), 1);
    clock.advance(RestartPolicy::default().backoff_first);
    until("the dead front to be restarted", || world.fronts.threads().alive() == 2);
    let mut client = world.connect();
    served(&mut client);
    assert_eq!(world.fronts.connections()[0], 1, "it has the fewest connections and takes the next");
}
