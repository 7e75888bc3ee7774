//! Users' own configurations, and how far an instance is configured.

use super::order::{Key, Order, UserConfigField, by_id};
use super::{Listed, PageRequest, Reader, VersionView};
use crate::access::Operation;
use crate::edit::{every, missing};
use crate::fault::Fault;
use perseat_domain::definition::Definition;
use perseat_domain::id::{InstanceId, IntegrationId, UserConfigId};
use perseat_domain::model::{Instance, InstanceState, User, UserConfig};
use perseat_store::catalog::Lookup;

/// How far an instance is configured, for whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigState {
    /// Nothing is missing.
    Complete,
    /// Customer-wide values are missing.
    NeedsInstance,
    /// Whoever asks has no complete configuration of their own or, for the organization's people, nobody has.
    NeedsUser,
}

/// A user's configuration with what it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct UserConfigView {
    /// The configuration.
    pub config: UserConfig,
    /// Whose.
    pub user: User,
    /// Of which instance.
    pub instance: ConfiguredInstance,
}

/// What whoever sees a configuration may know of its instance, and no more: the whole is read by [`Reader::instance`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredInstance {
    /// Which.
    pub id: InstanceId,
    /// Its name.
    pub name: String,
    /// Whether it takes events.
    pub is_enabled: bool,
    /// Of which integration.
    pub integration: IntegrationId,
    /// The number of the version that runs, or was saved if none does yet.
    pub version: u32,
}

impl From<&Instance> for ConfiguredInstance {
    fn from(instance: &Instance) -> Self {
        Self {
            id: instance.id,
            name: instance.name.clone(),
            is_enabled: instance.state == InstanceState::Enabled,
            integration: instance.integration,
            version: instance.deployed.as_ref().unwrap_or(&instance.config).version,
        }
    }
}

/// An instance that whoever asks can configure for themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Configurable {
    /// The instance. Whoever can configure it may know its name, and no more.
    pub instance: Instance,
    /// The version that runs.
    pub version: VersionView,
    /// The configuration that they have.
    pub own: Option<UserConfigView>,
}

impl Configurable {
    /// Whether there is a configuration without a gap.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        let definition = &self.version.version.definition;
        let own = self.own.as_ref();
        own.is_some_and(|own| missing(definition, true, &own.config.values).is_empty())
    }
}

impl Reader<'_> {
    /// The instances that whoever asks can configure for themselves: deployed for their customer, with pages for users.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn configurable(&self) -> Result<Vec<Configurable>, Fault> {
        let Some(customer) = self.actor.customer().filter(|_| self.actor.may(Operation::ConfigureUserLevel)) else {
            return Ok(Vec::new());
        };
        let instances = every(|after| self.view.instances_of_customer(customer, after, self.limits.page))?;
        let mut found = Vec::new();
        for instance in instances {
            found.extend(self.as_configurable(instance)?);
        }
        Ok(found)
    }

    /// One of [`Self::configurable`].
    ///
    /// # Errors
    /// It is absent, or none of them.
    pub fn configurable_instance(&self, id: InstanceId) -> Result<Configurable, Fault> {
        let found = match self.view.get::<Instance>(id)? {
            Some(instance) => self.as_configurable(instance)?,
            None => None,
        };
        found.ok_or(Fault::Absent("instance"))
    }

    fn as_configurable(&self, instance: Instance) -> Result<Option<Configurable>, Fault> {
        let is_theirs = self.actor.user().is_some() && self.actor.customer() == Some(instance.customer);
        let running = instance.deployed.as_ref().map(|running| running.version);
        let Some(running) = running.filter(|_| is_theirs && self.actor.may(Operation::ConfigureUserLevel)) else {
            return Ok(None);
        };
        let version = self.version_of(instance.integration, running)?;
        if !version.version.definition.is_user_level() || !self.is_ulc_enabled()? {
            return Ok(None);
        }
        let own = self.own_config(instance.id)?;
        Ok(Some(Configurable { instance, version, own }))
    }

    /// A configuration: one's own, or any for those who may see them all.
    ///
    /// # Errors
    /// It is absent, or not visible.
    pub fn user_config(&self, id: UserConfigId) -> Result<UserConfigView, Fault> {
        let config = self.view.get::<UserConfig>(id)?;
        let view = match config {
            Some(config) => self.config_view(config)?,
            None => None,
        };
        view.ok_or(Fault::Absent("user configuration"))
    }

    fn config_view(&self, config: UserConfig) -> Result<Option<UserConfigView>, Fault> {
        if config.removed_at.is_some() {
            return Ok(None);
        }
        let instance = self.view.require::<Instance>(config.instance)?;
        let is_own = self.actor.user() == Some(config.user);
        if !is_own && !self.actor.may_for(Operation::ViewUserConfigs, instance.customer) {
            return Ok(None);
        }
        // Nobody comes by a person through a configuration who may not see the person.
        let user = match self.user(config.user) {
            Ok(user) => user,
            Err(Fault::Absent(_)) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let instance = ConfiguredInstance::from(&instance);
        Ok(Some(UserConfigView { config, user, instance }))
    }

    /// The configurations of an instance: all for those who may see them, else one's own.
    ///
    /// # Errors
    /// A wrong cursor, or the disk fails.
    pub fn user_configs(
        &self,
        instance: InstanceId,
        order: &[Order<UserConfigField>],
        request: &PageRequest,
    ) -> Result<Listed<UserConfigView>, Fault> {
        let fetch = |after: Option<&[u8]>, limit| by_id(after, |after| self.view.user_configs_of_instance(instance, after, limit));
        let keep = |config: &UserConfig| Ok(self.config_view(config.clone())?.is_some());
        let listed = if order.is_empty() {
            self.walk(request, fetch, keep)?
        } else {
            self.arranged(request, order, fetch, keep, |field, config| self.config_key(field, config))?
        };
        let mut items = Vec::new();
        for (cursor, config) in listed.items {
            items.extend(self.config_view(config)?.map(|view| (cursor, view)));
        }
        Ok(Listed {
            items,
            has_next: listed.has_next,
            end: listed.end,
        })
    }

    fn config_key(&self, field: UserConfigField, config: &UserConfig) -> Result<Key, Fault> {
        let user = || self.view.require::<User>(config.user);
        Ok(match field {
            UserConfigField::Name => Key::text(&user()?.name),
            UserConfigField::Email => Key::text(user()?.email.as_deref().unwrap_or_default()),
            UserConfigField::ExternalId => Key::text(user()?.external_id.as_deref().unwrap_or_default()),
            UserConfigField::CreatedAt => Key::Number(self.stamp::<UserConfig>(config.id)?.created_at.0),
            UserConfigField::UpdatedAt => Key::Number(self.stamp::<UserConfig>(config.id)?.changed_at.0),
        })
    }

    /// The configuration of an instance that whoever asks has themselves.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn own_config(&self, instance: InstanceId) -> Result<Option<UserConfigView>, Fault> {
        let Some(user) = self.actor.user() else { return Ok(None) };
        match self.view.user_config_of(instance, user)? {
            Some(config) => self.config_view(config),
            None => Ok(None),
        }
    }

    /// How far an instance that was read here is configured.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn config_state(&self, instance: &Instance, definition: &Definition) -> Result<ConfigState, Fault> {
        if !missing(definition, false, &instance.config.values).is_empty() {
            return Ok(ConfigState::NeedsInstance);
        }
        if !definition.is_user_level() {
            return Ok(ConfigState::Complete);
        }
        let is_complete = |config: &UserConfig| config.removed_at.is_none() && missing(definition, true, &config.values).is_empty();
        let complete = if self.actor.customer().is_some() {
            self.own_config(instance.id)?.is_some_and(|view| is_complete(&view.config))
        } else {
            let page = self.view.user_configs_of_instance(instance.id, None, self.limits.page)?;
            page.items.iter().any(is_complete)
        };
        Ok(if complete { ConfigState::Complete } else { ConfigState::NeedsUser })
    }
}
