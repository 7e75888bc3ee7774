//! Notices that somebody has to consent again, one for a grant that is over.
//!
//! A notice is written in the transaction that writes the end of its grant, and goes in the one that writes a new consent: so it
//! is there exactly as long as there is something to tell. What was sent is written beside the catalog's mutations, as grants
//! themselves are, and compares what was read with what is there.

use super::ChangeKind;
use super::grants::{GrantId, holder_key};
use super::tables::{self, Bytes};
use super::{Catalog, Mutation};
use crate::error::StoreError;
use perseat_domain::grant::{Change, Grant, Notice};
use redb::{ReadableTable as _, Table, TableDefinition};

/// Key of the grant → [`Notice`].
pub(super) const NOTICES: Bytes = TableDefinition::new("notice");

/// Format of the rows.
const FORMAT: u8 = 1;

fn encode(notice: &Notice) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(notice, vec![FORMAT]).map_err(|error| StoreError::corrupt(format!("a notice to be stored: {error}")))
}

pub(super) fn decode(bytes: &[u8]) -> Result<Notice, StoreError> {
    let body = bytes.strip_prefix(&[FORMAT]).ok_or_else(|| StoreError::corrupt("notice"))?;
    postcard::from_bytes(body).map_err(|_| StoreError::corrupt("notice"))
}

/// Lets a notice begin or end with its grant.
pub(super) fn follow(
    table: &mut Table<'_, &'static [u8], &'static [u8]>,
    id: &GrantId,
    before: Option<&Grant>,
    after: &Grant,
) -> Result<(), StoreError> {
    let key = id.to_key();
    match Notice::change(id.holder, before, after) {
        Change::Keep => {}
        Change::Begin(notice) => {
            table.insert(key.as_slice(), encode(&notice)?.as_slice())?;
        }
        Change::Clear => {
            table.remove(key.as_slice())?;
        }
    }
    Ok(())
}

impl GrantId {
    /// The id that this key and its notice name.
    fn of_notice(key: &[u8], notice: &Notice) -> Result<Self, StoreError> {
        let variable = key.get(16..).and_then(|rest| String::from_utf8(rest.to_vec()).ok());
        Ok(Self {
            holder: notice.holder,
            variable: variable.ok_or_else(|| StoreError::corrupt("notice"))?,
        })
    }
}

impl Catalog {
    /// At most `limit` notices behind `after`, in the order of their keys.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn notices(&self, after: Option<&GrantId>, limit: usize) -> Result<Vec<(GrantId, Notice)>, StoreError> {
        let view = self.view()?;
        let table = view.transaction.open_table(NOTICES)?;
        let after = after.map(GrantId::to_key);
        let rows = tables::collect(&table, &[], after.as_deref(), limit, |key, value| (key.to_vec(), value.to_vec()))?;
        rows.iter()
            .map(|(key, row)| {
                let notice = decode(row)?;
                Ok((GrantId::of_notice(key, &notice)?, notice))
            })
            .collect()
    }

    /// The notice of a grant, if there is one.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn notice_of(&self, id: &GrantId) -> Result<Option<Notice>, StoreError> {
        let view = self.view()?;
        let row = view.transaction.open_table(NOTICES)?.get(id.to_key().as_slice())?;
        row.map(|guard| decode(guard.value())).transpose()
    }

    /// Writes down how far a notice is, if it is still as it was read; durable once this returns. Tells whether it was.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn store_notice(&self, id: &GrantId, expected: &Notice, notice: &Notice) -> Result<bool, StoreError> {
        let transaction = self.write()?;
        let key = id.to_key();
        {
            let mut table = transaction.open_table(NOTICES)?;
            let found = table.get(key.as_slice())?.map(|guard| decode(guard.value())).transpose()?;
            if found.as_ref() != Some(expected) {
                return Ok(false);
            }
            table.insert(key.as_slice(), encode(notice)?.as_slice())?;
        }
        transaction.commit()?;
        Ok(true)
    }
}

impl Mutation<'_> {
    /// Ends the links that notices took along; gives how many.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn end_notice_links(&mut self) -> Result<u64, StoreError> {
        let rows = tables::collect(&self.notices, &[], None, usize::MAX, |key, value| (key.to_vec(), value.to_vec()))?;
        let mut count = 0;
        for (key, row) in rows {
            let notice = decode(&row)?;
            if !notice.links.is_empty() {
                let ended = Notice {
                    links: Vec::new(),
                    ..notice
                };
                let row = encode(&ended)?;
                self.notices.insert(key.as_slice(), row.as_slice())?;
                self.note(holder_key(ended.holder), ChangeKind::Changed, &row);
                count += 1;
            }
        }
        Ok(count)
    }
}
