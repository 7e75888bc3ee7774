//! Instances and users' configurations of them.

use super::{Session, action, name_once};
use crate::command::{Checked, check_registration};
use crate::edit::{Deploy, InstanceDraft, RegistrationDraft, UserConfigDraft, check_choice};
use crate::fault::Fault;
use crate::manifest::{AppRegistration, ConfigVarValue, Instance, InstanceStateWord, SecretText, UserLevelConfig};
use perseat_domain::definition::Definition;
use perseat_domain::id::FlowNumber;
use perseat_domain::model::{InstanceState, Integration, IntegrationVersion, Membership};
use perseat_domain::registration::AppRegistration as Registration;
use perseat_store::catalog::Lookup;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Session<'_, '_, '_> {
    pub(super) fn instance(&mut self, manifest: &Instance) -> Result<(), Fault> {
        let mut checked = Checked::default();
        checked.name("name", Some(&manifest.name));
        checked.done_by_name()?;
        let customer = self.customer_named(&manifest.customer)?;
        let mutation = &*self.edit.mutation;
        let integration = mutation
            .integration_by_name(&manifest.integration)?
            .ok_or_else(|| Fault::wrong(format!("there is no integration `{}`", manifest.integration)))?;
        let version = self.version_to_deploy(&integration, manifest.version)?;
        let before = mutation.instance_by_name(customer.id, &manifest.name)?;
        let is_new = before.is_none();
        let state = match manifest.state {
            InstanceStateWord::Enabled => InstanceState::Enabled,
            InstanceStateWord::Disabled => InstanceState::Disabled,
            InstanceStateWord::NotDeployed => InstanceState::NotDeployed,
        };
        let api_keys = Some(api_keys(&version.definition, manifest)?);
        let flows = Some(flows(&version.definition, manifest)?);
        let draft = InstanceDraft {
            name: manifest.name.clone(),
            description: before.as_ref().map(|before| before.description.clone()).unwrap_or_default(),
            labels: before.as_ref().map(|before| before.labels.clone()).unwrap_or_default(),
            customer: customer.id,
            integration: integration.id,
            version,
            values: Some(manifest.config_vars.clone()),
            keep_values: false,
            api_keys,
            keep_api_keys: false,
            flows,
            deploy: match state {
                InstanceState::NotDeployed => Deploy::No,
                InstanceState::Enabled | InstanceState::Disabled => Deploy::Applied,
            },
            state,
            before,
            may_choose_later: true,
        };
        let (record, changed) = self.edit.save_instance(draft)?;
        name_once(&mut self.named.instances, record.id, &self.place)?;
        self.note(
            action(is_new, changed),
            "Instance",
            format!("{} / {}", customer.name, manifest.name),
        );
        Ok(())
    }

    /// The newest released version, where none is named. One that is worked on changes in place, below whoever runs it.
    fn version_to_deploy(&self, integration: &Integration, number: Option<u32>) -> Result<Arc<IntegrationVersion>, Fault> {
        let Some(number) = number else {
            return self.edit.newest_released(integration, false);
        };
        let wrong = |what: &str| Fault::wrong(format!("version {number} of `{}` {what}", integration.name));
        let version = self.edit.mutation.integration_version(integration.id, number)?;
        let version = version.ok_or_else(|| wrong("is not there"))?;
        if version.release.is_none() {
            return Err(wrong("is not published yet"));
        }
        Ok(version)
    }

    /// Whether the app registrations are there that the connections of an instance choose, once everything was taken.
    pub(super) fn check_choices(&self, manifest: &Instance) -> Result<(), Fault> {
        let mutation = &*self.edit.mutation;
        let customer = self.customer_named(&manifest.customer)?;
        let Some(instance) = mutation.instance_by_name(customer.id, &manifest.name)? else {
            return Ok(());
        };
        let version = self.edit.version_of(instance.integration, instance.config.version)?;
        for (key, value) in &manifest.config_vars {
            if let (Some(variable), ConfigVarValue::Connection(fields)) = (version.definition.config_var(key), value) {
                check_choice(variable, fields, Some(&instance.registrations))?;
            }
        }
        Ok(())
    }

    pub(super) fn registration(&mut self, manifest: &AppRegistration) -> Result<(), Fault> {
        check_registration(
            &manifest.name,
            &manifest.client_id,
            manifest.scopes.as_deref(),
            Some(&manifest.labels),
        )?;
        let customer = self.customer_named(&manifest.customer)?;
        let instance = self
            .edit
            .mutation
            .instance_by_name(customer.id, &manifest.instance)?
            .ok_or_else(|| Fault::wrong(format!("{} has no instance `{}`", customer.name, manifest.instance)))?;
        let running = instance.deployed.as_ref().unwrap_or(&instance.config).version;
        let version = self.edit.version_of(instance.integration, running)?;
        let variable = version.definition.config_var(&manifest.connection);
        let is_it =
            |known: &&Registration| known.name == manifest.name && variable.is_some_and(|variable| variable.stable_key == known.connection);
        let before = instance.registrations.iter().find(is_it).map(|known| known.id);
        let draft = RegistrationDraft {
            before,
            connection: manifest.connection.clone(),
            name: manifest.name.clone(),
            client_id: manifest.client_id.clone(),
            client_secret: Some(manifest.client_secret.clone().unwrap_or(SecretText::Text(String::new()))),
            scopes: manifest.scopes.clone(),
            email_domains: manifest.email_domains.clone(),
            labels: manifest.labels.clone(),
        };
        let (record, changed) = self.edit.save_registration(&instance, draft)?;
        name_once(&mut self.named.registrations, record.id, &self.place)?;
        let shown = format!("{} / {} / {}", customer.name, instance.name, manifest.name);
        self.note(action(before.is_none(), changed), "AppRegistration", shown);
        Ok(())
    }

    pub(super) fn user_config(&mut self, manifest: &UserLevelConfig) -> Result<(), Fault> {
        let customer = self.customer_named(&manifest.customer)?;
        let mutation = &*self.edit.mutation;
        let instance = mutation
            .instance_by_name(customer.id, &manifest.instance)?
            .ok_or_else(|| Fault::wrong(format!("{} has no instance `{}`", customer.name, manifest.instance)))?;
        let (membership, name) = match manifest.user.strip_prefix(UserLevelConfig::OF_ORGANIZATION) {
            Some(name) => (Membership::Organization, name),
            None => (Membership::Customer(customer.id), manifest.user.as_str()),
        };
        let user = self.user_named(membership, name)?;
        let mutation = &*self.edit.mutation;
        let is_new = mutation.user_config_of(instance.id, user.id)?.is_none();
        let draft = UserConfigDraft {
            instance: &instance,
            user: &user,
            values: &manifest.config_vars,
            keep_values: false,
        };
        let (record, changed, lacking) = self.edit.save_user_config(&draft)?;
        if !lacking.is_empty() {
            let warning = format!("{} / {}: {} lacks {}", customer.name, instance.name, user.name, lacking.join(", "));
            self.plan.warnings.push(warning);
        }
        name_once(&mut self.named.configs, record.id, &self.place)?;
        let shown = format!("{} / {} / {}", customer.name, instance.name, user.name);
        self.note(action(is_new, changed), "UserLevelConfig", shown);
        Ok(())
    }
}

fn api_keys(definition: &Definition, manifest: &Instance) -> Result<BTreeMap<FlowNumber, Vec<SecretText>>, Fault> {
    let mut keys = BTreeMap::new();
    for (name, given) in &manifest.api_keys {
        let flow = definition
            .flow_named(name)
            .ok_or_else(|| Fault::wrong(format!("there is no flow `{name}`")))?;
        if given.iter().any(|key| key.text().is_none_or(str::is_empty)) {
            return Err(Fault::wrong(format!("an API key of `{name}` is empty")));
        }
        keys.insert(flow.number, given.clone());
    }
    Ok(keys)
}

fn flows(definition: &Definition, manifest: &Instance) -> Result<Vec<FlowNumber>, Fault> {
    let named = |name: &String| {
        definition
            .flow_named(name)
            .map(|flow| flow.number)
            .ok_or_else(|| Fault::wrong(format!("there is no flow `{name}`")))
    };
    manifest.flows.iter().map(named).collect()
}
