//! Users' own configurations of instances.

use super::instances::{ConfigVariable, given};
use crate::access::Operation;
use crate::edit::{Edit, UserConfigDraft};
use crate::fault::Fault;
use crate::picked::Kept;
use perseat_domain::id::{InstanceId, UserConfigId, UserId};
use perseat_domain::model::{Instance, Membership, User, UserConfig};
use perseat_store::catalog::Lookup;
use perseat_store::keyring::Owner;

impl Edit<'_, '_> {
    /// Makes a user's configuration of an instance, or gives the one there is; `user` is whoever acts if it is `None`.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn create_user_config(
        &mut self,
        instance: InstanceId,
        user: Option<UserId>,
        variables: Option<&[ConfigVariable]>,
    ) -> Result<UserConfig, Fault> {
        let instance = self.existing::<Instance>(instance)?;
        if self.actor.customer().is_some_and(|customer| customer != instance.customer) {
            return Err(Fault::Absent("instance"));
        }
        let user = user
            .or(self.actor.user())
            .ok_or_else(|| Fault::field("user", "A token of a program has no configuration of its own: name a user."))?;
        let user = self.user_to_configure(user, &instance)?;
        if !self.the_organization()?.ulc_enabled {
            return Err(Fault::wrong("User level configuration is not enabled (ulc_not_enabled)."));
        }
        match self.mutation.user_config_of(instance.id, user.id)? {
            Some(config) if variables.is_none() => Ok(config),
            _ => self.write_user_config(&instance, &user, variables.unwrap_or_default(), false),
        }
    }

    /// Changes the values of a configuration; with `partial` those that are not given stay.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn update_user_config(
        &mut self,
        id: UserConfigId,
        variables: &[ConfigVariable],
        partial: bool,
        revision: Option<u64>,
    ) -> Result<UserConfig, Fault> {
        let (config, instance) = self.live_config(id)?;
        let user = self.user_to_configure(config.user, &instance)?;
        self.check_revision::<UserConfig>(id, revision)?;
        self.write_user_config(&instance, &user, variables, partial)
    }

    /// Removes a configuration with its credentials; its URLs say so from now on.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn delete_user_config(&mut self, id: UserConfigId) -> Result<UserConfig, Fault> {
        let (config, _) = self.live_config(id)?;
        let is_own = self.actor.user() == Some(config.user);
        if !is_own {
            self.actor.check(Operation::ManageUserConfigs)?;
        }
        self.remove_user_config(id)?;
        Ok(config)
    }

    fn write_user_config(
        &mut self,
        instance: &Instance,
        user: &User,
        variables: &[ConfigVariable],
        keep_values: bool,
    ) -> Result<UserConfig, Fault> {
        let running = instance.deployed.as_ref().unwrap_or(&instance.config).version;
        let version = self.version_of(instance.integration, running)?;
        let mut values = given(&version.definition, variables)?;
        if let Some(before) = self.mutation.user_config_of(instance.id, user.id)? {
            let kept = Kept {
                values: &before.values,
                record: before.id.0,
                owner: Owner::User(user.id),
            };
            self.keep_choices(&version.definition, variables, &mut values, kept)?;
        }
        self.give_shared(&version.definition, &mut values, instance.customer, Some(user))?;
        let draft = UserConfigDraft {
            instance,
            user,
            values: &values,
            keep_values,
        };
        Ok(self.save_user_config(&draft)?.0)
    }

    /// A configuration that was not removed, if whoever acts may know of it: a customer's people know of none but their users'.
    fn live_config(&self, id: UserConfigId) -> Result<(UserConfig, Instance), Fault> {
        let absent = || Fault::Absent("user configuration");
        let config = self.existing::<UserConfig>(id)?;
        let instance = self.mutation.get::<Instance>(config.instance)?.ok_or_else(absent)?;
        let is_own = self.actor.user() == Some(config.user);
        let may = |operation| self.actor.may_for(operation, instance.customer);
        let is_in_sight = || match self.actor.customer() {
            None => Ok::<_, Fault>(true),
            Some(own) => Ok(self.existing::<User>(config.user)?.membership == Membership::Customer(own)),
        };
        let sees = is_own || ((may(Operation::ManageUserConfigs) || may(Operation::ViewUserConfigs)) && is_in_sight()?);
        if config.removed_at.is_some() || !sees {
            return Err(absent());
        }
        Ok((config, instance))
    }

    /// The person whose configuration it is: oneself, or whomever the organization's people name.
    fn user_to_configure(&self, id: UserId, instance: &Instance) -> Result<User, Fault> {
        let is_own = self.actor.user() == Some(id);
        if !is_own && self.actor.customer().is_some() {
            return Err(Fault::Denied(Operation::ManageUserConfigs));
        }
        self.actor.check(if is_own {
            Operation::ConfigureUserLevel
        } else {
            Operation::ManageUserConfigs
        })?;
        let user = self.existing::<User>(id)?;
        let belongs = match user.membership {
            Membership::Organization => true,
            Membership::Customer(customer) => customer == instance.customer,
        };
        if belongs { Ok(user) } else { Err(Fault::Absent("user")) }
    }
}
