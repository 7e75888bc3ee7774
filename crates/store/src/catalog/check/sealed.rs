//! What is sealed in the catalog: whether it opens, and whether a grant belongs to something.

use super::super::Rows;
use super::super::grants::{self, GRANTS};
use super::super::notices::{self, NOTICES};
use super::super::owed::{self, OWED};
use super::super::record::{self, RecordType};
use super::{Check, hexadecimal};
use crate::error::StoreError;
use crate::keyring::Owner;
use crate::presets::registration_secret;
use crate::seal::RecordKind;
use perseat_domain::id::{CustomerId, FlowNumber, UserId};
use perseat_domain::model::{ApiKey, ConfigValue, ConnectionValue, Instance, Sealed, UserConfig, api_key_record_id, connection_record_id};
use redb::ReadableTable;
use std::collections::BTreeMap;
use uuid::Uuid;

impl Check<'_, '_> {
    pub(super) fn values_open(&mut self, name: &str, record: Uuid, owner: Owner, values: &BTreeMap<String, ConfigValue>) {
        let connections = values.iter().filter_map(|(key, value)| match value {
            ConfigValue::Connection { sealed, .. } => Some((key, sealed)),
            ConfigValue::Plain(_) => None,
        });
        self.connections_open(name, record, owner, connections);
    }

    pub(super) fn connections_open<'s>(
        &mut self,
        name: &str,
        record: Uuid,
        owner: Owner,
        connections: impl IntoIterator<Item = (&'s String, &'s Sealed)>,
    ) {
        let Some(keys) = self.keys else { return };
        for (key, sealed) in connections {
            let opened = keys.data_key(owner).and_then(|data_key| {
                let plain = data_key.unseal(RecordKind::Connection, &connection_record_id(record, key), sealed)?;
                serde_json::from_slice::<ConnectionValue>(&plain).map_err(|_| StoreError::corrupt("its text"))
            });
            match opened {
                Ok(_) => self.report.opened += 1,
                // Whoever has no key is told of apart.
                Err(StoreError::NoKey { .. }) => {}
                Err(error) => self
                    .findings
                    .add(format_args!("catalog: the connection {key} of {name} does not open: {error}")),
            }
        }
    }

    pub(super) fn registrations_open(&mut self, name: &str, instance: &Instance) {
        let Some(keys) = self.keys else { return };
        for registration in &instance.registrations {
            let opened = keys
                .data_key(Owner::Customer(instance.customer))
                .and_then(|key| Ok(registration_secret(&key, instance.id, registration)?));
            match opened {
                Ok(_) => self.report.opened += 1,
                // Whoever has no key is told of apart.
                Err(StoreError::NoKey { .. }) => {}
                Err(error) => self.findings.add(format_args!(
                    "catalog: the secret of the app registration {} of {name} does not open: {error}",
                    registration.id
                )),
            }
        }
    }

    pub(super) fn keys_open(&mut self, name: &str, record: Uuid, owner: Owner, api_keys: &BTreeMap<FlowNumber, Vec<ApiKey>>) {
        let Some(keys) = self.keys else { return };
        for key in api_keys.values().flatten() {
            let id = api_key_record_id(record, &key.digest);
            let opened = keys
                .data_key(owner)
                .and_then(|data_key| Ok(data_key.unseal(RecordKind::ApiKey, &id, &key.sealed)?));
            match opened {
                Ok(_) => self.report.opened += 1,
                // Whoever has no key is told of apart.
                Err(StoreError::NoKey { .. }) => {}
                Err(error) => self
                    .findings
                    .add(format_args!("catalog: an API key of {name} does not open: {error}")),
            }
        }
    }

    /// Whether each grant belongs to a connection that is there, reads, and opens.
    pub(super) fn grants(&mut self) -> Result<(), StoreError> {
        for row in self.view.transaction.open_table(GRANTS)?.iter()? {
            let (key, value) = row?;
            self.report.grants += 1;
            let name = hexadecimal(key.value());
            let owner = match key.value().split_first_chunk::<16>() {
                Some((holder, _)) => self.holder(holder)?,
                None => None,
            };
            let Some(owner) = owner else {
                self.findings.add(format_args!(
                    "catalog: the grant {name} is of a record that is not there, or was removed"
                ));
                continue;
            };
            let Ok(stored) = grants::decode(value.value()) else {
                self.findings.add(format_args!("catalog: the grant {name} does not read"));
                continue;
            };
            let (Some(keys), Some(token)) = (self.keys, stored.token) else {
                continue;
            };
            let opened = keys
                .data_key(owner)
                .and_then(|data_key| Ok(data_key.unseal(RecordKind::Grant, key.value(), &token)?));
            match opened {
                Ok(_) => self.report.opened += 1,
                // Whoever has no key is told of apart.
                Err(StoreError::NoKey { .. }) => {}
                Err(error) => self
                    .findings
                    .add(format_args!("catalog: the token of the grant {name} does not open: {error}")),
            }
        }
        Ok(())
    }

    /// Whether each notice reads and belongs to a grant that is over.
    pub(super) fn notices(&mut self) -> Result<(), StoreError> {
        let table = match self.view.transaction.open_table(NOTICES) {
            // A file from before there were any.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
            table => table?,
        };
        let grants = self.view.transaction.open_table(GRANTS)?;
        for row in table.iter()? {
            let (key, value) = row?;
            let name = hexadecimal(key.value());
            if notices::decode(value.value()).is_err() {
                self.findings
                    .add(format_args!("catalog: the notice of the grant {name} does not read"));
            }
            let grant = grants.get(key.value())?.and_then(|row| grants::decode(row.value()).ok());
            if !grant.is_some_and(|stored| stored.grant.is_over()) {
                self.findings
                    .add(format_args!("catalog: there is a notice of the grant {name}, which is not over"));
            }
        }
        Ok(())
    }

    /// Whether each token that is owed reads and opens; each has a key of its own.
    pub(super) fn owed(&mut self) -> Result<(), StoreError> {
        let table = match self.view.transaction.open_table(OWED) {
            // A file from before there were any.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
            table => table?,
        };
        for row in table.iter()? {
            let (key, value) = row?;
            let name = hexadecimal(key.value());
            let (Ok(id), Ok(stored)) = (owed::OwedId::read(key.value()), owed::decode(value.value())) else {
                self.findings
                    .add(format_args!("catalog: the token {name} that is owed does not read"));
                continue;
            };
            self.report.owners.insert(id.owner().to_bytes());
            let Some(keys) = self.keys else { continue };
            let opened = keys
                .data_key(id.owner())
                .and_then(|key| Ok(key.unseal(RecordKind::Owed, id.0.as_bytes(), &stored.sealed)?));
            match opened {
                Ok(_) => self.report.opened += 1,
                // Whoever has no key is told of apart.
                Err(StoreError::NoKey { .. }) => {}
                Err(error) => self
                    .findings
                    .add(format_args!("catalog: the token {name} that is owed does not open: {error}")),
            }
        }
        Ok(())
    }

    /// Under whose key the grants of a holder are sealed.
    fn holder(&self, id: &[u8; 16]) -> Result<Option<Owner>, StoreError> {
        if let Some(row) = self.view.row(RecordType::Instance, id)? {
            return Ok(record::decode::<Instance>(&row)
                .ok()
                .map(|instance| Owner::Customer(instance.customer)));
        }
        if self.view.row(RecordType::Organization, id)?.is_some() {
            return Ok(Some(Owner::Organization));
        }
        if self.view.row(RecordType::Customer, id)?.is_some() {
            return Ok(Some(Owner::Customer(CustomerId(Uuid::from_bytes(*id)))));
        }
        if self.view.row(RecordType::User, id)?.is_some() {
            return Ok(Some(Owner::User(UserId(Uuid::from_bytes(*id)))));
        }
        let row = self.view.row(RecordType::UserConfig, id)?;
        let config = row.and_then(|row| record::decode::<UserConfig>(&row).ok());
        let config = config.filter(|config| config.removed_at.is_none());
        Ok(config.map(|config| Owner::User(config.user)))
    }
}
