//! Instances from creation to deletion, and what they ran.

use crate::cli::{Prism, perseat};
use crate::harness::daemon::Setup;
use serde_json::json;

const YAML: &str = "definitionVersion: 7
name: Acme Inc
description: ''
endpointType: flow_specific
requiredConfigVars:
  - {key: My Endpoint, stableKey: my-endpoint, dataType: string, orgOnly: false}
  - {key: Do Thing?, stableKey: do-thing, dataType: boolean, orgOnly: false}
  - key: Acme Basic Auth
    stableKey: acme-basic-auth
    dataType: connection
    orgOnly: false
    connection: {key: basic, component: {key: http, isPublic: true, version: LATEST}}
    inputs: {}
configPages:
  - name: Set up
    userLevelConfigured: false
    elements:
      - {type: configVar, value: My Endpoint}
      - {type: configVar, value: Do Thing?}
      - {type: configVar, value: Acme Basic Auth}
flows:
  - name: Main
    stableKey: main
    description: ''
    endpointSecurityType: unsecured
    isSynchronous: false
    steps:
      - name: Trigger
        stableKey: main-trigger
        isTrigger: true
        action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}
        inputs: {}
      - name: Answer
        stableKey: main-answer
        action: {key: runCode, component: {key: code, isPublic: true, version: LATEST}}
        inputs:
          code:
            type: value
            value: |
              module.exports = async (context, { trigger }) => ({ data: { endpoint: 'here' } });
";

/// As the document about customers does it, with both forms of values.
#[tokio::test]
async fn an_instance_is_created_deployed_switched_and_deleted() {
    let prism = Prism::start(Setup::new());
    let customer = prism.run(&["customers:create", "--name", "FTL Rockets"]).ok().to_owned();
    let file = prism.file("acme.yml", YAML);
    prism.run(&["integrations:import", "--path", &file]).ok();
    let integration = prism.find(&["integrations:list"], "name=Acme Inc");
    prism.run(&["integrations:publish", &integration]).ok();
    let version = prism.run(&[
        "integrations:versions",
        &integration,
        "--latest-available",
        "--columns",
        "id",
        "--no-header",
    ]);
    let version = version.ok().to_owned();
    let credentials = r#"[{"name":"username","type":"value","value":"my.username"},{"name":"password","type":"value","value":"Pa$$W0Rd"}]"#;
    let variables = json!([
        { "key": "My Endpoint", "value": "https://example.com/api" },
        { "key": "Do Thing?", "value": "true" },
        { "key": "Acme Basic Auth", "values": credentials },
    ]);
    let create = |name: &str, variables: &str| {
        prism.run(&[
            "instances:create",
            "--name",
            name,
            "--description",
            "Acme Inc instance for Smith Rocket Co",
            "--integration",
            &version,
            "--customer",
            &customer,
            "--config-vars",
            variables,
            "--label",
            "Production",
            "--label",
            "Paid",
        ])
    };
    let wrong = create("Wrong", r#"[{"key": "Do Thing?", "value": "maybe"}]"#).refused();
    assert!(wrong.contains("true or false"), "{wrong}");
    let instance = create("Acme Inc", &variables.to_string()).ok().to_owned();
    assert_eq!(prism.find(&["instances:list"], "name=Acme Inc"), instance);
    let values = prism.run(&["instances:config-vars:list", &instance, "--extended"]);
    assert!(
        values.ok().contains("https://example.com/api") && !values.out.contains("Pa$$W0Rd"),
        "{}",
        values.out
    );
    let flows = prism.run(&[
        "instances:flow-configs:list",
        &instance,
        "--no-truncate",
        "--columns",
        "webhookUrl",
        "--no-header",
    ]);
    let url = flows.ok().to_owned();

    assert_eq!(prism.daemon.post(&url, &[], "{}").await.status, 409, "it was never deployed");
    prism.run(&["instances:deploy", &instance, "--force"]).ok();
    assert_eq!(
        prism.daemon.post(&url, &[], "{}").await.status,
        200,
        "force does no harm where nothing lacks"
    );
    prism.run(&["instances:deploy", &instance]).ok();
    let accepted = prism
        .daemon
        .post(&url, &[("content-type", "application/json")], r#"{"hello": 1}"#)
        .await;
    assert_eq!(accepted.status, 200);
    let execution = accepted.json()["executionId"].as_str().unwrap().to_owned();
    prism.until_ended(&execution).await;
    let query = "query ($e: ID!) { executionResult(id: $e) { status logs { nodes { message } } } }";
    let ended = prism.ask(prism.token(), query, json!({ "e": execution })).await.to_string();
    assert!(ended.contains("SUCCESS") && ended.contains("Ending Instance Execution"), "{ended}");
    let result = prism.run(&["executions:step-result:get", "--executionId", &execution, "--stepName", "Answer"]);
    assert!(result.ok().contains("here"), "{}", result.out);
    let path = prism.file("result.json", "");
    let written = [
        "executions:step-result:get",
        "--executionId",
        &execution,
        "--stepName",
        "Answer",
        "--outputPath",
        &path,
    ];
    prism.run(&written).ok();
    assert!(std::fs::read_to_string(&path).unwrap().contains("here"));
    let trigger = prism.run(&["executions:step-result:get", "--executionId", &execution, "--stepName", "Trigger"]);
    let said: serde_json::Value = serde_json::from_str(trigger.ok()).unwrap();
    let given = said.get("data").unwrap_or(&said);
    assert_eq!(given["body"]["data"], json!({ "hello": 1 }), "{said}");
    assert_eq!(given["rawBody"]["data"], r#"{"hello": 1}"#, "{said}");
    assert_eq!(given["rawBody"]["contentType"], "application/json", "{said}");
    assert_eq!(given["webhookUrls"], json!({ "Main": url }), "{said}");
    assert_eq!(given["integration"]["id"], integration, "{said}");
    assert_eq!(given["integration"]["name"], "Acme Inc", "{said}");
    assert!(given["startedAt"].as_str().is_some_and(|at| at.ends_with('Z')), "{said}");

    let flow = prism.run(&[
        "instances:flow-configs:list",
        &instance,
        "--no-truncate",
        "--columns",
        "id",
        "--no-header",
    ]);
    let tested = prism.run(&["instances:flow-configs:test", flow.ok(), "--payload", r#"{"tried": 1}"#, "--tail"]);
    assert!(tested.ok().contains("Ending Instance Execution"), "{}", tested.out);
    let text = [
        "instances:flow-configs:test",
        flow.ok(),
        "--payload",
        "tried",
        "--contentType",
        "text/plain",
        "--tail",
    ];
    assert!(prism.run(&text).ok().contains("Ending Instance Execution"));

    prism.run(&["instances:disable", &instance]).ok();
    assert_eq!(prism.daemon.post(&url, &[], "{}").await.status, 503);
    prism.run(&["instances:enable", &instance]).ok();
    assert_eq!(prism.daemon.post(&url, &[], "{}").await.status, 200);
    prism
        .run(&[
            "instances:update",
            &instance,
            "--name",
            "Renamed",
            "--description",
            "Changed",
            "--label",
            "Silver",
            "--deploy",
        ])
        .ok();
    assert_eq!(prism.find(&["instances:list", "--customer", &customer], "name=Renamed"), instance);
    assert_eq!(prism.find(&["instances:list", "--integration", &version], "name=Renamed"), instance);
    let other = prism.run(&["integrations:create", "--name", "Other", "--description", ""]);
    assert!(!prism.run(&["instances:list", "--integration", other.ok()]).ok().contains("Renamed"));
    let newer = prism.file("newer.yml", YAML.replacen("description: ''", "description: Newer", 1));
    prism.run(&["integrations:import", "--path", &newer]).ok();
    prism.run(&["integrations:publish", &integration]).ok();
    let newest = [
        "integrations:versions",
        &integration,
        "--latest-available",
        "--columns",
        "id",
        "--no-header",
    ];
    let newest = prism.run(&newest).ok().to_owned();
    assert_ne!(newest, version);
    prism.run(&["instances:update", &instance, "--version", &newest]).ok();
    let query = "query ($i: ID!) { instance(id: $i) { labels integration { id versionNumber } } }";
    let found = prism.ask(prism.token(), query, json!({ "i": instance })).await;
    assert_eq!(found["instance"]["labels"], json!(["silver"]));
    assert_eq!(found["instance"]["integration"]["versionNumber"], 2, "{found}");
    let busy = prism.run(&["integrations:delete", &integration]).refused();
    assert!(busy.contains("in use") || busy.contains("instance"), "{busy}");
    prism.run(&["instances:delete", &instance]).ok();
    assert_eq!(prism.daemon.post(&url, &[], "{}").await.status, 404);
}

#[tokio::test]
async fn what_a_mutation_cannot_do_it_refuses_by_field() {
    let prism = Prism::start(Setup::new());
    let customer = prism.run(&["customers:create", "--name", "FTL Rockets"]).ok().to_owned();
    let file = prism.file("acme.yml", YAML);
    prism.run(&["integrations:import", "--path", &file]).ok();
    let integration = prism.find(&["integrations:list"], "name=Acme Inc");
    prism.run(&["integrations:publish", &integration]).ok();
    let made = [
        "instances:create",
        "--name",
        "Acme Inc",
        "--integration",
        &integration,
        "--customer",
        &customer,
    ];
    let instance = prism.run(&made).ok().to_owned();
    let update = "mutation ($i: ID!, $d: Boolean) { updateInstance(input: {id: $i, globalDebug: $d}) { instance { globalDebug } errors { field } } }";
    let asked = |on: bool| prism.ask(prism.token(), update, json!({ "i": instance, "d": on }));
    let refused = asked(true).await;
    assert_eq!(
        refused["updateInstance"]["errors"],
        json!([{ "field": "globalDebug" }]),
        "{refused}"
    );
    let off = asked(false).await;
    assert_eq!(off["updateInstance"]["instance"]["globalDebug"], false, "{off}");
}

/// Two flows, of which the first uses what the instance may lack.
const LACKING: &str = "definitionVersion: 7
name: Lacking
description: ''
endpointType: flow_specific
requiredConfigVars:
  - {key: Folder, stableKey: folder, dataType: string, orgOnly: false}
configPages:
  - {name: Set up, elements: [{type: configVar, value: Folder}]}
flows:
  - name: Uses
    stableKey: uses
    description: ''
    endpointSecurityType: SECURITY
    steps:
      - name: Trigger
        stableKey: uses-trigger
        isTrigger: true
        action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}
        inputs: {}
      - name: Log
        stableKey: uses-log
        action: {key: writeLog, component: {key: log, isPublic: true, version: LATEST}}
        inputs:
          level: {type: value, value: info}
          message: {type: configVar, value: Folder}
  - name: Else
    stableKey: else
    description: ''
    endpointSecurityType: unsecured
    steps:
      - name: Trigger
        stableKey: else-trigger
        isTrigger: true
        action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}
        inputs: {}
";

/// An instance of this definition for a new customer, and the URLs of its flows by their names.
fn lacking(prism: &Prism, yaml: &str) -> (String, impl Fn(&str) -> String + use<>) {
    let customer = prism.run(&["customers:create", "--name", "FTL Rockets"]).ok().to_owned();
    let file = prism.file("lacking.yml", yaml);
    prism.run(&["integrations:import", "--path", &file]).ok();
    let integration = prism.find(&["integrations:list"], "name=Lacking");
    prism.run(&["integrations:publish", &integration]).ok();
    let create = ["instances:create", "--name", "Lacking", "--integration", &integration];
    let instance = prism.run(&[&create[..], &["--customer", &customer]].concat()).ok().to_owned();
    let listed = prism.run(&["instances:flow-configs:list", &instance, "--extended", "--output", "json"]);
    let listed: serde_json::Value = serde_json::from_str(listed.ok()).unwrap();
    let url = move |flow: &str| {
        let rows = listed.as_array().unwrap().iter();
        let mut found = rows.filter(|row| row.to_string().contains(&format!("\"{flow}\"")));
        found.next().unwrap()["webhookUrl"].as_str().unwrap().to_owned()
    };
    (instance, url)
}

#[tokio::test]
async fn a_deployment_is_forced_past_values_that_are_lacking() {
    let prism = Prism::start(Setup::new());
    let (instance, url) = lacking(&prism, &LACKING.replace("SECURITY", "unsecured"));
    for _ in 0..2 {
        let refused = prism.run(&["instances:deploy", &instance]).refused();
        assert!(refused.contains("cannot be deployed without Folder"), "{refused}");
        assert_eq!(prism.daemon.post(&url("Else"), &[], "{}").await.status, 409, "nothing was deployed");
    }
    prism.run(&["instances:deploy", &instance, "--force"]).ok();
    let status = async |flow: &str| {
        let accepted = prism.daemon.post(&url(flow), &[], "{}").await;
        assert_eq!(accepted.status, 200);
        let execution = accepted.json()["executionId"].as_str().unwrap().to_owned();
        prism.until_ended(&execution).await;
        let query = "query ($e: ID!) { executionResult(id: $e) { status error } }";
        prism.ask(prism.token(), query, json!({ "e": execution })).await["executionResult"].take()
    };
    assert_eq!(status("Else").await["status"], "SUCCESS");
    let failed = status("Uses").await;
    assert_eq!(failed["status"], "ERROR", "what lacks is not taken for something else: {failed}");
    let query = "query ($i: ID!) { instance(id: $i) { configState } }";
    let state = prism.ask(prism.token(), query, json!({ "i": instance })).await;
    assert_eq!(state["instance"]["configState"], "NEEDS_INSTANCE_CONFIGURATION");
    // A manifest of what there is changes nothing; a deployment without force is refused as before.
    let exported = perseat(&prism.daemon, &["export"]);
    let plan = prism.daemon.apply(&exported).await.to_string();
    assert!(!plan.contains("\"changed\"") && !plan.contains("\"created\""), "{plan}");
    prism.run(&["instances:deploy", &instance]).refused();
}

#[tokio::test]
async fn what_would_be_open_or_cannot_run_is_not_forced() {
    let prism = Prism::start(Setup::new());
    let (instance, url) = lacking(&prism, &LACKING.replace("SECURITY", "customer_required"));
    let refused = prism.run(&["instances:deploy", &instance, "--force"]).refused();
    assert!(refused.contains("requires an API key"), "{refused}");
    assert_eq!(prism.daemon.post(&url("Else"), &[], "{}").await.status, 409, "nothing was deployed");

    let unknown = LACKING.replace("SECURITY", "unsecured").replace("key: log,", "key: elsewhere,");
    let prism = Prism::start(Setup::new());
    let (instance, _) = lacking(&prism, &unknown);
    let refused = prism.run(&["instances:deploy", &instance, "--force"]).refused();
    assert!(refused.contains("is a draft"), "{refused}");
}
