//! Opens the connections of one record, and puts together what its variables have.

use super::binding::LoadError;
use crate::grant::{Grants, Whose};
use perseat_domain::definition::{ActionRef, ConfigVar, DataType, Definition};
use perseat_domain::grant::Obstacle;
use perseat_domain::id::RegistrationId;
use perseat_domain::model::{ConfigValue, ConnectionValue, Instance, Sealed, connection_record_id};
use perseat_domain::registration::{Chosen, Traits};
use perseat_flow::expression::{ChosenAccount, Connection, Level, Setting};
use perseat_flow::oauth::{self, chosen, fill_from_definition, is_oauth, register, take_reach, unregister};
use perseat_store::custody::Custody;
use perseat_store::presets::{Presets, registration_secret};
use perseat_store::seal::{DataKey, RecordKind};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;
use zeroize::Zeroizing;

/// A customer's app registrations, for one holder.
#[derive(Clone, Copy)]
pub(super) struct Registered<'i> {
    instance: &'i Instance,
    /// The customer's.
    key: &'i DataKey,
    traits: Traits<'i>,
}

impl<'i> Registered<'i> {
    pub(super) fn of(instance: &'i Instance, key: &'i DataKey, traits: Traits<'i>) -> Self {
        Self { instance, key, traits }
    }

    /// Puts the registration on a connection that it has, and gives its id if that is one of the customer's.
    fn put_on(
        self,
        variable: &ConfigVar,
        secrets: &BTreeMap<String, Zeroizing<String>>,
        value: &mut ConnectionValue,
    ) -> Result<Option<RegistrationId>, LoadError> {
        if variable.connection.as_ref().and_then(is_oauth).is_none() {
            return Ok(None);
        }
        match chosen(&self.instance.registrations, variable, value, self.traits) {
            Chosen::Own => Ok(None),
            Chosen::Missing => {
                unregister(value);
                Ok(None)
            }
            Chosen::One(registration) => {
                let secret = registration_secret(self.key, self.instance.id, registration);
                let secret = secret.map_err(|source| LoadError::Connection {
                    variable: variable.stable_key.clone(),
                    source,
                })?;
                register(value, variable, secrets, registration, &secret);
                Ok(Some(registration.id))
            }
        }
    }
}

/// Opens the connections of one record.
#[derive(Clone, Copy)]
pub(super) struct Vault<'k> {
    /// The instance or user configuration.
    owner: Uuid,
    key: &'k Arc<DataKey>,
    /// What the definition gives.
    presets: &'k Presets,
    registered: Registered<'k>,
    /// Tokens that take the place of supplied ones.
    grants: Option<&'k Grants>,
}

impl<'k> Vault<'k> {
    pub(super) fn new(owner: Uuid, key: &'k Arc<DataKey>, presets: &'k Presets, registered: Registered<'k>) -> Self {
        Self {
            owner,
            key,
            presets,
            registered,
            grants: None,
        }
    }

    pub(super) fn with(self, grants: &'k Grants) -> Self {
        Self {
            grants: Some(grants),
            ..self
        }
    }

    /// The grants of this record's connections.
    pub(super) fn grants(
        self,
        custody: &Custody,
        whose: Whose,
        definition: &Definition,
        values: &BTreeMap<String, ConfigValue>,
    ) -> Result<Grants, LoadError> {
        Grants::load(custody, whose, self.key.clone(), definition, values, |variable| {
            let (value, _) = self.value(variable, values.get(&variable.stable_key))?;
            Ok(value)
        })
    }

    /// What the configuration and the definition give for a connection, with its registration.
    fn value(self, variable: &ConfigVar, given: Option<&ConfigValue>) -> Result<(ConnectionValue, Option<RegistrationId>), LoadError> {
        let mut value = match given {
            Some(ConfigValue::Connection { sealed, .. }) => self.unseal(variable, sealed)?,
            _ => nothing(),
        };
        let secrets = self.presets.open(&variable.stable_key)?;
        fill_from_definition(&mut value, variable, &secrets);
        let registration = self.registered.put_on(variable, &secrets, &mut value)?;
        Ok((value, registration))
    }

    fn unseal(self, variable: &ConfigVar, sealed: &Sealed) -> Result<ConnectionValue, LoadError> {
        let id = connection_record_id(self.owner, &variable.stable_key);
        let plain = self.key.unseal(RecordKind::Connection, &id, sealed);
        let plain = plain.map_err(|source| LoadError::Connection {
            variable: variable.stable_key.clone(),
            source,
        })?;
        serde_json::from_slice(&plain).map_err(|_| LoadError::Malformed {
            variable: variable.stable_key.clone(),
        })
    }

    /// The connection with today's credential; none where nothing was given and there is no grant either.
    fn open(self, variable: &ConfigVar, given: Option<&ConfigValue>) -> Result<Option<Setting>, LoadError> {
        if variable.shared.is_some() {
            return Ok(self.borrowed(variable));
        }
        let credential = self.grants.and_then(|grants| grants.credential(&variable.stable_key));
        let supplied = match given {
            Some(ConfigValue::Connection { version, .. }) => Some(*version),
            _ => None,
        };
        let Some(version) = credential.as_ref().map(|credential| credential.version).or(supplied) else {
            return Ok(None);
        };
        let (mut value, registration) = self.value(variable, given)?;
        let mut obstacle = None;
        if let Some(credential) = credential {
            // The version may be another than today's.
            let flow = variable.connection.as_ref().and_then(oauth::is_oauth);
            let named = flow.map(|flow| oauth::registration(flow, &value.fields));
            let is_moved = named.is_none() || credential.registration != named;
            value.token = credential.token.filter(|_| !is_moved).cloned();
            obstacle = if is_moved { Some(Obstacle::Moved) } else { credential.obstacle };
        }
        let chosen = chosen_account(&mut value);
        Ok(Some(Setting::Connection(Arc::new(Connection {
            account: connection_record_id(self.owner, &variable.stable_key),
            variable: variable.stable_key.clone(),
            kind: connection_kind(variable),
            version,
            value,
            registration,
            chosen,
            obstacle,
        }))))
    }
}

impl Vault<'_> {
    /// A shared connection as it was lent; none where it is not there.
    fn borrowed(self, variable: &ConfigVar) -> Option<Setting> {
        let (id, lent) = self.grants?.lent_by(&variable.stable_key)?;
        let is_moved = variable.shared.as_ref() != Some(&id.variable);
        let mut value = if is_moved { nothing() } else { lent.value.clone() };
        let chosen = chosen_account(&mut value);
        Some(Setting::Connection(Arc::new(Connection {
            account: id.to_key(),
            variable: variable.stable_key.clone(),
            kind: lent.kind.clone(),
            version: lent.version,
            value,
            registration: None,
            chosen,
            obstacle: if is_moved { Some(Obstacle::Moved) } else { lent.obstacle },
        })))
    }
}

fn nothing() -> ConnectionValue {
    ConnectionValue {
        fields: BTreeMap::new(),
        token: None,
    }
}

/// What a definition's variables of one level have.
pub(super) fn settings(
    definition: &Definition,
    is_user_level: bool,
    values: &BTreeMap<String, ConfigValue>,
    vault: Vault<'_>,
) -> Result<Level, LoadError> {
    let mut settings = Vec::new();
    for variable in level(definition, is_user_level) {
        let setting = match values.get(&variable.stable_key) {
            // A connection has to be there; text is left of a variable that was none.
            given if variable.data_type == DataType::Connection => vault.open(variable, given)?,
            Some(ConfigValue::Plain(text)) => Some(Setting::plain(variable, text)),
            Some(ConfigValue::Connection { .. }) | None => Setting::unset(variable),
        };
        settings.extend(setting.map(|setting| (variable.key.clone(), setting)));
    }
    Ok(settings.into_iter().collect())
}

fn level(definition: &Definition, is_user_level: bool) -> impl Iterator<Item = &ConfigVar> {
    definition
        .config_vars
        .iter()
        .filter(move |variable| variable.user_level == is_user_level)
}

/// Takes the account out of what the token was kept with.
fn chosen_account(value: &mut ConnectionValue) -> Option<ChosenAccount> {
    let reach = take_reach(value.token.as_mut()?)?;
    reach.account().map(ChosenAccount::from)
}

fn connection_kind(variable: &ConfigVar) -> ActionRef {
    variable.connection.clone().unwrap_or(ActionRef {
        component: String::new(),
        action: String::new(),
    })
}
