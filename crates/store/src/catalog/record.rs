//! The record types of the catalog: their tables, keys and index rows.
//!
//! Two tables index all of them: `unique` (a value that only one record may have → its id) and `owned` (owner ‖ id, for listing what
//! belongs to an owner, or scope ‖ text ‖ 0 ‖ id, for listing in the order of a text). Keys of both begin with a byte
//! that names the index.

pub(super) use super::accounts::{address_owner, email_key};
use super::grants::holder_key;
pub(super) use super::indexes::IndexRows;
pub(super) use super::indexes::{Owned, Unique, folded, holder, media_owner, removed_before, scope};
use crate::keyring::NewKey;
use perseat_domain::account::{Account, Letter, Session};
use perseat_domain::grant::Holder;
use perseat_domain::id::{
    AccountId, CustomerId, InstanceId, IntegrationId, LetterId, MediaId, OrganizationId, SessionId, SharedConnectionId, SharedValueId,
    TokenId, UserConfigId, UserId,
};
use perseat_domain::model::{
    ApiToken, ConfigValue, Customer, Instance, Integration, IntegrationVersion, Media, MediaKind, MediaOwner, Membership, Organization,
    TokenHolder, User, UserConfig,
};
use perseat_domain::sharing::{SharedConnection, SharedValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use uuid::Uuid;

pub use super::stored::Stamp;
pub(super) use super::stored::{decode, encode, is_same};

/// The types of records, in the order of their tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum RecordType {
    /// [`Organization`].
    Organization = 0,
    /// [`Customer`].
    Customer = 1,
    /// [`User`].
    User = 2,
    /// [`Integration`].
    Integration = 3,
    /// [`IntegrationVersion`].
    IntegrationVersion = 4,
    /// [`Instance`].
    Instance = 5,
    /// [`UserConfig`].
    UserConfig = 6,
    /// [`ApiToken`].
    ApiToken = 7,
    /// [`Media`].
    Media = 8,
    /// [`Account`].
    Account = 9,
    /// [`Session`].
    Session = 10,
    /// [`Letter`].
    Letter = 11,
    /// [`SharedConnection`].
    SharedConnection = 12,
    /// [`SharedValue`].
    SharedValue = 13,
}

impl RecordType {
    /// All types, in the order of their tables.
    pub(super) const ALL: [Self; 14] = [
        Self::Organization,
        Self::Customer,
        Self::User,
        Self::Integration,
        Self::IntegrationVersion,
        Self::Instance,
        Self::UserConfig,
        Self::ApiToken,
        Self::Media,
        Self::Account,
        Self::Session,
        Self::Letter,
        Self::SharedConnection,
        Self::SharedValue,
    ];

    /// The name in errors and of the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Customer => "customer",
            Self::User => "user",
            Self::Integration => "integration",
            Self::IntegrationVersion => "integration version",
            Self::Instance => "instance",
            Self::UserConfig => "user configuration",
            Self::ApiToken => "token",
            Self::Media => "file",
            Self::Account => "account",
            Self::Session => "session",
            Self::Letter => "letter",
            Self::SharedConnection => "shared connection",
            Self::SharedValue => "value of a shared connection",
        }
    }
}

/// Names one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum RecordKey {
    /// The organization.
    Organization(OrganizationId),
    /// A customer.
    Customer(CustomerId),
    /// A user.
    User(UserId),
    /// An integration.
    Integration(IntegrationId),
    /// A version of an integration.
    IntegrationVersion(IntegrationId, u32),
    /// An instance.
    Instance(InstanceId),
    /// A user configuration.
    UserConfig(UserConfigId),
    /// A token.
    ApiToken(TokenId),
    /// A file.
    Media(MediaId),
    /// An account.
    Account(AccountId),
    /// A session.
    Session(SessionId),
    /// A letter.
    Letter(LetterId),
    /// A shared connection.
    SharedConnection(SharedConnectionId),
    /// What somebody gives to one.
    SharedValue(SharedValueId),
}

/// An id of a record: how it is stored and named.
pub trait RecordId: Copy + Into<RecordKey> + sealed::Id {
    /// The bytes under which the record is stored.
    #[doc(hidden)]
    fn to_key(self) -> Vec<u8>;
    /// The reverse.
    #[doc(hidden)]
    fn from_key(bytes: &[u8]) -> Option<Self>;
    /// The name in errors.
    #[doc(hidden)]
    fn text(self) -> String;
}

mod sealed {
    pub trait Id {}
    pub trait Record {}
}

/// A type of record that the catalog keeps.
pub trait Record: Serialize + DeserializeOwned + sealed::Record {
    /// The type of its id.
    type Id: RecordId;
    /// Its type's name.
    const TYPE: RecordType;

    /// Its id.
    fn record_id(&self) -> Self::Id;
    /// The rows that index it.
    #[doc(hidden)]
    fn index(&self) -> IndexRows;
    /// The records that must exist for it to be written.
    #[doc(hidden)]
    fn references(&self) -> Vec<RecordKey>;
    /// The key that its owner needs, if it is one.
    #[doc(hidden)]
    fn data_key(&self) -> Option<NewKey>;
    /// The user whose alone it is, so that it is nobody's once they are gone.
    #[doc(hidden)]
    fn person(&self) -> Option<UserId>;
    /// The revision of the values that executions bind, and those values.
    #[doc(hidden)]
    fn bound(&self) -> Option<(u64, &BTreeMap<String, ConfigValue>)>;
    /// The field that may not change from `old`, if it changed.
    #[doc(hidden)]
    fn changed_fixed_field(&self, old: &Self) -> Option<&'static str>;
}

macro_rules! uuid_ids {
    ($($id:ident),*) => {$(
        impl sealed::Id for $id {}
        impl RecordId for $id {
            fn to_key(self) -> Vec<u8> {
                self.0.as_bytes().to_vec()
            }
            fn from_key(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }
            fn text(self) -> String {
                self.to_string()
            }
        }
    )*};
}

uuid_ids!(
    OrganizationId,
    CustomerId,
    UserId,
    IntegrationId,
    InstanceId,
    UserConfigId,
    TokenId,
    MediaId,
    AccountId,
    SessionId,
    LetterId,
    SharedConnectionId,
    SharedValueId
);

impl sealed::Id for (IntegrationId, u32) {}
impl RecordId for (IntegrationId, u32) {
    fn to_key(self) -> Vec<u8> {
        [self.0.0.as_bytes().as_slice(), &self.1.to_be_bytes()].concat()
    }
    fn from_key(bytes: &[u8]) -> Option<Self> {
        let (id, version) = bytes.split_at_checked(16)?;
        Some((IntegrationId::from_key(id)?, u32::from_be_bytes(version.try_into().ok()?)))
    }
    fn text(self) -> String {
        format!("{} version {}", self.0, self.1)
    }
}

macro_rules! keys {
    ($($record:ident($id:ty)),*) => {$(
        impl From<$id> for RecordKey {
            fn from(id: $id) -> Self {
                Self::$record(id)
            }
        }
    )*};
}

keys!(
    Organization(OrganizationId),
    Customer(CustomerId),
    User(UserId),
    Integration(IntegrationId),
    Instance(InstanceId),
    UserConfig(UserConfigId),
    ApiToken(TokenId),
    Media(MediaId),
    Account(AccountId),
    Session(SessionId),
    Letter(LetterId),
    SharedConnection(SharedConnectionId),
    SharedValue(SharedValueId)
);

impl From<(IntegrationId, u32)> for RecordKey {
    fn from((integration, version): (IntegrationId, u32)) -> Self {
        Self::IntegrationVersion(integration, version)
    }
}

impl RecordKey {
    /// The table, the key within it, and the id as text.
    pub(super) fn parts(self) -> (RecordType, Vec<u8>, String) {
        fn parts(kind: RecordType, id: impl RecordId) -> (RecordType, Vec<u8>, String) {
            (kind, id.to_key(), id.text())
        }
        match self {
            Self::Organization(id) => parts(RecordType::Organization, id),
            Self::Customer(id) => parts(RecordType::Customer, id),
            Self::User(id) => parts(RecordType::User, id),
            Self::Integration(id) => parts(RecordType::Integration, id),
            Self::IntegrationVersion(id, version) => parts(RecordType::IntegrationVersion, (id, version)),
            Self::Instance(id) => parts(RecordType::Instance, id),
            Self::UserConfig(id) => parts(RecordType::UserConfig, id),
            Self::ApiToken(id) => parts(RecordType::ApiToken, id),
            Self::Media(id) => parts(RecordType::Media, id),
            Self::Account(id) => parts(RecordType::Account, id),
            Self::Session(id) => parts(RecordType::Session, id),
            Self::Letter(id) => parts(RecordType::Letter, id),
            Self::SharedConnection(id) => parts(RecordType::SharedConnection, id),
            Self::SharedValue(id) => parts(RecordType::SharedValue, id),
        }
    }
}

macro_rules! records {
    ($($record:ident {
        id: |$this:ident| $key:expr => $id:ty,
        fixed: [$($fixed:ident),*]$(, once |$before:ident| $condition:expr)?,
        references: $references:expr,
        data_key: $data_key:expr,
        person: $person:expr,
        bound: $bound:expr,
        index: $index:expr,
    })*) => {$(
        impl sealed::Record for $record {}
        impl Record for $record {
            type Id = $id;
            const TYPE: RecordType = RecordType::$record;
            fn record_id(&self) -> Self::Id {
                let $this = self;
                $key
            }
            fn index(&self) -> IndexRows {
                let $this = self;
                let _ = $this;
                $index
            }
            fn references(&self) -> Vec<RecordKey> {
                let $this = self;
                let _ = $this;
                $references
            }
            fn data_key(&self) -> Option<NewKey> {
                let $this = self;
                let _ = $this;
                $data_key
            }
            fn person(&self) -> Option<UserId> {
                let $this = self;
                let _ = $this;
                $person
            }
            fn bound(&self) -> Option<(u64, &BTreeMap<String, ConfigValue>)> {
                let $this = self;
                let _ = $this;
                $bound
            }
            fn changed_fixed_field(&self, old: &Self) -> Option<&'static str> {
                $(
                    let $before = old;
                    if !$condition {
                        return None;
                    }
                )?
                let changed: [Option<&'static str>; _] = [$((self.$fixed != old.$fixed).then_some(stringify!($fixed))),*];
                changed.into_iter().flatten().next()
            }
        }
    )*};
}

records! {
    Organization {
        id: |it| it.id => OrganizationId,
        fixed: [id],
        references: vec![],
        data_key: Some(NewKey::Organization),
        person: None,
        bound: None,
        index: IndexRows::default(),
    }
    Customer {
        id: |it| it.id => CustomerId,
        fixed: [id],
        references: vec![],
        data_key: Some(NewKey::Customer(it.id)),
        person: None,
        bound: None,
        index: IndexRows::default()
            .unique("external id", Unique::CustomerExternalId, Uuid::nil(), it.external_id.as_deref())
            .unique("name", Unique::CustomerName, Uuid::nil(), Some(&it.name))
            .sorted(Owned::CustomersByName, Uuid::nil(), &it.name, it.id.0),
    }
    User {
        id: |it| it.id => UserId,
        fixed: [membership],
        references: match it.membership {
            Membership::Organization => vec![],
            Membership::Customer(customer) => vec![customer.into()],
        },
        data_key: Some(NewKey::User(it.id, it.membership)),
        person: Some(it.id),
        bound: None,
        index: {
            let (scope, email) = (scope(it.membership), it.email.as_deref().unwrap_or_default());
            IndexRows::default()
                .unique("external id", Unique::UserExternalId, scope, it.external_id.as_deref())
                .unique("email", Unique::UserEmail, scope, it.email.as_deref().map(email_key).as_deref())
                .unique("subject", Unique::UserSubject, scope, it.subject.as_deref())
                .owned(Owned::UsersOfMembership, scope, it.id.0)
                .sorted(Owned::UsersByName, scope, &it.name, it.id.0)
                .sorted(Owned::UsersByEmail, scope, email, it.id.0)
                .sorted(Owned::AllUsersByName, Uuid::nil(), &it.name, it.id.0)
                .sorted(Owned::AllUsersByEmail, Uuid::nil(), email, it.id.0)
        },
    }
    Integration {
        id: |it| it.id => IntegrationId,
        fixed: [id],
        references: vec![],
        data_key: None,
        person: None,
        bound: None,
        index: IndexRows::default().unique("name", Unique::IntegrationName, Uuid::nil(), Some(&it.name)),
    }
    IntegrationVersion {
        id: |it| (it.integration, it.version) => (IntegrationId, u32),
        fixed: [yaml, definition, organization_keys, connection_secrets, is_draft, release], once |old| old.release.is_some(),
        references: vec![it.integration.into()],
        data_key: None,
        person: None,
        bound: None,
        index: IndexRows::default(),
    }
    Instance {
        id: |it| it.id => InstanceId,
        fixed: [customer, integration],
        references: {
            let versions = std::iter::once(&it.config).chain(&it.deployed).map(|config| (it.integration, config.version).into());
            [it.customer.into(), it.integration.into()].into_iter().chain(versions).collect()
        },
        data_key: None,
        person: None,
        bound: it.deployed.as_ref().map(|deployed| (it.config_revision, &deployed.values)),
        index: IndexRows::default()
            .unique("name", Unique::InstanceName, it.customer.0, Some(&it.name))
            .owned(Owned::InstancesOfCustomer, it.customer.0, it.id.0)
            .owned(Owned::InstancesOfIntegration, it.integration.0, it.id.0)
            .sorted(Owned::InstancesByName, it.customer.0, &it.name, it.id.0)
            .sorted(Owned::AllInstancesByName, Uuid::nil(), &it.name, it.id.0),
    }
    ApiToken {
        id: |it| it.id => TokenId,
        fixed: [holder, digest],
        references: match it.holder {
            TokenHolder::Program { membership: Membership::Organization, .. } => vec![],
            TokenHolder::Program { membership: Membership::Customer(customer), .. } => vec![customer.into()],
            TokenHolder::User(user) => vec![user.into()],
        },
        data_key: None,
        person: match it.holder {
            TokenHolder::User(user) => Some(user),
            TokenHolder::Program { .. } => None,
        },
        bound: None,
        index: {
            let mut rows = IndexRows::default().owned(Owned::TokensOfHolder, holder(it.holder), it.id.0);
            rows.unique.push(("token", it.id.to_string(), Unique::TokenDigest.key(Uuid::nil(), &it.digest.0)));
            rows
        },
    }
    Media {
        id: |it| it.id => MediaId,
        fixed: [owner, kind, bytes],
        references: vec![match it.owner {
            MediaOwner::Organization(id) => id.into(),
            MediaOwner::Customer(id) => id.into(),
            MediaOwner::User(id) => id.into(),
            MediaOwner::Integration(id) => id.into(),
        }],
        data_key: None,
        person: match it.owner {
            MediaOwner::User(user) => Some(user),
            MediaOwner::Organization(_) | MediaOwner::Customer(_) | MediaOwner::Integration(_) => None,
        },
        bound: None,
        index: {
            let owner = media_owner(it.owner);
            let rows = IndexRows::default().owned(Owned::MediaOfOwner, owner, it.id.0);
            match it.kind {
                MediaKind::Avatar => rows.unique("avatar", Unique::Avatar, owner, Some("")),
                MediaKind::Attachment => rows.unique("name", Unique::AttachmentName, owner, Some(&it.name)),
            }
        },
    }
    Account {
        id: |it| Account::id_of(it.user) => AccountId,
        fixed: [user],
        references: vec![it.user.into()],
        data_key: None,
        person: Some(it.user),
        bound: None,
        index: IndexRows::default().owned(Owned::AccountsOfAddress, address_owner(&it.address), it.user.0),
    }
    Session {
        id: |it| it.id => SessionId,
        fixed: [user, client],
        references: vec![it.user.into()],
        data_key: None,
        person: Some(it.user),
        bound: None,
        index: IndexRows::default().owned(Owned::SessionsOfUser, it.user.0, it.id.0),
    }
    Letter {
        id: |it| it.id => LetterId,
        fixed: [user],
        references: vec![it.user.into()],
        data_key: None,
        person: Some(it.user),
        bound: None,
        index: IndexRows::default().owned(Owned::LettersOfUser, it.user.0, it.id.0),
    }
    SharedConnection {
        id: |it| it.id => SharedConnectionId,
        fixed: [stable_key, sharing],
        references: vec![],
        data_key: None,
        person: None,
        bound: None,
        index: IndexRows::default().unique("stable key", Unique::SharedStableKey, Uuid::nil(), Some(&it.stable_key)),
    }
    SharedValue {
        id: |it| it.id => SharedValueId,
        fixed: [connection, holder],
        references: vec![it.connection.into(), holder_key(it.holder)],
        data_key: None,
        person: match it.holder {
            Holder::User(user) => Some(user),
            _ => None,
        },
        bound: None,
        index: {
            let holder = it.holder.uuid();
            let mut rows = IndexRows::default()
                .owned(Owned::SharedValuesOfHolder, holder, it.id.0)
                .owned(Owned::SharedValuesOfConnection, it.connection.0, it.id.0);
            let key = Unique::SharedValueHolder.key(it.connection.0, holder.as_bytes());
            rows.unique.push(("holder", holder.to_string(), key));
            rows
        },
    }
    UserConfig {
        id: |it| it.id => UserConfigId,
        fixed: [instance, user],
        references: match it.removed_at {
            None => vec![it.instance.into(), it.user.into()],
            Some(_) => vec![],
        },
        data_key: None,
        person: it.removed_at.is_none().then_some(it.user),
        bound: it.removed_at.is_none().then_some((it.config_revision, &it.values)),
        index: {
            let mut rows = IndexRows::default()
                .owned(Owned::UserConfigsOfInstance, it.instance.0, it.id.0)
                .owned(Owned::UserConfigsOfUser, it.user.0, it.id.0);
            match it.removed_at {
                None => rows.unique.push(("user", it.user.to_string(), Unique::UserConfigUser.key(it.instance.0, it.user.0.as_bytes()))),
                Some(at) => rows.owned.push([&removed_before(at), it.id.0.as_bytes().as_slice()].concat()),
            }
            rows
        },
    }
}
