//! Integrations and their versions.

use super::order::{IntegrationField, Key, Order, by_id};
use super::presentation::text;
use super::{Candidate, Condition, ConfigState, Listed, PageRequest, Reader, Times, contains, is_equal};
use crate::access::Operation;
use crate::edit::{every, missing};
use crate::fault::Fault;
use perseat_domain::id::{CustomerId, IntegrationId, VersionId};
use perseat_domain::model::{Customer, Integration, IntegrationVersion, Marketplace, Role};
use perseat_flow::definition::stored;
use perseat_store::catalog::Lookup;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One version of an integration, with what is known beside its definition.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionView {
    /// The integration over all its versions.
    pub integration: Arc<Integration>,
    /// The version.
    pub version: Arc<IntegrationVersion>,
    /// Whether it was asked for as the newest, whichever it is.
    pub is_newest: bool,
}

impl VersionView {
    /// The id that clients see.
    #[must_use]
    pub fn id(&self) -> VersionId {
        let number = u16::try_from(self.version.version).ok();
        VersionId {
            integration: self.integration.id,
            version: number.filter(|_| !self.is_newest),
        }
    }

    /// The category that its definition names.
    #[must_use]
    pub fn category(&self) -> String {
        let root = stored(&self.version.yaml);
        root.and_then(|root| text(&root, "category")).unwrap_or_default()
    }

    /// Whether new instances can be made of it.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.version.release.is_some() && !self.integration.withdrawn.contains(&self.version.version)
    }
}

/// Which integrations; everything that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct IntegrationFilter {
    /// The whole name.
    pub name: Option<String>,
    /// Part of the name.
    pub name_contains: Option<String>,
    /// Part of the description.
    pub description_contains: Option<String>,
    /// Part of a label.
    pub label_contains: Option<String>,
    /// The one customer that it is for.
    pub customer: Option<CustomerId>,
    /// Whether it is for all customers.
    pub for_all: Option<bool>,
    /// In the marketplace alone.
    pub marketplace: bool,
    /// A condition.
    pub condition: Option<Condition>,
    /// Whether what whoever asks has switched on is listed though it is not in the marketplace any more, or does not meet the
    /// condition.
    pub with_active: bool,
    /// When it was made and changed.
    pub times: Times,
    /// Each version apart, instead of the newest of each.
    pub all_versions: bool,
    /// In which order; by id where it is empty.
    pub order: Vec<Order<IntegrationField>>,
}

impl IntegrationFilter {
    fn fits(&self, integration: &Integration, version: &IntegrationVersion) -> bool {
        let settings = &integration.settings;
        let label = self.label_contains.as_ref();
        is_equal(Some(&integration.name), self.name.as_ref())
            && contains(&integration.name, self.name_contains.as_ref())
            && contains(&version.definition.description, self.description_contains.as_ref())
            && (label.is_none() || settings.labels.iter().any(|have| contains(have, label)))
            && (self.customer.is_none() || settings.customer == self.customer)
            && self.for_all.is_none_or(|for_all| settings.customer.is_none() == for_all)
    }

    /// Whether it is offered, and as it is wished for.
    fn offers(&self, view: &VersionView) -> bool {
        let settings = &view.integration.settings;
        let meets = |condition: &Condition| {
            condition.holds(&Candidate {
                name: &view.integration.name,
                category: &view.category(),
                description: &view.version.definition.description,
                labels: &settings.labels,
            })
        };
        (!self.marketplace || settings.marketplace != Marketplace::Hidden) && self.condition.as_ref().is_none_or(meets)
    }
}

impl Reader<'_> {
    /// A version, or the newest.
    ///
    /// # Errors
    /// It is absent, or not visible.
    pub fn integration(&self, id: VersionId) -> Result<VersionView, Fault> {
        let absent = Fault::Absent("integration");
        let Some(integration) = self.view.get::<Integration>(id.integration)? else {
            return Err(absent);
        };
        if !self.sees_integration(&integration)? {
            return Err(absent);
        }
        let view = self.version_view(Arc::new(integration), id.version.map(u32::from))?;
        view.ok_or(absent)
    }

    /// The version of an instance that was read here.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn version_of(&self, integration: IntegrationId, version: u32) -> Result<VersionView, Fault> {
        let found = self.view.require::<Integration>(integration)?;
        self.version_view(Arc::new(found), Some(version))?
            .ok_or(Fault::Absent("integration"))
    }

    pub(super) fn version_view(&self, mut integration: Arc<Integration>, number: Option<u32>) -> Result<Option<VersionView>, Fault> {
        // What an integration is tried out with is the organization's to know.
        if self.actor.customer().is_some() && !integration.test_values.is_empty() {
            Arc::make_mut(&mut integration).test_values.clear();
        }
        let version = self
            .view
            .integration_version(integration.id, number.unwrap_or(integration.latest_version))?;
        Ok(version.map(|version| VersionView {
            integration,
            version,
            is_newest: number.is_none(),
        }))
    }

    /// Every version, newest first.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn versions(&self, of: &VersionView, available: Option<bool>) -> Result<Vec<VersionView>, Fault> {
        let mut versions = Vec::new();
        for number in (1..=of.integration.latest_version).rev() {
            let view = self.version_view(Arc::clone(&of.integration), Some(number))?;
            versions.extend(view.filter(|view| available.is_none_or(|wanted| view.is_available() == wanted)));
        }
        Ok(versions)
    }

    /// Integrations.
    ///
    /// # Errors
    /// A wrong cursor, or the disk fails.
    pub fn integrations(&self, filter: &IntegrationFilter, request: &PageRequest) -> Result<Listed<VersionView>, Fault> {
        if !self.actor.may(Operation::ViewIntegrations) {
            return Ok(Listed::none());
        }
        let active = match filter.with_active {
            true => self.active()?,
            false => BTreeSet::new(),
        };
        if filter.all_versions {
            return self.all_versions(request, &|integration| self.keeps(filter, &active, integration), &|request| {
                self.records(filter, &active, request)
            });
        }
        let listed = self.records(filter, &active, request)?;
        let mut items = Vec::new();
        for (cursor, integration) in listed.items {
            let newest = self.version_view(Arc::new(integration), None)?;
            items.extend(newest.map(|newest| (cursor, newest)));
        }
        Ok(Listed {
            items,
            has_next: listed.has_next,
            end: listed.end,
        })
    }

    /// What whoever asks has switched on, as far as they may know.
    fn active(&self) -> Result<BTreeSet<IntegrationId>, Fault> {
        let Some(own) = self.actor.customer() else {
            return Ok(BTreeSet::new());
        };
        if !self.actor.may(Operation::ViewInstances) {
            let configurable = self.configurable()?;
            return Ok(configurable.iter().map(|one| one.instance.integration).collect());
        }
        let instances = every(|after| self.view.instances_of_customer(own, after, self.limits.page))?;
        Ok(instances.iter().map(|instance| instance.integration).collect())
    }

    fn keeps(&self, filter: &IntegrationFilter, active: &BTreeSet<IntegrationId>, integration: &Integration) -> Result<bool, Fault> {
        let Some(newest) = self.version_view(Arc::new(integration.clone()), None)? else {
            return Ok(false);
        };
        let fits = filter.fits(integration, &newest.version) && (active.contains(&integration.id) || filter.offers(&newest));
        Ok(fits && self.in_times::<Integration>(integration.id, filter.times)? && self.sees_integration(integration)?)
    }

    fn records(
        &self,
        filter: &IntegrationFilter,
        active: &BTreeSet<IntegrationId>,
        request: &PageRequest,
    ) -> Result<Listed<Integration>, Fault> {
        let fetch = |after: Option<&[u8]>, limit| by_id(after, |after| self.view.page::<Integration>(after, limit));
        let keep = |integration: &Integration| self.keeps(filter, active, integration);
        if filter.order.is_empty() {
            return self.walk(request, fetch, keep);
        }
        self.arranged(request, &filter.order, fetch, keep, |field, integration| {
            self.integration_key(field, integration)
        })
    }

    /// How far the system instance of an integration is configured, as far as whoever asks may know.
    #[must_use]
    pub fn test_state(&self, of: &VersionView) -> ConfigState {
        match missing(&of.version.definition, false, &of.integration.test_values).is_empty() {
            true => ConfigState::Complete,
            false => ConfigState::NeedsInstance,
        }
    }

    fn integration_key(&self, field: IntegrationField, integration: &Integration) -> Result<Key, Fault> {
        let newest = || self.version_view(Arc::new(integration.clone()), None);
        Ok(match field {
            IntegrationField::Name => Key::text(&integration.name),
            IntegrationField::VersionNumber => Key::Number(integration.latest_version.into()),
            IntegrationField::Category => Key::text(&newest()?.map(|newest| newest.category()).unwrap_or_default()),
            IntegrationField::Description => {
                let description = newest()?.map(|newest| newest.version.definition.description.clone());
                Key::text(&description.unwrap_or_default())
            }
            IntegrationField::Customer => Key::text(&match integration.settings.customer {
                Some(id) => self.view.get::<Customer>(id)?.map(|customer| customer.name).unwrap_or_default(),
                None => String::new(),
            }),
            IntegrationField::CreatedAt => Key::Number(self.stamp::<Integration>(integration.id)?.created_at.0),
            IntegrationField::UpdatedAt => Key::Number(self.stamp::<Integration>(integration.id)?.changed_at.0),
        })
    }

    /// The organization's people see all; a customer's those of the marketplace and of their own instances.
    fn sees_integration(&self, integration: &Integration) -> Result<bool, Fault> {
        if !self.actor.may(Operation::ViewIntegrations) {
            return Ok(false);
        }
        let Some(own) = self.actor.customer() else { return Ok(true) };
        let settings = &integration.settings;
        if settings.customer.is_some_and(|only| only != own) {
            return Ok(false);
        }
        if settings.marketplace != Marketplace::Hidden {
            // What a marketplace user can configure has pages for users.
            let newest = self.view.integration_version(integration.id, integration.latest_version)?;
            return Ok(self.actor.role != Role::MarketplaceUser || newest.is_some_and(|version| version.definition.is_user_level()));
        }
        let mut after = None;
        loop {
            let page = self.view.instances_of_customer(own, after, self.limits.page)?;
            if page.items.iter().any(|instance| instance.integration == integration.id) {
                return Ok(self.actor.may(Operation::ViewInstances));
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(false),
            }
        }
    }
}
