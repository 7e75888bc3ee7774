//! Integrations: each changed YAML is a new version, released at once.

use super::{Session, action, name_once};
use crate::edit::VersionDraft;
use crate::fault::Fault;
use crate::manifest::Integration;
use perseat_domain::model::Release;

impl Session<'_, '_, '_> {
    pub(super) fn integration(&mut self, manifest: &Integration) -> Result<(), Fault> {
        let place = manifest.file.as_ref();
        let place = place.map_or_else(|| "definition".to_owned(), |file| file.display().to_string());
        let keys = manifest.organization_api_keys.iter().map(|(flow, keys)| {
            let keys = keys.iter().filter_map(|key| key.text()).map(str::to_owned).collect();
            (flow.clone(), keys)
        });
        let release = Release {
            at: self.edit.at,
            by: self.edit.actor.who.to_string(),
            ..Release::default()
        };
        let saved = self.edit.save_version(VersionDraft {
            integration: None,
            yaml: manifest.definition.as_deref().unwrap_or_default(),
            place: &place,
            organization_keys: keys.collect(),
            connection_secrets: manifest.connection_secrets.clone(),
            origin: None,
            release: Some(release),
        })?;
        self.plan.warnings.extend(saved.warnings);
        name_once(&mut self.named.integrations, saved.integration.id, &self.place)?;
        self.note(action(saved.is_new, saved.changed), "Integration", saved.integration.name);
        Ok(())
    }
}
