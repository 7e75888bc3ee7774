//! Users' own configurations through the API: versions, states, and what happens without them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use harness::api::Api;
use harness::daemon::{Daemon, Setup};
use serde_json::{Value, json};

fn yaml(more: &str) -> String {
    let (variable, element) = match more {
        "" => (String::new(), String::new()),
        name => (
            format!("  - {{key: {name}, stableKey: {name}, dataType: string, orgOnly: false}}\n"),
            format!(", {{type: configVar, value: {name}}}"),
        ),
    };
    format!(
        "definitionVersion: 7
name: Files
description: ''
endpointType: flow_specific
requiredConfigVars:
  - {{key: Address, stableKey: address, dataType: string, orgOnly: false}}
  - {{key: Folder, stableKey: folder, dataType: string, orgOnly: false}}
{variable}configPages:
  - name: Company
    userLevelConfigured: false
    elements: [{{type: configVar, value: Address}}]
  - name: You
    userLevelConfigured: true
    elements: [{{type: configVar, value: Folder}}{element}]
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

const IMPORT: &str =
    "mutation ($d: String!) { importIntegration(input: {definition: $d}) { integration { id } errors { field messages } } }";
const PUBLISH: &str = "mutation ($i: ID!) { publishIntegration(input: {id: $i}) { integration { versionSequence(first: 1) { nodes { id versionNumber } } } errors { messages } } }";
const CONFIGURE: &str = "mutation ($i: ID!, $u: ID, $v: [InputInstanceConfigVariable]) { createUserLevelConfig(input: {instance: $i, user: $u, configVariables: $v}) {
    userLevelConfig { id flowConfigs { nodes { webhookUrl } } } errors { messages } } }";
const STATE: &str =
    "query ($i: ID!) { instance(id: $i) { configState needsDeploy userLevelConfigs { totalCount nodes { user { name } } } } }";

fn id(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no id")).to_owned()
}

struct World<'d> {
    api: Api<'d>,
    daemon: &'d Daemon,
    integration: String,
    instance: String,
    users: [String; 2],
}

impl<'d> World<'d> {
    async fn start(daemon: &'d Daemon) -> Self {
        let people = |name: &str| {
            let head = "---\nkind: CustomerUser\ncustomer: globex\nrole: marketplace_user\n";
            format!("{head}name: {name}\nexternalId: {name}\n")
        };
        let organization = "kind: Organization\nname: Acme\nulcEnabled: true\n";
        let manifests = format!("{organization}---\nkind: Customer\nname: Globex\nexternalId: globex\n");
        daemon.apply(&(manifests + &people("jane") + &people("bob"))).await;
        let api = Api::program(daemon, "owner").await;
        let found = api
            .get("{ customers { nodes { id users { nodes { id name } } } } }", json!({}))
            .await;
        let customer = &found["nodes"][0];
        let user = |name: &str| {
            let users = customer["users"]["nodes"].as_array().unwrap();
            id(&users.iter().find(|user| user["name"] == name).unwrap()["id"])
        };
        let imported = api.get(IMPORT, json!({ "d": yaml("") })).await;
        let integration = id(&imported["integration"]["id"]);
        api.get(PUBLISH, json!({ "i": integration })).await;
        let create = "mutation ($i: ID!, $c: ID!) { createInstance(input: {name: \"Files\", integration: $i, customer: $c}) { instance { id } errors { messages } } }";
        let made = api.get(create, json!({ "i": integration, "c": customer["id"] })).await;
        Self {
            daemon,
            instance: id(&made["instance"]["id"]),
            users: [user("jane"), user("bob")],
            integration,
            api,
        }
    }

    async fn state(&self) -> String {
        let found = self.api.get(STATE, json!({ "i": self.instance })).await;
        id(&found["configState"])
    }

    async fn deploy(&self) -> Value {
        let deploy = "mutation ($i: ID!) { deployInstance(input: {id: $i}) { instance { id } errors { field messages } } }";
        self.api.ask(deploy, json!({ "i": self.instance })).await
    }

    async fn update(&self, input: Value) {
        let update = "mutation ($input: UpdateInstanceInput!) { updateInstance(input: $input) { instance { needsDeploy } errors { field messages } } }";
        self.api.get(update, json!({ "input": input })).await;
    }

    /// A user's configuration and its URL.
    async fn configure(&self, user: usize) -> (String, String) {
        let variables = json!({ "i": self.instance, "u": self.users[user], "v": [{ "key": "Folder", "value": "/mine" }] });
        let made = self.api.get(CONFIGURE, variables).await;
        let config = &made["userLevelConfig"];
        (id(&config["id"]), id(&config["flowConfigs"]["nodes"][0]["webhookUrl"]))
    }

    async fn post(&self, url: &str) -> (u16, String) {
        let answer = self.daemon.post(url, &[], "{}").await;
        (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn configurations_survive_a_version_that_asks_for_more_and_only_those_who_lack_it_are_refused() {
    let daemon = Daemon::start(Setup::new());
    let world = World::start(&daemon).await;
    assert_eq!(world.state().await, "NEEDS_INSTANCE_CONFIGURATION");
    let refused = world.deploy().await;
    assert!(refused.to_string().contains("cannot be deployed without Address"), "{refused}");
    world
        .update(json!({ "id": world.instance, "configVariables": [{ "key": "Address", "value": "https://files.example" }] }))
        .await;
    assert_eq!(world.state().await, "NEEDS_USER_LEVEL_CONFIGURATION");
    world.deploy().await;
    let [jane, bob] = [world.configure(0).await, world.configure(1).await];
    assert_eq!(world.state().await, "FULLY_CONFIGURED");
    for (_, url) in [&jane, &bob] {
        assert_eq!(world.post(url).await.0, 200);
    }

    world.api.get(IMPORT, json!({ "d": yaml("Team") })).await;
    let published = world.api.get(PUBLISH, json!({ "i": world.integration })).await;
    let second = &published["integration"]["versionSequence"]["nodes"][0];
    assert_eq!(second["versionNumber"], 2);
    world.update(json!({ "id": world.instance, "integration": second["id"] })).await;
    assert_eq!(world.post(&bob.1).await.0, 200, "what is saved runs after the next deploy");
    world.deploy().await;
    let update =
        "mutation ($i: ID!) { updateUserLevelConfig(input: {id: $i, partial: true, configVariables: [{key: \"Team\", value: \"blue\"}]}) {
        userLevelConfig { configVariables { nodes { value } } } errors { messages } } }";
    let updated = world.api.get(update, json!({ "i": jane.0 })).await;
    let values = updated["userLevelConfig"]["configVariables"]["nodes"].to_string();
    assert!(values.contains("/mine") && values.contains("blue"), "{values}");
    assert_eq!(world.post(&jane.1).await.0, 200, "her URL is the same");
    assert_eq!(world.post(&bob.1).await, (409, "user_config_incomplete".to_owned()));

    let other_kind = yaml("Team").replace(
        "key: Address, stableKey: address, dataType: string",
        "key: Address, stableKey: address, dataType: number",
    );
    world.api.get(IMPORT, json!({ "d": other_kind })).await;
    let published = world.api.get(PUBLISH, json!({ "i": world.integration })).await;
    let third = &published["integration"]["versionSequence"]["nodes"][0];
    assert_eq!(third["versionNumber"], 3);
    world.update(json!({ "id": world.instance, "integration": third["id"] })).await;
    assert_eq!(world.state().await, "NEEDS_INSTANCE_CONFIGURATION");
    let refused = world.deploy().await;
    assert!(refused.to_string().contains("cannot be deployed without Address"), "{refused}");

    let remove = "mutation ($i: ID!) { deleteUserLevelConfig(input: {id: $i}) { userLevelConfig { id } errors { messages } } }";
    world.api.get(remove, json!({ "i": bob.0 })).await;
    assert_eq!(world.post(&bob.1).await, (410, "user_config_removed".to_owned()));
    let listed = world.api.get(STATE, json!({ "i": world.instance })).await;
    assert_eq!(listed["userLevelConfigs"]["nodes"], json!([{ "user": { "name": "jane" } }]));
}

#[tokio::test]
async fn switched_off_for_the_organization_no_user_is_routed_and_nothing_is_deleted() {
    let daemon = Daemon::start(Setup::new());
    let world = World::start(&daemon).await;
    world
        .update(json!({ "id": world.instance, "configVariables": [{ "key": "Address", "value": "https://files.example" }] }))
        .await;
    world.deploy().await;
    let (_, url) = world.configure(0).await;
    let switch = "mutation ($on: Boolean) { updateOrganization(input: {userLevelConfigEnabled: $on}) { organization { userLevelConfigEnabled } errors { messages } } }";
    world.api.get(switch, json!({ "on": false })).await;
    assert_eq!(world.post(&url).await, (403, "ulc_not_enabled".to_owned()));
    let refused = world.api.ask(CONFIGURE, json!({ "i": world.instance, "u": world.users[1] })).await;
    assert!(refused.to_string().contains("ulc_not_enabled"), "{refused}");
    let refused = world.api.ask(IMPORT, json!({ "d": yaml("Team") })).await;
    assert!(refused.to_string().contains("ulc_not_enabled"), "{refused}");
    world.api.get(switch, json!({ "on": true })).await;
    assert_eq!(world.post(&url).await.0, 200, "what was configured is still there");
}

/// A variable of each kind with a value that it takes, and ones that it does not with what is expected of them.
const KINDS: [(&str, &str, &str, &[&str], &str); 8] = [
    ("Day", "date", "2026-01-31", &["31.1.2026", "2026-02-30", "soon"], "a date"),
    (
        "Moment",
        "timestamp",
        "2026-01-31T09:30:00+01:00",
        &["2026-01-31", "tomorrow"],
        "a date and a time",
    ),
    (
        "When",
        "schedule",
        "*/15 8-18 * * mon-fri",
        &["hourly", "61 * * * *"],
        "a schedule of five parts",
    ),
    ("Form", "jsonForm", "{\"a\": [1]}", &["{a}", "{\"a\": 1"], "JSON"),
    ("Count", "number", "-1.5e3", &["NaN", "inf", "many"], "a number"),
    ("Flag", "boolean", "true", &["yes", "TRUE"], "true or false"),
    (
        "Place",
        "picklist, pickList: [Here, There]",
        "There",
        &["Nowhere"],
        "one of Here, There",
    ),
    (
        "Days",
        "date, collectionType: valuelist",
        "[\"2026-01-31\"]",
        &["[\"never\"]", "2026-01-31"],
        "a JSON list of values",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_none_of_its_variables_kind_is_refused_by_name_and_what_was_there_stays() {
    let daemon = Daemon::start(Setup::new());
    let world = World::start(&daemon).await;
    let variables: String = KINDS
        .iter()
        .map(|(key, kind, ..)| format!("  - {{key: {key}, stableKey: {}, dataType: {kind}}}\n", key.to_lowercase()))
        .collect();
    let elements: String = KINDS
        .iter()
        .map(|(key, ..)| format!("{{type: configVar, value: {key}}}, "))
        .collect();
    let definition = yaml("")
        .replace("name: Files", "name: Kinds")
        .replace("configPages:\n", &format!("{variables}configPages:\n"))
        .replace(
            "elements: [{type: configVar, value: Folder}",
            &format!("elements: [{elements}{{type: configVar, value: Folder}}"),
        );
    let indented: String = definition.lines().map(|line| format!("  {line}\n")).collect();
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let config = |changed: &str, value: &str| {
        let given = KINDS.iter().map(|(key, _, right, ..)| {
            let value = if *key == changed { value } else { right };
            format!("  {key}: {}\n", quoted(value))
        });
        format!(
            "kind: UserLevelConfig\ncustomer: globex\ninstance: Kinds\nuser: jane\nconfigVars:\n  Folder: /jane\n{}---\n",
            given.collect::<String>()
        )
    };
    let manifests = format!(
        "kind: Integration\ndefinition: |\n{indented}---\nkind: Instance\nname: Kinds\ncustomer: globex\nintegration: Kinds\nconfigVars: {{Address: there}}\n---\n{}",
        config("", "")
    );
    daemon.apply(&manifests).await;
    let all = "{ instances { nodes { name userLevelConfigs { nodes { id configVariables { nodes { value requiredConfigVariable { key } } } } } } } }";
    let read = async || {
        let found = world.api.get(all, json!({})).await;
        let instances = found["nodes"].as_array().unwrap().clone();
        let kinds = instances.into_iter().find(|instance| instance["name"] == "Kinds").unwrap();
        kinds["userLevelConfigs"]["nodes"][0].clone()
    };
    let before = read().await;
    for (key, _, right, ..) in KINDS {
        let nodes = before["configVariables"]["nodes"].as_array().unwrap();
        let found = nodes.iter().find(|node| node["requiredConfigVariable"]["key"] == key).unwrap();
        assert_eq!(found["value"], right, "as it was given");
    }
    let update = "mutation ($i: ID!, $v: [InputInstanceConfigVariable]) { updateUserLevelConfig(input: {id: $i, configVariables: $v}) { userLevelConfig { id } errors { field code messages } } }";
    for (key, _, _, wrong, expected) in KINDS {
        for value in wrong {
            let given: Vec<Value> = KINDS
                .iter()
                .map(|(other, _, right, ..)| json!({ "key": other, "value": if *other == key { value } else { right } }))
                .chain([json!({ "key": "Folder", "value": "/other" })])
                .collect();
            let answer = world.api.ask(update, json!({ "i": before["id"], "v": given })).await;
            let error = &answer["data"]["updateUserLevelConfig"]["errors"][0];
            assert_eq!(
                (&error["code"], &error["field"]),
                (&json!("value_invalid"), &json!("configVariables")),
                "{answer}"
            );
            let said = error["messages"][0].as_str().unwrap();
            assert!(said.starts_with(&format!("`{key}` must be {expected}")), "{said}");

            let read = perseat_admin::manifest::read_text(&config(key, value), std::path::Path::new("m.yml"), &|_| None);
            let body = json!({ "manifests": read.unwrap(), "options": { "prune": false, "dry_run": false } });
            let applied = daemon
                .local(http::Method::POST, "/apply", Some(body))
                .await
                .unwrap_err()
                .to_string();
            assert!(
                applied.contains(&format!("`{key}` must be {expected}")) && applied.contains("manifest_invalid"),
                "{applied}"
            );
        }
    }
    assert_eq!(read().await, before, "nothing was changed, and nothing is lost");
}
