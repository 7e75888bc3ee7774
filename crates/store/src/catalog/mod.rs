//! The catalog: the truth of configuration, sealed credentials and control audit.
//!
//! One mutation is one durable transaction that holds the changed rows, the raised revision, a hash-chained audit
//! entry and an event for the outbox: all of it or nothing, and nothing at all where nothing changed. Readers never
//! wait for writers.

mod audit;
mod lookup;
mod mutation;
mod record;
mod view;

pub use audit::{AuditEntry, ChangeKind, RecordDigest};
pub use lookup::{InstanceBundle, Lookup, Page, Rows, UserBundle};
pub use mutation::{Mutated, Mutation, Touched};
pub use record::{Record, RecordId, RecordKey, RecordType};
pub use view::View;

use crate::bounded::Bounded;
use crate::database::Handle;
use crate::error::StoreError;
use perseat_domain::id::IntegrationId;
use perseat_domain::model::IntegrationVersion;
use perseat_domain::time::Timestamp;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Limits of the catalog.
#[derive(Clone, Debug)]
pub struct Options {
    /// The database's page cache in bytes (`catalog.cache`).
    pub cache_bytes: usize,
    /// How many parsed integration versions stay in memory (`catalog.version-cache-entries`).
    pub version_cache_entries: usize,
    /// How many records one audit entry and one event name; of a larger change they keep count and digest.
    pub named_changes: usize,
    /// How many events the outbox holds before the oldest are dropped (`catalog.outbox-entries`).
    pub outbox_entries: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 24 * 1024 * 1024,
            version_cache_entries: 256,
            named_changes: 1_024,
            outbox_entries: 10_000,
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

/// The catalog of one data directory.
pub struct Catalog {
    database: Handle,
    options: Options,
    versions: Mutex<Bounded<(IntegrationId, u32), Arc<IntegrationVersion>>>,
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
        Self::over(Handle::open(path, options.cache_bytes)?, options)
    }

    /// Opens or creates the catalog over backends that `make` gives, one for each opening.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub fn open_with<B: redb::StorageBackend>(
        make: impl Fn() -> io::Result<B> + Send + Sync + 'static,
        options: Options,
    ) -> Result<Self, StoreError> {
        Self::over(Handle::open_with(make, options.cache_bytes)?, options)
    }

    fn over(database: Handle, options: Options) -> Result<Self, StoreError> {
        todo!("{database:?} {options:?}")
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
        todo!()
    }

    /// Runs `work` in one durable transaction. Where it fails nothing is written; where it changes nothing, nothing
    /// is written either and the revision stays.
    ///
    /// # Errors
    /// What `work` returns, or [`StoreError`] of the transaction; [`StoreError::Full`] on a full disk.
    pub fn mutate<T, E: From<StoreError>>(
        &self,
        change: Change<'_>,
        work: impl FnOnce(&mut Mutation<'_>) -> Result<T, E>,
    ) -> Result<Mutated<T>, E> {
        let _ = (change, work, &self.versions);
        todo!()
    }

    /// What changed after `revision`.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn changes_since(&self, revision: u64) -> Result<(u64, Touched), StoreError> {
        todo!("{revision}")
    }

    /// Checks every audit entry's digest of the one before; gives the number of entries.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] naming the first entry that does not fit.
    pub fn verify_audit_chain(&self) -> Result<u64, StoreError> {
        todo!()
    }
}
