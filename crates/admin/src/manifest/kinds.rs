//! The kinds of manifest.

use super::secret::SecretText;
use perseat_domain::model::Role;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

fn organization_roles(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["owner", "admin", "integrator", "guest", "third_party"] })
}

fn customer_roles(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["admin", "member", "marketplace_admin", "marketplace_user"] })
}

/// The organization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Organization {
    /// Its name.
    pub name: String,
    /// Whether users may have configurations of their own.
    #[serde(default)]
    pub ulc_enabled: bool,
    /// Public keys (PEM) that embedded users' tokens are signed with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signing_keys: Vec<String>,
}

/// A user of the organization itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrganizationUser {
    /// The display name.
    pub name: String,
    /// The e-mail address, unique; or give `externalId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The host product's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// `owner`, `admin`, `integrator`, `guest` or `third_party`.
    #[schemars(schema_with = "organization_roles")]
    pub role: Role,
}

/// A customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Customer {
    /// Unique.
    pub name: String,
    /// The organization's own id for it, unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Plain text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Stored in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// A user of a customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomerUser {
    /// The customer's external id or name.
    pub customer: String,
    /// The display name.
    pub name: String,
    /// The e-mail address, unique in the customer; or give `externalId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The host product's id, unique in the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// `admin`, `member`, `marketplace_admin` or `marketplace_user`.
    #[schemars(schema_with = "customer_roles")]
    pub role: Role,
    /// What they are sorted by, such as a region; rules for app registrations go by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// An integration, from its YAML.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Integration {
    /// The integration's YAML file, relative to the manifest; once read, the path that was read. Or give `definition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The integration's YAML as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// API keys of flows with `endpointSecurityType: organization`, by flow name. In place of those in the YAML, so that
    /// these need not stand there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub organization_api_keys: BTreeMap<String, Vec<SecretText>>,
    /// Secret inputs of connections (`clientSecret`, `password`, …), by the variable's key and the input's name. In place of
    /// those in the YAML, which says `removed` there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub connection_secrets: BTreeMap<String, BTreeMap<String, SecretText>>,
}

impl fmt::Debug for Integration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Integration").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Who shares a connection, and who connects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SharingWord {
    /// All customers have the one that the organization connects.
    Organization,
    /// Each customer has one, and the organization connects it.
    CustomerByOrganization,
    /// Each customer has one, and its admin connects it.
    Customer,
    /// Each user has one, for all integrations, and connects it.
    User,
}

/// A connection that integrations name by its stable key (`useScopedConfigVar`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SharedConnection {
    /// What people call it.
    pub name: String,
    /// Unique.
    pub stable_key: String,
    /// Plain text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who shares it.
    pub sharing: SharingWord,
    /// The component that has this kind of connection.
    pub component: String,
    /// The kind of connection (`oauth2`, `apiKey`, …).
    pub connection: String,
    /// Inputs that the organization gives.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, SecretText>,
    /// The OAuth 2.0 token answer, where the organization connects it for all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub token: BTreeMap<String, SecretText>,
}

/// What one customer or user gives to a shared connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SharedConnectionValue {
    /// The connection's stable key.
    pub connection: String,
    /// The customer's external id or name.
    pub customer: String,
    /// The user's external id or e-mail address, where users share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Inputs by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, SecretText>,
    /// The OAuth 2.0 token answer as stored.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub token: BTreeMap<String, SecretText>,
}

/// Where an instance shall stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum InstanceStateWord {
    /// Deployed and switched on.
    #[default]
    Enabled,
    /// Deployed and switched off.
    Disabled,
    /// Created only.
    NotDeployed,
}

/// A connection's values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionFields {
    /// Inputs by name (`username`, `password`, `apiKey`, `token`, …).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, SecretText>,
    /// The OAuth 2.0 token answer as stored: `access_token`, `refresh_token`, ….
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub token: BTreeMap<String, SecretText>,
}

/// The value of a configuration variable: text, or a connection's values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ConfigVarValue {
    /// Text, or where it comes from.
    Text(SecretText),
    /// A connection.
    Connection(ConnectionFields),
}

/// An integration switched on for a customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Instance {
    /// Unique in the customer.
    pub name: String,
    /// The customer's external id or name.
    pub customer: String,
    /// The integration's name.
    pub integration: String,
    /// The integration's version; the newest that is published if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Where it shall stand.
    #[serde(default)]
    pub state: InstanceStateWord,
    /// Values of instance-level variables by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config_vars: BTreeMap<String, ConfigVarValue>,
    /// API keys by flow name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub api_keys: BTreeMap<String, Vec<SecretText>>,
    /// The flows to deploy; all that are complete if absent. Needed where the integration is a draft.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<String>,
}

/// A customer's own registration with the provider of a connection by OAuth 2.0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppRegistration {
    /// The customer's external id or name.
    pub customer: String,
    /// The instance's name.
    pub instance: String,
    /// The connection's key.
    pub connection: String,
    /// Unique among those of the connection: configurations choose it by this, under `fields.registration`.
    pub name: String,
    /// What the provider calls it.
    pub client_id: String,
    /// Its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretText>,
    /// What is asked for in place of what the integration asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<String>,
    /// Users with an e-mail address of one of these domains have it where they choose none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub email_domains: Vec<String>,
    /// Users with one of these labels have it where they choose none; counts before `emailDomains`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// A user's configuration of an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserLevelConfig {
    /// The customer's external id or name.
    pub customer: String,
    /// The instance's name.
    pub instance: String,
    /// The user's external id or e-mail address; `organization:` before it names an organization user (tests only).
    pub user: String,
    /// Values of user-level variables by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config_vars: BTreeMap<String, ConfigVarValue>,
}

impl UserLevelConfig {
    /// What stands before the name of an organization user.
    pub const OF_ORGANIZATION: &'static str = "organization:";
}

/// One manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum Manifest {
    /// The organization.
    Organization(Organization),
    /// A user of the organization.
    OrganizationUser(OrganizationUser),
    /// A customer.
    Customer(Customer),
    /// A user of a customer.
    CustomerUser(CustomerUser),
    /// A shared connection.
    SharedConnection(SharedConnection),
    /// What somebody gives to one.
    SharedConnectionValue(SharedConnectionValue),
    /// An integration.
    Integration(Integration),
    /// An instance.
    Instance(Instance),
    /// An app registration.
    AppRegistration(AppRegistration),
    /// A user's configuration.
    UserLevelConfig(UserLevelConfig),
}

impl Manifest {
    /// The kinds, in the order in which they are applied.
    pub const KINDS: [&'static str; 10] = [
        "Organization",
        "OrganizationUser",
        "Customer",
        "CustomerUser",
        "SharedConnection",
        "SharedConnectionValue",
        "Integration",
        "Instance",
        "AppRegistration",
        "UserLevelConfig",
    ];

    /// The place of this manifest's kind in [`Manifest::KINDS`].
    #[must_use]
    pub fn order(&self) -> usize {
        match self {
            Self::Organization(_) => 0,
            Self::OrganizationUser(_) => 1,
            Self::Customer(_) => 2,
            Self::CustomerUser(_) => 3,
            Self::SharedConnection(_) => 4,
            Self::SharedConnectionValue(_) => 5,
            Self::Integration(_) => 6,
            Self::Instance(_) => 7,
            Self::AppRegistration(_) => 8,
            Self::UserLevelConfig(_) => 9,
        }
    }

    /// Every text in it that may come from elsewhere.
    pub fn secrets_mut(&mut self) -> Vec<&mut SecretText> {
        fn of_vars(vars: &mut BTreeMap<String, ConfigVarValue>) -> Vec<&mut SecretText> {
            vars.values_mut()
                .flat_map(|value| match value {
                    ConfigVarValue::Text(text) => vec![text],
                    ConfigVarValue::Connection(connection) => connection.fields.values_mut().chain(connection.token.values_mut()).collect(),
                })
                .collect()
        }
        match self {
            Self::Instance(instance) => {
                let mut all = of_vars(&mut instance.config_vars);
                all.extend(instance.api_keys.values_mut().flatten());
                all
            }
            Self::SharedConnection(shared) => shared.fields.values_mut().chain(shared.token.values_mut()).collect(),
            Self::SharedConnectionValue(value) => value.fields.values_mut().chain(value.token.values_mut()).collect(),
            Self::AppRegistration(registration) => registration.client_secret.iter_mut().collect(),
            Self::UserLevelConfig(config) => of_vars(&mut config.config_vars),
            Self::Integration(integration) => {
                let secrets = integration.connection_secrets.values_mut().flat_map(BTreeMap::values_mut);
                integration.organization_api_keys.values_mut().flatten().chain(secrets).collect()
            }
            _ => Vec::new(),
        }
    }
}
