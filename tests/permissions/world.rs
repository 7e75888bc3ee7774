//! Two customers with one person of every role, and the organization's people.

use crate::harness::daemon::{Daemon, Setup};
use crate::harness::within;
use http::Method;
use serde_json::{Value, json};

/// The columns of the table: a role, and of which customer.
pub(crate) const ROLES: [(&str, Option<&str>); 9] = [
    ("owner", None),
    ("admin", None),
    ("integrator", None),
    ("guest", None),
    ("third_party", None),
    ("admin", Some("own")),
    ("member", Some("own")),
    ("marketplace_admin", Some("own")),
    ("marketplace_user", Some("own")),
];

const MANIFESTS: &str = r#"
kind: Organization
name: Acme
ulcEnabled: true
---
kind: OrganizationUser
name: owner
email: owner@acme.example
role: owner
---
kind: OrganizationUser
name: admin
email: admin@acme.example
role: admin
---
kind: OrganizationUser
name: integrator
email: integrator@acme.example
role: integrator
---
kind: OrganizationUser
name: guest
email: guest@acme.example
role: guest
---
kind: OrganizationUser
name: third_party
email: third_party@acme.example
role: third_party
---
kind: OrganizationUser
name: spare
email: spare@acme.example
role: guest
---
kind: Integration
definition: |
  definitionVersion: 7
  name: Files
  description: ''
  endpointType: flow_specific
  requiredConfigVars:
    - {key: Folder, stableKey: folder, dataType: string, orgOnly: false}
    - {key: Ours alone, stableKey: ours, dataType: string, orgOnly: true, defaultValue: ours-by-default}
  configPages:
    - {name: Company, elements: [{type: configVar, value: Ours alone}]}
    - {name: You, userLevelConfigured: true, elements: [{type: configVar, value: Folder}]}
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
"#;

fn of_customer(customer: &str) -> String {
    let mut text = format!("---\nkind: Customer\nname: {customer}\nexternalId: {customer}\n");
    for role in ["admin", "member", "marketplace_admin", "marketplace_user", "spare"] {
        let word = if role == "spare" { "marketplace_user" } else { role };
        text += &format!("---\nkind: CustomerUser\ncustomer: {customer}\nname: {role}\nexternalId: {role}\n");
        let address = if (role, customer) == ("spare", "other") { "canary" } else { role };
        text += &format!("email: {address}@{customer}.example\nrole: {word}\n");
    }
    text += &format!("---\nkind: Instance\nname: Files\ncustomer: {customer}\nintegration: Files\n");
    text += &format!("---\nkind: UserLevelConfig\ncustomer: {customer}\ninstance: Files\nuser: spare\n");
    text + "configVars: {Folder: /}\n"
}

/// What belongs to one customer, by id.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) customer: String,
    pub(crate) user: String,
    pub(crate) instance: String,
    pub(crate) flow_config: String,
    pub(crate) execution: String,
    pub(crate) config: String,
}

/// A daemon with all of them.
pub(crate) struct World {
    pub(crate) daemon: Daemon,
    pub(crate) tokens: Vec<String>,
    pub(crate) places: Vec<Place>,
    pub(crate) organization: String,
    pub(crate) integration: String,
    pub(crate) organization_user: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

impl World {
    pub(crate) async fn token(daemon: &Daemon, body: Value) -> String {
        let made = daemon.local(Method::POST, "/tokens", Some(body)).await.unwrap();
        text(&made["token"])
    }

    pub(crate) async fn start() -> Self {
        Self::with(Setup::new()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        // Roles are tried here, not bounds: making a key takes long on a machine that is busy.
        let bounds = setup
            .set("api.rate", 100_000)
            .set("api.burst", 100_000)
            .set("api.query-time", "10m");
        let daemon = Daemon::start(bounds);
        daemon
            .apply(&(MANIFESTS.to_owned() + &of_customer("own") + &of_customer("other")))
            .await;
        let mut tokens = Vec::new();
        for (role, customer) in ROLES {
            let email = format!("{role}@{}.example", customer.unwrap_or("acme"));
            let body = json!({ "name": role, "customer": customer, "user": email, "organization": "" });
            tokens.push(Self::token(&daemon, body).await);
        }
        let mut world = Self {
            daemon,
            tokens,
            places: Vec::new(),
            organization: String::new(),
            integration: String::new(),
            organization_user: String::new(),
        };
        for name in ["own", "other"] {
            let place = world.place(name).await;
            world.attach(&place.customer, "kept.txt", b"kept").await;
            world.places.push(place);
        }
        let query = r#"{ organization { id } integrations { nodes { id } } users(customer_Isnull: true, name: "spare") { nodes { id } } }"#;
        let found = world.ask(0, query, json!({})).await;
        world.organization = text(&found["data"]["organization"]["id"]);
        world.integration = text(&found["data"]["integrations"]["nodes"][0]["id"]);
        world.organization_user = text(&found["data"]["users"]["nodes"][0]["id"]);
        // In the marketplace, so that who may view integrations at all sees it.
        let offer = r#"mutation ($i: ID!) { updateIntegrationMarketplaceConfiguration(input: {id: $i, marketplaceConfiguration: "AVAILABLE_AND_DEPLOYABLE"}) { errors { messages } } }"#;
        let offered = world.ask(0, offer, json!({ "i": world.integration })).await;
        assert!(crate::is_allowed(&offered), "{offered}");
        world
    }

    async fn place(&self, name: &'static str) -> Place {
        let query = r#"query ($c: String) { customers(externalId: $c) { nodes { id instances { nodes { id flowConfigs { nodes { id } }
            userLevelConfigs { nodes { id user { id name } flowConfigs { nodes { webhookUrl } } } } } } } } }"#;
        let found = self.ask(0, query, json!({ "c": name })).await;
        let customer = &found["data"]["customers"]["nodes"][0];
        let instance = &customer["instances"]["nodes"][0];
        let config = &instance["userLevelConfigs"]["nodes"][0];
        assert_eq!(config["user"]["name"], "spare", "{found}");
        let url = config["flowConfigs"]["nodes"][0]["webhookUrl"].as_str().unwrap();
        let accepted = self.daemon.post(url, &[], "{}").await;
        let execution = text(&accepted.json()["executionId"]);
        within("the execution's end", async {
            let query = "query ($e: ID!) { executionResult(id: $e) { endedAt } }";
            while self.ask(0, query, json!({ "e": execution })).await["data"]["executionResult"]["endedAt"].is_null() {}
        })
        .await;
        Place {
            name,
            customer: text(&customer["id"]),
            user: text(&config["user"]["id"]),
            instance: text(&instance["id"]),
            flow_config: text(&instance["flowConfigs"]["nodes"][0]["id"]),
            config: text(&config["id"]),
            execution,
        }
    }

    /// Gives the first customer an instance with a variable of its own.
    pub(crate) async fn with_folder(&self) -> String {
        let manifests = r#"
kind: Integration
definition: |
  definitionVersion: 7
  name: Folders
  description: ''
  endpointType: flow_specific
  requiredConfigVars:
    - {key: Folder, stableKey: folder, dataType: string, orgOnly: false}
  configPages:
    - {name: Company, elements: [{type: configVar, value: Folder}]}
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
name: Folders
customer: own
integration: Folders
configVars: {Folder: /}
"#;
        self.daemon.apply(manifests).await;
        let found = self.ask(0, r#"{ instances(name: "Folders") { nodes { id } } }"#, json!({})).await;
        text(&found["data"]["instances"]["nodes"][0]["id"])
    }

    /// Uploads a picture, as the role in this column; gives what clients name it by.
    pub(crate) async fn picture(&self, role: usize, of: &str) -> String {
        let ask = "query ($i: ID!) { uploadMedia(objectId: $i, fileName: \"canary\", mediaType: AVATAR) { uploadUrl objectUrl } }";
        let permitted = self.ask(role, ask, json!({ "i": of })).await["data"]["uploadMedia"].take();
        let mut picture = std::io::Cursor::new(Vec::new());
        image::DynamicImage::new_rgb8(9, 9)
            .write_to(&mut picture, image::ImageFormat::Png)
            .unwrap();
        let put = self
            .daemon
            .send(Method::PUT, &text(&permitted["uploadUrl"]), &[], picture.into_inner())
            .await;
        assert_eq!(put.status, 200);
        text(&permitted["objectUrl"])
    }

    /// Attaches a document to a customer, as the owner; gives what clients name it by.
    pub(crate) async fn attach(&self, customer: &str, name: &str, content: &[u8]) -> String {
        let permit =
            "query ($i: ID!, $n: String!) { uploadMedia(objectId: $i, fileName: $n, mediaType: ATTACHMENT) { uploadUrl objectUrl } }";
        let permitted = self.ask(0, permit, json!({ "i": customer, "n": name })).await["data"]["uploadMedia"].take();
        let url = text(&permitted["uploadUrl"]);
        let put = self.daemon.send(Method::PUT, &url, &[], content.to_vec()).await;
        assert_eq!(put.status, 200);
        let reference = text(&permitted["objectUrl"]);
        let take = "mutation ($i: ID!, $n: String!, $u: String!) { updateCustomer(input: {id: $i, addAttachment: {name: $n, url: $u}}) { customer { id } errors { messages } } }";
        let taken = self.ask(0, take, json!({ "i": customer, "n": name, "u": reference })).await;
        assert!(crate::is_allowed(&taken), "{taken}");
        reference
    }

    /// Asks the API as the role in this column.
    pub(crate) async fn ask(&self, role: usize, query: &str, variables: Value) -> Value {
        let url = format!("http://{}/api", self.daemon.address("api"));
        let bearer = format!("Bearer {}", self.tokens[role]);
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        let body = json!({ "query": query, "variables": variables }).to_string();
        self.daemon.send(Method::POST, &url, &headers, body).await.json()
    }

    /// Makes something as the owner and gives its id.
    pub(crate) async fn make(&self, query: &str, variables: Value) -> String {
        let made = self.ask(0, query, variables).await;
        let payload = made["data"].as_object().and_then(|data| data.values().next());
        let object = payload.and_then(Value::as_object).and_then(|payload| payload.values().next());
        match object.map(|object| &object["id"]) {
            Some(Value::String(id)) => id.clone(),
            _ => panic!("{query}: {made}"),
        }
    }
}
