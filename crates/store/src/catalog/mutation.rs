//! One mutation: rows written and deleted with their index rows, all in one transaction.

use super::audit::{ChangeKind, Described, Ledger, SegmentHash};
use super::grants::{self, GRANTS};
use super::notices::NOTICES;
use super::owed::{OWED, Owing};
use super::record::{self, IndexRows, Owned, Stamp, removed_before};
use super::superseded::{self, SUPERSEDED};
use super::tables::{self, OWNED, PENDING_DESTRUCTION, UNIQUE};
use super::{Lookup, Options, Record, RecordId, RecordKey, RecordType, Rows};
use crate::error::StoreError;
use crate::keyring::NewKey;
use crate::media::{Unnamed, customer_of};
use perseat_domain::grant::Holder;
use perseat_domain::id::{
    CustomerId, InstanceId, IntegrationId, MediaId, SharedConnectionId, SharedValueId, TokenId, UserConfigId, UserId,
};
use perseat_domain::model::{
    ApiToken, Customer, Instance, Integration, IntegrationVersion, Media, MediaOwner, Membership, User, UserConfig,
};
use perseat_domain::sharing::{SharedConnection, SharedValue};
use perseat_domain::time::Timestamp;
use redb::{ReadableTable, Table, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Rows that a cascade reads at once.
const PAGE: usize = 256;

/// Which records a mutation touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Touched {
    /// These, in the order of writing; deleted ones too.
    Records(Vec<RecordKey>),
    /// Too many to name: read everything again.
    Everything,
}

/// What a mutation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutated<T> {
    /// What the work returned.
    pub value: T,
    /// The catalog's revision now.
    pub revision: u64,
    /// Whether anything changed, and so whether the revision was raised.
    pub changed: bool,
    /// What to publish.
    pub touched: Touched,
    /// Files that no record names any more.
    pub unnamed_files: Vec<Unnamed>,
}

impl Mutated<()> {
    pub(super) fn with<T>(self, value: T) -> Mutated<T> {
        Mutated {
            value,
            revision: self.revision,
            changed: self.changed,
            touched: self.touched,
            unnamed_files: self.unnamed_files,
        }
    }
}

/// What is left of a mutation once its tables are closed.
pub(super) struct Finished {
    pub(super) ledger: Ledger,
    pub(super) revision: u64,
    pub(super) new_keys: Vec<NewKey>,
    pub(super) unnamed_files: Vec<Unnamed>,
}

type BytesTable<'t> = Table<'t, &'static [u8], &'static [u8]>;
type KeysTable<'t> = Table<'t, &'static [u8], ()>;

/// An open mutation; reads see what it has written.
pub struct Mutation<'t> {
    pub(super) records: Vec<BytesTable<'t>>,
    unique: BytesTable<'t>,
    owned: KeysTable<'t>,
    pub(super) pending: KeysTable<'t>,
    pub(super) superseded: BytesTable<'t>,
    pub(super) grants: BytesTable<'t>,
    pub(super) notices: BytesTable<'t>,
    pub(super) owed: BytesTable<'t>,
    /// Tokens that are given up with it.
    pub(super) owing: Vec<Owing>,
    /// How many more there were.
    pub(super) forgotten: usize,
    pub(super) owed_limit: u64,
    /// When it happens.
    pub(super) at: Timestamp,
    pub(super) revisions_kept: usize,
    ledger: Ledger,
    new_keys: Vec<NewKey>,
    unnamed_files: Vec<Unnamed>,
    revision: u64,
}

impl fmt::Debug for Mutation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutation")
            .field("touched", &self.ledger.touched())
            .finish_non_exhaustive()
    }
}

impl<'t> Mutation<'t> {
    /// `revision` is the one that this mutation makes.
    pub(super) fn open(transaction: &'t WriteTransaction, at: Timestamp, revision: u64, options: &Options) -> Result<Self, StoreError> {
        let records = RecordType::ALL.into_iter().map(|kind| transaction.open_table(kind.table()));
        Ok(Self {
            records: records.collect::<Result<_, _>>()?,
            unique: transaction.open_table(UNIQUE)?,
            owned: transaction.open_table(OWNED)?,
            pending: transaction.open_table(PENDING_DESTRUCTION)?,
            superseded: transaction.open_table(SUPERSEDED)?,
            grants: transaction.open_table(GRANTS)?,
            notices: transaction.open_table(NOTICES)?,
            owed: transaction.open_table(OWED)?,
            owing: Vec::new(),
            forgotten: 0,
            owed_limit: options.owed,
            at,
            revisions_kept: options.revisions_kept,
            ledger: Ledger::new(options.named_changes, options.audit_details),
            new_keys: Vec::new(),
            unnamed_files: Vec::new(),
            revision,
        })
    }

    /// Says that a record changed that is not written by [`Mutation::put`].
    pub(super) fn note(&mut self, key: RecordKey, kind: ChangeKind, stored: &[u8]) {
        self.ledger.note(key, kind, stored);
    }

    /// Names a record in the audit, as it is.
    pub(super) fn note_named<R: Record>(&mut self, record: &R) -> Result<(), StoreError> {
        let id = record.record_id();
        let stored = self.row(R::TYPE, &id.to_key())?.unwrap_or_default();
        self.ledger.note(id.into(), ChangeKind::Changed, &stored);
        let described = Described {
            id: &id.text(),
            person: record.person(),
            names: &record.index().unique,
            values: Vec::new(),
        };
        self.ledger.describe(R::TYPE, ChangeKind::Changed, &described);
        Ok(())
    }

    /// What changed, the keys that new owners need, and files that no record names any more.
    pub(super) fn finish(self) -> Finished {
        Finished {
            ledger: self.ledger,
            revision: self.revision,
            new_keys: self.new_keys,
            unnamed_files: self.unnamed_files,
        }
    }

    /// Notes the final hashes of journal segments that were sealed: they stand in the audit entry of this mutation.
    pub fn attest(&mut self, segments: &[SegmentHash]) {
        self.ledger.attest(segments);
    }

    /// Writes a record: creates it or replaces the one with its id. Tells whether anything changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where a unique value is taken, [`StoreError::NotFound`] where what it refers to does
    /// not exist, [`StoreError::Fixed`] where a field changed that cannot.
    pub fn put<R: Record>(&mut self, record: &R) -> Result<bool, StoreError> {
        let id = record.record_id();
        let key = id.to_key();
        let old = self.row(R::TYPE, &key)?;
        let stamp = Stamp {
            created_at: old.as_deref().and_then(Stamp::of).map_or(self.at, |stamp| stamp.created_at),
            changed_at: self.at,
            revision: self.revision,
        };
        let stored = record::encode(record, stamp)?;
        if old.as_ref().is_some_and(|old| record::is_same(old, &stored)) {
            return Ok(false);
        }
        let old = old.map(|bytes| record::decode::<R>(&bytes)).transpose()?;
        if let Some(field) = old.as_ref().and_then(|old| record.changed_fixed_field(old)) {
            return Err(StoreError::Fixed {
                record: R::TYPE.name(),
                id: id.text(),
                field,
            });
        }
        if R::TYPE == RecordType::Organization && old.is_none() && self.organization()?.is_some() {
            return Err(StoreError::Conflict {
                record: R::TYPE.name(),
                field: "id",
                value: id.text(),
            });
        }
        self.check_references(record, old.as_ref())?;
        let rows_before = old.as_ref().map(Record::index).unwrap_or_default();
        let rows = record.index();
        self.replace_index_rows::<R>(&key, &rows_before, &rows)?;
        self.records[R::TYPE as usize].insert(key.as_slice(), stored.as_slice())?;
        if let Some(old) = &old {
            self.supersede(old, record)?;
        }
        let kind = if old.is_some() { ChangeKind::Changed } else { ChangeKind::Created };
        self.ledger.note(id.into(), kind, &stored);
        let described = Described {
            id: &id.text(),
            person: record.person(),
            names: &rows.unique,
            values: changed_values(old.as_ref(), record),
        };
        self.ledger.describe(R::TYPE, kind, &described);
        if old.is_none() {
            self.new_keys.extend(record.data_key());
        }
        Ok(true)
    }

    fn check_references<R: Record>(&self, record: &R, old: Option<&R>) -> Result<(), StoreError> {
        let checked = old.map(Record::references).unwrap_or_default();
        for reference in record.references() {
            let (kind, key, text) = reference.parts();
            if !checked.contains(&reference) && self.records[kind as usize].get(key.as_slice())?.is_none() {
                return Err(StoreError::NotFound {
                    record: kind.name(),
                    id: text,
                });
            }
        }
        Ok(())
    }

    /// Checks first, so that a caller who goes on after a conflict has lost nothing.
    fn replace_index_rows<R: Record>(&mut self, id: &[u8], old: &IndexRows, new: &IndexRows) -> Result<(), StoreError> {
        for (field, value, key) in &new.unique {
            let taken = self.unique.get(key.as_slice())?;
            if taken.is_some_and(|other| other.value() != id) {
                return Err(StoreError::Conflict {
                    record: R::TYPE.name(),
                    field,
                    value: value.clone(),
                });
            }
        }
        for row in old.unique.iter().filter(|row| !new.unique.contains(row)) {
            self.unique.remove(row.2.as_slice())?;
        }
        for row in old.owned.iter().filter(|row| !new.owned.contains(row)) {
            self.owned.remove(row.as_slice())?;
        }
        for row in new.unique.iter().filter(|row| !old.unique.contains(row)) {
            self.unique.insert(row.2.as_slice(), id)?;
        }
        for row in new.owned.iter().filter(|row| !old.owned.contains(row)) {
            self.owned.insert(row.as_slice(), ())?;
        }
        Ok(())
    }

    /// Deletes one row with its index rows; its owner's key is to be destroyed.
    pub(super) fn delete<R: Record>(&mut self, id: R::Id) -> Result<bool, StoreError> {
        let Some(record) = self.get::<R>(id)? else { return Ok(false) };
        let key = id.into();
        if let RecordKey::Media(file) = key
            && let Some(media) = self.get::<Media>(file)?
        {
            let customer = customer_of(self, media.owner)?;
            self.unnamed_files.push(Unnamed { id: file, customer });
        }
        self.records[R::TYPE as usize].remove(id.to_key().as_slice())?;
        let rows = record.index();
        self.replace_index_rows::<R>(&[], &rows, &IndexRows::default())?;
        self.forget_superseded::<R>(id)?;
        self.forget_grants::<R>(id)?;
        if let Some(key) = record.data_key() {
            self.pending.insert(key.owner().to_bytes().as_slice(), ())?;
        }
        self.ledger.note(key, ChangeKind::Deleted, &[]);
        let described = Described {
            id: &id.text(),
            person: record.person(),
            names: &rows.unique,
            values: Vec::new(),
        };
        self.ledger.describe(R::TYPE, ChangeKind::Deleted, &described);
        Ok(true)
    }

    /// Deletes one file's record; the file goes once the mutation is durable. Tells whether it existed.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn delete_media(&mut self, id: MediaId) -> Result<bool, StoreError> {
        self.delete::<Media>(id)
    }

    /// Deletes the records of all files of an owner.
    fn delete_media_of(&mut self, owner: MediaOwner) -> Result<(), StoreError> {
        loop {
            let files = self.media_of(owner, None, PAGE)?.items;
            if files.is_empty() {
                return Ok(());
            }
            for file in files {
                self.delete::<Media>(file.id)?;
            }
        }
    }

    /// Deletes a customer with its users, instances and their user configurations. Their keys are destroyed once
    /// the mutation is durable (see [`crate::custody`]). Tells whether it existed.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn delete_customer(&mut self, id: CustomerId) -> Result<bool, StoreError> {
        loop {
            let instances = self.instances_of_customer(id, None, PAGE)?.items;
            if instances.is_empty() {
                break;
            }
            instances
                .iter()
                .try_for_each(|instance| self.delete_instance(instance.id).map(|_| ()))?;
        }
        loop {
            let users = self.users_of(Membership::Customer(id), None, PAGE)?.items;
            if users.is_empty() {
                break;
            }
            for user in &users {
                self.delete_tokens(user.id.0)?;
                self.delete_media_of(MediaOwner::User(user.id))?;
                self.delete_account(user.id)?;
                self.delete_shared_values(Holder::User(user.id))?;
                self.delete::<User>(user.id)?;
            }
        }
        self.delete_tokens(id.0)?;
        self.delete_shared_values(Holder::Customer(id))?;
        self.delete_media_of(MediaOwner::Customer(id))?;
        self.delete::<Customer>(id)
    }

    /// Deletes a user; their configurations are removed as of `at` and answer 410 for a time.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn delete_user(&mut self, id: UserId, at: Timestamp) -> Result<bool, StoreError> {
        let mut after = None;
        loop {
            let page = self.user_configs_of_user(id, after, PAGE)?;
            for config in &page.items {
                self.remove_user_config(config.id, at)?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.delete_tokens(id.0)?;
        self.delete_media_of(MediaOwner::User(id))?;
        self.delete_account(id)?;
        self.delete_shared_values(Holder::User(id))?;
        self.delete::<User>(id)
    }

    /// Deletes what a holder gives to shared connections.
    fn delete_shared_values(&mut self, holder: Holder) -> Result<(), StoreError> {
        loop {
            let values = self.shared_values_of(holder, None, PAGE)?.items;
            if values.is_empty() {
                return Ok(());
            }
            for value in values {
                self.delete::<SharedValue>(value.id)?;
            }
        }
    }

    /// Deletes what one holder gives to a shared connection. Tells whether it was there.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn delete_shared_value(&mut self, id: SharedValueId) -> Result<bool, StoreError> {
        self.delete::<SharedValue>(id)
    }

    /// Deletes a shared connection with what everybody gave to it and every grant of it. Tells whether it existed.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn delete_shared_connection(&mut self, id: SharedConnectionId) -> Result<bool, StoreError> {
        let Some(connection) = self.get::<SharedConnection>(id)? else {
            return Ok(false);
        };
        loop {
            let values = self.values_of_shared(id, None, PAGE)?.items;
            if values.is_empty() {
                break;
            }
            for value in values {
                self.delete::<SharedValue>(value.id)?;
            }
        }
        self.forget_grants_of_shared(&connection.stable_key)?;
        self.delete::<SharedConnection>(id)
    }

    /// Deletes every token of a customer or user.
    fn delete_tokens(&mut self, holder: uuid::Uuid) -> Result<(), StoreError> {
        let prefix = Owned::TokensOfHolder.prefix(holder);
        loop {
            let ids = self.owned(&prefix, None, PAGE)?;
            if ids.is_empty() {
                return Ok(());
            }
            for id in ids.iter().filter_map(|id| TokenId::from_key(id)) {
                self.delete::<ApiToken>(id)?;
            }
        }
    }

    /// Deletes an instance with its user configurations.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn delete_instance(&mut self, id: InstanceId) -> Result<bool, StoreError> {
        loop {
            let configs = self.user_configs_of_instance(id, None, PAGE)?.items;
            if configs.is_empty() {
                break;
            }
            configs
                .iter()
                .try_for_each(|config| self.delete::<UserConfig>(config.id).map(|_| ()))?;
        }
        self.delete::<Instance>(id)
    }

    /// Deletes an integration with its versions.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while it has instances.
    pub fn delete_integration(&mut self, id: IntegrationId) -> Result<bool, StoreError> {
        if !self.instances_of_integration(id, None, 1)?.items.is_empty() {
            return Err(StoreError::InUse {
                record: RecordType::Integration.name(),
                id: id.text(),
                by: "an instance",
            });
        }
        loop {
            let versions = self.rows(RecordType::IntegrationVersion, &id.to_key(), None, PAGE)?;
            if versions.is_empty() {
                break;
            }
            for row in versions {
                let version = record::decode::<IntegrationVersion>(&row)?;
                self.delete::<IntegrationVersion>(version.record_id())?;
            }
        }
        self.delete_media_of(MediaOwner::Integration(id))?;
        self.delete::<Integration>(id)
    }

    /// Removes a user configuration as of `at`: its values go, its row stays to answer 410.
    /// Tells whether there was a live one.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn remove_user_config(&mut self, id: UserConfigId, at: Timestamp) -> Result<bool, StoreError> {
        let Some(config) = self.get::<UserConfig>(id)?.filter(|config| config.removed_at.is_none()) else {
            return Ok(false);
        };
        self.forget_grants::<UserConfig>(id)?;
        self.put(&UserConfig {
            values: BTreeMap::new(),
            config_revision: config.config_revision + 1,
            removed_at: Some(at),
            ..config
        })
    }

    /// Deletes at most `limit` rows of user configurations removed before `before`; gives which.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn purge_removed(&mut self, before: Timestamp, limit: usize) -> Result<Vec<UserConfigId>, StoreError> {
        let index = [Owned::RemovedUserConfigs as u8];
        let rows = tables::collect(&self.owned, &index, None, limit, |key, ()| [&index, key].concat())?;
        let end = removed_before(before);
        let mut purged = Vec::new();
        for row in rows.iter().take_while(|row| **row < end) {
            let id = row.get(end.len()..).and_then(UserConfigId::from_key);
            let id = id.ok_or_else(|| StoreError::corrupt("catalog index"))?;
            if self.delete::<UserConfig>(id)? {
                purged.push(id);
            }
        }
        Ok(purged)
    }
}

/// The stable keys of the values that executions bind and that differ.
fn changed_values<'r, R: Record>(old: Option<&'r R>, new: &'r R) -> Vec<&'r str> {
    let values = |record: &'r R| record.bound().map(|(_, values)| values);
    let (before, now) = (old.and_then(values), values(new));
    let keys = before.into_iter().chain(now).flat_map(BTreeMap::keys);
    let keys: std::collections::BTreeSet<&str> = keys.map(String::as_str).collect();
    let of = |values: Option<&'r BTreeMap<String, _>>, key: &str| values.and_then(|values| values.get(key));
    keys.into_iter().filter(|key| of(before, key) != of(now, key)).collect()
}

impl<'t> Lookup for Mutation<'t> {
    type Moment<'a>
        = Mutation<'t>
    where
        Self: 'a;

    fn moment<T>(&self, read: impl FnOnce(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        read(self)
    }
}

impl Rows for Mutation<'_> {
    fn row(&self, kind: RecordType, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.records[kind as usize].get(key)?.map(|guard| guard.value().to_vec()))
    }

    fn rows(&self, kind: RecordType, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let table = &self.records[kind as usize];
        Ok(tables::collect(table, prefix, after, limit, |_, value| value.to_vec())?)
    }

    fn unique(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.unique.get(key)?.map(|guard| guard.value().to_vec()))
    }

    fn owned(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(tables::collect(&self.owned, prefix, after, limit, |key, ()| key.to_vec())?)
    }

    fn owned_back(&self, prefix: &[u8], start: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(tables::collect_back(&self.owned, prefix, start, after, limit)?)
    }

    fn superseded(&self, prefix: &[u8], from: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        superseded::first_from(&self.superseded, prefix, from)
    }

    fn grants(&self, prefix: &[u8]) -> Result<Vec<grants::Row>, StoreError> {
        Ok(tables::collect(&self.grants, prefix, None, usize::MAX, |key, value| {
            (key.to_vec(), value.to_vec())
        })?)
    }

    fn version(&self, integration: IntegrationId, version: u32) -> Result<Option<Arc<IntegrationVersion>>, StoreError> {
        Ok(self.get::<IntegrationVersion>((integration, version))?.map(Arc::new))
    }
}
