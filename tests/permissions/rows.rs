//! One request, or more, for every field that the published schema lets anybody ask for.

use crate::world::{Place, World};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever has a bearer.
    Anybody,
    /// Whoever has the operation of this name in the table.
    May(&'static str),
    /// Of those who have it, the organization's people alone.
    OurPeople(&'static str),
}

/// What a request uses up, so that it is made anew for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fresh {
    Nothing,
    Customer,
    User,
    OrganizationUser,
    Integration,
    Instance,
    Config,
    SigningKey,
}

/// A request, and what must come of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) who: Who,
    /// Whether it concerns one customer: another's people must not learn that it is there.
    pub(crate) of_customer: bool,
    pub(crate) fresh: Fresh,
    pub(crate) query: &'static str,
    /// The fresh id is `$i`, if something is used up.
    pub(crate) variables: Value,
}

impl Row {
    /// The field of the schema that the request asks for.
    pub(crate) fn field(&self) -> &'static str {
        let body = self.query.split_once('{').unwrap().1.trim_start();
        body.split(['(', ' ', '{']).next().unwrap()
    }
}

fn row(who: Who, of_customer: bool, query: &'static str, variables: Value) -> Row {
    Row {
        who,
        of_customer,
        fresh: Fresh::Nothing,
        query,
        variables,
    }
}

fn using_up(fresh: Fresh, who: Who, of_customer: bool, query: &'static str, variables: Value) -> Row {
    Row {
        fresh,
        ..row(who, of_customer, query, variables)
    }
}

const YAML: &str = "definitionVersion: 7
name: Imported
description: ''
endpointType: flow_specific
requiredConfigVars: []
configPages: []
flows: []
";

const CREATE_REGISTRATION: &str = "mutation ($i: ID!) { createAppRegistration(input: {instance: $i, connection: \"-\", name: \"-\", clientId: \"-\"}) { appRegistration { id } errors { messages } } }";
const UPDATE_REGISTRATION: &str =
    "mutation ($i: ID!) { updateAppRegistration(input: {instance: $i, id: $i}) { appRegistration { id } errors { messages } } }";
const DELETE_REGISTRATION: &str =
    "mutation ($i: ID!) { deleteAppRegistration(input: {instance: $i, id: $i}) { instance { id } errors { messages } } }";

/// The requests about one customer's place.
pub(crate) fn rows(world: &World, place: &Place) -> Vec<Row> {
    let mut rows = queries(world, place);
    rows.extend(changes_of_records(world, place));
    rows.extend(changes_of_instances(world, place));
    rows
}

fn queries(world: &World, place: &Place) -> Vec<Row> {
    use Who::{Anybody, May};
    let i = |id: &str| json!({ "i": id });
    vec![
        row(Anybody, false, "{ authenticatedUser { name role { name } } }", json!({})),
        row(Anybody, false, "{ customerRoles { name } }", json!({})),
        row(Anybody, false, "{ organizationRoles { name } }", json!({})),
        row(Anybody, false, "{ logSeverityLevels { name } }", json!({})),
        row(Anybody, false, "{ listUserTenants { nodes { orgName } } }", json!({})),
        row(Anybody, false, "{ scopedConfigVariables { pageInfo { hasNextPage } } }", json!({})),
        row(
            May("View customers"),
            true,
            "query ($i: ID!) { customerConfigVariables(customer: $i) { pageInfo { hasNextPage } } }",
            i(&place.customer),
        ),
        row(
            May("View customers"),
            true,
            "query ($i: ID!) { customer(id: $i) { name } }",
            i(&place.customer),
        ),
        row(
            May("View customers"),
            true,
            "query ($i: String) { customers(externalId: $i) { nodes { name } } }",
            i(place.name),
        ),
        row(
            May("View attachments"),
            true,
            "query ($i: ID!) { customer(id: $i) { attachments { name url } } }",
            i(&place.customer),
        ),
        row(
            May("View customer users"),
            true,
            "query ($i: ID!) { user(id: $i) { name } }",
            i(&place.user),
        ),
        row(
            May("View customer users"),
            true,
            "query ($i: ID) { users(customer: $i) { nodes { name } } }",
            i(&place.customer),
        ),
        row(
            May("View the organization"),
            false,
            "query ($i: ID!) { user(id: $i) { name } }",
            i(&world.organization_user),
        ),
        row(
            May("View the organization"),
            false,
            "query ($i: String) { users(email: $i, customer_Isnull: true) { nodes { name } } }",
            i("spare@acme.example"),
        ),
        row(May("View the organization"), false, "{ organization { name } }", json!({})),
        row(
            May("Manage signing keys"),
            false,
            "{ organization { signingKeys { pageInfo { hasNextPage } } } }",
            json!({}),
        ),
        row(
            May("View the audit"),
            false,
            "{ audit(first: 1) { nodes { revision } } }",
            json!({}),
        ),
        row(May("View components"), false, "{ components { nodes { key } } }", json!({})),
        row(
            May("View integrations"),
            false,
            "query ($i: ID!) { integration(id: $i) { name } }",
            i(&world.integration),
        ),
        row(
            May("View integrations"),
            false,
            r#"{ integrations(name: "Files") { nodes { name } } }"#,
            json!({}),
        ),
        row(
            May("View integrations"),
            false,
            "{ marketplaceIntegrations { nodes { name } } }",
            json!({}),
        ),
        row(
            May("View integrations"),
            false,
            "query ($i: ID!) { marketplaceIntegration(id: $i) { name } }",
            i(&world.integration),
        ),
        row(
            May("View instances"),
            true,
            "query ($i: ID!) { instance(id: $i) { name } }",
            i(&place.instance),
        ),
        row(
            May("View instances"),
            true,
            "query ($i: ID) { instances(customer: $i) { nodes { name } } }",
            i(&place.customer),
        ),
        row(
            May("View instance logs"),
            true,
            "query ($i: ID!) { executionResult(id: $i) { id } }",
            i(&place.execution),
        ),
        row(
            May("View instance logs"),
            true,
            "query ($i: ID) { executionResults(instance: $i) { nodes { id } } }",
            i(&place.instance),
        ),
        row(
            May("View instance logs"),
            true,
            "query ($i: ID!) { logs(executionResult: $i) { nodes { message } } }",
            i(&place.execution),
        ),
        row(
            May("View instance logs"),
            true,
            "query ($i: ID!) { executionSections(executionResult: $i) { pageInfo { hasNextPage } } }",
            i(&place.execution),
        ),
        row(
            May("View usage"),
            true,
            "query ($i: ID) { usage(customer: $i, by: [CUSTOMER]) { rows { customerId } } }",
            i(&place.customer),
        ),
        row(
            May("View user configurations"),
            true,
            "query ($i: ID!) { userLevelConfig(id: $i) { id } }",
            i(&place.config),
        ),
        row(
            May("Manage attachments"),
            true,
            r#"query ($i: ID!) { uploadMedia(objectId: $i, fileName: "a", mediaType: ATTACHMENT) { uploadUrl } }"#,
            i(&place.customer),
        ),
        row(
            May("Manage customers"),
            true,
            r#"query ($i: ID!) { uploadMedia(objectId: $i, fileName: "a", mediaType: AVATAR) { uploadUrl } }"#,
            i(&place.customer),
        ),
        row(
            May("Manage customer users"),
            true,
            r#"query ($i: ID!) { uploadMedia(objectId: $i, fileName: "a", mediaType: AVATAR) { uploadUrl } }"#,
            i(&place.user),
        ),
        row(
            May("Manage organization users"),
            false,
            r#"query ($i: ID!) { uploadMedia(objectId: $i, fileName: "a", mediaType: AVATAR) { uploadUrl } }"#,
            i(&world.organization_user),
        ),
        row(
            May("Manage the organization"),
            false,
            r#"query ($i: ID!) { uploadMedia(objectId: $i, fileName: "a", mediaType: AVATAR) { uploadUrl } }"#,
            i(&world.organization),
        ),
        row(
            May("Manage integrations"),
            false,
            r#"query ($i: ID!) { uploadMedia(objectId: $i, fileName: "a", mediaType: AVATAR) { uploadUrl } }"#,
            i(&world.integration),
        ),
    ]
}

fn changes_of_records(world: &World, place: &Place) -> Vec<Row> {
    use Who::May;
    let i = |id: &str| json!({ "i": id });
    vec![
        row(
            May("Manage customers"),
            false,
            r#"mutation { createCustomer(input: {name: ""}) { customer { id } errors { messages } } }"#,
            json!({}),
        ),
        row(
            May("Manage customers"),
            true,
            "mutation ($i: ID!) { updateCustomer(input: {id: $i, description: \"changed\"}) { customer { id } errors { messages } } }",
            i(&place.customer),
        ),
        row(
            May("Manage attachments"),
            true,
            "mutation ($i: ID!) { updateCustomer(input: {id: $i, addAttachment: {name: \"a\", url: \"\"}}) { customer { id } errors { messages } } }",
            i(&place.customer),
        ),
        row(
            May("Manage attachments"),
            true,
            "mutation ($i: ID!) { updateCustomer(input: {id: $i, removeAttachment: {name: \"a\", url: \"\"}}) { customer { id } errors { messages } } }",
            i(&place.customer),
        ),
        row(
            May("Manage customers"),
            true,
            "mutation ($i: ID!) { updateCustomer(input: {id: $i, avatarUrl: \"\"}) { customer { id } errors { messages } } }",
            i(&place.customer),
        ),
        row(
            May("Manage customers"),
            true,
            "mutation ($i: ID!) { deleteCustomer(input: {id: $i, confirmName: \"-\"}) { customer { id } errors { messages } } }",
            i(&place.customer),
        ),
        using_up(
            Fresh::Customer,
            May("Manage customers"),
            false,
            "mutation ($i: ID!) { deleteCustomer(input: {id: $i}) { customer { id } errors { messages } } }",
            json!({}),
        ),
        row(
            May("Manage customer users"),
            true,
            "mutation ($c: ID!, $r: ID!) { createCustomerUser(input: {customer: $c, email: \"-\", role: $r}) { user { id } errors { messages } } }",
            json!({ "c": place.customer, "r": role_of("customer") }),
        ),
        row(
            May("Manage customer users"),
            true,
            "mutation ($i: ID!) { updateUser(input: {id: $i, phone: \"1\"}) { user { id } errors { messages } } }",
            i(&place.user),
        ),
        using_up(
            Fresh::User,
            May("Manage customer users"),
            true,
            "mutation ($i: ID!) { inviteUser(input: {id: $i}) { user { id } errors { messages } } }",
            json!({}),
        ),
        using_up(
            Fresh::User,
            May("Manage customer users"),
            true,
            "mutation ($i: ID!) { deleteUser(input: {id: $i}) { user { id } errors { messages } } }",
            json!({}),
        ),
        row(
            May("Manage organization users"),
            false,
            "mutation ($r: ID!) { createOrganizationUser(input: {email: \"-\", role: $r}) { user { id } errors { messages } } }",
            json!({ "r": role_of("organization") }),
        ),
        row(
            May("Manage organization users"),
            false,
            "mutation ($i: ID!) { updateUser(input: {id: $i, phone: \"1\"}) { user { id } errors { messages } } }",
            i(&world.organization_user),
        ),
        using_up(
            Fresh::OrganizationUser,
            May("Manage organization users"),
            false,
            "mutation ($i: ID!) { inviteUser(input: {id: $i}) { user { id } errors { messages } } }",
            json!({}),
        ),
        using_up(
            Fresh::OrganizationUser,
            May("Manage organization users"),
            false,
            "mutation ($i: ID!) { deleteUser(input: {id: $i}) { user { id } errors { messages } } }",
            json!({}),
        ),
        row(
            May("Manage the organization"),
            false,
            "mutation { updateOrganization(input: {name: \"Acme\"}) { organization { id } errors { messages } } }",
            json!({}),
        ),
        row(
            May("Manage signing keys"),
            false,
            "mutation { importOrganizationSigningKey(input: {publicKey: \"-\"}) { organizationSigningKey { id } errors { messages } } }",
            json!({}),
        ),
        using_up(
            Fresh::SigningKey,
            May("Manage signing keys"),
            false,
            "mutation ($i: ID!) { deleteOrganizationSigningKey(input: {id: $i}) { organizationSigningKey { id } errors { messages } } }",
            json!({}),
        ),
        row(
            May("Manage signing keys"),
            false,
            "mutation { createOrganizationSigningKey(input: {}) { errors { messages } } }",
            json!({}),
        ),
    ]
}

/// Ids of roles never change.
fn role_of(side: &str) -> String {
    // A customer's member, and a guest of the organization: whoever manages users may give these.
    let place: u128 = if side == "customer" { 6 } else { 3 };
    perseat_domain::id::join_global("Role", uuid::Uuid::from_u128(0x5045_5253_4541_8000_8000_524f_4c45_0000 + place))
}

fn changes_of_instances(world: &World, place: &Place) -> Vec<Row> {
    use Who::{May, OurPeople};
    let i = |id: &str| json!({ "i": id });
    vec![
        row(May("Configure instances"), true, CREATE_REGISTRATION, i(&place.instance)),
        row(May("Configure instances"), true, UPDATE_REGISTRATION, i(&place.instance)),
        row(May("Configure instances"), true, DELETE_REGISTRATION, i(&place.instance)),
        row(
            May("Manage integrations"),
            false,
            "mutation ($d: String!) { importIntegration(input: {definition: $d}) { integration { id } errors { messages } } }",
            json!({ "d": YAML }),
        ),
        row(
            May("Manage integrations"),
            false,
            "mutation { createIntegration(input: {name: \"Files\"}) { integration { id } errors { messages } } }",
            json!({}),
        ),
        row(
            May("Manage integrations"),
            false,
            "mutation ($i: ID!) { updateIntegration(input: {id: $i, labels: [\"a\"]}) { integration { id } errors { messages } } }",
            i(&world.integration),
        ),
        row(
            May("Manage integrations"),
            false,
            "mutation ($i: ID!) { publishIntegration(input: {id: $i}) { integration { id } errors { messages } } }",
            i(&world.integration),
        ),
        row(
            May("Manage integrations"),
            false,
            "mutation ($i: ID!) { forkIntegration(input: {parent: $i, name: \"Files\"}) { integration { id } errors { messages } } }",
            i(&world.integration),
        ),
        using_up(
            Fresh::Integration,
            May("Manage integrations"),
            false,
            "mutation ($i: ID!) { deleteIntegration(input: {id: $i}) { integration { id } errors { messages } } }",
            json!({}),
        ),
        row(
            May("Manage integrations"),
            false,
            "mutation ($i: ID!) { updateIntegrationVersionAvailability(input: {id: $i, available: true}) { integration { id } errors { messages } } }",
            i(&world.integration),
        ),
        row(
            May("Manage integrations"),
            false,
            "mutation ($i: ID!) { updateIntegrationMarketplaceConfiguration(input: {id: $i, overview: \"-\"}) { integration { id } errors { messages } } }",
            i(&world.integration),
        ),
        row(
            May("Manage integrations"),
            false,
            "mutation { validateIntegrationSchema(input: {definition: \"-\"}) { result { isValid } errors { messages } } }",
            json!({}),
        ),
        row(
            May("Configure instances"),
            true,
            "mutation ($c: ID!, $v: ID!) { createInstance(input: {customer: $c, integration: $v, name: \"Files\"}) { instance { id } errors { messages } } }",
            json!({ "c": place.customer, "v": world.integration }),
        ),
        row(
            May("Configure instances"),
            true,
            "mutation ($i: ID!) { updateInstance(input: {id: $i, description: \"changed\"}) { instance { id } errors { messages } } }",
            i(&place.instance),
        ),
        row(
            May("Configure instances"),
            true,
            "mutation ($i: ID!) { updateInstanceConfigVariables(input: {id: $i, configVariables: []}) { instance { id } errors { messages } } }",
            i(&place.instance),
        ),
        row(
            May("Configure instances"),
            true,
            "mutation ($i: ID!) { deployInstance(input: {id: $i}) { instance { id } errors { messages } } }",
            i(&place.instance),
        ),
        using_up(
            Fresh::Instance,
            May("Configure instances"),
            true,
            "mutation ($i: ID!) { deleteInstance(input: {id: $i}) { instance { id } errors { messages } } }",
            json!({}),
        ),
        row(
            May("Test instances"),
            true,
            "mutation ($i: ID!) { testInstanceFlowConfig(input: {id: $i}) { errors { messages } } }",
            i(&place.flow_config),
        ),
        row(
            May("Configure one's own user level configuration"),
            true,
            "mutation ($i: ID!) { createUserLevelConfig(input: {instance: $i}) { userLevelConfig { id } errors { messages } } }",
            i(&place.instance),
        ),
        row(
            OurPeople("Manage user configurations"),
            true,
            "mutation ($i: ID!) { updateUserLevelConfig(input: {id: $i, partial: true, configVariables: []}) { userLevelConfig { id } errors { messages } } }",
            i(&place.config),
        ),
        using_up(
            Fresh::Config,
            May("Manage user configurations"),
            true,
            "mutation ($i: ID!) { deleteUserLevelConfig(input: {id: $i}) { userLevelConfig { id } errors { messages } } }",
            json!({}),
        ),
        row(
            May("Configure instances"),
            true,
            "mutation ($i: ID!) { disconnectConnection(input: {id: $i}) { instanceConfigVariable { id } errors { messages } } }",
            i(&variable("InstanceConfigVariable", &place.instance)),
        ),
        row(
            OurPeople("Manage user configurations"),
            true,
            "mutation ($i: ID!) { disconnectUserLevelConnection(input: {id: $i}) { userLevelConfigVariable { id } errors { messages } } }",
            i(&variable("UserLevelConfigVariable", &place.config)),
        ),
    ]
}

/// The id of a variable of what has this id; whether there is one is looked at behind the checks.
fn variable(kind: &str, of: &str) -> String {
    let owner = String::from_utf8(STANDARD.decode(of).unwrap()).unwrap();
    let owner = owner.split_once(':').unwrap().1;
    STANDARD.encode(format!("{kind}:{owner}/account"))
}

/// The public half of a pair of 2,048 bits that nobody has the other half of: to make one takes seconds.
fn public_key(number: usize) -> String {
    // SubjectPublicKeyInfo (RFC 5280, RFC 8017), but for the modulus and the exponent.
    const HEAD: &[u8] = b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00\x30\x82\x01\x0a\x02\x82\x01\x01\x00";
    let mut modulus = [0xc5; 256];
    modulus[8..16].copy_from_slice(&number.to_be_bytes());
    let key = [HEAD, &modulus, b"\x02\x03\x01\x00\x01"].concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", STANDARD.encode(key))
}

/// Makes, as the owner, what a request uses up.
pub(crate) async fn make(world: &World, fresh: Fresh, place: &Place, number: usize) -> String {
    // What the other customer has must not show anywhere.
    let word = if place.name == "other" { "canary" } else { "fresh" };
    let name = format!("{word} {number}");
    match fresh {
        Fresh::Nothing => String::new(),
        Fresh::Customer => {
            let query = "mutation ($n: String!) { createCustomer(input: {name: $n}) { customer { id } errors { messages } } }";
            world.make(query, json!({ "n": name })).await
        }
        Fresh::User => {
            let query = "mutation ($c: ID!, $e: String!, $r: ID!) { createCustomerUser(input: {customer: $c, email: $e, role: $r}) { user { id } errors { messages } } }";
            let variables = json!({ "c": place.customer, "e": format!("{word}{number}@own.example"), "r": role_of("customer") });
            world.make(query, variables).await
        }
        Fresh::OrganizationUser => {
            let query = "mutation ($e: String!, $r: ID!) { createOrganizationUser(input: {email: $e, role: $r}) { user { id } errors { messages } } }";
            let variables = json!({ "e": format!("{word}{number}@acme.example"), "r": role_of("organization") });
            world.make(query, variables).await
        }
        Fresh::Integration => {
            let query = "mutation ($n: String!) { createIntegration(input: {name: $n}) { integration { id } errors { messages } } }";
            world.make(query, json!({ "n": name })).await
        }
        Fresh::Instance => {
            let query = "mutation ($c: ID!, $v: ID!, $n: String!) { createInstance(input: {customer: $c, integration: $v, name: $n}) { instance { id } errors { messages } } }";
            let variables = json!({ "c": place.customer, "v": world.integration, "n": name });
            world.make(query, variables).await
        }
        Fresh::Config => {
            // The spare user has the one that is looked at; this is a new user's.
            let user = Box::pin(make(world, Fresh::User, place, number)).await;
            let query = "mutation ($i: ID!, $u: ID) { createUserLevelConfig(input: {instance: $i, user: $u, configVariables: [{key: \"Folder\", value: \"/\"}]}) { userLevelConfig { id } errors { messages } } }";
            world.make(query, json!({ "i": place.instance, "u": user })).await
        }
        Fresh::SigningKey => {
            let query = "mutation ($k: String!) { importOrganizationSigningKey(input: {publicKey: $k}) { organizationSigningKey { id } errors { messages } } }";
            world.make(query, json!({ "k": public_key(number) })).await
        }
    }
}
