//! Tokens that were given up and that their providers have to be told of: written in the transaction that gives them up, so that no
//! crash forgets one.
//!
//! Each is sealed under a key of its own, in a slot of the keyring like that of a user of the organization: it outlives the user whose
//! token it was, and is destroyed with the row, so that a copy of the catalog from in between does not open either.

use super::grants::{self, GRANTS, GrantId, StoredGrant};
use super::tables::{self, Bytes, PENDING_DESTRUCTION};
use super::{Catalog, Mutation};
use crate::error::StoreError;
use crate::keyring::{Keyring, NewKey, Owner};
use crate::seal::RecordKind;
use perseat_domain::grant::{Debt, Holder};
use perseat_domain::id::UserId;
use perseat_domain::model::{Membership, Sealed};
use perseat_domain::time::Timestamp;
use redb::{ReadableTable as _, ReadableTableMetadata as _, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Id of what is owed → [`StoredOwed`].
pub(super) const OWED: Bytes = TableDefinition::new("owed");

/// Format of the rows.
const FORMAT: u8 = 1;

/// Names one token that is owed, and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwedId(pub Uuid);

impl OwedId {
    /// The key under which it is sealed.
    #[must_use]
    pub fn key(self) -> NewKey {
        NewKey::User(UserId(self.0), Membership::Organization)
    }

    /// Whose key the keyring takes it for.
    #[must_use]
    pub fn owner(self) -> Owner {
        self.key().owner()
    }

    pub(super) fn read(key: &[u8]) -> Result<Self, StoreError> {
        Uuid::from_slice(key)
            .map(Self)
            .map_err(|_| StoreError::corrupt("token that is owed"))
    }
}

/// A token that is owed, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredOwed {
    /// Whose grant it was of.
    pub holder: Holder,
    /// The connection's stable key.
    pub variable: String,
    /// The host that is told.
    pub host: String,
    /// How far that is.
    pub debt: Debt,
    /// The token and what its provider has to be told.
    pub sealed: Sealed,
}

impl StoredOwed {
    /// The grant that it was of.
    #[must_use]
    pub fn grant(&self) -> GrantId {
        GrantId {
            holder: self.holder,
            variable: self.variable.clone(),
        }
    }

    /// What is owed, opened; `None` where its key is gone: it was settled, and the row is of an older copy.
    ///
    /// # Errors
    /// If it was changed, or the keyring cannot be read.
    pub fn open(&self, id: OwedId, keyring: &Keyring) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let key = match keyring.data_key(id.owner()) {
            Ok(key) => key,
            Err(StoreError::NoKey { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(key.unseal(RecordKind::Owed, id.0.as_bytes(), &self.sealed)?))
    }
}

/// A token that is going to be owed. Holds a secret.
pub struct Owing {
    /// The grant that it was of.
    pub of: GrantId,
    /// The host that is told.
    pub host: String,
    /// The token and what its provider has to be told.
    pub plain: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Owing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owing").field("of", &self.of).finish_non_exhaustive()
    }
}

/// Whether one was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owes {
    /// It was.
    Written,
    /// The grant holds another token by now.
    Nothing,
    /// As many as may wait do.
    Full,
}

/// What became of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which.
    pub id: OwedId,
    /// The grant that it was of.
    pub of: GrantId,
    /// How that ended.
    pub fate: Fate,
}

/// How a token that was owed ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its provider took it back.
    GivenBack,
    /// It was kept from its provider: another grant would have ended with it.
    Spared,
    /// Its provider did not take it back, and why.
    Refused(String),
}

impl Fate {
    /// Why it was not given back.
    fn reason(&self) -> Option<&str> {
        match self {
            Self::GivenBack => None,
            Self::Spared => Some("another_grant"),
            Self::Refused(reason) => Some(reason),
        }
    }
}

fn encode(owed: &StoredOwed) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(owed, vec![FORMAT]).map_err(|error| StoreError::corrupt(format!("a token that is owed, to be stored: {error}")))
}

pub(super) fn decode(bytes: &[u8]) -> Result<StoredOwed, StoreError> {
    let body = bytes
        .strip_prefix(&[FORMAT])
        .ok_or_else(|| StoreError::corrupt("token that is owed"))?;
    postcard::from_bytes(body).map_err(|_| StoreError::corrupt("token that is owed"))
}

impl Catalog {
    /// At most `limit` tokens that are owed behind `after`, by id.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn owed(&self, after: Option<OwedId>, limit: usize) -> Result<Vec<(OwedId, StoredOwed)>, StoreError> {
        let view = self.view()?;
        let table = view.transaction.open_table(OWED)?;
        let after = after.map(|after| after.0.into_bytes());
        let rows = tables::collect(&table, &[], after.as_ref().map(<[u8; 16]>::as_slice), limit, |key, row| {
            (key.to_vec(), row.to_vec())
        })?;
        rows.iter().map(|(key, row)| Ok((OwedId::read(key)?, decode(row)?))).collect()
    }

    /// Those of these that are not owed.
    pub(crate) fn not_owed(&self, ids: &[OwedId]) -> Result<Vec<OwedId>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let view = self.view()?;
        let table = view.transaction.open_table(OWED)?;
        let mut absent = Vec::new();
        for id in ids {
            if table.get(id.0.as_bytes().as_slice())?.is_none() {
                absent.push(*id);
            }
        }
        Ok(absent)
    }

    /// Writes down one that a grant gave up which holds nothing any more, or is gone, or holds what `is_apart` says. `seal` is asked only
    /// where it is written.
    pub(crate) fn owe_unless_held(
        &self,
        of: &GrantId,
        is_apart: impl FnOnce(&StoredGrant) -> bool,
        seal: impl FnOnce() -> Result<(OwedId, StoredOwed), StoreError>,
    ) -> Result<Owes, StoreError> {
        let transaction = self.write()?;
        {
            let grants = transaction.open_table(GRANTS)?;
            let found = grants.get(of.to_key().as_slice())?;
            let found = found.map(|guard| grants::decode(guard.value())).transpose()?;
            if found.is_some_and(|row| row.grant.held.is_some() && !is_apart(&row)) {
                return Ok(Owes::Nothing);
            }
            let mut table = transaction.open_table(OWED)?;
            if table.len()? >= self.options.owed {
                return Ok(Owes::Full);
            }
            let (id, owed) = seal()?;
            table.insert(id.0.as_bytes().as_slice(), encode(&owed)?.as_slice())?;
        }
        transaction.commit()?;
        Ok(Owes::Written)
    }

    /// Writes down how far one is, if it is still there.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn put_owed_off(&self, id: OwedId, debt: Debt) -> Result<(), StoreError> {
        let transaction = self.write()?;
        {
            let mut table = transaction.open_table(OWED)?;
            let key = id.0.into_bytes();
            let found = table.get(key.as_slice())?.map(|guard| decode(guard.value())).transpose()?;
            if let Some(found) = found {
                table.insert(key.as_slice(), encode(&StoredOwed { debt, ..found })?.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Takes out those that are done with: their keys are to be destroyed, and the grants that are still there say so. Tells whether any
    /// was refused; one that was taken out meanwhile is nobody's business any more.
    pub(crate) fn settle_owed(&self, all: &[Settled], at: Timestamp, timeline: usize) -> Result<bool, StoreError> {
        let transaction = self.write()?;
        let is_any_refused = settle(&transaction, all, at, timeline)?;
        transaction.commit()?;
        Ok(is_any_refused)
    }
}

fn settle(transaction: &WriteTransaction, all: &[Settled], at: Timestamp, timeline: usize) -> Result<bool, StoreError> {
    let mut is_any_refused = false;
    let mut table = transaction.open_table(OWED)?;
    let mut pending = transaction.open_table(PENDING_DESTRUCTION)?;
    let mut grants = transaction.open_table(GRANTS)?;
    for Settled { id, of, fate } in all {
        if table.remove(id.0.as_bytes().as_slice())?.is_none() {
            continue;
        }
        is_any_refused |= matches!(fate, Fate::Refused(_));
        pending.insert(id.owner().to_bytes().as_slice(), ())?;
        let key = of.to_key();
        let found = grants.get(key.as_slice())?.map(|guard| grants::decode(guard.value())).transpose()?;
        if let Some(mut stored) = found {
            stored.grant.told_of_token(fate.reason(), at, timeline);
            grants.insert(key.as_slice(), grants::encode(&stored)?.as_slice())?;
        }
    }
    Ok(is_any_refused)
}

impl Mutation<'_> {
    /// A token is given up with this mutation: its provider has to be told. Beyond `owed.tokens` nothing more is kept.
    pub fn owe(&mut self, owing: Owing) {
        if (self.owing.len() as u64) < self.owed_limit {
            self.owing.push(owing);
        } else {
            self.forgotten += 1;
        }
    }

    /// What is to be written down, as far as there is room; how many tokens there is none for.
    pub(crate) fn take_owing(&mut self) -> Result<(Vec<Owing>, usize), StoreError> {
        let room = usize::try_from(self.owed_limit.saturating_sub(self.owed.len()?)).unwrap_or(usize::MAX);
        let mut owing = std::mem::take(&mut self.owing);
        let surplus = owing.len().saturating_sub(room);
        owing.truncate(room);
        Ok((owing, surplus + std::mem::take(&mut self.forgotten)))
    }

    pub(crate) fn put_owed(&mut self, id: OwedId, owed: &StoredOwed) -> Result<(), StoreError> {
        self.owed.insert(id.0.as_bytes().as_slice(), encode(owed)?.as_slice())?;
        Ok(())
    }

    /// Takes out those whose keys are gone: they were settled since. Gives how many.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn forget_owed(&mut self, has_key: impl Fn(Owner) -> bool) -> Result<u64, StoreError> {
        let ids = tables::collect(&self.owed, &[], None, usize::MAX, |key, _| OwedId::read(key))?;
        let mut count = 0;
        for id in ids {
            let id = id?;
            if !has_key(id.owner()) {
                self.owed.remove(id.0.as_bytes().as_slice())?;
                count += 1;
            }
        }
        Ok(count)
    }
}
