//! Integrations: a version is worked on until it is released, and never changes after.

use super::instances::given;
use super::{Checked, ConfigVariable, labels};
use crate::access::Operation;
use crate::edit::{Definitions, Edit, Saved, VersionDraft};
use crate::fault::{Fault, FieldError};
use perseat_domain::id::{CustomerId, IntegrationId, VersionId};
use perseat_domain::model::{Customer, Integration, IntegrationSettings, IntegrationVersion, Marketplace, MediaOwner, Release};
use perseat_flow::definition::{self, Diagnostic, Limits, Previous, parse, with_texts};
use perseat_store::catalog::Lookup;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// A definition to import. It may hold secrets.
#[derive(Clone)]
pub struct ImportIntegration {
    /// The YAML.
    pub definition: String,
    /// The integration that it becomes a version of; `None`: the one of its name, or a new one.
    pub integration: Option<IntegrationId>,
    /// The one customer that a new integration is for.
    pub customer: Option<CustomerId>,
}

impl fmt::Debug for ImportIntegration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportIntegration")
            .field("integration", &self.integration)
            .finish_non_exhaustive()
    }
}

/// What changes about an integration; what is `None` stays. Its definition may hold secrets.
#[derive(Clone, Default)]
pub struct UpdateIntegration {
    /// Its name; the definition changes with it.
    pub name: Option<String>,
    /// Its description; the definition changes with it.
    pub description: Option<String>,
    /// Its category; the definition changes with it.
    pub category: Option<String>,
    /// A new definition.
    pub definition: Option<String>,
    /// Labels.
    pub labels: Option<Vec<String>>,
    /// The one customer that it is for.
    pub customer: Option<CustomerId>,
    /// Whether customers see it in the marketplace.
    pub marketplace: Option<Marketplace>,
    /// What the marketplace says about it.
    pub overview: Option<String>,
    /// Whether a customer may have more than one instance from the marketplace.
    pub allow_multiple_instances: Option<bool>,
    /// Whether tests log in detail.
    pub debug: Option<bool>,
    /// Values of the system instance, in place of all there were.
    pub test_values: Option<Vec<ConfigVariable>>,
    /// An upload; empty takes the avatar away.
    pub avatar_url: Option<String>,
    /// The revision that the change is based on.
    pub revision: Option<u64>,
}

impl fmt::Debug for UpdateIntegration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateIntegration")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

const PLACE: &str = "definition";

impl Edit<'_, '_> {
    /// Imports a definition as the version that is worked on.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn import_integration(&mut self, input: &ImportIntegration) -> Result<Saved, Fault> {
        self.actor.check(Operation::ManageIntegrations)?;
        if let Some(customer) = input.customer {
            self.existing::<Customer>(customer)?;
        }
        let mut saved = self.save_version(VersionDraft {
            integration: input.integration,
            yaml: &input.definition,
            place: PLACE,
            organization_keys: BTreeMap::new(),
            connection_secrets: BTreeMap::new(),
            origin: None,
            release: None,
        })?;
        if saved.is_new && input.customer.is_some() {
            saved.integration.settings.customer = input.customer;
            self.mutation.put(&saved.integration)?;
        }
        Ok(saved)
    }

    /// Makes an integration with one flow that answers a webhook and does nothing else.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn create_integration(&mut self, name: &str, description: &str, customer: Option<CustomerId>) -> Result<Integration, Fault> {
        self.actor.check(Operation::ManageIntegrations)?;
        let mut checked = Checked::default();
        checked.name("name", Some(name));
        checked.text("description", Some(description));
        checked.done()?;
        if self.mutation.integration_by_name(name)?.is_some() {
            return Err(Fault::field("name", "An integration with this name already exists."));
        }
        let (name, description) = (Value::from(name), Value::from(description));
        let definition = format!("name: {name}\ndescription: {description}\n{BLANK}");
        let input = ImportIntegration {
            definition,
            integration: None,
            customer,
        };
        Ok(self.import_integration(&input)?.integration)
    }

    /// A new integration with the newest definition of another.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn fork_integration(&mut self, parent: VersionId, name: &str, description: &str) -> Result<Integration, Fault> {
        self.actor.check(Operation::ManageIntegrations)?;
        let (_, version) = self.integration_and_version(parent)?;
        if self.mutation.integration_by_name(name)?.is_some() {
            return Err(Fault::field("name", "An integration with this name already exists."));
        }
        let definition = with_texts(
            &version.yaml,
            &[("name", name), ("description", description)],
            &self.definitions.limits,
        )
        .map_err(wrong)?;
        let saved = self.save_version(VersionDraft {
            integration: None,
            yaml: &definition,
            place: PLACE,
            organization_keys: BTreeMap::new(),
            connection_secrets: BTreeMap::new(),
            origin: Some(version),
            release: None,
        })?;
        Ok(saved.integration)
    }

    /// Changes an integration.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn update_integration(&mut self, id: IntegrationId, input: &UpdateIntegration) -> Result<Integration, Fault> {
        self.actor.check(Operation::ManageIntegrations)?;
        let before = self.existing::<Integration>(id)?;
        self.check_revision::<Integration>(id, input.revision)?;
        let mut checked = Checked::default();
        checked.name("name", input.name.as_deref());
        checked.text("description", input.description.as_deref());
        checked.short("category", input.category.as_deref());
        checked.text("overview", input.overview.as_deref());
        checked.labels(input.labels.as_deref());
        checked.done()?;
        if let Some(customer) = input.customer {
            self.existing::<Customer>(customer)?;
        }
        let texts = [
            ("name", &input.name),
            ("description", &input.description),
            ("category", &input.category),
        ];
        let members: Vec<(&str, &str)> = texts
            .iter()
            .filter_map(|(member, text)| Some((*member, text.as_deref()?)))
            .collect();
        let mut record = before;
        if input.definition.is_some() || !members.is_empty() {
            let newest = self.version_of(id, record.latest_version)?;
            let text = input.definition.as_deref().unwrap_or(&newest.yaml);
            let yaml = if members.is_empty() {
                text.to_owned()
            } else {
                with_texts(text, &members, &self.definitions.limits).map_err(wrong)?
            };
            let draft = VersionDraft {
                integration: Some(id),
                yaml: &yaml,
                place: PLACE,
                organization_keys: BTreeMap::new(),
                connection_secrets: BTreeMap::new(),
                origin: input.definition.is_none().then(|| newest.clone()),
                release: None,
            };
            record = self.save_version(draft)?.integration;
        }
        let before = record.settings;
        record.settings = IntegrationSettings {
            labels: input.labels.as_deref().map_or(before.labels, labels),
            customer: input.customer.or(before.customer),
            marketplace: input.marketplace.unwrap_or(before.marketplace),
            overview: input.overview.clone().unwrap_or(before.overview),
            allow_multiple_instances: input.allow_multiple_instances.unwrap_or(before.allow_multiple_instances),
            debug: input.debug.unwrap_or(before.debug),
        };
        if let Some(variables) = &input.test_values {
            let in_field = |fault: Fault| fault.in_field("testConfigVariables");
            let version = self.version_of(id, record.latest_version)?;
            let values = given(&version.definition, variables).map_err(in_field)?;
            self.set_test_values(&mut record, &values).map_err(in_field)?;
        }
        self.mutation.put(&record)?;
        if let Some(url) = &input.avatar_url {
            self.set_avatar(MediaOwner::Integration(id), url)?;
        }
        Ok(record)
    }

    /// Releases the version that is worked on.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn publish_integration(&mut self, id: IntegrationId, comment: &str, attributes: &str) -> Result<Integration, Fault> {
        self.actor.check(Operation::ManageIntegrations)?;
        let integration = self.existing::<Integration>(id)?;
        let mut checked = Checked::default();
        checked.text("comment", Some(comment));
        checked.text("attributes", Some(attributes));
        checked.done()?;
        let newest = self.version_of(id, integration.latest_version)?;
        if newest.release.is_some() {
            return Err(Fault::wrong("Everything is published already; import a change first."));
        }
        let released = IntegrationVersion {
            release: Some(Release {
                at: self.at,
                by: self.actor.who.to_string(),
                comment: comment.to_owned(),
                attributes: attributes.to_owned(),
            }),
            ..(*newest).clone()
        };
        self.mutation.put(&released)?;
        Ok(integration)
    }

    /// Offers a released version for new instances, or takes it back.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn set_version_available(&mut self, id: VersionId, available: bool) -> Result<Integration, Fault> {
        self.actor.check(Operation::ManageIntegrations)?;
        let (mut integration, version) = match id.version {
            Some(_) => self.integration_and_version(id)?,
            None => {
                let integration = self.existing::<Integration>(id.integration)?;
                let version = self.newest_released(&integration, false)?;
                (integration, version)
            }
        };
        if version.release.is_none() {
            return Err(Fault::wrong("Publish this version first."));
        }
        if available {
            integration.withdrawn.remove(&version.version);
        } else {
            integration.withdrawn.insert(version.version);
        }
        self.mutation.put(&integration)?;
        Ok(integration)
    }

    /// Deletes an integration that has no instance.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn remove_integration(&mut self, id: IntegrationId) -> Result<Integration, Fault> {
        self.actor.check(Operation::ManageIntegrations)?;
        let integration = self.existing::<Integration>(id)?;
        self.delete_integration(id)?;
        Ok(integration)
    }

    /// The version that an id names; the newest of all where it names none.
    fn integration_and_version(&self, id: VersionId) -> Result<(Integration, std::sync::Arc<IntegrationVersion>), Fault> {
        let integration = self.existing::<Integration>(id.integration)?;
        let number = id.version.map_or(integration.latest_version, u32::from);
        let version = self.mutation.integration_version(integration.id, number)?;
        Ok((integration, version.ok_or(Fault::Absent("integration"))?))
    }

    /// The newest released version; with `available`, one that was not taken back.
    pub(crate) fn newest_released(&self, integration: &Integration, available: bool) -> Result<std::sync::Arc<IntegrationVersion>, Fault> {
        let message = "This integration has no published version that is available.";
        let found = self.released(integration, available)?;
        found.ok_or_else(|| Fault::field("integration", message))
    }

    /// The same where there is one.
    pub(crate) fn released(&self, integration: &Integration, available: bool) -> Result<Option<std::sync::Arc<IntegrationVersion>>, Fault> {
        for number in (1..=integration.latest_version).rev() {
            let version = self.mutation.integration_version(integration.id, number)?;
            let fits = |version: &std::sync::Arc<IntegrationVersion>| {
                version.release.is_some() && !(available && integration.withdrawn.contains(&number))
            };
            if let Some(version) = version.filter(fits) {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }
}

/// Reads a definition.
///
/// # Errors
/// Everything that is wrong with it.
pub fn validate_definition(yaml: &str, definitions: Definitions<'_>) -> Result<(), Fault> {
    let parsed = parse(yaml, definitions.components, &Previous::default(), &definitions.limits);
    let lacking = parsed.map_err(wrong)?.keyless(|_| false);
    if lacking.is_empty() { Ok(()) } else { Err(wrong(lacking)) }
}

/// A definition with every component in its latest version.
///
/// # Errors
/// It is no YAML.
pub fn with_latest_components(yaml: &str, limits: &Limits) -> Result<String, Fault> {
    definition::with_latest_components(yaml, limits).map_err(wrong)
}

fn wrong(found: Vec<Diagnostic>) -> Fault {
    let error = |one: Diagnostic| FieldError {
        field: PLACE.to_owned(),
        message: one.to_string(),
        code: None,
    };
    Fault::Wrong(found.into_iter().map(error).collect())
}

/// What follows the name and description of a new integration.
const BLANK: &str = "definitionVersion: 7
endpointType: flow_specific
requiredConfigVars: []
configPages: []
flows:
  - name: Flow 1
    stableKey: flow-1
    description: ''
    endpointSecurityType: customer_optional
    isSynchronous: false
    steps:
      - name: Trigger
        stableKey: flow-1-trigger
        description: ''
        isTrigger: true
        action:
          key: webhook
          component: {key: webhook-triggers, isPublic: true, version: LATEST}
        inputs: {}
";
