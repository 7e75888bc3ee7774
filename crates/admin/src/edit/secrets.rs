//! Secret inputs that a definition gives its connections: sealed beside it, as API keys of flows are.

use super::Edit;
use super::keys::KeyScope;
use crate::fault::Fault;
use crate::manifest::SecretText;
use perseat_domain::definition::{ConfigVar, Definition};
use perseat_domain::id::{FlowNumber, IntegrationId};
use perseat_domain::model::{ApiKey, IntegrationVersion, Sealed, api_key_record_id};
use perseat_flow::definition::{REDACTED, Secrets, is_redacted};
use perseat_flow::oauth::is_destination;
use perseat_store::error::StoreError;
use perseat_store::keyring::{NewKey, Owner};
use perseat_store::presets::{Presets, SecretInputs, seal};
use perseat_store::seal::RecordKind;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Secret inputs that are given apart, by the variable's key and the input's name.
pub(crate) type GivenSecrets = BTreeMap<String, BTreeMap<String, SecretText>>;

/// Versions whose secrets stand where a definition says that they were taken out.
pub(super) struct Earlier<'v> {
    /// The newest of the integration.
    pub(super) newest: Option<&'v Arc<IntegrationVersion>>,
    /// The one that the definition comes from.
    pub(super) origin: Option<&'v Arc<IntegrationVersion>>,
}

impl Edit<'_, '_> {
    /// The secret inputs of a version as they are stored. Those that are as they were keep their sealed form.
    pub(super) fn connection_secrets(
        &self,
        definition: &Definition,
        mut texts: Secrets,
        integration: IntegrationId,
        earlier: &Earlier<'_>,
    ) -> Result<BTreeMap<String, Sealed>, Fault> {
        let presets =
            |version: Option<&Arc<IntegrationVersion>>| version.map(|version| Presets::of(self.keyring, version.clone())).transpose();
        let (newest, origin) = (presets(earlier.newest)?, presets(earlier.origin)?);
        let open = |presets: &Option<Presets>, key: &str| match presets {
            Some(presets) => presets.open(key),
            None => Ok(SecretInputs::new()),
        };
        let mut stored = BTreeMap::new();
        for (key, inputs) in &mut texts {
            let before = open(&newest, key)?;
            let elsewhere = open(&origin, key)?;
            for (name, text) in inputs.iter_mut().filter(|(_, text)| is_redacted(text)) {
                let known = [(&before, earlier.newest), (&elsewhere, earlier.origin)].into_iter();
                let known = known.filter_map(|(inputs, version)| Some((inputs.get(name)?, version?))).next();
                let (known, version) = known.ok_or_else(|| taken_out(definition, key, name))?;
                if let Some(address) = other_address(&version.definition, definition, key) {
                    return Err(sent_elsewhere(definition, key, name, &address));
                }
                text.clone_from(known);
            }
            let unchanged = earlier.newest.and_then(|newest| newest.connection_secrets.get(key));
            let sealed = match unchanged.filter(|_| before == *inputs) {
                Some(sealed) => sealed.clone(),
                None if self.is_rehearsal => Sealed(Vec::new()),
                None => {
                    // Made now, as for a connection; a key whose record never comes is nobody's.
                    self.keyring.create_many([NewKey::Organization])?;
                    seal(&*self.keyring.data_key(Owner::Organization)?, integration, key, inputs)
                }
            };
            stored.insert(key.clone(), sealed);
        }
        Ok(stored)
    }
}

impl Edit<'_, '_> {
    /// The organization's API keys of a flow, of which the definition says that `count` were taken out of it.
    pub(super) fn kept_keys(
        &self,
        definition: &Definition,
        flow: FlowNumber,
        count: usize,
        earlier: &Earlier<'_>,
        scope: KeyScope,
    ) -> Result<Vec<ApiKey>, Fault> {
        let name = definition.flow(flow).map_or("", |flow| &flow.name);
        let newest = earlier.newest.and_then(|version| version.organization_keys.get(&flow).cloned());
        let known = newest
            .clone()
            .unwrap_or_else(|| keys_of(earlier.origin.map(Arc::as_ref), name).to_vec());
        if known.len() != count {
            let message = format!(
                "the definition says of {count} API keys of `{name}` that they were taken out of it, and there are {}: write them there, or give \
                 them under `organizationApiKeys`",
                known.len()
            );
            return Err(Fault::field("organizationApiKeys", message));
        }
        match (newest, earlier.origin) {
            (None, Some(origin)) => known.iter().map(|key| self.copied_key(key, origin, scope)).collect(),
            _ => Ok(known),
        }
    }

    /// A key of another integration, sealed for this one.
    fn copied_key(&self, key: &ApiKey, origin: &IntegrationVersion, scope: KeyScope) -> Result<ApiKey, Fault> {
        let id = api_key_record_id(origin.integration.0, &key.digest);
        let plain = self.keyring.data_key(Owner::Organization)?;
        let plain = plain.unseal(RecordKind::ApiKey, &id, &key.sealed).map_err(StoreError::from)?;
        self.api_key(&String::from_utf8_lossy(&plain), &[], scope)
    }
}

/// The organization's API keys that a version has for the flow of this name; its number may be another in another integration.
pub(super) fn keys_of<'v>(version: Option<&'v IntegrationVersion>, flow: &str) -> &'v [ApiKey] {
    let keys = version.and_then(|version| version.organization_keys.get(&version.definition.flow_named(flow)?.number));
    keys.map_or(&[], Vec::as_slice)
}

/// The input of a connection, or the connection's kind, by which its secrets would go elsewhere than before.
fn other_address(before: &Definition, now: &Definition, stable_key: &str) -> Option<String> {
    let variable = |definition: &Definition| {
        let mut variables = definition.config_vars.iter();
        variables.find(|variable| variable.stable_key == stable_key).cloned()
    };
    let (before, now) = (variable(before)?, variable(now)?);
    if before.connection != now.connection {
        return Some("connection".to_owned());
    }
    let names = before.inputs.keys().chain(now.inputs.keys());
    let mut addresses = names.filter(|name| is_destination(name));
    addresses.find(|name| before.inputs.get(*name) != now.inputs.get(*name)).cloned()
}

fn sent_elsewhere(definition: &Definition, stable_key: &str, name: &str, address: &str) -> Fault {
    let is_it = |variable: &&ConfigVar| variable.stable_key == stable_key;
    let key = definition.config_vars.iter().find(is_it).map_or("", |variable| &variable.key);
    Fault::field(
        "definition",
        format!(
            "`{address}` of the connection `{key}` is another than before, and `{name}` would be sent there: write `{name}` anew, or give it under \
             `connectionSecrets`"
        ),
    )
}

/// Puts what is given apart in the place of what stands in the definition.
pub(super) fn give(texts: &mut Secrets, definition: &Definition, given: &GivenSecrets) -> Result<(), Fault> {
    for (key, inputs) in given {
        let wrong = |what: String| Fault::field("connectionSecrets", format!("connectionSecrets: {what}"));
        let variable = definition.config_var(key);
        let stable_key = variable.map(|variable| &variable.stable_key);
        let stable_key = stable_key.ok_or_else(|| wrong(format!("there is no configuration variable `{key}`")))?;
        for (name, text) in inputs {
            let place = texts.get_mut(stable_key).and_then(|inputs| inputs.get_mut(name));
            let place = place.ok_or_else(|| {
                wrong(format!(
                    "the definition gives no secret input `{name}` of `{key}`: write `{name}: {{type: value, value: {REDACTED}}}` there"
                ))
            })?;
            *place = Zeroizing::new(text.text().unwrap_or_default().to_owned());
            if place.is_empty() || is_redacted(place) {
                return Err(wrong(format!("the input `{name}` of `{key}` has no value")));
            }
        }
    }
    Ok(())
}

fn taken_out(definition: &Definition, stable_key: &str, name: &str) -> Fault {
    let is_it = |variable: &&ConfigVar| variable.stable_key == stable_key;
    let key = definition.config_vars.iter().find(is_it).map_or("", |variable| &variable.key);
    Fault::field(
        "definition",
        format!(
            "the input `{name}` of the connection `{key}` was taken out of this YAML: write it there, or give it under `connectionSecrets`"
        ),
    )
}
