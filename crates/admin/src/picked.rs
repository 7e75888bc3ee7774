//! Which app registration a stored connection names, and what of it stays where a form gives it in part.

use crate::command::ConfigVariable;
use crate::edit::Edit;
use crate::fault::Fault;
use crate::manifest::{ConfigVarValue, SecretText};
use crate::query::Reader;
use perseat_domain::definition::Definition;
use perseat_domain::grant::Holder;
use perseat_domain::model::{ConfigValue, ConnectionValue, Instance, UserConfig, connection_record_id};
use perseat_flow::oauth::REGISTRATION;
use perseat_store::catalog::Lookup as _;
use perseat_store::error::StoreError;
use perseat_store::keyring::{Keyring, Owner};
use perseat_store::seal::RecordKind;
use std::collections::BTreeMap;
use uuid::Uuid;
use zeroize::Zeroize as _;

/// Where values are stored, and under whose key.
#[derive(Clone, Copy)]
pub(crate) struct Kept<'v> {
    pub(crate) values: &'v BTreeMap<String, ConfigValue>,
    pub(crate) record: Uuid,
    pub(crate) owner: Owner,
}

impl Kept<'_> {
    /// The fields of a connection; none where it has no value.
    fn open(self, keyring: &Keyring, variable: &str) -> Result<Option<BTreeMap<String, String>>, StoreError> {
        let Some(ConfigValue::Connection { sealed, .. }) = self.values.get(variable) else {
            return Ok(None);
        };
        let corrupt = || StoreError::Corrupt {
            what: "a connection".to_owned(),
        };
        let record = connection_record_id(self.record, variable);
        let plain = keyring.data_key(self.owner)?.unseal(RecordKind::Connection, &record, sealed);
        let plain = plain.map_err(|_| corrupt())?;
        let value: ConnectionValue = serde_json::from_slice(&plain).map_err(|_| corrupt())?;
        Ok(Some(value.fields))
    }
}

impl Reader<'_> {
    /// The app registration that a connection of an instance or a user's configuration names, by name or id.
    ///
    /// # Errors
    /// If the disk fails, or the connection cannot be opened.
    pub fn picked(
        &self,
        keyring: &Keyring,
        holder: Holder,
        values: &BTreeMap<String, ConfigValue>,
        variable: &str,
    ) -> Result<Option<String>, Fault> {
        let owner = match holder {
            Holder::UserConfig(id) => Owner::User(self.view().require::<UserConfig>(id)?.user),
            Holder::Instance(id) => Owner::Customer(self.view().require::<Instance>(id)?.customer),
            Holder::Organization(_) | Holder::Customer(_) | Holder::User(_) => return Ok(None),
        };
        let kept = Kept {
            values,
            record: holder.uuid(),
            owner,
        };
        let Some(mut fields) = kept.open(keyring, variable)? else {
            return Ok(None);
        };
        let picked = fields.remove(REGISTRATION);
        fields.values_mut().for_each(|text| text.zeroize());
        Ok(picked.filter(|picked| !picked.trim().is_empty()))
    }
}

impl Edit<'_, '_> {
    /// Puts beside what is given for connections what stays of them: the app registration, unless another one is given, and all
    /// else where that alone is given. An empty one is the way back to none. Other inputs that are given replace what was there:
    /// what is secret goes nowhere else than where it was given for.
    pub(crate) fn keep_choices(
        &self,
        definition: &Definition,
        variables: &[ConfigVariable],
        given: &mut BTreeMap<String, ConfigVarValue>,
        kept: Kept<'_>,
    ) -> Result<(), Fault> {
        for variable in variables.iter().filter(|variable| variable.keeps_choice) {
            let Some(known) = definition.config_var(&variable.key) else {
                continue;
            };
            let Some(ConfigVarValue::Connection(connection)) = given.get_mut(&known.key) else {
                continue;
            };
            let is_choice_alone = connection.fields.keys().all(|name| name == REGISTRATION);
            for (name, text) in kept.open(self.keyring, &known.stable_key)?.into_iter().flatten() {
                if is_choice_alone || name == REGISTRATION {
                    connection.fields.entry(name).or_insert(SecretText::Text(text));
                }
            }
            let is_none = |text: &SecretText| text.text().is_none_or(|text| text.trim().is_empty());
            if connection.fields.get(REGISTRATION).is_some_and(is_none) {
                connection.fields.remove(REGISTRATION);
            }
        }
        Ok(())
    }
}
