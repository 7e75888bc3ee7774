//! The way out.

use super::{Bundle, Envelope, Referenced, definition_digest, reseal_instance, reseal_values};
use crate::edit::every;
use crate::fault::Fault;
use perseat_domain::grant::Holder;
use perseat_domain::id::IntegrationId;
use perseat_domain::model::{ConfigValue, ConnectionValue, Customer, Instance, Integration, Membership, connection_record_id};
use perseat_store::catalog::{Change, Lookup, StoredGrant, View};
use perseat_store::custody::Custody;
use perseat_store::error::StoreError;
use perseat_store::keyring::Owner;
use perseat_store::seal::{DataKey, RecordKind};
use std::collections::BTreeMap;
use uuid::Uuid;
use zeroize::{Zeroize as _, Zeroizing};

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
        let grants = view.grants_of(Holder::Instance(instance.id))?;
        for config in std::iter::once(&mut instance.config).chain(&mut instance.deployed) {
            leave_out_used_up(&mut config.values, &grants, instance.id.0, &of_customer)?;
        }
        reseal_instance(instance, &of_customer, key)?;
        for mut config in every(|after| view.user_configs_of_instance(instance.id, after, PAGE))? {
            // A member of the organization tests with theirs; a removed one holds nothing.
            if config.removed_at.is_some() || !users.iter().any(|user| user.id == config.user) {
                continue;
            }
            let of_user = keyring.data_key(Owner::User(config.user))?;
            let grants = view.grants_of(Holder::UserConfig(config.id))?;
            leave_out_used_up(&mut config.values, &grants, config.id.0, &of_user)?;
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

/// Leaves out the supplied tokens that are not as they were supplied any more: whoever used one a second time would undo a disconnect,
/// or spend a refresh token that was spent.
fn leave_out_used_up(
    values: &mut BTreeMap<String, ConfigValue>,
    grants: &BTreeMap<String, StoredGrant>,
    record: Uuid,
    key: &DataKey,
) -> Result<(), StoreError> {
    for (variable, _) in grants.iter().filter(|(_, stored)| !stored.grant.is_as_supplied()) {
        let Some(ConfigValue::Connection { sealed, .. }) = values.get_mut(variable) else {
            continue;
        };
        let id = connection_record_id(record, variable);
        let plain = key.unseal(RecordKind::Connection, &id, sealed)?;
        let corrupt = |_| StoreError::Corrupt {
            what: "a connection".to_owned(),
        };
        let mut value: ConnectionValue = serde_json::from_slice(&plain).map_err(corrupt)?;
        if value.token.take().is_some() {
            let plain = Zeroizing::new(serde_json::to_vec(&value).map_err(corrupt)?);
            *sealed = key.seal(RecordKind::Connection, &id, &plain);
        }
        value.fields.values_mut().for_each(|text| text.zeroize());
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::grant::{Renewal, Renewed, Rules};
    use perseat_domain::time::Timestamp;
    use serde_json::json;

    #[test]
    fn a_supplied_token_leaves_only_as_it_was_supplied() {
        let (key, record) = (DataKey::new(&[1; 32], 1), Uuid::from_u128(1));
        let names = ["unused", "as-supplied", "spent", "disconnected"];
        let seal = |name: &str| {
            let value = ConnectionValue {
                fields: BTreeMap::from([("clientId".to_owned(), "it".to_owned())]),
                token: Some(json!({ "refresh_token": name })),
            };
            let plain = serde_json::to_vec(&value).unwrap();
            let sealed = key.seal(RecordKind::Connection, &connection_record_id(record, name), &plain);
            (name.to_owned(), ConfigValue::Connection { sealed, version: 1 })
        };
        let mut values: BTreeMap<String, ConfigValue> = names.into_iter().map(seal).collect();
        let renewed = Renewed {
            lifetime: None,
            renewal: Renewal::Refresh { rotates: None },
        };
        let mut row = StoredGrant::default();
        row.grant.supplied(renewed);
        let (mut spent, mut disconnected) = (row.clone(), row.clone());
        spent.grant.consented(renewed, Timestamp(1), &Rules::default());
        disconnected.grant.disconnected(Timestamp(1), &Rules::default());
        let rows = [("as-supplied", row), ("spent", spent), ("disconnected", disconnected)];
        let rows = rows.map(|(name, row)| (name.to_owned(), row)).into();
        leave_out_used_up(&mut values, &rows, record, &key).unwrap();
        let has_token = |name: &&str| {
            let ConfigValue::Connection { sealed, .. } = &values[*name] else {
                panic!("{name} is no connection");
            };
            let plain = key.unseal(RecordKind::Connection, &connection_record_id(record, name), sealed);
            let value: ConnectionValue = serde_json::from_slice(&plain.unwrap()).unwrap();
            assert_eq!(value.fields["clientId"], "it");
            value.token.is_some()
        };
        assert_eq!(names.into_iter().filter(has_token).collect::<Vec<_>>(), ["unused", "as-supplied"]);
    }
}
