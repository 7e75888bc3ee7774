//! Clients that say too much, too little or nonsense.

use crate::harness::*;
use bytes::Bytes;
use perseat_actors::admission::AdmissionOptions;
use perseat_actors::front::{Beside, BesideAnswer, BesideLimits, Proxies};
use perseat_domain::budget::Limits;
use perseat_domain::definition::{EndpointType, RoutingPath};
use perseat_domain::route::RouteChange;
use std::sync::Arc;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(100);

#[test]
fn a_connection_that_says_nothing_or_half_a_head_is_closed() {
    let world = Setup::options(|options| options.header_timeout = SHORT).start();
    assert!(world.connect().is_closed());
    let mut slow = world.connect();
    slow.write(b"POST /trigger/x HTTP/1.1\r\nhost: te");
    assert!(slow.is_closed());
    assert_eq!(world.appends(), 0);
}

#[test]
fn a_connection_may_idle_longer_than_its_headers_may_take_but_not_for_ever() {
    let world = Setup::options(|options| {
        options.header_timeout = Duration::from_millis(200);
        options.idle_timeout = Duration::from_secs(1);
    });
    let world = world.start();
    let idle = std::time::Instant::now();
    let mut client = world.connect_with(&post(&plain(1), "", ""));
    assert_eq!(client.answer().status, 200);
    assert!(client.is_closed());
    assert!(idle.elapsed() >= Duration::from_secs(1), "closed by the header time-out");
    let mut slow = world.connect_with(&post(&plain(1), "", ""));
    assert_eq!(slow.answer().status, 200);
    slow.write(b"POST ");
    assert!(slow.is_closed(), "half a second head");
}

#[test]
fn a_body_that_does_not_arrive_is_a_time_out() {
    let world = Setup::options(|options| options.body_timeout = SHORT).start();
    let mut client = world.connect();
    client.write(format!("POST {} HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nabc", plain(1)).as_bytes());
    let answer = client.answer();
    assert_eq!(answer.refusal(), (408, "request_timeout".to_owned()));
    assert!(answer.closes() && client.is_closed());
}

#[test]
fn a_body_over_the_limit_is_refused_announced_or_not() {
    let world = Setup::options(|options| options.max_body = 100_000).start();
    let fits = "x".repeat(100_000);
    assert_eq!(world.post(&plain(1), "", &fits).status, 200);
    let announced = world.post(&plain(1), "", &(fits + "y"));
    assert_eq!(announced.refusal(), (413, "payload_too_large".to_owned()));
    assert!(announced.closes());
    let mut client = world.connect();
    client.write(format!("POST {} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n", plain(1)).as_bytes());
    for _ in 0..30 {
        client.try_write(format!("1000\r\n{}\r\n", "x".repeat(4096)).as_bytes());
    }
    client.try_write(b"0\r\n\r\n");
    assert_eq!(client.answer().refusal(), (413, "payload_too_large".to_owned()));
    assert_eq!(world.appends(), 1);
}

#[test]
fn a_client_that_asks_for_leave_gets_the_refusal_instead() {
    let world = start();
    let mut client = world.connect();
    client.write(b"POST /trigger/nothing HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.refusal().0, 404);
    assert!(answer.closes());
    let mut allowed = world.connect();
    allowed.write(
        format!(
            "POST {} HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
            plain(1)
        )
        .as_bytes(),
    );
    assert_eq!(allowed.answer().status, 100);
    allowed.write(b"hello");
    assert_eq!(allowed.answer().status, 200);
    assert_eq!(request_of(&world.appended(1)).body.as_ref(), b"hello");
}

#[test]
fn headers_over_the_limit_are_refused() {
    let world = Setup::options(|options| options.max_header_bytes = 8_192).start();
    let large = world.post(&plain(1), &format!("x-large: {}\r\n", "x".repeat(9_000)), "");
    assert_eq!(large.refusal(), (431, "headers_too_large".to_owned()));
    assert!(large.closes());
    let many: String = (0..10_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    for headers in [
        many,
        format!("x: {}\r\n", "y".repeat(100_000)),
        (0..150).map(|n| format!("x-{n}: 1\r\n")).collect(),
    ] {
        let mut client = world.connect();
        client.try_write(post(&plain(1), &headers, "").as_bytes());
        let answer = client.answer();
        assert_eq!(answer.refusal(), (431, "headers_too_large".to_owned()));
        assert!(answer.closes() && client.is_closed());
    }
    let mut line = world.connect();
    line.try_write(post(&format!("/trigger/{}", "x".repeat(70_000)), "", "").as_bytes());
    assert_eq!(line.answer().refusal(), (431, "headers_too_large".to_owned()));
    assert_eq!(world.appends(), 0);
}

#[test]
fn the_limit_of_headers_is_the_configured_one() {
    for limit in [5, 100, 300] {
        let world = Setup::options(|options| options.max_headers = limit).start();
        let with = |count: usize| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
        // `post` adds two.
        assert_eq!(world.post(&plain(1), &with(limit - 2), "").status, 200, "{limit}");
        assert_eq!(
            world.post(&plain(1), &with(limit - 1), "").refusal(),
            (431, "headers_too_large".to_owned()),
            "{limit}"
        );
    }
}

#[test]
fn a_head_that_does_not_parse_behind_a_request_is_refused_after_its_answer() {
    let world = start();
    let mut client = world.connect();
    client.write((post(&plain(1), "", "first") + "GET / HTTP/1.1\r\nbad header\r\n\r\n").as_bytes());
    assert_eq!(client.answer().status, 200);
    let second = client.answer();
    assert_eq!(second.refusal(), (400, "request_malformed".to_owned()));
    assert!(second.closes() && client.is_closed());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = start();
    let mut client = world.connect();
    let requests = [
        post(&plain(1), "", "one"),
        post("/trigger/nothing", "", "two"),
        post(&plain(1), "", "three"),
    ]
    .concat();
    client.write(requests.as_bytes());
    assert_eq!(
        [client.answer().status, client.answer().status, client.answer().status],
        [200, 404, 200]
    );
    assert_eq!(request_of(&world.appended(2)).body.as_ref(), b"three");
}

#[test]
fn chunked_bodies_are_put_together_and_garbage_in_them_is_refused() {
    let world = start();
    let chunked = |body: &str| {
        format!(
            "POST {} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n{body}",
            plain(1)
        )
    };
    let mut client = world.connect();
    for piece in [chunked("3\r\nabc\r\n").as_str(), "2\r\nde\r\n", "0\r\n\r\n"] {
        client.write(piece.as_bytes());
    }
    assert_eq!(client.answer().status, 200);
    assert_eq!(request_of(&world.appended(1)).body.as_ref(), b"abcde");
    let garbage = world.send(&chunked("zz\r\nabc\r\n"));
    assert_eq!(garbage.refusal(), (400, "request_malformed".to_owned()));
    assert!(garbage.closes());
    assert_eq!(world.appends(), 1);
}

#[test]
fn two_framings_at_once_leave_no_room_for_a_second_request() {
    let world = start();
    let smuggled = post(&plain(1), "", "smuggled");
    for headers in [
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
    ] {
        let mut client = world.connect();
        client.write(format!("POST {} HTTP/1.1\r\nhost: test\r\n{headers}\r\n0\r\n\r\n{smuggled}", plain(1)).as_bytes());
        assert_eq!(client.answer().status, 200);
        assert!(client.is_closed(), "the rest must not be read as a request");
    }
    let mut client = world.connect();
    client.write(
        format!(
            "POST {} HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde",
            plain(1)
        )
        .as_bytes(),
    );
    assert_eq!(client.answer().refusal(), (400, "request_malformed".to_owned()));
    assert_eq!(world.appends(), 2);
    assert!(request_of(&world.appended(2)).body.is_empty());
}

#[test]
fn absolute_form_and_http_1_0_work_and_nonsense_does_not() {
    let world = start();
    let absolute = format!(
        "POST http://elsewhere.example{} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n",
        plain(1)
    );
    assert_eq!(world.send(&absolute).status, 200);
    let old = format!("POST {} HTTP/1.0\r\ncontent-length: 2\r\n\r\n{{}}", plain(1));
    let mut client = world.connect();
    client.write(old.as_bytes());
    assert_eq!(client.answer().status, 200);
    assert!(client.is_closed());
    let mut http2 = world.connect();
    http2.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(http2.is_closed());
    for nonsense in ["\u{16}\u{3}\u{1}\r\n\r\n", "POST\r\n\r\n", "POST / HTTP/1.1\r\nbad header\r\n\r\n"] {
        assert_eq!(
            world.send(nonsense).refusal(),
            (400, "request_malformed".to_owned()),
            "{nonsense:?}"
        );
    }
    assert_eq!(world.send("CONNECT test:80 HTTP/1.1\r\nhost: test\r\n\r\n").status, 404);
    assert_eq!(world.appends(), 2);
}

#[test]
fn large_bodies_wait_for_memory_and_small_ones_pass_them() {
    let world = Setup::options(|options| {
        options.max_body = 700_000;
        options.body_memory = 1 << 20;
    });
    let world = world.start();
    let body = "x".repeat(700_000);
    let head = format!("POST {} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", plain(1), body.len());
    let mut first = world.connect();
    first.write((head.clone() + &body[..100_000]).as_bytes());
    let mut second = world.connect();
    second.write(head.as_bytes());
    let mut chunked = world.connect();
    chunked.write(format!("POST {} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n", plain(1)).as_bytes());
    chunked.write(format!("{:x}\r\n{}\r\n", 80_000, &body[..80_000]).as_bytes());
    assert_eq!(world.post(&plain(1), "", "small").status, 200);
    assert_eq!(world.appends(), 1);
    first.write(&body.as_bytes()[100_000..]);
    assert_eq!(first.answer().status, 200);
    chunked.write(b"0\r\n\r\n");
    assert_eq!(chunked.answer().status, 200);
    assert_eq!(request_of(&world.appended(3)).body.len(), 80_000);
    second.write(body.as_bytes());
    assert_eq!(second.answer().status, 200);
    assert_eq!(request_of(&world.appended(4)).body.len(), 700_000);
}

#[test]
fn bodies_that_do_not_come_delay_no_small_one() {
    let world = Setup::options(|options| options.body_memory = options.max_body).start();
    let mut slow: Vec<_> = (0..200).map(|_| world.connect()).collect();
    for (n, client) in slow.iter_mut().enumerate() {
        let announced = if n % 2 == 0 { 65_536 } else { 5_000_000 };
        client.write(
            format!(
                "POST {} HTTP/1.1\r\nhost: test\r\ncontent-length: {announced}\r\n\r\nfirst",
                plain(1)
            )
            .as_bytes(),
        );
    }
    until("all to be read", || world.front.connections() == 200);
    for _ in 0..10 {
        let mut client = world.connect();
        client.write(format!("POST {} HTTP/1.1\r\nhost: test\r\ncontent-length: 4000\r\n\r\n", plain(1)).as_bytes());
        client.write("x".repeat(4_000).as_bytes());
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(world.appends(), 10);
}

#[test]
fn what_waits_for_a_users_room_leaves_the_memory_to_others_of_its_sender() {
    for (body, waiting) in [("x".repeat(10_000), 12), ("x".repeat(4_000), 40)] {
        let mut setup = Setup::options(|options| options.body_memory = 1 << 20);
        setup.admission = AdmissionOptions {
            limits: Limits {
                user: 1,
                wait_percent: 100,
                ..Limits::default()
            },
            wait: Duration::from_secs(3_600),
            ..AdmissionOptions::default()
        };
        let world = setup.start();
        assert_eq!(world.post(&of_user(JANE, 1), "", "first").status, 200);
        let _waiting: Vec<_> = (0..waiting)
            .map(|_| {
                let mut client = world.connect();
                client.write(post(&of_user(JANE, 1), "", &body).as_bytes());
                client
            })
            .collect();
        until("all of it to be read", || world.seals() == 1 + waiting);
        assert_eq!(world.post(&of_user(BOB, 1), "", &body).status, 200);
        assert_eq!(world.appends(), 2);
    }
}

#[test]
fn bodies_that_one_address_does_not_end_delay_no_other_address() {
    let world = start();
    let begin = |_| {
        let mut slow = world.connect();
        let piece = "x".repeat(5_000);
        slow.write(
            format!(
                "POST {} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n1388\r\n{piece}\r\n",
                plain(1)
            )
            .as_bytes(),
        );
        slow
    };
    let slow: Vec<_> = (0..200).map(begin).collect();
    until("all to be there", || world.front.connections() == 200);
    for size in [10_000, 100_000] {
        let mut client = world.connect_from([127, 0, 0, 2]);
        client.write(post(&plain(1), "", &"x".repeat(size)).as_bytes());
        assert_eq!(client.answer().status, 200, "{size}");
    }
    drop(slow);
}

#[test]
fn a_request_has_one_host() {
    let world = start();
    let hosts = |hosts: &str| world.send(&format!("POST {} HTTP/1.1\r\n{hosts}content-length: 0\r\n\r\n", plain(1)));
    assert_eq!(hosts("host: test\r\n").status, 200);
    for wrong in ["", "host: test\r\nhost: test\r\n", "Host: test\r\nhOST: other\r\n"] {
        let answer = hosts(wrong);
        assert_eq!(answer.refusal(), (400, "request_malformed".to_owned()), "{wrong:?}");
        assert!(answer.closes());
    }
    assert_eq!(world.appends(), 1);
}

#[test]
fn a_routing_value_that_is_no_text_is_refused() {
    let world = start();
    let mut client = world.connect();
    client.write(format!("POST {} HTTP/1.1\r\nhost: test\r\nperseat-flow-name: import\r\n", instance_url(3)).as_bytes());
    client.write(b"perseat-user-external-id: \xff\xfe\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.answer().refusal(), (400, "routing_value_missing".to_owned()));
    assert_eq!(world.appends(), 0);
}

#[test]
fn json_nested_too_deeply_is_malformed() {
    let world = start();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let json = "content-type: application/json\r\n";
    assert_eq!(world.post(&plain(1), json, &nested(100)).status, 200);
    assert_eq!(
        world.post(&plain(1), json, &nested(101)).refusal(),
        (400, "payload_malformed".to_owned())
    );
    assert_eq!(
        world.post(&plain(1), json, &nested(500_000)).refusal(),
        (400, "payload_malformed".to_owned())
    );
}

#[test]
fn a_compressed_body_is_refused_where_it_would_be_parsed_and_kept_where_not() {
    let world = start();
    let refusal = (415, "content_encoding_unsupported".to_owned());
    let post = |content_type: &str, coding: &str, body: &str| {
        let headers = format!("content-type: {content_type}\r\ncontent-encoding: {coding}\r\n");
        world.post(&plain(1), &headers, body)
    };
    for content_type in [
        "application/json",
        "application/vnd.x+json; charset=utf-8",
        "application/x-www-form-urlencoded",
        "Multipart/Form-Data; boundary=x",
    ] {
        for coding in ["gzip", "BR", "identity, gzip", "identity\r\ncontent-encoding: deflate"] {
            assert_eq!(post(content_type, coding, "\u{1f}x").refusal(), refusal, "{content_type} {coding}");
        }
        assert_eq!(post(content_type, "gzip", "").status, 200, "{content_type} without a body");
    }
    // By the head alone: the body has not come.
    let mut client = world.connect();
    let head = "content-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 9\r\nexpect: 100-continue\r\n";
    client.write(format!("POST {} HTTP/1.1\r\nhost: test\r\n{head}\r\n", plain(1)).as_bytes());
    assert_eq!(client.answer().refusal(), refusal);
    let before = world.appends();
    assert_eq!(post("application/json", "Identity", "{}").status, 200);
    assert_eq!(post("application/octet-stream", "gzip", "\u{1f}x").status, 200);
    assert_eq!(
        request_of(&world.appended(before + 2)).body,
        "\u{1f}x".as_bytes(),
        "kept as it came"
    );
}

#[test]
fn a_form_that_a_request_is_routed_by_has_as_many_parts_as_it_may() {
    let mut named = instance(3, EndpointType::InstanceSpecific, true);
    named.routing.user = Some(RoutingPath::Body(vec!["user".into()]));
    for (form_parts, status) in [(2, 400), (3, 200)] {
        let world = Setup::options(|options| options.form_parts = form_parts).start();
        world.change([RouteChange::Instance(Box::new(named.clone()))]);
        let headers = "perseat-flow-name: import\r\ncontent-type: application/x-www-form-urlencoded\r\n";
        let answer = world.post(&instance_url(3), headers, "a=1&b=2&user=jane");
        assert_eq!(answer.status, status, "{form_parts}");
    }
}

/// Takes everything below `/beside`, and answers nothing below `/beside/never`.
#[derive(Debug)]
struct Neighbour;

impl Beside for Neighbour {
    fn takes(&self, path: &str) -> bool {
        path.starts_with("/beside")
    }

    fn answer(&self, request: http::Request<Bytes>) -> BesideAnswer {
        Box::pin(async move {
            if request.uri().path() == "/beside/never" {
                std::future::pending::<()>().await;
            }
            http::Response::new(request.body().len().to_string().into())
        })
    }
}

const BESIDE: BesideLimits = BesideLimits {
    max_body: 200_000,
    body_memory: 1 << 20,
    requests: 20,
};

#[test]
fn what_waits_beside_holds_no_memory_of_webhooks_and_as_many_connections_as_it_may() {
    let world = Setup::options(|options| options.body_memory = 512 << 10).start();
    world.front.serve_beside(Arc::new(Neighbour), BESIDE);
    // More than the eighth that is for small bodies.
    let body = "x".repeat(4_000);
    let waiting: Vec<_> = (0..20)
        .map(|n| {
            let mut client = world.connect();
            client.write(post("/beside/never", "", &body).as_bytes());
            until("it to be there", || world.front.connections() == n + 1);
            client
        })
        .collect();
    world.settle();
    assert_eq!(world.post("/beside", "", "").refusal(), (429, "rate_limited".to_owned()));
    assert_eq!(world.post(&plain(1), "", &body).status, 200);
    drop(waiting);
    until("they to be gone", || world.front.connections() == 0);
    assert_eq!(world.post("/beside", "", "").status, 200);
}

#[test]
fn what_is_served_beside_has_a_limit_of_its_own_for_bodies() {
    let world = Setup::options(|options| options.max_body = 100_000).start();
    world.front.serve_beside(Arc::new(Neighbour), BESIDE);
    let body = "x".repeat(200_000);
    let taken = world.post("/beside", "", &body);
    assert_eq!((taken.status, taken.body.as_slice()), (200, &b"200000"[..]));
    let refusal = (413, "payload_too_large".to_owned());
    assert_eq!(world.post("/beside", "", &(body.clone() + "y")).refusal(), refusal);
    assert_eq!(world.post(&plain(1), "", &body).refusal(), refusal);
}

#[test]
fn connections_beyond_the_limit_wait_until_one_ends() {
    let world = Setup::options(|options| options.connections = 1).start();
    let mut first = world.connect();
    first.write(post(&plain(1), "", "").as_bytes());
    assert_eq!(first.answer().status, 200);
    let mut second = world.connect();
    second.write(post(&plain(1), "", "").as_bytes());
    first.write(post(&plain(1), "", "").as_bytes());
    assert_eq!(first.answer().status, 200);
    assert!(second.is_silent());
    assert_eq!(world.appends(), 2);
    drop(first);
    assert_eq!(second.answer().status, 200);
}

#[test]
fn an_address_has_as_many_connections_as_it_may_and_others_have_theirs() {
    const GREEDY: [u8; 4] = [127, 0, 0, 2];
    let world = Setup::options(|options| options.connections_per_address = 3).start();
    let request = post(&plain(1), "", "");
    let serves = |client: &mut Client| {
        client.write(request.as_bytes());
        client.answer().status == 200
    };
    let mut greedy: Vec<Client> = (0..3).map(|_| world.connect_from(GREEDY)).collect();
    assert!(greedy.iter_mut().all(serves));
    assert!(world.connect_from(GREEDY).is_closed());
    assert!(serves(&mut world.connect_from([127, 0, 0, 3])));
    // Behind a proxy stand many.
    world.proxies.store(Arc::new(Proxies(vec!["127.0.0.4/32".parse().unwrap()])));
    let mut proxy: Vec<Client> = (0..5).map(|_| world.connect_from([127, 0, 0, 4])).collect();
    assert!(proxy.iter_mut().all(serves));
    assert!(greedy.iter_mut().all(serves), "who was there stays");
    drop(greedy.pop());
    while world.front.connections() > 2 + proxy.len() {
        std::thread::yield_now();
    }
    assert!(serves(&mut world.connect_from(GREEDY)), "another takes the place of one that went");
}
