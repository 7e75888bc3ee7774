//! Steps as the execution actor performs them.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

mod code;
#[path = "../support/mod.rs"]
mod support;

use perseat_domain::code::ErrorCode;
use perseat_domain::definition::{ActionRef, ComplexItem, Input, Reference, Step, StepErrorPolicy};
use perseat_domain::entry::SyncResponse;
use perseat_domain::id::{CustomerId, ExecutionId, FlowNumber, InstanceId, UserConfigId, UserId};
use perseat_domain::identity::{BoundUser, Identity};
use perseat_flow::component::{
    IdempotencyKey, Limits, Performer, StepCall, StepError, StepReport, StepResult, webhook_answer, webhook_reply,
};
use perseat_flow::expression::{self, Connection, Results, Scope, Setting};
use perseat_flow::js::{self, JsPool};
use perseat_flow::outbound::{self, AnswerMemory, Governor, GovernorOptions, Meter, OutboundClient, Policy};
use perseat_flow::payload::FlowContext;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use support::Server;
use tokio::time::Instant;
use uuid::Uuid;

fn outbound(server: &Server) -> OutboundClient {
    let policy = Policy::new(vec![server.address().parse().unwrap()], Vec::new());
    OutboundClient::new(policy, outbound::Options::default()).unwrap()
}

async fn performer(server: &Server) -> Performer {
    performer_through(outbound(server)).await
}

async fn performer_through(outbound: OutboundClient) -> Performer {
    let options = js::Options {
        child_command: Some(vec![env!("CARGO_BIN_EXE_perseat-js-child").into()]),
        slots: 1,
        spares: 1,
        ..js::Options::default()
    };
    let pool = JsPool::start(outbound.clone(), options).await.unwrap();
    Performer::new(outbound, pool, Limits::default())
}

fn text(value: &str) -> Input {
    Input::Value(Some(value.into()))
}

fn pairs(list: &[(&str, &str)]) -> Input {
    let item = |(name, value): &(&str, &str)| ComplexItem::Input {
        name: Some(Box::new(text(name))),
        input: text(value),
    };
    Input::Complex(list.iter().map(item).collect())
}

fn step(component: &str, action: &str, inputs: Vec<(&str, Input)>) -> Step {
    Step {
        name: "Step".into(),
        reference: "step".into(),
        action: ActionRef {
            component: component.into(),
            action: action.into(),
        },
        inputs: inputs.into_iter().map(|(name, input)| (name.to_owned(), input)).collect(),
        on_error: StepErrorPolicy::Fail,
        branches: Vec::new(),
        body: Vec::new(),
    }
}

fn connection(kind: &str, value: Value) -> Setting {
    Setting::Connection(Arc::new(Connection {
        account: Vec::new(),
        variable: "stable".into(),
        kind: ActionRef {
            component: "http".into(),
            action: kind.into(),
        },
        version: 3,
        registration: None,
        chosen: None,
        obstacle: None,
        value: serde_json::from_value(value).unwrap(),
    }))
}

fn scope(settings: Vec<(&str, Setting)>) -> Scope {
    let settings = settings.into_iter().map(|(key, setting)| (key.to_owned(), setting));
    Scope::new(
        "onTrigger",
        Arc::new(Results::of_value(json!({ "body": { "data": { "n": 4 } } }))),
        settings.collect(),
        expression::Limits::default(),
    )
}

fn key() -> IdempotencyKey {
    IdempotencyKey {
        execution: ExecutionId(Uuid::from_u128(9)),
        path: "2.b0.1".into(),
    }
}

async fn perform(performer: &Performer, step: &Step, scope: &Scope) -> StepReport {
    perform_counted(performer, step, scope, &Meter::default()).await
}

async fn perform_counted(performer: &Performer, step: &Step, scope: &Scope, meter: &Meter) -> StepReport {
    let user = Some(BoundUser {
        user: UserId(Uuid::from_u128(3)),
        config: UserConfigId(Uuid::from_u128(4)),
    });
    let identity = Identity {
        customer: CustomerId(Uuid::from_u128(1)),
        instance: InstanceId(Uuid::from_u128(2)),
        flow: FlowNumber(1),
        user,
    };
    let call = StepCall {
        step,
        scope,
        identity: &identity,
        context: &Arc::new(FlowContext::default()),
        key: &key(),
        deadline: Instant::now() + Duration::from_secs(20),
        meter,
        debug: false,
    };
    performer.perform(call).await
}

fn data(report: StepReport) -> Value {
    match report.result.unwrap() {
        StepResult::Data(output) => {
            assert_eq!(
                serde_json::from_slice::<Value>(output.json()).unwrap(),
                output.value(),
                "the stored form is the value"
            );
            output.value()
        }
        other => panic!("{other:?}"),
    }
}

fn failure(report: StepReport) -> StepError {
    report.result.unwrap_err()
}

#[tokio::test]
async fn each_kind_of_connection_puts_its_credential_where_it_belongs() {
    let server = Server::start().await;
    let performer = performer(&server).await;
    for (setting, name, expected) in [
        (
            connection(
                "oauth2",
                json!({ "fields": { "clientSecret": "s" }, "token": { "access_token": "at" } }),
            ),
            "authorization",
            "Bearer at",
        ),
        (
            connection("basic", json!({ "fields": { "username": "u", "password": "p" } })),
            "authorization",
            "Basic dTpw",
        ),
        (
            connection("bearer", json!({ "fields": { "token": "bt" } })),
            "authorization",
            "Bearer bt",
        ),
        (
            connection("apiKey", json!({ "fields": { "apiKey": "ak" } })),
            "authorization",
            "Bearer ak",
        ),
        (
            connection("apiKey", json!({ "fields": { "apiKey": "ak", "headerName": "X-Api-Key" } })),
            "apiKey",
            "ak",
        ),
        (
            connection("apiKey", json!({ "fields": { "apiKey": "a k", "queryParam": "key" } })),
            "uri",
            "/echo?key=a+k",
        ),
    ] {
        let get = step(
            "http",
            "httpGet",
            vec![
                ("url", text(&server.url("/echo"))),
                ("connection", Input::ConfigVar("Account".into())),
            ],
        );
        let report = perform(&performer, &get, &scope(vec![("Account", setting)])).await;
        assert_eq!(report.credentials, vec![("stable".into(), 3)]);
        assert_eq!(data(report)[name], expected);
    }
    let empty = connection("oauth2", json!({ "fields": {} }));
    let get = step(
        "http",
        "httpGet",
        vec![
            ("url", text(&server.url("/echo"))),
            ("connection", Input::ConfigVar("Account".into())),
        ],
    );
    assert_eq!(
        failure(perform(&performer, &get, &scope(vec![("Account", empty)])).await).code,
        ErrorCode::ConnectionNotReady
    );

    let made = rcgen::generate_simple_self_signed(vec!["ann".to_owned()]).unwrap();
    let certified = json!({ "fields": { "certificate": made.cert.pem(), "privateKey": made.signing_key.serialize_pem() } });
    let unread = json!({ "fields": { "certificate": "none", "privateKey": "none" } });
    for (fields, why) in [(certified, "over https alone"), (unread, "`certificate` is no certificate in PEM")] {
        let setting = connection("mutualTls", fields);
        let failed = failure(perform(&performer, &get, &scope(vec![("Account", setting)])).await);
        assert_eq!(failed.code, ErrorCode::ConnectionNotReady);
        assert!(failed.message.contains(why), "{}", failed.message);
    }
}

#[tokio::test]
async fn a_request_carries_data_query_headers_and_the_steps_idempotency_key() {
    let server = Server::start().await;
    let performer = performer(&server).await;
    let inputs = |more: Vec<(&'static str, Input)>| {
        let mut all = vec![
            ("url", text(&server.url("/echo?a=1"))),
            ("queryParams", pairs(&[("b", "2 3")])),
            ("data", text("{\"x\":1}")),
        ];
        all.extend(more);
        all
    };
    let echo = data(perform(&performer, &step("http", "httpPost", inputs(vec![])), &scope(vec![])).await);
    assert_eq!(echo["method"], "POST");
    assert_eq!(echo["uri"], "/echo?a=1&b=2+3");
    assert_eq!(echo["body"], "{\"x\":1}");
    assert_eq!(echo["contentType"], "application/json");
    assert_eq!(echo["key"], format!("{}:2.b0.1:0", key().execution));
    let own = inputs(vec![("headers", pairs(&[("Idempotency-Key", "own"), ("Content-Type", "text/x")]))]);
    let echo = data(perform(&performer, &step("http", "httpPut", own), &scope(vec![])).await);
    assert_eq!(
        (&echo["method"], &echo["key"], &echo["contentType"]),
        (&"PUT".into(), &"own".into(), &"text/x".into())
    );
    for (action, method) in [
        ("httpGet", "GET"),
        ("httpPatch", "PATCH"),
        ("httpDelete", "DELETE"),
        ("httpOptions", "OPTIONS"),
    ] {
        let echo = data(perform(&performer, &step("http", action, inputs(vec![])), &scope(vec![])).await);
        assert_eq!(echo["method"], method);
    }
    let any = inputs(vec![("httpMethod", text("patch"))]);
    assert_eq!(
        data(perform(&performer, &step("http", "httpRequest", any), &scope(vec![])).await)["method"],
        "PATCH"
    );
}

#[tokio::test]
async fn what_a_step_gave_is_sent_on_as_it_came() {
    let server = Server::start().await;
    let performer = performer(&server).await;
    let given = r#"{"list":[1.50, {"a":"\u00e9"}],"text":"plain","json":"{\"x\":1}","nothing":null,"number":7e0}"#;
    let mut scope = scope(vec![]);
    scope.finish("before", Arc::new(Results::of_json(given.into())));
    for (path, body, content_type) in [
        ("list", r#"[1.50, {"a":"\u00e9"}]"#, "application/json"),
        ("text", "plain", "text/plain; charset=utf-8"),
        ("json", "{\"x\":1}", "application/json"),
        ("number", "7e0", "application/json"),
        ("nothing", "", ""),
        ("missing", "", ""),
    ] {
        let reference = Input::Reference(Reference {
            step: "before".into(),
            root: "results".into(),
            path: vec![path.into()],
        });
        let post = step("http", "httpPost", vec![("url", text(&server.url("/echo"))), ("data", reference)]);
        let echo = data(perform(&performer, &post, &scope).await);
        assert_eq!(
            (echo["body"].as_str(), echo["contentType"].as_str().unwrap_or_default()),
            (Some(body), content_type),
            "{path}"
        );
    }
}

#[tokio::test]
async fn form_data_is_sent_as_multipart() {
    let server = Server::start().await;
    let performer = performer(&server).await;
    // Whoever was called before knows the execution, and may have written a part of the form.
    let forged = format!(
        "x\r\n--perseat-{}\r\nContent-Disposition: form-data; name=\"role\"\r\n\r\nadmin",
        key().execution.0.simple()
    );
    let inputs = vec![
        ("url", text(&server.url("/echo"))),
        ("formData", pairs(&[("field", "v\"1"), ("forged", &forged)])),
        ("fileData", pairs(&[("file", "content")])),
        ("fileDataFileNames", pairs(&[("file", "a.txt")])),
    ];
    let echo = data(perform(&performer, &step("http", "httpPostFormData", inputs), &scope(vec![])).await);
    let content_type = echo["contentType"].as_str().unwrap();
    let parsed =
        perseat_flow::payload::parse_body(Some(content_type), echo["body"].as_str().unwrap().as_bytes(), Default::default()).unwrap();
    let file = json!({ "data": "content", "contentType": "text/plain; charset=utf-8", "filename": "a.txt", "encoding": "utf8" });
    assert_eq!(parsed, json!({ "field": "v\"1", "forged": forged, "file": file }));
}

#[tokio::test]
async fn an_error_status_fails_the_step_unless_the_full_answer_is_wanted() {
    let server = Server::start().await;
    let performer = performer(&server).await;
    let get = |more: Vec<(&'static str, Input)>| {
        let mut inputs = vec![("url", text(&server.url("/status/404?key=secret")))];
        inputs.extend(more);
        step("http", "httpGet", inputs)
    };
    let error = failure(perform(&performer, &get(vec![]), &scope(vec![])).await);
    assert_eq!((error.code, error.is_retryable), (ErrorCode::StepFailed, false));
    assert_eq!(error.message, format!("GET {} answered 404 Not Found", server.url("/status/404")));
    assert_eq!(error.detail, Some(Box::new(json!({ "status": 404, "data": { "status": 404 } }))));
    let full = data(perform(&performer, &get(vec![("includeFullResponse", text("true"))]), &scope(vec![])).await);
    assert_eq!(
        (&full["status"], &full["statusText"], &full["data"]["status"]),
        (&404.into(), &"Not Found".into(), &404.into())
    );
    assert_eq!(full["headers"]["x-test"], "yes");
}

#[tokio::test]
async fn a_head_request_gives_status_and_headers_and_no_body() {
    let server = Server::start().await;
    let performer = performer(&server).await;
    let head = |path: &str, full: &str| {
        step(
            "http",
            "httpHead",
            vec![("url", text(&server.url(path))), ("includeFullResponse", text(full))],
        )
    };
    let full = data(perform(&performer, &head("/echo", "true"), &scope(vec![])).await);
    assert_eq!((&full["status"], &full["headers"]["x-test"]), (&200.into(), &"yes".into()));
    assert_eq!(full["data"], Value::Null, "a body would say so");
    assert_eq!(
        data(perform(&performer, &head("/echo", "false"), &scope(vec![])).await),
        Value::Null
    );
    let error = failure(perform(&performer, &head("/status/404", "false"), &scope(vec![])).await);
    assert_eq!(error.message, format!("HEAD {} answered 404 Not Found", server.url("/status/404")));
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_with_the_same_key() {
    let server = Server::start().await;
    let performer = performer(&server).await;
    let flaky = |retries: &str| {
        let inputs = vec![
            ("url", text(&server.url("/flaky"))),
            ("maxRetries", text(retries)),
            ("retryDelayMS", text("1")),
        ];
        step("http", "httpPost", inputs)
    };
    let error = failure(perform(&performer, &flaky("0"), &scope(vec![])).await);
    assert!(error.is_retryable);
    let echo = data(perform(&performer, &flaky("3"), &scope(vec![])).await);
    assert_eq!(echo["key"], format!("{}:2.b0.1:0", key().execution));
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn response_types_decide_how_a_body_is_read() {
    let server = Server::start().await;
    let performer = performer(&server).await;
    for (kind, expected) in [
        ("json", json!("{\"a\":")),
        ("text", json!("{\"a\":")),
        (
            "arraybuffer",
            json!({ "data": "eyJhIjo=", "contentType": "application/json", "encoding": "base64" }),
        ),
    ] {
        let get = step(
            "http",
            "httpGet",
            vec![("url", text(&server.url("/broken"))), ("responseType", text(kind))],
        );
        assert_eq!(data(perform(&performer, &get, &scope(vec![])).await), expected, "{kind}");
    }
}

#[tokio::test]
async fn a_refused_address_and_bad_inputs_have_codes_of_their_own() {
    let server = Server::start().await;
    let performer = performer(&server).await;
    for (inputs, code) in [
        (vec![("url", text("http://127.0.0.1:9/"))], ErrorCode::OutboundRefused),
        (vec![("url", text("no address"))], ErrorCode::StepFailed),
        (
            vec![("url", text(&server.url("/echo"))), ("timeout", text("soon"))],
            ErrorCode::StepFailed,
        ),
        (
            vec![("url", text(&server.url("/silent"))), ("timeout", text("30"))],
            ErrorCode::StepTimeout,
        ),
        (vec![("url", Input::ConfigVar("Nowhere".into()))], ErrorCode::ExpressionInvalid),
        (vec![], ErrorCode::StepFailed),
    ] {
        let get = step("http", "httpGet", inputs);
        assert_eq!(
            failure(perform(&performer, &get, &scope(vec![])).await).code,
            code,
            "{:?}",
            get.inputs
        );
    }
}

#[tokio::test]
async fn an_answer_is_heard_though_there_is_no_room_for_its_body() {
    let server = Server::start().await;
    let no_room = || outbound(&server).sharing(AnswerMemory::new(0));
    let settings = || scope(vec![("Account", connection("bearer", json!({ "fields": { "token": "bt" } })))]);
    let get = |path| {
        let inputs = vec![("url", text(&server.url(path))), ("connection", Input::ConfigVar("Account".into()))];
        step("http", "httpGet", inputs)
    };
    let script = format!("module.exports = async () => {{ await fetch('{}') }}", server.url("/later"));
    let code = step("code", "runCode", vec![("code", text(&script))]);
    for (asks, first) in [(get("/later"), ErrorCode::StepFailed), (code, ErrorCode::ScriptFailed)] {
        let governor = Governor::new(GovernorOptions::default(), &[], None).unwrap();
        let performer = performer_through(no_room().governed(governor)).await;
        let failed = failure(perform(&performer, &asks, &settings()).await);
        assert_eq!((failed.code, failed.is_retryable), (first, true), "{}", failed.message);
        let held = failure(perform(&performer, &asks, &settings()).await);
        assert_eq!(held.code, ErrorCode::OutboundRateLimited, "{}", held.message);
    }
    assert_eq!(server.requests(), 2);

    let performer = performer_through(no_room()).await;
    let report = perform(&performer, &get("/status/401"), &settings()).await;
    assert_eq!(report.refused, Some(("stable".into(), 3)));
    assert!(failure(report).message.contains("`outbound.answer-memory`"));
}

#[tokio::test]
async fn whoever_did_not_get_the_credential_does_not_refuse_it() {
    let (first, second) = (Server::start().await, Server::start().await);
    let rules = [&first, &second].map(|server| server.address().parse().unwrap());
    let client = || OutboundClient::new(Policy::new(rules.to_vec(), Vec::new()), outbound::Options::default()).unwrap();
    let settings = scope(vec![("Account", connection("bearer", json!({ "fields": { "token": "bt" } })))]);
    for (room, said) in [(1 << 20, "answered 401"), (0, "`outbound.answer-memory`")] {
        let performer = performer_through(client().sharing(AnswerMemory::new(room))).await;
        for (to, refused) in [
            (first.url("/status/401"), Some(("stable".into(), 3))),
            (second.url("/status/401"), None),
        ] {
            let url = text(&first.url(&format!("/redirect?307={to}")));
            let get = step(
                "http",
                "httpGet",
                vec![("url", url), ("connection", Input::ConfigVar("Account".into()))],
            );
            let report = perform(&performer, &get, &settings).await;
            assert_eq!(report.refused, refused, "{to} {said}");
            let message = failure(report).message;
            assert!(message.contains(said), "{message}");
        }
    }
}

#[tokio::test]
async fn a_result_over_the_limit_fails_the_step() {
    let server = Server::start().await;
    let policy = Policy::new(vec![server.address().parse().unwrap()], Vec::new());
    let outbound = OutboundClient::new(policy, outbound::Options::default()).unwrap();
    let options = js::Options {
        child_command: Some(vec![env!("CARGO_BIN_EXE_perseat-js-child").into()]),
        slots: 1,
        spares: 1,
        ..js::Options::default()
    };
    let pool = JsPool::start(outbound.clone(), options).await.unwrap();
    let performer = Performer::new(
        outbound,
        pool,
        Limits {
            max_result: 1000,
            ..Limits::default()
        },
    );
    let get = step("http", "httpGet", vec![("url", text(&server.url("/big")))]);
    assert_eq!(
        failure(perform(&performer, &get, &scope(vec![])).await).code,
        ErrorCode::ResultTooLarge
    );
    let long = "v".repeat(1_000);
    let stop = step("stop-execution", "stopExecution", vec![("headers", pairs(&[("x-long", &long)]))]);
    assert_eq!(
        failure(perform(&performer, &stop, &scope(vec![])).await).code,
        ErrorCode::ResultTooLarge
    );
}

#[tokio::test]
async fn log_and_stop_steps_do_what_they_say() {
    let server = Server::start().await;
    let performer = performer(&server).await;
    let log = step("log", "writeLog", vec![("level", text("WARN")), ("message", text("hello"))]);
    let report = perform(&performer, &log, &scope(vec![])).await;
    assert_eq!((report.logs[0].level, report.logs[0].message.as_str()), ("warn", "hello"));
    let inputs = vec![
        ("statusCode", text("201")),
        ("jsonBody", text("{\"a\":1}")),
        ("headers", pairs(&[("X-A", "1")])),
    ];
    let report = perform(&performer, &step("stop-execution", "stopExecution", inputs), &scope(vec![])).await;
    let Ok(StepResult::Stop(reply)) = report.result else { panic!() };
    assert_eq!(
        (reply.status, reply.content_type.as_str(), &reply.body[..]),
        (201, "application/json", &b"{\"a\":1}"[..])
    );
    assert_eq!(reply.headers, vec![("x-a".to_owned(), "1".to_owned())]);
    for bad in [
        vec![("statusCode", text("99"))],
        vec![("headers", pairs(&[("Content-Length", "1")]))],
        vec![("headers", pairs(&[("a b", "1")]))],
    ] {
        let step = step("stop-execution", "stopExecution", bad);
        assert_eq!(
            failure(perform(&performer, &step, &scope(vec![])).await).code,
            ErrorCode::StepFailed
        );
    }
}

#[tokio::test]
async fn headers_without_end_fail_the_step() {
    let server = Server::start().await;
    let performer = performer(&server).await;
    let names: Vec<String> = (0..40_000).map(|n| format!("x-{n}")).collect();
    let list: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    let inputs = |list: &[(&str, &str)]| vec![("url", text(&server.url("/echo"))), ("headers", pairs(list))];
    let get = |list: &[(&str, &str)]| step("http", "httpGet", inputs(list));
    let error = failure(perform(&performer, &get(&list), &scope(vec![])).await);
    assert_eq!(error.code, ErrorCode::StepFailed);
    assert!(error.message.contains("outbound.max-headers"), "{}", error.message);
    data(perform(&performer, &get(&list[..50]), &scope(vec![])).await);
}

#[test]
fn a_webhook_replies_only_what_its_inputs_define() {
    let trigger = |inputs| step("webhook-triggers", "webhook", inputs);
    assert_eq!(webhook_reply(&trigger(vec![("body", text(""))]), &scope(vec![])).unwrap(), None);
    let reply = webhook_reply(
        &trigger(vec![("statusCode", text("202")), ("contentType", text("text/plain"))]),
        &scope(vec![]),
    )
    .unwrap()
    .unwrap();
    assert_eq!(
        (reply.status, reply.content_type.as_deref(), reply.body),
        (Some(202), Some("text/plain"), None)
    );
    let results = SyncResponse {
        status: 200,
        content_type: "application/json".into(),
        headers: Vec::new(),
        body: "1".into(),
    };
    let status = |code: &str| trigger(vec![("statusCode", text(code))]);
    let answer = |code: &str, most| webhook_answer(&status(code), &scope(vec![]), results.clone(), most);
    let made = answer("202", results.bytes()).unwrap();
    assert_eq!(
        (made.status, made.content_type.as_str(), &made.body[..]),
        (202, "application/json", &b"1"[..])
    );
    let failed = |code: &str, most| answer(code, most).unwrap_err().code;
    assert_eq!(failed("soon", 1_000), ErrorCode::ExpressionInvalid);
    assert_eq!(failed("202", results.bytes() - 1), ErrorCode::ResultTooLarge);
}
