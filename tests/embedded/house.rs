//! A customer with everything that pages show: variables of every kind on both levels, connections by consent, executions, and
//! people who sign in.

use crate::harness::daemon::Setup;
use crate::screens::Office;
use crate::world::account;
use http::Method;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;

/// A variable whose value is chosen of what `script` offers.
fn offered(key: &str, data_type: &str, source: &str, result: &str) -> String {
    format!(
        "  - key: {key}
    stableKey: {key}
    dataType: {data_type}
    orgOnly: false
    dataSource: {{key: {source}, component: {{key: code, isPublic: true, version: LATEST}}}}
    inputs:
      code: {{type: value, value: \"module.exports = async () => ({{ result: {result} }});\"}}
"
    )
}

/// The fields of the page that a data source fills, one for each way of choosing.
fn choices() -> [String; 5] {
    [
        offered("Room", "picklist", "runCodePicklist", "[{ key: 'r1', label: 'First room' }, 'r2']"),
        offered(
            "Records",
            "objectSelection",
            "runCodeObjectSelection",
            "[{ object: { key: 'contact', label: 'Contact' }, fields: [{ key: 'mail', label: 'E-mail' }, 'phone'] }]",
        ),
        offered(
            "Mapping",
            "objectFieldMap",
            "runCodeObjectFieldMap",
            "{ fields: [{ field: { key: 'name', label: 'Name of ours' } }], options: [{ object: { key: 'person', label: 'Person' }, fields: ['full', 'short'] }] }",
        ),
        offered(
            "Settings",
            "jsonForm",
            "runCodeJsonForm",
            "{ schema: { type: 'object', required: ['title'], properties: { title: { type: 'string', title: 'Title' }, urgent: { type: 'boolean', title: 'Urgent' } } } }",
        ),
        offered("Greeting", "string", "runCodeString", "'Hello'"),
    ]
}

/// An integration with a variable of every kind on its users' pages, an account by consent on both levels, and more than one step.
fn everything(provider: &str) -> String {
    let (ours, mine) = (
        account("Company account", "company", provider),
        account("Account", "account", provider),
    );
    let choices = choices().concat();
    format!(
        "definitionVersion: 7
name: Everything
description: A field of every kind
category: Storage
endpointType: flow_specific
requiredConfigVars:
  - {{key: Address, stableKey: address, dataType: string, orgOnly: false, description: Where your files are}}
  - {{key: Quarter, stableKey: quarter, dataType: picklist, pickList: [north, south], orgOnly: false}}
{ours}  - {{key: Text, stableKey: text, dataType: string, orgOnly: false, description: Anything}}
  - {{key: Count, stableKey: count, dataType: number, orgOnly: false, defaultValue: '10'}}
  - {{key: Notify, stableKey: notify, dataType: boolean, orgOnly: false, defaultValue: 'false'}}
  - {{key: Region, stableKey: region, dataType: picklist, pickList: [eu, us], orgOnly: false}}
  - {{key: Every, stableKey: every, dataType: schedule, orgOnly: false, defaultValue: '0 * * * *'}}
  - {{key: Since, stableKey: since, dataType: date, orgOnly: false}}
  - {{key: Moment, stableKey: moment, dataType: timestamp, orgOnly: false, x-perseat: {{required: false}}}}
  - {{key: Rules, stableKey: rules, dataType: code, codeLanguage: json, orgOnly: false, defaultValue: '{{}}'}}
  - {{key: Raw, stableKey: raw, dataType: jsonForm, orgOnly: false, defaultValue: '{{}}'}}
  - {{key: Tags, stableKey: tags, dataType: string, collectionType: valuelist, orgOnly: false, defaultValue: '[]'}}
  - {{key: Headers, stableKey: headers, dataType: string, collectionType: keyvaluelist, orgOnly: false, defaultValue: '[]'}}
{choices}{mine}  - {{key: Box, stableKey: box, dataType: connection, connection: {{key: basic, component: {{key: http, isPublic: true, version: LATEST}}}}, inputs: {{}}}}
configPages:
  - {{name: Company, elements: [{{type: configVar, value: Address}}, {{type: configVar, value: Quarter}}]}}
  - {{name: Company account, elements: [{{type: configVar, value: Company account}}]}}
  - name: You
    tagline: What is yours alone
    userLevelConfigured: true
    elements:
      - {{type: htmlElement, value: '<p>Read <a href=\"https://help.example/\">this</a></p>'}}
      - {{type: configVar, value: Text}}
      - {{type: configVar, value: Count}}
      - {{type: configVar, value: Notify}}
      - {{type: configVar, value: Region}}
      - {{type: configVar, value: Every}}
      - {{type: configVar, value: Since}}
      - {{type: configVar, value: Moment}}
      - {{type: configVar, value: Rules}}
      - {{type: configVar, value: Raw}}
      - {{type: configVar, value: Tags}}
      - {{type: configVar, value: Headers}}
  - {{name: Accounts, userLevelConfigured: true, elements: [{{type: configVar, value: Account}}, {{type: configVar, value: Box}}]}}
  - name: Choices
    userLevelConfigured: true
    elements:
      - {{type: configVar, value: Room}}
      - {{type: configVar, value: Records}}
      - {{type: configVar, value: Mapping}}
      - {{type: configVar, value: Settings}}
      - {{type: configVar, value: Greeting}}
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

/// See the module.
pub(crate) struct House {
    pub(crate) office: Office,
    /// Links by which somebody sets the passwords of two users with one address.
    invitations: [Value; 2],
    _secrets: TempDir,
}

impl House {
    /// Its pages may be shown by `host`; accounts are at `provider`, which says who people are, too.
    pub(crate) async fn shown_by(host: &str, provider: &str) -> Self {
        let secrets = tempfile::tempdir().unwrap();
        let setup = Setup::new()
            .set("outbound.allow", vec![provider.trim_start_matches("http://")])
            .set("sign-in.hash-memory", "64KiB")
            .set("oidc.issuer", provider)
            .set("oidc.client-id", "perseat")
            .set("oidc.client-secret", secret(&secrets, "canary-of-the-client"))
            .set("oidc.provider-name", "Acme Login")
            // Nobody answers there: a letter waits.
            .set("mail.host", "127.0.0.1")
            .set("mail.port", 1)
            .set("mail.security", "none")
            .set("mail.from", "perseat@acme.example");
        let office = Office::shown_by(host, setup).await;
        office.world.offer(&everything(provider)).await;
        let body = json!({ "email": "ann@acme.example", "organization": "Acme" });
        let made = office.world.daemon.local(Method::POST, "/users/owner", Some(body)).await.unwrap();
        Self {
            invitations: [made["url"].clone(), invited(&office).await],
            office,
            _secrets: secrets,
        }
    }

    /// What the walk is told.
    pub(crate) fn given(&self) -> Value {
        let world = &self.office.world;
        let token = |user: &str, role: &str| world.walker("globex", user, role);
        json!({
            "url": world.url(""),
            "people": { "ada": token("ada", "admin"), "bob": token("bob", "user"), "carl": token("carl", "user") },
            "invitations": self.invitations,
        })
    }
}

/// The link of a user of a customer with the address of the owner.
async fn invited(office: &Office) -> Value {
    let api = office.world.api();
    let roles = api.get("{ customerRoles { id name } }", json!({})).await;
    let role = roles.as_array().unwrap().iter().find(|role| role["name"] == "Member").unwrap();
    let customer = "mutation { createCustomer(input: {name: \"Initrode\"}) { customer { id } errors { messages } } }";
    let customer = api.get(customer, json!({})).await;
    let create = "mutation ($c: ID, $r: ID!) { createCustomerUser(input: {customer: $c, email: \"ann@acme.example\", name: \"Ann\", role: $r}) { user { id } errors { messages } } }";
    let made = api.get(create, json!({ "c": customer["customer"]["id"], "r": role["id"] })).await;
    let invite = "mutation ($i: ID) { inviteUser(input: {id: $i, showLink: true}) { invitationUrl errors { messages } } }";
    api.get(invite, json!({ "i": made["user"]["id"] })).await["invitationUrl"].clone()
}

/// A file that only its owner reads.
fn secret(folder: &TempDir, text: &str) -> String {
    let path = folder.path().join("secret");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}
