//! Keys that have to be read from the disk, and who waits for them.

use crate::harness::*;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
fn a_key_that_is_read_from_the_disk_holds_up_its_own_event_alone() {
    let world = start();
    let sealing = world.stub.sealing.lock().unwrap();
    world.stub.is_slow.store(true, Ordering::Relaxed);
    let mut cold = world.connect();
    cold.write(post(&plain(1), "", "cold").as_bytes());
    until("its key to be read", || world.seals() == 1);
    world.stub.is_slow.store(false, Ordering::Relaxed);
    assert_eq!(world.send(&post(&plain(1), "", "warm")).status, 200);
    assert_eq!(request_of(&world.appended(1)).body, "warm");
    drop(sealing);
    assert_eq!(cold.answer().status, 200);
    assert_eq!(request_of(&world.appended(2)).body, "cold");
}

#[test]
fn a_customers_users_whose_keys_are_on_a_slow_disk_leave_memory_and_places_to_others() {
    let world = Setup::options(|options| {
        // Of it an eighth is for small bodies, and of that a quarter for those that wait.
        (options.max_body, options.body_memory) = (200_000, 512 << 10);
        options.key_waiters = 4;
    });
    let world = world.start();
    let reading = world.stub.sealing.lock().unwrap();
    let read_slowly = |path: &str, body: &str| {
        world.stub.is_slow.store(true, Ordering::Relaxed);
        let mut client = world.connect();
        client.write(post(path, "", body).as_bytes());
        client
    };
    let body = "x".repeat(3_000);
    let mut waiting: Vec<_> = (0..2).map(|_| read_slowly(&plain(1), &body)).collect();
    until("both to wait", || world.front.key_waiters() == 2);
    let refused = read_slowly(&of_user(JANE, 1), "small").answer().refusal();
    assert_eq!(
        refused,
        (429, "rate_limited".into()),
        "it is the same customer's half of the places"
    );
    waiting.push(read_slowly(&plain_of_globex(), &body));
    until("another customer's to wait", || world.front.key_waiters() == 3);
    world.stub.is_slow.store(false, Ordering::Relaxed);
    for body in ["x".repeat(4_000), "x".repeat(200_000)] {
        assert_eq!(world.post(&plain(1), "", &body).status, 200);
    }
    drop(reading);
    assert!(waiting.iter_mut().all(|client| client.answer().status == 200));
    assert_eq!(world.appends(), 5);
}

#[test]
fn events_that_wait_for_a_key_hold_a_quarter_of_the_memory() {
    let world = Setup::options(|options| (options.max_body, options.body_memory) = (64 << 10, 64 << 10)).start();
    let reading = world.stub.sealing.lock().unwrap();
    world.stub.is_slow.store(true, Ordering::Relaxed);
    let mut first = world.connect();
    first.write(post(&plain(1), "", &"x".repeat(2_000)).as_bytes());
    until("it to wait", || world.front.key_waiters() == 1);
    assert_eq!(world.post(&plain_of_globex(), "", &"x".repeat(100)).status, 429);
    world.stub.is_slow.store(false, Ordering::Relaxed);
    assert_eq!(world.post(&plain(1), "", &"x".repeat(4_000)).status, 200);
    drop(reading);
    assert_eq!(first.answer().status, 200);
}

#[test]
fn a_key_is_read_once_for_all_who_wait_for_it() {
    let world = start();
    let reading = world.stub.sealing.lock().unwrap();
    world.stub.is_slow.store(true, Ordering::Relaxed);
    let mut waiting: Vec<_> = (0..10).map(|_| world.connect()).collect();
    for client in &mut waiting {
        client.write(post(&plain(1), "", "cold").as_bytes());
    }
    until("all to wait", || world.front.key_waiters() == 10);
    drop(waiting.pop());
    until("one to have left", || world.front.key_waiters() == 9);
    drop(reading);
    assert!(waiting.iter_mut().all(|client| client.answer().status == 200));
    assert_eq!((world.seals(), world.appends()), (1, 9), "keys read, and events");
}

#[test]
fn a_key_that_is_not_read_in_time_is_not_waited_for() {
    let world = Setup::options(|options| options.key_wait = Duration::from_millis(50)).start();
    let reading = world.stub.sealing.lock().unwrap();
    world.stub.is_slow.store(true, Ordering::Relaxed);
    let refused = world.post(&plain(1), "", "cold");
    assert_eq!(refused.refusal(), (429, "rate_limited".into()));
    assert!(refused.headers.contains_key("retry-after"));
    drop(reading);
    world.stub.is_slow.store(false, Ordering::Relaxed);
    assert_eq!(world.post(&plain(1), "", "warm").status, 200);
}
