//! Shared connections: for the organization those that are declared, for customers and users where theirs stand.

use super::Reader;
use crate::access::Operation;
use crate::fault::Fault;
use perseat_domain::definition::ConfigVar;
use perseat_domain::grant::Holder;
use perseat_domain::id::{CustomerId, UserId};
use perseat_domain::model::{Instance, UserConfig};
use perseat_domain::sharing::{SharedConnection, Sharing};
use perseat_store::catalog::{GrantId, Lookup, StoredGrant};
use perseat_store::error::StoreError;

/// A shared connection as one holder has it. Holds no secret that opens.
#[derive(Clone, Debug)]
pub struct SharedView {
    /// The grant's id, whether there is one or not.
    pub id: GrantId,
    /// What is declared.
    pub connection: SharedConnection,
    /// What is known of the grant.
    pub stored: Option<StoredGrant>,
    /// Whether what is asked for without a consent was given.
    pub is_given: bool,
}

impl SharedView {
    fn read(at: &impl Lookup, (id, connection): (GrantId, SharedConnection)) -> Result<Self, StoreError> {
        let is_given = match id.holder {
            Holder::Organization(_) => connection.value.is_some(),
            holder => at.shared_value(connection.id, holder)?.is_some(),
        };
        Ok(Self {
            stored: at.grants_of(id.holder)?.remove(&id.variable),
            id,
            connection,
            is_given,
        })
    }
}

/// The shared grant that a variable of this configuration names.
///
/// # Errors
/// If the disk fails.
pub fn shared_grant_of(at: &impl Lookup, variable: &ConfigVar, holder: Holder) -> Result<Option<(GrantId, SharedConnection)>, StoreError> {
    let (instance, user) = match holder {
        Holder::Instance(instance) => (instance, None),
        Holder::UserConfig(config) => match at.get::<UserConfig>(config)?.filter(|config| config.removed_at.is_none()) {
            Some(config) => (config.instance, Some(config.user)),
            None => return Ok(None),
        },
        Holder::Organization(_) | Holder::Customer(_) | Holder::User(_) => return Ok(None),
    };
    match at.get::<Instance>(instance)? {
        Some(instance) => at.shared_grant(variable, instance.customer, user),
        None => Ok(None),
    }
}

/// The grant that the connection of this stable key has in a configuration: its own, or the shared one that it names.
///
/// # Errors
/// If the disk fails.
pub fn grant_id(at: &impl Lookup, holder: Holder, stable_key: &str) -> Result<GrantId, StoreError> {
    let own = GrantId {
        holder,
        variable: stable_key.to_owned(),
    };
    let instance = match holder {
        Holder::Instance(instance) => Some(instance),
        Holder::UserConfig(config) => at.get::<UserConfig>(config)?.map(|config| config.instance),
        Holder::Organization(_) | Holder::Customer(_) | Holder::User(_) => None,
    };
    let instance = instance.map(|instance| at.get::<Instance>(instance)).transpose()?.flatten();
    let Some(instance) = instance else { return Ok(own) };
    let running = instance.deployed.as_ref().unwrap_or(&instance.config);
    let version = at.integration_version(instance.integration, running.version)?;
    let mut variables = version.iter().flat_map(|version| &version.definition.config_vars);
    let is_user_level = matches!(holder, Holder::UserConfig(_));
    let variable = variables.find(|variable| variable.stable_key == stable_key && variable.user_level == is_user_level);
    let shared = variable
        .map(|variable| shared_grant_of(at, variable, holder))
        .transpose()?
        .flatten();
    Ok(shared.map_or(own, |(id, _)| id))
}

impl Reader<'_> {
    /// The shared connection that a variable of a configuration names, which was read here.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn shared_of(&self, variable: &ConfigVar, holder: Holder) -> Result<Option<SharedView>, Fault> {
        if variable.shared.is_none() {
            return Ok(None);
        }
        let found = shared_grant_of(self.view(), variable, holder)?;
        Ok(found.map(|found| SharedView::read(self.view(), found)).transpose()?)
    }

    /// The same for a configuration that is not there yet: whoever asks would have it.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn shared_to_come(&self, variable: &ConfigVar) -> Result<Option<SharedView>, Fault> {
        let Some(customer) = self.actor().customer() else { return Ok(None) };
        let found = self.view().shared_grant(variable, customer, self.actor().user())?;
        Ok(found.map(|found| SharedView::read(self.view(), found)).transpose()?)
    }

    /// What is declared, for those of the organization who see integrations.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn shared_connections(&self) -> Result<Vec<SharedConnection>, Fault> {
        let mut all = Vec::new();
        if self.actor().customer().is_none() && self.actor().may(Operation::ViewIntegrations) {
            self.view().for_each(|connection: SharedConnection| {
                all.push(connection);
                Ok::<(), StoreError>(())
            })?;
            all.sort_by(|a, b| a.stable_key.cmp(&b.stable_key));
        }
        Ok(all)
    }

    /// Where the one stands that all customers have; none of another kind.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn shared_by_all(&self, connection: &SharedConnection) -> Result<Option<SharedView>, Fault> {
        let organization = self.view().organization()?.filter(|_| connection.sharing == Sharing::Organization);
        let id = organization.map(|organization| GrantId {
            holder: Holder::Organization(organization.id),
            variable: connection.stable_key.clone(),
        });
        let read = |id| SharedView::read(self.view(), (id, connection.clone()));
        Ok(id.map(read).transpose()?)
    }

    /// Those that the instances of a customer share; for whoever sees its instances.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn shared_of_customer(&self, customer: CustomerId) -> Result<Vec<SharedView>, Fault> {
        let mut all = Vec::new();
        if !self.actor().may_for(Operation::ViewInstances, customer) {
            return Ok(all);
        }
        self.view().for_each(|connection: SharedConnection| {
            if matches!(connection.sharing, Sharing::Customer | Sharing::CustomerByOrganization) {
                let id = GrantId {
                    holder: Holder::Customer(customer),
                    variable: connection.stable_key.clone(),
                };
                all.push(SharedView::read(self.view(), (id, connection))?);
            }
            Ok::<(), StoreError>(())
        })?;
        all.sort_by(|a, b| a.connection.stable_key.cmp(&b.connection.stable_key));
        Ok(all)
    }

    /// Whether whoever asks may know what happened to this grant: what all customers share is the organization's business.
    #[must_use]
    pub fn may_see_story(&self, id: &GrantId) -> bool {
        let is_own = |user: UserId| self.actor().user() == Some(user);
        match id.holder {
            Holder::Organization(_) => self.actor().customer().is_none(),
            Holder::User(user) => is_own(user) || self.actor().customer().is_none(),
            Holder::Customer(_) | Holder::Instance(_) | Holder::UserConfig(_) => true,
        }
    }
}
