//! The rows that index records, and the keys of both tables that hold them.

use perseat_domain::model::{MediaOwner, Membership, TokenHolder};
use perseat_domain::time::Timestamp;
use uuid::Uuid;

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
    pub(super) fn unique(mut self, field: &'static str, index: Unique, scope: Uuid, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.unique.push((field, value.to_owned(), index.key(scope, value.as_bytes())));
        }
        self
    }

    pub(super) fn owned(mut self, index: Owned, owner: Uuid, id: Uuid) -> Self {
        self.owned.push([index.prefix(owner).as_slice(), id.as_bytes()].concat());
        self
    }

    pub(super) fn sorted(mut self, index: Owned, scope: Uuid, text: &str, id: Uuid) -> Self {
        self.owned
            .push([index.prefix(scope).as_slice(), folded(text).as_bytes(), &[0], id.as_bytes()].concat());
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
    TokenDigest = 9,
    /// The one avatar of an owner.
    Avatar = 10,
    AttachmentName = 11,
    SharedStableKey = 12,
    /// By connection and holder.
    SharedValueHolder = 13,
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
    /// By the time of removal (8, big-endian) instead of an owner.
    RemovedUserConfigs = 6,
    /// By customer or user; the organization's is nil.
    TokensOfHolder = 7,
    MediaOfOwner = 8,
    /// By name; like those below with the text between scope and id.
    CustomersByName = 9,
    /// Of one membership.
    UsersByName = 10,
    /// Of one membership.
    UsersByEmail = 11,
    /// Of everybody.
    AllUsersByName = 12,
    /// Of everybody.
    AllUsersByEmail = 13,
    /// Of one customer.
    InstancesByName = 14,
    AllInstancesByName = 15,
    /// By `address_owner`.
    AccountsOfAddress = 16,
    SessionsOfUser = 17,
    LettersOfUser = 18,
    SharedValuesOfHolder = 19,
    SharedValuesOfConnection = 20,
}

/// A text as sorted indexes hold it: without case, and without the byte that ends it.
pub(super) fn folded(text: &str) -> String {
    text.to_lowercase().replace('\0', " ")
}

/// Whose file a file is listed with.
pub(super) fn media_owner(owner: MediaOwner) -> Uuid {
    match owner {
        MediaOwner::Organization(id) => id.0,
        MediaOwner::Customer(id) => id.0,
        MediaOwner::User(id) => id.0,
        MediaOwner::Integration(id) => id.0,
    }
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

/// Whose tokens a token is listed with.
pub(super) fn holder(holder: TokenHolder) -> Uuid {
    match holder {
        TokenHolder::Program { membership, .. } => scope(membership),
        TokenHolder::User(user) => user.0,
    }
}

/// Before every row of a user configuration removed at `at` or later.
pub(super) fn removed_before(at: Timestamp) -> Vec<u8> {
    [&[Owned::RemovedUserConfigs as u8], at.0.to_be_bytes().as_slice()].concat()
}
