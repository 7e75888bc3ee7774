//! The way out.

use super::{Bundle, Envelope, Referenced, definition_digest, reseal_instance, reseal_values};
use crate::edit::every;
use crate::fault::Fault;
use perseat_domain::id::IntegrationId;
use perseat_domain::model::{Customer, Instance, Integration, Membership};
use perseat_store::catalog::{Change, Lookup, View};
use perseat_store::custody::Custody;
use perseat_store::keyring::Owner;
use perseat_store::seal::DataKey;
use std::collections::BTreeMap;

/// Records read at once.
const PAGE: usize = 1_000;

/// Exports the customer with this id, external id or name, sealed by `key`. The audit says so.
///
/// # Errors
/// If there is none, or something of theirs does not read.
pub fn export(custody: &Custody, customer: &str, key: &DataKey, change: Change<'_>) -> Result<Envelope, Fault> {
    let view = custody.catalog().view()?;
    let bundle = collect(&view, custody, find_customer(&view, customer)?, key)?;
    drop(view);
    // Before the file is given out: whoever has it leaves a trace.
    custody.catalog().note(change)?;
    Ok(Envelope::seal(&bundle, key, change.at))
}

/// The customer with this id, external id or name.
///
/// # Errors
/// If there is none, or the disk fails.
pub fn find_customer(view: &View<'_>, customer: &str) -> Result<Customer, Fault> {
    if let Ok(id) = customer.parse()
        && let Some(found) = view.get::<Customer>(id)?
    {
        return Ok(found);
    }
    let found = match view.customer_by_external_id(customer)? {
        Some(found) => Some(found),
        None => view.customer_by_name(customer)?,
    };
    found.ok_or_else(|| Fault::wrong(format!("there is no customer `{customer}`")))
}

fn collect(view: &View<'_>, custody: &Custody, customer: Customer, key: &DataKey) -> Result<Bundle, Fault> {
    let keyring = custody.keyring();
    let of_customer = keyring.data_key(Owner::Customer(customer.id))?;
    let users = every(|after| view.users_of(Membership::Customer(customer.id), after, PAGE))?;
    let mut instances = every(|after| view.instances_of_customer(customer.id, after, PAGE))?;
    let mut integrations: BTreeMap<IntegrationId, Referenced> = BTreeMap::new();
    let mut configs = Vec::new();
    for instance in &mut instances {
        refer(view, instance, &mut integrations)?;
        reseal_instance(instance, &of_customer, key)?;
        for mut config in every(|after| view.user_configs_of_instance(instance.id, after, PAGE))? {
            // A member of the organization tests with theirs; a removed one holds nothing.
            if config.removed_at.is_some() || !users.iter().any(|user| user.id == config.user) {
                continue;
            }
            let of_user = keyring.data_key(Owner::User(config.user))?;
            reseal_values(&mut config.values, config.id.0, &of_user, key)?;
            configs.push(config);
        }
    }
    Ok(Bundle {
        customer,
        users,
        integrations: integrations.into_values().collect(),
        instances,
        configs,
    })
}

fn refer(view: &View<'_>, instance: &Instance, integrations: &mut BTreeMap<IntegrationId, Referenced>) -> Result<(), Fault> {
    let integration = view.require::<Integration>(instance.integration)?;
    let referenced = integrations.entry(integration.id).or_insert_with(|| Referenced {
        id: integration.id,
        name: integration.name,
        flows: integration.flow_numbers.into_iter().map(|(key, number)| (number, key)).collect(),
        versions: BTreeMap::new(),
    });
    for config in std::iter::once(&instance.config).chain(&instance.deployed) {
        let version = view.integration_version(instance.integration, config.version)?;
        let version = version.ok_or_else(|| Fault::wrong(format!("`{}` runs a version that is not there", instance.name)))?;
        referenced.versions.insert(config.version, definition_digest(&version));
    }
    Ok(())
}
