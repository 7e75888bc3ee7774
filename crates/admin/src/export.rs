//! `export`: the catalog as manifests that, applied again, change nothing.
//!
//! What is secret is not printed: connection values and API keys stand as names of environment variables, in the form
//! that `apply` resolves. Each manifest is read back before it is given out, so that none says something else than meant.

mod names;
mod sharing;

use crate::manifest::{
    AppRegistration, ConfigVarValue, ConnectionFields, Customer, CustomerUser, Instance, InstanceStateWord, Integration, Manifest,
    Organization, OrganizationUser, SecretText, UserLevelConfig, parse_one,
};
use names::Variables;
use perseat_domain::definition::Definition;
use perseat_domain::id::{CustomerId, FlowNumber, UserId};
use perseat_domain::model::{self, ConfigValue, ConnectionValue, InstanceState, Membership, connection_record_id};
use perseat_store::catalog::{Lookup, View};
use perseat_store::custody::Custody;
use perseat_store::error::StoreError;
use perseat_store::keyring::{Keyring, Owner};
use perseat_store::presets::Presets;
use perseat_store::seal::RecordKind;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use uuid::Uuid;

/// How much is exported.
#[derive(Clone, Copy, Debug)]
pub struct ExportLimits {
    /// Manifests at most: the whole export is held in memory.
    pub manifests: usize,
}

impl Default for ExportLimits {
    fn default() -> Self {
        Self { manifests: 100_000 }
    }
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The catalog or a key cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record that others refer to is not there, or a sealed value does not open.
    #[error("{0} is damaged or missing")]
    Damaged(String),
    /// A name means something else than it should when it is read again.
    #[error("{0} cannot be named in a manifest: its name is the external id or e-mail address of another; give it an external id")]
    Ambiguous(String),
    /// The YAML would say something else.
    #[error("{0} cannot be written as YAML")]
    Unwritable(String),
    /// More than the limit.
    #[error("there are more than {0} records, more than one export holds")]
    TooMany(usize),
}

/// The catalog as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The manifests, one YAML document each, in the order of application.
    pub yaml: String,
    /// The environment variables that `apply` will ask for, in the order of their use.
    pub variables: Vec<String>,
}

/// Reads everything of one moment.
///
/// # Errors
/// If something cannot be read or written, or is more than the limit.
pub fn export(custody: &Custody, limits: ExportLimits) -> Result<Export, ExportError> {
    let view = custody.catalog().view()?;
    let mut exporter = Exporter {
        view: &view,
        keyring: custody.keyring(),
        limits,
        variables: Variables::default(),
        customers: Vec::new(),
        users: HashMap::new(),
        count: 0,
        yaml: String::new(),
    };
    exporter.people()?;
    exporter.shared()?;
    exporter.integrations()?;
    exporter.instances()?;
    Ok(exporter.finish())
}

/// Records read at once.
const PAGE: usize = 1_000;

struct Exporter<'a> {
    view: &'a View<'a>,
    keyring: &'a Keyring,
    limits: ExportLimits,
    variables: Variables,
    /// Every customer with how manifests name it, by that name.
    customers: Vec<(String, CustomerId)>,
    /// How manifests name a user.
    users: HashMap<UserId, String>,
    count: usize,
    yaml: String,
}

/// Where the values of a set of variables are sealed, and what their environment variables are called after.
struct Scope<'s> {
    record: Uuid,
    owner: Owner,
    path: Vec<&'s str>,
}

impl Exporter<'_> {
    fn add(&mut self, what: impl FnOnce() -> String, manifest: &Manifest) -> Result<(), ExportError> {
        self.count += 1;
        self.within_limit(self.count)?;
        let text = document(manifest).ok_or_else(|| ExportError::Unwritable(what()))?;
        if !self.yaml.is_empty() {
            self.yaml.push_str("---\n");
        }
        self.yaml.push_str(&text);
        Ok(())
    }

    fn within_limit(&self, count: usize) -> Result<(), ExportError> {
        let limit = self.limits.manifests;
        if count > limit { Err(ExportError::TooMany(limit)) } else { Ok(()) }
    }

    fn finish(self) -> Export {
        let variables = self.variables.into_names();
        let mut head = String::from("# Exported by `perseat export`; `perseat apply -f FILE` applies it.\n");
        if !variables.is_empty() {
            head.push_str("# Secrets are not in it. Set these environment variables before you apply it:\n");
            for name in &variables {
                head.push_str(&format!("#   {name}\n"));
            }
        }
        Export {
            yaml: head + &self.yaml,
            variables,
        }
    }

    fn people(&mut self) -> Result<(), ExportError> {
        if let Some(organization) = self.view.organization()? {
            let manifest = Organization {
                name: organization.name,
                ulc_enabled: organization.ulc_enabled,
                signing_keys: organization.signing_keys.into_iter().map(|key| key.public_key).collect(),
            };
            self.add(|| "the organization".to_owned(), &Manifest::Organization(manifest))?;
        }
        self.users(Membership::Organization, None)?;
        let mut customers = Vec::new();
        self.view.for_each(|customer: model::Customer| {
            customers.push((self.customer_name(&customer)?, customer));
            self.within_limit(customers.len())
        })?;
        customers.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, customer) in customers {
            let manifest = Customer {
                name: customer.name.clone(),
                external_id: customer.external_id.clone(),
                description: customer.description.clone(),
                labels: customer.labels.clone(),
            };
            self.add(|| format!("the customer `{}`", customer.name), &Manifest::Customer(manifest))?;
            self.users(Membership::Customer(customer.id), Some(&name))?;
            self.customers.push((name, customer.id));
        }
        Ok(())
    }

    /// How manifests name a customer: by external id, else by name.
    fn customer_name(&self, customer: &model::Customer) -> Result<String, ExportError> {
        if let Some(external_id) = &customer.external_id {
            return Ok(external_id.clone());
        }
        match self.view.customer_by_external_id(&customer.name)? {
            Some(_) => Err(ExportError::Ambiguous(format!("the customer `{}`", customer.name))),
            None => Ok(customer.name.clone()),
        }
    }

    fn users(&mut self, membership: Membership, customer: Option<&str>) -> Result<(), ExportError> {
        let mut users = Vec::new();
        let mut after = None;
        loop {
            let page = self.view.users_of(membership, after, PAGE)?;
            for user in page.items {
                users.push((self.user_name(&user)?, user));
            }
            self.within_limit(users.len())?;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        users.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, user) in users {
            self.users.insert(user.id, name);
            let shown = format!("the user `{}`", user.name);
            let model::User {
                name,
                email,
                external_id,
                role,
                labels,
                ..
            } = user;
            let manifest = match customer {
                None => Manifest::OrganizationUser(OrganizationUser {
                    name,
                    email,
                    external_id,
                    role,
                }),
                Some(customer) => Manifest::CustomerUser(CustomerUser {
                    customer: customer.to_owned(),
                    name,
                    email,
                    external_id,
                    role,
                    labels,
                }),
            };
            self.add(|| shown, &manifest)?;
        }
        Ok(())
    }

    /// How manifests name a user: by external id, else by e-mail address.
    fn user_name(&self, user: &model::User) -> Result<String, ExportError> {
        match (&user.external_id, &user.email) {
            (Some(external_id), _) => Ok(external_id.clone()),
            (None, Some(email)) if self.view.user_by_external_id(user.membership, email)?.is_none() => Ok(email.clone()),
            _ => Err(ExportError::Ambiguous(format!("the user `{}`", user.name))),
        }
    }

    fn integrations(&mut self) -> Result<(), ExportError> {
        let mut integrations = Vec::new();
        self.view.for_each(|integration: model::Integration| {
            integrations.push(integration);
            self.within_limit(integrations.len())
        })?;
        integrations.sort_by(|a, b| a.name.cmp(&b.name));
        for integration in integrations {
            let version = self.view.integration_version(integration.id, integration.latest_version)?;
            let version = version.ok_or_else(|| damaged(format!("the newest version of `{}`", integration.name)))?;
            let mut organization_api_keys = BTreeMap::new();
            for (flow, keys) in &version.organization_keys {
                let name = flow_name(&version.definition, *flow);
                organization_api_keys.insert(name.to_owned(), self.keys(&[&integration.name, name], keys.len()));
            }
            let manifest = Integration {
                file: None,
                definition: Some(version.yaml.clone()),
                organization_api_keys,
                connection_secrets: self.connection_secrets(&integration.name, &version)?,
            };
            let shown = || format!("the integration `{}`", integration.name);
            self.add(shown, &Manifest::Integration(manifest))?;
        }
        Ok(())
    }

    /// The names of a definition's secret inputs by the variables' keys; their texts stay sealed.
    fn connection_secrets(
        &mut self,
        name: &str,
        version: &Arc<model::IntegrationVersion>,
    ) -> Result<BTreeMap<String, BTreeMap<String, SecretText>>, ExportError> {
        let presets = Presets::of(self.keyring, version.clone())?;
        let mut all = BTreeMap::new();
        for variable in &version.definition.config_vars {
            let inputs = presets.open(&variable.stable_key)?;
            let place = |input: &String| (input.clone(), self.variables.place(&[name, &variable.key, input]));
            let places: BTreeMap<String, SecretText> = inputs.keys().map(place).collect();
            if !places.is_empty() {
                all.insert(variable.key.clone(), places);
            }
        }
        Ok(all)
    }

    /// Instances first, then what users configured of them: the order of application.
    fn instances(&mut self) -> Result<(), ExportError> {
        let mut found = Vec::new();
        for (customer, id) in std::mem::take(&mut self.customers) {
            let mut instances = Vec::new();
            let mut after = None;
            loop {
                let page = self.view.instances_of_customer(id, after, PAGE)?;
                instances.extend(page.items);
                self.within_limit(found.len() + instances.len())?;
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            instances.sort_by(|a, b| a.name.cmp(&b.name));
            found.extend(instances.into_iter().map(|instance| (customer.clone(), instance)));
        }
        for (customer, instance) in &found {
            self.instance(customer, instance)?;
        }
        found
            .iter()
            .try_for_each(|(customer, instance)| self.registrations(customer, instance))?;
        found.iter().try_for_each(|(customer, instance)| self.configs(customer, instance))
    }

    fn instance(&mut self, customer: &str, instance: &model::Instance) -> Result<(), ExportError> {
        let integration = self.view.require::<model::Integration>(instance.integration)?;
        let version = self.version(instance, instance.config.version)?;
        let scope = Scope {
            record: instance.id.0,
            owner: Owner::Customer(instance.customer),
            path: vec![customer, &instance.name],
        };
        let config_vars = self.values(&version, &instance.config.values, &scope)?;
        let mut api_keys = BTreeMap::new();
        for (flow, keys) in &instance.config.api_keys {
            let name = flow_name(&version.definition, *flow);
            api_keys.insert(name.to_owned(), self.keys(&[customer, &instance.name, name], keys.len()));
        }
        let flows = instance
            .config
            .flows
            .iter()
            .map(|flow| flow_name(&version.definition, *flow).to_owned());
        let manifest = Instance {
            name: instance.name.clone(),
            customer: customer.to_owned(),
            integration: integration.name,
            version: (instance.config.version != integration.latest_version).then_some(instance.config.version),
            state: match instance.state {
                InstanceState::Enabled => InstanceStateWord::Enabled,
                InstanceState::Disabled => InstanceStateWord::Disabled,
                InstanceState::NotDeployed => InstanceStateWord::NotDeployed,
            },
            config_vars,
            api_keys,
            flows: flows.collect(),
        };
        self.add(|| format!("the instance `{}`", instance.name), &Manifest::Instance(manifest))
    }

    fn registrations(&mut self, customer: &str, instance: &model::Instance) -> Result<(), ExportError> {
        if instance.registrations.is_empty() {
            return Ok(());
        }
        let running = instance.deployed.as_ref().unwrap_or(&instance.config).version;
        let version = self.version(instance, running)?;
        for registration in &instance.registrations {
            let mut variables = version.definition.config_vars.iter();
            // One whose connection is gone has no effect.
            let Some(variable) = variables.find(|variable| variable.stable_key == registration.connection) else {
                continue;
            };
            let path = [customer, &instance.name, &variable.key, &registration.name, "clientSecret"];
            let manifest = AppRegistration {
                customer: customer.to_owned(),
                instance: instance.name.clone(),
                connection: variable.key.clone(),
                name: registration.name.clone(),
                client_id: registration.client_id.clone(),
                client_secret: Some(self.variables.place(&path)),
                scopes: registration.scopes.clone(),
                email_domains: registration.email_domains.clone(),
                labels: registration.labels.clone(),
            };
            let shown = || format!("the app registration `{}`", registration.name);
            self.add(shown, &Manifest::AppRegistration(manifest))?;
        }
        Ok(())
    }

    fn configs(&mut self, customer: &str, instance: &model::Instance) -> Result<(), ExportError> {
        let mut configs = Vec::new();
        let mut after = None;
        loop {
            let page = self.view.user_configs_of_instance(instance.id, after, PAGE)?;
            for config in page.items.into_iter().filter(|config| config.removed_at.is_none()) {
                let user = self.view.require::<model::User>(config.user)?;
                let name = self.users.get(&user.id).cloned().unwrap_or_default();
                let name = match user.membership {
                    Membership::Organization => format!("{}{name}", UserLevelConfig::OF_ORGANIZATION),
                    Membership::Customer(_) => name,
                };
                configs.push((name, config));
            }
            self.within_limit(configs.len())?;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        configs.sort_by(|(a, _), (b, _)| a.cmp(b));
        let version = self.version(instance, instance.deployed.as_ref().unwrap_or(&instance.config).version)?;
        for (user, config) in configs {
            let scope = Scope {
                record: config.id.0,
                owner: Owner::User(config.user),
                path: vec![customer, &instance.name, &user],
            };
            let config_vars = self.values(&version, &config.values, &scope)?;
            let manifest = UserLevelConfig {
                customer: customer.to_owned(),
                instance: instance.name.clone(),
                user: user.clone(),
                config_vars,
            };
            let shown = || format!("the configuration of `{}` for `{user}`", instance.name);
            self.add(shown, &Manifest::UserLevelConfig(manifest))?;
        }
        Ok(())
    }

    fn version(&self, instance: &model::Instance, version: u32) -> Result<Arc<model::IntegrationVersion>, ExportError> {
        let found = self.view.integration_version(instance.integration, version)?;
        found.ok_or_else(|| damaged(format!("version {version}, which the instance `{}` runs,", instance.name)))
    }

    /// Values by the names they have in this version; one whose variable is gone has none and no effect.
    fn values(
        &mut self,
        version: &model::IntegrationVersion,
        stored: &BTreeMap<String, ConfigValue>,
        scope: &Scope<'_>,
    ) -> Result<BTreeMap<String, ConfigVarValue>, ExportError> {
        let mut values = BTreeMap::new();
        for variable in &version.definition.config_vars {
            let value = match stored.get(&variable.stable_key) {
                Some(ConfigValue::Plain(text)) => ConfigVarValue::Text(SecretText::Text(text.clone())),
                Some(ConfigValue::Connection { sealed, .. }) => {
                    let id = connection_record_id(scope.record, &variable.stable_key);
                    let key = self.keyring.data_key(scope.owner)?;
                    let plain = key.unseal(RecordKind::Connection, &id, sealed).ok();
                    let value = plain.and_then(|plain| serde_json::from_slice::<ConnectionValue>(&plain).ok());
                    let value = value.ok_or_else(|| damaged(format!("the value of `{}` of {}", variable.key, scope.path.join(" / "))))?;
                    ConfigVarValue::Connection(self.connection(&variable.key, &value, &scope.path))
                }
                None => continue,
            };
            values.insert(variable.key.clone(), value);
        }
        Ok(values)
    }

    /// The names of a connection's values; the values stay sealed.
    fn connection(&mut self, key: &str, value: &ConnectionValue, path: &[&str]) -> ConnectionFields {
        let mut places = |names: BTreeSet<&String>| {
            let place = |name: &String| (name.clone(), self.variables.place(&[path, &[key, name]].concat()));
            names.into_iter().map(place).collect()
        };
        let token = value.token.as_ref().and_then(serde_json::Value::as_object);
        ConnectionFields {
            fields: places(value.fields.keys().collect()),
            token: places(token.map(|token| token.keys().collect()).unwrap_or_default()),
        }
    }

    fn keys(&mut self, path: &[&str], count: usize) -> Vec<SecretText> {
        (0..count).map(|_| self.variables.place(&[path, &["API_KEY"]].concat())).collect()
    }
}

fn damaged(what: String) -> ExportError {
    ExportError::Damaged(what)
}

fn flow_name(definition: &Definition, number: FlowNumber) -> &str {
    definition.flow(number).map_or("", |flow| flow.name.as_str())
}

/// The manifest as YAML that reads back as the same manifest.
fn document(manifest: &Manifest) -> Option<String> {
    let same = |text: &String| parse_one(text).is_some_and(|read| read == *manifest);
    let plain = serde_saphyr::to_string(manifest).ok().filter(same);
    let quoted = || serde_saphyr::to_string_with_options(manifest, serde_saphyr::ser_options! { quote_all: true }).ok();
    let mut text = plain.or_else(|| quoted().filter(same))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Some(text)
}

#[cfg(test)]
mod tests;
