//! One customer from one daemon to another: people, instances, configurations and credentials, sealed by a key of the operator's.
//!
//! Ids stay, so that trigger URLs stay, too. Integrations do not travel: the other side must have them by name, with the same
//! definition. Executions, bearer tokens and passwords stay where they are.

mod export;
mod import;

#[cfg(test)]
mod tests;

pub use export::{export, find_customer};
pub use import::{Import, Imported, import};

use crate::access::{ROLES, Side};
use crate::fault::Fault;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perseat_domain::id::{CustomerId, FlowNumber, IntegrationId};
use perseat_domain::model::{
    ApiKey, ConfigValue, Customer, Instance, IntegrationVersion, Membership, Sealed, User, UserConfig, api_key_record_id,
    connection_record_id,
};
use perseat_domain::registration::registration_record_id;
use perseat_domain::time::Timestamp;
use perseat_store::error::StoreError;
use perseat_store::seal::{DataKey, RecordKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;
use zeroize::Zeroizing;

/// The format that this version writes, and the only one it reads.
pub const FORMAT: u32 = 2;
/// What the file says it is.
const KIND: &str = "perseat-customer";

/// The file: what may be seen, and the rest sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Envelope {
    kind: String,
    format: u32,
    /// The customer's id.
    pub customer: CustomerId,
    /// When it was made.
    pub exported_at: Timestamp,
    /// The version that wrote it.
    pub perseat: String,
    sealed: String,
}

/// What is sealed. Credentials in it are sealed apart, each by itself, so that none is compressed beside other text.
#[derive(Debug, Serialize, Deserialize)]
struct Bundle {
    customer: Customer,
    users: Vec<User>,
    integrations: Vec<Referenced>,
    instances: Vec<Instance>,
    configs: Vec<UserConfig>,
}

/// An integration that instances of the bundle run.
#[derive(Debug, Serialize, Deserialize)]
struct Referenced {
    id: IntegrationId,
    name: String,
    /// Stable keys of flows by their numbers at the source.
    flows: BTreeMap<FlowNumber, String>,
    /// SHA-256 of the definitions that instances name, by version.
    versions: BTreeMap<u32, String>,
}

impl Bundle {
    /// What does not belong to one customer: whoever has the key can write any bundle.
    fn strangers(&self) -> Vec<String> {
        let own = Membership::Customer(self.customer.id);
        let mut found = Vec::new();
        for user in &self.users {
            if user.membership != own || !ROLES.contains(&(Side::Customer, user.role)) {
                found.push(format!(
                    "the user `{}` is not one of the customer's, or has a role that no customer's user has",
                    user.name
                ));
            }
        }
        for instance in &self.instances {
            if instance.customer != self.customer.id {
                found.push(format!("the instance `{}` is another customer's", instance.name));
            }
        }
        let users: BTreeSet<_> = self.users.iter().map(|user| user.id).collect();
        let instances: BTreeSet<_> = self.instances.iter().map(|instance| instance.id).collect();
        for config in &self.configs {
            if !users.contains(&config.user) || !instances.contains(&config.instance) {
                found.push(format!(
                    "the user configuration {} is of nobody, or of nothing, in the file",
                    config.id
                ));
            }
        }
        found
    }
}

impl Envelope {
    fn seal(bundle: &Bundle, key: &DataKey, at: Timestamp) -> Self {
        // Records that were read have no failing case.
        let text = Zeroizing::new(serde_json::to_vec(bundle).unwrap_or_default());
        let customer = bundle.customer.id;
        let sealed = key.seal(RecordKind::Bundle, customer.0.as_bytes(), &text);
        Self {
            kind: KIND.to_owned(),
            format: FORMAT,
            customer,
            exported_at: at,
            perseat: env!("CARGO_PKG_VERSION").to_owned(),
            sealed: STANDARD.encode(&sealed.0),
        }
    }

    fn open(&self, key: &DataKey) -> Result<Bundle, Fault> {
        if self.kind != KIND {
            return Err(Fault::wrong("this file is no exported customer"));
        }
        if self.format != FORMAT {
            return Err(Fault::wrong(format!(
                "the file has format {}; this version reads {FORMAT}",
                self.format
            )));
        }
        let closed = || Fault::wrong("the file does not open: the key is another one, or the file was changed");
        let sealed = Sealed(STANDARD.decode(&self.sealed).map_err(|_| closed())?);
        let text = key
            .unseal(RecordKind::Bundle, self.customer.0.as_bytes(), &sealed)
            .map_err(|_| closed())?;
        serde_json::from_slice(&text).map_err(|_| Fault::wrong("the file was written by another version: its records do not read"))
    }
}

/// What identifies a definition: its text and its variables' stable keys, which may be those of an earlier version.
fn definition_digest(version: &IntegrationVersion) -> String {
    let mut text = version.yaml.clone();
    for variable in &version.definition.config_vars {
        text.extend(["\0", &variable.stable_key]);
    }
    digest(&SHA256, text.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Seals connections anew: opened by one key, sealed by another.
fn reseal_values(values: &mut BTreeMap<String, ConfigValue>, record: Uuid, from: &DataKey, to: &DataKey) -> Result<u64, StoreError> {
    let mut count = 0;
    for (name, value) in values {
        if let ConfigValue::Connection { sealed, .. } = value {
            let id = connection_record_id(record, name);
            let plain = from.unseal(RecordKind::Connection, &id, sealed)?;
            *sealed = to.seal(RecordKind::Connection, &id, &plain);
            count += 1;
        }
    }
    Ok(count)
}

/// The same for API keys.
fn reseal_keys(keys: &mut BTreeMap<FlowNumber, Vec<ApiKey>>, record: Uuid, from: &DataKey, to: &DataKey) -> Result<(), StoreError> {
    for key in keys.values_mut().flatten() {
        let id = api_key_record_id(record, &key.digest);
        let plain = from.unseal(RecordKind::ApiKey, &id, &key.sealed)?;
        key.sealed = to.seal(RecordKind::ApiKey, &id, &plain);
    }
    Ok(())
}

/// Both, of everything that an instance holds; gives the number of connections.
fn reseal_instance(instance: &mut Instance, from: &DataKey, to: &DataKey) -> Result<u64, StoreError> {
    let record = instance.id.0;
    let mut count = 0;
    for config in std::iter::once(&mut instance.config).chain(&mut instance.deployed) {
        count += reseal_values(&mut config.values, record, from, to)?;
        reseal_keys(&mut config.api_keys, record, from, to)?;
    }
    for registration in &mut instance.registrations {
        let id = registration_record_id(instance.id, registration.id);
        let plain = from.unseal(RecordKind::Connection, &id, &registration.client_secret)?;
        registration.client_secret = to.seal(RecordKind::Connection, &id, &plain);
    }
    Ok(count)
}
