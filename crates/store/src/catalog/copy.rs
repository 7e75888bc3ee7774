//! Copies of the catalog as of one moment, for backups, and how they become a catalog again.
//!
//! In a copy every row that belongs to one user alone is sealed by that user's key, whatever is in it, and nothing is listed: the
//! lists hold what people are called. So a copy says nothing of a user whose key was destroyed after it was made. Opening one puts
//! back the rows whose keys are there and lists everything anew.

use super::audit::ChangeKind;
use super::grants::GRANTS;
use super::notices::NOTICES;
use super::record::{self, Record, RecordId as _, RecordKey, RecordType};
use super::superseded::SUPERSEDED;
use super::tables::{Bytes, META, OWNED, SEALED, UNIQUE};
use super::{Catalog, Mutation, Options, Rows as _, View, lists};
use crate::copy;
use crate::database::Handle;
use crate::error::StoreError;
use crate::folder::Folder;
use crate::keyring::{Keyring, Owner};
use crate::seal::{DataKey, RecordKind};
use perseat_domain::account::{Account, Letter, Session};
use perseat_domain::id::UserId;
use perseat_domain::model::{ApiToken, Media, Membership, Sealed, User, UserConfig};
use perseat_domain::sharing::SharedValue;
use perseat_domain::time::Timestamp;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableError, TableHandle as _};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::Arc;

/// The first byte of a sealed row; no format of a row is so high.
const MARK: u8 = 0xff;

/// A row that belongs to one user alone, as a copy holds it.
#[derive(Serialize, Deserialize)]
struct SealedRow {
    user: UserId,
    stays: Stays,
    /// The row, by the user's key.
    sealed: Sealed,
}

/// What a copy says of a row though its user is gone.
#[derive(Serialize, Deserialize)]
enum Stays {
    Nothing,
    /// Of a user.
    Membership(Membership),
    /// Of a configuration, without its values: its URLs answer 410 for a time.
    Config(UserConfig),
}

/// Of whom a copy holds rows that nothing opens any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Who, and to whom they belonged.
    pub users: BTreeMap<UserId, Membership>,
    /// Those of them who have a key that does not read or open; the others were removed since.
    pub damaged: BTreeSet<UserId>,
    configs: Vec<UserConfig>,
}

/// The id under which a row is sealed.
fn row_id(table: Bytes, key: &[u8]) -> Vec<u8> {
    [table.name().as_bytes(), &[0], key].concat()
}

/// Makes rows of users unreadable without their keys.
struct Sealing<'s> {
    view: &'s View<'s>,
    keyring: &'s Keyring,
}

impl Sealing<'_> {
    /// A row as it stands in the copy; `None` where its user's key was destroyed meanwhile.
    fn row(&self, table: Bytes, key: &[u8], row: &[u8], user: Option<UserId>, stays: Stays) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(user) = user else { return Ok(Some(row.to_vec())) };
        let Some(data_key) = key_of(self.keyring, user)? else {
            return Ok(None);
        };
        let sealed = data_key.seal(RecordKind::CatalogRow, &row_id(table, key), row);
        let row = postcard::to_extend(&SealedRow { user, stays, sealed }, vec![MARK]);
        row.map(Some)
            .map_err(|error| StoreError::corrupt(format!("a row to be copied: {error}")))
    }

    fn record(&self, kind: RecordType, key: &[u8], row: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        fn person<R: Record>(row: &[u8]) -> Result<Option<UserId>, StoreError> {
            Ok(record::decode::<R>(row)?.person())
        }
        let (user, stays) = match kind {
            RecordType::User => {
                let user = record::decode::<User>(row)?;
                (user.person(), Stays::Membership(user.membership))
            }
            RecordType::UserConfig => {
                let config = record::decode::<UserConfig>(row)?;
                let (user, values) = (config.person(), BTreeMap::new());
                (user, Stays::Config(UserConfig { values, ..config }))
            }
            RecordType::ApiToken => (person::<ApiToken>(row)?, Stays::Nothing),
            RecordType::Media => (person::<Media>(row)?, Stays::Nothing),
            RecordType::Account => (person::<Account>(row)?, Stays::Nothing),
            RecordType::Session => (person::<Session>(row)?, Stays::Nothing),
            RecordType::Letter => (person::<Letter>(row)?, Stays::Nothing),
            RecordType::SharedValue => (person::<SharedValue>(row)?, Stays::Nothing),
            RecordType::Organization
            | RecordType::Customer
            | RecordType::Integration
            | RecordType::IntegrationVersion
            | RecordType::Instance
            | RecordType::SharedConnection => (None, Stays::Nothing),
        };
        self.row(kind.table(), key, row, user, stays)
    }

    /// A row of what has the id `holder`: a user or a configuration, or something that is no one user's.
    fn held(&self, table: Bytes, key: &[u8], row: &[u8], holder: Option<&[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
        let holder = holder.ok_or_else(|| StoreError::corrupt("catalog"))?;
        let user = match self.view.row(RecordType::UserConfig, holder)? {
            Some(config) => Some(record::decode::<UserConfig>(&config)?.user),
            None => match self.view.row(RecordType::User, holder)? {
                Some(_) => UserId::from_key(holder),
                None => None,
            },
        };
        self.row(table, key, row, user, Stays::Nothing)
    }
}

/// The key of a user, where there is one.
fn key_of(keyring: &Keyring, user: UserId) -> Result<Option<Arc<DataKey>>, StoreError> {
    match keyring.data_key(Owner::User(user)) {
        Ok(key) => Ok(Some(key)),
        Err(StoreError::NoKey { .. }) => Ok(None),
        Err(StoreError::Sealed(_)) => Err(StoreError::corrupt(format!("the key of {}", Owner::User(user)))),
        Err(error) => Err(error),
    }
}

impl Catalog {
    /// Copies everything of one moment into an empty file, rows of users sealed; gives its revision. Writers go on meanwhile.
    ///
    /// # Errors
    /// If the disk fails, or holds a table of a shape that this version does not know, or the key of a user is damaged: what is
    /// theirs would be missing in the copy.
    pub fn copy_to(&self, file: File, keyring: &Keyring) -> Result<u64, StoreError> {
        let view = self.view()?;
        let sealing = Sealing { view: &view, keyring };
        copy::into_file(&view.transaction, file, |copy| {
            for kind in RecordType::ALL {
                copy.changed(kind.table(), |key, row| sealing.record(kind, key, row))?;
            }
            // Behind a byte that names the type of the record.
            copy.changed(SUPERSEDED, |key, row| sealing.held(SUPERSEDED, key, row, key.get(1..17)))?;
            copy.changed(GRANTS, |key, row| sealing.held(GRANTS, key, row, key.get(..16)))?;
            copy.changed(NOTICES, |key, row| sealing.held(NOTICES, key, row, key.get(..16)))?;
            copy.left_empty(UNIQUE)?;
            copy.left_empty(OWNED)?;
            copy.all()?;
            copy.insert(META, SEALED, 1)
        })?;
        view.revision()
    }

    /// Opens a copy and makes it a catalog again; of rows that no key opens, and of no others, only their users are known.
    /// One that is a catalog already is opened as it is.
    ///
    /// # Errors
    /// As [`Catalog::open`], or if a row is not a sealed one. What does not open with the key that its user has now counts as closed
    /// by a key that is gone, so the caller has held the copy against its digest.
    pub fn open_copy(folder: Arc<dyn Folder>, name: &str, options: Options, keyring: &Keyring) -> Result<(Self, Gone), StoreError> {
        let database = Handle::open(folder, name, options.cache_bytes)?;
        let gone = unseal(&*database.get()?, keyring)?;
        Ok((Self::of(database, options)?, gone))
    }
}

/// Puts the rows of a copy back and lists them.
fn unseal(database: &Database, keyring: &Keyring) -> Result<Gone, StoreError> {
    let mut gone = Gone::default();
    let reading = database.begin_read()?;
    match reading.open_table(META) {
        Ok(meta) if meta.get(SEALED)?.is_some() => {}
        Ok(_) | Err(TableError::TableDoesNotExist(_)) => return Ok(gone),
        Err(error) => return Err(error.into()),
    }
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    for table in RecordType::ALL
        .map(RecordType::table)
        .into_iter()
        .chain([SUPERSEDED, GRANTS, NOTICES])
    {
        let (source, mut target) = (reading.open_table(table)?, transaction.open_table(table)?);
        for row in source.iter()? {
            let (key, row) = row?;
            let (key, Some(row)) = (key.value(), row.value().strip_prefix(&[MARK])) else {
                continue;
            };
            let row: SealedRow = postcard::from_bytes(row).map_err(|_| StoreError::corrupt("a sealed row of the copy"))?;
            let data_key = match key_of(keyring, row.user) {
                Err(StoreError::Corrupt { .. }) => {
                    gone.damaged.insert(row.user);
                    None
                }
                data_key => data_key?,
            };
            let plain = data_key.map(|key_of_user| key_of_user.unseal(RecordKind::CatalogRow, &row_id(table, key), &row.sealed));
            let plain = match plain.transpose() {
                // Whoever was deleted and came again with the same id has another key.
                Err(error) if error.is_another_key() => None,
                plain => plain?,
            };
            match plain {
                Some(plain) => {
                    target.insert(key, plain.as_slice())?;
                }
                None => {
                    target.remove(key)?;
                    gone.note(row);
                }
            }
        }
    }
    drop(reading);
    lists::fill(&transaction)?;
    transaction.open_table(META)?.remove(SEALED)?;
    transaction.commit()?;
    Ok(gone)
}

impl Gone {
    fn note(&mut self, row: SealedRow) {
        match row.stays {
            Stays::Nothing => {}
            Stays::Membership(membership) => {
                self.users.insert(row.user, membership);
            }
            Stays::Config(config) => self.configs.push(config),
        }
    }
}

impl Mutation<'_> {
    /// Writes down that users are gone with all that was theirs, as [`Mutation::delete_user`] does: their configurations are
    /// removed as of `at` and answer 410 for a time.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn settle_gone(&mut self, gone: &Gone, at: Timestamp) -> Result<(), StoreError> {
        for config in &gone.configs {
            self.put(&UserConfig {
                config_revision: config.config_revision + 1,
                removed_at: Some(at),
                ..config.clone()
            })?;
        }
        for user in gone.users.keys() {
            self.note(RecordKey::User(*user), ChangeKind::Deleted, &[]);
        }
        Ok(())
    }
}
