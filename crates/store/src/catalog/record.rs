//! The record types of the catalog: their tables, keys, stored form and index rows.
//!
//! Every record is stored as one format byte and its postcard encoding, under its id's bytes. Two tables index all
//! of them: `unique` (a value that only one record may have → its id) and `owned` (owner ‖ id, for listing what
//! belongs to an owner). Keys of both begin with a byte that names the index.

use crate::error::StoreError;
use perseat_domain::id::{CustomerId, InstanceId, IntegrationId, OrganizationId, UserConfigId, UserId};
use perseat_domain::model::{Customer, Instance, Integration, IntegrationVersion, Membership, Organization, User, UserConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// Format of stored records.
pub(super) const RECORD_FORMAT: u8 = 1;

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
}

impl RecordType {
    /// All types, in the order of their tables.
    pub(super) const ALL: [Self; 7] = [
        Self::Organization,
        Self::Customer,
        Self::User,
        Self::Integration,
        Self::IntegrationVersion,
        Self::Instance,
        Self::UserConfig,
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
}

/// An id of a record: how it is stored and named.
pub trait RecordId: Copy + sealed::Id {
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
    /// Names it.
    fn record_key(id: Self::Id) -> RecordKey;
    /// The rows that index it.
    #[doc(hidden)]
    fn index(&self) -> IndexRows;
    /// The field that may not change from `old`, if it changed.
    #[doc(hidden)]
    fn changed_fixed_field(&self, old: &Self) -> Option<&'static str>;
}

/// The rows that index one record.
#[doc(hidden)]
#[derive(Debug, Default, PartialEq, Eq)]
pub struct IndexRows {
    /// Field, value as people know it, key.
    pub unique: Vec<(&'static str, String, Vec<u8>)>,
    /// Keys: index ‖ owner ‖ id.
    pub owned: Vec<Vec<u8>>,
}

impl IndexRows {
    fn unique(mut self, field: &'static str, index: Unique, scope: Uuid, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.unique.push((field, value.to_owned(), index.key(scope, value.as_bytes())));
        }
        self
    }

    fn owned(mut self, index: Owned, owner: Uuid, id: Uuid) -> Self {
        self.owned.push([index.prefix(owner).as_slice(), id.as_bytes()].concat());
        self
    }
}

/// The unique indexes.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Unique {
    CustomerExternalId = 1,
    CustomerName = 2,
    UserExternalId = 3,
    UserEmail = 4,
    UserSubject = 5,
    IntegrationName = 6,
    InstanceName = 7,
    UserConfigUser = 8,
}

impl Unique {
    /// Index ‖ scope ‖ value.
    pub(super) fn key(self, scope: Uuid, value: &[u8]) -> Vec<u8> {
        [&[self as u8], scope.as_bytes().as_slice(), value].concat()
    }
}

/// The listings by owner.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Owned {
    UsersOfMembership = 1,
    InstancesOfCustomer = 2,
    InstancesOfIntegration = 3,
    UserConfigsOfInstance = 4,
    UserConfigsOfUser = 5,
}

impl Owned {
    /// Index ‖ owner.
    pub(super) fn prefix(self, owner: Uuid) -> Vec<u8> {
        [&[self as u8], owner.as_bytes().as_slice()].concat()
    }
}

/// The scope of a membership in an index; the organization's is nil.
pub(super) fn scope(membership: Membership) -> Uuid {
    match membership {
        Membership::Organization => Uuid::nil(),
        Membership::Customer(customer) => customer.0,
    }
}

/// E-mail addresses are compared without case.
pub(super) fn email_key(email: &str) -> String {
    email.to_lowercase()
}

/// The stored form of a record.
pub(super) fn encode<R: Record>(record: &R) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(record, vec![RECORD_FORMAT])
        .map_err(|error| StoreError::corrupt(format!("{} to be stored: {error}", R::TYPE.name())))
}

/// Reads the stored form.
pub(super) fn decode<R: Record>(bytes: &[u8]) -> Result<R, StoreError> {
    match bytes.split_first() {
        Some((&RECORD_FORMAT, body)) => postcard::from_bytes(body).map_err(|_| StoreError::corrupt(R::TYPE.name())),
        Some((&found, _)) => Err(StoreError::UnknownFormat {
            what: R::TYPE.name(),
            found: found.into(),
        }),
        None => Err(StoreError::corrupt(R::TYPE.name())),
    }
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

uuid_ids!(OrganizationId, CustomerId, UserId, IntegrationId, InstanceId, UserConfigId);

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

fn fixed<T: PartialEq>(field: &'static str, new: &T, old: &T) -> Option<&'static str> {
    (new != old).then_some(field)
}

macro_rules! records {
    ($($record:ident, $id:ty, |$this:ident| $key:expr, [$($fixed:ident),*], $index:expr;)*) => {$(
        impl sealed::Record for $record {}
        impl Record for $record {
            type Id = $id;
            const TYPE: RecordType = RecordType::$record;
            fn record_id(&self) -> Self::Id {
                let $this = self;
                $key
            }
            fn record_key(id: Self::Id) -> RecordKey {
                key_of(id)
            }
            fn index(&self) -> IndexRows {
                let $this = self;
                $index
            }
            fn changed_fixed_field(&self, _old: &Self) -> Option<&'static str> {
                None$(.or_else(|| fixed(stringify!($fixed), &self.$fixed, &_old.$fixed)))*
            }
        }
    )*};
}

fn key_of(id: impl Into<RecordKey>) -> RecordKey {
    id.into()
}

macro_rules! keys {
    ($($record:ident($id:ident)),*) => {$(
        impl From<$id> for RecordKey {
            fn from(id: $id) -> Self { Self::$record(id) }
        }
    )*};
}

keys!(
    Organization(OrganizationId),
    Customer(CustomerId),
    User(UserId),
    Integration(IntegrationId),
    Instance(InstanceId),
    UserConfig(UserConfigId)
);

impl From<(IntegrationId, u32)> for RecordKey {
    fn from((integration, version): (IntegrationId, u32)) -> Self {
        Self::IntegrationVersion(integration, version)
    }
}

records! {
    Organization, OrganizationId, |it| it.id, [], { let _ = it; IndexRows::default() };
    Customer, CustomerId, |it| it.id, [], IndexRows::default()
        .unique("external id", Unique::CustomerExternalId, Uuid::nil(), it.external_id.as_deref())
        .unique("name", Unique::CustomerName, Uuid::nil(), Some(&it.name));
    User, UserId, |it| it.id, [membership], IndexRows::default()
        .unique("external id", Unique::UserExternalId, scope(it.membership), it.external_id.as_deref())
        .unique("email", Unique::UserEmail, scope(it.membership), it.email.as_deref().map(email_key).as_deref())
        .unique("subject", Unique::UserSubject, scope(it.membership), it.subject.as_deref())
        .owned(Owned::UsersOfMembership, scope(it.membership), it.id.0);
    Integration, IntegrationId, |it| it.id, [], IndexRows::default()
        .unique("name", Unique::IntegrationName, Uuid::nil(), Some(&it.name));
    IntegrationVersion, (IntegrationId, u32), |it| (it.integration, it.version), [], { let _ = it; IndexRows::default() };
    Instance, InstanceId, |it| it.id, [customer, integration], IndexRows::default()
        .unique("name", Unique::InstanceName, it.customer.0, Some(&it.name))
        .owned(Owned::InstancesOfCustomer, it.customer.0, it.id.0)
        .owned(Owned::InstancesOfIntegration, it.integration.0, it.id.0);
    UserConfig, UserConfigId, |it| it.id, [instance, user], {
        let mut rows = IndexRows::default()
            .owned(Owned::UserConfigsOfInstance, it.instance.0, it.id.0)
            .owned(Owned::UserConfigsOfUser, it.user.0, it.id.0);
        if it.removed_at.is_none() {
            rows.unique.push(("user", it.user.to_string(), Unique::UserConfigUser.key(it.instance.0, it.user.0.as_bytes())));
        }
        rows
    };
}
