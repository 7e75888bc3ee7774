//! What one request may read, and how often somebody may ask.

use crate::harness::api::Api;
use crate::harness::daemon::{Answer, Daemon, Setup};
use crate::harness::manifests::{Integration, flow, people, step};
use crate::harness::within;
use http::{Method, header};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// In milliseconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

async fn asked(daemon: &Daemon, bearer: &str) -> Answer {
    let url = format!("http://{}/api", daemon.address("api"));
    let headers = [("content-type", "application/json"), ("authorization", bearer)];
    let body = json!({ "query": "{ authenticatedUser { id } }" }).to_string();
    daemon.send(Method::POST, &url, &headers, body).await
}

/// Asks until it is told to wait; until then every answer has this status.
async fn until_too_many(daemon: &Daemon, bearer: &str, status: u16) {
    let told = within("a request that is too many", async {
        loop {
            let answer = asked(daemon, bearer).await;
            if answer.status == 429 {
                return answer;
            }
            assert_eq!(answer.status, status);
        }
    })
    .await;
    assert_eq!(told.headers[header::RETRY_AFTER], "1");
    assert!(told.json()["data"].is_null() && told.json()["errors"][0]["message"].is_string());
}

#[tokio::test]
async fn an_identity_that_asks_too_often_is_told_to_wait_and_another_is_not() {
    let daemon = Daemon::start(Setup::new().set("api.rate", 1).set("api.burst", 3));
    let (one, other) = (Api::program(&daemon, "owner").await, Api::program(&daemon, "admin").await);
    until_too_many(&daemon, one.bearer(), 200).await;
    assert_eq!(asked(&daemon, other.bearer()).await.status, 200);
}

#[tokio::test]
async fn each_change_of_a_mutation_counts_as_a_request() {
    let daemon = Daemon::start(Setup::new().set("api.rate", 1).set("api.burst", 20));
    let fields = |field: &str, times| (0..times).fold(String::new(), |all, n| format!("{all} c{n}: {field}"));
    let send_as = async |bearer: &str, query: String| {
        let url = format!("http://{}/api", daemon.address("api"));
        let headers = [("content-type", "application/json"), ("authorization", bearer)];
        daemon
            .send(Method::POST, &url, &headers, json!({ "query": query }).to_string())
            .await
    };
    // Each time by somebody who has not asked before.
    let send = async |query: String| send_as(Api::program(&daemon, "owner").await.bearer(), query).await;
    let change = r#"createCustomer(input: {name: ""}) { errors { field } }"#;
    let reading = send(format!("{{ {} }}", fields("organization { name }", 30))).await;
    assert_eq!(reading.status, 200);
    let few = send(format!("mutation {{ a: {change} ...F }} fragment F on Mutation {{ b: {change} }}")).await;
    assert_eq!((few.status, few.json()["errors"].is_null()), (200, true));
    for many in [
        format!("mutation {{ {} }}", fields(change, 30)),
        format!("mutation {{ ...F }} fragment F on Mutation {{ {} }}", fields(change, 30)),
    ] {
        let told = send(many).await;
        assert_eq!(
            (told.status, told.headers.get(header::RETRY_AFTER)),
            (429, None),
            "no waiting helps"
        );
        let sentence = told.json()["errors"][0]["message"].to_string();
        assert!(sentence.contains("api.burst"), "{sentence}");
    }

    let owner = Api::program(&daemon, "owner").await;
    let changes = async |times| send_as(owner.bearer(), format!("mutation {{ {} }}", fields(change, times))).await;
    assert_eq!(changes(15).await.status, 200);
    let told = changes(19).await;
    let seconds: u64 = told.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!(told.status == 429 && seconds > 1, "fourteen more, and one to be let in: {seconds}");
    assert_eq!(asked(&daemon, owner.bearer()).await.status, 200, "what was refused took nothing");
}

#[tokio::test]
async fn refused_bearers_shut_out_their_address_but_not_who_was_known_there() {
    let daemon = Daemon::start(Setup::new().set("api.refused-rate", 1).set("api.refused-burst", 3));
    let known = Api::program(&daemon, "owner").await;
    assert_eq!(asked(&daemon, known.bearer()).await.status, 200);
    until_too_many(&daemon, "Bearer pst_wrong", 401).await;
    assert_eq!(asked(&daemon, known.bearer()).await.status, 200);
    // What is no bearer at all costs nothing.
    assert_eq!(asked(&daemon, "Basic b2s=").await.status, 401);
}

#[tokio::test]
async fn a_bearer_that_has_ended_is_refused() {
    let daemon = Daemon::start(Setup::new());
    let ending = |at: u64| {
        Api::with(
            &daemon,
            json!({ "name": "t", "role": "owner", "organization": "Acme", "expires_at": at }),
        )
    };
    let (ended, lasting) = (ending(1_000).await, ending(32_503_680_000_000).await);
    assert_eq!(asked(&daemon, lasting.bearer()).await.status, 200);
    let refused = asked(&daemon, ended.bearer()).await;
    assert_eq!((refused.status, &refused.json()["data"]), (401, &Value::Null));
    // The command says when.
    let before = now();
    let made = Command::new(env!("CARGO_BIN_EXE_perseat"))
        .args(["token", "create", "--role", "owner", "--days", "3", "--json", "--data"])
        .arg(daemon.data())
        .output()
        .unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let listed = daemon.local(Method::GET, "/tokens", None).await.unwrap();
    let tokens = listed["tokens"].as_array().unwrap();
    let token = tokens
        .iter()
        .find(|token| token["id"] == made["id"])
        .unwrap_or_else(|| panic!("{made} {listed}"));
    let ends = token["expiresAt"].as_u64().unwrap();
    let days = 3 * 24 * 3_600 * 1_000;
    assert!((before + days..=now() + days).contains(&ends), "{token}");
}

#[tokio::test]
async fn whoever_starts_it_first_is_told_how_to_become_its_owner() {
    let mut daemon = Daemon::start(Setup::new());
    let hint = "perseat user create-owner --email";
    assert!(daemon.log().contains(hint), "{}", daemon.log());
    Api::program(&daemon, "owner").await;
    daemon.terminate();
    daemon.restart();
    assert!(!daemon.log().contains(hint), "{}", daemon.log());
}

#[tokio::test]
async fn a_page_of_an_origin_that_may_call_may_read_files() {
    let origin = "https://app.example";
    let daemon = Daemon::start(Setup::new().set("api.origins", vec![origin]));
    for path in ["/api", "/media/TWVkaWE6eA=="] {
        let url = format!("http://{}{path}", daemon.address("api"));
        let ask = async |from: &'static str| {
            let asks = [("origin", from), ("access-control-request-method", "GET")];
            daemon.send(Method::OPTIONS, &url, &asks, "").await
        };
        let allowed = ask(origin).await;
        assert_eq!(allowed.status, 204, "{path}");
        assert_eq!(allowed.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], origin);
        let headers = &allowed.headers[header::ACCESS_CONTROL_ALLOW_HEADERS];
        assert!(headers.to_str().unwrap().contains("authorization"));
        let strange = ask("https://evil.example").await;
        assert!(!strange.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{path}");
    }
}

/// A refusal by a bound of one request: nothing is half answered.
fn is_refused(answer: &Value, code: &str) -> bool {
    let errors = answer["errors"].as_array().map_or(0, Vec::len);
    answer["data"].is_null() && errors == 1 && answer["errors"][0]["extensions"]["code"] == code
}

#[tokio::test]
async fn a_request_reads_no_more_records_than_one_may() {
    let daemon = Daemon::start(Setup::new().set("api.query-rows", 50));
    let mut manifests = "kind: Organization\nname: Acme\n".to_owned();
    for n in 0..10 {
        write!(manifests, "---\nkind: Customer\nname: C{n}\nexternalId: c{n}\n").unwrap();
    }
    daemon.apply(&manifests).await;
    let api = Api::program(&daemon, "owner").await;
    let few = api
        .ask("{ customers { nodes { name instances { nodes { name } } } } }", json!({}))
        .await;
    assert_eq!(few["data"]["customers"]["nodes"].as_array().map(Vec::len), Some(10), "{few}");
    let several = |list: &str| {
        let lists: String = ('a'..='f').map(|name| format!("{name}: {list} {{ nodes {{ id }} }} ")).collect();
        format!("{{ __typename {lists} }}")
    };
    // What a filter leaves out is read, too.
    for list in [
        "customers",
        r#"customers(name_Icontains: "nobody")"#,
        "customers(sortBy: {field: CREATED_AT, direction: ASC})",
    ] {
        let many = api.ask(&several(list), json!({})).await;
        assert!(is_refused(&many, "TOO_MANY_ROWS"), "{list}: {many}");
    }
    let again = api.ask("{ customers { nodes { name } } }", json!({})).await;
    assert_eq!(again["errors"], Value::Null, "each request has its own: {again}");
    let nested = "{ customers { nodes { instances { nodes { customer { instances { nodes { customer { instances { nodes { name } } } } } } } } } } }";
    let nested = api.ask(nested, json!({})).await;
    assert!(nested["data"].is_null() && nested["errors"][0]["message"].is_string(), "{nested}");
}

#[tokio::test]
async fn what_a_mutation_did_stays_done_where_its_answer_reads_too_much() {
    let daemon = Daemon::start(Setup::new().set("api.query-rows", 3));
    let api = Api::program(&daemon, "owner").await;
    let create = "mutation Create { createCustomer(input: {name: \"Globex\"}) { customer { name a: revision b: revision c: revision d: revision } } }
        query Other { __typename }";
    let url = format!("http://{}/api", daemon.address("api"));
    let headers = [("content-type", "application/json"), ("authorization", api.bearer())];
    let body = json!({ "query": create, "operationName": "Create" }).to_string();
    let created = daemon.send(Method::POST, &url, &headers, body).await.json();
    assert_eq!(created["errors"][0]["extensions"]["code"], "TOO_MANY_ROWS", "{created}");
    assert_eq!(created["data"]["createCustomer"]["customer"]["name"], "Globex", "{created}");
    let listed = api.get("{ customers { nodes { name } } }", json!({})).await;
    assert_eq!(listed["nodes"], json!([{ "name": "Globex" }]));
}

#[tokio::test]
async fn a_query_that_expands_or_nests_without_end_is_refused_and_others_are_answered() {
    let daemon = Daemon::start(Setup::new());
    let owner = Api::program(&daemon, "owner").await;
    daemon.apply("kind: Customer\nname: Globex\nexternalId: globex\n").await;
    let user = json!({ "name": "user", "role": "marketplace_user", "customer": "globex", "organization": "" });
    let user = Api::with(&daemon, user).await;
    let chain = |times: usize, end: &str| {
        let link = |n: usize| format!(" fragment F{n} on Query {{ {} }}", format!("...F{} ", n + 1).repeat(times));
        let links: String = (0..30).map(link).collect();
        format!("{{ ...F0 }}{links} fragment F30 on Query {{ {end} }}")
    };
    let send_with = async |query: &str, variables: Value| {
        let url = format!("http://{}/api", daemon.address("api"));
        let headers = [("content-type", "application/json"), ("authorization", user.bearer())];
        let body = json!({ "query": query, "variables": variables }).to_string();
        daemon.send(Method::POST, &url, &headers, body).await
    };
    let send = async |query: &str| send_with(query, json!({})).await;
    let lists = |depth: usize| format!("{{ customer(id: {}", "[".repeat(depth));
    for (query, reason) in [
        (chain(2, "__typename"), "too many selections"),
        (chain(3, "__typename"), "too many selections"),
        (chain(1, "...F0"), "too many selections"),
        (format!("{{ {} }}", "__typename ".repeat(5_001)), "too many selections"),
        (format!("{{ {} }}", "__typename ".repeat(1_000_000)), "too long"),
        (lists(1_000_000), "too long"),
        (format!("{{ customer(id: [{}]) {{ id }} }}", "\"a\"".repeat(100_000)), "too long"),
        (lists(60_000), "nested too deep"),
        ("{ a ".repeat(10_000), "nested too deep"),
        (format!("query ($v: {}", "[".repeat(60_000)), "nested too deep"),
    ] {
        let start = &query[..query.len().min(80)];
        let refused = send(&query).await;
        let said = refused.json();
        assert!(refused.status == 400 && is_refused(&said, "QUERY_TOO_LARGE"), "{start}: {said}");
        assert!(said["errors"][0]["message"].as_str().unwrap().contains(reason), "{start}: {said}");
        let other = owner.get("{ customers { nodes { name } } }", json!({})).await;
        assert_eq!(other["nodes"], json!([{ "name": "Globex" }]));
    }
    // The request and its two members, the list, and two values for each item.
    for (items, status) in [(49_998, 200), (49_999, 400)] {
        let sent = send_with("{ __typename }", json!({ "v": vec![json!({ "a": 0 }); items] })).await;
        assert_eq!(sent.status, status, "{items} items");
        assert!(status == 200 || is_refused(&sent.json(), "QUERY_TOO_LARGE"), "{items} items");
    }
    let unended = send(&format!("{{ customer(id: \"\"\"\", a: {}", "[".repeat(1_000))).await;
    assert!(unended.status == 400 && unended.json().to_string().contains("does not end"));
    // As many as there may be, and as much as somebody likes in a string.
    let most = send(&format!("{{ {} }}", "__typename ".repeat(5_000))).await.json();
    assert_eq!(most, json!({ "data": { "__typename": "Query" } }));
    let long = send(&format!("{{ __type(name: \"{}\") {{ name }} }}", "[".repeat(1_000_000)))
        .await
        .json();
    assert_eq!(long, json!({ "data": { "__type": null } }));
}

#[tokio::test]
async fn a_request_goes_on_no_longer_than_one_may() {
    let daemon = Daemon::start(Setup::new().set("api.query-time", "0ms"));
    let api = Api::program(&daemon, "owner").await;
    let late = api.ask("{ __typename customers { nodes { id } } }", json!({})).await;
    assert!(is_refused(&late, "TOO_SLOW"), "{late}");
    let nothing = api.ask("{ __typename }", json!({})).await;
    assert_eq!(nothing["data"]["__typename"], "Query", "{nothing}");
}

#[tokio::test]
async fn lists_of_executions_read_no_more_of_them_than_is_asked_for() {
    let daemon = Daemon::start(Setup::new().set("api.query-rows", 20));
    let say = |name: &str| step(name, "log", "writeLog", "          message: {type: value, value: here}\n");
    let integration = Integration {
        name: "Talk",
        endpoint_type: "flow_specific",
        is_user_level: false,
        keys: "",
        flows: flow("Say", "", &[say("One"), say("Two"), say("Three")]),
    };
    let instance = integration.instance("globex", "http://127.0.0.1:1", "");
    daemon
        .apply(&(people(&[("globex", &[])]) + &integration.manifest() + &instance))
        .await;
    let api = Api::program(&daemon, "owner").await;
    let url = daemon.endpoints("").await[0].url.clone();
    for _ in 0..5 {
        let accepted = daemon.post(&url, &[], "{}").await.json();
        // Asked at the private socket: the API soon tells whoever asks it so often to wait.
        let target = format!("/executions/{}", accepted["executionId"].as_str().unwrap());
        within("its end", async {
            let mut look = tokio::time::interval(Duration::from_millis(20));
            while daemon.local(Method::GET, &target, None).await.unwrap()["endedAt"].is_null() {
                look.tick().await;
            }
        })
        .await;
    }
    let listed = api
        .get("{ executionResults { nodes { id status flowName stepCount } } }", json!({}))
        .await;
    let steps = listed["nodes"].as_array().unwrap().iter().map(|node| &node["stepCount"]);
    assert_eq!(steps.collect::<Vec<_>>(), vec![3; 5]);
    let shown = async |first: u32| {
        let query = "query ($n: Int) { executionResults(first: $n) { nodes { stepResults { nodes { displayStepName } } logs { nodes { message } } } } }";
        api.ask(query, json!({ "n": first })).await
    };
    let one = shown(1).await;
    let names = &one["data"]["executionResults"]["nodes"][0]["stepResults"]["nodes"];
    let names: Vec<&Value> = names.as_array().unwrap().iter().map(|step| &step["displayStepName"]).collect();
    assert_eq!(names, ["On Event", "One", "Two", "Three"], "{one}");
    let all = shown(5).await;
    assert!(is_refused(&all, "TOO_MANY_ROWS"), "{all}");
}
