//! The whole way with nothing but prism, webhooks and signed tokens: two users of one customer, each with their own part.

use crate::cli::{Prism, perseat};
use crate::harness::daemon::{Answer, Setup};
use http::Method;
use serde_json::{Value, json};

fn yaml(name: &str, endpoint: &str) -> String {
    format!(
        "definitionVersion: 7
name: {name}
description: ''
endpointType: {endpoint}
requiredConfigVars:
  - {{key: Folder, stableKey: folder, dataType: string, orgOnly: false}}
configPages:
  - name: You
    userLevelConfigured: true
    elements: [{{type: configVar, value: Folder}}]
flows:
  - name: Import
    stableKey: import
    description: ''
    endpointSecurityType: unsecured
    isSynchronous: false
    steps:
      - name: Trigger
        stableKey: import-trigger
        isTrigger: true
        action: {{key: webhook, component: {{key: webhook-triggers, isPublic: true, version: LATEST}}}}
        inputs: {{}}
"
    )
}

struct World {
    prism: Prism,
    key: String,
    customer: String,
}

impl World {
    fn new() -> Self {
        let prism = Prism::start(Setup::new());
        let customer = prism.run(&["customers:create", "--name", "Globex", "--externalId", "globex"]);
        let customer = customer.ok().to_owned();
        // Users' own configurations are for whoever wants them.
        let file = prism.file("integration.yml", yaml("Early", "flow_specific"));
        let early = prism.run(&["integrations:import", "--path", &file]).refused();
        assert!(early.contains("user level configuration is switched off"), "{early}");
        let switch = "mutation { updateOrganization(input: {userLevelConfigEnabled: true}) { errors { messages } } }";
        prism.run(&["graphql:query", switch]).ok();
        let generated = prism.run(&["organization:signing-keys:generate"]).ok().to_owned();
        let pem = &generated[generated.find("-----BEGIN").unwrap()..];
        let key = prism.file("private.pem", pem);
        Self { prism, key, customer }
    }

    /// The bearer of an embedded user.
    fn bearer(&self, user: &str) -> String {
        let arguments = [
            "token",
            "embed",
            "--customer",
            "globex",
            "--user",
            user,
            "--external-id",
            user,
            "--name",
            user,
            "--role",
            "user",
            "--key",
            &self.key,
        ];
        perseat(&self.prism.daemon, &arguments)
    }

    /// An instance of a new integration, deployed.
    fn instance(&self, name: &str, endpoint: &str) -> String {
        let file = self.prism.file("integration.yml", yaml(name, endpoint));
        self.prism.run(&["integrations:import", "--path", &file]).ok();
        let integration = self.prism.find(&["integrations:list"], &format!("name={name}"));
        self.prism.run(&["integrations:publish", &integration]).ok();
        let instance = self.prism.run(&[
            "instances:create",
            "--name",
            name,
            "--integration",
            &integration,
            "--customer",
            &self.customer,
        ]);
        let instance = instance.ok().to_owned();
        self.prism.run(&["instances:deploy", &instance]).ok();
        instance
    }

    fn query(&self, bearer: &str, query: &str, variables: &Value) -> Value {
        let said = self
            .prism
            .run_as(bearer, &["graphql:query", query, "--variables", &variables.to_string()]);
        let answer: Value = serde_json::from_str(said.ok()).unwrap();
        answer.get("data").cloned().unwrap_or(answer)
    }

    /// A user's configuration, made with that user's own token: its URL.
    fn configure(&self, user: &str, instance: &str) -> String {
        let query = "mutation ($i: ID!, $v: [InputInstanceConfigVariable]) {
            createUserLevelConfig(input: {instance: $i, configVariables: $v}) {
                userLevelConfig { id user { externalId } flowConfigs { nodes { webhookUrl } } } errors { field messages } } }";
        let variables = json!({ "i": instance, "v": [{ "key": "Folder", "value": format!("/{user}") }] });
        let made = self.query(&self.bearer(user), query, &variables);
        let config = &made["createUserLevelConfig"]["userLevelConfig"];
        assert_eq!(config["user"]["externalId"], user, "{made}");
        config["flowConfigs"]["nodes"][0]["webhookUrl"].as_str().unwrap().to_owned()
    }

    /// The names in a list.
    fn names(&self, list: &str) -> Vec<String> {
        let found = self.query(
            self.prism.token(),
            &format!("query {{ {list} {{ nodes {{ name }} }} }}"),
            &json!({}),
        );
        let nodes = found.as_object().unwrap().values().next().unwrap()["nodes"].clone();
        let nodes = nodes.as_array().unwrap().iter();
        nodes.map(|node| node["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Attaches a document to the customer; where it is found, and a URL at which it can be read for a while.
    async fn attach(&self) -> [String; 2] {
        let daemon = &self.prism.daemon;
        let permit =
            "query ($c: ID!) { uploadMedia(objectId: $c, fileName: \"contract.pdf\", mediaType: ATTACHMENT) { uploadUrl objectUrl } }";
        let permitted = self.query(self.prism.token(), permit, &json!({ "c": self.customer }))["uploadMedia"].take();
        let put = daemon
            .send(Method::PUT, permitted["uploadUrl"].as_str().unwrap(), &[], "a contract")
            .await;
        assert_eq!(put.status, 200);
        let object = permitted["objectUrl"].as_str().unwrap();
        let take = "mutation ($c: ID!, $u: String!) { updateCustomer(input: {id: $c, addAttachment: {name: \"contract.pdf\", url: $u}}) { errors { messages } } }";
        let taken = self.query(self.prism.token(), take, &json!({ "c": self.customer, "u": object }));
        assert_eq!(taken["updateCustomer"]["errors"], json!([]), "{taken}");
        let place = format!("http://{}{object}", daemon.address("api"));
        let located = self.get(&place).await;
        let signed = located.json()["url"].as_str().unwrap().to_owned();
        assert_eq!(daemon.send(Method::GET, &signed, &[], "").await.body, "a contract");
        [place, signed]
    }

    async fn get(&self, url: &str) -> Answer {
        let bearer = format!("Bearer {}", self.prism.token());
        self.prism.daemon.send(Method::GET, url, &[("authorization", &bearer)], "").await
    }

    /// Every execution, and the URLs of its results.
    fn executions(&self) -> Vec<(String, Vec<String>)> {
        let query = "query { executionResults { nodes { id stepResults { nodes { resultsUrl } } } } }";
        let found = self.query(self.prism.token(), query, &json!({}));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let nodes = found["executionResults"]["nodes"].as_array().unwrap().iter();
        let urls = |node: &Value| {
            node["stepResults"]["nodes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|step| text(&step["resultsUrl"]))
                .collect()
        };
        let all: Vec<(String, Vec<String>)> = nodes.map(|node| (text(&node["id"]), urls(node))).collect();
        assert!(all.len() >= 5, "{all:?}");
        all
    }

    /// Nothing of the deleted customer can be read: neither its document, nor what its executions were given and gave.
    async fn is_unreadable(&self, document: &[String; 2], executions: &[(String, Vec<String>)]) {
        let [place, signed] = document;
        assert_eq!(self.get(place).await.status, 404);
        assert_eq!(self.prism.daemon.send(Method::GET, signed, &[], "").await.status, 404);
        let media = std::fs::read_dir(self.prism.daemon.data().join("media")).unwrap();
        assert_eq!(media.count(), 0, "no file is left");
        for (execution, urls) in executions {
            for url in urls {
                assert_eq!(self.prism.daemon.send(Method::GET, url, &[], "").await.status, 404, "{url}");
            }
            let target = format!("/executions/{execution}");
            let left = self.prism.daemon.local(Method::GET, &target, None).await.unwrap();
            assert_eq!(left["trigger"]["unreadable"], "key destroyed", "{left}");
            for name in ["jane", "bob", "globex", "Globex"] {
                assert!(!left.to_string().contains(name), "{left}");
            }
        }
        let query = "query { executionResults { nodes { id userName error instance { name } logs { nodes { message } } } } audit { nodes { by } } }";
        let said = self.query(self.prism.token(), query, &json!({})).to_string();
        assert!(!said.contains("jane") && !said.contains("bob"), "{said}");
    }

    /// Posts, and gives the trigger's result once the execution has ended.
    async fn ran(&self, url: &str, headers: &[(&str, &str)]) -> String {
        let accepted = self.prism.daemon.post(url, headers, "{}").await;
        assert_eq!(accepted.status, 200, "{:?}", accepted.body);
        let execution = accepted.json()["executionId"].as_str().unwrap().to_owned();
        self.prism.until_ended(&execution).await;
        let result = self
            .prism
            .run(&["executions:step-result:get", "--executionId", &execution, "--stepName", "Trigger"]);
        result.ok().to_owned()
    }
}

#[tokio::test]
async fn two_users_run_the_same_flow_each_as_themselves() {
    let world = World::new();
    let own = world.instance("Files", "flow_specific");
    let urls = [world.configure("jane", &own), world.configure("bob", &own)];
    for (user, url) in ["jane", "bob"].into_iter().zip(&urls) {
        let result = world.ran(url, &[("perseat-user-external-id", "somebody")]).await;
        assert!(
            result.contains(&format!("\"externalId\": \"{user}\"")) || result.contains(&format!("\"externalId\":\"{user}\"")),
            "{result}"
        );
    }
    let shared = world.instance("Shared", "shared_instance");
    world.configure("jane", &shared);
    world.configure("bob", &shared);
    let integration = world.prism.find(&["integrations:list"], "name=Shared");
    let url = world.prism.daemon.hook(&format!("/trigger/{integration}"));
    for user in ["jane", "bob"] {
        let headers = [("perseat-customer-external-id", "globex"), ("perseat-user-external-id", user)];
        let result = world.ran(&url, &headers).await;
        assert!(
            result.contains(&format!("\"externalId\": \"{user}\"")) || result.contains(&format!("\"externalId\":\"{user}\"")),
            "{result}"
        );
    }

    let stranger = world.bearer("eve");
    let listed = world.prism.run_as(&stranger, &["instances:list"]);
    assert!(!listed.ok().contains("Files"), "a marketplace user sees no instances");
    world.prism.run_as(&stranger, &["instances:delete", &own]).refused();

    world.prism.run(&["instances:disable", &own]).ok();
    assert_eq!(world.prism.daemon.post(&urls[0], &[], "{}").await.status, 503);
    world.prism.run(&["instances:enable", &own]).ok();
    assert_eq!(world.prism.daemon.post(&urls[0], &[], "{}").await.status, 200);
    let document = world.attach().await;
    world.prism.run(&["instances:delete", &own]).ok();
    assert_eq!(world.prism.daemon.post(&urls[0], &[], "{}").await.status, 404);
    assert_eq!(world.names("instances"), ["Shared"]);

    let executions = world.executions();
    world.prism.run(&["customers:delete", &world.customer]).ok();
    for user in ["jane", "bob"] {
        let headers = [("perseat-customer-external-id", "globex"), ("perseat-user-external-id", user)];
        let refused = world.prism.daemon.post(&url, &headers, "{}").await;
        assert_eq!(refused.status, 404, "the shared URL knows nobody any more: {:?}", refused.body);
    }
    for list in ["customers", "instances", "users(customer_Isnull: false)"] {
        assert_eq!(world.names(list), Vec::<String>::new(), "{list}");
    }
    world.is_unreadable(&document, &executions).await;
}
