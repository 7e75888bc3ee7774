//! Shared connections: what is declared, and where those of a customer stand.

use super::answer::{error, id as answer_id, read};
use super::connection::Connection;
use super::cost;
use super::grants::{Grant, connection_id};
use super::instances::InstanceConfigVariableStatus;
use super::integrations;
use super::people::Customer;
use super::scalars::DateTime;
use super::standing::Standing;
use async_graphql::{Context, ID, Object, Result};
use perseat_admin::query::SharedView;
use perseat_domain::id::CustomerId;
use perseat_domain::sharing::{SharedConnection, Sharing};

/// Who connects it, as clients know it.
fn manager(sharing: Sharing) -> &'static str {
    match sharing {
        Sharing::Organization | Sharing::CustomerByOrganization => "ORG",
        Sharing::Customer | Sharing::User => "CUSTOMER",
    }
}

/// A connection that is managed beside integrations, which name it by its stable key.
#[derive(Clone, Debug)]
pub(super) struct ScopedConfigVariable(SharedConnection);

impl ScopedConfigVariable {
    /// Where it stands; for one that all customers share.
    fn standing(&self, ctx: &Context<'_>) -> Result<Option<Standing>> {
        let view = read(ctx, |reader| reader.shared_by_all(&self.0))?;
        Ok(view.map(Standing::shared))
    }
}

#[Object]
impl ScopedConfigVariable {
    async fn id(&self) -> ID {
        self.0.id.global().into()
    }
    async fn key(&self) -> &str {
        &self.0.key
    }
    async fn stable_key(&self) -> &str {
        &self.0.stable_key
    }
    async fn description(&self) -> Option<&str> {
        Some(self.0.description.as_str())
    }
    /// `ORG`: all customers have the same one. `CUSTOMER`: each has its own. `USER`: each user has.
    async fn variable_scope(&self) -> &'static str {
        match self.0.sharing {
            Sharing::Organization => "ORG",
            Sharing::CustomerByOrganization | Sharing::Customer => "CUSTOMER",
            Sharing::User => "USER",
        }
    }
    /// Who connects it: `ORG` or `CUSTOMER`.
    async fn managed_by(&self) -> Option<&'static str> {
        Some(manager(self.0.sharing))
    }
    /// None: whatever customers have is in `customerConfigVariables`.
    async fn customer(&self) -> Option<Customer> {
        None
    }
    async fn connection(&self) -> Option<integrations::Connection> {
        Some(integrations::Connection::of(&self.0.connection))
    }
    /// Where it stands; only of one that all customers share.
    async fn status(&self, ctx: &Context<'_>) -> Result<Option<InstanceConfigVariableStatus>> {
        Ok(self.standing(ctx)?.map(|standing| standing.status()))
    }
    /// Where somebody of the organization consents, for all customers.
    async fn authorize_url(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        match self.standing(ctx)? {
            Some(standing) => standing.authorize_url(ctx),
            None => Ok(None),
        }
    }
    /// What is known of the grant that all customers share, once there is one.
    async fn grant(&self, ctx: &Context<'_>) -> Result<Option<Grant>> {
        match self.standing(ctx)? {
            Some(standing) => standing.grant(ctx),
            None => Ok(None),
        }
    }
}

/// What one customer has of a connection that each customer has one of.
#[derive(Clone, Debug)]
pub(super) struct CustomerConfigVariable {
    customer: CustomerId,
    view: SharedView,
}

impl CustomerConfigVariable {
    fn standing(&self) -> Standing {
        Standing::shared(self.view.clone())
    }
}

#[Object]
impl CustomerConfigVariable {
    async fn id(&self) -> ID {
        connection_id("CustomerConfigVariable", self.customer.0, &self.view.connection.stable_key)
    }
    async fn is_test(&self) -> bool {
        false
    }
    async fn customer(&self, ctx: &Context<'_>) -> Result<Customer> {
        read(ctx, |reader| reader.customer(self.customer)).map(Customer)
    }
    async fn scoped_config_variable(&self) -> ScopedConfigVariable {
        ScopedConfigVariable(self.view.connection.clone())
    }
    async fn status(&self) -> InstanceConfigVariableStatus {
        self.standing().status()
    }
    /// Where somebody consents for the customer; for whoever may.
    async fn authorize_url(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        self.standing().authorize_url(ctx)
    }
    async fn refresh_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.standing().refresh_at(ctx)
    }
    /// What is known of the grant, once there is one.
    async fn grant(&self, ctx: &Context<'_>) -> Result<Option<Grant>> {
        self.standing().grant(ctx)
    }
}

/// Reading shared connections.
#[derive(Debug, Default)]
pub(super) struct SharedQuery;

#[Object]
impl SharedQuery {
    /// Connections that are managed beside integrations; for the organization's people.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn scoped_config_variables(
        &self,
        ctx: &Context<'_>,
        managed_by: Option<String>,
        stable_key: Option<String>,
    ) -> Result<Connection<ScopedConfigVariable>> {
        let all = read(ctx, |reader| reader.shared_connections())?;
        let fits = |one: &SharedConnection| {
            managed_by
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(manager(one.sharing)))
                && stable_key.as_ref().is_none_or(|wanted| *wanted == one.stable_key)
        };
        Connection::part(ctx, all.into_iter().filter(fits).map(ScopedConfigVariable).collect())
    }

    /// What a customer has of the connections that each customer has one of; for whoever sees its instances.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn customer_config_variables(&self, ctx: &Context<'_>, customer: ID) -> Result<Connection<CustomerConfigVariable>> {
        let customer: CustomerId = answer_id(&customer, "customer").map_err(error)?;
        let all = read(ctx, |reader| {
            reader.customer(customer)?;
            reader.shared_of_customer(customer)
        })?;
        Connection::part(ctx, all.into_iter().map(|view| CustomerConfigVariable { customer, view }).collect())
    }
}
