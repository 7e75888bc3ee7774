//! The set-up of the routing tests, and what a row of them asserts.

use crate::daemon::{Daemon, Endpoints};
use crate::http::{Answer, Request, request};
use crate::set_up::{customer, document, instance, instance_with, integration, organization, organization_user, user, user_config};

pub(crate) const OPEN: &str = "endpointSecurityType: unsecured";
/// What an integration without users is configured with.
const OF_CUSTOMER: &str = "Provider: http://127.0.0.1:9, Folder: /globex/all, Account: {fields: {token: token-of-globex-4711}}";
pub(crate) const FLOW: &str = "perseat-flow-name";
pub(crate) const CUSTOMER: &str = "perseat-customer-external-id";
pub(crate) const USER: &str = "perseat-user-external-id";

/// Two flows that answer with what they were given.
pub(crate) fn two_flows(name: &str, endpoint: &'static str) -> crate::set_up::Integration {
    integration(name, endpoint).echo("Echo", OPEN).echo("Second", OPEN)
}

fn integrations() -> String {
    let body = |field| format!("payload.results.body.data.{field}");
    let query = |field| format!("payload.results.queryParameters.{field}");
    let shared = |name| two_flows(name, "shared_instance");
    let all = [
        two_flows("Files", "flow_specific").echo("Keyed", "endpointSecurityType: customer_required"),
        two_flows("Audit", "flow_specific").plain(),
        two_flows("Calendar", "instance_specific"),
        two_flows("Board", "instance_specific").plain(),
        shared("Chat"),
        shared("News").plain(),
        shared("Forms")
            .field("flowNameField", &body("flow"))
            .field("externalCustomerIdField", &body("account.id"))
            .field("externalCustomerUserIdField", &body("person")),
        shared("Links")
            .field("flowNameField", &query("flow"))
            .field("externalCustomerIdField", &query("account"))
            .field("externalCustomerUserIdField", &query("person")),
        integration("Solo", "shared_instance").echo("Echo", OPEN),
        integration("Vault", "shared_instance")
            .echo("Open", OPEN)
            .echo("Optional", "endpointSecurityType: customer_optional")
            .echo("Required", "endpointSecurityType: customer_required")
            .echo("Ours", "endpointSecurityType: organization\n    organizationApiKeys: [key-ours]")
            .echo("Partners", "endpointSecurityType: organization"),
    ];
    let all: String = all.iter().map(crate::set_up::Integration::manifest).collect();
    all + "organizationApiKeys: {Partners: [key-partners]}\n"
}

const ULC: [&str; 7] = ["Files", "Calendar", "Chat", "Forms", "Links", "Solo", "Vault"];

/// The set-up of most rows: what is left out of it was removed.
pub(crate) struct World {
    pub(crate) ulc: bool,
    pub(crate) without: Vec<&'static str>,
    pub(crate) globex_chat: &'static str,
}

impl Default for World {
    fn default() -> Self {
        Self {
            ulc: true,
            without: Vec::new(),
            globex_chat: "state: enabled",
        }
    }
}

impl World {
    pub(crate) fn without(parts: &[&'static str]) -> Self {
        Self {
            without: parts.to_vec(),
            ..Self::default()
        }
    }

    pub(crate) fn manifests(&self) -> String {
        let mut text =
            organization(self.ulc) + &organization_user("olga") + &organization_user("twin") + &customer("globex") + &customer("empty");
        for name in ["jane", "bob", "dora", "twin"] {
            text += &user("globex", name);
        }
        text += &document(
            "CustomerUser",
            "customer: globex\nname: Mia\nemail: mia@globex.example\nrole: marketplace_user",
        );
        text += &integrations();
        for name in ["Files", "Audit", "Calendar", "Board", "News", "Forms", "Links", "Solo", "Vault"] {
            let keys = match name {
                "Files" => "apiKeys: {Keyed: [key-of-globex]}",
                "Vault" => "apiKeys: {Optional: [key-o], Required: [key-r]}",
                _ => "state: enabled",
            };
            let own = match name {
                "Audit" | "Board" | "News" => instance_with("globex", name, keys, OF_CUSTOMER),
                _ => instance("globex", name, keys),
            };
            text += &self.unless(name, own);
        }
        text += &instance("globex", "Chat", self.globex_chat);
        for name in ULC {
            for owner in ["jane", "twin"] {
                text += &self.unless(name, user_config("globex", name, owner));
            }
            text += &self.unless(name, self.unless("bob's", user_config("globex", name, "bob")));
        }
        text += &user_config("globex", "Chat", "mia@globex.example");
        text += &user_config("globex", "Chat", "organization:olga");
        text += &self.unless(
            "initech",
            customer("initech")
                + &user("initech", "jane")
                + &instance("initech", "Chat", "")
                + &instance("initech", "Files", "apiKeys: {Keyed: [key-of-initech]}"),
        );
        text += &self.unless(
            "initech",
            user_config("initech", "Chat", "jane") + &user_config("initech", "Files", "jane"),
        );
        text + &customer("off")
            + &user("off", "jane")
            + &instance("off", "Chat", "state: disabled")
            + &customer("new")
            + &instance("new", "Chat", "state: notDeployed")
    }

    fn unless(&self, part: &str, text: String) -> String {
        if self.without.contains(&part) { String::new() } else { text }
    }
}

pub(crate) fn start(world: &World) -> (Daemon, Endpoints) {
    let daemon = Daemon::start("");
    daemon.set_up(&world.manifests());
    let endpoints = daemon.endpoints();
    (daemon, endpoints)
}

pub(crate) fn post(path: &str) -> Request {
    request("POST", path)
}

/// The row's flow ran, under this customer and user.
#[track_caller]
pub(crate) fn assert_runs(row: &str, daemon: &Daemon, request: &Request, customer: &str, user: Option<&str>, flow: &str) -> Answer {
    let answer = daemon.call(request);
    assert_eq!(answer.status, 200, "{row}: {}", answer.text());
    let seen = answer.json();
    let names = (
        seen["customer"]["externalId"].as_str(),
        seen["user"]["externalId"].as_str(),
        seen["flow"]["name"].as_str(),
    );
    assert_eq!(names, (Some(customer), user, Some(flow)), "{row}: {}", answer.text());
    assert_eq!(seen["user"].is_null(), user.is_none(), "{row}: {}", answer.text());
    let folder = format!("/{customer}/{}", user.unwrap_or("all"));
    assert_eq!(answer.header("x-folder"), Some(folder.as_str()), "{row}: the folder");
    answer
}

/// The row is refused with this code, in a body of two texts, and nothing is recorded.
#[track_caller]
pub(crate) fn assert_refused(row: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{row}: {}", answer.text());
    let body = answer.json();
    let body = body.as_object().unwrap();
    assert_eq!(body.keys().collect::<Vec<_>>(), ["error", "code"], "{row}");
    let sentence = body["error"].as_str().unwrap();
    assert!(sentence.ends_with('.') && sentence.len() > 10, "{row}: {sentence:?} is no sentence");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{row}");
    assert_eq!(answer.header("prismatic-executionid"), None, "{row}");
}
