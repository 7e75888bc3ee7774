//! Writes the rows that index records for records that are there without them.

use super::record::{self, Record, RecordType};
use super::tables::{OWNED, UNIQUE};
use crate::error::StoreError;
use perseat_domain::account::{Account, Letter, Session};
use perseat_domain::model::{ApiToken, Customer, Instance, Integration, IntegrationVersion, Media, Organization, User, UserConfig};
use perseat_domain::sharing::{SharedConnection, SharedValue};
use redb::{ReadableTable as _, Table, WriteTransaction};

/// Both tables of index rows.
struct Lists<'t> {
    transaction: &'t WriteTransaction,
    unique: Table<'t, &'static [u8], &'static [u8]>,
    owned: Table<'t, &'static [u8], ()>,
}

impl Lists<'_> {
    fn add<R: Record>(&mut self) -> Result<(), StoreError> {
        for row in self.transaction.open_table(R::TYPE.table())?.iter()? {
            let (key, row) = row?;
            let rows = record::decode::<R>(row.value())?.index();
            for (_, _, value) in &rows.unique {
                self.unique.insert(value.as_slice(), key.value())?;
            }
            for entry in &rows.owned {
                self.owned.insert(entry.as_slice(), ())?;
            }
        }
        Ok(())
    }
}

/// Lists every record; those that are listed stay so.
pub(super) fn fill(transaction: &WriteTransaction) -> Result<(), StoreError> {
    let mut lists = Lists {
        transaction,
        unique: transaction.open_table(UNIQUE)?,
        owned: transaction.open_table(OWNED)?,
    };
    RecordType::ALL.into_iter().try_for_each(|kind| match kind {
        RecordType::Organization => lists.add::<Organization>(),
        RecordType::Customer => lists.add::<Customer>(),
        RecordType::User => lists.add::<User>(),
        RecordType::Integration => lists.add::<Integration>(),
        RecordType::IntegrationVersion => lists.add::<IntegrationVersion>(),
        RecordType::Instance => lists.add::<Instance>(),
        RecordType::UserConfig => lists.add::<UserConfig>(),
        RecordType::ApiToken => lists.add::<ApiToken>(),
        RecordType::Media => lists.add::<Media>(),
        RecordType::Account => lists.add::<Account>(),
        RecordType::Session => lists.add::<Session>(),
        RecordType::Letter => lists.add::<Letter>(),
        RecordType::SharedConnection => lists.add::<SharedConnection>(),
        RecordType::SharedValue => lists.add::<SharedValue>(),
    })
}
