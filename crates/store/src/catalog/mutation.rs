//! One mutation: rows written and deleted with their index rows, all in one transaction.

use super::{Lookup, Record, RecordId, RecordKey, RecordType, Rows};
use crate::error::StoreError;
use perseat_domain::id::{CustomerId, InstanceId, IntegrationId, UserConfigId, UserId};
use perseat_domain::model::IntegrationVersion;
use perseat_domain::time::Timestamp;
use std::sync::Arc;

/// Which records a mutation touched.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// An open mutation; reads see what it has written.
#[derive(Debug)]
pub struct Mutation<'a> {
    _life: &'a (),
}

impl Mutation<'_> {
    /// Writes a record: creates it or replaces the one with its id. Tells whether anything changed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where a unique value is taken, [`StoreError::NotFound`] where what it refers to does
    /// not exist, [`StoreError::Fixed`] where a field changed that cannot.
    pub fn put<R: Record>(&mut self, record: &R) -> Result<bool, StoreError> {
        todo!("{}", record.record_id().text())
    }

    /// Deletes a customer with its users, instances and their user configurations. Their keys are destroyed once
    /// the mutation is durable (see [`crate::custody`]). Tells whether it existed.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn delete_customer(&mut self, id: CustomerId) -> Result<bool, StoreError> {
        todo!("{id}")
    }

    /// Deletes a user; their configurations are removed as of `at` and answer 410 for a time.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn delete_user(&mut self, id: UserId, at: Timestamp) -> Result<bool, StoreError> {
        todo!("{id} {at:?}")
    }

    /// Deletes an instance with its user configurations.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn delete_instance(&mut self, id: InstanceId) -> Result<bool, StoreError> {
        todo!("{id}")
    }

    /// Deletes an integration with its versions.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while it has instances.
    pub fn delete_integration(&mut self, id: IntegrationId) -> Result<bool, StoreError> {
        todo!("{id}")
    }

    /// Removes a user configuration as of `at`: its values go, its row stays to answer 410.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn remove_user_config(&mut self, id: UserConfigId, at: Timestamp) -> Result<bool, StoreError> {
        todo!("{id} {at:?}")
    }

    /// Deletes at most `limit` rows of user configurations removed before `before`; gives how many.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn purge_removed(&mut self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        todo!("{before:?} {limit}")
    }
}

impl Lookup for Mutation<'_> {}
impl Rows for Mutation<'_> {
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
