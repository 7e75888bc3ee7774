//! Every operation × every role × own and other customer, through the API, against the table in `docs/permissions.md`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod canaries;
mod expanded;
#[path = "../harness/mod.rs"]
mod harness;
mod nested;
mod own;
mod persons;
mod rows;
mod schema;
mod vault;
mod walk;
mod withheld;
mod world;

use harness::daemon::{Daemon, Setup};
use http::Method;
use serde_json::{Value, json};
use world::World;

/// Whether the answer has data and nothing was refused.
fn is_allowed(answer: &Value) -> bool {
    let Some(data) = answer["data"].as_object() else { return false };
    let is_empty = |value: &Value| {
        value["nodes"].as_array().is_some_and(Vec::is_empty) || value["errors"].as_array().is_some_and(|errors| !errors.is_empty())
    };
    data.values().all(|value| !value.is_null() && !is_empty(value))
}

#[tokio::test]
async fn a_change_that_is_based_on_an_old_reading_is_refused() {
    let world = World::start().await;
    let customer = &world.places[0].customer;
    let read = world
        .ask(0, "query ($i: ID!) { customer(id: $i) { revision } }", json!({ "i": customer }))
        .await;
    let revision = &read["data"]["customer"]["revision"];
    let update = "mutation ($i: ID!, $r: BigInt, $d: String) { updateCustomer(input: {id: $i, revision: $r, description: $d}) { customer { revision } errors { field messages } } }";
    let first = world.ask(0, update, json!({ "i": customer, "r": revision, "d": "first" })).await;
    assert!(is_allowed(&first), "{first}");
    let second = world.ask(1, update, json!({ "i": customer, "r": revision, "d": "second" })).await;
    assert!(second.to_string().contains("changed meanwhile"), "{second}");
    // Whatever is changed, documents included.
    for change in [
        r#"labels: ["late"]"#,
        r#"renameAttachment: {oldName: "kept.txt", newName: "late.txt"}"#,
        r#"removeAttachment: {name: "kept.txt", url: ""}"#,
        r#"labels: ["late"], removeAttachment: {name: "kept.txt", url: ""}"#,
    ] {
        let late = format!(
            "mutation ($i: ID!, $r: BigInt) {{ updateCustomer(input: {{id: $i, revision: $r, {change}}}) {{ customer {{ id }} errors {{ messages }} }} }}"
        );
        // The customer's own admin may change documents alone.
        for column in [1, 5] {
            let answer = world.ask(column, &late, json!({ "i": customer, "r": revision })).await;
            let is_denied = column == 5 && change.starts_with("labels") && answer.to_string().contains("does not allow");
            assert!(is_denied || answer.to_string().contains("changed meanwhile"), "{change}: {answer}");
        }
    }
    let read = "query ($i: ID!) { customer(id: $i) { description labels attachments { name } revision } }";
    let now = world.ask(0, read, json!({ "i": customer })).await["data"]["customer"].take();
    assert_eq!((&now["description"], &now["labels"]), (&json!("first"), &json!([])));
    assert_eq!(now["attachments"], json!([{ "name": "kept.txt" }]));
    let rename = r#"mutation ($i: ID!, $r: BigInt) { updateCustomer(input: {id: $i, revision: $r, renameAttachment: {oldName: "kept.txt", newName: "new.txt"}}) { customer { id } errors { messages } } }"#;
    let renamed = world.ask(5, rename, json!({ "i": customer, "r": now["revision"] })).await;
    assert!(is_allowed(&renamed), "{renamed}");
}

/// Everything that two people may change: where its revision is read, and a change of it.
const CHANGES: [(&str, &str, &str); 8] = [
    ("customer(id: $i)", "updateCustomer", "description: $v"),
    ("user(id: $i)", "updateUser", "phone: $v"),
    ("instance(id: $i)", "updateInstance", "description: $v"),
    (
        "instance(id: $i)",
        "updateInstanceConfigVariables",
        "configVariables: [{key: \"Folder\", value: $v}]",
    ),
    (
        "userLevelConfig(id: $i)",
        "updateUserLevelConfig",
        "partial: true, configVariables: [{key: \"Folder\", value: $v}]",
    ),
    ("integration(id: $i)", "updateIntegration", "labels: [$v]"),
    ("integration(id: $i)", "updateIntegrationMarketplaceConfiguration", "overview: $v"),
    ("organization", "updateOrganization", "name: $v"),
];

#[tokio::test]
async fn whatever_two_people_may_change_at_once_is_held_to_its_revision() {
    let world = World::start().await;
    let instance = world.with_folder().await;
    let place = &world.places[0];
    for (read, mutation, change) in CHANGES {
        let id = match read.split('(').next().unwrap() {
            "customer" => &place.customer,
            "user" => &place.user,
            "instance" => &instance,
            "userLevelConfig" => &place.config,
            "integration" => &world.integration,
            _ => &world.organization,
        };
        let head = if read.contains("$i") { "query ($i: ID!)" } else { "query" };
        let query = format!("{head} {{ {read} {{ revision }} }}");
        let update = format!(
            "mutation ($i: ID!, $r: BigInt, $v: String!) {{ {mutation}(input: {{id: $i, revision: $r, {change}}}) {{ errors {{ messages }} }} }}"
        );
        let found = world.ask(0, &query, json!({ "i": id })).await;
        let revision = found["data"].as_object().unwrap().values().next().unwrap()["revision"].clone();
        assert!(revision.is_number(), "{mutation}: {found}");
        for (value, was_first) in [("one", true), ("two", false)] {
            let answer = world.ask(0, &update, json!({ "i": id, "r": revision, "v": value })).await;
            let is_refused = answer.to_string().contains("changed meanwhile");
            assert_eq!(is_allowed(&answer), was_first, "{mutation} {value}: {answer}");
            assert_eq!(is_refused, !was_first, "{mutation} {value}: {answer}");
        }
    }
}

#[tokio::test]
async fn hooks_and_api_share_a_listener_where_they_have_one_address() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let daemon = Daemon::start(Setup::new().set("hooks.listen", free.as_str()).set("api.listen", free.as_str()));
    daemon.apply("kind: Organization\nname: Acme\n").await;
    let token = World::token(&daemon, json!({ "name": "t", "role": "owner", "organization": "" })).await;
    let url = daemon.hook("/api");
    let body = json!({ "query": "{ organization { name } }" }).to_string();
    let unknown = daemon.send(Method::POST, &url, &[], body.clone()).await;
    assert_eq!((unknown.status, &unknown.json()["data"]), (401, &Value::Null));
    let bearer = format!("Bearer {token}");
    let answer = daemon.send(Method::POST, &url, &[("authorization", &bearer)], body).await;
    assert_eq!(answer.json()["data"]["organization"]["name"], "Acme");
    assert_eq!(
        daemon.post("/trigger/bm90aGluZw==", &[], "{}").await.json()["code"],
        "endpoint_not_found"
    );
}

/// Every list that is read in pages, by what it hangs below, with room for where it is read on.
const LISTS: [&str; 17] = [
    "customers(PAGE) { pageInfo { endCursor } }",
    "customers(externalId: \"own\", PAGE) { pageInfo { endCursor } }",
    "users(PAGE) { pageInfo { endCursor } }",
    "users(customer: $c, email: \"member@own.example\", PAGE) { pageInfo { endCursor } }",
    "integrations(PAGE) { pageInfo { endCursor } }",
    "marketplaceIntegrations(PAGE) { pageInfo { endCursor } }",
    "instances(PAGE) { pageInfo { endCursor } }",
    "executionResults(PAGE) { pageInfo { endCursor } }",
    "logs(executionResult: $e, PAGE) { pageInfo { endCursor } }",
    "components(PAGE) { pageInfo { endCursor } }",
    "audit(PAGE) { pageInfo { endCursor } }",
    "customer(id: $c) { instances(PAGE) { pageInfo { endCursor } } }",
    "instance(id: $i) { flowConfigs(PAGE) { pageInfo { endCursor } } }",
    "instance(id: $i) { userLevelConfigs(PAGE) { pageInfo { endCursor } } }",
    "instance(id: $i) { integration { flows(PAGE) { pageInfo { endCursor } } } }",
    "instance(id: $i) { integration { versionSequence(PAGE) { pageInfo { endCursor } } } }",
    "executionResult(id: $e) { stepResults(PAGE) { pageInfo { endCursor } } }",
];

#[tokio::test]
async fn a_cursor_of_another_list_is_refused_and_one_of_the_list_reads_on() {
    let world = World::start().await;
    let place = &world.places[0];
    let variables = json!({ "c": place.customer, "i": place.instance, "e": place.execution });
    for list in LISTS {
        let declared: String = [("$c", "ID!"), ("$i", "ID!"), ("$e", "ID!")]
            .into_iter()
            .filter(|(name, _)| list.contains(&format!("{name},")) || list.contains(&format!("{name})")))
            .map(|(name, of)| format!("{name}: {of} "))
            .collect();
        let ask = async |page: &str| {
            let query = list.replace("PAGE", page);
            let head = if declared.is_empty() {
                String::new()
            } else {
                format!("query ({declared}) ")
            };
            world.ask(0, &format!("{head}{{ {query} }}"), variables.clone()).await
        };
        let wrong = ask("after: \"bm9uZSBvZiB0aGlz\"").await;
        assert!(wrong.to_string().contains("This cursor is none of this list."), "{list}: {wrong}");
        let first = ask("first: 1").await;
        let said = first.to_string();
        let (_, end) = said.split_once("\"endCursor\":\"").unwrap_or_else(|| panic!("{list}: {first}"));
        let next = ask(&format!("after: \"{}\"", end.split('"').next().unwrap())).await;
        assert!(next["errors"].is_null() && next["data"].is_object(), "{list}: {next}");
    }
}

#[tokio::test]
async fn a_query_that_costs_too_much_is_refused() {
    let world = World::start().await;
    let lists = "{ customers { nodes { instances { nodes { customer { instances { nodes { customer { instances { nodes { name } } } } } } } } } } }";
    let types = |depth: usize| {
        format!(
            "{{ __type(name: \"Query\") {{ fields {{ type {{ {} name {} }} }} }} }}",
            "ofType { ".repeat(depth),
            " }".repeat(depth)
        )
    };
    let aliases: String = (0..40).map(|n| format!("a{n}: organization {{ name }} ")).collect();
    for (query, expected) in [
        (types(22), "too deep"),
        (lists.to_owned(), "too complex"),
        (format!("{{ {aliases} }}"), "too many aliases"),
    ] {
        let answer = world.ask(0, &query, json!({})).await;
        assert!(
            answer["data"].is_null() && answer.to_string().to_lowercase().contains(expected),
            "{answer}"
        );
    }
}
