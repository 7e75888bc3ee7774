//! What hangs below something that is visible is held to the same table as the fields of the root.

use crate::walk::may;
use crate::world::{ROLES, World};
use serde_json::{Value, json};

const CONFIGURE: &str = r#"mutation ($i: ID!) { createUserLevelConfig(input: {instance: $i, configVariables: [{key: "Folder", value: "/"}]}) {
    userLevelConfig { id } errors { messages } } }"#;
/// Everything about an instance that can be reached from a user's configuration of it.
const BELOW: &str = "query ($i: ID!) { userLevelConfig(id: $i) { instance { name enabled } flowConfigs { nodes { webhookUrl
    instanceFlowConfig { webhookUrl apiKeys flow { name }
        instance { description labels customer { name } configVariables { nodes { value } } } } } } } }";

/// Configures the first customer's instance for the person of this column, if they may.
async fn configure(world: &World, column: usize) -> Option<String> {
    let made = world.ask(column, CONFIGURE, json!({ "i": world.places[0].instance })).await;
    let id = &made["data"]["createUserLevelConfig"]["userLevelConfig"]["id"];
    id.as_str().map(str::to_owned)
}

#[tokio::test]
async fn ones_own_configuration_shows_no_more_of_its_instance_than_its_name() {
    let world = World::start().await;
    let mark = "mutation ($i: ID!) { updateInstance(input: {id: $i, description: \"whole-instance\", labels: [\"whole-instance\"]}) { errors { messages } } }";
    world.ask(0, mark, json!({ "i": world.places[0].instance })).await;
    let mut seen = Vec::new();
    for (column, (role, customer)) in ROLES.into_iter().enumerate() {
        let Some(own) = configure(&world, column).await else { continue };
        let answer = world.ask(column, BELOW, json!({ "i": own })).await;
        let config = &answer["data"]["userLevelConfig"];
        let flow = &config["flowConfigs"]["nodes"][0];
        assert_eq!(config["instance"]["name"], "Files", "{role} of {customer:?}: {answer}");
        assert!(flow["webhookUrl"].is_string(), "one's own URL: {answer}");
        assert_eq!(flow["instanceFlowConfig"]["flow"]["name"], "Main", "{answer}");
        let sees = may("View instances", column);
        let is_whole = answer.to_string().contains("whole-instance");
        assert_eq!(is_whole, sees, "{role} of {customer:?}: {answer}");
        // The customer-wide URL runs the flow as whomever the request names.
        assert_eq!(flow["instanceFlowConfig"]["webhookUrl"].is_string(), sees, "{answer}");
        seen.push((role, sees));
    }
    assert!(
        seen.contains(&("marketplace_user", false)) && seen.contains(&("marketplace_admin", true)),
        "{seen:?}"
    );
}

#[tokio::test]
async fn other_peoples_configurations_are_the_organizations_to_see() {
    let world = World::start().await;
    let place = &world.places[0];
    // The organization's people try an instance out with configurations of their own.
    let ours = configure(&world, 0).await.unwrap();
    for (column, (role, customer)) in ROLES.into_iter().enumerate() {
        let sees = may("View user configurations", column);
        for id in [&place.config, &ours] {
            let query =
                "query ($i: ID!) { userLevelConfig(id: $i) { user { id email org { name } } configVariables { nodes { value } } } }";
            let answer = world.ask(column, query, json!({ "i": id })).await;
            assert_eq!(!answer["data"].is_null(), sees, "{role} of {customer:?}: {answer}");
        }
        let query = "query ($i: ID!) { instance(id: $i) { userLevelConfigs { nodes { user { email } } } } }";
        let answer = world.ask(column, query, json!({ "i": place.instance })).await;
        let listed = answer["data"]["instance"]["userLevelConfigs"]["nodes"]
            .as_array()
            .map_or(0, Vec::len);
        assert_eq!(listed > 0, sees, "{role} of {customer:?}: {answer}");
    }
    // Whoever manages them removes those of the customer's users, unseen, and no others.
    let remove = "mutation ($i: ID!) { deleteUserLevelConfig(input: {id: $i}) { userLevelConfig { user { email } } errors { messages } } }";
    for column in [5, 7] {
        let answer = world.ask(column, remove, json!({ "i": ours })).await;
        assert!(answer.to_string().contains("here is no such"), "{answer}");
    }
    let answer = world.ask(7, remove, json!({ "i": place.config })).await;
    let payload = &answer["data"]["deleteUserLevelConfig"];
    assert_eq!(
        (&payload["userLevelConfig"], &payload["errors"]),
        (&Value::Null, &json!([])),
        "{answer}"
    );
    let gone = world
        .ask(
            0,
            "query ($i: ID!) { userLevelConfig(id: $i) { id } }",
            json!({ "i": place.config }),
        )
        .await;
    assert!(gone["data"].is_null(), "{gone}");
}

#[tokio::test]
async fn what_the_organization_alone_sets_has_no_default_that_customers_see() {
    let world = World::start().await;
    let query = "query ($i: ID!) { integration(id: $i) { configPages requiredConfigVariables { nodes { key defaultValue } }
        versionSequence { nodes { requiredConfigVariables { nodes { key defaultValue } } } }
        systemInstance { configVariables { nodes { value } } } } }";
    for (column, (role, customer)) in ROLES.into_iter().enumerate() {
        if !may("View integrations", column) {
            continue;
        }
        let answer = world.ask(column, query, json!({ "i": world.integration })).await;
        let said = answer.to_string();
        assert!(said.contains("Folder"), "{role} of {customer:?}: {answer}");
        for hidden in ["Ours alone", "ours-by-default"] {
            assert_eq!(said.contains(hidden), customer.is_none(), "{role} of {customer:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn what_an_integration_is_tried_out_with_is_the_organizations_to_see() {
    let world = World::start().await;
    let set = r#"mutation ($i: ID!) { updateIntegration(input: {id: $i, testConfigVariables: [{key: "Folder", value: "tried-with"}]}) {
        integration { id } errors { messages } } }"#;
    world.with_folder().await;
    let found = world
        .ask(0, r#"{ integrations(name: "Folders") { nodes { id } } }"#, json!({}))
        .await;
    let folders = found["data"]["integrations"]["nodes"][0]["id"].clone();
    let query = "query ($i: ID!) { integration(id: $i) { name testConfigVariables { nodes { value } }
        systemInstance { configVariables { nodes { value } } }
        versionSequence { nodes { testConfigVariables { nodes { value } } systemInstance { configVariables { nodes { value } } } } } } }";
    for (column, (role, customer)) in ROLES.into_iter().enumerate() {
        let changed = world.ask(column, set, json!({ "i": folders })).await;
        let manages = may("Manage integrations", column);
        assert_eq!(crate::is_allowed(&changed), manages, "{role} of {customer:?}: {changed}");
        let answer = world.ask(column, query, json!({ "i": folders })).await;
        let sees = customer.is_none() && may("View integrations", column);
        assert_eq!(answer.to_string().contains("tried-with"), sees, "{role} of {customer:?}: {answer}");
    }
    let offer = r#"mutation ($i: ID!) { updateIntegrationMarketplaceConfiguration(input: {id: $i, marketplaceConfiguration: "AVAILABLE_AND_DEPLOYABLE"}) { errors { messages } } }"#;
    world.ask(0, offer, json!({ "i": folders })).await;
    let answer = world.ask(5, query, json!({ "i": folders })).await;
    assert_eq!(answer["data"]["integration"]["name"], "Folders", "{answer}");
    assert!(!answer.to_string().contains("tried-with"), "{answer}");
}
