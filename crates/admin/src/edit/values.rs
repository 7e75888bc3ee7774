//! Values of configuration variables: checked against the definition, connections sealed.

use super::Edit;
use crate::fault::Fault;
use crate::manifest::{ConfigVarValue, ConnectionFields, SecretText};
use perseat_domain::definition::{ConfigVar, DataType, Definition, Input};
use perseat_domain::model::{ConfigValue, ConnectionValue, Membership, Sealed, connection_record_id};
use perseat_domain::registration::{AppRegistration, Chosen, Traits};
use perseat_flow::http::{identity_in, is_mutual_tls};
use perseat_flow::oauth::{REGISTRATION, is_oauth};
use perseat_flow::value;
use perseat_store::keyring::{NewKey, Owner};
use perseat_store::seal::RecordKind;
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Whose values they are: which page level, which record, which key.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'i> {
    pub(crate) is_user_level: bool,
    pub(crate) record: Uuid,
    pub(crate) key: NewKey,
    /// The app registrations that a connection may choose; `None` where they may come later.
    pub(crate) registrations: Option<&'i [AppRegistration]>,
}

impl Edit<'_, '_> {
    /// The given values by stable key. A value that is already stored keeps its sealed form.
    pub(crate) fn values(
        &mut self,
        definition: &Definition,
        given: &BTreeMap<String, ConfigVarValue>,
        stored: &BTreeMap<String, ConfigValue>,
        scope: Scope<'_>,
    ) -> Result<BTreeMap<String, ConfigValue>, Fault> {
        let mut values = BTreeMap::new();
        for (key, value) in given {
            let variable = variable(definition, key, scope.is_user_level)?;
            if self.is_withheld(definition, &variable.stable_key) {
                return Err(Fault::field("configVariables", format!("`{key}` is set by the organization alone")));
            }
            if let Some(shared) = &variable.shared {
                return Err(Fault::field(
                    "configVariables",
                    format!("`{key}` is the shared connection `{shared}`: it is connected once for all, and takes no value here"),
                ));
            }
            let stored = stored.get(&variable.stable_key);
            let value = match value {
                ConfigVarValue::Text(text) if variable.data_type != DataType::Connection => {
                    plain(variable, text, stored, self.definitions.limits.value)?
                }
                ConfigVarValue::Connection(fields) if variable.data_type == DataType::Connection => {
                    check_choice(variable, fields, scope.registrations)?;
                    check_certificate(variable, fields)?;
                    self.connection(&variable.stable_key, fields, stored, scope)?
                }
                ConfigVarValue::Text(_) => {
                    return Err(Fault::field(
                        "configVariables",
                        format!("`{key}` is a connection: give `fields` or `token`"),
                    ));
                }
                ConfigVarValue::Connection(_) => {
                    return Err(Fault::field("configVariables", format!("`{key}` is no connection: give text")));
                }
            };
            values.insert(variable.stable_key.clone(), value);
        }
        Ok(values)
    }

    /// All values of a configuration as they are to be stored, unless they take more than they may and more than those before.
    pub(crate) fn fitting(&self, values: BTreeMap<String, ConfigValue>, before: usize) -> Result<BTreeMap<String, ConfigValue>, Fault> {
        let (bytes, most) = (stored_bytes(&values), self.definitions.limits.values);
        if bytes > most.max(before) {
            let message = format!("all values together take {bytes} bytes, more than `definition.max-values` ({most})");
            return Err(Fault::coded("value_invalid", "configVariables", message));
        }
        Ok(values)
    }

    /// Whether a variable is the organization's alone, and whoever acts is not of it: they set and take away no value of it.
    pub(crate) fn is_withheld(&self, definition: &Definition, stable_key: &str) -> bool {
        let mut variables = definition.config_vars.iter();
        self.actor.customer().is_some() && variables.any(|variable| variable.stable_key == stable_key && variable.org_only)
    }

    /// What is given for a connection, sealed under the scope's record and this name.
    pub(super) fn connection(
        &mut self,
        name: &str,
        given: &ConnectionFields,
        stored: Option<&ConfigValue>,
        scope: Scope<'_>,
    ) -> Result<ConfigValue, Fault> {
        let text = |secret: &SecretText| secret.text().unwrap_or_default().to_owned();
        let value = ConnectionValue {
            fields: given.fields.iter().map(|(name, secret)| (name.clone(), text(secret))).collect(),
            token: (!given.token.is_empty()).then(|| {
                Value::Object(
                    given
                        .token
                        .iter()
                        .map(|(name, secret)| (name.clone(), text(secret).into()))
                        .collect(),
                )
            }),
        };
        let id = connection_record_id(scope.record, name);
        let owner: Owner = scope.key.owner();
        let (mut version, mut unchanged) = (1, None);
        if let Some(ConfigValue::Connection {
            sealed,
            version: stored_version,
        }) = stored
        {
            version = stored_version + 1;
            let key = self.keyring.data_key(owner)?;
            let plain = key.unseal(RecordKind::Connection, &id, sealed).ok();
            if plain.is_some_and(|plain| serde_json::from_slice::<ConnectionValue>(&plain).is_ok_and(|stored| stored == value)) {
                unchanged = Some(ConfigValue::Connection {
                    sealed: sealed.clone(),
                    version: *stored_version,
                });
            }
        }
        if let Some(unchanged) = unchanged {
            return Ok(unchanged);
        }
        let parts = given.fields.values().chain(given.token.values());
        check_length(
            name,
            parts.filter_map(SecretText::text).map(str::len).sum(),
            self.definitions.limits.value,
        )?;
        let plain = Zeroizing::new(serde_json::to_vec(&value).unwrap_or_default());
        let sealed = if self.is_rehearsal {
            // As long as it would be, nearly.
            Sealed(vec![0; plain.len()])
        } else {
            // Made now, not with the mutation: what is sealed needs it. A key whose record never comes is nobody's: `perseat verify` counts it.
            self.keyring.create_many(wrapping(scope.key).into_iter().chain([scope.key]))?;
            self.keyring.data_key(owner)?.seal(RecordKind::Connection, &id, &plain)
        };
        Ok(ConfigValue::Connection { sealed, version })
    }
}

/// Whether the app registration is there that a connection chooses.
pub(crate) fn check_choice(variable: &ConfigVar, given: &ConnectionFields, registrations: Option<&[AppRegistration]>) -> Result<(), Fault> {
    let picked = given.fields.get(REGISTRATION).and_then(SecretText::text);
    let (Some(registrations), Some(picked)) = (registrations, picked) else {
        return Ok(());
    };
    let is_oauth = variable.connection.as_ref().and_then(is_oauth).is_some();
    if is_oauth && Chosen::of(registrations, &variable.stable_key, Some(picked), Traits::default()) == Chosen::Missing {
        let message = format!("there is no app registration `{picked}` for `{}`", variable.key);
        return Err(Fault::field("configVariables", message));
    }
    Ok(())
}

/// Whether a client certificate that is given can be used, with what the definition gives for it.
fn check_certificate(variable: &ConfigVar, given: &ConnectionFields) -> Result<(), Fault> {
    if !variable.connection.as_ref().is_some_and(is_mutual_tls) || given.fields.is_empty() {
        return Ok(());
    }
    let literal = |name: &str| match variable.inputs.get(name) {
        Some(Input::Value(text)) => text.as_deref(),
        _ => None,
    };
    // A secret that the definition gives is not at hand here; the step finds out.
    if !given.fields.contains_key("privateKey") && literal("privateKey").is_some() {
        return Ok(());
    }
    let field = |name: &str| given.fields.get(name).and_then(SecretText::text).or_else(|| literal(name));
    check_pair(&variable.key, "configVariables", field)
}

/// Whether these fields of a connection are a client certificate with its key.
pub(super) fn check_pair<'t>(key: &str, place: &str, field: impl Fn(&str) -> Option<&'t str>) -> Result<(), Fault> {
    match identity_in(field) {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault::coded("certificate_invalid", place, format!("`{key}`: {error}"))),
    }
}

/// The key that wraps this one, which may be as new.
pub(crate) fn wrapping(key: NewKey) -> Option<NewKey> {
    match key {
        NewKey::User(_, Membership::Customer(customer)) => Some(NewKey::Customer(customer)),
        NewKey::User(_, Membership::Organization) => Some(NewKey::Organization),
        NewKey::Organization | NewKey::Customer(_) => None,
    }
}

fn variable<'d>(definition: &'d Definition, key: &str, is_user_level: bool) -> Result<&'d ConfigVar, Fault> {
    let level = |is_user_level: bool| if is_user_level { "user-level" } else { "instance-level" };
    let of_level = || {
        definition
            .config_vars
            .iter()
            .filter(|variable| variable.user_level == is_user_level)
    };
    if let Some(variable) = of_level().find(|variable| variable.key == key) {
        return Ok(variable);
    }
    if definition.config_vars.iter().any(|variable| variable.key == key) {
        return Err(Fault::field(
            "configVariables",
            format!("`{key}` is {}; it cannot be set here", level(!is_user_level)),
        ));
    }
    let near = of_level()
        .map(|variable| variable.key.as_str())
        .min_by_key(|other| strsim::levenshtein(other, key));
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Err(Fault::field(
        "configVariables",
        format!("there is no {} variable `{key}`{hint}", level(is_user_level)),
    ))
}

/// What these values take where they are stored.
pub(super) fn stored_bytes(values: &BTreeMap<String, ConfigValue>) -> usize {
    let bytes = |value: &ConfigValue| match value {
        ConfigValue::Plain(text) => text.len(),
        ConfigValue::Connection { sealed, .. } => sealed.0.len(),
    };
    values.values().map(bytes).sum()
}

fn check_length(key: &str, bytes: usize, most: usize) -> Result<(), Fault> {
    if bytes > most {
        let message = format!("`{key}` has {bytes} bytes, more than `definition.max-value` ({most})");
        return Err(Fault::coded("value_invalid", "configVariables", message));
    }
    Ok(())
}

fn plain(variable: &ConfigVar, text: &SecretText, stored: Option<&ConfigValue>, most: usize) -> Result<ConfigValue, Fault> {
    let text = text.text().unwrap_or_default();
    // What is stored may stay.
    if !matches!(stored, Some(ConfigValue::Plain(stored)) if stored == text) {
        check_length(&variable.key, text.len(), most)?;
    }
    match value::check(variable, text) {
        Ok(()) => Ok(ConfigValue::Plain(text.to_owned())),
        Err(expected) => {
            let message = format!("`{}` must be {expected}", variable.key);
            Err(Fault::coded("value_invalid", "configVariables", message))
        }
    }
}

/// Whether a value has yet to be given for a variable that needs one: none is stored and it has no default, or what is stored is of
/// another kind. Versions from before may have an empty default, which is none.
pub(crate) fn is_lacking(variable: &ConfigVar, values: &BTreeMap<String, ConfigValue>) -> bool {
    match values.get(&variable.stable_key) {
        Some(stored) => !value::fits(variable, stored),
        None => variable.default_value.as_deref().is_none_or(str::is_empty),
    }
}

/// The required variables of a level that are lacking, by display name.
pub(crate) fn missing<'d>(definition: &'d Definition, is_user_level: bool, values: &BTreeMap<String, ConfigValue>) -> Vec<&'d str> {
    let required = definition
        .config_vars
        .iter()
        .filter(|variable| variable.user_level == is_user_level && variable.required);
    required
        .filter(|variable| is_lacking(variable, values))
        .map(|variable| variable.key.as_str())
        .collect()
}
