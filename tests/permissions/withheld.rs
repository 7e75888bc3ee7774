//! What the organization alone sets (`orgOnly`) is not a customer's to take away, give up or register for.

use crate::is_allowed;
use crate::world::World;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The columns of who acts.
const OWNER: usize = 0;
const ADMIN: usize = 5;
const USER: usize = 8;

const MANIFESTS: &str = r#"
kind: Integration
definition: |
  definitionVersion: 7
  name: Withheld
  description: ''
  endpointType: flow_specific
  requiredConfigVars:
    - {key: Ours, stableKey: ours, dataType: string, orgOnly: true}
    - {key: Theirs, stableKey: theirs, dataType: string, orgOnly: false}
    - {key: Key, stableKey: key, dataType: connection, orgOnly: true, connection: {key: bearer, component: {key: http, isPublic: true, version: LATEST}}, inputs: {token: {type: value, value: null}}}
    - {key: Account, stableKey: account, dataType: connection, orgOnly: true, connection: OAUTH, inputs: INPUTS}
    - {key: Our own, stableKey: our-own, dataType: string, orgOnly: true}
    - {key: Own, stableKey: own, dataType: string, orgOnly: false}
    - {key: Own account, stableKey: own-account, dataType: connection, orgOnly: true, connection: OAUTH, inputs: INPUTS}
  configPages:
    - {name: Company, elements: [{type: configVar, value: Ours}, {type: configVar, value: Theirs}, {type: configVar, value: Key}, {type: configVar, value: Account}]}
    - {name: You, userLevelConfigured: true, elements: [{type: configVar, value: Our own}, {type: configVar, value: Own}, {type: configVar, value: Own account}]}
  flows:
    - name: Main
      stableKey: main
      description: ''
      endpointSecurityType: unsecured
      steps:
        - name: Trigger
          stableKey: main-trigger
          isTrigger: true
          action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}
          inputs: {}
---
kind: Instance
name: Withheld
customer: own
integration: Withheld
configVars: {Ours: set by us, Theirs: first, Key: {fields: {token: sealed}}, Account: {token: {access_token: given}}}
---
kind: UserLevelConfig
customer: own
instance: Withheld
user: marketplace_user
configVars: {Our own: set by us, Own: first, Own account: {token: {access_token: given}}}
"#;
const OAUTH: &str = "{key: oauth2, component: {key: http, isPublic: true, version: LATEST}}";
const INPUTS: &str = "{authorizeUrl: {type: value, value: 'https://provider.example/authorize'}, tokenUrl: {type: value, value: 'https://provider.example/token'}, clientId: {type: value, value: ours}, clientSecret: {type: value, value: secret}}";

const SHOWN: &str = r#"{ instances(name: "Withheld") { nodes { id
    configVariables { nodes { value status grant { status } requiredConfigVariable { key } } } appRegistrations { id }
    userLevelConfigs { nodes { id configVariables { nodes { value status grant { status } requiredConfigVariable { key } } } } } } } }"#;

/// What the organization's people see of the instance.
async fn shown(world: &World) -> Value {
    let shown = world.ask(OWNER, SHOWN, json!({})).await;
    shown["data"]["instances"]["nodes"][0].clone()
}

/// A variable of an instance or of a user's configuration, as it is shown.
fn variable<'v>(shown: &'v Value, key: &str) -> &'v Value {
    let mut nodes = shown["configVariables"]["nodes"].as_array().unwrap().iter();
    let found = nodes.find(|node| node["requiredConfigVariable"]["key"] == key);
    found.unwrap_or_else(|| panic!("{key}: {shown}"))
}

async fn start() -> (World, Value) {
    let world = World::start().await;
    world
        .daemon
        .apply(&MANIFESTS.replace("OAUTH", OAUTH).replace("INPUTS", INPUTS))
        .await;
    let instance = shown(&world).await;
    (world, instance)
}

/// The global id of a connection of what has this global id.
fn connection(kind: &str, holder: &Value, stable_key: &str) -> String {
    let holder = STANDARD.decode(holder.as_str().unwrap()).unwrap();
    let holder = String::from_utf8(holder).unwrap();
    STANDARD.encode(format!("{kind}:{}/{stable_key}", holder.split_once(':').unwrap().1))
}

#[tokio::test]
async fn a_customers_values_replace_none_that_the_organization_alone_sets() {
    let (world, instance) = start().await;
    let update = "mutation ($i: ID!) { updateInstance(input: {id: $i, configVariables: [{key: \"Theirs\", value: \"second\"}]}) { instance { id } errors { messages } } }";
    let own = "mutation ($i: ID!) { updateUserLevelConfig(input: {id: $i, configVariables: [{key: \"Own\", value: \"second\"}]}) { userLevelConfig { id } errors { messages } } }";
    let config = &instance["userLevelConfigs"]["nodes"][0]["id"];
    for (column, query, id) in [(ADMIN, update, &instance["id"]), (USER, own, config)] {
        let changed = world.ask(column, query, json!({ "i": id })).await;
        assert!(is_allowed(&changed), "{changed}");
    }
    let after = shown(&world).await;
    assert_eq!(variable(&after, "Theirs")["value"], "second");
    assert_eq!(variable(&after, "Ours")["value"], "set by us");
    assert_eq!(variable(&after, "Key")["status"], "ACTIVE");
    let config = &after["userLevelConfigs"]["nodes"][0];
    assert_eq!(variable(config, "Own")["value"], "second");
    assert_eq!(variable(config, "Our own")["value"], "set by us");
    // The organization's people replace them all.
    let changed = world.ask(OWNER, update, json!({ "i": instance["id"] })).await;
    assert!(is_allowed(&changed), "{changed}");
    let after = shown(&world).await;
    assert_eq!(variable(&after, "Ours")["value"], Value::Null);
    assert_eq!(variable(&after, "Key")["status"], "PENDING");
}

#[tokio::test]
async fn a_customers_people_give_up_no_connection_that_the_organization_alone_sets() {
    let (world, instance) = start().await;
    let shared = "mutation ($i: ID!) { disconnectConnection(input: {id: $i}) { instanceConfigVariable { id } errors { messages } } }";
    let own =
        "mutation ($i: ID!) { disconnectUserLevelConnection(input: {id: $i}) { userLevelConfigVariable { id } errors { messages } } }";
    let config = &instance["userLevelConfigs"]["nodes"][0];
    let grants = async || {
        let shown = shown(&world).await;
        let config = &shown["userLevelConfigs"]["nodes"][0];
        [variable(&shown, "Account"), variable(config, "Own account")].map(|account| account["grant"].clone())
    };
    let connections = [
        (ADMIN, shared, connection("InstanceConfigVariable", &instance["id"], "account")),
        (USER, own, connection("UserLevelConfigVariable", &config["id"], "own-account")),
    ];
    for (column, query, id) in &connections {
        let refused = world.ask(*column, query, json!({ "i": id })).await;
        assert!(refused.to_string().contains("There is no such connection"), "{refused}");
    }
    assert_eq!(grants().await, [Value::Null, Value::Null], "nothing was given up");
    for (_, query, id) in &connections {
        let given_up = world.ask(OWNER, query, json!({ "i": id })).await;
        assert!(is_allowed(&given_up), "{given_up}");
    }
    let pending = json!({ "status": "PENDING" });
    assert_eq!(grants().await, [pending.clone(), pending]);
}

#[tokio::test]
async fn a_customers_people_register_no_app_for_a_connection_that_the_organization_alone_sets() {
    let (world, instance) = start().await;
    let create = "mutation ($i: ID!, $c: String!) { createAppRegistration(input: {instance: $i, connection: $c, name: \"Theirs\", clientId: \"theirs\", clientSecret: \"x\"}) { appRegistration { id } errors { messages } } }";
    for name in ["Account", "Own account"] {
        let refused = world.ask(ADMIN, create, json!({ "i": instance["id"], "c": name })).await;
        let reason = format!("there is no configuration variable `{name}`");
        assert!(!is_allowed(&refused) && refused.to_string().contains(&reason), "{refused}");
    }
    let registration = world.make(create, json!({ "i": instance["id"], "c": "Account" })).await;
    let hidden = world
        .ask(
            ADMIN,
            "query ($i: ID!) { instance(id: $i) { appRegistrations { id } } }",
            json!({ "i": instance["id"] }),
        )
        .await;
    assert_eq!(hidden["data"]["instance"]["appRegistrations"], json!([]), "{hidden}");
    let update = "mutation ($i: ID!, $r: ID!) { updateAppRegistration(input: {instance: $i, id: $r, clientId: \"other\"}) { appRegistration { id } errors { messages } } }";
    let delete =
        "mutation ($i: ID!, $r: ID!) { deleteAppRegistration(input: {instance: $i, id: $r}) { instance { id } errors { messages } } }";
    for query in [update, delete] {
        let asked = json!({ "i": instance["id"], "r": registration });
        let refused = world.ask(ADMIN, query, asked.clone()).await;
        assert!(!is_allowed(&refused) && refused.to_string().contains("has this id"), "{refused}");
        assert_eq!(shown(&world).await["appRegistrations"], json!([{ "id": registration }]));
        let done = world.ask(OWNER, query, asked).await;
        assert!(is_allowed(&done), "{done}");
    }
    assert_eq!(shown(&world).await["appRegistrations"], json!([]));
}

/// The global ids of the versions, the oldest first.
async fn versions(world: &World) -> Vec<String> {
    let query = r#"{ integrations(name: "Withheld") { nodes { versionSequence(sortBy: [{field: VERSION_NUMBER, direction: ASC}]) { nodes { id } } } } }"#;
    let found = world.ask(OWNER, query, json!({})).await;
    let nodes = found["data"]["integrations"]["nodes"][0]["versionSequence"]["nodes"].as_array();
    let ids = nodes.unwrap_or_else(|| panic!("{found}")).iter().map(|node| node["id"].as_str());
    ids.map(|id| id.unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_customers_people_choose_no_version_that_withholds_others_from_them() {
    let world = World::start().await;
    let second = MANIFESTS.replace("OAUTH", OAUTH).replace("INPUTS", INPUTS);
    let (integration, others) = second.split_once("---").unwrap();
    let open = integration.replace(
        "stableKey: ours, dataType: string, orgOnly: true",
        "stableKey: ours, dataType: string, orgOnly: false",
    );
    let is_key = |line: &&str| !line.contains("key: Key, stableKey: key");
    let first: Vec<&str> = open.lines().filter(is_key).collect();
    world
        .daemon
        .apply(&first.join("\n").replace("{type: configVar, value: Key}, ", ""))
        .await;
    world.daemon.apply(&second).await;
    let like_second = integration.replace("description: ''", "description: third");
    world
        .daemon
        .apply(&format!(
            "{like_second}---{}",
            others.replace("integration: Withheld", "integration: Withheld\nversion: 2")
        ))
        .await;
    let versions = versions(&world).await;
    let [first, second, third] = versions.as_slice() else {
        panic!("{versions:?}")
    };
    let instance = shown(&world).await["id"].clone();
    let choose = async |column: usize, version: &str, values: Value| {
        let update = "mutation ($i: ID!, $v: ID!, $c: [InputInstanceConfigVariable]) { updateInstance(input: {id: $i, integration: $v, configVariables: $c}) { instance { id } errors { messages } } }";
        world.ask(column, update, json!({ "i": instance, "v": version, "c": values })).await
    };
    let is_refused = |answer: &Value| !is_allowed(answer) && answer.to_string().contains("it is the one to choose it");

    // To read it, to set it, and to have it dropped as a variable that is not there.
    let set = |name: &str| json!([{ "key": name, "value": "mine" }]);
    for values in [Value::Null, set("Ours"), set("Theirs")] {
        let refused = choose(ADMIN, first, values).await;
        assert!(is_refused(&refused), "{refused}");
    }
    let after = shown(&world).await;
    assert_eq!(variable(&after, "Ours")["value"], "set by us");
    assert_eq!(variable(&after, "Key")["status"], "ACTIVE");
    // Where the same are withheld they choose, and what the organization set stays.
    let chosen = choose(ADMIN, third, set("Theirs")).await;
    assert!(is_allowed(&chosen), "{chosen}");
    let after = shown(&world).await;
    assert_eq!(variable(&after, "Theirs")["value"], "mine");
    assert_eq!(variable(&after, "Ours")["value"], "set by us");
    assert_eq!(variable(&after, "Key")["status"], "ACTIVE");
    // Nor does theirs become what the organization alone sets, but by the organization.
    for (column, version) in [(OWNER, first), (ADMIN, first)] {
        let chosen = choose(column, version, set("Ours")).await;
        assert!(is_allowed(&chosen), "{chosen}");
    }
    let refused = choose(ADMIN, second, Value::Null).await;
    assert!(is_refused(&refused), "{refused}");
    let chosen = choose(OWNER, second, Value::Null).await;
    assert!(is_allowed(&chosen), "{chosen}");
}
