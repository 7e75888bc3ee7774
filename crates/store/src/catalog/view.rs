//! One moment of the catalog.

use super::grants::{self, GRANTS};
use super::superseded::{self, SUPERSEDED};
use super::tables::{self, ATTESTED, AUDIT, META, Numbered, OUTBOX, OWNED, REVISION, UNIQUE};
use super::{Allowance, AuditEntry, Catalog, Event, Lookup, Record, RecordType, Rows, SegmentHash, audit, record};
use crate::database::Moment;
use crate::error::StoreError;
use perseat_domain::id::IntegrationId;
use perseat_domain::model::IntegrationVersion;
use redb::ReadableTable;
use std::fmt;
use std::sync::Arc;

/// One moment of the catalog; see [`Catalog::view`].
pub struct View<'a> {
    catalog: &'a Catalog,
    allowance: Option<&'a dyn Allowance>,
    pub(super) transaction: Arc<Moment>,
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

impl<'a> View<'a> {
    pub(super) fn new(catalog: &'a Catalog) -> Result<Self, StoreError> {
        Ok(Self {
            catalog,
            allowance: None,
            transaction: catalog.database.moment()?,
        })
    }

    /// The same within what may be read in all: past it every read fails with [`StoreError::Spent`].
    #[must_use]
    pub fn within(self, allowance: &'a dyn Allowance) -> Self {
        Self {
            allowance: Some(allowance),
            ..self
        }
    }

    /// Counts records before they are read.
    fn take(&self, records: usize) -> Result<(), StoreError> {
        Ok(self.allowance.map_or(Ok(()), |allowance| allowance.take(records))?)
    }

    /// The number of mutations before this moment.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn revision(&self) -> Result<u64, StoreError> {
        let meta = self.transaction.open_table(META)?;
        let revision = meta.get(REVISION)?;
        Ok(revision.map_or(0, |guard| guard.value()))
    }

    /// Gives every record of a type to `visit`, by id, one in memory at a time.
    ///
    /// # Errors
    /// What `visit` returns, or if the disk fails.
    pub fn for_each<R: Record, E: From<StoreError>>(&self, mut visit: impl FnMut(R) -> Result<(), E>) -> Result<(), E> {
        let table = self.transaction.rows(R::TYPE.table())?;
        for row in table.iter().map_err(StoreError::from)? {
            self.take(1)?;
            let (_, value) = row.map_err(StoreError::from)?;
            visit(record::decode(value.value())?)?;
        }
        Ok(())
    }

    pub(super) fn events_after(&self, revision: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.numbered(OUTBOX, revision, limit)
    }

    /// As [`Catalog::audit_after`], of this moment.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn audit_after(&self, revision: u64, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.numbered(AUDIT, revision, limit)
    }

    fn numbered<T: audit::Numbered>(&self, table: Numbered, after: u64, limit: usize) -> Result<Vec<T>, StoreError> {
        let table = self.transaction.open_table(table)?;
        let mut out = Vec::new();
        for row in table.range(after.saturating_add(1)..)?.take(limit) {
            self.take(1)?;
            out.push(audit::decode(row?.1.value())?);
        }
        Ok(out)
    }

    /// As [`Catalog::attested`], of this moment.
    pub(super) fn attested(&self) -> Result<u32, StoreError> {
        let found = self.transaction.open_table(META)?.get(ATTESTED)?.map_or(0, |guard| guard.value());
        u32::try_from(found).map_err(|_| StoreError::corrupt("catalog (attested segment)"))
    }

    /// The final hashes of journal segments from `number` on, as the audit holds them, each with its revision.
    ///
    /// # Errors
    /// If the disk fails or an entry does not decode.
    pub fn segment_hashes(&self, number: u32) -> Result<Vec<(u64, SegmentHash)>, StoreError> {
        let mut found = Vec::new();
        // The newest first: numbers grow with revisions, so that those below end the search.
        for row in self.transaction.open_table(AUDIT)?.iter()?.rev() {
            let entry: AuditEntry = audit::decode(row?.1.value())?;
            let (from, before): (Vec<_>, Vec<_>) = entry.segments.into_iter().partition(|segment| segment.number >= number);
            found.extend(from.into_iter().map(|segment| (entry.revision, segment)));
            if !before.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    pub(super) fn verify_audit_chain(&self) -> Result<u64, StoreError> {
        let broken = |revision| StoreError::corrupt(format!("audit entry {revision}"));
        let (mut count, mut previous) = (0, [0; 32]);
        for row in self.transaction.open_table(AUDIT)?.iter()? {
            let (key, value) = row?;
            let entry: AuditEntry = audit::decode(value.value())?;
            count += 1;
            if entry.revision != key.value() || entry.revision != count || entry.previous != previous {
                return Err(broken(key.value()));
            }
            previous = audit::sha256(value.value());
        }
        if count != self.revision()? {
            return Err(broken(count + 1));
        }
        Ok(count)
    }
}

impl<'v> Lookup for View<'v> {
    type Moment<'a>
        = View<'v>
    where
        Self: 'a;

    fn moment<T>(&self, read: impl FnOnce(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        read(self)
    }
}

impl Lookup for Catalog {
    type Moment<'a> = View<'a>;

    fn moment<T>(&self, read: impl FnOnce(&View<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        read(&self.view()?)
    }
}

impl Rows for View<'_> {
    fn row(&self, kind: RecordType, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.take(1)?;
        let table = self.transaction.rows(kind.table())?;
        Ok(table.get(key)?.map(|guard| guard.value().to_vec()))
    }

    fn rows(&self, kind: RecordType, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let table = self.transaction.rows(kind.table())?;
        let rows = tables::collect(&*table, prefix, after, limit, |_, value| value.to_vec())?;
        self.take(rows.len())?;
        Ok(rows)
    }

    fn unique(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.transaction.rows(UNIQUE)?;
        Ok(table.get(key)?.map(|guard| guard.value().to_vec()))
    }

    fn owned(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let table = self.transaction.open_table(OWNED)?;
        Ok(tables::collect(&table, prefix, after, limit, |key, ()| key.to_vec())?)
    }

    fn owned_back(&self, prefix: &[u8], start: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let table = self.transaction.open_table(OWNED)?;
        Ok(tables::collect_back(&table, prefix, start, after, limit)?)
    }

    fn superseded(&self, prefix: &[u8], from: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        superseded::first_from(&self.transaction.open_table(SUPERSEDED)?, prefix, from)
    }

    fn grants(&self, prefix: &[u8]) -> Result<Vec<grants::Row>, StoreError> {
        let table = self.transaction.rows(GRANTS)?;
        let rows = tables::collect(&*table, prefix, None, usize::MAX, |key, value| (key.to_vec(), value.to_vec()))?;
        self.take(rows.len())?;
        Ok(rows)
    }

    fn version(&self, integration: IntegrationId, version: u32) -> Result<Option<Arc<IntegrationVersion>>, StoreError> {
        let id = (integration, version);
        if let Some(found) = self.catalog.versions().get(id) {
            self.take(1)?;
            return Ok(Some(found));
        }
        let found = self.get::<IntegrationVersion>(id)?.map(Arc::new);
        // One that is worked on may change; a released one never does.
        if let Some(version) = found.as_ref().filter(|version| version.release.is_some()) {
            self.catalog.versions().insert(id, Arc::clone(version));
        }
        Ok(found)
    }
}
