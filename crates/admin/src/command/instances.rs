//! Instances: created, changed, deployed, switched, deleted.

use super::{Checked, labels};
use crate::access::Operation;
use crate::edit::{Deploy, Edit, InstanceDraft};
use crate::fault::Fault;
use crate::manifest::{ConfigVarValue, ConnectionFields, SecretText};
use crate::picked::Kept;
use perseat_domain::definition::{DataType, Definition};
use perseat_domain::id::{CustomerId, EndpointId, FlowNumber, InstanceId, IntegrationId, VersionId};
use perseat_domain::model::{Customer, Instance, InstanceState, Integration, IntegrationVersion, Marketplace};
use perseat_store::catalog::Lookup;
use perseat_store::keyring::Owner;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A value of a configuration variable, in the two forms that clients send.
#[derive(Clone)]
pub struct ConfigVariable {
    /// The variable's display name.
    pub key: String,
    /// Text.
    pub value: Option<String>,
    /// For a connection: JSON text, a list of `{name, type, value}`.
    pub values: Option<String>,
    /// Whether a connection's stored choice of an app registration stays where none is given, and all else where that alone is
    /// given; else `values` is all that there is from now on.
    pub keeps_choice: bool,
}

impl fmt::Debug for ConfigVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigVariable").field("key", &self.key).finish_non_exhaustive()
    }
}

/// API keys of one flow of an instance.
#[derive(Clone)]
pub struct ApiKeys {
    /// The flow: its own global id within the integration, or that of the instance's flow configuration.
    pub flow: FlowNumber,
    /// The keys; any one passes.
    pub keys: Vec<String>,
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys").field("flow", &self.flow).finish_non_exhaustive()
    }
}

/// A new instance.
#[derive(Clone, Debug)]
pub struct CreateInstance {
    /// Unique within the customer.
    pub name: String,
    /// Plain text.
    pub description: Option<String>,
    /// Labels.
    pub labels: Option<Vec<String>>,
    /// Of what; without a version, of the newest that is available.
    pub integration: VersionId,
    /// Whose.
    pub customer: CustomerId,
    /// Values.
    pub config_variables: Vec<ConfigVariable>,
    /// API keys.
    pub api_keys: Vec<ApiKeys>,
}

/// What changes about an instance; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct UpdateInstance {
    /// Unique within the customer.
    pub name: Option<String>,
    /// Plain text.
    pub description: Option<String>,
    /// Labels.
    pub labels: Option<Vec<String>>,
    /// Another version of the same integration.
    pub version: Option<VersionId>,
    /// Whether it takes events.
    pub enabled: Option<bool>,
    /// Values; with `partial` these alone, else all there are from now on.
    pub config_variables: Option<Vec<ConfigVariable>>,
    /// Whether values that are not given stay.
    pub partial: bool,
    /// API keys of the flows that are named.
    pub api_keys: Option<Vec<ApiKeys>>,
    /// The revision that the change is based on.
    pub revision: Option<u64>,
}

impl Edit<'_, '_> {
    /// Creates an instance. It takes events once it is deployed.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn create_instance(&mut self, input: &CreateInstance) -> Result<Instance, Fault> {
        if !self.actor.may_for(Operation::ViewCustomers, input.customer) {
            return Err(Fault::Absent("customer"));
        }
        self.actor.check(Operation::ConfigureInstances)?;
        self.existing::<Customer>(input.customer)?;
        check(Some(&input.name), input.description.as_ref(), input.labels.as_deref())?;
        let integration = self.existing::<Integration>(input.integration.integration)?;
        self.check_offered(&integration, input.customer)?;
        let version = self.version_to_use(&integration, input.integration)?;
        let mut values = given(&version.definition, &input.config_variables)?;
        self.give_shared(&version.definition, &mut values, input.customer, None)?;
        let draft = InstanceDraft {
            before: None,
            may_choose_later: false,
            name: input.name.clone(),
            description: input.description.clone().unwrap_or_default(),
            labels: labels(input.labels.as_deref().unwrap_or_default()),
            customer: input.customer,
            integration: integration.id,
            values: Some(values),
            keep_values: false,
            api_keys: Some(texts(&input.api_keys)?),
            keep_api_keys: false,
            flows: None,
            deploy: Deploy::No,
            state: InstanceState::NotDeployed,
            version,
        };
        Ok(self.save_instance(draft)?.0)
    }

    /// Changes an instance. What it runs with changes on the next deploy; whether it is enabled changes at once.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn update_instance(&mut self, id: InstanceId, input: &UpdateInstance) -> Result<Instance, Fault> {
        let before = self.instance_to_configure(id)?;
        self.check_revision::<Instance>(id, input.revision)?;
        check(input.name.as_ref(), input.description.as_ref(), input.labels.as_deref())?;
        let version = match input.version {
            Some(version) => {
                if version.integration != before.integration {
                    return Err(Fault::field("integration", "An instance stays with its integration."));
                }
                let integration = self.existing::<Integration>(before.integration)?;
                let version = self.version_to_use(&integration, version)?;
                self.check_withheld_stays(&before, &version.definition)?;
                version
            }
            None => self.version_of(before.integration, before.config.version)?,
        };
        let state = match (input.enabled, before.state) {
            (None, state) => state,
            (Some(true), InstanceState::NotDeployed) => return Err(Fault::field("enabled", "Deploy this instance first.")),
            (Some(false), InstanceState::NotDeployed) => InstanceState::NotDeployed,
            (Some(true), _) => InstanceState::Enabled,
            (Some(false), _) => InstanceState::Disabled,
        };
        let values = match &input.config_variables {
            None => None,
            Some(variables) => {
                let mut values = given(&version.definition, variables)?;
                let kept = Kept {
                    values: &before.config.values,
                    record: before.id.0,
                    owner: Owner::Customer(before.customer),
                };
                self.keep_choices(&version.definition, variables, &mut values, kept)?;
                self.give_shared(&version.definition, &mut values, before.customer, None)?;
                Some(values)
            }
        };
        let api_keys = input.api_keys.as_deref().map(texts).transpose()?;
        let draft = InstanceDraft {
            name: input.name.clone().unwrap_or_else(|| before.name.clone()),
            description: input.description.clone().unwrap_or_else(|| before.description.clone()),
            labels: input.labels.as_deref().map_or_else(|| before.labels.clone(), labels),
            customer: before.customer,
            integration: before.integration,
            values,
            keep_values: input.partial,
            api_keys,
            keep_api_keys: true,
            flows: None,
            deploy: Deploy::No,
            state,
            before: Some(before),
            may_choose_later: false,
            version,
        };
        Ok(self.save_instance(draft)?.0)
    }

    /// Makes what was saved what runs; with `force` though required values are lacking.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn deploy_instance(&mut self, id: InstanceId, force: bool) -> Result<Instance, Fault> {
        let before = self.instance_to_configure(id)?;
        let version = self.version_of(before.integration, before.config.version)?;
        let deploy = if force { Deploy::Forced } else { Deploy::Whole };
        let draft = InstanceDraft {
            name: before.name.clone(),
            description: before.description.clone(),
            labels: before.labels.clone(),
            customer: before.customer,
            integration: before.integration,
            values: None,
            keep_values: false,
            api_keys: None,
            keep_api_keys: true,
            flows: None,
            deploy,
            state: match before.state {
                InstanceState::NotDeployed => InstanceState::Enabled,
                state => state,
            },
            before: Some(before),
            may_choose_later: false,
            version,
        };
        Ok(self.save_instance(draft)?.0)
    }

    /// Deletes an instance with its users' configurations.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn remove_instance(&mut self, id: InstanceId) -> Result<Instance, Fault> {
        let instance = self.instance_to_configure(id)?;
        self.delete_instance(id)?;
        Ok(instance)
    }

    pub(super) fn instance_to_configure(&self, id: InstanceId) -> Result<Instance, Fault> {
        let instance = self.existing::<Instance>(id)?;
        if !self.actor.may_for(Operation::ViewInstances, instance.customer) {
            return Err(Fault::Absent("instance"));
        }
        self.actor.check(Operation::ConfigureInstances)?;
        Ok(instance)
    }

    /// Customers help themselves from the marketplace alone.
    fn check_offered(&self, integration: &Integration, customer: CustomerId) -> Result<(), Fault> {
        let settings = &integration.settings;
        if settings.customer.is_some_and(|only| only != customer) {
            return Err(Fault::Absent(INTEGRATION));
        }
        if self.actor.customer().is_none() {
            return Ok(());
        }
        match settings.marketplace {
            Marketplace::Hidden => return Err(Fault::Absent(INTEGRATION)),
            Marketplace::Visible => {
                return Err(Fault::field(
                    "integration",
                    "This integration is not deployable from the marketplace.",
                ));
            }
            Marketplace::Deployable => {}
        }
        if !settings.allow_multiple_instances && self.has_instance(integration.id, customer)? {
            return Err(Fault::field("integration", "There is an instance of this integration already."));
        }
        Ok(())
    }

    fn has_instance(&self, integration: IntegrationId, customer: CustomerId) -> Result<bool, Fault> {
        let instances = crate::edit::every(|after| self.mutation.instances_of_customer(customer, after, 1_000))?;
        Ok(instances.iter().any(|instance| instance.integration == integration))
    }

    /// What the organization alone sets stays so, and what a customer's people gave does not become that: they go from one version to
    /// another where both withhold the same variables from them.
    fn check_withheld_stays(&self, instance: &Instance, next: &Definition) -> Result<(), Fault> {
        let saved = self.version_of(instance.integration, instance.config.version)?;
        if self.actor.customer().is_none() || withheld(&saved.definition) == withheld(next) {
            return Ok(());
        }
        Err(Fault::field(
            "integration",
            "The organization alone sets other variables in this version: it is the one to choose it.",
        ))
    }

    fn version_to_use(&self, integration: &Integration, id: VersionId) -> Result<Arc<IntegrationVersion>, Fault> {
        let Some(number) = id.version.map(u32::from) else {
            return self.newest_released(integration, true);
        };
        let version = self
            .mutation
            .integration_version(integration.id, number)?
            .ok_or(Fault::Absent(INTEGRATION))?;
        if version.release.is_none() {
            return Err(Fault::field("integration", "This version is not published yet."));
        }
        if integration.withdrawn.contains(&number) {
            return Err(Fault::field("integration", "This version is not available."));
        }
        Ok(version)
    }
}

const INTEGRATION: &str = "integration";

/// The stable keys of the variables that the organization alone sets.
fn withheld(definition: &Definition) -> BTreeSet<&str> {
    let variables = definition.config_vars.iter().filter(|variable| variable.org_only);
    variables.map(|variable| variable.stable_key.as_str()).collect()
}

fn check(name: Option<&String>, description: Option<&String>, labels: Option<&[String]>) -> Result<(), Fault> {
    let mut checked = Checked::default();
    checked.name("name", name.map(String::as_str));
    checked.text("description", description.map(String::as_str));
    checked.labels(labels);
    checked.done()
}

fn texts(given: &[ApiKeys]) -> Result<BTreeMap<FlowNumber, Vec<SecretText>>, Fault> {
    let mut texts = BTreeMap::new();
    for ApiKeys { flow, keys } in given {
        if keys.iter().any(|key| key.trim().is_empty()) {
            return Err(Fault::field("flowConfigs", "An API key is empty."));
        }
        texts.insert(*flow, keys.iter().cloned().map(SecretText::Text).collect());
    }
    Ok(texts)
}

/// The flow that a client names by the id of an instance's flow configuration.
#[must_use]
pub fn flow_of(id: &str) -> Option<FlowNumber> {
    match EndpointId::parse(id)? {
        EndpointId::InstanceFlow(_, flow) | EndpointId::UserFlow(_, flow) => Some(flow),
        EndpointId::Instance(_) | EndpointId::Integration(_) => None,
    }
}

#[derive(Deserialize)]
struct ConnectionInput {
    name: String,
    #[serde(default)]
    value: Option<serde_json::Value>,
}

/// What clients sent, as values by display name.
pub(super) fn given(definition: &Definition, variables: &[ConfigVariable]) -> Result<BTreeMap<String, ConfigVarValue>, Fault> {
    let mut values = BTreeMap::new();
    for ConfigVariable {
        key,
        value,
        values: inputs,
        ..
    } in variables
    {
        // Clients that keep stable keys name variables by these.
        let variable = definition
            .config_var(key)
            .or_else(|| definition.config_vars.iter().find(|variable| variable.stable_key == *key));
        let name = variable.map_or(key, |variable| &variable.key);
        let is_connection = variable.is_some_and(|variable| variable.data_type == DataType::Connection);
        let value = match (value, inputs) {
            (_, Some(inputs)) if is_connection => connection(key, inputs)?,
            (Some(text), _) => ConfigVarValue::Text(SecretText::Text(text.clone())),
            (None, _) => continue,
        };
        values.insert(name.clone(), value);
    }
    Ok(values)
}

fn connection(key: &str, inputs: &str) -> Result<ConfigVarValue, Fault> {
    let inputs: Vec<ConnectionInput> = serde_json::from_str(inputs).map_err(|_| {
        let message = format!("`values` of `{key}` must be JSON text: a list of {{\"name\", \"type\", \"value\"}}");
        Fault::field("configVariables", message)
    })?;
    let text = |value: Option<serde_json::Value>| match value {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(serde_json::Value::String(text)) => text,
        Some(value) => value.to_string(),
    };
    let fields = inputs
        .into_iter()
        .map(|input| (input.name, SecretText::Text(text(input.value))))
        .collect();
    Ok(ConfigVarValue::Connection(ConnectionFields {
        fields,
        ..ConnectionFields::default()
    }))
}
