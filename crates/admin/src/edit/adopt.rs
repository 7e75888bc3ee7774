//! Records that come from elsewhere, as they are.

use super::Edit;
use crate::fault::Fault;
use crate::routing::user_config_route;
use perseat_domain::model::{Instance, User, UserConfig};
use perseat_domain::route::{InstanceRoute, RouteChange};
use perseat_store::error::StoreError;
use perseat_store::keyring::{NewKey, Owner};
use perseat_store::seal::DataKey;
use std::sync::Arc;

impl Edit<'_, '_> {
    /// Makes keys before the records that need them.
    pub(crate) fn make_keys(&self, keys: impl IntoIterator<Item = NewKey>) -> Result<(), StoreError> {
        self.keyring.create_many(keys)
    }

    /// The key of an owner.
    pub(crate) fn data_key(&self, owner: Owner) -> Result<Arc<DataKey>, StoreError> {
        self.keyring.data_key(owner)
    }

    /// Puts an instance that was not here.
    pub(crate) fn adopt_instance(&mut self, instance: &Instance) -> Result<(), Fault> {
        self.mutation.put(instance)?;
        let running = instance.deployed.as_ref().unwrap_or(&instance.config).version;
        let version = self.version_of(instance.integration, running)?;
        let route = InstanceRoute::new(instance, &version);
        self.effects.routes.push(RouteChange::Instance(Box::new(route)));
        self.effects.instances.insert(instance.id);
        Ok(())
    }

    /// Puts a user's configuration that was not here.
    pub(crate) fn adopt_config(&mut self, config: &UserConfig, instance: &Instance) -> Result<(), Fault> {
        self.mutation.put(config)?;
        let running = instance.deployed.as_ref().unwrap_or(&instance.config).version;
        let version = self.version_of(instance.integration, running)?;
        let user = self.existing::<User>(config.user)?;
        let route = user_config_route(config, &user, &version.definition);
        self.effects.routes.push(RouteChange::UserConfig(route));
        Ok(())
    }
}
