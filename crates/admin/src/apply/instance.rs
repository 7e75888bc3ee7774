//! Instances and users' configurations of them.

use super::values::{Scope, missing};
use super::{Fault, Session, action, problem};
use crate::manifest::{Instance, InstanceStateWord, UserLevelConfig};
use crate::routing::user_config_route;
use perseat_domain::definition::{Definition, EndpointSecurity};
use perseat_domain::id::{FlowNumber, InstanceId, UserConfigId, endpoint_base};
use perseat_domain::model::{self, InstanceConfig, InstanceState, KeyDigest, Membership};
use perseat_domain::route::{InstanceRoute, RouteChange};
use perseat_store::catalog::Lookup;
use perseat_store::keyring::NewKey;
use perseat_store::seal::key_digest;
use std::collections::BTreeMap;

impl Session<'_, '_, '_> {
    pub(super) fn instance(&mut self, manifest: &Instance) -> Result<(), Fault> {
        let customer = self.customer_named(&manifest.customer)?;
        let integration = self
            .mutation
            .integration_by_name(&manifest.integration)?
            .ok_or_else(|| problem(format!("there is no integration `{}`", manifest.integration)))?;
        let number = manifest.version.unwrap_or(integration.latest_version);
        let version = self
            .mutation
            .integration_version(integration.id, number)?
            .ok_or_else(|| problem(format!("`{}` has no version {number}", integration.name)))?;
        let definition = &version.definition;
        let before = self.mutation.instance_by_name(customer.id, &manifest.name)?;
        let id = match &before {
            Some(before) => before.id,
            None => InstanceId(endpoint_base((self.applier.random)())),
        };
        let stored = before.as_ref().map(|before| before.config.values.clone()).unwrap_or_default();
        let scope = Scope {
            is_user_level: false,
            record: id.0,
            key: NewKey::Customer(customer.id),
        };
        let config = InstanceConfig {
            version: number,
            values: self.values(definition, &manifest.config_vars, &stored, scope)?,
            api_keys: api_keys(definition, manifest)?,
            flows: flows(definition, manifest)?,
        };
        let state = match manifest.state {
            InstanceStateWord::Enabled => InstanceState::Enabled,
            InstanceStateWord::Disabled => InstanceState::Disabled,
            InstanceStateWord::NotDeployed => InstanceState::NotDeployed,
        };
        if state == InstanceState::NotDeployed && before.as_ref().is_some_and(|before| before.deployed.is_some()) {
            return Err(problem("an instance that was deployed cannot go back; use `state: disabled`"));
        }
        if state != InstanceState::NotDeployed {
            check_deployable(&version, &config)?;
        }
        let was_deployed = before.as_ref().and_then(|before| before.deployed.clone());
        let deployed = (state != InstanceState::NotDeployed).then(|| config.clone());
        let revision = before.as_ref().map_or(0, |before| before.config_revision) + u64::from(deployed != was_deployed);
        let record = model::Instance {
            id,
            name: manifest.name.clone(),
            customer: customer.id,
            integration: integration.id,
            state,
            config,
            deployed,
            config_revision: revision,
        };
        let changed = self.mutation.put(&record)?;
        if changed {
            self.applied
                .routes
                .push(RouteChange::Instance(Box::new(InstanceRoute::new(&record, &version))));
            self.applied.instances.insert(id);
            self.reroute_configs(id, definition)?;
        }
        self.named.instances.insert(id);
        self.note(
            action(before.is_none(), changed),
            "Instance",
            format!("{} / {}", customer.name, manifest.name),
        );
        Ok(())
    }

    /// A new version may ask more or less of its users than the last.
    fn reroute_configs(&mut self, instance: InstanceId, definition: &Definition) -> Result<(), Fault> {
        let mut after = None;
        loop {
            let page = self.mutation.user_configs_of_instance(instance, after, 1_000)?;
            // A removed one stays as it is; its user may be gone.
            for config in page.items.iter().filter(|config| config.removed_at.is_none()) {
                let user = self.mutation.require::<model::User>(config.user)?;
                self.applied
                    .routes
                    .push(RouteChange::UserConfig(user_config_route(config, &user, definition)));
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    pub(super) fn user_config(&mut self, manifest: &UserLevelConfig) -> Result<(), Fault> {
        let customer = self.customer_named(&manifest.customer)?;
        let instance = self
            .mutation
            .instance_by_name(customer.id, &manifest.instance)?
            .ok_or_else(|| problem(format!("{} has no instance `{}`", customer.name, manifest.instance)))?;
        let config = instance.deployed.as_ref().unwrap_or(&instance.config);
        let version = self
            .mutation
            .integration_version(instance.integration, config.version)?
            .ok_or_else(|| problem("the instance's version does not exist any more"))?;
        if !version.definition.is_user_level() {
            return Err(problem(format!("`{}` has no user-level configuration", version.definition.name)));
        }
        let (membership, name) = match manifest.user.strip_prefix(UserLevelConfig::OF_ORGANIZATION) {
            Some(name) => (Membership::Organization, name),
            None => (Membership::Customer(customer.id), manifest.user.as_str()),
        };
        let user = match self.mutation.user_by_external_id(membership, name)? {
            Some(user) => user,
            None => self
                .mutation
                .user_by_email(membership, name)?
                .ok_or_else(|| problem(format!("there is no user `{name}`")))?,
        };
        let before = self.mutation.user_config_of(instance.id, user.id)?;
        let id = match &before {
            Some(before) => before.id,
            None => UserConfigId(endpoint_base((self.applier.random)())),
        };
        let stored = before.as_ref().map(|before| before.values.clone()).unwrap_or_default();
        let scope = Scope {
            is_user_level: true,
            record: id.0,
            key: NewKey::User(user.id, membership),
        };
        let values = self.values(&version.definition, &manifest.config_vars, &stored, scope)?;
        let lacking = missing(&version.definition, true, &values);
        if !lacking.is_empty() {
            let warning = format!("{} / {}: {} lacks {}", customer.name, instance.name, user.name, lacking.join(", "));
            self.applied.plan.warnings.push(warning);
        }
        let differs = before.as_ref().is_none_or(|before| before.values != values);
        let record = model::UserConfig {
            id,
            instance: instance.id,
            user: user.id,
            values,
            config_revision: before.as_ref().map_or(0, |before| before.config_revision) + u64::from(differs),
            removed_at: None,
        };
        let changed = self.mutation.put(&record)?;
        if changed {
            self.applied
                .routes
                .push(RouteChange::UserConfig(user_config_route(&record, &user, &version.definition)));
            self.applied.instances.insert(instance.id);
        }
        self.named.configs.insert(id);
        let shown = format!("{} / {} / {}", customer.name, instance.name, user.name);
        self.note(action(before.is_none(), changed), "UserLevelConfig", shown);
        Ok(())
    }
}

fn api_keys(definition: &Definition, manifest: &Instance) -> Result<BTreeMap<FlowNumber, Vec<KeyDigest>>, Fault> {
    let mut keys = BTreeMap::new();
    for (name, given) in &manifest.api_keys {
        let flow = definition
            .flow_named(name)
            .ok_or_else(|| problem(format!("there is no flow `{name}`")))?;
        let digests: Vec<KeyDigest> = given.iter().filter_map(|key| key.text()).map(key_digest).collect();
        if given.iter().any(|key| key.text().is_none_or(str::is_empty)) {
            return Err(problem(format!("an API key of `{name}` is empty")));
        }
        keys.insert(flow.number, digests);
    }
    Ok(keys)
}

fn flows(definition: &Definition, manifest: &Instance) -> Result<Vec<FlowNumber>, Fault> {
    let named = |name: &String| {
        definition
            .flow_named(name)
            .map(|flow| flow.number)
            .ok_or_else(|| problem(format!("there is no flow `{name}`")))
    };
    manifest.flows.iter().map(named).collect()
}

fn check_deployable(version: &model::IntegrationVersion, config: &InstanceConfig) -> Result<(), Fault> {
    let definition = &version.definition;
    let is_chosen = |number: FlowNumber| config.flows.is_empty() || config.flows.contains(&number);
    let incomplete: Vec<&str> = definition
        .flows
        .iter()
        .filter(|flow| is_chosen(flow.number) && !flow.missing.is_empty())
        .map(|flow| flow.name.as_str())
        .collect();
    if !incomplete.is_empty() {
        return Err(problem(format!(
            "`{}` is a draft: {} cannot run here yet; name complete flows under `flows`",
            definition.name,
            incomplete.join(", ")
        )));
    }
    let lacking = missing(definition, false, &config.values);
    if !lacking.is_empty() {
        return Err(problem(format!("cannot be deployed without {}", lacking.join(", "))));
    }
    for flow in definition.flows.iter().filter(|flow| is_chosen(flow.number)) {
        let has_keys = config.api_keys.get(&flow.number).is_some_and(|keys| !keys.is_empty());
        if flow.security == EndpointSecurity::CustomerRequired && !has_keys {
            return Err(problem(format!(
                "the flow `{}` requires an API key: give one under `apiKeys`",
                flow.name
            )));
        }
    }
    Ok(())
}
