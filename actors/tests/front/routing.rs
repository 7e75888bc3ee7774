//! Every refusal of routing as a client sees it: status, code, and what else the answer says.

use crate::harness::*;
use perseat_actors::kit::VirtualClock;
use perseat_domain::id::{EndpointId, FlowNumber, InstanceId};
use perseat_domain::route::{RouteChange, UserConfigState};
use perseat_domain::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn now() -> Timestamp {
    Timestamp(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64,
    )
}

#[test]
fn every_refusal_has_its_status_and_code() {
    let world = start();
    let removed = UserConfigState::Removed(now());
    world.change([
        RouteChange::UserConfig(config(2, BOB, removed)),
        RouteChange::UserConfig(config(3, BOB, UserConfigState::Incomplete)),
    ]);
    let of = |n| url(EndpointId::InstanceFlow(InstanceId(uuid(n)), FlowNumber(1)));
    let named = |flow: &str, customer: &str, user: &str| {
        format!("perseat-flow-name: {flow}\r\nperseat-customer-external-id: {customer}\r\nperseat-user-external-id: {user}\r\n")
    };
    let twice = named("import", "acme", "jane") + "Perseat-User-External-Id: jane\r\n";
    for (path, headers, body, expected) in [
        ("/trigger/nothing".to_owned(), String::new(), "", (404, "endpoint_not_found")),
        ("/elsewhere".to_owned(), String::new(), "", (404, "endpoint_not_found")),
        (plain(1) + "/%00", String::new(), "", (400, "request_malformed")),
        (of(99), String::new(), "", (404, "endpoint_not_found")),
        (of(2), String::new(), "", (404, "user_not_identified")),
        (of(5), String::new(), "", (503, "instance_disabled")),
        (of(6), String::new(), "", (409, "instance_not_deployed")),
        (of_user(BOB, 1), String::new(), "", (410, "user_config_removed")),
        (plain(2), String::new(), "", (401, "api_key_invalid")),
        (plain(2), "api-key: wrong\r\n".to_owned(), "", (401, "api_key_invalid")),
        (
            plain(2),
            "api-key: right\r\napi-key: right\r\n".to_owned(),
            "",
            (401, "api_key_invalid"),
        ),
        (instance_url(3), named("guarded", "", "nobody"), "", (401, "api_key_invalid")),
        (instance_url(3), named("import", "", "bob"), "", (409, "user_config_incomplete")),
        (instance_url(3), named("import", "", "dora"), "", (409, "user_not_configured")),
        (instance_url(3), named("import", "", "nobody"), "", (404, "user_not_found")),
        (instance_url(3), named("nothing", "", "jane"), "", (401, "api_key_invalid")),
        (
            instance_url(3),
            named("nothing", "", "jane") + "api-key: right\r\n",
            "",
            (404, "flow_not_found"),
        ),
        (shared_url(), named("import", "nobody", "jane"), "", (404, "customer_not_found")),
        (shared_url(), named("import", "acme", ""), "", (400, "routing_value_missing")),
        (shared_url(), twice, "", (400, "routing_header_duplicate")),
        (
            shared_url(),
            named("import", "acme", "olga"),
            "",
            (403, "organization_user_not_allowed"),
        ),
        (
            plain(1),
            "content-type: application/json\r\n".to_owned(),
            "{\"a\":",
            (400, "payload_malformed"),
        ),
        (
            plain(1),
            "content-type: application/vnd.x+json\r\n".to_owned(),
            "[1,]",
            (400, "payload_malformed"),
        ),
    ] {
        let (status, code) = world.post(&path, &headers, body).refusal();
        assert_eq!((status, code.as_str()), expected, "{path} {headers} {body}");
    }
    world.change([RouteChange::UlcEnabled(false)]);
    let (status, code) = world.post(&of_user(JANE, 1), "", "").refusal();
    assert_eq!((status, code.as_str()), (403, "ulc_not_enabled"));
}

#[test]
fn an_organization_user_is_recorded_and_refused_with_the_execution() {
    let world = start();
    let headers = "perseat-flow-name: synchronous\r\nperseat-customer-external-id: acme\r\nperseat-user-external-id: olga\r\n";
    let answer = world.post(&shared_url(), headers, "hello");
    assert_eq!(answer.refusal(), (403, "organization_user_not_allowed".to_owned()));
    let accepted = world.appended(1);
    assert_eq!(answer.execution(), accepted.execution);
    assert_eq!(accepted.refusal.unwrap().as_str(), "organization_user_not_allowed");
    assert_eq!(accepted.identity.unwrap().user, None);
    assert_eq!(world.last_owner(), Some(perseat_store::keyring::Owner::Customer(ACME)));
}

#[test]
fn a_disabled_instance_says_when_to_try_again_and_a_wrong_method_what_is_allowed() {
    let world = start();
    let off = world.post(&url(EndpointId::InstanceFlow(InstanceId(uuid(5)), FlowNumber(1))), "", "");
    assert_eq!(off.headers["retry-after"], "60");
    let wrong = world.send(&format!("OPTIONS {} HTTP/1.1\r\nhost: test\r\n\r\n", plain(1)));
    assert_eq!(wrong.refusal(), (405, "method_not_allowed".to_owned()));
    assert_eq!(wrong.headers["allow"], "GET, POST, PUT, PATCH, DELETE");
}

#[test]
fn bobs_header_on_janes_url_runs_as_jane() {
    let world = start();
    let answer = world.post(
        &of_user(JANE, 1),
        "perseat-user-external-id: bob\r\nperseat-user-external-id: bob\r\n",
        "{}",
    );
    assert_eq!(answer.status, 200);
    assert_eq!(world.appended(1).identity.unwrap().user.unwrap().user, JANE);
    assert_eq!(world.last_owner(), Some(perseat_store::keyring::Owner::User(JANE)));
}

#[test]
fn values_in_the_body_route_from_json_forms_and_text() {
    use perseat_domain::definition::{EndpointType, RoutingFields, RoutingPath};
    let world = start();
    let body = |path: &[&str]| Some(RoutingPath::Body(path.iter().map(|segment| (*segment).to_owned()).collect()));
    let mut instance = instance(3, EndpointType::InstanceSpecific, true);
    instance.routing = RoutingFields {
        flow_name: body(&["event", "flow"]),
        customer: None,
        user: body(&["event", "by", "0"]),
    };
    world.change([RouteChange::Instance(Box::new(instance))]);
    let json = "content-type: application/json; charset=utf-8\r\n";
    let by_body = world.post(&instance_url(3), json, r#"{"event": {"flow": "import", "by": ["bob"]}}"#);
    assert_eq!(by_body.status, 200);
    assert_eq!(world.appended(1).identity.unwrap().user.unwrap().user, BOB);
    let large = format!(
        r#"{{"pad": "{}", "event": {{"flow": "import", "by": ["jane"]}}}}"#,
        "x".repeat(200 << 10)
    );
    assert_eq!(world.post(&instance_url(3), json, &large).status, 200);
    assert_eq!(world.appended(2).identity.unwrap().user.unwrap().user, JANE);
    for body in ["", "{\"event\": {\"flow\": true, \"by\": [\"bob\"]}}"] {
        let with_key = world.post(&instance_url(3), &format!("{json}api-key: right\r\n"), body);
        assert_eq!(with_key.refusal(), (400, "routing_value_missing".to_owned()));
    }
    let malformed = world.post(&instance_url(3), json, r#"{"event": {"flow": "import", "by": ["bob"]}"#);
    assert_eq!(malformed.refusal(), (400, "payload_malformed".to_owned()));
}

#[test]
fn who_was_deleted_a_moment_ago_is_answered_as_one_whose_url_is_gone() {
    let world = start();
    world.stub.is_keyless.store(true, Ordering::Relaxed);
    let refusal = |path: &str| world.post(path, "", "").refusal();
    assert_eq!(refusal(&of_user(BOB, 1)), (410, "user_config_removed".to_owned()));
    assert_eq!(refusal(&plain(1)), (404, "endpoint_not_found".to_owned()));
    assert_eq!(world.appends(), 0);
}

#[test]
fn the_url_of_a_removed_configuration_says_so_for_ninety_days() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let removed_at = Timestamp(1_750_000_000_000);
    let clock = VirtualClock::at(removed_at);
    let setup = Setup {
        clock: Arc::new(clock.clone()),
        ..Setup::default()
    };
    let world = setup.start();
    world.change([RouteChange::UserConfig(config(2, BOB, UserConfigState::Removed(removed_at)))]);
    for (days, expected) in [
        (0, (410, "user_config_removed")),
        (89, (410, "user_config_removed")),
        (1, (404, "endpoint_not_found")),
    ] {
        clock.advance(DAY * days);
        let (status, code) = world.post(&of_user(BOB, 1), "", "").refusal();
        assert_eq!((status, code.as_str()), expected, "{days} days later");
    }
    assert_eq!(world.post(&of_user(JANE, 1), "", "").status, 200);
    assert_eq!(world.appends(), 1);
}
