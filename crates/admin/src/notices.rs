//! Who is told that a connection has to be connected again, and what they are told.

use crate::grants::variable_of;
use perseat_domain::definition::ConfigVar;
use perseat_domain::grant::{Holder, Status, Step};
use perseat_domain::id::{CustomerId, UserId};
use perseat_domain::model::{Customer, Instance, Integration, Membership, Role, User, UserConfig};
use perseat_domain::sharing::Sharing;
use perseat_store::catalog::{GrantId, Lookup};
use perseat_store::error::StoreError;

/// Users that are read at once.
const PAGE: usize = 256;

/// What a notice says. Holds no secret.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The organization's name.
    pub organization: String,
    /// Whose instances need it; none where all customers share it.
    pub customer: Option<Customer>,
    /// Of what; none where it is shared.
    pub integration: Option<Integration>,
    /// The instance; none where it is shared.
    pub instance: Option<Instance>,
    /// What the connection is called.
    pub connection: String,
    /// Whose it is, where it is a user's own.
    pub user: Option<User>,
    /// Where the grant stands.
    pub status: Status,
    /// Why, as a stable word or the provider's own.
    pub reason: Option<String>,
    /// Who is to be told in this step, as far as they have an address.
    pub people: Vec<User>,
}

/// Whom a notice may reach.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Admins of one customer at most.
    pub admins: usize,
    /// Users of it who are looked through for them.
    pub looked_through: usize,
    /// Whether embedded users are told by mail, too: nobody else tells them.
    pub embedded: bool,
}

/// What there is to be told of a grant; `None` where it is not over any more, or its holder is gone.
///
/// # Errors
/// If the disk fails.
pub fn subject(at: &impl Lookup, id: &GrantId, step: Step, reach: &Reach) -> Result<Option<Subject>, StoreError> {
    let mut place = Place::default();
    match id.holder {
        Holder::Instance(instance) => place.instance = at.get::<Instance>(instance)?,
        Holder::UserConfig(config) => {
            let Some(config) = at.get::<UserConfig>(config)?.filter(|config| config.removed_at.is_none()) else {
                return Ok(None);
            };
            place.instance = at.get::<Instance>(config.instance)?;
            place.user = Some(at.require::<User>(config.user)?);
        }
        Holder::Organization(_) => {}
        Holder::Customer(customer) => place.customer = Some(customer),
        Holder::User(user) => {
            let Some(user) = at.get::<User>(user)? else { return Ok(None) };
            place.customer = match user.membership {
                Membership::Customer(customer) => Some(customer),
                Membership::Organization => None,
            };
            place.user = Some(user);
        }
    }
    if place.instance.is_none() && !id.holder.is_shared() {
        return Ok(None);
    }
    let Some(stored) = at
        .grants_of(id.holder)?
        .remove(&id.variable)
        .filter(|stored| stored.grant.is_over())
    else {
        return Ok(None);
    };
    let customer = place.customer.or(place.instance.as_ref().map(|instance| instance.customer));
    let variable = match &place.instance {
        Some(instance) => variable_of(at, instance, id)?,
        None => None,
    };
    let is_ours = variable.as_ref().is_some_and(|variable| variable.org_only);
    let people = match (&place.user, step) {
        (_, Step::Holder) if is_ours => admins(at, Membership::Organization, reach)?,
        // There is nobody above them.
        (_, _) if is_ours => Vec::new(),
        (Some(user), Step::Holder) => Some(user)
            .filter(|user| reach.embedded || !user.role.is_embedded())
            .cloned()
            .into_iter()
            .collect(),
        _ => admins(at, whose(at, id, customer)?, reach)?,
    };
    Ok(Some(Subject {
        organization: at.organization()?.map(|organization| organization.name).unwrap_or_default(),
        customer: customer.map(|customer| at.require(customer)).transpose()?,
        integration: place
            .instance
            .as_ref()
            .map(|instance| at.require(instance.integration))
            .transpose()?,
        connection: name(at, id, variable)?.unwrap_or_else(|| id.variable.clone()),
        people: people.into_iter().filter(|user: &User| user.email.is_some()).collect(),
        instance: place.instance,
        user: place.user,
        status: stored.grant.status,
        reason: stored.grant.reason,
    }))
}

/// Whose admins may connect what a customer's people may know of: those of the customer, unless the organization makes the connection
/// for each customer.
fn whose(at: &impl Lookup, id: &GrantId, customer: Option<CustomerId>) -> Result<Membership, StoreError> {
    let is_made_for_them = match id.holder {
        Holder::Customer(_) => at
            .shared_connection(&id.variable)?
            .is_none_or(|shared| shared.sharing != Sharing::Customer),
        _ => false,
    };
    Ok(customer
        .filter(|_| !is_made_for_them)
        .map_or(Membership::Organization, Membership::Customer))
}

/// To what a grant belongs.
#[derive(Default)]
struct Place {
    instance: Option<Instance>,
    customer: Option<CustomerId>,
    user: Option<User>,
}

/// What people call the connection.
fn name(at: &impl Lookup, id: &GrantId, variable: Option<ConfigVar>) -> Result<Option<String>, StoreError> {
    Ok(match variable {
        Some(variable) => Some(variable.key),
        None if id.holder.is_shared() => at.shared_connection(&id.variable)?.map(|shared| shared.key),
        None => None,
    })
}

/// The admins of a customer, or of the organization, who sign in here.
fn admins(at: &impl Lookup, of: Membership, reach: &Reach) -> Result<Vec<User>, StoreError> {
    let (mut found, mut after, mut looked): (Vec<User>, Option<UserId>, usize) = (Vec::new(), None, 0);
    while looked < reach.looked_through && found.len() < reach.admins {
        let page = at.users_of(of, after, PAGE)?;
        looked += page.items.len();
        found.extend(
            page.items
                .into_iter()
                .filter(|user| matches!(user.role, Role::Admin | Role::Owner) && user.email.is_some()),
        );
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    found.truncate(reach.admins);
    Ok(found)
}
