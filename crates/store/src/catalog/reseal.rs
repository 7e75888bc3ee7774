//! Seals anew what older versions of a customer's key sealed in the catalog: what stands in instances, what the customer gives to
//! shared connections, and the tokens of both.
//!
//! Nothing else changes: no revision of a configuration, no version of a credential. Users' own values are under users' keys,
//! which stay what they are.

use super::{GrantId, Lookup, Mutation};
use crate::error::StoreError;
use crate::seal::{DataKey, RecordKind, SealError, version_of};
use perseat_domain::grant::Holder;
use perseat_domain::id::{CustomerId, FlowNumber, InstanceId};
use perseat_domain::model::{ApiKey, ConfigValue, Customer, Instance, Sealed, api_key_record_id, connection_record_id};
use perseat_domain::registration::registration_record_id;
use perseat_domain::sharing::SharedValue;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How many values were sealed anew, and how many open with no version that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Sealed by the newest version now.
    pub sealed: usize,
    /// Left as they are.
    pub unopened: usize,
}

struct Resealing<'k> {
    key: &'k DataKey,
    done: Resealed,
}

impl Resealing<'_> {
    fn value(&mut self, kind: RecordKind, id: &[u8], sealed: &mut Sealed) {
        match self.key.reseal(kind, id, sealed) {
            Ok(Some(again)) => {
                *sealed = again;
                self.done.sealed += 1;
            }
            Ok(None) => {}
            Err(SealError::KeyVersion { .. } | SealError::Refused | SealError::Malformed | SealError::TooLarge) => self.done.unopened += 1,
        }
    }

    fn values(&mut self, record: Uuid, values: &mut BTreeMap<String, ConfigValue>) {
        for (name, value) in values {
            if let ConfigValue::Connection { sealed, .. } = value {
                self.value(RecordKind::Connection, &connection_record_id(record, name), sealed);
            }
        }
    }

    fn api_keys(&mut self, record: Uuid, keys: &mut BTreeMap<FlowNumber, Vec<ApiKey>>) {
        for key in keys.values_mut().flatten() {
            let id = api_key_record_id(record, &key.digest);
            self.value(RecordKind::ApiKey, &id, &mut key.sealed);
        }
    }

    fn instance(&mut self, instance: &mut Instance) {
        let id = instance.id;
        for config in std::iter::once(&mut instance.config).chain(&mut instance.deployed) {
            self.values(id.0, &mut config.values);
            self.api_keys(id.0, &mut config.api_keys);
        }
        for registration in &mut instance.registrations {
            let id = registration_record_id(id, registration.id);
            self.value(RecordKind::Connection, &id, &mut registration.client_secret);
        }
    }

    fn grants(&mut self, mutation: &mut Mutation<'_>, holder: Holder) -> Result<(), StoreError> {
        for (variable, mut stored) in mutation.grants_of(holder)? {
            let id = GrantId { holder, variable };
            let Some(token) = &mut stored.token else { continue };
            let before = self.done.sealed;
            self.value(RecordKind::Grant, &id.to_key(), token);
            if self.done.sealed > before {
                mutation.put_grant(&id, &stored)?;
            }
        }
        Ok(())
    }
}

impl Mutation<'_> {
    /// Seals what an instance holds with the newest version of its customer's key.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn reseal_instance(&mut self, id: InstanceId, key: &DataKey) -> Result<Resealed, StoreError> {
        let mut resealing = Resealing {
            key,
            done: Resealed::default(),
        };
        if let Some(mut instance) = self.get::<Instance>(id)? {
            resealing.instance(&mut instance);
            if resealing.done.sealed > 0 {
                self.put(&instance)?;
            }
            resealing.grants(self, Holder::Instance(id))?;
        }
        Ok(resealing.done)
    }

    /// The same for what a customer gives to shared connections.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn reseal_shared(&mut self, customer: CustomerId, key: &DataKey) -> Result<Resealed, StoreError> {
        let mut resealing = Resealing {
            key,
            done: Resealed::default(),
        };
        let holder = Holder::Customer(customer);
        if self.get::<Customer>(customer)?.is_none() {
            return Ok(resealing.done);
        }
        for mut value in self.shared_values_of(holder, None, usize::MAX)?.items {
            let record = connection_record_id(value.id.0, "");
            let ConfigValue::Connection { sealed, .. } = &mut value.value else {
                continue;
            };
            let before = resealing.done.sealed;
            resealing.value(RecordKind::Connection, &record, sealed);
            if resealing.done.sealed > before {
                self.put::<SharedValue>(&value)?;
            }
        }
        resealing.grants(self, holder)?;
        Ok(resealing.done)
    }

    /// Names a customer in the audit without a change.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none.
    pub fn name_customer(&mut self, id: CustomerId) -> Result<(), StoreError> {
        let customer = self.require::<Customer>(id)?;
        self.note_named(&customer)
    }
}

/// Whether something of an instance is sealed by another version than this one.
///
/// # Errors
/// If the disk fails.
pub fn is_stale(at: &impl Lookup, instance: &Instance, version: u32) -> Result<bool, StoreError> {
    let is_other = |sealed: &Sealed| version_of(sealed) != Some(version);
    let of_config = std::iter::once(&instance.config).chain(&instance.deployed).any(|config| {
        let keys = config.api_keys.values().flatten().any(|key| is_other(&key.sealed));
        keys || config
            .values
            .values()
            .any(|value| matches!(value, ConfigValue::Connection { sealed, .. } if is_other(sealed)))
    });
    let of_registrations = || instance.registrations.iter().any(|it| is_other(&it.client_secret));
    if of_config || of_registrations() {
        return Ok(true);
    }
    has_stale_grants(at, Holder::Instance(instance.id), version)
}

/// The same of what a customer gives to shared connections.
///
/// # Errors
/// If the disk fails.
pub fn is_sharing_stale(at: &impl Lookup, customer: CustomerId, version: u32) -> Result<bool, StoreError> {
    let holder = Holder::Customer(customer);
    let values = at.shared_values_of(holder, None, usize::MAX)?.items;
    let is_other = |value: &SharedValue| {
        let ConfigValue::Connection { sealed, .. } = &value.value else {
            return false;
        };
        version_of(sealed) != Some(version)
    };
    Ok(values.iter().any(is_other) || has_stale_grants(at, holder, version)?)
}

fn has_stale_grants(at: &impl Lookup, holder: Holder, version: u32) -> Result<bool, StoreError> {
    let grants = at.grants_of(holder)?;
    let mut tokens = grants.values().filter_map(|stored| stored.token.as_ref());
    Ok(tokens.any(|token| version_of(token) != Some(version)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, Change, Options, Stored, StoredGrant};
    use crate::custody::Custody;
    use crate::keyring::{self, Keyring, MasterKey, Owner};
    use perseat_domain::definition::ActionRef;
    use perseat_domain::id::SharedConnectionId;
    use perseat_domain::sharing::{SharedConnection, Sharing};
    use perseat_domain::time::Timestamp;
    use std::sync::Arc;

    const NOW: Change<'static> = Change {
        by: "local:0",
        at: Timestamp(1),
        action: "test",
    };
    const ACME: CustomerId = CustomerId(Uuid::from_u128(2));

    fn fill(tx: &mut Mutation<'_>) -> Result<(), StoreError> {
        tx.put(&Customer {
            id: ACME,
            name: "Acme".into(),
            external_id: None,
            description: String::new(),
            labels: vec![],
        })?;
        tx.put(&SharedConnection {
            id: SharedConnectionId(Uuid::from_u128(3)),
            stable_key: "crm".into(),
            key: "CRM".into(),
            description: String::new(),
            sharing: Sharing::Customer,
            connection: ActionRef {
                component: "http".into(),
                action: "oauth2".into(),
            },
            value: None,
        })?;
        Ok(())
    }

    #[test]
    fn a_token_that_was_sealed_anew_during_its_renewal_loses_no_outcome_and_a_consent_in_between_stays() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Arc::new(Catalog::open(&folder.path().join("catalog.redb"), Options::default()).unwrap());
        let path = folder.path().join("keyring");
        let keyring = Arc::new(Keyring::open(&path, MasterKey::new(&[1; 32]), &keyring::Options::default()).unwrap());
        let custody = Custody::resume(catalog.clone(), keyring.clone()).unwrap();
        custody.mutate(NOW, fill).unwrap();
        let id = GrantId {
            holder: Holder::Customer(ACME),
            variable: "crm".into(),
        };
        let key = keyring.data_key(Owner::Customer(ACME)).unwrap();
        let seal = |text: &[u8]| Some(key.seal(RecordKind::Grant, &id.to_key(), text));
        let row = |catalog: &Catalog| catalog.grants_of(id.holder).unwrap().remove("crm").unwrap();
        let read = StoredGrant {
            token: seal(b"first"),
            ..StoredGrant::default()
        };
        assert_eq!(catalog.store_grant(&id, None, &read).unwrap(), Stored::Written);

        keyring.next_version(ACME).unwrap();
        assert!(is_sharing_stale(&catalog.view().unwrap(), ACME, 2).unwrap());
        let done = custody.mutate(NOW, |tx| tx.reseal_shared(ACME, &key)).unwrap();
        assert_eq!((done.value, done.changed), (Resealed { sealed: 1, unopened: 0 }, true));
        assert!(!is_sharing_stale(&catalog.view().unwrap(), ACME, 2).unwrap());
        assert!(!custody.mutate(NOW, |tx| tx.reseal_shared(ACME, &key)).unwrap().changed, "once");

        // Whoever renews holds what was read before. The intent leaves the token as it is sealed by now.
        let mut intended = read.clone();
        intended.grant.failures = 1;
        assert_eq!(catalog.store_grant(&id, Some(&read), &intended).unwrap(), Stored::Written);
        let now = row(&catalog);
        assert_eq!((now.grant.failures, version_of(now.token.as_ref().unwrap())), (1, Some(2)));
        let renewed = StoredGrant {
            token: seal(b"second"),
            ..intended.clone()
        };
        assert_eq!(catalog.store_grant(&id, Some(&intended), &renewed).unwrap(), Stored::Written);
        assert_eq!(row(&catalog), renewed);

        let mut consented = renewed.clone();
        consented.grant.generation += 1;
        consented.token = seal(b"third");
        custody.mutate(NOW, |tx| tx.put_grant(&id, &consented)).unwrap();
        assert_eq!(catalog.store_grant(&id, Some(&renewed), &intended).unwrap(), Stored::Overtaken);
        assert_eq!(row(&catalog), consented);
    }
}
