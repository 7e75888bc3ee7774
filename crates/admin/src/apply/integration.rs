//! Integrations: each changed YAML is a new version.

use super::{Fault, Session, action, problem};
use crate::manifest::Integration;
use perseat_domain::definition::Definition;
use perseat_domain::id::{FlowNumber, IntegrationId};
use perseat_domain::model::{self, KeyDigest};
use perseat_flow::definition::{Limits, REDACTED, parse, redact_organization_keys};
use perseat_store::catalog::Lookup;
use perseat_store::seal::key_digest;
use std::collections::BTreeMap;

impl Session<'_, '_, '_> {
    pub(super) fn integration(&mut self, manifest: &Integration) -> Result<(), Fault> {
        let yaml = manifest.definition.as_deref().unwrap_or_default();
        let place = manifest
            .file
            .as_ref()
            .map_or_else(|| "definition".to_owned(), |file| file.display().to_string());
        let all_wrong = |found: Vec<perseat_flow::definition::Diagnostic>| {
            problem(
                found
                    .iter()
                    .map(|diagnostic| format!("{place}:{diagnostic}"))
                    .collect::<Vec<_>>()
                    .join("\n"),
            )
        };
        let limits = Limits::default();
        // The name decides which integration it is, and with it which flow numbers are taken.
        let name = parse(yaml, self.components, &BTreeMap::new(), &limits)
            .map_err(all_wrong)?
            .definition
            .name;
        let before = self.mutation.integration_by_name(&name)?;
        let numbers = before.as_ref().map(|before| before.flow_numbers.clone()).unwrap_or_default();
        let parsed = parse(yaml, self.components, &numbers, &limits).map_err(all_wrong)?;
        if !self.mutation.organization()?.is_some_and(|organization| organization.ulc_enabled) && !parsed.user_level_pages().is_empty() {
            return Err(all_wrong(parsed.user_level_pages().to_vec()));
        }
        let flow_numbers = parsed.flow_numbers;
        let mut definition = parsed.definition;
        let organization_keys = organization_keys(&mut definition, manifest)?;
        self.applied
            .plan
            .warnings
            .extend(definition.warnings.iter().map(|warning| format!("{name}: {warning}")));

        let id = before.as_ref().map_or_else(|| IntegrationId(self.random_id()), |before| before.id);
        let latest = before.as_ref().map_or(0, |before| before.latest_version);
        let mut version = model::IntegrationVersion {
            integration: id,
            version: latest.max(1),
            yaml: redact_organization_keys(yaml),
            is_draft: definition.flows.iter().any(|flow| !flow.missing.is_empty()),
            definition,
            organization_keys,
        };
        let is_same = match &before {
            Some(_) => self
                .mutation
                .integration_version(id, latest)?
                .is_some_and(|stored| *stored == version),
            None => false,
        };
        if !is_same {
            version.version = latest + 1;
            let record = model::Integration {
                id,
                name: name.clone(),
                latest_version: version.version,
                flow_numbers,
            };
            self.mutation.put(&record)?;
            self.mutation.put(&version)?;
        }
        self.named.integrations.insert(id);
        self.note(action(before.is_none(), !is_same), "Integration", name);
        Ok(())
    }
}

/// Takes the organization's API keys out of the definition; those that the manifest gives stand in their place.
fn organization_keys(definition: &mut Definition, manifest: &Integration) -> Result<BTreeMap<FlowNumber, Vec<KeyDigest>>, Fault> {
    let given = &manifest.organization_api_keys;
    if let Some(unknown) = given.keys().find(|name| definition.flow_named(name).is_none()) {
        return Err(problem(format!("organizationApiKeys: there is no flow `{unknown}`")));
    }
    let mut digests = BTreeMap::new();
    for flow in &mut definition.flows {
        let written = std::mem::take(&mut flow.organization_api_keys);
        let keys: Vec<&str> = match given.get(&flow.name) {
            Some(keys) => keys.iter().filter_map(|key| key.text()).collect(),
            None => written.iter().map(String::as_str).collect(),
        };
        if keys.iter().any(|key| key.is_empty() || *key == REDACTED) {
            let name = &flow.name;
            return Err(problem(format!(
                "the API keys of `{name}` were taken out of this YAML: give them under `organizationApiKeys`"
            )));
        }
        if !keys.is_empty() {
            digests.insert(flow.number, keys.into_iter().map(key_digest).collect());
        }
    }
    Ok(digests)
}
