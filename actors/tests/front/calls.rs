//! Accepted calls: what is recorded, when it is answered, and what the caller gets.

use crate::harness::*;
use bytes::Bytes;
use perseat_actors::waiters;
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::{EndStatus, Origin, SyncResponse};
use perseat_domain::id::ExecutionId;
use perseat_domain::route::{InstanceRoute, RouteChange, TriggerReply};
use perseat_journal::AppendError;
use std::net::Shutdown;
use std::time::Duration;

#[test]
fn a_receipt_follows_durability_and_names_the_execution() {
    let world = start();
    let release = world.hold();
    let mut client = world.connect();
    client.write(post(&plain(1), "", "{}").as_bytes());
    let accepted = world.appended(1);
    world.settle();
    assert!(client.is_silent(), "answered before it was durable");
    release.send_replace(Some(Ok(())));
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.execution(), accepted.execution);
    assert_eq!(accepted.execution.0.get_version_num(), 7);
    assert_eq!(
        (accepted.origin, accepted.sync_deadline, accepted.catalog_revision),
        (Origin::Webhook, None, 1)
    );
}

#[test]
fn the_request_is_recorded_as_it_came_without_credentials() {
    let world = start();
    let headers = "Api-Key: right\r\nAuthorization: Bearer secret\r\nCookie: a=secret\r\nX-Event: Created\r\nprismatic-debug: true\r\n";
    let target = plain(2) + "/a%20b/c?x=1&y=%20";
    assert_eq!(world.post(&target, headers, "\u{0}raw").status, 200);
    let request = request_of(&world.appended(1));
    assert_eq!(
        (request.method.as_str(), request.path_fragment.as_str(), request.query.as_str()),
        ("POST", "a b/c", "x=1&y=%20")
    );
    assert_eq!(request.invoke_url, format!("https://hooks.example.com{target}"));
    assert_eq!(request.body, Bytes::from_static(b"\0raw"));
    assert!(request.debug);
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["host", "x-event", "prismatic-debug", "content-length"]);
    assert!(request.headers.contains(&("x-event".into(), "Created".into())));
}

#[test]
fn every_method_triggers_and_get_needs_no_body() {
    let world = start();
    for (n, method) in ["GET", "POST", "PUT", "PATCH", "DELETE"].into_iter().enumerate() {
        let answer = world.send(&format!(
            "{method} {} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\r\n",
            plain(1)
        ));
        assert_eq!(answer.status, 200, "{method}");
        let request = request_of(&world.appended(n + 1));
        assert_eq!((request.method.as_str(), request.body.len()), (method, 0));
    }
}

#[test]
fn a_trigger_that_names_its_answer_gives_it() {
    let world = start();
    let with = |reply: TriggerReply| {
        let mut route = instance(1, perseat_domain::definition::EndpointType::FlowSpecific, false);
        let mut flows = route.flows.to_vec();
        flows[0].reply = Some(reply);
        route.flows = flows.into();
        world.change([RouteChange::Instance(Box::new(route))]);
        world.post(&plain(1), "", "")
    };
    let whole = with(TriggerReply {
        status: Some(202),
        content_type: Some("text/plain".into()),
        headers: vec![
            ("x-seen".into(), "yes".into()),
            ("Transfer-Encoding".into(), "chunked".into()),
            ("no good".into(), "x".into()),
        ],
        body: Some("thank you".into()),
    });
    assert_confined(&whole);
    assert_eq!((whole.status, whole.body.as_slice()), (202, &b"thank you"[..]));
    assert_eq!(
        (whole.headers["content-type"].as_str(), whole.headers["x-seen"].as_str()),
        ("text/plain", "yes")
    );
    assert!(whole.headers.contains_key("prismatic-executionid") && !whole.headers.contains_key("transfer-encoding"));
    let talkative = with(TriggerReply {
        headers: (0..40_000).map(|n| (format!("x-{n}"), "v".into())).collect(),
        ..TriggerReply::default()
    });
    assert_eq!((talkative.status, talkative.execution()), (200, world.appended(2).execution));
    assert!(talkative.headers.contains_key("x-99") && !talkative.headers.contains_key("x-100"));
    let status_only = with(TriggerReply {
        status: Some(201),
        ..TriggerReply::default()
    });
    assert_eq!(status_only.status, 201);
    assert_eq!(status_only.execution(), world.appended(3).execution);
    let page = with(TriggerReply {
        content_type: Some("text/html".into()),
        headers: speaking_for_the_host(),
        body: Some("<script>alert(1)</script>".into()),
        ..TriggerReply::default()
    });
    assert_eq!(page.headers["content-type"], "text/html");
    assert_confined(&page);
    let untyped = with(TriggerReply {
        body: Some("<script>alert(1)</script>".into()),
        ..TriggerReply::default()
    });
    assert_eq!(untyped.headers["content-type"], "text/plain; charset=utf-8");
    assert_confined(&untyped);
    let typed_by_header = with(TriggerReply {
        headers: vec![("Content-Type".into(), "text/html".into())],
        ..TriggerReply::default()
    });
    assert_eq!(typed_by_header.headers["content-type"], "text/html");
    assert_confined(&typed_by_header);
}

/// Headers by which an answer would loosen its own policy, or speak for its whole host.
fn speaking_for_the_host() -> Vec<(String, String)> {
    [
        ("content-security-policy", "sandbox allow-scripts allow-same-origin"),
        ("X-Content-Type-Options", "sniff"),
        ("Set-Cookie", "perseat-form=AAAA; Path=/"),
        ("Service-Worker-Allowed", "/"),
        ("Clear-Site-Data", "\"*\""),
        ("Strict-Transport-Security", "max-age=0"),
        ("Alt-Svc", "h3=\":8443\""),
        ("Report-To", "{}"),
        ("NEL", "{}"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// A browser runs nothing of the answer, guesses no type, and takes nothing of it for the host.
#[track_caller]
fn assert_confined(answer: &Answer) {
    let all = |name: &str| answer.all(name);
    assert!(all("content-security-policy").contains(&"sandbox"), "{:?}", answer.headers);
    assert_eq!((all("x-content-type-options"), all("content-type").len()), (vec!["nosniff"], 1));
    for (name, _) in speaking_for_the_host().split_off(2) {
        assert_eq!(all(&name.to_lowercase()), [""; 0], "{name}");
    }
}

fn ended(status: EndStatus, code: Option<ErrorCode>, response: Option<SyncResponse>) -> waiters::Answer {
    waiters::Answer {
        status,
        code,
        message: code.map(|_| "the provider said \"no\"".to_owned()),
        response,
    }
}

#[test]
fn a_synchronous_caller_gets_the_flows_result() {
    let world = start();
    let mut client = world.connect();
    client.write(post(&plain(3), "", "{}").as_bytes());
    let accepted = world.appended(1);
    assert!(accepted.sync_deadline.is_some());
    let response = SyncResponse {
        status: 201,
        content_type: "text/csv".into(),
        headers: vec![("x-rows".into(), "2".into()), ("content-length".into(), "999".into())],
        body: Bytes::from_static(b"a,b"),
    };
    world
        .waiters
        .answer(accepted.execution, ended(EndStatus::Succeeded, None, Some(response)));
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.as_slice()), (201, &b"a,b"[..]));
    assert_eq!(
        (answer.headers["content-type"].as_str(), answer.headers["x-rows"].as_str()),
        ("text/csv", "2")
    );
    assert_eq!(answer.headers["prismatic-executionid"], accepted.execution.global());
    assert_confined(&answer);
    for (n, (given, expected)) in [("text/html", "text/html"), ("", "text/plain; charset=utf-8")]
        .into_iter()
        .enumerate()
    {
        client.write(post(&plain(3), "", "{}").as_bytes());
        let response = SyncResponse {
            status: 200,
            content_type: given.into(),
            headers: speaking_for_the_host(),
            body: Bytes::from_static(b"<script>alert(1)</script>"),
        };
        let execution = world.appended(n + 2).execution;
        world.waiters.answer(execution, ended(EndStatus::Succeeded, None, Some(response)));
        let page = client.answer();
        assert_eq!(page.headers["content-type"], expected);
        assert_confined(&page);
    }
}

fn responding(headers: usize, body: usize) -> waiters::Answer {
    let response = SyncResponse {
        status: 200,
        content_type: "text/plain".into(),
        headers: (0..headers).map(|n| (format!("x-{n}"), "v".into())).collect(),
        body: vec![b'.'; body].into(),
    };
    ended(EndStatus::Succeeded, None, Some(response))
}

#[test]
fn callers_who_wait_at_once_hear_each_of_their_own_execution() {
    let world = start();
    let calls: Vec<_> = (1..=8)
        .map(|n| {
            let mut client = world.connect();
            client.write(post(&plain(3), "", "{}").as_bytes());
            (client, world.appended(n).execution)
        })
        .collect();
    for (n, (_, execution)) in calls.iter().enumerate().rev() {
        world.waiters.answer(*execution, responding(0, n + 1));
    }
    for (n, (mut client, execution)) in calls.into_iter().enumerate() {
        let answer = client.answer();
        assert_eq!((answer.status, answer.body.len()), (200, n + 1));
        assert_eq!(answer.headers["prismatic-executionid"], execution.global());
    }
}

/// More than the kernel takes for a connection, and more than half of what answers may hold.
const LARGE: usize = 24 << 20;

/// Calls from an address of this machine and is answered with so many bytes, which are on their way.
fn call_from(world: &World, address: u8, requests: usize, body: usize) -> (Client, ExecutionId) {
    let mut client = world.connect_from([127, 0, 0, address]);
    let before = world.appends();
    client.write(post(&plain(3), "", "").repeat(requests).as_bytes());
    let execution = world.appended(before + 1).execution;
    world.waiters.answer(execution, responding(0, body));
    (client, execution)
}

/// Takes none of a large answer, with a second request behind the first, as whoever sends it could mean to wait for its answer.
fn take_nothing(world: &World) -> Client {
    let (client, _) = call_from(world, 1, 2, LARGE);
    until("the answer to begin", || !client.is_silent());
    client
}

#[test]
fn results_that_nobody_takes_hold_a_bounded_memory() {
    let world = Setup::options(|options| options.answer_timeout = Duration::from_hours(1)).start();
    let call = |requests, body| call_from(&world, 1, requests, body);
    let _taken_by_nobody = take_nothing(&world);
    let (mut refused, execution) = call(1, LARGE);
    let answer = refused.answer();
    assert_eq!(answer.refusal(), (503, "result_not_sent".to_owned()));
    assert_eq!(answer.execution(), execution);
    let (mut small, _) = call(1, 1_000);
    assert_eq!(small.answer().body.len(), 1_000);
    let (mut refused_too, _) = call(1, 2 << 20);
    assert_eq!(refused_too.answer().status, 503, "its address has half");
    let (mut other, _) = call_from(&world, 2, 1, 2 << 20);
    assert_eq!(other.answer().body.len(), 2 << 20);
}

#[test]
fn results_that_nobody_takes_hold_memory_for_a_bounded_time() {
    let world = Setup::options(|options| options.answer_timeout = Duration::from_secs(6)).start();
    let _taken_by_nobody = take_nothing(&world);
    until("the connection to be closed", || world.front.connections() == 0);
    let (mut patient, _) = call_from(&world, 1, 1, LARGE);
    assert_eq!(patient.answer().body.len(), LARGE);
}

#[test]
fn a_flow_sets_no_more_headers_than_an_answer_may_have() {
    let world = start();
    let mut client = world.connect();
    for (n, (headers, expected)) in [(100, 200), (101, 400), (40_000, 400)].into_iter().enumerate() {
        client.write(post(&plain(3), "", "").as_bytes());
        let execution = world.appended(n + 1).execution;
        world.waiters.answer(execution, responding(headers, 1));
        let answer = client.answer();
        assert_eq!(answer.status, expected, "{headers}");
        if expected == 400 {
            assert_eq!(answer.refusal().1, "result_too_large");
            assert_eq!(answer.execution(), execution);
        }
    }
}

#[test]
fn a_synchronous_caller_learns_that_the_flow_failed() {
    let world = start();
    for (n, (status, code, expected)) in [
        (EndStatus::Failed, Some(ErrorCode::StepFailed), (400, "step_failed")),
        (EndStatus::Failed, Some(ErrorCode::StepTimeout), (504, "step_timeout")),
        (EndStatus::Cancelled, None, (409, "cancelled")),
        (EndStatus::Quarantined, None, (500, "quarantined")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = world.connect();
        client.write(post(&plain(3), "", "").as_bytes());
        let accepted = world.appended(n + 1);
        world.waiters.answer(accepted.execution, ended(status, code, None));
        let answer = client.answer();
        let (status, code) = answer.refusal();
        assert_eq!((status, code.as_str()), expected);
        assert_eq!(answer.execution(), accepted.execution);
    }
}

#[test]
fn a_header_says_whether_the_caller_waits() {
    let world = start();
    assert_eq!(world.post(&plain(3), "prismatic-synchronous: false\r\n", "").status, 200);
    assert_eq!(world.appended(1).sync_deadline, None);
    let mut client = world.connect();
    client.write(post(&plain(1), "Prismatic-Synchronous: true\r\n", "").as_bytes());
    let accepted = world.appended(2);
    assert!(accepted.sync_deadline.is_some());
    world.waiters.answer(accepted.execution, ended(EndStatus::Succeeded, None, None));
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_synchronous_caller_is_let_go_after_the_time_out_while_the_execution_goes_on() {
    let world = Setup::options(|options| options.sync_timeout = Duration::from_millis(50)).start();
    let answer = world.post(&plain(3), "", "");
    assert_eq!(answer.refusal(), (504, "sync_timeout".to_owned()));
    assert_eq!(answer.execution(), world.appended(1).execution);
    assert!(world.waiters.is_empty());
    assert_eq!(world.admitted(), 1, "the execution has not ended");
}

#[test]
fn a_synchronous_caller_that_goes_away_takes_only_its_wait_along() {
    let world = start();
    let mut client = world.connect();
    client.write(post(&plain(3), "", "").as_bytes());
    world.appended(1);
    until("the wait to begin", || world.waiters.len() == 1);
    client.stream().shutdown(Shutdown::Both).unwrap();
    until("the wait to end", || world.waiters.is_empty());
    assert_eq!(world.admitted(), 1);
}

#[test]
fn synchronous_callers_beyond_the_limit_are_refused_before_anything_is_recorded() {
    let world = Setup::options(|options| options.sync_waiters = 1).start();
    let mut first = world.connect();
    first.write(post(&plain(3), "", "").as_bytes());
    world.appended(1);
    assert_eq!(world.post(&plain(3), "", "").refusal(), (429, "rate_limited".to_owned()));
    assert_eq!(world.appends(), 1);
}

#[test]
fn callers_of_one_user_leave_places_to_those_of_others() {
    let world = Setup::options(|options| options.sync_waiters = 8).start();
    let ask = |user, count| {
        let mut client = world.connect();
        client.write(post(&of_user(user, 3), "", "").as_bytes());
        world.appended(count);
        client
    };
    let refusal = (429, "rate_limited".to_owned());
    let janes = [ask(JANE, 1), ask(JANE, 2)];
    assert_eq!(world.post(&of_user(JANE, 3), "", "").refusal(), refusal);
    let bobs = [ask(BOB, 3), ask(BOB, 4)];
    assert_eq!(world.post(&plain(3), "", "").refusal(), refusal, "half are one customer's");
    assert_eq!(world.appends(), 4, "nothing of what was refused was recorded");
    drop(janes);
    until("their places to be free", || world.waiters.len() == 2);
    drop((ask(JANE, 5), bobs));
}

#[test]
fn a_client_that_goes_away_during_the_append_changes_nothing() {
    for (outcome, admitted) in [(Ok(()), 1), (Err(AppendError::Full), 0)] {
        let world = start();
        let release = world.hold();
        let mut client = world.connect();
        client.write(post(&plain(1), "", "{}").as_bytes());
        world.appended(1);
        assert_eq!(world.admitted(), 1);
        client.stream().shutdown(Shutdown::Both).unwrap();
        until("the connection to end", || world.front.connections() == 0);
        assert_eq!(world.admitted(), 1, "the outcome is not known yet");
        release.send_replace(Some(outcome));
        until("the room to be settled", || {
            world.admitted() == admitted && release.receiver_count() == 0
        });
    }
}

#[test]
fn an_append_that_fails_is_no_receipt_and_gives_its_room_back() {
    let world = start();
    for (error, expected) in [
        (AppendError::Full, (503, "storage_full")),
        (AppendError::TooLarge, (413, "payload_too_large")),
        (AppendError::Busy, (429, "rate_limited")),
        (AppendError::Poisoned, (503, "not_ready")),
        (AppendError::Fenced, (503, "not_ready")),
        (AppendError::Closed, (503, "not_ready")),
    ] {
        world.journal(Journal::Answers(Err(error)));
        let (status, code) = world.post(&plain(1), "", "").refusal();
        assert_eq!((status, code.as_str()), expected);
        assert_eq!(world.admitted(), 0);
    }
}

#[test]
fn what_is_admitted_is_bounded() {
    let mut setup = Setup::default();
    setup.admission.limits.user = 1;
    setup.admission.wait = Duration::from_millis(1);
    setup.admission.retry_after = Duration::from_millis(6_001);
    let world = setup.start();
    assert_eq!(world.post(&of_user(JANE, 1), "", "").status, 200);
    let refused = world.post(&of_user(JANE, 1), "", "");
    assert_eq!(refused.refusal(), (429, "rate_limited".to_owned()));
    assert_eq!(refused.headers["retry-after"], "7", "admission's own, in whole seconds");
    assert_eq!(
        world.post(&of_user(BOB, 1), "", "").status,
        200,
        "another user has room of their own"
    );
}

#[test]
fn large_bodies_are_checked_and_sealed_like_small_ones() {
    let world = start();
    let body = format!("[\"{}\"]", "x".repeat(1 << 20));
    let json = "content-type: application/json\r\n";
    assert_eq!(world.post(&plain(1), json, &body).status, 200);
    assert_eq!(request_of(&world.appended(1)).body.len(), body.len());
    assert_eq!(
        world.post(&plain(1), json, &body[1..]).refusal(),
        (400, "payload_malformed".to_owned())
    );
}

#[test]
fn a_snapshot_that_is_published_routes_the_next_request() {
    let world = start();
    let mut client = world.connect();
    client.write(post(&plain(1), "", "").as_bytes());
    assert_eq!(client.answer().status, 200);
    let off = InstanceRoute {
        state: perseat_domain::model::InstanceState::Disabled,
        ..instance(1, perseat_domain::definition::EndpointType::FlowSpecific, false)
    };
    world.change([RouteChange::Instance(Box::new(off))]);
    client.write(post(&plain(1), "", "").as_bytes());
    assert_eq!(client.answer().refusal().1, "instance_disabled");
}
