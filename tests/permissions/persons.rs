//! Who sees executions learns of nobody on whose behalf they ran whom they may not see.

use crate::harness::within;
use crate::walk::may;
use crate::world::{ROLES, World};
use http::Method;
use serde_json::{Value, json};

/// What names the person, each in a letter case of its own where it is written down.
const NAMES: [&str; 4] = ["Quillfeather", "quill@own.example", "quill-external", "555-0199"];

const MANIFESTS: &str = r#"
kind: Integration
definition: |
  definitionVersion: 7
  name: Persons
  description: ''
  endpointType: flow_specific
  requiredConfigVars:
    - {key: Folder, stableKey: folder, dataType: string, orgOnly: false}
  configPages:
    - {name: You, userLevelConfigured: true, elements: [{type: configVar, value: Folder}]}
  flows:
    - name: Main
      stableKey: main
      description: ''
      endpointSecurityType: unsecured
      steps:
        - name: On Event
          stableKey: main-trigger
          isTrigger: true
          action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}
          inputs: {}
        - name: Tell
          stableKey: main-tell
          action: {key: runCode, component: {key: code, isPublic: true, version: LATEST}}
          inputs:
            code:
              type: value
              value: |
                module.exports = async ({ logger, user }, { onEvent }) => {
                  const { name, email, externalId } = onEvent.results.user;
                  logger.info(`this ran for ${name.toUpperCase()} <${email}>, ${externalId}, call ${onEvent.results.body.data.phone}`);
                  logger.info('a line about nobody');
                  return { data: { name, email, externalId, first: name.split(' ')[0] } };
                };
        - name: Fail
          stableKey: main-fail
          action: {key: runCode, component: {key: code, isPublic: true, version: LATEST}}
          inputs:
            code:
              type: value
              value: |
                module.exports = async (context, { onEvent }) => {
                  throw new Error(`no account of ${onEvent.results.user.name}`);
                };
---
kind: CustomerUser
customer: own
name: Ada Quillfeather
externalId: quill-external
email: quill@own.example
role: marketplace_user
---
kind: Instance
name: Persons
customer: own
integration: Persons
---
kind: UserLevelConfig
customer: own
instance: Persons
user: quill-external
configVars: {Folder: /}
"#;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Everything that the API says about an execution, with what its URLs answer.
async fn everything(world: &World, column: usize, execution: &str) -> (Value, String) {
    let query = "query ($e: ID!) { executionResult(id: $e) { id userName error flowName instance { name }
        logs { nodes { message stepName } } stepResults { nodes { displayStepName hasError resultsUrl } } }
        executionResults { nodes { id userName error logs { nodes { message } } } }
        logs(executionResult: $e) { nodes { message } } }";
    let answer = world.ask(column, query, json!({ "e": execution })).await;
    let mut said = answer.to_string();
    for step in answer["data"]["executionResult"]["stepResults"]["nodes"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let url = text(&step["resultsUrl"]);
        let result = world.daemon.send(Method::GET, &url, &[], "").await;
        assert_eq!(result.status, 200, "{url}");
        said += &String::from_utf8_lossy(&result.body);
    }
    (answer, said)
}

#[tokio::test]
async fn an_execution_does_not_name_its_person_to_those_who_may_not_see_them() {
    let world = World::start().await;
    world.daemon.apply(MANIFESTS).await;
    let phone = "mutation ($i: ID!) { updateUser(input: {id: $i, phone: \"555-0199\"}) { user { id } errors { messages } } }";
    let found = world
        .ask(0, r#"{ users(email: "quill@own.example") { nodes { id } } }"#, json!({}))
        .await;
    let person = found["data"]["users"]["nodes"][0]["id"].clone();
    assert!(crate::is_allowed(&world.ask(0, phone, json!({ "i": person })).await));
    let query = r#"{ instances(name: "Persons") { nodes { id userLevelConfigs { nodes { flowConfigs { nodes { webhookUrl } } } } } } }"#;
    let found = world.ask(0, query, json!({})).await;
    let config = &found["data"]["instances"]["nodes"][0]["userLevelConfigs"]["nodes"][0];
    let url = text(&config["flowConfigs"]["nodes"][0]["webhookUrl"]);
    let headers = [("content-type", "application/json"), ("x-person", "quill-external")];
    let accepted = world.daemon.post(&url, &headers, r#"{"phone": "555-0199"}"#).await;
    let execution = text(&accepted.json()["executionId"]);
    within("the execution's end", async {
        let query = "query ($e: ID!) { executionResult(id: $e) { endedAt } }";
        while world.ask(0, query, json!({ "e": execution })).await["data"]["executionResult"]["endedAt"].is_null() {}
    })
    .await;

    let mut hidden = Vec::new();
    for (column, (role, customer)) in ROLES.into_iter().enumerate() {
        let (answer, said) = everything(&world, column, &execution).await;
        let who = format!("{role} of {customer:?}: {answer}");
        let sees = may("View instance logs", column);
        assert_eq!(!answer["data"]["executionResult"].is_null(), sees, "{who}");
        if !sees {
            assert!(!said.to_lowercase().contains("quill"), "{who}");
            continue;
        }
        assert!(said.contains("a line about nobody") && said.contains("Tell"), "{who}");
        let knows = may("View customer users", column);
        for name in NAMES {
            let is_there = said.to_lowercase().contains(&name.to_lowercase());
            assert_eq!(is_there, knows, "{name}: {who}: {said}");
        }
        assert_eq!(said.contains("Ada"), knows, "a part of the name, {who}: {said}");
        // Whoever has the person's URL acts as that person.
        let path = url.rsplit('/').next().unwrap();
        assert_eq!(said.contains(path), may("View user configurations", column), "{who}: {said}");
        if !knows {
            assert!(said.contains("this ran for •••") && said.contains("no account of •••"), "{who}");
            assert!(said.contains("whom you may not see"), "results say that they are withheld: {said}");
            hidden.push(role);
        }
    }
    assert_eq!(hidden, ["marketplace_admin"]);
}
