//! Where a request goes, row by row: every answer that the front gives before, or instead of, running a flow.

use crate::daemon::{Daemon, Endpoints};
use crate::http::{Request, request};
use crate::world::{CUSTOMER, FLOW, USER, World, assert_refused, assert_runs, post, start};
use perseat_domain::id::{EndpointId, FlowNumber, UserConfigId, endpoint_base};
use serde_json::{Value, json};

#[test]
fn every_endpoint_type_runs_the_named_flow_under_the_named_user() {
    let (daemon, urls) = start(&World::default());
    let of = |integration: &str| urls.path(integration, "", "", "");
    let globex = |integration: &str| urls.path(integration, "globex", "", "");
    let plain = urls.path("Audit", "globex", "", "Second");
    assert_runs("flow-specific without ULC", &daemon, &post(&plain), "globex", None, "Second");
    for (customer, name) in [("globex", "jane"), ("globex", "bob"), ("initech", "jane")] {
        let url = urls.path("Files", customer, name, "Echo");
        assert_runs("flow-specific with ULC", &daemon, &post(&url), customer, Some(name), "Echo");
    }
    let by_flow = post(&globex("Board")).header(FLOW, "Echo");
    assert_runs("instance-specific without ULC", &daemon, &by_flow, "globex", None, "Echo");
    for name in ["jane", "bob"] {
        let by_user = post(&globex("Calendar")).headers(&[(FLOW, "Second"), (USER, name)]);
        assert_runs("instance-specific with ULC", &daemon, &by_user, "globex", Some(name), "Second");
    }
    let by_customer = post(&of("News")).headers(&[(FLOW, "Echo"), (CUSTOMER, "globex")]);
    assert_runs("shared without ULC", &daemon, &by_customer, "globex", None, "Echo");
    for customer in ["globex", "initech"] {
        let all = post(&of("Chat")).headers(&[("Perseat-Flow-NAME", "Second"), (CUSTOMER, customer), (USER, "jane")]);
        assert_runs(
            "shared with ULC, header names in any case",
            &daemon,
            &all,
            customer,
            Some("jane"),
            "Second",
        );
    }
    let body = json!({ "flow": "Echo", "account": { "id": "globex" }, "person": "bob" });
    assert_runs(
        "shared, fields in a JSON body",
        &daemon,
        &post(&of("Forms")).json(&body),
        "globex",
        Some("bob"),
        "Echo",
    );
    let query = of("Links") + "?flow=Second&account=globex&person=jane";
    assert_runs(
        "shared, fields in the query",
        &daemon,
        &post(&query),
        "globex",
        Some("jane"),
        "Second",
    );
    let single = post(&of("Solo")).headers(&[(CUSTOMER, "globex"), (USER, "jane")]);
    assert_runs("a single flow need not be named", &daemon, &single, "globex", Some("jane"), "Echo");
}

#[test]
fn every_method_of_the_trigger_interface_runs_the_flow_and_others_are_refused() {
    let (daemon, urls) = start(&World::default());
    let url = urls.path("Files", "globex", "jane", "Echo");
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
        assert_runs(method, &daemon, &request(method, &url), "globex", Some("jane"), "Echo");
    }
    let refused = daemon.call(&request("OPTIONS", &url));
    assert_refused("OPTIONS", &refused, 405, "method_not_allowed");
    assert_eq!(refused.header("allow"), Some("GET, POST, PUT, PATCH, DELETE"));
}

#[test]
fn what_the_url_fixes_the_request_cannot_change() {
    let (daemon, urls) = start(&World::default());
    let elsewhere = |path: &str| post(path).headers(&[(FLOW, "Second"), (CUSTOMER, "initech"), (USER, "bob")]);
    let janes = urls.path("Files", "globex", "jane", "Echo");
    assert_runs(
        "Bob's header on Jane's URL",
        &daemon,
        &elsewhere(&janes),
        "globex",
        Some("jane"),
        "Echo",
    );
    let body = json!({ "flow": "Second", "account": { "id": "initech" }, "person": "bob" });
    assert_runs(
        "Bob's body on Jane's URL",
        &daemon,
        &post(&janes).json(&body),
        "globex",
        Some("jane"),
        "Echo",
    );
    let plain = urls.path("Audit", "globex", "", "Echo");
    assert_runs("a user on a URL without users", &daemon, &elsewhere(&plain), "globex", None, "Echo");
    let calendar = urls.path("Calendar", "globex", "", "");
    assert_runs(
        "another customer on an instance's URL",
        &daemon,
        &elsewhere(&calendar),
        "globex",
        Some("bob"),
        "Second",
    );
    let forms = post(&urls.path("Forms", "", "", "")).json(&json!({ "flow": "Echo", "account": { "id": "globex" }, "person": "jane" }));
    let both = forms.headers(&[(FLOW, "Second"), (CUSTOMER, "initech"), (USER, "bob")]);
    assert_runs("a header beside a named field", &daemon, &both, "globex", Some("jane"), "Echo");
}

#[test]
fn what_goes_nowhere_is_refused_with_its_own_code() {
    let (daemon, urls) = start(&World::default());
    let chat = urls.path("Chat", "", "", "");
    let on_chat = |flow: &str, customer: &str, user: &str| post(&chat).headers(&[(FLOW, flow), (CUSTOMER, customer), (USER, user)]);
    let unknown = EndpointId::UserFlow(UserConfigId(endpoint_base(77)), FlowNumber(1));
    let unknown_id = format!("/trigger/{}", unknown.global());
    let ulc_without_user = instance_flow_url(&daemon, &urls);
    let rows: Vec<(&str, Request, u16, &str)> = vec![
        ("unknown id", post(&unknown_id), 404, "endpoint_not_found"),
        ("no id at all", post("/trigger/nothing"), 404, "endpoint_not_found"),
        ("no trigger URL", post("/elsewhere"), 404, "endpoint_not_found"),
        (
            "flow-specific ULC flow without a user",
            post(&ulc_without_user),
            404,
            "user_not_identified",
        ),
        ("unknown flow", on_chat("Nowhere", "globex", "jane"), 404, "flow_not_found"),
        ("unknown customer", on_chat("Echo", "nobody", "jane"), 404, "customer_not_found"),
        (
            "customer without an instance",
            on_chat("Echo", "empty", "jane"),
            404,
            "instance_not_found",
        ),
        ("unknown user", on_chat("Echo", "globex", "nobody"), 404, "user_not_found"),
        ("another customer's user", on_chat("Echo", "initech", "bob"), 404, "user_not_found"),
        (
            "user without configuration",
            on_chat("Echo", "globex", "dora"),
            409,
            "user_not_configured",
        ),
        ("never deployed", on_chat("Echo", "new", "jane"), 409, "instance_not_deployed"),
        (
            "no user named",
            post(&chat).headers(&[(FLOW, "Echo"), (CUSTOMER, "globex")]),
            400,
            "routing_value_missing",
        ),
        (
            "no flow named",
            post(&chat).headers(&[(CUSTOMER, "globex"), (USER, "jane")]),
            400,
            "routing_value_missing",
        ),
        (
            "a routing header twice",
            on_chat("Echo", "globex", "jane").header(USER, "bob"),
            400,
            "routing_header_duplicate",
        ),
    ];
    for (row, request, status, code) in rows {
        assert_refused(row, &daemon.call(&request), status, code);
    }
    let disabled = daemon.call(&on_chat("Echo", "off", "jane"));
    assert_refused("switched off", &disabled, 503, "instance_disabled");
    assert_eq!(disabled.header("retry-after"), Some("60"), "switched off");
}

/// The URL that flow 1 of Jane's instance would have without users.
fn instance_flow_url(daemon: &Daemon, urls: &Endpoints) -> String {
    let answer = daemon.call(&post(&urls.path("Files", "globex", "jane", "Echo")));
    let id = answer.json()["flow"]["id"].as_str().unwrap().to_owned();
    format!("/trigger/{id}")
}

#[test]
fn endpoint_security_is_checked_before_anything_is_said_about_customers_and_users() {
    let (daemon, urls) = start(&World::default());
    let vault = urls.path("Vault", "", "", "");
    let call = |flow: &str, customer: &str, user: &str, key: &str| {
        let request = post(&vault).headers(&[(FLOW, flow), (CUSTOMER, customer), (USER, user)]);
        let request = if key.is_empty() { request } else { request.header("Api-Key", key) };
        let answer = daemon.call(&request);
        (answer.status, if answer.status == 200 { String::new() } else { answer.code() })
    };
    let refused = (401, "api_key_invalid".to_owned());
    for (flow, key, passes) in [
        ("Open", "", true),
        ("Open", "anything", true),
        ("Optional", "", false),
        ("Optional", "key-r", false),
        ("Optional", "key-o", true),
        ("Required", "", false),
        ("Required", "key-o", false),
        ("Required", "key-r", true),
        ("Ours", "", false),
        ("Ours", "key-r", false),
        ("Ours", "key-ours", true),
        ("Partners", "", false),
        ("Partners", "key-ours", false),
        ("Partners", "key-partners", true),
    ] {
        let expected = if passes { (200, String::new()) } else { refused.clone() };
        assert_eq!(call(flow, "globex", "jane", key), expected, "{flow} with {key:?}");
    }
    for flow in ["Required", "Ours"] {
        for (customer, user) in [
            ("globex", "jane"),
            ("globex", "nobody"),
            ("globex", "dora"),
            ("nobody", "jane"),
            ("globex", "olga"),
        ] {
            assert_eq!(
                call(flow, customer, user, "wrong"),
                refused,
                "a wrong key on {flow} for {customer}/{user}"
            );
            assert_eq!(call(flow, customer, user, ""), refused, "no key on {flow} for {customer}/{user}");
        }
    }
    // The flow is not known: any key of the endpoint passes, no other does.
    assert_eq!(call("Nowhere", "globex", "jane", "wrong"), refused, "unknown flow, wrong key");
    assert_eq!(call("Nowhere", "globex", "jane", ""), refused, "unknown flow, no key");
    assert_eq!(
        call("Nowhere", "globex", "jane", "key-r"),
        (404, "flow_not_found".into()),
        "unknown flow, some flow's key"
    );
    assert_eq!(
        call("Ours", "nobody", "jane", "key-ours"),
        (404, "customer_not_found".into()),
        "the right key may learn"
    );
    assert_eq!(
        call("Required", "globex", "nobody", "key-r"),
        (404, "user_not_found".into()),
        "the right key may learn"
    );
    let keyed = urls.path("Files", "globex", "jane", "Keyed");
    assert_refused("flow-specific without key", &daemon.call(&post(&keyed)), 401, "api_key_invalid");
    let answer = assert_runs(
        "flow-specific with key",
        &daemon,
        &post(&keyed).headers(&[
            ("api-key", "key-of-globex"),
            ("authorization", "Basic c2VjcmV0"),
            ("cookie", "session=secret"),
        ]),
        "globex",
        Some("jane"),
        "Keyed",
    );
    for credential in ["api-key", "authorization", "cookie"] {
        assert_eq!(answer.json()["headers"].get(credential), None, "{credential} reached the flow");
    }
}

#[test]
fn an_organization_user_is_recorded_and_refused_unless_a_customer_user_has_the_id() {
    let (daemon, urls) = start(&World::default());
    for (row, path) in [
        ("shared", urls.path("Chat", "", "", "")),
        ("instance-specific", urls.path("Calendar", "globex", "", "")),
    ] {
        let named = |user: &str| post(&path).headers(&[(FLOW, "Echo"), (CUSTOMER, "globex"), (USER, user)]);
        let refused = daemon.call(&named("olga"));
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (403, "organization_user_not_allowed"),
            "{row}"
        );
        let id = refused.execution();
        assert_eq!(refused.json()["executionId"], Value::from(id.as_str()), "{row}");
        let ended = daemon.ended(&id);
        assert_eq!(
            (&ended["status"], &ended["code"]),
            (&json!("failed"), &json!("organization_user_not_allowed")),
            "{row}"
        );
        assert_eq!(ended["user"], Value::Null, "{row}: no user is bound");
        assert_eq!(ended["steps"], json!([]), "{row}: nothing ran");
        assert_runs(row, &daemon, &named("twin"), "globex", Some("twin"), "Echo");
    }
}
