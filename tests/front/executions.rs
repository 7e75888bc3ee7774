//! What an execution sees of configuration and credentials, how it can end, and what survives a crash.

use crate::daemon::{Daemon, Endpoints};
use crate::http::{Answer, PATIENCE, request};
use crate::provider::Provider;
use crate::set_up::{
    Integration, answer_with, code, customer, instance_with, integration, organization, post, reference, step, token_of, user, user_config,
    value,
};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

pub(crate) const OPEN: &str = "endpointSecurityType: unsecured";
pub(crate) const ONE_SLOT: &str = "execution.slots = 1\n";

fn policy(kind: &str, attempts: u32, delay: u32) -> String {
    format!(
        "errorConfig: {{errorHandlerType: {kind}, maxAttempts: {attempts}, delaySeconds: {delay}, usesExponentialBackoff: false, ignoreFinalError: false}}"
    )
}

/// A script that makes text of so many characters, which no compression makes much smaller.
fn noise(length: usize, and_then: &str) -> String {
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    format!(
        "module.exports = async () => {{ const letters = '{letters}'; let text = ''; while (text.length < {length}) text += letters[Math.floor(Math.random() * 64)]; {and_then} }};"
    )
}

fn flows() -> Integration {
    let leak = "module.exports = async ({ logger, configVars }) => { const token = configVars['Account'].fields.token; logger.warn(`using ${token}`); return { data: { token, twice: [token + token], encoded: encodeURIComponent(token) } }; };";
    let throw = "module.exports = async ({ configVars }) => { throw new Error(`refused ${configVars['Account'].fields.token}`); };";
    let fetch = "module.exports = async ({ configVars, logger }) => { logger.info('sending'); await fetch(configVars['Provider'] + '/closing/2', { method: 'POST' }); };";
    let stop = step(
        "Stop",
        "stop-execution",
        "stopExecution",
        &[
            ("statusCode", value("202")),
            ("contentType", value("text/x-note")),
            ("jsonBody", value("as the flow says")),
            (
                "headers",
                r#"{type: complex, value: [{name: x-flow, type: value, value: hello}]}"#.to_owned(),
            ),
        ],
        "",
    );
    let log = step(
        "Log",
        "log",
        "writeLog",
        &[("level", value("info")), ("message", reference("onEvent.results.body.data.text"))],
        "",
    );
    let after = |name: &str| post("After", &format!("/echo/after-{name}"), "");
    integration("Runs", "flow_specific")
        .flow("Call", false, OPEN, &[post("Send", "/echo/call", ""), answer_with("send.results")])
        .flow("Hang", false, OPEN, &[post("Send", "/hang", ""), after("hang")])
        .flow("Held", false, OPEN, &[post("Send", "/hang/held", "")])
        .flow("Stop", true, OPEN, &[stop, after("stop")])
        .flow(
            "Ignore",
            false,
            OPEN,
            &[post("Send", "/fail/ignored", &policy("ignore", 0, 0)), after("ignore")],
        )
        .flow(
            "Retry",
            false,
            OPEN,
            &[post("Send", "/flaky/2", &policy("retry", 3, 0)), after("retry")],
        )
        .flow(
            "Fetch",
            false,
            OPEN,
            &[step("Fetch", "code", "runCode", &[("code", value(fetch))], &policy("retry", 3, 0))],
        )
        .flow(
            "Give Up",
            false,
            OPEN,
            &[post("Send", "/fail/given-up", &policy("retry", 1, 0)), after("give-up")],
        )
        .flow(
            "Wait",
            false,
            OPEN,
            &[post("Send", "/fail/waiting", &policy("retry", 5, 60)), after("wait")],
        )
        .flow("Much", true, OPEN, &[code("Make", &noise(390_000, "return { data: text };"))])
        .flow("More", true, OPEN, &[code("Make", &noise(800_000, "return { data: text };"))])
        .flow(
            "Heavy",
            false,
            OPEN,
            &[
                code("Make", &noise(390_000, "return { data: text };")),
                code("Repeat", "module.exports = async () => ({ data: 'x'.repeat(390000) });"),
                post("Send", "/hang/heavy", ""),
            ],
        )
        .flow("Scream", false, OPEN, &[code("Scream", &noise(900_000, "throw new Error(text);"))])
        .flow("Leak", false, OPEN, &[log, code("Tell", leak), code("Throw", throw)])
        .flow(
            "Three",
            false,
            OPEN,
            &[
                post("One", "/echo/one", ""),
                post("Two", "/hang/two", ""),
                post("Last", "/echo/last", ""),
            ],
        )
}

const PEOPLE: [(&str, &str); 3] = [("globex", "jane"), ("globex", "bob"), ("initech", "jane")];

/// Everybody's set-up, without the user configurations.
pub(crate) fn base(provider: &Provider) -> String {
    let mut text = organization(true) + &customer("globex") + &customer("initech") + &flows().manifest();
    for (owner, name) in PEOPLE {
        text += &user(owner, name);
    }
    text + &["globex", "initech"].map(|owner| instance_of(provider, owner)).concat()
}

pub(crate) fn instance_of(provider: &Provider, owner: &str) -> String {
    instance_with(owner, "Runs", "", &format!("Provider: \"http://{}\"", provider.address))
}

fn everybody(provider: &Provider) -> String {
    base(provider) + &PEOPLE.map(|(owner, name)| user_config(owner, "Runs", name)).concat()
}

pub(crate) struct Running {
    pub(crate) provider: Provider,
    pub(crate) daemon: Daemon,
    pub(crate) urls: Endpoints,
}

pub(crate) fn start(config: &str) -> Running {
    let provider = Provider::start();
    let daemon = Daemon::start(&format!("outbound.allow = [\"{}\"]\n{config}", provider.address));
    daemon.set_up(&everybody(&provider));
    let urls = daemon.endpoints();
    Running { provider, daemon, urls }
}

impl Running {
    pub(crate) fn url(&self, customer: &str, user: &str, flow: &str) -> String {
        self.urls.path("Runs", customer, user, flow)
    }

    /// Posts an event; the answer is the receipt.
    #[track_caller]
    pub(crate) fn accept(&self, customer: &str, user: &str, flow: &str) -> String {
        let answer = self
            .daemon
            .call(&request("POST", &self.url(customer, user, flow)).json(&json!({ "text": "hello" })));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let id = answer.execution();
        assert_eq!(answer.json(), json!({ "executionId": id }));
        id
    }

    /// Posts an event and waits for the result.
    pub(crate) fn ask(&self, customer: &str, user: &str, flow: &str) -> Answer {
        let request = request("POST", &self.url(customer, user, flow)).header("prismatic-synchronous", "true");
        self.daemon.call(&request.json(&json!({ "text": "hello" })))
    }

    #[track_caller]
    fn cancel(&self, execution: &str) {
        let answer = self.daemon.local(&request("POST", &format!("/executions/{execution}/cancel")));
        assert_eq!(answer.status, 202, "{}", answer.text());
    }

    /// How an execution ended: status, code and failed step.
    pub(crate) fn end(&self, execution: &str) -> (String, Value, Value) {
        let ended = self.daemon.ended(execution);
        (
            ended["status"].as_str().unwrap().to_owned(),
            ended["code"].clone(),
            ended["failedStep"].clone(),
        )
    }
}

#[track_caller]
pub(crate) fn assert_ended(row: &str, ended: &(String, Value, Value), status: &str, code: Option<&str>) {
    assert_eq!((ended.0.as_str(), ended.1.as_str()), (status, code), "{row}");
}

#[test]
fn the_provider_sees_the_token_of_the_user_whose_url_was_called() {
    let run = start("");
    for (owner, name) in PEOPLE {
        let answer = run.ask(owner, name, "Call");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["token"], token_of(owner, name), "{owner}/{name}");
    }
    let tokens: Vec<String> = run.provider.seen("/echo/call").iter().map(|seen| seen.token.clone()).collect();
    assert_eq!(tokens, PEOPLE.map(|(owner, name)| token_of(owner, name)));
}

#[test]
fn a_caller_waits_for_the_result_if_flow_or_request_say_so() {
    let run = start("");
    let answer = run.daemon.call(&request("POST", &run.url("globex", "jane", "Stop")));
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.header("x-flow")),
        (202, Some("text/x-note"), Some("hello"))
    );
    assert_eq!(answer.text(), "as the flow says");
    assert_ended("a stopped flow", &run.end(&answer.execution()), "succeeded", None);
    assert_eq!(run.provider.seen("/echo/after-stop").len(), 0, "nothing runs after a stop");

    let receipt = run
        .daemon
        .call(&request("POST", &run.url("globex", "jane", "Stop")).header("prismatic-synchronous", "false"));
    assert_eq!(
        receipt.json(),
        json!({ "executionId": receipt.execution() }),
        "a synchronous flow called asynchronously"
    );
    assert_eq!(
        run.ask("globex", "jane", "Call").json()["token"],
        token_of("globex", "jane"),
        "an asynchronous flow called synchronously"
    );

    let failed = run.ask("globex", "jane", "Give Up");
    assert_eq!((failed.status, failed.code().as_str()), (400, "step_failed"), "{}", failed.text());
    assert_eq!(failed.json()["executionId"], failed.execution());
    assert!(
        failed.json()["error"].as_str().unwrap().contains("Send"),
        "the step is named: {}",
        failed.text()
    );
}

#[test]
fn a_synchronous_caller_gets_504_in_the_end_and_the_execution_goes_on() {
    let run = start("front.sync-timeout = \"200ms\"\n");
    let answer = run.ask("globex", "jane", "Hang");
    assert_eq!((answer.status, answer.code().as_str()), (504, "sync_timeout"), "{}", answer.text());
    let id = answer.execution();
    assert_eq!(answer.json()["executionId"], id);
    run.provider.wait_for("/hang", 1);
    assert_eq!(run.daemon.execution(&id)["status"], "running");
    run.provider.release();
    assert_ended("after the caller left", &run.end(&id), "succeeded", None);
    assert_eq!(run.provider.seen("/echo/after-hang").len(), 1);
}

#[test]
fn queued_and_running_executions_can_be_cancelled() {
    let run = start(ONE_SLOT);
    let running = run.accept("globex", "jane", "Hang");
    run.provider.wait_for("/hang", 1);
    let behind = run.accept("globex", "jane", "Call");
    let first_of_user = run.accept("globex", "bob", "Call");
    let first_of_instance = run.accept("initech", "jane", "Call");
    for (row, id) in [
        ("queued behind a running one", &behind),
        ("queued first of its user", &first_of_user),
        ("queued first of its instance", &first_of_instance),
        ("running", &running),
    ] {
        run.cancel(id);
        assert_ended(row, &run.end(id), "cancelled", Some("cancelled"));
        let again = run.daemon.local(&request("POST", &format!("/executions/{id}/cancel")));
        assert_eq!((again.status, again.code().as_str()), (409, "execution_ended"), "{row}");
    }
    assert_eq!(run.ask("globex", "bob", "Call").status, 200, "the slot is free");
    assert_eq!(run.provider.seen("/echo").len(), 1, "nothing of a cancelled execution was sent");
}

#[test]
fn steps_and_executions_end_at_their_time_limits() {
    let run = start("execution.step-timeout = \"300ms\"\n");
    let step = run.accept("globex", "jane", "Hang");
    assert_ended("a step that hangs", &run.end(&step), "failed", Some("step_timeout"));
    assert_eq!(run.daemon.execution(&step)["failedStep"], "Send");
    // Long enough for the first try even where the write before it takes seconds, short against the wait for the second.
    let run = start("execution.timeout = \"5s\"\nexecution.step-timeout = \"4s\"\n");
    let whole = run.accept("globex", "jane", "Wait");
    run.provider.wait_for("/fail/waiting", 1);
    assert_ended(
        "an execution that waits to retry",
        &run.end(&whole),
        "failed",
        Some("execution_timeout"),
    );
}

#[test]
fn a_configuration_that_cannot_be_read_fails_what_starts_meanwhile_and_is_read_again() {
    // It is read sixty times first.
    let run = start("execution.full-retry = \"1ms\"\n");
    run.daemon.switch("fail-config-readings");
    let unread = run.accept("globex", "jane", "Call");
    assert_ended("the instance's, unread", &run.end(&unread), "failed", Some("internal"));
    run.daemon.switch_off("fail-config-readings");
    assert_eq!(run.ask("globex", "jane", "Call").status, 200, "both are read now");
    run.daemon.switch("fail-config-readings");
    let unread = run.accept("globex", "bob", "Call");
    assert_ended("the user's, unread", &run.end(&unread), "failed", Some("internal"));
    run.daemon.switch_off("fail-config-readings");
    assert_eq!(run.ask("globex", "bob", "Call").status, 200, "the user's is read now");
}

#[test]
fn the_gauges_of_all_owners_add_up() {
    const CUSTOMERS: usize = 12;
    let run = start("execution.owner-arbiters = 3\n");
    let names: Vec<String> = (0..CUSTOMERS).map(|n| format!("customer-{n}")).collect();
    let of = |name: &String| customer(name) + &user(name, "jane") + &instance_of(&run.provider, name) + &user_config(name, "Runs", "jane");
    run.daemon.add(&names.iter().map(of).collect::<String>());
    let urls = run.daemon.endpoints();
    for name in &names {
        run.daemon
            .call(&request("POST", &urls.path("Runs", name, "jane", "Hang")))
            .execution();
    }
    run.provider.wait_for("/hang", CUSTOMERS);
    for gauge in ["perseat_executions_live", "perseat_executions_running"] {
        let page = run.daemon.admin("/metrics").text();
        let values: Vec<f64> = page
            .lines()
            .filter(|line| line.starts_with(&format!("{gauge}{{owner=")))
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!((values.len(), values.iter().sum::<f64>()), (3, CUSTOMERS as f64), "{gauge}");
    }
    run.provider.release();
}

#[test]
fn users_that_rest_are_put_away_where_there_are_more_than_may_be() {
    let run = start("supervision.max-users = 10\n");
    let names: Vec<String> = (0..40).map(|n| format!("user-{n}")).collect();
    let of = |name: &String| user("globex", name) + &user_config("globex", "Runs", name);
    run.daemon.add(&names.iter().map(of).collect::<String>());
    let urls = run.daemon.endpoints();
    let ask = |name: &str| {
        let request = request("POST", &urls.path("Runs", "globex", name, "Call")).header("prismatic-synchronous", "true");
        assert_eq!(run.daemon.call(&request.json(&json!({ "text": "hello" }))).status, 200, "{name}");
    };
    names.iter().for_each(|name| ask(name));
    let begin = Instant::now();
    while in_memory(&run) > 10.0 {
        assert!(begin.elapsed() < PATIENCE, "{} are in memory", in_memory(&run));
        // Who is called stays.
        ask(&names[0]);
    }
    // Who was put away comes back.
    ask(&names[1]);
}

fn in_memory(run: &Running) -> f64 {
    let page = run.daemon.admin("/metrics").text();
    let mut lines = page.lines().filter(|line| line.starts_with("perseat_users_in_memory{"));
    lines.next().unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap()
}

#[test]
fn users_that_nobody_calls_any_more_are_put_away_and_the_metrics_say_so() {
    let run = start("supervision.passivate-after = \"100ms\"\nsupervision.tidy-every = \"50ms\"\n");
    for user in ["jane", "bob"] {
        assert_eq!(run.ask("globex", user, "Call").status, 200, "{user}");
    }
    let begin = Instant::now();
    while in_memory(&run) > 0.0 {
        assert!(begin.elapsed() < PATIENCE, "{} are in memory", in_memory(&run));
        std::thread::yield_now();
    }
}

#[test]
fn synchronous_callers_have_a_limit_of_their_own() {
    let run = start("front.sync-waiters = 1\n");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| run.ask("globex", "jane", "Hang"));
        run.provider.wait_for("/hang", 1);
        let refused = run.ask("globex", "bob", "Call");
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (429, "rate_limited"),
            "{}",
            refused.text()
        );
        assert!(
            refused
                .header("retry-after")
                .is_some_and(|seconds| seconds.parse::<u32>().unwrap() >= 1)
        );
        assert_eq!(run.provider.seen("/echo").len(), 0, "nothing of it was accepted");
        let accepted = run.accept("globex", "bob", "Call");
        assert_ended("who does not wait is let in", &run.end(&accepted), "succeeded", None);
        run.provider.release();
        assert_eq!(first.join().unwrap().status, 200);
    });
    assert_eq!(run.ask("globex", "bob", "Call").status, 200, "the place is free again");
}

#[test]
fn a_user_with_hundreds_of_hanging_executions_does_not_stop_another_user() {
    let run = start("execution.slots = 4\n");
    for _ in 0..200 {
        run.accept("globex", "jane", "Hang");
    }
    run.provider.wait_for("/hang", 1);
    for (owner, name) in [("globex", "bob"), ("initech", "jane"), ("globex", "bob")] {
        let answer = run.ask(owner, name, "Call");
        assert_eq!(answer.json()["token"], token_of(owner, name), "{}", answer.text());
    }
    assert!(run.provider.seen("/hang").len() <= 4, "no more than the slots run");
    assert_eq!(run.provider.seen("/echo/after-hang").len(), 0, "the flood still hangs");
}

#[test]
fn more_than_a_user_may_have_waiting_is_refused_and_another_user_is_let_in() {
    let run = start("admission.user = 2\nadmission.wait-from = \"100%\"\nadmission.wait = \"20ms\"\nadmission.retry-after = \"7s\"\n");
    let first = run.accept("globex", "jane", "Hang");
    let second = run.accept("globex", "jane", "Hang");
    let refused = run.daemon.call(&request("POST", &run.url("globex", "jane", "Hang")));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "rate_limited"),
        "{}",
        refused.text()
    );
    assert_eq!(refused.header("retry-after"), Some("7"));
    assert_eq!(run.ask("globex", "bob", "Call").status, 200, "another user");
    run.provider.release();
    for id in [&first, &second] {
        assert_ended("let in", &run.end(id), "succeeded", None);
    }
    run.daemon.until_nothing_lives();
    assert_eq!(run.ask("globex", "jane", "Call").status, 200, "there is room again");
}

#[test]
fn a_killed_daemon_resumes_after_the_last_durable_step_with_the_same_key() {
    let run = start("");
    let id = run.accept("globex", "jane", "Three");
    let waiting = run.accept("globex", "bob", "Hang");
    run.provider.wait_for("/hang/two", 1);
    run.provider.wait_for("/hang", 2);
    let Running { provider, daemon, .. } = run;
    let daemon = daemon.kill_and_restart();
    let twos = provider.wait_for("/hang/two", 2);
    assert_eq!(twos[0].key, twos[1].key, "the step in flight is repeated with its key");
    assert!(!twos[0].key.is_empty());
    assert_eq!(twos[1].token, token_of("globex", "jane"));
    provider.release();
    for id in [&id, &waiting] {
        assert_eq!(daemon.ended(id)["status"], "succeeded");
    }
    assert_eq!(
        (provider.seen("/echo/one").len(), provider.seen("/echo/last").len()),
        (1, 1),
        "finished steps are not repeated"
    );
    let execution = daemon.execution(&id);
    assert_eq!(
        (&execution["activation"], &execution["attempt"]),
        (&json!(2), &json!(1)),
        "{execution}"
    );
}

#[test]
fn secrets_and_payloads_stay_sealed_on_disk_and_masked_in_every_view() {
    use base64::Engine as _;
    const EVENT: &str = "event-canary-0815-4711";
    const CREDENTIAL: &str = "credential-canary-0815-4711";
    let run = start("");
    let url = run.url("globex", "jane", "Leak");
    let event = request("POST", &url)
        .header("authorization", &format!("Bearer {CREDENTIAL}"))
        .header("cookie", CREDENTIAL)
        .header("api-key", CREDENTIAL);
    let token = token_of("globex", "jane");
    let text = format!("{EVENT} with {token}");
    let receipt = run.daemon.call(&event.json(&json!({ "text": text })));
    let id = receipt.execution();
    let ended = run.daemon.ended(&id);
    assert_eq!(
        (&ended["code"], &ended["failedStep"]),
        (&json!("script_failed"), &json!("Throw")),
        "{ended}"
    );

    let lines: Vec<&str> = ended["logs"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|part| part.as_array().unwrap())
        .map(|line| line["message"].as_str().unwrap())
        .collect();
    assert!(
        lines.contains(&format!("{EVENT} with ***").as_str()) && lines.contains(&"using ***"),
        "{lines:?}"
    );
    assert!(ended["message"].as_str().unwrap().contains("refused ***"), "{}", ended["message"]);
    let encoded = base64::engine::general_purpose::STANDARD.encode(&token);
    let headers = ended["trigger"]["headers"].to_string();
    assert!(
        !headers.contains("authorization") && !headers.contains("cookie") && !headers.contains("api-key"),
        "{headers}"
    );
    let steps = ended["steps"].to_string();
    assert!(steps.contains("Tell") && !steps.contains(&token), "{steps}");
    assert!(!ended.to_string().contains(CREDENTIAL) && !ended["message"].to_string().contains(&token));
    assert!(
        !ended["trigger"].to_string().contains(&token),
        "the event's text holds the user's own token: {}",
        ended["trigger"]
    );

    let failed = run.ask("globex", "jane", "Leak");
    assert_eq!((failed.status, failed.code().as_str()), (400, "script_failed"));
    assert!(
        failed.text().contains("refused ***") && !failed.text().contains(&token),
        "{}",
        failed.text()
    );

    let mut daemon = run.daemon;
    let log = daemon.log();
    daemon.kill();
    let folder = daemon.folder();
    let in_base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let canaries = [
        token,
        encoded,
        EVENT.to_owned(),
        in_base64(EVENT),
        CREDENTIAL.to_owned(),
        in_base64(CREDENTIAL),
        "/globex/jane".to_owned(),
    ];
    for canary in &canaries[..6] {
        assert!(!log.contains(canary.as_str()), "{canary} is in the log");
        assert_eq!(files_with(folder, canary.as_bytes()), Vec::<String>::new(), "{canary} is on disk");
    }
    assert!(
        !files_with(folder, canaries[6].as_bytes()).is_empty(),
        "a plain value would be found"
    );
}

/// Every file below a folder that holds these bytes.
fn files_with(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if path.is_file() {
            let content = std::fs::read(&path).unwrap();
            let first = bytes[0];
            let holds = content
                .iter()
                .enumerate()
                .any(|(at, byte)| *byte == first && content[at..].starts_with(bytes));
            found.extend(holds.then(|| path.display().to_string()));
        }
    }
    found
}
