//! Clients that say nothing, little, or not enough.

use crate::client::Client;
use crate::harness::daemon::Setup;
use crate::harness::within;
use crate::memory::Memory;
use crate::world::{World, post, setup};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

#[tokio::test]
async fn silent_connections_are_closed() {
    let world = World::start(setup()).await;
    let mut silent: Vec<Client> = (0..100).map(|_| world.connect()).collect();
    world.serves_others();
    assert!(silent.iter_mut().all(Client::is_closed));
    assert!(world.daemon.metric("perseat_front_timeouts_total").await >= 100.0);
    world.serves_others();
}

#[tokio::test]
async fn a_head_that_comes_slowly_is_closed() {
    let world = World::start(setup()).await;
    let (mut half, mut fresh, mut behind) = (world.connect(), world.connect(), world.connect());
    half.write(&world.request("", "")[..30]);
    behind.write(world.request("", ""));
    assert_eq!(behind.answer().status, 200);
    world.serves_others();
    fresh.drip(b"POST /trigger/x HTTP/1.1\r\nhost: test\r\nx: ");
    behind.drip(b"POST /trigger/x HTTP/1.1\r\nhost: test\r\nx: ");
    assert!(half.is_closed() && fresh.is_closed() && behind.is_closed());
    world.serves_others();
}

#[tokio::test]
async fn a_body_that_comes_slowly_is_a_time_out() {
    let world = World::start(setup()).await;
    let head = |framing: &str| format!("POST {} HTTP/1.1\r\nhost: test\r\n{framing}\r\n\r\n", world.path);
    for framing in ["content-length: 200000", "transfer-encoding: chunked"] {
        let mut slow = world.connect();
        slow.write(head(framing));
        world.serves_others();
        slow.drip(b"1\r\nx\r\n");
        let answer = slow.answer();
        assert_eq!(answer.refusal(), (408, "request_timeout".to_owned()), "{framing}");
        assert!(answer.closes() && slow.is_closed(), "{framing}");
    }
    world.serves_others();
}

#[tokio::test]
async fn slow_large_bodies_hold_no_more_than_the_memory_for_bodies() {
    // 64 of the largest bodies are four times what may be held, which outweighs what else a process takes meanwhile.
    let setup = setup()
        .set("front.max-body", "1MiB")
        .set("front.body-memory", "16MiB")
        .set("front.body-timeout", "5s");
    let (clients, largest, body_memory) = (64, 1 << 20, 16 << 20);
    // Each connection has a read buffer of twice the headers beside its body.
    let growth = 2 * body_memory + clients * 2 * (8 << 10);
    let limit = "twice front.body-memory, and front.max-header-bytes of each connection";
    let world = World::start(setup).await.may_grow(growth, limit);
    let head = format!("POST {} HTTP/1.1\r\nhost: test\r\ncontent-length: {largest}\r\n\r\n", world.path);
    let body = vec![b'x'; largest - 1];
    let begin = |_| {
        let mut client = world.connect();
        client.write(&head);
        client.write_until_full(&body);
        client
    };
    let mut slow: Vec<Client> = (0..clients).map(begin).collect();
    world.serves_others();
    for client in &mut slow {
        // Those that waited for memory find it gone with those before them.
        assert_eq!(client.answer().refusal(), (408, "request_timeout".to_owned()));
    }
    world.serves_others();
}

/// Sixteen of the largest bodies at the API, and more patience than anybody has here: what is answered is answered beside slow ones.
fn setup_of_api() -> Setup {
    setup()
        .set("api.max-body", "1MiB")
        .set("api.body-memory", "16MiB")
        .set("api.read-timeout", "10m")
        .set("media.max-attachment", "1MiB")
        .set("media.max-picture", "1MiB")
}

#[tokio::test]
async fn slow_large_bodies_of_people_nobody_knows_yet_hold_no_more_than_the_apis_memory_for_bodies() {
    let world = World::start(setup_of_api()).await;
    let (clients, largest, body_memory) = (64, 1 << 20, 16 << 20);
    let connect = || Client::connect(world.daemon.address("api"));
    let asks = || {
        let mut client = connect();
        client.write(post("/api", "", "{\"query\": \"{ __typename }\"}"));
        assert_eq!(client.answer().status, 401);
    };
    // What is there once, whoever calls, is there before.
    asks();
    let memory = Memory::of(world.daemon.pid());
    let head = format!("POST /api HTTP/1.1\r\nhost: test\r\ncontent-length: {largest}\r\n\r\n");
    let body = vec![b'x'; largest - 1];
    let begin = |_| {
        let mut client = connect();
        client.write(&head);
        client.write_until_full(&body);
        // Beside all of those who came before.
        asks();
        client
    };
    let slow: Vec<Client> = (0..clients).map(begin).collect();
    // Each connection has read as much as it reads at once beside its body.
    let buffers = clients as u64 * 2 * (64 << 10);
    memory.grew_within(
        2 * body_memory + buffers,
        "twice api.body-memory, and what each connection reads at once",
    );
    drop(slow);
    asks();
}

#[tokio::test]
async fn a_client_behind_a_proxy_has_no_more_than_its_share_of_the_apis_memory_for_bodies() {
    let world = World::start(setup_of_api().set("trusted-proxies", vec!["127.0.0.0/8"])).await;
    let body = vec![b'x'; 1 << 20];
    let begin = |client: &str| {
        let mut connection = Client::connect(world.daemon.address("api"));
        connection.write(format!(
            "POST /api HTTP/1.1\r\nhost: test\r\nx-forwarded-for: {client}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        ));
        connection
    };
    let slow: Vec<Client> = (0..32)
        .map(|_| {
            let mut slow = begin("198.51.100.7");
            slow.write_until_full(&body[1..]);
            // By the time that it is answered, what came before is read.
            let mut small = Client::connect(world.daemon.address("api"));
            small.write(post("/api", "", "{}"));
            assert_eq!(small.answer().status, 401);
            slow
        })
        .collect();
    let mut other = begin("203.0.113.9");
    other.write(&body);
    assert_eq!(other.answer().status, 401);
    drop(slow);
}

#[tokio::test]
async fn a_body_that_comes_to_the_api_slowly_is_a_time_out() {
    let world = World::start(setup().set("api.read-timeout", "500ms")).await;
    let mut slow = Client::connect(world.daemon.address("api"));
    slow.write("POST /api HTTP/1.1\r\nhost: test\r\ncontent-length: 200000\r\n\r\nx");
    let answer = slow.answer();
    assert_eq!((answer.status, &answer.json()["code"]), (408, &json!("body_timeout")));
}

#[tokio::test]
async fn connections_of_one_address_leave_those_of_others_their_places_at_the_api() {
    let setup = setup().set("api.connections", 4).set("api.connections-per-address", 3);
    let world = World::start(setup).await;
    let connect = |source| Client::connect_from(source, world.daemon.address("api"));
    let asks = |client: &mut Client| {
        client.write(post("/api", "", "{}"));
        client.try_answer().map(|answer| answer.status)
    };
    let mut kept: Vec<Client> = (0..3).map(|_| connect([127, 0, 0, 1])).collect();
    assert!(kept.iter_mut().all(|client| asks(client) == Some(401)));
    assert!((0..4).all(|_| asks(&mut connect([127, 0, 0, 1])).is_none()));
    world.daemon.log_line(&["api.connections-per-address", "127.0.0.1"]);
    assert_eq!(asks(&mut connect([127, 0, 0, 2])), Some(401));
    // They are still served.
    assert!(kept.iter_mut().all(|client| asks(client) == Some(401)));
}

#[tokio::test]
async fn a_client_that_takes_no_answers_of_the_api_is_cut() {
    let setup = setup().set("api.connections-per-address", 1).set("api.answer-timeout", "300ms");
    let world = World::start(setup).await;
    let connect = || Client::connect(world.daemon.address("api"));
    let asset = "GET /embedded/assets/embedded.js HTTP/1.1\r\nhost: test\r\n\r\n";
    let flood = asset.repeat((64 << 20) / asset.len());
    let mut greedy = connect();
    let written = greedy.write_until_full(flood.as_bytes());
    assert!(written < flood.len(), "all {written} bytes were taken");
    // Its place is free once it is cut.
    within("the place of the greedy client", async {
        loop {
            let mut other = connect();
            other.write(post("/api", "", "{}"));
            if other.try_answer().is_some_and(|answer| answer.status == 401) {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(greedy);
}

#[tokio::test]
async fn two_thousand_idle_connections_cost_less_than_their_headers_may() {
    allow_files(4_500);
    let limit = "twice front.max-header-bytes of each of 2,000 connections";
    let world = World::start(setup().set("front.max-header-bytes", "16KiB")).await;
    let world = world.may_grow(2_000 * 2 * (16 << 10), limit);
    // Each asks at once: a connection that has said nothing is closed by the time for headers.
    let answered = |_| {
        let mut client = world.connect();
        client.write(NOWHERE);
        assert_eq!(client.answer().refusal(), (404, "endpoint_not_found".to_owned()));
        client
    };
    let idle: Vec<Client> = (0..2_000).map(answered).collect();
    assert!(world.daemon.metric("perseat_front_connections").await >= 2_000.0);
    world.serves_others();
    drop(idle);
    while world.daemon.metric("perseat_front_connections").await > 1.0 {
        world.serves_others();
    }
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let world = World::start(setup().set("front.idle-timeout", "300ms")).await;
    // One after the other: whoever waits for the answers of all the others is idle, too.
    let answered = |_| {
        let mut client = world.connect();
        client.write(world.request("", ""));
        assert_eq!(client.answer().status, 200);
        client
    };
    let mut idle: Vec<Client> = (0..20).map(answered).collect();
    assert!(idle.iter_mut().all(Client::is_closed));
    world.serves_others();
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_not_read_any_further() {
    let world = World::start(setup()).await;
    // What is there once, whoever calls, is there before.
    world.serves_others();
    assert_eq!(world.send(NOWHERE).status, 404);
    let memory = Memory::of(world.daemon.pid());
    let flood = NOWHERE.repeat((64 << 20) / NOWHERE.len());
    let mut greedy = world.connect();
    let written = greedy.write_until_full(flood.as_bytes());
    assert!(written < flood.len(), "all {written} bytes were taken");
    world.serves_others();
    memory.grew_within(8 << 20, "an eighth of what was to be sent");
    drop(greedy);
    world.serves_others();
}

/// A request to an address that there is not.
const NOWHERE: &str = "GET /trigger/nothing HTTP/1.1\r\nhost: test\r\n\r\n";

/// Lets this process, and the daemon that it starts, open so many files.
fn allow_files(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        let raised = Rlimit {
            current: Some(count),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).unwrap();
    }
}
