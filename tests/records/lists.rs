//! Searching and sorting on the server, page by page.

use crate::harness::api::Api;
use crate::harness::daemon::{Daemon, Setup};
use serde_json::{Value, json};

const MANIFESTS: &str = "
kind: Organization
name: Acme
ulcEnabled: true
---
kind: OrganizationUser
name: Bobby Tables
email: bobby@acme.example
role: guest
---
kind: Customer
name: Globex
externalId: globex
description: Sells rockets
labels: [gold, eu]
---
kind: Customer
name: anvil works
externalId: anvil
description: Sells anvils
---
kind: Customer
name: Initech
externalId: initech
description: Buys printers
labels: [gold]
---
kind: CustomerUser
customer: globex
name: Bob Stone
email: Bob.Stone@globex.example
role: admin
---
kind: CustomerUser
customer: globex
name: anna Bell
email: anna@globex.example
role: member
---
kind: CustomerUser
customer: initech
name: BOB Moon
email: bob@initech.example
role: member
";

async fn names(api: &Api<'_>, query: &str, variables: Value) -> Vec<String> {
    let listed = api.get(query, variables).await;
    let nodes = listed["nodes"].as_array().unwrap_or_else(|| panic!("{query}: {listed}"));
    nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn customers_and_users_are_found_and_ordered_as_asked() {
    let daemon = Daemon::start(Setup::new());
    daemon.apply(MANIFESTS).await;
    let api = Api::program(&daemon, "owner").await;
    for (list, expected) in [
        (r#"customers(name_Icontains: "i")"#, vec!["Initech", "anvil works"]),
        (r#"customers(name_Istartswith: "AN")"#, vec!["anvil works"]),
        (r#"customers(description_Icontains: "sells")"#, vec!["Globex", "anvil works"]),
        (r#"customers(externalId: "initech")"#, vec!["Initech"]),
        (r#"customers(labels_Icontains: "gol")"#, vec!["Globex", "Initech"]),
        (r#"users(email_Istartswith: "BOB")"#, vec!["BOB Moon", "Bob Stone", "Bobby Tables"]),
        (
            r#"users(email_Istartswith: "bob", customer_Isnull: false)"#,
            vec!["BOB Moon", "Bob Stone"],
        ),
        (r#"users(name_Istartswith: "bob ")"#, vec!["BOB Moon", "Bob Stone"]),
        (r#"users(name_Icontains: "ob", email_Icontains: "initech")"#, vec!["BOB Moon"]),
        (r#"users(email: "ANNA@globex.example")"#, vec!["anna Bell"]),
        (r#"users(name: "Bob Stone")"#, vec!["Bob Stone"]),
        (r#"users(name: "bob stone")"#, vec![]),
    ] {
        let mut found = names(&api, &format!("{{ {list} {{ nodes {{ name }} }} }}"), json!({})).await;
        found.sort();
        assert_eq!(found, expected, "{list}");
    }
    for (users, expected) in [
        (r#"users(name_Icontains: "oB")"#, vec!["Bob Stone"]),
        (r#"users(email_Icontains: "@GLOBEX")"#, vec!["Bob Stone", "anna Bell"]),
        (r#"users(name_Icontains: "b", email_Icontains: "anna")"#, vec!["anna Bell"]),
        (r#"users(email_Icontains: "initech")"#, vec![]),
    ] {
        let query = format!(r#"{{ customers(externalId: "globex") {{ nodes {{ {users} {{ nodes {{ name }} }} }} }} }}"#);
        let found = api.get(&query, json!({})).await;
        let nodes = found["nodes"][0]["users"]["nodes"].as_array().unwrap();
        let mut found: Vec<&str> = nodes.iter().map(|node| node["name"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{users}");
    }
    for (list, expected) in [
        (
            "customers(sortBy: [{field: NAME, direction: ASC}])",
            vec!["anvil works", "Globex", "Initech"],
        ),
        (
            "customers(sortBy: {field: NAME, direction: DESC})",
            vec!["Initech", "Globex", "anvil works"],
        ),
        (
            "customers(orderBy: {field: DESCRIPTION, direction: ASC})",
            vec!["Initech", "anvil works", "Globex"],
        ),
        (
            "customers(sortBy: [{field: CREATED_AT, direction: ASC}, {field: NAME, direction: ASC}])",
            vec!["anvil works", "Globex", "Initech"],
        ),
        (
            "users(sortBy: [{field: NAME, direction: ASC}])",
            vec!["anna Bell", "BOB Moon", "Bob Stone", "Bobby Tables"],
        ),
        (
            "users(sortBy: [{field: EMAIL, direction: DESC}])",
            vec!["Bobby Tables", "BOB Moon", "Bob Stone", "anna Bell"],
        ),
        (
            r#"users(name_Istartswith: "bob", sortBy: [{field: NAME, direction: DESC}])"#,
            vec!["Bobby Tables", "Bob Stone", "BOB Moon"],
        ),
        (
            "users(customer_Isnull: false, sortBy: [{field: CUSTOMER, direction: DESC}, {field: NAME, direction: ASC}])",
            vec!["BOB Moon", "anna Bell", "Bob Stone"],
        ),
    ] {
        for first in [1, 2, 100] {
            let (mut found, mut after) = (Vec::new(), String::new());
            loop {
                let query = format!(
                    "query ($a: String) {{ {} {{ nodes {{ name }} pageInfo {{ hasNextPage endCursor }} }} }}",
                    list.replacen('(', &format!("(first: {first}, after: $a, "), 1)
                );
                let page = api.get(&query, json!({ "a": after })).await;
                found.extend(
                    page["nodes"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|node| node["name"].as_str().unwrap().to_owned()),
                );
                if page["pageInfo"]["hasNextPage"] == false {
                    break;
                }
                after = page["pageInfo"]["endCursor"].as_str().unwrap().to_owned();
            }
            assert_eq!(found, expected, "{list}, {first} a page");
        }
    }
    for list in [
        r#"customers(after: "%%")"#,
        r#"users(after: "AA", sortBy: [{field: ROLE, direction: ASC}])"#,
        r#"customers(after: "AA")"#,
    ] {
        let refused = api.ask(&format!("{{ {list} {{ nodes {{ name }} }} }}"), json!({})).await;
        assert!(refused.to_string().contains("cursor is none of this list"), "{refused}");
    }
}

#[tokio::test]
async fn every_list_of_the_schema_takes_an_order() {
    let schema = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema.graphql")).unwrap();
    let query = schema.split("type Query {").nth(1).unwrap().split("\n}").next().unwrap();
    // Short lists that come whole, and lists with the one order there is.
    let others = [
        "listUserTenants",
        "scopedConfigVariables",
        "customerConfigVariables",
        "audit",
        "executionSections",
        "logs",
    ];
    let mut lists = 0;
    for line in query.lines().filter(|line| line.contains("Connection!")) {
        let name = line.trim().split(['(', ':']).next().unwrap();
        lists += 1;
        assert!(line.contains("sortBy:") || others.contains(&name), "{name} takes no order");
    }
    assert!(lists > 10, "{lists}");
}

#[tokio::test]
async fn an_order_without_an_index_is_refused_past_the_scan_limit_and_a_search_goes_on_from_its_cursor() {
    let daemon = Daemon::start(Setup::new().set("api.scan-rows", 3).set("api.page", 2));
    let mut manifests = MANIFESTS.to_owned();
    for n in 0..9 {
        manifests += &format!("---\nkind: CustomerUser\ncustomer: anvil\nname: worker {n}\nemail: worker{n}@anvil.example\nrole: member\n");
    }
    daemon.apply(&manifests).await;
    let api = Api::program(&daemon, "owner").await;
    let by_role = api
        .ask("{ users(sortBy: [{field: ROLE, direction: ASC}]) { nodes { name } } }", json!({}))
        .await;
    assert!(by_role.to_string().contains("narrow the list"), "{by_role}");
    let query =
        r#"query ($a: String) { users(name_Icontains: "worker 7", after: $a) { nodes { name } pageInfo { hasNextPage endCursor } } }"#;
    let (mut found, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = api.get(query, json!({ "a": after })).await;
        found.extend(page["nodes"].as_array().unwrap().clone());
        pages += 1;
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = page["pageInfo"]["endCursor"].as_str().unwrap().to_owned();
    }
    assert_eq!(found, [json!({ "name": "worker 7" })]);
    assert!(pages >= 4, "13 users, 3 looked at for each page: {pages}");
}
