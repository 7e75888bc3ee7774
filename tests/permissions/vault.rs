//! What one customer has besides records: connections, keys of a flow, and what its executions left.

use crate::harness::within;
use crate::world::World;
use serde_json::{Value, json};

/// What no answer to anybody holds.
pub(crate) const SECRETS: [&str; 5] = [
    "hidden-company-token",
    "hidden-persons-token",
    "hidden-flow-key",
    "hidden-refresh-token",
    "hidden-client-secret",
];
/// Where somebody would consent to a connection.
pub(crate) const CONSENT: &str = "/oauth2/authorize";

const MANIFESTS: &str = r#"
kind: Integration
definition: |
  definitionVersion: 7
  name: Vault
  description: canary
  endpointType: flow_specific
  requiredConfigVars:
    - {key: canary company, stableKey: company, dataType: connection, orgOnly: false, connection: {key: bearer, component: {key: http, isPublic: true, version: LATEST}}, inputs: {token: {type: value, value: null}}}
    - {key: canary account, stableKey: account, dataType: connection, orgOnly: false, connection: {key: bearer, component: {key: http, isPublic: true, version: LATEST}}, inputs: {token: {type: value, value: null}}}
    - key: canary consent
      stableKey: consent
      dataType: connection
      orgOnly: false
      connection: {key: oauth2, component: {key: http, isPublic: true, version: LATEST}}
      inputs:
        authorizeUrl: {type: value, value: "https://provider.example/authorize"}
        tokenUrl: {type: value, value: "https://provider.example/token"}
        clientId: {type: value, value: canary-client}
        clientSecret: {type: value, value: hidden-client-secret}
        scopes: {type: value, value: work}
  configPages:
    - {name: canary page, elements: [{type: configVar, value: canary company}, {type: configVar, value: canary consent}]}
    - {name: canary person, userLevelConfigured: true, elements: [{type: configVar, value: canary account}]}
  flows:
    - name: canary flow
      stableKey: main
      description: ''
      endpointSecurityType: customer_required
      steps:
        - name: On Event
          stableKey: main-trigger
          isTrigger: true
          action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}
          inputs: {}
        - name: canary step
          stableKey: main-log
          action: {key: writeLog, component: {key: log, isPublic: true, version: LATEST}}
          inputs:
            level: {type: value, value: info}
            message: {type: reference, value: onEvent.results.body.data.word}
---
kind: Instance
name: canary vault
customer: other
integration: Vault
apiKeys: {canary flow: [hidden-flow-key]}
configVars:
  canary company: {fields: {token: hidden-company-token}}
  canary consent: {token: {access_token: hidden-refresh-token, refresh_token: hidden-refresh-token, expires_in: 3600}}
---
kind: UserLevelConfig
customer: other
instance: canary vault
user: spare
configVars:
  canary account: {fields: {token: hidden-persons-token}}
"#;

/// By id.
#[derive(Debug)]
pub(crate) struct Vault {
    pub(crate) integration: String,
    pub(crate) instance: String,
    pub(crate) flow_config: String,
    pub(crate) config: String,
    pub(crate) execution: String,
    /// Where step results are read from, for whoever is told.
    pub(crate) results: Vec<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

impl Vault {
    /// Gives the other customer all of it, and runs its flow once.
    pub(crate) async fn plant(world: &World) -> Self {
        world.daemon.apply(MANIFESTS).await;
        let query = r#"{ instances(name: "canary vault") { nodes { id integration { id } flowConfigs { nodes { id } }
            userLevelConfigs { nodes { id flowConfigs { nodes { webhookUrl } } } } } } }"#;
        let found = world.ask(0, query, json!({})).await;
        let instance = &found["data"]["instances"]["nodes"][0];
        let config = &instance["userLevelConfigs"]["nodes"][0];
        let url = text(&config["flowConfigs"]["nodes"][0]["webhookUrl"]);
        let headers = [("api-key", SECRETS[2]), ("content-type", "application/json")];
        let body = json!({ "word": "canary" }).to_string();
        let accepted = world.daemon.post(&url, &headers, body).await;
        assert_eq!(accepted.status, 200, "{:?}", accepted.body);
        let execution = text(&accepted.json()["executionId"]);
        let query = "query ($e: ID!) { executionResult(id: $e) { endedAt stepResults { nodes { resultsUrl } } } }";
        let ended = within("the execution's end", async {
            loop {
                let answer = world.ask(0, query, json!({ "e": execution })).await;
                let result = &answer["data"]["executionResult"];
                if !result["endedAt"].is_null() {
                    return result.clone();
                }
            }
        })
        .await;
        let steps = ended["stepResults"]["nodes"].as_array().unwrap();
        Self {
            integration: text(&instance["integration"]["id"]),
            instance: text(&instance["id"]),
            flow_config: text(&instance["flowConfigs"]["nodes"][0]["id"]),
            config: text(&config["id"]),
            execution,
            results: steps.iter().map(|step| text(&step["resultsUrl"])).collect(),
        }
    }

    /// What a client may ask about it without knowing more than ids.
    pub(crate) fn questions(&self) -> Vec<(&'static str, Value)> {
        let with = |id: &str| json!({ "i": id });
        vec![
            (
                "query ($i: ID!) { instance(id: $i) { configVariables { nodes { authorizeUrl refreshAt grant { status } } } } }",
                with(&self.instance),
            ),
            (
                "query ($i: ID!) { instance(id: $i) { name configVariables { nodes { value status inputs { nodes { name value } } requiredConfigVariable { key } } } flowConfigs { nodes { webhookUrl apiKeys flow { name } } } } }",
                with(&self.instance),
            ),
            (
                "query ($i: ID!) { userLevelConfig(id: $i) { configVariables { nodes { value inputs { nodes { name value } } requiredConfigVariable { key } } } } }",
                with(&self.config),
            ),
            (
                "query ($i: ID!) { executionResult(id: $i) { stepResults { nodes { stepName displayStepName resultsUrl } } logs { nodes { message } } } }",
                with(&self.execution),
            ),
            (
                "query ($i: ID) { executionResults(instance: $i) { nodes { id logs { nodes { message } } stepResults { nodes { displayStepName resultsUrl } } } } }",
                with(&self.instance),
            ),
            (
                "query ($i: ID!) { logs(executionResult: $i) { nodes { message stepName } } }",
                with(&self.execution),
            ),
            (
                "{ executionResults { nodes { stepResults { nodes { displayStepName resultsUrl } } } } }",
                json!({}),
            ),
            (
                "{ instances { nodes { configVariables { nodes { value inputs { nodes { value } } requiredConfigVariable { key } } } flowConfigs { nodes { apiKeys flow { name } } } } } }",
                json!({}),
            ),
            (
                "query ($i: ID!) { integration(id: $i) { description definition flows { nodes { name } } } }",
                with(&self.integration),
            ),
            (
                "mutation ($i: ID!) { testInstanceFlowConfig(input: {id: $i}) { testInstanceFlowConfigResult { statusCode body } errors { messages } } }",
                with(&self.flow_config),
            ),
            (
                "mutation ($i: ID!) { updateInstanceConfigVariables(input: {id: $i, configVariables: []}) { instance { name } errors { messages } } }",
                with(&self.instance),
            ),
            (
                "mutation ($i: ID!) { createUserLevelConfig(input: {instance: $i}) { userLevelConfig { instance { name } } errors { messages } } }",
                with(&self.instance),
            ),
        ]
    }
}
