//! Grants of third parties: what is known of each, and its sealed token.
//!
//! A row belongs to a connection of an instance or of a user's configuration, or to a shared one of the organization, a
//! customer or a user, and goes with it. Its actor renews the token
//! and writes what became of that directly: no mutation, because it says nothing new about any configuration, and happens
//! once an hour and user. What a person does to a grant is a mutation, with its audit entry. Both compare what they read
//! with what is there, so that a consent that comes in between is never overwritten.

use super::notices;
use super::tables::{self, Bytes};
use super::{Catalog, ChangeKind, Lookup, Mutation, Record, RecordId, RecordKey, RecordType, Rows};
use crate::error::StoreError;
use crate::seal::{key_digest, version_of};
use perseat_domain::grant::{Grant, Holder};
use perseat_domain::id::{CustomerId, OrganizationId, UserId};
use perseat_domain::model::{Customer, Instance, KeyDigest, Organization, Sealed, User, UserConfig};
use redb::{ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Holder ‖ stable key of the connection → [`StoredGrant`].
pub(super) const GRANTS: Bytes = TableDefinition::new("grant");

/// Format of the rows.
const FORMAT: u8 = 2;
/// The format before, of which rows are still read: what came of what is not known of them.
const FORMER: u8 = 1;
/// Supplied tokens that are remembered as spent or given up. No key: somebody has to supply so many others before one comes back.
const SPENT: usize = 8;

/// What follows the holder in the key, and the stored form.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// A grant as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredGrant {
    /// What is known of it.
    pub grant: Grant,
    /// Its token, sealed under the holder's key.
    pub token: Option<Sealed>,
    /// Digest of the token that the configuration supplied last; another one there begins it anew.
    pub supplied: Option<KeyDigest>,
    /// Digest of the registration that it was given to; another one has to be consented to.
    pub registration: Option<KeyDigest>,
    /// Digest of what can be spent of the token that was supplied last.
    pub secret: Option<KeyDigest>,
    /// The same of tokens that were supplied before and spent or given up, oldest first.
    pub spent: Vec<KeyDigest>,
    /// Whether what is held came of a consent, and not of a token that was supplied.
    pub is_consented: bool,
}

/// What is known of a token that a configuration supplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuppliedToken {
    /// Digest of all of it.
    whole: KeyDigest,
    /// Digest of what can be spent: its refresh token, or else its access token.
    secret: KeyDigest,
}

impl SuppliedToken {
    /// Of the token as it is supplied.
    #[must_use]
    pub fn of(token: &Value) -> Self {
        let member = |name: &str| token.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let whole = key_digest(&token.to_string());
        let secret = member("refresh_token").or_else(|| member("access_token"));
        Self {
            whole,
            secret: secret.map_or(whole, key_digest),
        }
    }
}

impl StoredGrant {
    /// Whether this is what became of the token that a configuration supplies. Where that says something else of one that was spent or given
    /// up, that is the same one. Without one it is.
    #[must_use]
    pub fn is_of(&self, supplied: Option<&SuppliedToken>) -> bool {
        supplied.is_none_or(|supplied| {
            self.supplied == Some(supplied.whole) || (self.secret == Some(supplied.secret) && !self.grant.is_as_supplied())
        })
    }

    /// Whether a connection begins anew with the token that its configuration supplies, where that is another one or the registration is. One
    /// that was spent or given up does not come back.
    #[must_use]
    pub fn gives_way_to(&self, supplied: Option<&SuppliedToken>) -> bool {
        let Some(supplied) = supplied else { return false };
        let is_spent = self.is_of(Some(supplied)) && !self.grant.is_as_supplied();
        !is_spent && !self.spent.contains(&supplied.secret)
    }

    /// Notes what the configuration supplies. What it supplied before stays known, also where it supplies nothing any more: as spent
    /// where another one takes its place and it was used up or given up.
    pub fn is_supplied(&mut self, supplied: Option<&SuppliedToken>) {
        let Some(supplied) = supplied else { return };
        if let Some(before) = self.secret.filter(|before| *before != supplied.secret)
            && !self.grant.is_as_supplied()
            && !self.spent.contains(&before)
        {
            self.spent.push(before);
            let surplus = self.spent.len().saturating_sub(SPENT);
            self.spent.drain(..surplus);
        }
        (self.supplied, self.secret) = (Some(supplied.whole), Some(supplied.secret));
    }
}

/// Names one grant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId {
    /// Whose.
    pub holder: Holder,
    /// The connection's stable key.
    pub variable: String,
}

impl GrantId {
    /// The key of the row, and the id under which its token is sealed.
    #[must_use]
    pub fn to_key(&self) -> Vec<u8> {
        [self.holder.uuid().as_bytes().as_slice(), self.variable.as_bytes()].concat()
    }
}

/// What became of a direct write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is durable.
    Written,
    /// Somebody else wrote since it was read: read it again.
    Overtaken,
    /// The holder is gone.
    Gone,
}

pub(super) fn encode(stored: &StoredGrant) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(stored, vec![FORMAT]).map_err(|error| StoreError::corrupt(format!("a grant to be stored: {error}")))
}

pub(super) fn decode(bytes: &[u8]) -> Result<StoredGrant, StoreError> {
    let read = match bytes.split_first() {
        Some((&FORMAT, body)) => postcard::from_bytes(body),
        Some((&FORMER, body)) => postcard::from_bytes(body).map(|(grant, token, supplied, registration): Former| StoredGrant {
            is_consented: !grant.is_as_supplied(),
            grant,
            token,
            supplied,
            registration,
            ..StoredGrant::default()
        }),
        _ => return Err(StoreError::corrupt("grant")),
    };
    read.map_err(|_| StoreError::corrupt("grant"))
}

/// A row of the format before.
type Former = (Grant, Option<Sealed>, Option<KeyDigest>, Option<KeyDigest>);

/// The grants of a holder by the connection's stable key.
pub(super) fn of(rows: &impl Rows, holder: Holder) -> Result<BTreeMap<String, StoredGrant>, StoreError> {
    let found = rows.grants(holder.uuid().as_bytes())?;
    found
        .into_iter()
        .map(|(key, row)| {
            let key = String::from_utf8(key).map_err(|_| StoreError::corrupt("grant"))?;
            Ok((key, decode(&row)?))
        })
        .collect()
}

impl Catalog {
    /// Replaces a grant that is still as it was read; durable once this returns. `expected` is none where there was none.
    ///
    /// # Errors
    /// If the disk fails; [`StoreError::Full`] on a full disk.
    pub fn store_grant(&self, id: &GrantId, expected: Option<&StoredGrant>, stored: &StoredGrant) -> Result<Stored, StoreError> {
        let transaction = self.write()?;
        let key = id.to_key();
        {
            let mut table = transaction.open_table(GRANTS)?;
            let found = table.get(key.as_slice())?.map(|guard| decode(guard.value())).transpose()?;
            if !is_still(found.as_ref(), expected) {
                return Ok(Stored::Overtaken);
            }
            if !self.moment(|at| is_live(at, id))? {
                return Ok(Stored::Gone);
            }
            let mut stored = stored.clone();
            if let (Some(found), Some(expected)) = (found, expected) {
                // What was told of former tokens meanwhile.
                stored.grant.keep_told(&found.grant);
                if stored.token == expected.token {
                    // As it is sealed by now.
                    stored.token = found.token;
                }
            }
            table.insert(key.as_slice(), encode(&stored)?.as_slice())?;
            let mut notices = transaction.open_table(notices::NOTICES)?;
            notices::follow(&mut notices, id, expected.map(|before| &before.grant), &stored.grant)?;
        }
        transaction.commit()?;
        Ok(Stored::Written)
    }
}

/// Whether a grant is as it was read, though its token may have been sealed by another version of the key since, and its timeline tell
/// of a former one: the next outcome of a renewal must not be lost for that.
fn is_still(found: Option<&StoredGrant>, expected: Option<&StoredGrant>) -> bool {
    let (Some(found), Some(expected)) = (found, expected) else {
        return found == expected;
    };
    let is_same_token = match (&found.token, &expected.token) {
        (Some(found), Some(expected)) => found == expected || version_of(found) != version_of(expected),
        (found, expected) => found == expected,
    };
    is_same_token
        && found.grant.stands_as(&expected.grant)
        && found.supplied == expected.supplied
        && found.registration == expected.registration
}

/// The record whose grants they are.
pub(super) fn holder_key(holder: Holder) -> RecordKey {
    match holder {
        Holder::Instance(instance) => instance.into(),
        Holder::UserConfig(config) => config.into(),
        Holder::Organization(organization) => organization.into(),
        Holder::Customer(customer) => customer.into(),
        Holder::User(user) => user.into(),
    }
}

/// Whether the holder exists, and a shared connection, too. No writer is in between: the caller has the write transaction.
fn is_live(at: &impl Lookup, id: &GrantId) -> Result<bool, StoreError> {
    let is_there = match id.holder {
        Holder::Instance(id) => at.get::<Instance>(id)?.is_some(),
        Holder::UserConfig(id) => at.get::<UserConfig>(id)?.is_some_and(|config| config.removed_at.is_none()),
        Holder::Organization(id) => at.get::<Organization>(id)?.is_some(),
        Holder::Customer(id) => at.get::<Customer>(id)?.is_some(),
        Holder::User(id) => at.get::<User>(id)?.is_some(),
    };
    if !is_there || !id.holder.is_shared() {
        return Ok(is_there);
    }
    let shared = at.shared_connection(&id.variable)?;
    Ok(shared.is_some_and(|shared| shared.sharing.fits(id.holder)))
}

impl Mutation<'_> {
    /// Writes a grant by somebody's act: the audit names its holder.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where the holder does not exist.
    pub fn put_grant(&mut self, id: &GrantId, stored: &StoredGrant) -> Result<(), StoreError> {
        let key = holder_key(id.holder);
        if !is_live(self, id)? {
            let (kind, _, text) = key.parts();
            return Err(StoreError::NotFound {
                record: kind.name(),
                id: text,
            });
        }
        let row = encode(stored)?;
        let before = self.grants_of(id.holder)?.remove(&id.variable);
        self.grants.insert(id.to_key().as_slice(), row.as_slice())?;
        notices::follow(&mut self.notices, id, before.as_ref().map(|before| &before.grant), &stored.grant)?;
        self.note(key, ChangeKind::Changed, &row);
        Ok(())
    }

    /// Deletes the grants of a record that goes.
    pub(super) fn forget_grants<R: Record>(&mut self, id: R::Id) -> Result<(), StoreError> {
        let holds = [RecordType::Instance, RecordType::UserConfig, RecordType::Customer, RecordType::User];
        if !holds.contains(&R::TYPE) {
            return Ok(());
        }
        let prefix = id.to_key();
        let keys = tables::collect(&self.grants, &prefix, None, usize::MAX, |rest, _| {
            [prefix.as_slice(), rest].concat()
        })?;
        for key in keys {
            self.grants.remove(key.as_slice())?;
            self.notices.remove(key.as_slice())?;
        }
        Ok(())
    }

    /// Every grant of a shared connection, whoever holds it.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn grants_of_shared(&self, stable_key: &str) -> Result<Vec<GrantId>, StoreError> {
        let keys = tables::collect(&self.grants, &[], None, usize::MAX, |key, _| key.to_vec())?;
        let mut found = Vec::new();
        for key in keys {
            let Some((holder, variable)) = key.split_first_chunk::<16>() else {
                continue;
            };
            if variable == stable_key.as_bytes()
                && let Some(holder) = self.sharer(holder)?
            {
                found.push(GrantId {
                    holder,
                    variable: stable_key.to_owned(),
                });
            }
        }
        Ok(found)
    }

    /// Deletes every grant of a shared connection.
    pub(super) fn forget_grants_of_shared(&mut self, stable_key: &str) -> Result<(), StoreError> {
        for id in self.grants_of_shared(stable_key)? {
            let key = id.to_key();
            self.grants.remove(key.as_slice())?;
            self.notices.remove(key.as_slice())?;
        }
        Ok(())
    }

    /// Whose shared grants stand under this id; none where no shared ones do.
    fn sharer(&self, id: &[u8; 16]) -> Result<Option<Holder>, StoreError> {
        let uuid = Uuid::from_bytes(*id);
        for (kind, holder) in [
            (RecordType::User, Holder::User(UserId(uuid))),
            (RecordType::Customer, Holder::Customer(CustomerId(uuid))),
            (RecordType::Organization, Holder::Organization(OrganizationId(uuid))),
        ] {
            if self.row(kind, id)?.is_some() {
                return Ok(Some(holder));
            }
        }
        Ok(None)
    }
}
