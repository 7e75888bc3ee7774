//! Who is told that a connection has to be connected again, and what they are told.

use perseat_domain::grant::{Holder, Status, Step};
use perseat_domain::id::UserId;
use perseat_domain::model::{Customer, Instance, Integration, Membership, Role, User, UserConfig};
use perseat_store::catalog::{GrantId, Lookup};
use perseat_store::error::StoreError;

/// Users that are read at once.
const PAGE: usize = 256;

/// What a notice says. Holds no secret.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The organization's name.
    pub organization: String,
    /// Whose instance it is.
    pub customer: Customer,
    /// Of what.
    pub integration: Integration,
    /// The instance.
    pub instance: Instance,
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
    let (instance, user) = match id.holder {
        Holder::Instance(instance) => (instance, None),
        Holder::UserConfig(config) => {
            let Some(config) = at.get::<UserConfig>(config)?.filter(|config| config.removed_at.is_none()) else {
                return Ok(None);
            };
            (config.instance, Some(at.require::<User>(config.user)?))
        }
    };
    let (Some(instance), Some(stored)) = (at.get::<Instance>(instance)?, at.grants_of(id.holder)?.remove(&id.variable)) else {
        return Ok(None);
    };
    if !stored.grant.is_over() {
        return Ok(None);
    }
    let running = instance.deployed.as_ref().unwrap_or(&instance.config);
    let version = at.integration_version(instance.integration, running.version)?;
    let variables = version.iter().flat_map(|version| &version.definition.config_vars);
    let connection = variables.into_iter().find(|variable| variable.stable_key == id.variable);
    let people = match (&user, step) {
        (Some(user), Step::Holder) => Some(user)
            .filter(|user| reach.embedded || !user.role.is_embedded())
            .cloned()
            .into_iter()
            .collect(),
        _ => admins(at, &instance, reach)?,
    };
    Ok(Some(Subject {
        organization: at.organization()?.map(|organization| organization.name).unwrap_or_default(),
        customer: at.require(instance.customer)?,
        integration: at.require(instance.integration)?,
        connection: connection.map_or_else(|| id.variable.clone(), |variable| variable.key.clone()),
        people: people.into_iter().filter(|user: &User| user.email.is_some()).collect(),
        instance,
        user,
        status: stored.grant.status,
        reason: stored.grant.reason,
    }))
}

/// The admins of a customer who sign in here.
fn admins(at: &impl Lookup, instance: &Instance, reach: &Reach) -> Result<Vec<User>, StoreError> {
    let (mut found, mut after, mut looked): (Vec<User>, Option<UserId>, usize) = (Vec::new(), None, 0);
    while looked < reach.looked_through && found.len() < reach.admins {
        let page = at.users_of(Membership::Customer(instance.customer), after, PAGE)?;
        looked += page.items.len();
        found.extend(
            page.items
                .into_iter()
                .filter(|user| user.role == Role::Admin && user.email.is_some()),
        );
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    found.truncate(reach.admins);
    Ok(found)
}
