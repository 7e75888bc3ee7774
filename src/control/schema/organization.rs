//! The organization, its keys, and the audit.

use super::answer::{actor, change, desk, page, payloads, read};
use super::connection::{Connection, OrderDirection, OrganizationSigningKeyOrder, UserOrder, terms};
use super::cost;
use super::people::{User, users};
use super::scalars::{BigInt, DateTime};
use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use perseat_admin::access::Operation;
use perseat_admin::command::UpdateOrganization;
use perseat_admin::fault::Fault;
use perseat_admin::identity::keys::SigningPair;
use perseat_admin::query::{UserFilter, UsersOf};
use perseat_domain::id::{join_global, split_global};
use perseat_domain::model::{self, MediaOwner, Membership};
use perseat_store::catalog::{self, Lookup as _};

const SIGNING_KEY: &str = "OrganizationSigningKey";

/// The company that runs Perseat.
#[derive(Clone, Debug)]
pub(super) struct Organization(model::Organization);

impl Organization {
    /// The organization as its own people know it, whatever their role.
    pub(super) fn of_its_people(ctx: &Context<'_>) -> Result<Self> {
        read(ctx, |reader| reader.own_organization()).map(Self)
    }
}

#[Object]
impl Organization {
    async fn id(&self) -> ID {
        self.0.id.global().into()
    }
    async fn name(&self) -> &str {
        &self.0.name
    }
    /// A path of the API. `GET` with a bearer answers `{"url": …}`, where the picture can be read for a short time.
    async fn avatar_url(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        super::media::avatar_url(ctx, MediaOwner::Organization(self.0.id))
    }
    /// Whether users may have configurations of their own.
    async fn user_level_config_enabled(&self) -> bool {
        self.0.ulc_enabled
    }
    async fn system_suspended(&self) -> bool {
        false
    }
    /// What to send with a change, so that it is refused if somebody else was faster.
    async fn revision(&self, ctx: &Context<'_>) -> Result<BigInt> {
        Ok(BigInt(read(ctx, |reader| reader.stamp::<model::Organization>(self.0.id))?.revision))
    }
    async fn allow_update(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(actor(ctx)?.may(Operation::ManageOrganization))
    }
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn users(
        &self,
        ctx: &Context<'_>,
        sort_by: Option<Vec<Option<UserOrder>>>,
        order_by: Option<UserOrder>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Connection<User>> {
        let of = UsersOf::Membership(Membership::Organization);
        let filter = UserFilter {
            order: terms(sort_by, order_by),
            ..UserFilter::default()
        };
        users(ctx, of, &filter, after, first)
    }
    /// In the order of their making, which never changes: a key is not updated.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn signing_keys(
        &self,
        ctx: &Context<'_>,
        sort_by: Option<Vec<Option<OrganizationSigningKeyOrder>>>,
        order_by: Option<OrganizationSigningKeyOrder>,
    ) -> Result<Connection<OrganizationSigningKey>> {
        let organization = read(ctx, |reader| reader.organization_with_keys())?;
        let mut keys: Vec<_> = organization.signing_keys.into_iter().map(OrganizationSigningKey).collect();
        let orders: Vec<OrganizationSigningKeyOrder> = terms(sort_by, order_by);
        if orders.first().is_some_and(|order| order.direction == OrderDirection::Desc) {
            keys.reverse();
        }
        Ok(Connection::whole(keys))
    }
}

/// The public half of a key that embedded users' tokens are signed with.
#[derive(Clone, Debug)]
pub(super) struct OrganizationSigningKey(model::SigningKey);

#[Object]
impl OrganizationSigningKey {
    async fn id(&self) -> ID {
        join_global(SIGNING_KEY, self.0.id).into()
    }
    async fn public_key(&self) -> &str {
        &self.0.public_key
    }
    async fn private_key_preview(&self) -> &str {
        &self.0.private_key_preview
    }
    async fn issued_at(&self) -> DateTime {
        DateTime(self.0.issued_at)
    }
    async fn imported(&self) -> bool {
        self.0.imported
    }
}

/// An installation that whoever asks belongs to.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct Tenant {
    tenant_id: String,
    url: String,
    org_name: String,
    aws_region: String,
    system_suspended: bool,
}

impl Tenant {
    pub(super) fn current(ctx: &Context<'_>) -> Result<Option<Self>> {
        let desk = desk(ctx)?;
        let organization = desk.catalog().organization()?;
        Ok(organization.map(|organization| Self {
            tenant_id: organization.id.to_string(),
            url: desk.api_url(""),
            org_name: organization.name,
            aws_region: String::new(),
            system_suspended: false,
        }))
    }

    pub(super) fn id(&self) -> String {
        self.tenant_id.clone()
    }
}

/// One change, as audited. It names records, never values.
#[derive(Clone, Debug)]
pub(super) struct AuditEntry(catalog::AuditEntry);

#[Object]
impl AuditEntry {
    async fn revision(&self) -> BigInt {
        BigInt(self.0.revision)
    }
    async fn at(&self) -> DateTime {
        DateTime(self.0.at)
    }
    /// Who: `user:`, `token:` or `local:`.
    async fn by(&self) -> &str {
        &self.0.by
    }
    /// What they did.
    async fn action(&self) -> &str {
        &self.0.action
    }
    /// How many records changed.
    async fn count(&self) -> BigInt {
        BigInt(self.0.count)
    }
    /// The changed records, as many as one entry names.
    async fn records(&self) -> Vec<String> {
        self.0
            .changes
            .iter()
            .map(|change| format!("{:?} {:?}", change.kind, change.key))
            .collect()
    }
}

/// Reading the organization.
#[derive(Debug, Default)]
pub(super) struct OrganizationQuery;

#[Object]
impl OrganizationQuery {
    async fn organization(&self, ctx: &Context<'_>) -> Result<Organization> {
        read(ctx, |reader| reader.organization()).map(Organization)
    }

    /// The installations that whoever asks can switch between: this one.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn list_user_tenants(&self, ctx: &Context<'_>) -> Result<Connection<Tenant>> {
        Ok(Connection::whole(Tenant::current(ctx)?.into_iter().collect()))
    }

    /// Who changed what, oldest first.
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn audit(&self, ctx: &Context<'_>, after: Option<String>, first: Option<i32>) -> Result<Connection<AuditEntry>> {
        let request = page(after, first);
        let listed = read(ctx, |reader| reader.audit(&request))?;
        Ok(Connection::of(listed.map(AuditEntry), request.after.as_deref()))
    }
}

#[derive(Debug, InputObject)]
struct UpdateOrganizationInput {
    id: Option<ID>,
    name: Option<String>,
    /// Whether users may have configurations of their own.
    user_level_config_enabled: Option<bool>,
    /// An `objectUrl` of `uploadMedia`; empty takes the avatar away.
    avatar_url: Option<String>,
    /// The `revision` that was read: the change is refused if there is a newer one.
    revision: Option<BigInt>,
}

#[derive(Debug, InputObject)]
struct ImportOrganizationSigningKeyInput {
    public_key: String,
}

#[derive(Debug, InputObject)]
struct DeleteOrganizationSigningKeyInput {
    id: Option<ID>,
}

#[derive(Debug, InputObject)]
struct CreateOrganizationSigningKeyInput {
    client_mutation_id: Option<String>,
}

/// A new pair of keys, shown once.
#[derive(Clone, SimpleObject)]
pub(super) struct SigningKeyResult {
    /// In PEM. It is not kept.
    private_key: String,
    organization_signing_key: OrganizationSigningKey,
}

impl std::fmt::Debug for SigningKeyResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKeyResult(redacted)")
    }
}

payloads! {
    UpdateOrganizationPayload { organization: Organization }
    ImportOrganizationSigningKeyPayload { organization_signing_key: OrganizationSigningKey }
    DeleteOrganizationSigningKeyPayload { organization_signing_key: OrganizationSigningKey }
    CreateOrganizationSigningKeyPayload { result: SigningKeyResult }
}

/// Changing the organization.
#[derive(Debug, Default)]
pub(super) struct OrganizationMutation;

#[Object]
impl OrganizationMutation {
    async fn update_organization(&self, ctx: &Context<'_>, input: UpdateOrganizationInput) -> Result<UpdateOrganizationPayload> {
        let made = change(ctx, "updateOrganization", |edit| {
            edit.update_organization(
                input.id.as_ref().map(|id| id.as_str()),
                &UpdateOrganization {
                    name: input.name.clone(),
                    ulc_enabled: input.user_level_config_enabled,
                    avatar_url: input.avatar_url.clone(),
                    revision: input.revision.map(|revision| revision.0),
                },
            )
        })?;
        UpdateOrganizationPayload::of(made.map(Organization))
    }

    async fn import_organization_signing_key(
        &self,
        ctx: &Context<'_>,
        input: ImportOrganizationSigningKeyInput,
    ) -> Result<ImportOrganizationSigningKeyPayload> {
        let made = change(ctx, "importOrganizationSigningKey", |edit| {
            edit.import_signing_key(&input.public_key)
        })?;
        ImportOrganizationSigningKeyPayload::of(made.map(OrganizationSigningKey))
    }

    /// Makes a pair of keys: the public half is registered, the private half is in the answer and nowhere else.
    async fn create_organization_signing_key(
        &self,
        ctx: &Context<'_>,
        input: CreateOrganizationSigningKeyInput,
    ) -> Result<CreateOrganizationSigningKeyPayload> {
        let _ = input.client_mutation_id;
        if let Err(denied) = actor(ctx)?.check(Operation::ManageSigningKeys) {
            return CreateOrganizationSigningKeyPayload::of(Err(denied));
        }
        let pair = SigningPair::generate().map_err(|_| async_graphql::Error::new("The system has no randomness."))?;
        let made = change(ctx, "createOrganizationSigningKey", |edit| edit.create_signing_key(&pair))?;
        CreateOrganizationSigningKeyPayload::of(made.map(|key| SigningKeyResult {
            private_key: pair.private_key.to_string(),
            organization_signing_key: OrganizationSigningKey(key),
        }))
    }

    async fn delete_organization_signing_key(
        &self,
        ctx: &Context<'_>,
        input: DeleteOrganizationSigningKeyInput,
    ) -> Result<DeleteOrganizationSigningKeyPayload> {
        let made = change(ctx, "deleteOrganizationSigningKey", |edit| {
            let id = input
                .id
                .as_ref()
                .and_then(|id| split_global(id))
                .filter(|(kind, _)| kind == SIGNING_KEY);
            edit.remove_signing_key(id.ok_or(Fault::Absent("signing key"))?.1)
        })?;
        DeleteOrganizationSigningKeyPayload::of(made.map(OrganizationSigningKey))
    }
}
