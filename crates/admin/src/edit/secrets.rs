//! Secret inputs that a definition gives its connections: sealed beside it, as API keys of flows are.

use super::Edit;
use crate::fault::Fault;
use crate::manifest::SecretText;
use perseat_domain::definition::{ConfigVar, Definition};
use perseat_domain::id::IntegrationId;
use perseat_domain::model::{IntegrationVersion, Sealed};
use perseat_flow::definition::{REDACTED, Secrets, is_redacted};
use perseat_store::keyring::{NewKey, Owner};
use perseat_store::presets::{Presets, SecretInputs, seal};
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
                let known = before.get(name).or_else(|| elsewhere.get(name));
                let known = known.ok_or_else(|| taken_out(definition, key, name))?;
                text.clone_from(known);
            }
            let unchanged = earlier.newest.and_then(|newest| newest.connection_secrets.get(key));
            let sealed = match unchanged.filter(|_| before == *inputs) {
                Some(sealed) => sealed.clone(),
                None if self.is_rehearsal => Sealed(Vec::new()),
                None => {
                    // Made now, as for a connection; a key without a record is destroyed on start.
                    self.keyring.create_many([NewKey::Organization])?;
                    seal(&*self.keyring.data_key(Owner::Organization)?, integration, key, inputs)
                }
            };
            stored.insert(key.clone(), sealed);
        }
        Ok(stored)
    }
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
