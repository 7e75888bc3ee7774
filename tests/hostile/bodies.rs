//! Bodies that are too large, of another length than they say, or broken.

use crate::client::Client;
use crate::harness::manifests::{flow, step};
use crate::harness::within;
use crate::memory::Memory;
use crate::world::{OPEN, World, post, setup};
use std::net::TcpListener;

const MAX_BODY: usize = 256 << 10;

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn bodies_that_are_too_large_are_refused_announced_or_not() {
    let world = World::start(setup()).await;
    let memory = Memory::of(world.daemon.pid());
    let head = |framing: &str| format!("POST {} HTTP/1.1\r\nhost: test\r\n{framing}\r\n\r\n", world.path);
    for length in [MAX_BODY + 1, 1 << 30, usize::MAX / 2] {
        let mut client = world.connect();
        client.write(head(&format!("content-length: {length}")));
        let answer = client.answer();
        assert_eq!(answer.refusal(), refused(413, "payload_too_large"), "{length}");
        assert!(answer.closes(), "{length}");
    }
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..20 {
        let mut client = world.connect();
        client.write(head("transfer-encoding: chunked") + &chunk.repeat(64));
        let answer = client.answer();
        assert_eq!(answer.refusal(), refused(413, "payload_too_large"), "chunked");
        assert!(answer.closes());
    }
    world.serves_others();
    memory.grew_within(2 * (4 << 20), "twice front.body-memory, where 80 MiB were sent");
}

#[tokio::test]
async fn large_events_that_wait_for_a_third_party_hold_no_more_than_the_memory_of_executions() {
    // Takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let ask = step(
        "Ask",
        "http",
        "httpGet",
        &format!("          url: {{type: value, value: \"{url}\"}}\n"),
    );
    let setup = setup()
        .allow(&[silent.local_addr().unwrap()])
        .set("execution.memory", "4MiB")
        .set("execution.payload-cache", "1MiB");
    let world = World::with(setup, vec![flow("Asks", OPEN, &[ask])]).await;
    let path = world.path_of("Asks").await;
    let mut random = 1_u32;
    let mut letter = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (random >> 24) as u8 % 26)
    };
    // What compresses to nothing, what does not, and what takes twelve times as much as JSON.
    let noise: String = (0..240_000).map(|_| letter()).collect();
    let bodies = ["x".repeat(240_000), noise, "\u{1}".repeat(240_000)];
    for n in 0..300 {
        assert_eq!(world.send(post(&path, "", &bodies[n % 3])).status, 200);
    }
    // Those that run have asked; a small one of the same user does not wait behind the others' memory.
    assert_eq!(world.send(world.request("prismatic-synchronous: true\r\n", "{}")).status, 200);
    let world = world.may_grow(
        2 * ((4 << 20) + (4 << 20) + (1 << 20)),
        "twice front.body-memory, execution.memory and execution.payload-cache, where payloads come to 400 MB",
    );
    world.serves_others();
    drop(silent);
    let all_ended = async {
        while world.daemon.metric("perseat_executions_live").await > 0.0 {
            tokio::task::yield_now().await;
        }
    };
    within("the end of all", all_ended).await;
}

#[tokio::test]
async fn bodies_of_another_length_than_they_say_are_refused() {
    let world = World::start(setup()).await;
    let head = |length: usize| format!("POST {} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n", world.path);
    let mut shorter = world.connect();
    shorter.write(head(10) + "abc");
    shorter.finish();
    assert_eq!(shorter.answer().refusal(), refused(400, "request_malformed"));
    assert!(shorter.is_closed());
    let mut gone = world.connect();
    gone.write(head(10) + "abc");
    drop(gone);
    let mut longer = world.connect();
    longer.write(head(2) + "{}abcdef\r\n\r\n");
    assert_eq!(longer.answer().status, 200);
    assert_eq!(
        longer.answer().refusal(),
        refused(400, "request_malformed"),
        "the rest is no request"
    );
    assert!(longer.is_closed());
    world.serves_others();
    assert_eq!(world.accepted().await, 2.0);
}

#[tokio::test]
async fn broken_chunks_are_refused() {
    let world = World::start(setup()).await;
    let memory = Memory::of(world.daemon.pid());
    let flood = "x".repeat(1 << 20);
    for (row, body) in [
        ("no number", "zz\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("a negative number", "-1\r\nabc\r\n".to_owned()),
        ("a number beyond 64 bits", "fffffffffffffffff\r\nabc".to_owned()),
        ("an empty size", "\r\nabc\r\n".to_owned()),
        ("no line end behind a chunk", "3\r\nabcd\r\n0\r\n\r\n".to_owned()),
        ("a bare line feed", "3\nabc\n0\n\n".to_owned()),
        ("an extension of a megabyte", format!("3;{flood}\r\nabc\r\n0\r\n\r\n")),
        ("a trailer of a megabyte", format!("3\r\nabc\r\n0\r\nx: {flood}\r\n\r\n")),
        ("100,000 trailers", format!("3\r\nabc\r\n0\r\n{}\r\n", "x: y\r\n".repeat(100_000))),
    ] {
        let mut client = world.connect();
        client.write(format!(
            "POST {} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n{body}",
            world.path
        ));
        let answer = client.answer();
        assert_eq!(answer.refusal(), refused(400, "request_malformed"), "{row}");
        assert!(answer.closes(), "{row}");
    }
    let mut cut = world.connect();
    cut.write(format!(
        "POST {} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        world.path
    ));
    cut.finish();
    assert_eq!(cut.answer().refusal(), refused(400, "request_malformed"), "cut off");
    world.serves_others();
    memory.grew_within(2 * (4 << 20), "twice front.body-memory");
    assert_eq!(world.accepted().await, 1.0);
}

#[tokio::test]
async fn a_length_beside_chunks_leaves_no_room_for_a_second_request() {
    let world = World::start(setup()).await;
    let smuggled = world.request("", "smuggled");
    for framing in [
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "content-length: 4\r\ntransfer-encoding: chunked",
        "content-length: 4\r\nTransfer-Encoding: Chunked",
    ] {
        let mut client = world.connect();
        client.write(format!(
            "POST {} HTTP/1.1\r\nhost: test\r\n{framing}\r\n\r\n0\r\n\r\n{smuggled}",
            world.path
        ));
        assert_eq!(client.answer().status, 200, "{framing}: the chunks count");
        assert!(client.is_closed(), "{framing}: what follows is no request");
    }
    world.serves_others();
    assert_eq!(world.accepted().await, 4.0);
}

#[tokio::test]
async fn json_that_nests_a_hundred_thousand_deep_is_refused() {
    let world = World::start(setup()).await;
    let memory = Memory::of(world.daemon.pid());
    let json = "content-type: application/json\r\n";
    for body in [
        "[".repeat(100_000),
        "[".repeat(100_000) + &"]".repeat(100_000),
        "{\"a\":".repeat(50_000),
        format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
    ] {
        assert_eq!(world.send(world.request(json, &body)).refusal(), refused(400, "payload_malformed"));
    }
    world.serves_others();
    memory.grew_within(4 << 20, "front.body-memory");
}

/// JSON in the text of JSON, again and again, under the key by which `serde_json` marks text that it would read as a value: each time
/// its bound on depth would begin anew.
fn marked(times: usize) -> String {
    let mut text = "1".to_owned();
    for _ in 0..times {
        let inner = format!("{}{text}{}", "[".repeat(100), "]".repeat(100));
        let inner = inner.replace('\\', "\\u005c").replace('"', "\\u0022");
        text = format!("{{\"$serde_json::private::RawValue\":\"{inner}\"}}");
    }
    text
}

#[tokio::test]
async fn text_within_json_is_never_read_as_json() {
    let told = step(
        "Note",
        "log",
        "writeLog",
        "          message: {type: reference, value: onEvent.results.body.data}\n",
    );
    let world = World::with(setup(), vec![flow("Told", OPEN, &[told])]).await;
    let path = world.path_of("Told").await;
    let headers = "prismatic-synchronous: true\r\ncontent-type: application/json\r\n";
    for times in [1, 2, 140] {
        let body = marked(times);
        assert!(body.len() < MAX_BODY, "{}", body.len());
        let answer = world.send(post(&path, headers, &body));
        assert_eq!(answer.status, 200, "{times}: {}", answer.body.escape_ascii());
    }
    world.serves_others();
}

#[tokio::test]
async fn a_form_of_a_consent_is_no_larger_than_one_may_be() {
    let world = World::start(setup()).await;
    for path in ["/oauth2/authorize", "/oauth2/accounts"] {
        let send = |bytes: usize| {
            let mut client = Client::connect(world.daemon.address("api"));
            client.write(post(path, "", &"&".repeat(bytes)));
            client.answer().status
        };
        assert_eq!((send((16 << 10) + 1), send(16 << 10)), (413, 400), "{path}");
    }
}
