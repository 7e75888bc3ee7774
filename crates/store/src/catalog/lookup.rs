//! Reading the catalog: by id, by a unique value, in pages by owner.
//!
//! The same reads work on the catalog (each a transaction of its own), on a [`View`](super::View) (many reads of one
//! moment) and on a [`Mutation`](super::Mutation) (what the transaction has written so far).

use super::grants::{self, GrantId, StoredGrant};
use super::record::{self, Owned, Record, RecordId, RecordType, Stamp, Unique};
use super::sorted::{self, Reading, Sorted, SortedRecord};
use super::superseded::{self, PlainValues};
use crate::error::StoreError;
use perseat_domain::definition::ConfigVar;
use perseat_domain::grant::Holder;
use perseat_domain::id::{
    CustomerId, InstanceId, IntegrationId, MediaId, SharedConnectionId, SharedValueId, TokenId, UserConfigId, UserId,
};
use perseat_domain::model::{
    ApiToken, Customer, Instance, Integration, IntegrationVersion, KeyDigest, Media, MediaOwner, Membership, Organization, User, UserConfig,
};
use perseat_domain::sharing::{SharedConnection, SharedValue};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<R, I> {
    /// The records, by id.
    pub items: Vec<R>,
    /// Where the next page begins: pass it as `after`. `None` at the end.
    pub next: Option<I>,
}

/// What an instance's actor needs.
#[derive(Clone, Debug)]
pub struct InstanceBundle {
    /// The organization.
    pub organization: Organization,
    /// Whose instance it is.
    pub customer: Customer,
    /// The instance.
    pub instance: Instance,
    /// Of what.
    pub integration: Integration,
    /// The version that runs; the saved one where it was never deployed.
    pub version: Arc<IntegrationVersion>,
}

/// What a user's actor needs.
#[derive(Clone, Debug)]
pub struct UserBundle {
    /// The user.
    pub user: User,
    /// Their configuration of the instance.
    pub config: UserConfig,
}

/// The raw reads below [`Lookup`].
#[doc(hidden)]
pub trait Rows {
    /// One record's stored form.
    fn row(&self, kind: RecordType, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Stored forms in key order after `after`, all with `prefix`.
    fn rows(&self, kind: RecordType, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError>;
    /// The id that has the unique value.
    fn unique(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// The ids under an owner, in order after `after`.
    fn owned(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError>;
    /// The keys below `prefix ‖ start`, from the last to the first, that come behind `after` that way.
    fn owned_back(&self, prefix: &[u8], start: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError>;
    /// The first row of superseded values with `prefix` at or after `prefix ‖ from`.
    fn superseded(&self, prefix: &[u8], from: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// The grants of a holder: the rest of the key, the row.
    fn grants(&self, prefix: &[u8]) -> Result<Vec<grants::Row>, StoreError>;
    /// The version, from memory where it was used lately.
    fn version(&self, integration: IntegrationId, version: u32) -> Result<Option<Arc<IntegrationVersion>>, StoreError>;
}

/// Reads of the catalog.
///
/// # Errors
/// All fail with [`StoreError`] if the disk fails or what it holds is corrupt; absence is `None`.
#[expect(clippy::missing_errors_doc, reason = "said once above for all")]
pub trait Lookup {
    /// What reads of one moment go through.
    #[doc(hidden)]
    type Moment<'a>: Rows + Lookup
    where
        Self: 'a;

    /// Reads that must agree with each other.
    #[doc(hidden)]
    fn moment<T>(&self, read: impl FnOnce(&Self::Moment<'_>) -> Result<T, StoreError>) -> Result<T, StoreError>;

    /// The record with this id.
    fn get<R: Record>(&self, id: R::Id) -> Result<Option<R>, StoreError> {
        let row = self.moment(|at| at.row(R::TYPE, &id.to_key()))?;
        row.map(|bytes| record::decode(&bytes)).transpose()
    }

    /// The record with this id, which must exist.
    fn require<R: Record>(&self, id: R::Id) -> Result<R, StoreError> {
        self.get(id)?.ok_or_else(|| StoreError::NotFound {
            record: R::TYPE.name(),
            id: id.text(),
        })
    }

    /// When this record was made and changed.
    fn stamp<R: Record>(&self, id: R::Id) -> Result<Option<Stamp>, StoreError> {
        let row = self.moment(|at| at.row(R::TYPE, &id.to_key()))?;
        Ok(row.as_deref().and_then(Stamp::of))
    }

    /// All records of a type, in pages by id.
    fn page<R: Record>(&self, after: Option<R::Id>, limit: usize) -> Result<Page<R, R::Id>, StoreError> {
        let after = after.map(RecordId::to_key);
        let rows = self.moment(|at| at.rows(R::TYPE, &[], after.as_deref(), limit.saturating_add(1)))?;
        let items = rows.iter().map(|bytes| record::decode::<R>(bytes)).collect::<Result<Vec<_>, _>>()?;
        Ok(cut(items, limit))
    }

    /// The organization, once there is one.
    fn organization(&self) -> Result<Option<Organization>, StoreError> {
        Ok(self.page::<Organization>(None, 1)?.items.pop())
    }

    /// The customer with this external id.
    fn customer_by_external_id(&self, external_id: &str) -> Result<Option<Customer>, StoreError> {
        self.moment(|at| find(at, Unique::CustomerExternalId, Uuid::nil(), external_id.as_bytes()))
    }

    /// The customer of this name.
    fn customer_by_name(&self, name: &str) -> Result<Option<Customer>, StoreError> {
        self.moment(|at| find(at, Unique::CustomerName, Uuid::nil(), name.as_bytes()))
    }

    /// The user with this external id.
    fn user_by_external_id(&self, membership: Membership, external_id: &str) -> Result<Option<User>, StoreError> {
        self.moment(|at| find(at, Unique::UserExternalId, record::scope(membership), external_id.as_bytes()))
    }

    /// The user with this e-mail address, whatever its case.
    fn user_by_email(&self, membership: Membership, email: &str) -> Result<Option<User>, StoreError> {
        let email = record::email_key(email);
        self.moment(|at| find(at, Unique::UserEmail, record::scope(membership), email.as_bytes()))
    }

    /// The user with this token subject.
    fn user_by_subject(&self, membership: Membership, subject: &str) -> Result<Option<User>, StoreError> {
        self.moment(|at| find(at, Unique::UserSubject, record::scope(membership), subject.as_bytes()))
    }

    /// The integration of this name.
    fn integration_by_name(&self, name: &str) -> Result<Option<Integration>, StoreError> {
        self.moment(|at| find(at, Unique::IntegrationName, Uuid::nil(), name.as_bytes()))
    }

    /// The version of an integration, from memory where it was used lately.
    fn integration_version(&self, integration: IntegrationId, version: u32) -> Result<Option<Arc<IntegrationVersion>>, StoreError> {
        self.moment(|at| at.version(integration, version))
    }

    /// The customer's instance of this name.
    fn instance_by_name(&self, customer: CustomerId, name: &str) -> Result<Option<Instance>, StoreError> {
        self.moment(|at| find(at, Unique::InstanceName, customer.0, name.as_bytes()))
    }

    /// The user's live configuration of the instance.
    fn user_config_of(&self, instance: InstanceId, user: UserId) -> Result<Option<UserConfig>, StoreError> {
        self.moment(|at| find(at, Unique::UserConfigUser, instance.0, user.0.as_bytes()))
    }

    /// The users of a customer, or of the organization.
    fn users_of(&self, membership: Membership, after: Option<UserId>, limit: usize) -> Result<Page<User, UserId>, StoreError> {
        self.moment(|at| list(at, Owned::UsersOfMembership, record::scope(membership), after, limit))
    }

    /// The instances of a customer.
    fn instances_of_customer(
        &self,
        customer: CustomerId,
        after: Option<InstanceId>,
        limit: usize,
    ) -> Result<Page<Instance, InstanceId>, StoreError> {
        self.moment(|at| list(at, Owned::InstancesOfCustomer, customer.0, after, limit))
    }

    /// The instances of an integration.
    fn instances_of_integration(
        &self,
        integration: IntegrationId,
        after: Option<InstanceId>,
        limit: usize,
    ) -> Result<Page<Instance, InstanceId>, StoreError> {
        self.moment(|at| list(at, Owned::InstancesOfIntegration, integration.0, after, limit))
    }

    /// The user configurations of an instance, removed ones included.
    fn user_configs_of_instance(
        &self,
        instance: InstanceId,
        after: Option<UserConfigId>,
        limit: usize,
    ) -> Result<Page<UserConfig, UserConfigId>, StoreError> {
        self.moment(|at| list(at, Owned::UserConfigsOfInstance, instance.0, after, limit))
    }

    /// The user configurations of a user, removed ones included.
    fn user_configs_of_user(
        &self,
        user: UserId,
        after: Option<UserConfigId>,
        limit: usize,
    ) -> Result<Page<UserConfig, UserConfigId>, StoreError> {
        self.moment(|at| list(at, Owned::UserConfigsOfUser, user.0, after, limit))
    }

    /// The plain values that an instance or a user configuration had in `revision`; `None` where they are today's.
    fn values_in<R: Record>(&self, id: R::Id, revision: u64) -> Result<Option<PlainValues>, StoreError> {
        self.moment(|at| superseded::values_in::<R>(at, id, revision))
    }

    /// The grants of an instance or a user's configuration, by the connection's stable key.
    fn grants_of(&self, holder: Holder) -> Result<BTreeMap<String, StoredGrant>, StoreError> {
        self.moment(|at| grants::of(at, holder))
    }

    /// The shared connection with this stable key.
    fn shared_connection(&self, stable_key: &str) -> Result<Option<SharedConnection>, StoreError> {
        self.moment(|at| find(at, Unique::SharedStableKey, Uuid::nil(), stable_key.as_bytes()))
    }

    /// What a holder gives to a shared connection.
    fn shared_value(&self, connection: SharedConnectionId, holder: Holder) -> Result<Option<SharedValue>, StoreError> {
        self.moment(|at| find(at, Unique::SharedValueHolder, connection.0, holder.uuid().as_bytes()))
    }

    /// What one holder gives to shared connections.
    fn shared_values_of(
        &self,
        holder: Holder,
        after: Option<SharedValueId>,
        limit: usize,
    ) -> Result<Page<SharedValue, SharedValueId>, StoreError> {
        self.moment(|at| list(at, Owned::SharedValuesOfHolder, holder.uuid(), after, limit))
    }

    /// What all holders give to one shared connection.
    fn values_of_shared(
        &self,
        connection: SharedConnectionId,
        after: Option<SharedValueId>,
        limit: usize,
    ) -> Result<Page<SharedValue, SharedValueId>, StoreError> {
        self.moment(|at| list(at, Owned::SharedValuesOfConnection, connection.0, after, limit))
    }

    /// The shared connection that a variable names, and whose grant of it an execution of this customer and user has. None where
    /// the variable names none that is there and stands on its level of pages.
    fn shared_grant(
        &self,
        variable: &ConfigVar,
        customer: CustomerId,
        user: Option<UserId>,
    ) -> Result<Option<(GrantId, SharedConnection)>, StoreError> {
        let Some(stable_key) = &variable.shared else { return Ok(None) };
        self.moment(|at| {
            let (Some(connection), Some(organization)) = (at.shared_connection(stable_key)?, at.organization()?) else {
                return Ok(None);
            };
            let holder = connection.holder(organization.id, customer, user, variable.user_level);
            let id = holder.map(|holder| GrantId {
                holder,
                variable: stable_key.clone(),
            });
            Ok(id.map(|id| (id, connection)))
        })
    }

    /// The token with this digest.
    fn token_by_digest(&self, digest: &KeyDigest) -> Result<Option<ApiToken>, StoreError> {
        self.moment(|at| find(at, Unique::TokenDigest, Uuid::nil(), &digest.0))
    }

    /// The tokens that act as this user.
    fn tokens_of_user(&self, user: UserId, after: Option<TokenId>, limit: usize) -> Result<Page<ApiToken, TokenId>, StoreError> {
        self.moment(|at| list(at, Owned::TokensOfHolder, user.0, after, limit))
    }

    /// Records in the order of a text, each with its place.
    fn sorted<R: SortedRecord>(&self, by: Sorted<R>, reading: &Reading<'_>) -> Result<Vec<(Vec<u8>, R)>, StoreError> {
        self.moment(|at| sorted::read(at, by, reading))
    }

    /// The avatar of an owner.
    fn avatar_of(&self, owner: MediaOwner) -> Result<Option<Media>, StoreError> {
        self.moment(|at| find(at, Unique::Avatar, record::media_owner(owner), b""))
    }

    /// The attachment of this name.
    fn attachment_by_name(&self, owner: MediaOwner, name: &str) -> Result<Option<Media>, StoreError> {
        self.moment(|at| find(at, Unique::AttachmentName, record::media_owner(owner), name.as_bytes()))
    }

    /// The files of an owner.
    fn media_of(&self, owner: MediaOwner, after: Option<MediaId>, limit: usize) -> Result<Page<Media, MediaId>, StoreError> {
        self.moment(|at| list(at, Owned::MediaOfOwner, record::media_owner(owner), after, limit))
    }

    /// What an instance's actor needs.
    fn instance_bundle(&self, id: InstanceId) -> Result<Option<InstanceBundle>, StoreError> {
        self.moment(|at| {
            let Some(instance) = at.get::<Instance>(id)? else { return Ok(None) };
            let number = instance.deployed.as_ref().unwrap_or(&instance.config).version;
            let version = at.version(instance.integration, number)?;
            let organization = at.organization()?;
            Ok(Some(InstanceBundle {
                organization: organization.ok_or_else(|| StoreError::corrupt("catalog (an instance without an organization)"))?,
                customer: at.require(instance.customer)?,
                integration: at.require(instance.integration)?,
                version: version.ok_or_else(|| StoreError::corrupt("catalog (an instance without its version)"))?,
                instance,
            }))
        })
    }

    /// What a user's actor needs; `None` where the configuration or its user is gone. A removed one is still given.
    fn user_bundle(&self, id: UserConfigId) -> Result<Option<UserBundle>, StoreError> {
        self.moment(|at| {
            let Some(config) = at.get::<UserConfig>(id)? else { return Ok(None) };
            let user = at.get::<User>(config.user)?;
            Ok(user.map(|user| UserBundle { user, config }))
        })
    }
}

fn find<R: Record>(rows: &impl Rows, index: Unique, scope: Uuid, value: &[u8]) -> Result<Option<R>, StoreError> {
    let Some(id) = rows.unique(&index.key(scope, value))? else {
        return Ok(None);
    };
    let bytes = rows.row(R::TYPE, &id)?.ok_or_else(|| StoreError::corrupt("catalog index"))?;
    record::decode(&bytes).map(Some)
}

pub(super) fn list<R: Record>(
    rows: &impl Rows,
    index: Owned,
    owner: Uuid,
    after: Option<R::Id>,
    limit: usize,
) -> Result<Page<R, R::Id>, StoreError> {
    let after = after.map(RecordId::to_key);
    let ids = rows.owned(&index.prefix(owner), after.as_deref(), limit.saturating_add(1))?;
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        let bytes = rows.row(R::TYPE, &id)?.ok_or_else(|| StoreError::corrupt("catalog index"))?;
        items.push(record::decode::<R>(&bytes)?);
    }
    Ok(cut(items, limit))
}

/// One more than `limit` was read, to learn whether there is a next page.
fn cut<R: Record>(mut items: Vec<R>, limit: usize) -> Page<R, R::Id> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(Record::record_id);
    Page { items, next }
}
