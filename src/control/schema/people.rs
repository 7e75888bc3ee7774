//! Customers and users.

use super::answer::{actor, change, desk, id, page, payloads, read, required};
use super::connection::{Connection, CustomerOrder, InstanceOrder, UserOrder, terms};
use super::cost;
use super::instances::Instance;
use super::invitations::{CreateCustomerUserPayload, CreateOrganizationUserPayload, invited};
use super::media::{self, AttachmentInput, AttachmentRenameInput};
use super::organization::{Organization, Tenant};
use super::roles::Role;
use super::scalars::{BigInt, DateTime, times};
use async_graphql::{Context, ID, InputObject, Object, Result};
use perseat_admin::access::{Operation, Side};
use perseat_admin::actor::{Who, side};
use perseat_admin::command::{CreateCustomer, CreateUser, UpdateCustomer, UpdateUser};
use perseat_admin::fault::Fault;
use perseat_admin::query::{CustomerFilter, InstanceFilter, UserFilter, UsersOf};
use perseat_domain::id::{CustomerId, UserId, join_global};
use perseat_domain::model::{self, MediaOwner, Membership, Profile};
use perseat_store::catalog::Lookup as _;

/// A company that buys from the organization.
#[derive(Clone, Debug)]
pub(super) struct Customer(pub(super) model::Customer);

#[Object]
impl Customer {
    async fn id(&self) -> ID {
        self.0.id.global().into()
    }
    async fn name(&self) -> &str {
        &self.0.name
    }
    async fn external_id(&self) -> Option<&str> {
        self.0.external_id.as_deref()
    }
    async fn description(&self) -> &str {
        &self.0.description
    }
    async fn labels(&self) -> &[String] {
        &self.0.labels
    }
    async fn created_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(DateTime(read(ctx, |reader| reader.stamp::<model::Customer>(self.0.id))?.created_at))
    }
    async fn updated_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(DateTime(read(ctx, |reader| reader.stamp::<model::Customer>(self.0.id))?.changed_at))
    }
    /// What to send with a change, so that it is refused if somebody else was faster.
    async fn revision(&self, ctx: &Context<'_>) -> Result<BigInt> {
        Ok(BigInt(read(ctx, |reader| reader.stamp::<model::Customer>(self.0.id))?.revision))
    }
    /// A path of the API. `GET` with a bearer answers `{"url": …}`, where the picture can be read for a short time.
    async fn avatar_url(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        media::avatar_url(ctx, MediaOwner::Customer(self.0.id))
    }
    /// Documents, for those who may see them.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn attachments(&self, ctx: &Context<'_>) -> Result<Vec<media::Attachment>> {
        media::attachments(ctx, self.0.id)
    }
    async fn is_system(&self) -> bool {
        false
    }
    async fn allow_update(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(actor(ctx)?.may(Operation::ManageCustomers))
    }
    async fn allow_remove(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(actor(ctx)?.may(Operation::ManageCustomers))
    }
    /// Whether the customer's people may design integrations themselves: not here.
    async fn allow_embedded_designer(&self) -> bool {
        false
    }
    async fn allow_add_user(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(actor(ctx)?.may(Operation::ManageCustomerUsers))
    }
    async fn allow_add_instance(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(actor(ctx)?.may(Operation::ConfigureInstances))
    }
    #[expect(clippy::too_many_arguments, reason = "filters are arguments")]
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn users(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "name_Icontains")] name_contains: Option<String>,
        #[graphql(name = "email_Icontains")] email_contains: Option<String>,
        sort_by: Option<Vec<Option<UserOrder>>>,
        order_by: Option<UserOrder>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Connection<User>> {
        let of = UsersOf::Membership(Membership::Customer(self.0.id));
        let filter = UserFilter {
            name_contains,
            email_contains,
            order: terms(sort_by, order_by),
            ..UserFilter::default()
        };
        users(ctx, of, &filter, after, first)
    }
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn instances(
        &self,
        ctx: &Context<'_>,
        is_system: Option<bool>,
        sort_by: Option<Vec<Option<InstanceOrder>>>,
        order_by: Option<InstanceOrder>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Connection<Instance>> {
        let filter = InstanceFilter {
            customer: Some(self.0.id),
            order: terms(sort_by, order_by),
            ..InstanceFilter::default()
        };
        Instance::list(ctx, &filter, is_system, after, first)
    }
}

/// A person, or a program with a token of its own.
#[derive(Clone, Debug)]
pub(super) enum User {
    Person(model::User),
    Program {
        id: String,
        name: String,
        membership: Membership,
        role: model::Role,
    },
}

impl User {
    fn membership(&self) -> Membership {
        match self {
            Self::Person(user) => user.membership,
            Self::Program { membership, .. } => *membership,
        }
    }

    fn person(&self) -> Option<&model::User> {
        match self {
            Self::Person(user) => Some(user),
            Self::Program { .. } => None,
        }
    }

    fn profile(&self) -> Profile {
        self.person().map(|user| user.profile.clone()).unwrap_or_default()
    }

    /// Who asks.
    fn asking(ctx: &Context<'_>) -> Result<Self> {
        let actor = actor(ctx)?;
        if let Some(id) = actor.user() {
            return read(ctx, |reader| reader.user(id)).map(Self::Person);
        }
        let (id, name) = match &actor.who {
            Who::Token(id) => {
                let token = desk(ctx)?.catalog().get::<model::ApiToken>(*id)?;
                (id.global(), token.map(|token| token.name).unwrap_or_default())
            }
            Who::User(_) | Who::Local(_) => (join_global("User", uuid::Uuid::nil()), actor.who.to_string()),
        };
        Ok(Self::Program {
            id,
            name,
            membership: actor.membership,
            role: actor.role,
        })
    }
}

#[Object]
impl User {
    async fn id(&self) -> ID {
        match self {
            Self::Person(user) => user.id.global().into(),
            Self::Program { id, .. } => id.clone().into(),
        }
    }
    async fn name(&self) -> &str {
        match self {
            Self::Person(user) => &user.name,
            Self::Program { name, .. } => name,
        }
    }
    /// Empty where none is known.
    async fn email(&self) -> &str {
        self.person().and_then(|user| user.email.as_deref()).unwrap_or_default()
    }
    async fn external_id(&self) -> Option<&str> {
        self.person().and_then(|user| user.external_id.as_deref())
    }
    /// A path of the API. `GET` with a bearer answers `{"url": …}`, where the picture can be read for a short time.
    async fn avatar_url(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        match self.person() {
            Some(user) => media::avatar_url(ctx, MediaOwner::User(user.id)),
            None => Ok(None),
        }
    }
    /// What they are sorted by, such as a region; rules for app registrations go by it.
    async fn labels(&self) -> &[String] {
        self.person().map(|user| user.labels.as_slice()).unwrap_or_default()
    }
    async fn phone(&self) -> String {
        self.profile().phone
    }
    async fn dark_mode(&self) -> bool {
        self.profile().dark_mode
    }
    async fn dark_mode_sync_with_os(&self) -> bool {
        self.profile().dark_mode_os_sync
    }
    async fn role(&self) -> Role {
        let role = match self {
            Self::Person(user) => user.role,
            Self::Program { role, .. } => *role,
        };
        Role::of(side(self.membership()), role)
    }
    /// The organization, for one of its own people.
    async fn org(&self, ctx: &Context<'_>) -> Result<Option<Organization>> {
        match self.membership() {
            Membership::Organization => Organization::of_its_people(ctx).map(Some),
            Membership::Customer(_) => Ok(None),
        }
    }
    /// The customer, for one of a customer's people.
    async fn customer(&self, ctx: &Context<'_>) -> Result<Option<Customer>> {
        match self.membership() {
            Membership::Organization => Ok(None),
            Membership::Customer(id) => read(ctx, |reader| reader.customer(id)).map(|customer| Some(Customer(customer))),
        }
    }
    async fn tenant_id(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        Ok(Tenant::current(ctx)?.map(|tenant| tenant.id()))
    }
    async fn created_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        let Some(user) = self.person() else { return Ok(None) };
        Ok(Some(DateTime(read(ctx, |reader| reader.stamp::<model::User>(user.id))?.created_at)))
    }
    async fn updated_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        let Some(user) = self.person() else { return Ok(None) };
        Ok(Some(DateTime(read(ctx, |reader| reader.stamp::<model::User>(user.id))?.changed_at)))
    }
    /// What to send with a change, so that it is refused if somebody else was faster.
    async fn revision(&self, ctx: &Context<'_>) -> Result<Option<BigInt>> {
        let Some(user) = self.person() else { return Ok(None) };
        Ok(Some(BigInt(read(ctx, |reader| reader.stamp::<model::User>(user.id))?.revision)))
    }
}

pub(super) fn users(
    ctx: &Context<'_>,
    of: UsersOf,
    filter: &UserFilter,
    after: Option<String>,
    first: Option<i32>,
) -> Result<Connection<User>> {
    let request = page(after, first);
    let listed = read(ctx, |reader| reader.users(of, filter, &request))?;
    Ok(Connection::of(listed.map(User::Person), request.after.as_deref()))
}

/// Reading customers and users.
#[derive(Debug, Default)]
pub(super) struct PeopleQuery;

#[Object]
impl PeopleQuery {
    /// Who asks.
    async fn authenticated_user(&self, ctx: &Context<'_>) -> Result<User> {
        User::asking(ctx)
    }

    async fn customer(&self, ctx: &Context<'_>, id: ID) -> Result<Customer> {
        let customer = read(ctx, |reader| reader.customer(self::id(&id, "customer")?))?;
        Ok(Customer(customer))
    }

    #[expect(clippy::too_many_arguments, reason = "filters are arguments")]
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn customers(
        &self,
        ctx: &Context<'_>,
        name: Option<String>,
        #[graphql(name = "name_Icontains")] name_contains: Option<String>,
        #[graphql(name = "name_Istartswith")] name_starts: Option<String>,
        description: Option<String>,
        #[graphql(name = "description_Icontains")] description_contains: Option<String>,
        external_id: Option<String>,
        #[graphql(name = "labels_Icontains")] label_contains: Option<String>,
        is_system: Option<bool>,
        #[graphql(name = "createdAt_Gte")] created_from: Option<DateTime>,
        #[graphql(name = "createdAt_Lte")] created_to: Option<DateTime>,
        #[graphql(name = "updatedAt_Gte")] changed_from: Option<DateTime>,
        #[graphql(name = "updatedAt_Lte")] changed_to: Option<DateTime>,
        sort_by: Option<Vec<Option<CustomerOrder>>>,
        order_by: Option<CustomerOrder>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Connection<Customer>> {
        if is_system == Some(true) {
            return Ok(Connection::whole(Vec::new()));
        }
        let filter = CustomerFilter {
            name,
            name_contains,
            description,
            description_contains,
            external_id,
            label_contains,
            name_starts,
            times: times(created_from, created_to, changed_from, changed_to),
            order: terms(sort_by, order_by),
        };
        let request = page(after, first);
        let listed = read(ctx, |reader| reader.customers(&filter, &request))?;
        Ok(Connection::of(listed.map(Customer), request.after.as_deref()))
    }

    async fn user(&self, ctx: &Context<'_>, id: ID) -> Result<User> {
        read(ctx, |reader| reader.user(self::id(&id, "user")?)).map(User::Person)
    }

    #[expect(clippy::too_many_arguments, reason = "filters are arguments")]
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn users(
        &self,
        ctx: &Context<'_>,
        name: Option<String>,
        #[graphql(name = "name_Icontains")] name_contains: Option<String>,
        #[graphql(name = "name_Istartswith")] name_starts: Option<String>,
        email: Option<String>,
        #[graphql(name = "email_Icontains")] email_contains: Option<String>,
        #[graphql(name = "email_Istartswith")] email_starts: Option<String>,
        external_id: Option<String>,
        customer: Option<ID>,
        #[graphql(name = "customer_Isnull")] customer_is_null: Option<bool>,
        sort_by: Option<Vec<Option<UserOrder>>>,
        order_by: Option<UserOrder>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Connection<User>> {
        let filter = UserFilter {
            name,
            name_contains,
            email,
            email_contains,
            external_id,
            name_starts,
            email_starts,
            order: terms(sort_by, order_by),
        };
        let of = match (&customer, customer_is_null) {
            (Some(customer), _) => match customer.parse::<CustomerId>() {
                Ok(customer) => UsersOf::Membership(Membership::Customer(customer)),
                Err(_) => return Ok(Connection::whole(Vec::new())),
            },
            (None, Some(true)) => UsersOf::Membership(Membership::Organization),
            (None, Some(false)) => UsersOf::EveryCustomer,
            (None, None) => UsersOf::Everybody,
        };
        users(ctx, of, &filter, after, first)
    }

    /// The roles that customers' users can have.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn customer_roles(&self) -> Vec<Role> {
        Role::all(Side::Customer)
    }

    /// The roles that the organization's users can have.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn organization_roles(&self) -> Vec<Role> {
        Role::all(Side::Organization)
    }
}

#[derive(Debug, InputObject)]
struct CreateCustomerInput {
    name: String,
    description: Option<String>,
    external_id: Option<String>,
    labels: Option<Vec<Option<String>>>,
}

#[derive(Debug, InputObject)]
struct UpdateCustomerInput {
    id: Option<ID>,
    name: Option<String>,
    description: Option<String>,
    external_id: Option<String>,
    labels: Option<Vec<Option<String>>>,
    /// An `objectUrl` of `uploadMedia`; empty takes the avatar away.
    avatar_url: Option<String>,
    /// A name, and an `objectUrl` of `uploadMedia`.
    add_attachment: Option<AttachmentInput>,
    /// The document of this name goes.
    remove_attachment: Option<AttachmentInput>,
    rename_attachment: Option<AttachmentRenameInput>,
    /// The revision that the change is based on.
    revision: Option<BigInt>,
}

#[derive(Debug, InputObject)]
struct DeleteCustomerInput {
    id: Option<ID>,
    /// The customer's name, where whoever asks wants it compared.
    confirm_name: Option<String>,
}

#[derive(Debug, InputObject)]
struct CreateCustomerUserInput {
    customer: Option<ID>,
    email: String,
    external_id: Option<String>,
    name: Option<String>,
    phone: Option<String>,
    role: ID,
    labels: Option<Vec<String>>,
}

#[derive(Debug, InputObject)]
struct CreateOrganizationUserInput {
    email: String,
    external_id: Option<String>,
    name: Option<String>,
    phone: Option<String>,
    role: ID,
}

#[derive(Debug, InputObject)]
struct UpdateUserInput {
    id: Option<ID>,
    name: Option<String>,
    phone: Option<String>,
    external_id: Option<String>,
    dark_mode: Option<bool>,
    dark_mode_sync_with_os: Option<bool>,
    role: Option<ID>,
    labels: Option<Vec<String>>,
    /// An `objectUrl` of `uploadMedia`; empty takes the avatar away.
    avatar_url: Option<String>,
    /// The revision that the change is based on.
    revision: Option<BigInt>,
}

#[derive(Debug, InputObject)]
struct DeleteUserInput {
    id: Option<ID>,
    /// The user's name, where whoever asks wants it compared.
    confirm_name: Option<String>,
}

payloads! {
    CreateCustomerPayload { customer: Customer }
    UpdateCustomerPayload { customer: Customer }
    DeleteCustomerPayload { customer: Customer }
    UpdateUserPayload { user: User }
    DeleteUserPayload { user: User }
}

/// Texts of a list; a null among them says nothing.
pub(super) fn texts(list: Option<Vec<Option<String>>>) -> Option<Vec<String>> {
    list.map(|list| list.into_iter().flatten().collect())
}

/// Changing customers and users.
#[derive(Debug, Default)]
pub(super) struct PeopleMutation;

#[Object]
impl PeopleMutation {
    async fn create_customer(&self, ctx: &Context<'_>, input: CreateCustomerInput) -> Result<CreateCustomerPayload> {
        let input = CreateCustomer {
            name: input.name,
            description: input.description,
            external_id: input.external_id,
            labels: texts(input.labels),
        };
        let made = change(ctx, "createCustomer", |edit| edit.create_customer(&input))?;
        CreateCustomerPayload::of(made.map(Customer))
    }

    async fn update_customer(&self, ctx: &Context<'_>, input: UpdateCustomerInput) -> Result<UpdateCustomerPayload> {
        let id = input.id;
        let input = UpdateCustomer {
            name: input.name,
            description: input.description,
            external_id: input.external_id,
            labels: texts(input.labels),
            avatar_url: input.avatar_url,
            add_attachment: input.add_attachment.map(|one| (one.name, one.url)),
            rename_attachment: input.rename_attachment.map(|one| (one.old_name, one.new_name)),
            remove_attachment: input.remove_attachment.map(|one| one.name),
            revision: input.revision.map(|revision| revision.0),
        };
        let limits = desk(ctx)?.options().media;
        let made = change(ctx, "updateCustomer", |edit| {
            edit.update_customer(required(id.as_ref(), "customer")?, &input, &limits)
        })?;
        UpdateCustomerPayload::of(made.map(Customer))
    }

    /// Deletes a customer with its users, instances, configurations and keys.
    async fn delete_customer(&self, ctx: &Context<'_>, input: DeleteCustomerInput) -> Result<DeleteCustomerPayload> {
        let made = change(ctx, "deleteCustomer", |edit| {
            let id = required(input.id.as_ref(), "customer")?;
            edit.remove_customer(id, input.confirm_name.as_deref())
        })?;
        DeleteCustomerPayload::of(made.map(Customer))
    }

    async fn create_customer_user(&self, ctx: &Context<'_>, input: CreateCustomerUserInput) -> Result<CreateCustomerUserPayload> {
        let desk = desk(ctx)?;
        let made = change(ctx, "createCustomerUser", |edit| {
            let customer = match (&input.customer, edit.actor().customer()) {
                (Some(customer), _) => id(customer, "customer")?,
                (None, Some(own)) => own,
                (None, None) => return Err(Fault::field("customer", "This field is required.")),
            };
            let user = edit.create_user(&CreateUser {
                membership: Membership::Customer(customer),
                email: input.email.clone(),
                name: input.name.clone(),
                external_id: input.external_id.clone(),
                phone: input.phone.clone(),
                role: Role::parse(&input.role, Side::Customer)?,
                labels: input.labels.clone().unwrap_or_default(),
            })?;
            invited(desk, edit, user)
        })?;
        desk.wake_mail();
        CreateCustomerUserPayload::of(made)
    }

    async fn create_organization_user(
        &self,
        ctx: &Context<'_>,
        input: CreateOrganizationUserInput,
    ) -> Result<CreateOrganizationUserPayload> {
        let desk = desk(ctx)?;
        let made = change(ctx, "createOrganizationUser", |edit| {
            let user = edit.create_user(&CreateUser {
                membership: Membership::Organization,
                email: input.email.clone(),
                name: input.name.clone(),
                external_id: input.external_id.clone(),
                phone: input.phone.clone(),
                role: Role::parse(&input.role, Side::Organization)?,
                labels: Vec::new(),
            })?;
            invited(desk, edit, user)
        })?;
        desk.wake_mail();
        CreateOrganizationUserPayload::of(made)
    }

    async fn update_user(&self, ctx: &Context<'_>, input: UpdateUserInput) -> Result<UpdateUserPayload> {
        let made = change(ctx, "updateUser", |edit| {
            let id: UserId = required(input.id.as_ref(), "user")?;
            let role = match &input.role {
                None => None,
                Some(role) => Some(Role::parse(role, Side::Organization).or_else(|_| Role::parse(role, Side::Customer))?),
            };
            let input = UpdateUser {
                name: input.name.clone(),
                phone: input.phone.clone(),
                external_id: input.external_id.clone(),
                dark_mode: input.dark_mode,
                dark_mode_os_sync: input.dark_mode_sync_with_os,
                role,
                labels: input.labels.clone(),
                avatar_url: input.avatar_url.clone(),
                revision: input.revision.map(|revision| revision.0),
            };
            edit.update_user(id, &input)
        })?;
        UpdateUserPayload::of(made.map(User::Person))
    }

    /// Deletes a user with their configurations, credentials and keys.
    async fn delete_user(&self, ctx: &Context<'_>, input: DeleteUserInput) -> Result<DeleteUserPayload> {
        let made = change(ctx, "deleteUser", |edit| {
            let id = required(input.id.as_ref(), "user")?;
            edit.remove_user(id, input.confirm_name.as_deref())
        })?;
        DeleteUserPayload::of(made.map(User::Person))
    }
}
