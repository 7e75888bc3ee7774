//! The catalog: the truth of configuration, sealed credentials and control audit.
//!
//! One mutation is one durable transaction that holds the changed rows, the raised revision, a hash-chained audit
//! entry and an event for the outbox: all of it or nothing, and nothing at all where nothing changed. Readers never
//! wait for writers.

mod accounts;
mod allowance;
mod audit;
mod check;
mod copy;
mod grants;
mod indexes;
mod lists;
mod lookup;
mod mutation;
mod notices;
mod owed;
mod record;
mod reseal;
mod rewrite;
mod sorted;
mod stored;
mod superseded;
mod tables;
mod view;

pub use accounts::Accounts;
pub use allowance::{Allowance, Spent};
pub(crate) use audit::Details;
pub use audit::{AuditEntry, ChangeKind, Event, RecordDigest, SealedDetails, SegmentHash, detail_record_id};
pub use check::CatalogReport;
pub use copy::Gone;
pub use grants::{GrantId, Stored, StoredGrant, SuppliedToken};
pub use lookup::{InstanceBundle, Lookup, Page, Rows, UserBundle};
pub use mutation::{Mutated, Mutation, Touched};
pub(crate) use owed::Owes;
pub use owed::{Fate, OwedId, Owing, Settled, StoredOwed};
pub use record::{Record, RecordId, RecordKey, RecordType, Stamp};
pub use reseal::{Resealed, is_sharing_stale, is_stale};
pub use rewrite::Rewritten;
pub use sorted::{Reading, Sorted, SortedRecord};
pub use superseded::{PlainValues, plain_values};
pub use view::View;

use crate::bounded::Bounded;
use crate::database::{Handle, Writing};
use crate::error::StoreError;
use crate::folder::{Directory, Folder};
use crate::keyring::{NewKey, Owner};
use audit::Ledger;
use grants::GRANTS;
use mutation::Finished;
use notices::NOTICES;
use owed::OWED;
use perseat_domain::id::IntegrationId;
use perseat_domain::model::IntegrationVersion;
use perseat_domain::time::Timestamp;
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, TableError, WriteTransaction};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use superseded::SUPERSEDED;
use tables::{
    ATTESTED, AUDIT, CATALOG_FORMAT, CATALOG_INDEXES, FORMAT, INDEXES, META, OUTBOX, OWNED, PENDING_DESTRUCTION, PEOPLE_REMOVED, REVISION,
    SEALED, UNIQUE,
};

type Versions = Bounded<(IntegrationId, u32), Arc<IntegrationVersion>>;

/// Limits of the catalog.
#[derive(Clone, Debug)]
pub struct Options {
    /// The database's page cache in bytes (`catalog.cache`).
    pub cache_bytes: usize,
    /// How many parsed integration versions stay in memory (`catalog.version-cache-entries`).
    pub version_cache_entries: usize,
    /// How many records one audit entry and one event name; of a larger change they keep count and digest.
    pub named_changes: usize,
    /// How many bytes the sealed details of one audit entry take, before they are sealed (`catalog.audit-details`).
    pub audit_details: usize,
    /// How many events the outbox holds before the oldest are dropped (`catalog.outbox-entries`).
    pub outbox_entries: u64,
    /// How many earlier revisions of one configuration's plain values are kept for executions that bound them
    /// (`catalog.revisions-kept`).
    pub revisions_kept: usize,
    /// How many tokens wait to be given back to their providers (`owed.tokens`).
    pub owed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 8 << 20,
            version_cache_entries: 256,
            named_changes: 1_024,
            audit_details: 16 * 1024,
            outbox_entries: 10_000,
            revisions_kept: 64,
            owed: 10_000,
        }
    }
}

/// Who changes the catalog, when, and by which act: what the audit entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// Who, as a stable name (`local:<uid>` or a user id).
    pub by: &'a str,
    /// When.
    pub at: Timestamp,
    /// What they did, as a stable word (`apply`, `instance.deploy`).
    pub action: &'a str,
}

/// A mutation that is about to be committed.
#[derive(Debug)]
pub(crate) struct Uncommitted {
    /// The keys that new owners need.
    pub(crate) new_keys: Vec<NewKey>,
    /// The revision that it makes.
    pub(crate) revision: u64,
    /// What the audit entry says of it in sealed form.
    pub(crate) details: Option<Details>,
}

/// The catalog of one data directory.
pub struct Catalog {
    database: Handle,
    options: Options,
    versions: Mutex<Versions>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Catalog {
    /// Opens or creates the catalog at `path`.
    ///
    /// # Errors
    /// If the file is not a catalog, was written by a newer version, or the disk fails.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        let (folder, name) = Directory::of(path);
        Self::open_in(folder, &name, options)
    }

    /// Opens or creates the catalog in a folder.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub fn open_in(folder: Arc<dyn Folder>, name: &str, options: Options) -> Result<Self, StoreError> {
        Self::of(Handle::open(folder, name, options.cache_bytes)?, options)
    }

    fn of(database: Handle, options: Options) -> Result<Self, StoreError> {
        prepare(&database)?;
        let versions = Mutex::new(Bounded::new(options.version_cache_entries));
        Ok(Self {
            database,
            options,
            versions,
        })
    }

    /// The number of mutations so far.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn revision(&self) -> Result<u64, StoreError> {
        self.view()?.revision()
    }

    /// One moment of the catalog, for reads that must agree. Holds old pages: keep it short.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn view(&self) -> Result<View<'_>, StoreError> {
        View::new(self)
    }

    /// Runs `work` in one durable transaction. Where it fails nothing is written; where it changes nothing, nothing
    /// is written either and the revision stays. Waits for other mutations. A large load is fastest in order of id: the
    /// pages of random ids do not stay in the cache.
    ///
    /// # Errors
    /// What `work` returns, or [`StoreError`] of the transaction; [`StoreError::Full`] on a full disk.
    pub fn mutate<T, E: From<StoreError>>(
        &self,
        change: Change<'_>,
        work: impl FnOnce(&mut Mutation<'_>) -> Result<T, E>,
    ) -> Result<Mutated<T>, E> {
        self.mutate_then(change, work, &mut |_| Ok(None))
    }

    /// [`Catalog::mutate`] that runs `before_commit`, if anything changed: it makes the keys that new owners need, and seals
    /// the audit entry's details.
    pub(crate) fn mutate_then<T, E: From<StoreError>>(
        &self,
        change: Change<'_>,
        work: impl FnOnce(&mut Mutation<'_>) -> Result<T, E>,
        before_commit: &mut dyn FnMut(&Uncommitted) -> Result<Option<SealedDetails>, StoreError>,
    ) -> Result<Mutated<T>, E> {
        // Compiled once for each kind of work: what does not depend on it stands in functions of its own.
        let transaction = self.write()?;
        let mut mutation = self.begin(&transaction, change)?;
        let value = work(&mut mutation)?;
        let finished = mutation.finish();
        Ok(self.end(transaction, change, finished, before_commit)?.with(value))
    }

    fn begin<'t>(&self, transaction: &'t Writing<'_>, change: Change<'_>) -> Result<Mutation<'t>, StoreError> {
        let revision = transaction.open_table(META)?.get(REVISION)?.map_or(0, |guard| guard.value()) + 1;
        Mutation::open(transaction, change.at, revision, &self.options)
    }

    fn end(
        &self,
        transaction: Writing<'_>,
        change: Change<'_>,
        finished: Finished,
        before_commit: &mut dyn FnMut(&Uncommitted) -> Result<Option<SealedDetails>, StoreError>,
    ) -> Result<Mutated<()>, StoreError> {
        let Finished {
            ledger,
            revision,
            new_keys,
            unnamed_files,
        } = finished;
        let touched = ledger.touched();
        let changed = !ledger.is_empty();
        let revision = if changed {
            let details = before_commit(&Uncommitted {
                new_keys,
                revision,
                details: ledger.details(),
            })?;
            let revision = self.record(&transaction, change, ledger, details)?;
            transaction.commit()?;
            revision
        } else {
            transaction.abort()?;
            self.revision()?
        };
        Ok(Mutated {
            value: (),
            revision,
            changed,
            touched,
            unnamed_files,
        })
    }

    /// Writes down an act that changes no record.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn note(&self, change: Change<'_>) -> Result<u64, StoreError> {
        let transaction = self.write()?;
        let revision = self.record(&transaction, change, Ledger::new(self.options.named_changes, 0), None)?;
        transaction.commit()?;
        Ok(revision)
    }

    /// Writes revision, audit entry and event.
    fn record(
        &self,
        transaction: &WriteTransaction,
        change: Change<'_>,
        ledger: Ledger,
        details: Option<SealedDetails>,
    ) -> Result<u64, StoreError> {
        let mut meta = transaction.open_table(META)?;
        let revision = meta.get(REVISION)?.map_or(0, |guard| guard.value()) + 1;
        meta.insert(REVISION, revision)?;
        if let Some(number) = ledger.attested() {
            meta.insert(ATTESTED, u64::from(number))?;
        }
        if ledger.removes_people() && meta.get(PEOPLE_REMOVED)?.is_none() {
            meta.insert(PEOPLE_REMOVED, change.at.0)?;
        }
        let mut outbox = transaction.open_table(OUTBOX)?;
        let event = Event {
            revision,
            at: change.at,
            by: change.by.to_owned(),
            action: change.action.to_owned(),
            touched: ledger.touched(),
        };
        outbox.insert(revision, audit::encode(&event)?.as_slice())?;
        while outbox.len()? > self.options.outbox_entries.max(1) {
            outbox.pop_first()?;
        }
        let mut entries = transaction.open_table(AUDIT)?;
        let previous = entries.last()?.map_or([0; 32], |(_, entry)| audit::sha256(entry.value()));
        let entry = ledger.entry(revision, change, previous, details);
        entries.insert(revision, audit::encode(&entry)?.as_slice())?;
        Ok(revision)
    }

    /// What changed after `revision`, and the revision up to which that is said.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn changes_since(&self, revision: u64) -> Result<(u64, Touched), StoreError> {
        let view = self.view()?;
        let now = view.revision()?;
        let mut records = Vec::new();
        let mut expected = revision;
        for event in view.events_after(revision, usize::MAX)? {
            expected += 1;
            match event.touched {
                Touched::Records(touched) if event.revision == expected => records.extend(touched),
                _ => return Ok((now, Touched::Everything)),
            }
        }
        let touched = if expected == now {
            Touched::Records(records)
        } else {
            Touched::Everything
        };
        Ok((now, touched))
    }

    /// At most `limit` events after `revision`, oldest first.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn events_after(&self, revision: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.view()?.events_after(revision, limit)
    }

    /// At most `limit` audit entries after `revision`, oldest first.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn audit_after(&self, revision: u64, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.view()?.audit_after(revision, limit)
    }

    /// Checks every audit entry's digest of the one before; gives the number of entries.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] naming the first entry that does not fit.
    pub fn verify_audit_chain(&self) -> Result<u64, StoreError> {
        self.view()?.verify_audit_chain()
    }

    /// The newest journal segment whose final hash is in the audit; 0 before the first.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn attested(&self) -> Result<u32, StoreError> {
        self.view()?.attested()
    }

    /// At most `limit` owners whose keys are still to be destroyed.
    pub(crate) fn pending_destruction(&self, limit: usize) -> Result<Vec<Owner>, StoreError> {
        let view = self.view()?;
        let table = view.transaction.open_table(PENDING_DESTRUCTION)?;
        let rows = tables::collect(&table, &[], None, limit, |key, ()| Owner::from_bytes(key))?;
        rows.into_iter()
            .map(|owner| owner.ok_or_else(|| StoreError::corrupt("catalog (keys to destroy)")))
            .collect()
    }

    /// The first of these whose key of before is still to be destroyed.
    pub(crate) fn first_pending(&self, owners: impl IntoIterator<Item = Owner>) -> Result<Option<Owner>, StoreError> {
        let view = self.view()?;
        let table = view.transaction.open_table(PENDING_DESTRUCTION)?;
        for owner in owners {
            if table.get(owner.to_bytes().as_slice())?.is_some() {
                return Ok(Some(owner));
            }
        }
        Ok(None)
    }

    /// Clears owners whose keys are destroyed. Not a mutation: it says nothing new about any record.
    pub(crate) fn clear_pending(&self, owners: &[Owner]) -> Result<(), StoreError> {
        let transaction = self.write()?;
        {
            let mut table = transaction.open_table(PENDING_DESTRUCTION)?;
            for owner in owners {
                table.remove(owner.to_bytes().as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Begins a transaction, once nobody else writes.
    fn write(&self) -> Result<Writing<'_>, StoreError> {
        let mut writing = self.database.write()?;
        // After a crash the file opens at once instead of being read whole.
        writing.set_quick_repair(true);
        Ok(writing)
    }

    fn versions(&self) -> MutexGuard<'_, Versions> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes all tables of a new file; refuses a newer one.
fn prepare(database: &Handle) -> Result<(), StoreError> {
    let reading = database.get()?.begin_read()?;
    let number = |row: &str| match reading.open_table(META) {
        Ok(meta) => Ok(meta.get(row)?.map(|guard| guard.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(StoreError::from(error)),
    };
    if number(SEALED)?.is_some() {
        return Err(StoreError::SealedCopy);
    }
    let (found, indexes) = (number(FORMAT)?, number(INDEXES)?);
    let has = |table| match reading.open_table(table) {
        Ok(_) => Ok(true),
        Err(TableError::TableDoesNotExist(_)) => Ok(false),
        Err(error) => Err(error),
    };
    let mut is_whole = has(SUPERSEDED)? && has(GRANTS)? && has(NOTICES)? && has(OWED)?;
    for kind in RecordType::ALL {
        is_whole &= has(kind.table())?;
    }
    match found {
        Some(CATALOG_FORMAT) if is_whole && indexes >= Some(CATALOG_INDEXES) => return Ok(()),
        // A file from before a table or an index.
        Some(CATALOG_FORMAT) => {}
        Some(found) => {
            return Err(StoreError::UnknownFormat {
                what: "catalog",
                found: u32::try_from(found).unwrap_or(u32::MAX),
                known: u32::try_from(CATALOG_FORMAT).unwrap_or(u32::MAX),
            });
        }
        None => {}
    }
    let transaction = database.write()?;
    for kind in RecordType::ALL {
        transaction.open_table(kind.table())?;
    }
    transaction.open_table(UNIQUE)?;
    transaction.open_table(OWNED)?;
    transaction.open_table(SUPERSEDED)?;
    transaction.open_table(GRANTS)?;
    transaction.open_table(NOTICES)?;
    transaction.open_table(OWED)?;
    transaction.open_table(PENDING_DESTRUCTION)?;
    transaction.open_table(AUDIT)?;
    transaction.open_table(OUTBOX)?;
    if found.is_some() {
        lists::fill(&transaction)?;
    }
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT, CATALOG_FORMAT)?;
        meta.insert(INDEXES, CATALOG_INDEXES)?;
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests;
