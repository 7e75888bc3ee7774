//! The way in: everything in one change, or nothing and every reason.

use super::{Bundle, Envelope, Referenced, definition_digest, reseal_instance, reseal_values};
use crate::edit::Unshared;
use crate::edit::{Changed, Desk, Edit};
use crate::fault::{Fault, FieldError};
use perseat_domain::id::{FlowNumber, IntegrationId};
use perseat_domain::model::{Customer, Instance, InstanceConfig, InstanceState, Integration, IntegrationVersion, User, UserConfig};
use perseat_store::catalog::Lookup;
use perseat_store::keyring::{NewKey, Owner};
use perseat_store::seal::DataKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How to import. Instances arrive switched off: as long as they are on at the daemon that they come from, two daemons would take the
/// same events and spend the same refresh tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// Whether instances that are switched on arrive so.
    pub switched_on: bool,
}

/// What came in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The customer's name.
    pub customer: String,
    /// Users.
    pub users: u64,
    /// Instances.
    pub instances: u64,
    /// Those of them that were switched on and are not any more.
    pub switched_off: u64,
    /// User configurations.
    pub configs: u64,
    /// Connections, sealed anew.
    pub connections: u64,
    /// What is not wrong and yet worth knowing.
    pub warnings: Vec<String>,
}

/// Imports what an envelope holds.
///
/// # Errors
/// If it does not open, or something stands in the way: every reason.
pub fn import(desk: &mut Desk<'_>, envelope: &Envelope, key: &DataKey, options: Import) -> Result<Changed<Imported>, Fault> {
    let bundle = envelope.open(key)?;
    desk.change("importCustomer", move |edit| {
        let mut conflicts = bundle.strangers();
        let mut unshared = Vec::new();
        let places = places(edit, &bundle, &mut conflicts, &mut unshared)?;
        taken(edit, &bundle, &mut conflicts)?;
        let conflicts = conflicts.into_iter().map(|message| conflict(message, None));
        let unshared = unshared.into_iter().map(|one| conflict(one.message, Some(one.code)));
        let wrong: Vec<FieldError> = conflicts.chain(unshared).collect();
        if !wrong.is_empty() {
            return Err(Fault::Wrong(wrong));
        }
        put(edit, bundle, &places, key, options)
    })
}

fn conflict(message: String, code: Option<&'static str>) -> FieldError {
    FieldError {
        field: String::new(),
        message,
        code,
    }
}

/// An integration here that stands for one there.
struct Place {
    id: IntegrationId,
    /// Versions here by versions there.
    versions: BTreeMap<u32, u32>,
    /// Flow numbers here by those there.
    flows: BTreeMap<FlowNumber, FlowNumber>,
}

type Places = BTreeMap<IntegrationId, Place>;

/// Finds every integration by its name and every version by its definition.
fn places(edit: &Edit<'_, '_>, bundle: &Bundle, conflicts: &mut Vec<String>, unshared: &mut Vec<Unshared>) -> Result<Places, Fault> {
    let mut places = Places::new();
    for referenced in &bundle.integrations {
        let name = &referenced.name;
        let Some(integration) = edit.mutation.integration_by_name(name)? else {
            conflicts.push(format!("there is no integration `{name}` here; import it first"));
            continue;
        };
        let mut place = Place {
            id: integration.id,
            versions: BTreeMap::new(),
            flows: BTreeMap::new(),
        };
        for (number, digest) in &referenced.versions {
            match same_version(edit, &integration, *number, digest)? {
                Some(here) => {
                    if let Some(version) = edit.mutation.integration_version(integration.id, here)? {
                        unshared.extend(edit.unshared(&version.definition)?);
                    }
                    place.versions.insert(*number, here);
                }
                None => conflicts.push(format!(
                    "no version of `{name}` here has the definition of version {number}; import that first"
                )),
            }
        }
        for (number, key) in &referenced.flows {
            if let Some(here) = integration.flow_numbers.get(key) {
                place.flows.insert(*number, *here);
            }
        }
        places.insert(referenced.id, place);
    }
    Ok(places)
}

/// The version with this definition: the one of the same number first, then the newest.
fn same_version(edit: &Edit<'_, '_>, integration: &Integration, number: u32, digest: &str) -> Result<Option<u32>, Fault> {
    for candidate in std::iter::once(number).chain((1..=integration.latest_version).rev()) {
        let version = edit.mutation.integration_version(integration.id, candidate)?;
        let is_same = |version: &IntegrationVersion| definition_digest(version) == digest && version.release.is_some();
        if version.is_some_and(|version| is_same(&version)) {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

/// What is here already.
fn taken(edit: &Edit<'_, '_>, bundle: &Bundle, conflicts: &mut Vec<String>) -> Result<(), Fault> {
    let (catalog, customer) = (&*edit.mutation, &bundle.customer);
    if catalog.get::<Customer>(customer.id)?.is_some() {
        conflicts.push(format!("the customer `{}` is here already, with the same id", customer.name));
    } else {
        if catalog.customer_by_name(&customer.name)?.is_some() {
            conflicts.push(format!("another customer is called `{}`", customer.name));
        }
        if let Some(external_id) = &customer.external_id
            && catalog.customer_by_external_id(external_id)?.is_some()
        {
            conflicts.push(format!("another customer has the external id `{external_id}`"));
        }
    }
    for user in &bundle.users {
        if catalog.get::<User>(user.id)?.is_some() {
            conflicts.push(format!("the id of the user `{}` is taken", user.name));
        }
    }
    for instance in &bundle.instances {
        if catalog.get::<Instance>(instance.id)?.is_some() {
            conflicts.push(format!("the id of the instance `{}` is taken", instance.name));
        }
    }
    let taken_configs = bundle.configs.iter().map(|config| catalog.get::<UserConfig>(config.id));
    let taken_configs = taken_configs.filter(|found| !matches!(found, Ok(None))).count();
    if taken_configs > 0 {
        conflicts.push(format!("the ids of {taken_configs} user configurations are taken"));
    }
    let is_ulc_on = catalog.organization()?.is_some_and(|organization| organization.ulc_enabled);
    if !bundle.configs.is_empty() && !is_ulc_on {
        conflicts.push("user level configuration is switched off here, and the customer's users have configurations".to_owned());
    }
    Ok(())
}

fn put(edit: &mut Edit<'_, '_>, bundle: Bundle, places: &Places, key: &DataKey, options: Import) -> Result<Imported, Fault> {
    let customer = bundle.customer;
    let mut imported = Imported {
        customer: customer.name.clone(),
        users: bundle.users.len() as u64,
        instances: bundle.instances.len() as u64,
        configs: bundle.configs.len() as u64,
        ..Imported::default()
    };
    // Made now, not with the change: what is sealed needs them. A key whose record never comes is nobody's: `perseat verify` counts it.
    let of_users = bundle.users.iter().map(|user| NewKey::User(user.id, user.membership));
    edit.make_keys(std::iter::once(NewKey::Customer(customer.id)).chain(of_users))?;
    edit.put_customer(&customer)?;
    for user in &bundle.users {
        edit.put_user(user)?;
    }
    let of_customer = edit.data_key(Owner::Customer(customer.id))?;
    let mut instances = BTreeMap::new();
    for mut instance in bundle.instances {
        let referenced = bundle.integrations.iter().find(|referenced| referenced.id == instance.integration);
        let place = places.get(&instance.integration);
        let (Some(place), Some(referenced)) = (place, referenced) else {
            return Err(Fault::wrong(format!(
                "`{}` names an integration that is not in the file",
                instance.name
            )));
        };
        imported.connections += reseal_instance(&mut instance, key, &of_customer)?;
        instance.integration = place.id;
        for config in std::iter::once(&mut instance.config).chain(&mut instance.deployed) {
            move_config(config, place);
        }
        if !options.switched_on && instance.state == InstanceState::Enabled {
            instance.state = InstanceState::Disabled;
            imported.switched_off += 1;
        }
        imported.warnings.extend(moved_flows(&instance, place, referenced));
        edit.adopt_instance(&instance)?;
        instances.insert(instance.id, instance);
    }
    for mut config in bundle.configs {
        let of_user = edit.data_key(Owner::User(config.user))?;
        imported.connections += reseal_values(&mut config.values, config.id.0, key, &of_user)?;
        let instance = instances.get(&config.instance);
        let instance = instance.ok_or_else(|| Fault::wrong("a user configuration names an instance that is not in the file"))?;
        edit.adopt_config(&config, instance)?;
    }
    Ok(imported)
}

/// Versions and flows by their numbers here.
fn move_config(config: &mut InstanceConfig, place: &Place) {
    if let Some(version) = place.versions.get(&config.version) {
        config.version = *version;
    }
    let here = |number: &FlowNumber| place.flows.get(number).copied();
    config.flows = config.flows.iter().filter_map(here).collect();
    let keys = std::mem::take(&mut config.api_keys);
    config.api_keys = keys.into_iter().filter_map(|(number, keys)| Some((here(&number)?, keys))).collect();
}

/// The flows whose URLs change, because the integration numbers them otherwise here.
fn moved_flows(instance: &Instance, place: &Place, referenced: &Referenced) -> Option<String> {
    let moved: Vec<&str> = referenced
        .flows
        .iter()
        .filter(|(number, _)| place.flows.get(number) != Some(number))
        .map(|(_, key)| key.as_str())
        .collect();
    (!moved.is_empty()).then(|| {
        format!(
            "`{}`: the URLs of these flows are other ones here: {}",
            instance.name,
            moved.join(", ")
        )
    })
}
