//! One moment of the catalog.

use super::{Catalog, Lookup, Record, RecordType, Rows};
use crate::error::StoreError;
use perseat_domain::id::IntegrationId;
use perseat_domain::model::IntegrationVersion;
use std::sync::Arc;

/// One moment of the catalog; see [`Catalog::view`].
#[derive(Debug)]
pub struct View<'a> {
    catalog: &'a Catalog,
}

impl View<'_> {
    /// The number of mutations before this moment.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn revision(&self) -> Result<u64, StoreError> {
        todo!("{:?}", self.catalog)
    }

    /// Gives every record of a type to `visit`, by id, one in memory at a time.
    ///
    /// # Errors
    /// What `visit` returns, or if the disk fails.
    pub fn for_each<R: Record>(&self, visit: impl FnMut(R) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let _ = visit;
        todo!()
    }
}

impl Lookup for View<'_> {}
impl Lookup for Catalog {}

impl Rows for View<'_> {
    fn row(&self, kind: RecordType, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        todo!("{kind:?} {key:?}")
    }
    fn rows(&self, kind: RecordType, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        todo!("{kind:?} {prefix:?} {after:?} {limit:?}")
    }
    fn unique(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        todo!("{key:?}")
    }
    fn owned(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        todo!("{prefix:?} {after:?} {limit:?}")
    }
    fn version(&self, integration: IntegrationId, version: u32) -> Result<Option<Arc<IntegrationVersion>>, StoreError> {
        todo!("{integration:?} {version:?}")
    }
}

impl Rows for Catalog {
    fn row(&self, kind: RecordType, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.view()?.row(kind, key)
    }
    fn rows(&self, kind: RecordType, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.view()?.rows(kind, prefix, after, limit)
    }
    fn unique(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.view()?.unique(key)
    }
    fn owned(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.view()?.owned(prefix, after, limit)
    }
    fn version(&self, integration: IntegrationId, version: u32) -> Result<Option<Arc<IntegrationVersion>>, StoreError> {
        self.view()?.version(integration, version)
    }
}
