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
