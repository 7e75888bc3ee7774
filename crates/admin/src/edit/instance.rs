//! Instances and users' configurations of them.

use super::Edit;
use super::keys::KeyScope;
use super::values::{Scope, missing, stored_bytes};
use crate::fault::Fault;
use crate::manifest::{ConfigVarValue, SecretText};
use crate::routing::user_config_route;
use perseat_domain::definition::{Definition, EndpointSecurity};
use perseat_domain::grant::Holder;
use perseat_domain::id::{CustomerId, FlowNumber, InstanceId, IntegrationId, UserConfigId};
use perseat_domain::model::{ConfigValue, Instance, InstanceConfig, InstanceState, IntegrationVersion, User, UserConfig};
use perseat_domain::route::{InstanceRoute, RouteChange};
use perseat_store::catalog::Lookup;
use perseat_store::keyring::NewKey;
use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE: usize = 1_000;

/// Whether an instance is deployed as it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deploy {
    /// It is not.
    No,
    /// It is, if it lacks nothing.
    Whole,
    /// The same, but what runs already may go on: a manifest of what there is changes nothing.
    Applied,
    /// It is, whichever required values it lacks: steps that use one of these fail. What cannot run, or would be open to
    /// anybody, is refused all the same.
    Forced,
}

/// An instance, as it is given.
#[derive(Debug)]
pub struct InstanceDraft {
    /// What was there.
    pub before: Option<Instance>,
    /// Unique within the customer.
    pub name: String,
    /// Plain text.
    pub description: String,
    /// Labels.
    pub labels: Vec<String>,
    /// Whose.
    pub customer: CustomerId,
    /// Of what.
    pub integration: IntegrationId,
    /// Of which version.
    pub version: Arc<IntegrationVersion>,
    /// Values by the variables' display names; `None`: as they are.
    pub values: Option<BTreeMap<String, ConfigVarValue>>,
    /// Whether values that are not given stay.
    pub keep_values: bool,
    /// API keys by flow; `None`: as they are.
    pub api_keys: Option<BTreeMap<FlowNumber, Vec<SecretText>>>,
    /// Whether flows that are not named keep their API keys.
    pub keep_api_keys: bool,
    /// The flows that are switched on; `None`: as they are.
    pub flows: Option<Vec<FlowNumber>>,
    /// Whether it is deployed as it is saved here, and what may be lacking then.
    pub deploy: Deploy,
    /// Where it shall stand.
    pub state: InstanceState,
    /// Whether an app registration that a connection chooses may come later in the same change; else it must be there.
    pub may_choose_later: bool,
}

/// A user's configuration, as it is given.
#[derive(Debug)]
pub struct UserConfigDraft<'u> {
    /// Of which instance.
    pub instance: &'u Instance,
    /// Whose.
    pub user: &'u User,
    /// Values by the variables' display names.
    pub values: &'u BTreeMap<String, ConfigVarValue>,
    /// Whether values that are not given stay.
    pub keep_values: bool,
}

impl Edit<'_, '_> {
    /// Saves an instance and, where the draft says so, deploys it. Whether anything changed.
    pub(crate) fn save_instance(&mut self, draft: InstanceDraft) -> Result<(Instance, bool), Fault> {
        let before = draft.before;
        let definition = &draft.version.definition;
        let id = match &before {
            Some(before) => before.id,
            None => InstanceId(self.random_base()),
        };
        let stored = before.as_ref().map(|before| before.config.clone()).unwrap_or_default();
        let scope = Scope {
            is_user_level: false,
            record: id.0,
            key: NewKey::Customer(draft.customer),
            registrations: match (&before, draft.may_choose_later) {
                (_, true) => None,
                (Some(before), false) => Some(&before.registrations),
                (None, false) => Some(&[]),
            },
        };
        let config = InstanceConfig {
            version: draft.version.version,
            values: match &draft.values {
                Some(given) => {
                    let values = self.values(definition, given, &stored.values, scope)?;
                    let before = stored_bytes(&stored.values);
                    let values = kept(values, stored.values, |key| draft.keep_values || self.is_withheld(definition, key));
                    self.fitting(values, before)?
                }
                None => stored.values,
            },
            api_keys: match &draft.api_keys {
                Some(given) => {
                    let keys = self.api_keys(
                        given,
                        &stored.api_keys,
                        KeyScope {
                            record: id.0,
                            key: scope.key,
                        },
                    )?;
                    if draft.keep_api_keys {
                        stored.api_keys.into_iter().chain(keys).collect()
                    } else {
                        keys
                    }
                }
                None => stored.api_keys,
            },
            flows: draft.flows.unwrap_or(stored.flows),
        };
        let was_deployed = before.as_ref().and_then(|before| before.deployed.clone());
        let state = draft.state;
        if state == InstanceState::NotDeployed && was_deployed.is_some() {
            return Err(Fault::wrong("an instance that was deployed cannot go back; use `state: disabled`"));
        }
        let deployed = match draft.deploy {
            Deploy::No => was_deployed.clone(),
            Deploy::Applied if was_deployed.as_ref() == Some(&config) => was_deployed.clone(),
            Deploy::Whole | Deploy::Applied | Deploy::Forced => {
                check_deployable(&draft.version, &config, draft.deploy)?;
                self.check_shared(definition)?;
                Some(config.clone())
            }
        };
        let is_redeployed = deployed != was_deployed;
        let ran = before
            .as_ref()
            .map(|before| before.deployed.clone().unwrap_or_else(|| before.config.clone()));
        let record = Instance {
            id,
            name: draft.name,
            description: draft.description,
            labels: draft.labels,
            customer: draft.customer,
            integration: draft.integration,
            state,
            config,
            config_revision: before.as_ref().map_or(0, |before| before.config_revision) + u64::from(is_redeployed),
            deployed_at: if is_redeployed {
                Some(self.at)
            } else {
                before.as_ref().and_then(|before| before.deployed_at)
            },
            deployed,
            registrations: before.map(|before| before.registrations).unwrap_or_default(),
        };
        let changed = self.mutation.put(&record)?;
        if changed {
            let running = record.deployed.as_ref().unwrap_or(&record.config).version;
            let version = self.version_of(record.integration, running)?;
            let route = InstanceRoute::new(&record, &version);
            self.effects.routes.push(RouteChange::Instance(Box::new(route)));
            self.effects.instances.insert(id);
            self.reroute_configs(id, &version.definition)?;
            if let Some(ran) = ran {
                self.end_grants_moved_by_deploying(&record, &ran, &version.definition)?;
            }
        }
        Ok((record, changed))
    }

    /// The version that an instance runs, or will.
    pub(crate) fn running_version(&self, instance: &Instance) -> Result<Arc<IntegrationVersion>, Fault> {
        let running = instance.deployed.as_ref().unwrap_or(&instance.config).version;
        self.version_of(instance.integration, running)
    }

    /// A version that must exist.
    pub(crate) fn version_of(&self, integration: IntegrationId, version: u32) -> Result<Arc<IntegrationVersion>, Fault> {
        let found = self.mutation.integration_version(integration, version)?;
        found.ok_or_else(|| Fault::wrong(format!("there is no version {version}")))
    }

    /// A new version may ask more or less of its users than the last.
    fn reroute_configs(&mut self, instance: InstanceId, definition: &Definition) -> Result<(), Fault> {
        let configs = super::records::every(|after| self.mutation.user_configs_of_instance(instance, after, PAGE))?;
        // A removed one stays as it is; its user may be gone.
        for config in configs.iter().filter(|config| config.removed_at.is_none()) {
            let user = self.existing::<User>(config.user)?;
            let route = user_config_route(config, &user, definition);
            self.effects.routes.push(RouteChange::UserConfig(route));
        }
        Ok(())
    }

    /// Saves a user's configuration. Whether anything changed, and which required variables have no value.
    pub(crate) fn save_user_config(&mut self, draft: &UserConfigDraft<'_>) -> Result<(UserConfig, bool, Vec<String>), Fault> {
        let UserConfigDraft { instance, user, .. } = *draft;
        let version = self.running_version(instance)?;
        let definition = &version.definition;
        if !definition.is_user_level() {
            return Err(Fault::field(
                "instance",
                format!("`{}` has no user-level configuration", definition.name),
            ));
        }
        let before = self.mutation.user_config_of(instance.id, user.id)?;
        let id = match &before {
            Some(before) => before.id,
            None => UserConfigId(self.random_base()),
        };
        let stored = before.as_ref().map(|before| before.values.clone()).unwrap_or_default();
        let scope = Scope {
            is_user_level: true,
            record: id.0,
            key: NewKey::User(user.id, user.membership),
            registrations: Some(&instance.registrations),
        };
        let values = self.values(definition, draft.values, &stored, scope)?;
        let before_bytes = stored_bytes(&stored);
        let values = kept(values, stored, |key| draft.keep_values || self.is_withheld(definition, key));
        let values = self.fitting(values, before_bytes)?;
        let lacking = missing(definition, true, &values).into_iter().map(str::to_owned).collect();
        let differs = before.as_ref().is_none_or(|before| before.values != values);
        let record = UserConfig {
            id,
            instance: instance.id,
            user: user.id,
            values,
            config_revision: before.as_ref().map_or(0, |before| before.config_revision) + u64::from(differs),
            removed_at: None,
        };
        let changed = self.mutation.put(&record)?;
        if changed {
            let route = user_config_route(&record, user, definition);
            self.effects.routes.push(RouteChange::UserConfig(route));
            self.effects.users.insert((instance.id, record.id));
            self.end_moved_grants_of(Holder::UserConfig(record.id))?;
        }
        Ok((record, changed, lacking))
    }
}

/// The new values and, of the others that were there, those that stay.
fn kept(
    mut values: BTreeMap<String, ConfigValue>,
    stored: BTreeMap<String, ConfigValue>,
    stays: impl Fn(&str) -> bool,
) -> BTreeMap<String, ConfigValue> {
    for (key, value) in stored.into_iter().filter(|(key, _)| stays(key)) {
        values.entry(key).or_insert(value);
    }
    values
}

fn check_deployable(version: &IntegrationVersion, config: &InstanceConfig, deploy: Deploy) -> Result<(), Fault> {
    let definition = &version.definition;
    let is_chosen = |number: FlowNumber| config.flows.is_empty() || config.flows.contains(&number);
    let incomplete: Vec<&str> = definition
        .flows
        .iter()
        .filter(|flow| is_chosen(flow.number) && !flow.missing.is_empty())
        .map(|flow| flow.name.as_str())
        .collect();
    if !incomplete.is_empty() {
        return Err(Fault::wrong(format!(
            "`{}` is a draft: {} cannot run here yet; name complete flows under `flows`",
            definition.name,
            incomplete.join(", ")
        )));
    }
    let lacking = missing(definition, false, &config.values);
    if !lacking.is_empty() && deploy != Deploy::Forced {
        return Err(Fault::field(
            "configVariables",
            format!("cannot be deployed without {}", lacking.join(", ")),
        ));
    }
    for flow in definition.flows.iter().filter(|flow| is_chosen(flow.number)) {
        let has_keys = config.api_keys.get(&flow.number).is_some_and(|keys| !keys.is_empty());
        if flow.security == EndpointSecurity::CustomerRequired && !has_keys {
            return Err(Fault::field(
                "flowConfigs",
                format!("the flow `{}` requires an API key: give one under `apiKeys`", flow.name),
            ));
        }
    }
    Ok(())
}
