//! Heads that are too large, lie, or are no HTTP.

use crate::memory::Memory;
use crate::world::{World, post, setup};

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let world = World::start(setup()).await;
    let memory = Memory::of(world.daemon.pid());
    for (row, request) in [
        (
            "one header over the limit",
            world.request(&format!("x: {}\r\n", "y".repeat(9_000)), ""),
        ),
        (
            "one header of a megabyte",
            world.request(&format!("x: {}\r\n", "y".repeat(1 << 20)), ""),
        ),
        (
            "10,000 headers",
            world.request(&(0..10_000).map(|n| format!("x-{n}: 1\r\n")).collect::<String>(), ""),
        ),
        ("more headers than counted", world.request(&"x: 1\r\n".repeat(101), "")),
        ("a long path", post(&format!("{}/{}", world.path, "x".repeat(9_000)), "", "")),
        ("a path of a megabyte", post(&format!("/trigger/{}", "x".repeat(1 << 20)), "", "")),
        ("a long query", post(&format!("{}?{}", world.path, "x".repeat(9_000)), "", "")),
    ] {
        let mut client = world.connect();
        client.write(&request);
        let answer = client.answer();
        assert_eq!(answer.refusal(), refused(431, "headers_too_large"), "{row}");
        assert!(answer.closes() && client.is_closed(), "{row}");
        world.serves_others();
    }
    memory.grew_within(4 << 20, "front.body-memory; nothing of a head is kept beside its connection");
    assert!(world.daemon.metric("perseat_front_refused_total").await >= 7.0, "they are counted");
}

#[tokio::test]
async fn heads_that_are_no_http_are_refused_or_closed() {
    let world = World::start(setup()).await;
    let head = |lines: &str| format!("POST {} HTTP/1.1\r\n{lines}\r\n\r\n", world.path);
    let malformed = refused(400, "request_malformed");
    for (row, request) in [
        ("no host", head("content-length: 0").into_bytes()),
        ("two hosts", head("host: test\r\nhost: test\r\ncontent-length: 0").into_bytes()),
        (
            "two hosts that differ in case",
            head("Host: test\r\nHOST: other\r\ncontent-length: 0").into_bytes(),
        ),
        ("a header without a colon", head("host: test\r\nnonsense").into_bytes()),
        ("a blank before the colon", head("host : test").into_bytes()),
        ("a folded header", head("host: test\r\nx: a\r\n b").into_bytes()),
        ("NUL in a value", head("host: test\r\nx: a\0b").into_bytes()),
        ("NUL in the path", post("/trigger/a\0b", "", "").into_bytes()),
        ("a blank in the path", post("/trigger/a b", "", "").into_bytes()),
        (
            "a method of control characters",
            b"P\x01ST / HTTP/1.1\r\nhost: test\r\n\r\n".to_vec(),
        ),
        ("another version", b"GET / HTTP/9.9\r\nhost: test\r\n\r\n".to_vec()),
        ("no version", b"GET /\r\n\r\n".to_vec()),
        ("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        (
            "random bytes",
            (0..200u8).map(|n| n.wrapping_mul(167) | 1).chain(*b"\r\n\r\n").collect(),
        ),
        ("a negative length", head("host: test\r\ncontent-length: -1").into_bytes()),
        ("a length with a sign", head("host: test\r\ncontent-length: +5").into_bytes()),
        ("a length of letters", head("host: test\r\ncontent-length: five").into_bytes()),
        (
            "a length beyond 64 bits",
            head("host: test\r\ncontent-length: 99999999999999999999").into_bytes(),
        ),
        (
            "two lengths",
            head("host: test\r\ncontent-length: 4\r\ncontent-length: 5").into_bytes(),
        ),
        (
            "a coding that is not chunked",
            head("host: test\r\ntransfer-encoding: gzip").into_bytes(),
        ),
        (
            "a coding after chunked",
            head("host: test\r\ntransfer-encoding: chunked, gzip").into_bytes(),
        ),
        (
            "chunked in HTTP/1.0",
            format!("POST {} HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", world.path).into_bytes(),
        ),
    ] {
        let mut client = world.connect();
        client.write(&request);
        let answer = client.answer();
        assert_eq!(answer.refusal(), malformed, "{row}");
        assert!(answer.closes() && client.is_closed(), "{row}");
    }
    world.serves_others();
    assert_eq!(world.accepted().await, 1.0, "none of these was taken");
}

#[tokio::test]
async fn an_http2_preface_and_what_follows_is_closed() {
    let world = World::start(setup()).await;
    for garbage in ["", "\0\0\x12\x04\0\0\0\0\0garbage", &"x".repeat(100_000)] {
        let mut client = world.connect();
        client.write(format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{garbage}"));
        assert!(client.is_closed());
    }
    world.serves_others();
}

#[tokio::test]
async fn ids_of_any_spelling_name_an_endpoint_or_nothing() {
    let world = World::start(setup()).await;
    let id = &world.path["/trigger/".len()..];
    let encoded: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(
        world.send(post(&format!("/trigger/{encoded}"), "", "")).status,
        200,
        "percent-encoded"
    );
    let (unknown, malformed) = (refused(404, "endpoint_not_found"), refused(400, "request_malformed"));
    for (path, expected) in [
        (format!("/trigger/{id}%00"), &malformed),
        (format!("/trigger/%00{id}"), &malformed),
        (format!("/trigger/{id}/%00"), &malformed),
        (format!("/trigger/{id}/%ff%fe"), &malformed),
        (format!("/trigger/%c0%80{id}"), &malformed),
        (format!("/trigger/{id}%20"), &unknown),
        (format!("/trigger/%2e%2e/{id}"), &unknown),
        (format!("/trigger/%2f{id}"), &unknown),
        (format!("/trigger/%25{encoded}"), &unknown),
        (format!("/trigger/{}", encoded.replace('%', "%25")), &unknown),
        ("/trigger/%".to_owned(), &unknown),
        ("/trigger/".to_owned(), &unknown),
        ("/trigger/====".to_owned(), &unknown),
        (format!("/trigger/{}", id.repeat(20)), &unknown),
        (format!("//trigger/{id}"), &unknown),
    ] {
        assert_eq!(world.send(post(&path, "", "")).refusal(), *expected, "{path}");
    }
    world.serves_others();
}

#[tokio::test]
async fn targets_of_other_forms_count_by_their_path() {
    let world = World::start(setup()).await;
    let target = |method: &str, target: &str| world.send(format!("{method} {target} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n"));
    assert_eq!(
        target("POST", &format!("http://elsewhere.example{}", world.path)).status,
        200,
        "absolute"
    );
    let unknown = refused(404, "endpoint_not_found");
    assert_eq!(
        target("POST", "http://elsewhere.example").refusal(),
        unknown,
        "absolute without a path"
    );
    assert_eq!(target("OPTIONS", "*").refusal(), unknown, "asterisk");
    assert_eq!(target("CONNECT", "127.0.0.1:22").refusal(), unknown, "authority");
    world.serves_others();
}

#[tokio::test]
async fn values_that_are_no_text_are_replaced_and_route_nothing() {
    let world = World::start(setup()).await;
    let with = |header: &[u8], body: &str| {
        let head = format!("POST {} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n", world.path, body.len());
        world.send([head.as_bytes(), header, b"\r\n\r\n", body.as_bytes()].concat())
    };
    assert_eq!(with(b"x-name: caf\xe9 \xff\xfe", "{}").status, 200);
    assert_eq!(with(b"perseat-user-external-id: \xff", "{}").status, 200, "the URL says it all");
    // What is no text in a content type changes nothing of what the type says.
    let json = b"content-type: application/json; note=\xff";
    assert_eq!(with(json, "{}").status, 200);
    assert_eq!(with(json, "{").refusal(), refused(400, "payload_malformed"));
    world.serves_others();
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_up_to_the_first_that_is_none() {
    let world = World::start(setup()).await;
    let mut client = world.connect();
    let nowhere = post("/trigger/nowhere", "", "x");
    let good = world.request("", "{}");
    for _ in 0..100 {
        client.write(good.clone() + &nowhere);
    }
    client.write("nonsense\r\n\r\n".to_owned() + &good);
    for _ in 0..100 {
        assert_eq!(client.answer().status, 200);
        assert_eq!(client.answer().status, 404);
    }
    assert_eq!(client.answer().refusal(), refused(400, "request_malformed"));
    assert!(client.is_closed());
    world.serves_others();
    assert_eq!(world.accepted().await, 101.0);
}
