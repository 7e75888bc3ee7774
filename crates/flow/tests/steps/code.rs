//! Code steps.

use super::*;
use perseat_domain::rate::Rate;
use tokio::net::TcpListener;

#[tokio::test]
async fn a_first_request_that_has_to_wait_is_sent_though_its_script_does_not_wait_for_it() {
    let server = Server::start().await;
    let fetch = format!("fetch('{}', {{ method: 'POST' }})", server.url("/echo"));
    let at_once = format!("module.exports = async () => {{ {fetch}; return {{ data: 'ended' }} }}");
    let after_a_timer = at_once.replace(&fetch, &format!("await new Promise((resolve) => setTimeout(resolve, 1)); {fetch}"));
    let before_a_timer = at_once.replace(
        &fetch,
        &format!("{fetch}; await new Promise((resolve) => setTimeout(resolve, 300))"),
    );
    let caught = at_once.replace(&fetch, &format!("try {{ await {fetch} }} catch {{ return {{ data: 'told' }} }}"));
    let caught_both = caught.replace(&fetch, &format!("Promise.all([{fetch}, {fetch}])"));
    let get = step("http", "httpGet", vec![("url", text(&server.url("/echo")))]);
    let (soon, late) = (Duration::from_secs(2), Duration::from_hours(1));
    for (script, per, expected, calls) in [
        (&at_once, soon, Ok("ended"), 1),
        (&after_a_timer, soon, Ok("ended"), 1),
        (&before_a_timer, soon, Ok("ended"), 1),
        (&at_once, late, Err(ErrorCode::OutboundRateLimited), 0),
        (&after_a_timer, late, Err(ErrorCode::OutboundRateLimited), 0),
        (&before_a_timer, late, Err(ErrorCode::OutboundRateLimited), 0),
        (&caught, late, Ok("told"), 0),
        (&caught_both, late, Ok("told"), 0),
    ] {
        let rated = GovernorOptions {
            hosts: vec![(server.address(), Rate { count: 1, per })],
            ..GovernorOptions::default()
        };
        let governor = Governor::new(rated, &[], None).unwrap();
        let performer = performer_through(outbound(&server).governed(governor)).await;
        data(perform(&performer, &get, &scope(vec![])).await);
        let (code, meter) = (step("code", "runCode", vec![("code", text(script))]), Meter::default());
        let ended = perform_counted(&performer, &code, &scope(vec![]), &meter).await.result;
        let sent: u64 = meter.take().iter().map(|(_, amount)| amount.calls).sum();
        let expected = expected.map(|data| StepResult::Data(Arc::new(Results::of_value(json!(data)))));
        assert_eq!((ended.map_err(|error| error.code), sent), (expected, calls), "{script}");
    }
}

#[tokio::test]
async fn a_code_step_sees_connections_without_their_refresh_tokens() {
    let server = Server::start().await;
    let performer = performer(&server).await;
    let token = json!({ "access_token": "at", "refresh_token": "rt", "authed_user": { "refresh_token": "rt2", "id": 1 } });
    let settings = vec![
        (
            "Account",
            connection("oauth2", json!({ "fields": { "clientId": "c" }, "token": token })),
        ),
        ("Folder", Setting::Plain(json!("/in"))),
    ];
    let code = step(
        "code",
        "runCode",
        vec![(
            "code",
            text(
                "module.exports = async ({ configVars }, { onTrigger }) => { console.log('seen'); return { data: [configVars, onTrigger.results.body.data.n] } }",
            ),
        )],
    );
    let report = perform(&performer, &code, &scope(settings)).await;
    assert_eq!(report.logs.len(), 1);
    assert_eq!(report.credentials, vec![("stable".into(), 3)]);
    let account = json!({ "key": "oauth2", "configVarKey": "Account", "fields": { "clientId": "c" }, "token": { "access_token": "at", "authed_user": { "id": 1 } } });
    assert_eq!(data(report), json!([{ "Account": account, "Folder": "/in" }, 4]));
}

#[tokio::test]
async fn a_code_step_that_throws_or_nests_too_deep_fails() {
    let server = Server::start().await;
    let performer = performer(&server).await;
    for (script, said) in [
        ("module.exports = () => { throw new Error('no') }", "Error: no"),
        (
            "module.exports = () => { let d = 1; for (let i = 0; i < 200; i++) d = [d]; return { data: d } }",
            "100 levels",
        ),
    ] {
        let error = failure(perform(&performer, &step("code", "runCode", vec![("code", text(script))]), &scope(vec![])).await);
        assert_eq!((error.code, error.is_retryable), (ErrorCode::ScriptFailed, false));
        assert!(error.message.contains(said), "{}", error.message);
    }
}

#[tokio::test]
async fn a_code_step_whose_request_did_not_get_through_may_be_tried_again() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs_up = closing.local_addr().unwrap();
    tokio::spawn(async move { while closing.accept().await.is_ok() {} });
    let server = Server::start().await;
    let allowed = [closed.to_string(), hangs_up.to_string(), server.address()];
    let policy = Policy::new(allowed.iter().map(|rule| rule.parse().unwrap()).collect(), Vec::new());
    let options = outbound::Options {
        max_time: Duration::from_millis(300),
        ..outbound::Options::default()
    };
    let performer = performer_through(OutboundClient::new(policy, options).unwrap()).await;
    for (url, is_retryable) in [
        (format!("http://{closed}/"), true),
        (format!("http://{hangs_up}/"), true),
        (server.url("/silent"), true),
        (server.url("/redirect"), false),
        ("http://127.0.0.1:9/".to_owned(), false),
    ] {
        let script = format!("module.exports = async () => {{ await fetch('{url}') }}");
        let error = failure(perform(&performer, &step("code", "runCode", vec![("code", text(&script))]), &scope(vec![])).await);
        assert_eq!(
            (error.code, error.is_retryable),
            (ErrorCode::ScriptFailed, is_retryable),
            "{}",
            error.message
        );
    }
}
