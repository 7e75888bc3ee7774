//! The plain values that configurations had in earlier revisions.
//!
//! An execution binds the values of its first start. One that is taken up again after they changed finds them here.
//! Only plain values are kept: a credential is always today's. A revision that changed no plain value has no row, so the
//! values of a revision are in the first row at or after it, and today's where there is none.

use super::tables::{self, Bytes};
use super::{Catalog, Lookup, Mutation, Record, RecordId, RecordType, Rows};
use crate::error::StoreError;
use perseat_domain::model::ConfigValue;
use perseat_domain::time::Timestamp;
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Record type ‖ id ‖ revision (8, big-endian) → [`Superseded`].
pub(super) const SUPERSEDED: Bytes = TableDefinition::new("superseded");

/// Values by variable stable key, connections left out.
pub type PlainValues = BTreeMap<String, String>;

/// Format of the rows.
const FORMAT: u8 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Superseded {
    /// When the next revision took its place.
    at: Timestamp,
    values: PlainValues,
}

/// The values without connections.
#[must_use]
pub fn plain_values(values: &BTreeMap<String, ConfigValue>) -> PlainValues {
    let plain = values.iter().filter_map(|(key, value)| match value {
        ConfigValue::Plain(text) => Some((key.clone(), text.clone())),
        ConfigValue::Connection { .. } => None,
    });
    plain.collect()
}

/// Record type ‖ id: before every revision of one record.
fn prefix<R: Record>(id: R::Id) -> Vec<u8> {
    [&[R::TYPE as u8], id.to_key().as_slice()].concat()
}

fn decode(bytes: &[u8]) -> Result<Superseded, StoreError> {
    let body = bytes
        .strip_prefix(&[FORMAT])
        .ok_or_else(|| StoreError::corrupt("superseded values"))?;
    postcard::from_bytes(body).map_err(|_| StoreError::corrupt("superseded values"))
}

/// Whether a row reads.
pub(super) fn reads(bytes: &[u8]) -> bool {
    decode(bytes).is_ok()
}

/// The plain values that a record had in `revision`; `None` where they are today's.
pub(super) fn values_in<R: Record>(rows: &impl Rows, id: R::Id, revision: u64) -> Result<Option<PlainValues>, StoreError> {
    let row = rows.superseded(&prefix::<R>(id), &revision.to_be_bytes())?;
    row.map(|bytes| decode(&bytes).map(|superseded| superseded.values)).transpose()
}

/// The first row with `prefix` at or after `prefix ‖ from`.
pub(super) fn first_from(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    prefix: &[u8],
    from: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let start = [prefix, from].concat();
    let Some(row) = table.range::<&[u8]>(start.as_slice()..)?.next() else {
        return Ok(None);
    };
    let (key, value) = row?;
    Ok(key.value().starts_with(prefix).then(|| value.value().to_vec()))
}

impl Mutation<'_> {
    /// Keeps what `new` takes the place of, at most `revisions_kept` rows a record; of a record that is removed, nothing.
    pub(super) fn supersede<R: Record>(&mut self, old: &R, new: &R) -> Result<(), StoreError> {
        let id = old.record_id();
        match (old.bound(), new.bound()) {
            (Some((revision, values)), Some((next, next_values))) if revision != next => {
                let values = plain_values(values);
                if values != plain_values(next_values) {
                    self.keep::<R>(id, revision, values)?;
                }
            }
            (Some(_), None) => self.forget_superseded::<R>(id)?,
            _ => {}
        }
        Ok(())
    }

    fn keep<R: Record>(&mut self, id: R::Id, revision: u64, values: PlainValues) -> Result<(), StoreError> {
        let prefix = prefix::<R>(id);
        let key = [prefix.as_slice(), &revision.to_be_bytes()].concat();
        let superseded = Superseded { at: self.at, values };
        let row = postcard::to_extend(&superseded, vec![FORMAT])
            .map_err(|error| StoreError::corrupt(format!("superseded values to be stored: {error}")))?;
        self.superseded.insert(key.as_slice(), row.as_slice())?;
        let kept = self.superseded_keys(&prefix)?;
        for key in kept.iter().rev().skip(self.revisions_kept) {
            self.superseded.remove(key.as_slice())?;
        }
        Ok(())
    }

    /// Deletes the earlier values of a record that goes.
    pub(super) fn forget_superseded<R: Record>(&mut self, id: R::Id) -> Result<(), StoreError> {
        if !matches!(R::TYPE, RecordType::Instance | RecordType::UserConfig) {
            return Ok(());
        }
        for key in self.superseded_keys(&prefix::<R>(id))? {
            self.superseded.remove(key.as_slice())?;
        }
        Ok(())
    }

    fn superseded_keys(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(tables::collect(&self.superseded, prefix, None, usize::MAX, |rest, _| {
            [prefix, rest].concat()
        })?)
    }
}

impl Catalog {
    /// Deletes at most `limit` rows of values that were superseded before `before`: nothing that began earlier is left to
    /// ask for them. Gives how many. Not a mutation: it says nothing new about any record.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn purge_superseded(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let old = self.moment(|at| at.superseded_before(before, limit))?;
        if old.is_empty() {
            return Ok(0);
        }
        let transaction = self.write()?;
        {
            let mut table = transaction.open_table(SUPERSEDED)?;
            for key in &old {
                table.remove(key.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(old.len())
    }
}

impl super::View<'_> {
    fn superseded_before(&self, before: Timestamp, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut keys = Vec::new();
        for row in self.transaction.open_table(SUPERSEDED)?.iter()? {
            let (key, value) = row?;
            if keys.len() == limit {
                break;
            }
            if decode(value.value())?.at < before {
                keys.push(key.value().to_vec());
            }
        }
        Ok(keys)
    }
}
