//! Integrations by condition, by time, and version by version.

use crate::harness::api::Api;
use crate::harness::daemon::{Daemon, Setup};
use serde_json::{Value, json};

fn definition(name: &str, category: &str, description: &str) -> String {
    format!(
        "definitionVersion: 7
name: {name}
category: {category}
description: {description}
endpointType: flow_specific
requiredConfigVars: []
configPages: []
flows:
  - name: Main
    stableKey: main
    description: ''
    endpointSecurityType: unsecured
    steps:
      - name: Trigger
        stableKey: main-trigger
        isTrigger: true
        action: {{key: webhook, component: {{key: webhook-triggers, isPublic: true, version: LATEST}}}}
        inputs: {{}}
"
    )
}

const IMPORT: &str = "mutation ($d: String!) { importIntegration(input: {definition: $d}) { integration { id } errors { messages } } }";
const PUBLISH: &str = "mutation ($i: ID!) { publishIntegration(input: {id: $i}) { integration { id } errors { messages } } }";
const OFFER: &str = "mutation ($i: ID!, $m: String!) { updateIntegrationMarketplaceConfiguration(input: {id: $i, marketplaceConfiguration: $m}) { integration { id } errors { messages } } }";

async fn import(api: &Api<'_>, definition: &str) -> String {
    let made = api.get(IMPORT, json!({ "d": definition })).await;
    made["integration"]["id"].as_str().unwrap().to_owned()
}

async fn names(api: &Api<'_>, query: &str, variables: Value) -> Vec<String> {
    let listed = api.get(query, variables).await;
    let nodes = listed["nodes"].as_array().unwrap_or_else(|| panic!("{query}: {listed}"));
    let mut names: Vec<String> = nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_marketplace_shows_what_a_condition_asks_for_and_what_is_switched_on() {
    let daemon = Daemon::start(Setup::new());
    let owner = Api::program(&daemon, "owner").await;
    daemon.apply("kind: Customer\nname: Globex\nexternalId: globex\n").await;
    let mut ids = Vec::new();
    for (name, category) in [("Dropbox", "Storage"), ("Salesforce", "CRM"), ("Hidden", "CRM")] {
        let id = import(&owner, &definition(name, category, "Works")).await;
        owner.get(PUBLISH, json!({ "i": id })).await;
        owner.get(OFFER, json!({ "i": id, "m": "AVAILABLE_AND_DEPLOYABLE" })).await;
        ids.push(id);
    }
    let labels = "mutation ($i: ID!) { updateIntegration(input: {id: $i, labels: [\"beta\"]}) { integration { id } errors { messages } } }";
    owner.get(labels, json!({ "i": ids[1] })).await;
    let admin = json!({ "name": "admin", "role": "admin", "customer": "globex", "organization": "" });
    let admin = Api::with(&daemon, admin).await;
    let list = "query ($f: JSONString, $a: Boolean) { marketplaceIntegrations(filterQuery: $f, includeActiveIntegrations: $a) { nodes { name } } }";
    for (query, expected) in [
        (json!(["equal", "category", "CRM"]), vec!["Hidden", "Salesforce"]),
        (
            json!(["or", ["in", "beta", "labels"], ["startsWith", "Drop", "name"]]),
            vec!["Dropbox", "Salesforce"],
        ),
        (
            json!(["and", ["equal", "category", "CRM"], ["notIn", "beta", "labels"]]),
            vec!["Hidden"],
        ),
    ] {
        let asked = json!({ "f": query.to_string() });
        assert_eq!(names(&admin, list, asked.clone()).await, expected, "{query}");
        assert_eq!(names(&owner, list, asked).await, expected, "{query}");
    }
    for nonsense in ["x", "[]", "[\"like\", \"a\", \"b\"]"] {
        let refused = admin.ask(list, json!({ "f": nonsense })).await.to_string();
        assert!(refused.contains("This is no condition"), "{nonsense}: {refused}");
    }

    let create = "mutation ($i: ID!, $c: ID!) { createInstance(input: {name: \"Mine\", integration: $i, customer: $c}) { instance { id } errors { messages } } }";
    let customer = owner.get("{ customers { nodes { id } } }", json!({})).await["nodes"][0]["id"].take();
    admin.get(create, json!({ "i": ids[2], "c": customer })).await;
    owner.get(OFFER, json!({ "i": ids[2], "m": "NOT_AVAILABLE_IN_MARKETPLACE" })).await;
    let storage = json!(["equal", "category", "Storage"]).to_string();
    for (who, active, expected) in [
        (&admin, None, vec!["Dropbox"]),
        (&admin, Some(false), vec!["Dropbox"]),
        (&admin, Some(true), vec!["Dropbox", "Hidden"]),
        // The organization has switched on nothing for itself.
        (&owner, Some(true), vec!["Dropbox"]),
    ] {
        let found = names(who, list, json!({ "f": storage, "a": active })).await;
        assert_eq!(found, expected, "{active:?}");
    }
    let initech = "kind: Customer\nname: Initech\nexternalId: initech\n";
    daemon.apply(initech).await;
    let other = json!({ "name": "other", "role": "admin", "customer": "initech", "organization": "" });
    let other = Api::with(&daemon, other).await;
    assert_eq!(names(&other, list, json!({ "f": storage, "a": true })).await, ["Dropbox"]);
}

#[tokio::test]
async fn records_are_found_by_when_they_were_made_and_changed() {
    let daemon = Daemon::start(Setup::new());
    let owner = Api::program(&daemon, "owner").await;
    daemon.apply("kind: Customer\nname: Globex\nexternalId: globex\n").await;
    let id = import(&owner, &definition("Dropbox", "Storage", "Works")).await;
    owner.get(PUBLISH, json!({ "i": id })).await;
    owner.get(OFFER, json!({ "i": id, "m": "AVAILABLE_NOT_DEPLOYABLE" })).await;
    let customer = owner.get("{ customers { nodes { id } } }", json!({})).await["nodes"][0]["id"].take();
    let create = "mutation ($i: ID!, $c: ID!) { createInstance(input: {name: \"Dropbox\", integration: $i, customer: $c}) { instance { id } errors { messages } } }";
    owner.get(create, json!({ "i": id, "c": customer })).await;
    for list in ["customers", "integrations", "marketplaceIntegrations", "instances"] {
        let stamps = owner
            .get(&format!("{{ {list} {{ nodes {{ createdAt updatedAt }} }} }}"), json!({}))
            .await;
        let node = stamps["nodes"][0].clone();
        for (field, at) in [("createdAt", &node["createdAt"]), ("updatedAt", &node["updatedAt"])] {
            for (argument, moment, is_there) in [
                ("Gte", at.as_str().unwrap(), true),
                ("Lte", at.as_str().unwrap(), true),
                ("Gte", "2999-01-01T00:00:00Z", false),
                ("Lte", "1999-01-01T00:00:00Z", false),
                ("Gte", "1999-01-01T00:00:00Z", true),
            ] {
                let query = format!("query ($t: DateTime) {{ {list}({field}_{argument}: $t) {{ nodes {{ name }} }} }}");
                let found = names(&owner, &query, json!({ "t": moment })).await;
                assert_eq!(!found.is_empty(), is_there, "{list} {field}_{argument} {moment}");
            }
        }
    }
}

#[tokio::test]
async fn all_versions_come_in_pages() {
    let daemon = Daemon::start(Setup::new().set("api.page", 4));
    let owner = Api::program(&daemon, "owner").await;
    let mut expected = Vec::new();
    for (name, versions) in [("One", 1), ("Six", 6), ("Four", 4)] {
        for version in 1..=versions {
            let id = import(&owner, &definition(name, "None", &format!("Version {version}"))).await;
            owner.get(PUBLISH, json!({ "i": id })).await;
            expected.push((name.to_owned(), version));
        }
    }
    expected.sort();
    let all = "query ($a: String, $f: Int, $s: [IntegrationOrder]) { integrations(allVersions: true, after: $a, first: $f, sortBy: $s) {
        nodes { name versionNumber } edges { cursor } pageInfo { hasNextPage endCursor } } }";
    for (order, first) in [
        (json!(null), 100),
        (json!(null), 1),
        (json!([{ "field": "NAME", "direction": "ASC" }]), 3),
    ] {
        let (mut found, mut after) = (Vec::new(), json!(""));
        loop {
            let page = owner.get(all, json!({ "a": after, "f": first, "s": order })).await;
            let nodes = page["nodes"].as_array().unwrap();
            assert!(nodes.len() <= 4.min(first), "{page}");
            let of = |node: &Value| (node["name"].as_str().unwrap().to_owned(), node["versionNumber"].as_u64().unwrap());
            found.extend(nodes.iter().map(of));
            if page["pageInfo"]["hasNextPage"] == false {
                break;
            }
            assert_eq!(nodes.len(), 4.min(first), "a page that is not the last is full: {page}");
            assert_eq!(
                page["pageInfo"]["endCursor"],
                page["edges"].as_array().unwrap().last().unwrap()["cursor"]
            );
            after = page["pageInfo"]["endCursor"].clone();
        }
        for pair in found.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            assert_eq!(pair[0].1, pair[1].1 + 1, "newest first: {found:?}");
        }
        if !order.is_null() {
            let mut names: Vec<&String> = found.iter().map(|(name, _)| name).collect();
            names.dedup();
            assert_eq!(names, ["Four", "One", "Six"]);
        }
        found.sort();
        assert_eq!(found, expected, "{order} {first}");
    }
    let wrong = owner.ask(all, json!({ "a": "nonsense.x" })).await.to_string();
    assert!(wrong.contains("none of this list"), "{wrong}");
}
