//! The catalog's records: who exists and what is configured. Secrets appear only in sealed form.

use crate::id::{CustomerId, FlowNumber, InstanceId, IntegrationId, MediaId, OrganizationId, TokenId, UserConfigId, UserId};
use crate::registration::AppRegistration;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes sealed under the key of one owner (see `perseat-store`): `format ‖ key version ‖ nonce ‖ ciphertext ‖ tag`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(#[serde(with = "serde_bytes_vec")] pub Vec<u8>);

mod serde_bytes_vec {
    use serde::{Deserialize, Deserializer, Serializer};
    pub(super) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(bytes)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        bytes::Bytes::deserialize(d).map(Into::into)
    }
}

/// The organization; one per data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// Its name.
    pub name: String,
    /// Whether user level configuration is switched on.
    pub ulc_enabled: bool,
    /// The keys that embedded users' tokens are signed with.
    pub signing_keys: Vec<SigningKey>,
}

/// The public half of a key that the host product signs embedded users' tokens with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// Its id.
    pub id: uuid::Uuid,
    /// RSA, in PEM.
    pub public_key: String,
    /// The last characters of the private key, for people to tell keys apart; empty for an imported one.
    pub private_key_preview: String,
    /// When it was made or imported.
    pub issued_at: Timestamp,
    /// Whether the private key was made elsewhere.
    pub imported: bool,
}

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Its id.
    pub id: CustomerId,
    /// Unique within the organization.
    pub name: String,
    /// The organization's own id for it; unique when set.
    pub external_id: Option<String>,
    /// Plain text.
    pub description: String,
    /// Lower-case labels.
    pub labels: Vec<String>,
}

/// To whom a user belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Membership {
    /// The organization itself.
    Organization,
    /// One customer.
    Customer(CustomerId),
}

/// What a user may do; the matrix is in the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Organization owner.
    Owner,
    /// Organization or customer admin.
    Admin,
    /// Organization integrator.
    Integrator,
    /// Organization guest.
    Guest,
    /// Organization user without rights of their own.
    ThirdParty,
    /// Customer member.
    Member,
    /// Embedded admin.
    MarketplaceAdmin,
    /// Embedded user.
    MarketplaceUser,
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// To whom they belong.
    pub membership: Membership,
    /// The e-mail address; unique within the membership.
    pub email: Option<String>,
    /// The display name.
    pub name: String,
    /// The host product's id; unique within the membership.
    pub external_id: Option<String>,
    /// The subject of embedded tokens.
    pub subject: Option<String>,
    /// When the newest of their embedded tokens that changed something was made.
    pub subject_seen_at: Option<Timestamp>,
    /// What they may do.
    pub role: Role,
    /// What they set for themselves.
    pub profile: Profile,
    /// What whoever manages them sorts them by, such as a region; in lower case, in order.
    pub labels: Vec<String>,
}

/// What a person sets for themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Their telephone number, as they wrote it.
    pub phone: String,
    /// Whether pages are dark.
    pub dark_mode: bool,
    /// Whether pages are dark when the rest of their screen is.
    pub dark_mode_os_sync: bool,
}

/// A bearer token that was made by hand. The token itself is shown once and never kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// Its id.
    pub id: TokenId,
    /// What it is for.
    pub name: String,
    /// As whom it acts.
    pub holder: TokenHolder,
    /// SHA-256 of the token.
    pub digest: KeyDigest,
    /// Its first characters, for people to tell tokens apart.
    pub prefix: String,
    /// When it was made.
    pub issued_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// As whom a token acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenHolder {
    /// As a program with a role of its own.
    Program {
        /// Within the organization or one customer.
        membership: Membership,
        /// What it may do.
        role: Role,
    },
    /// As a person, with whatever role they have today.
    User(UserId),
}

/// A file that was uploaded. Its content is kept beside the catalog, sealed by its owner's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// Its id.
    pub id: MediaId,
    /// Whose.
    pub owner: MediaOwner,
    /// What it is for.
    pub kind: MediaKind,
    /// Its name; of attachments unique for their owner.
    pub name: String,
    /// The size of its content in bytes.
    pub bytes: u64,
}

/// To whom a file belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MediaOwner {
    /// The organization.
    Organization(OrganizationId),
    /// A customer.
    Customer(CustomerId),
    /// A person.
    User(UserId),
    /// An integration over all its versions.
    Integration(IntegrationId),
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MediaKind {
    /// The picture of its owner, of which there is one.
    Avatar,
    /// A document for people to read.
    Attachment,
}

/// An integration over all its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integration {
    /// Its id.
    pub id: IntegrationId,
    /// Unique within the organization.
    pub name: String,
    /// The newest version; 1 is the first import.
    pub latest_version: u32,
    /// Flow numbers by stable key, never reused.
    pub flow_numbers: BTreeMap<String, FlowNumber>,
    /// Released versions that were taken back: no new instance is made of them.
    pub withdrawn: BTreeSet<u32>,
    /// What was set beside its definition.
    pub settings: IntegrationSettings,
    /// What it is tried out with: values of its system instance by stable key, sealed by the organization's key.
    pub test_values: BTreeMap<String, ConfigValue>,
}

/// What is set for an integration beside its definition, over all its versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrationSettings {
    /// Lower-case labels.
    pub labels: Vec<String>,
    /// The one customer it is for.
    pub customer: Option<CustomerId>,
    /// Whether customers see it in the marketplace.
    pub marketplace: Marketplace,
    /// What the marketplace says about it.
    pub overview: String,
    /// Whether a customer may have more than one instance from the marketplace.
    pub allow_multiple_instances: bool,
    /// Whether tests log in detail.
    pub debug: bool,
}

/// Whether customers see an integration in the marketplace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Marketplace {
    /// It is not there.
    #[default]
    Hidden,
    /// They see it and ask for it.
    Visible,
    /// They switch it on by themselves.
    Deployable,
}

/// A stored version: the YAML as imported and the parsed definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntegrationVersion {
    /// Of which integration.
    pub integration: IntegrationId,
    /// Which version.
    pub version: u32,
    /// The text as imported, with organization API keys and secret inputs of connections removed.
    pub yaml: String,
    /// The parsed definition, with the same removed.
    pub definition: crate::definition::Definition,
    /// The organization's API keys by flow number.
    pub organization_keys: BTreeMap<FlowNumber, Vec<ApiKey>>,
    /// The secret inputs that the definition gives its connections, by the variable's stable key: a [`ConnectionValue`] of
    /// them, sealed by the organization's key under the [`connection_record_id`] of the integration.
    pub connection_secrets: BTreeMap<String, Sealed>,
    /// Whether flows are missing components.
    pub is_draft: bool,
    /// How it was released; `None` while it is worked on. A released version never changes.
    pub release: Option<Release>,
}

/// How a version was released.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// When.
    pub at: Timestamp,
    /// Who, as the audit names them.
    pub by: String,
    /// What they said about it.
    pub comment: String,
    /// Facts about its source, as JSON text.
    pub attributes: String,
}

/// SHA-256 of an API key. Keys are compared by digest in constant time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyDigest(pub [u8; 32]);

/// An API key of a flow. Senders are checked against the digest; the text is for the flows themselves, which hand it to
/// those that shall call them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// SHA-256 of the key.
    pub digest: KeyDigest,
    /// The sealed text; its record id is [`api_key_record_id`].
    pub sealed: Sealed,
}

/// The record id under which an API key's text is sealed: instance or integration ‖ digest.
#[must_use]
pub fn api_key_record_id(owner: uuid::Uuid, digest: &KeyDigest) -> Vec<u8> {
    [owner.as_bytes().as_slice(), &digest.0].concat()
}

/// A configured value of a variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigValue {
    /// Text as it will reach the step.
    Plain(String),
    /// A connection's fields and token, sealed; the plaintext is JSON of [`ConnectionValue`].
    Connection {
        /// Sealed [`ConnectionValue`].
        sealed: Sealed,
        /// Raised on every write; recorded with each use.
        version: u64,
    },
}

/// The record id under which a connection's value is sealed: instance, user configuration or integration ‖ stable key.
#[must_use]
pub fn connection_record_id(owner: uuid::Uuid, stable_key: &str) -> Vec<u8> {
    [owner.as_bytes().as_slice(), stable_key.as_bytes()].concat()
}

/// A connection's plaintext: exists only inside the actor that uses it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionValue {
    /// Inputs by name (`username`, `apiKey`, …).
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// The OAuth 2.0 token answer as stored, if any.
    #[serde(default)]
    pub token: Option<serde_json::Value>,
}

impl std::fmt::Debug for ConnectionValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnectionValue(redacted)")
    }
}

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Created, never deployed.
    NotDeployed,
    /// Deployed and switched on.
    Enabled,
    /// Deployed and switched off.
    Disabled,
}

/// What an instance runs with: fixed on deploy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceConfig {
    /// The integration's version.
    pub version: u32,
    /// Values by variable stable key.
    pub values: BTreeMap<String, ConfigValue>,
    /// The customer's API keys by flow number.
    pub api_keys: BTreeMap<FlowNumber, Vec<ApiKey>>,
    /// The flows that are switched on; empty means all complete ones.
    pub flows: Vec<FlowNumber>,
}

/// One integration switched on for one customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id: a version 8 UUID from [`crate::id::endpoint_base`].
    pub id: InstanceId,
    /// Unique within the customer.
    pub name: String,
    /// Plain text.
    pub description: String,
    /// Lower-case labels.
    pub labels: Vec<String>,
    /// Whose.
    pub customer: CustomerId,
    /// Of what.
    pub integration: IntegrationId,
    /// Where it stands.
    pub state: InstanceState,
    /// What was last saved.
    pub config: InstanceConfig,
    /// What runs: `config` as of the last deploy.
    pub deployed: Option<InstanceConfig>,
    /// Raised on every deploy; recorded with each execution's start.
    pub config_revision: u64,
    /// When it was last deployed.
    pub deployed_at: Option<Timestamp>,
    /// The customer's app registrations with providers of its connections; they count at once.
    #[serde(default)]
    pub registrations: Vec<AppRegistration>,
}

/// One user's configuration of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserConfig {
    /// Its id: a version 8 UUID from [`crate::id::endpoint_base`].
    pub id: UserConfigId,
    /// Of which instance.
    pub instance: InstanceId,
    /// Whose; a customer user, or an organization user for tests.
    pub user: UserId,
    /// Values by variable stable key.
    pub values: BTreeMap<String, ConfigValue>,
    /// Raised on every save.
    pub config_revision: u64,
    /// When it was removed; the row answers 410 for 90 days.
    pub removed_at: Option<Timestamp>,
}
