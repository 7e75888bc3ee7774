//! Integrations and their versions.

use super::keys::KeyScope;
use super::secrets::{Earlier, GivenSecrets, give, keys_of};
use super::values::{Scope, stored_bytes};
use super::{Definitions, Edit};
use crate::fault::Fault;
use crate::manifest::{ConfigVarValue, SecretText};
use perseat_domain::definition::Definition;
use perseat_domain::id::{FlowNumber, IntegrationId, system_instance};
use perseat_domain::model::{Integration, IntegrationVersion, Release};
use perseat_flow::definition::{Diagnostic, Parsed, Previous, is_redacted, parse, redact, take_secrets};
use perseat_store::catalog::Lookup;
use perseat_store::keyring::NewKey;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A version of an integration, as it is given. Holds secrets.
pub struct VersionDraft<'v> {
    /// The integration that gets the version; `None`: the one of the YAML's name, made where there is none.
    pub integration: Option<IntegrationId>,
    /// The definition.
    pub yaml: &'v str,
    /// Where the YAML stands, for the messages.
    pub place: &'v str,
    /// API keys by flow name, in place of those in the YAML.
    pub organization_keys: BTreeMap<String, Vec<String>>,
    /// Secret inputs of connections, in place of those in the YAML.
    pub(crate) connection_secrets: GivenSecrets,
    /// The stored version that the YAML comes from, if it does.
    pub(crate) origin: Option<Arc<IntegrationVersion>>,
    /// Whether the version is released at once.
    pub release: Option<Release>,
}

impl fmt::Debug for VersionDraft<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionDraft")
            .field("integration", &self.integration)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// What saving a version came to.
#[derive(Debug)]
pub struct Saved {
    /// The integration as it is now.
    pub integration: Integration,
    /// Whether it is new.
    pub is_new: bool,
    /// Whether anything changed.
    pub changed: bool,
    /// What is not wrong and yet worth knowing.
    pub warnings: Vec<String>,
}

impl Edit<'_, '_> {
    /// Saves a version: in place of the newest while that is worked on, else as the next one.
    pub(crate) fn save_version(&mut self, draft: VersionDraft<'_>) -> Result<Saved, Fault> {
        let place = draft.place;
        let all_wrong = |found: Vec<Diagnostic>| {
            let lines: Vec<String> = found.iter().map(|diagnostic| format!("{place}:{diagnostic}")).collect();
            Fault::field("definition", lines.join("\n"))
        };
        let Definitions { components, limits } = self.definitions;
        let read = |previous: &Previous| parse(draft.yaml, components, previous, &limits);
        let before = match draft.integration {
            Some(id) => Some(self.existing::<Integration>(id)?),
            // The name decides which integration it is, and with it which flow numbers are taken.
            None => {
                let name = read(&Previous::default()).map_err(all_wrong)?.definition.name;
                self.mutation.integration_by_name(&name)?
            }
        };
        let previous = self.previous(before.as_ref(), draft.origin.as_deref())?;
        let parsed = read(&previous).map_err(all_wrong)?;
        let has_users = self.mutation.organization()?.is_some_and(|organization| organization.ulc_enabled);
        if !has_users && !parsed.user_level_pages().is_empty() {
            return Err(all_wrong(parsed.user_level_pages().to_vec()));
        }
        let origin = draft.origin.as_deref();
        let lacking = parsed.keyless(|flow| draft.organization_keys.contains_key(flow) || !keys_of(origin, flow).is_empty());
        if !lacking.is_empty() {
            return Err(all_wrong(lacking));
        }
        let Parsed {
            mut definition,
            flow_numbers,
            ..
        } = parsed;
        let (given_keys, kept_keys) = organization_keys(&mut definition, &draft.organization_keys, origin)?;
        let mut secrets = take_secrets(&mut definition, components);
        give(&mut secrets, &definition, &draft.connection_secrets)?;
        let yaml = redact(draft.yaml, components, &limits);
        // What is stored as text must say the same, with nothing secret left in it.
        let again = parse(&yaml, components, &previous, &limits);
        let is_whole = again.is_ok_and(|parsed| {
            let mut again = without_keys(parsed.definition);
            let left = take_secrets(&mut again, components);
            again == definition && left.values().flat_map(BTreeMap::values).all(|text| is_redacted(text))
        });
        if !is_whole {
            return Err(Fault::field(
                "definition",
                "a secret stands in this YAML as something else, too (by an anchor): write it where it belongs alone",
            ));
        }
        let name = definition.name.clone();
        let mut warnings: Vec<String> = definition.warnings.iter().map(|warning| format!("{name}: {warning}")).collect();
        let unshared = self.unshared(&definition)?;
        warnings.extend(unshared.into_iter().map(|what| format!("{name}: {}", what.message)));
        let id = match &before {
            Some(before) => before.id,
            None => IntegrationId(self.random_base()),
        };
        let latest = before.as_ref().map_or(0, |before| before.latest_version);
        let newest = match latest {
            0 => None,
            latest => self.mutation.integration_version(id, latest)?,
        };
        let scope = KeyScope {
            record: id.0,
            key: NewKey::Organization,
        };
        let stored_keys = newest.as_ref().map(|newest| newest.organization_keys.clone()).unwrap_or_default();
        let mut organization_keys = self.api_keys(&given_keys, &stored_keys, scope)?;
        let earlier = Earlier {
            newest: newest.as_ref(),
            origin: draft.origin.as_ref(),
        };
        for (flow, count) in kept_keys {
            let kept = self.kept_keys(&definition, flow, count, &earlier, scope)?;
            let given = organization_keys.entry(flow).or_default();
            let new = std::mem::replace(given, kept);
            given.extend(new);
        }
        let connection_secrets = self.connection_secrets(&definition, secrets, id, &earlier)?;
        let mut version = IntegrationVersion {
            integration: id,
            version: latest.max(1),
            yaml,
            is_draft: definition.is_draft(),
            definition,
            organization_keys,
            connection_secrets,
            release: None,
        };
        let is_same = newest.as_ref().is_some_and(|newest| {
            version.release.clone_from(&newest.release);
            **newest == version
        });
        let is_open = newest.as_ref().is_some_and(|newest| newest.release.is_none());
        let needs_release = is_open && draft.release.is_some();
        if !is_same || needs_release {
            version.release = draft.release;
            if !is_open {
                version.version = next_version(latest)?;
            }
            let record = Integration {
                id,
                name,
                latest_version: version.version,
                flow_numbers,
                withdrawn: before.as_ref().map(|before| before.withdrawn.clone()).unwrap_or_default(),
                settings: before.as_ref().map(|before| before.settings.clone()).unwrap_or_default(),
                test_values: before.as_ref().map(|before| before.test_values.clone()).unwrap_or_default(),
            };
            self.mutation.put(&record)?;
            self.mutation.put(&version)?;
        }
        Ok(Saved {
            integration: self.existing(id)?,
            is_new: before.is_none(),
            changed: !is_same || needs_release,
            warnings,
        })
    }
}

impl Edit<'_, '_> {
    /// What a version goes on with. What was never released has no values, so that its stable keys may be others.
    fn previous(&self, integration: Option<&Integration>, origin: Option<&IntegrationVersion>) -> Result<Previous, Fault> {
        let released = match integration {
            Some(integration) => self.released(integration, false)?,
            None => None,
        };
        let variables = released.as_deref().or(origin).map(|version| version.definition.config_vars.iter());
        let pairs = variables.into_iter().flatten();
        Ok(Previous {
            flow_numbers: integration.map(|integration| integration.flow_numbers.clone()).unwrap_or_default(),
            stable_keys: pairs.map(|variable| (variable.key.clone(), variable.stable_key.clone())).collect(),
        })
    }

    /// What the integration is tried out with from now on, in place of what there was.
    pub(crate) fn set_test_values(&mut self, record: &mut Integration, given: &BTreeMap<String, ConfigVarValue>) -> Result<(), Fault> {
        let version = self.version_of(record.id, record.latest_version)?;
        let scope = Scope {
            is_user_level: false,
            record: system_instance(record.id).0,
            key: NewKey::Organization,
            registrations: None,
        };
        let values = self.values(&version.definition, given, &record.test_values, scope)?;
        record.test_values = self.fitting(values, stored_bytes(&record.test_values))?;
        Ok(())
    }
}

/// Version numbers share their bits with what names one version; see `IntegrationVersionId`.
fn next_version(latest: u32) -> Result<u32, Fault> {
    match latest.checked_add(1) {
        Some(next) if u16::try_from(next).is_ok() => Ok(next),
        _ => Err(Fault::field("definition", "this integration has as many versions as there can be")),
    }
}

fn without_keys(mut definition: Definition) -> Definition {
    for flow in &mut definition.flows {
        flow.organization_api_keys.clear();
    }
    definition
}

/// Keys that are written out, and how many say that they were taken out, by flow.
type Keys = (BTreeMap<FlowNumber, Vec<SecretText>>, BTreeMap<FlowNumber, usize>);

/// Takes the organization's API keys out of the definition; those that are given apart stand in their place. Of a stored text, `origin`,
/// they may have been given apart.
fn organization_keys(
    definition: &mut Definition,
    given: &BTreeMap<String, Vec<String>>,
    origin: Option<&IntegrationVersion>,
) -> Result<Keys, Fault> {
    let wrong = |message: String| Fault::field("organizationApiKeys", message);
    if let Some(unknown) = given.keys().find(|name| definition.flow_named(name).is_none()) {
        return Err(wrong(format!("organizationApiKeys: there is no flow `{unknown}`")));
    }
    let (mut texts, mut kept) = Keys::default();
    for flow in &mut definition.flows {
        let written = std::mem::take(&mut flow.organization_api_keys);
        let apart = given.get(&flow.name);
        if apart.is_some_and(Vec::is_empty) {
            return Err(wrong(format!("organizationApiKeys: there is no key for `{}`", flow.name)));
        }
        if apart.is_some_and(|keys| keys.iter().any(|key| key.is_empty() || is_redacted(key))) {
            return Err(wrong(format!("organizationApiKeys: a key of `{}` has no value", flow.name)));
        }
        let (removed, keys) = match apart {
            Some(keys) => (0, keys.clone()),
            None if written.is_empty() => (keys_of(origin, &flow.name).len(), Vec::new()),
            None => {
                let (removed, keys): (Vec<String>, Vec<String>) = written.into_iter().partition(|key| is_redacted(key));
                (removed.len(), keys)
            }
        };
        if keys.iter().any(String::is_empty) {
            return Err(wrong(format!("a key of `{}` has no value", flow.name)));
        }
        if !keys.is_empty() {
            texts.insert(flow.number, keys.into_iter().map(SecretText::Text).collect());
        }
        if removed > 0 {
            kept.insert(flow.number, removed);
        }
    }
    Ok((texts, kept))
}
