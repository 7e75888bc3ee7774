//! Instances.

use super::order::{Indexed, InstanceField, Key, Order, by_id, only};
use super::{Listed, PageRequest, Reader, Times, contains, is_equal, starts};
use crate::access::Operation;
use crate::fault::Fault;
use perseat_domain::id::{CustomerId, InstanceId, IntegrationId};
use perseat_domain::model::{Customer, Instance, InstanceState, Integration};
use perseat_domain::registration::AppRegistration;
use perseat_store::catalog::{Lookup, Sorted};

/// Which instances; everything that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct InstanceFilter {
    /// Of this customer.
    pub customer: Option<CustomerId>,
    /// Of the customer with this external id.
    pub customer_external_id: Option<String>,
    /// Of this integration, whatever its version.
    pub integration: Option<IntegrationId>,
    /// The whole name.
    pub name: Option<String>,
    /// Part of the name.
    pub name_contains: Option<String>,
    /// Part of the description.
    pub description_contains: Option<String>,
    /// Part of a label.
    pub label_contains: Option<String>,
    /// Whether it takes events.
    pub enabled: Option<bool>,
    /// Whether what was saved is not what runs.
    pub needs_deploy: Option<bool>,
    /// What the name begins with, whatever its case.
    pub name_starts: Option<String>,
    /// When it was made and changed.
    pub times: Times,
    /// In which order; by id where it is empty.
    pub order: Vec<Order<InstanceField>>,
}

/// Whether what was saved is not what runs.
#[must_use]
pub fn needs_deploy(instance: &Instance) -> bool {
    instance.deployed.as_ref() != Some(&instance.config)
}

impl InstanceFilter {
    fn fits(&self, instance: &Instance) -> bool {
        let label = self.label_contains.as_ref();
        self.customer.is_none_or(|customer| instance.customer == customer)
            && self.integration.is_none_or(|integration| instance.integration == integration)
            && is_equal(Some(&instance.name), self.name.as_ref())
            && contains(&instance.name, self.name_contains.as_ref())
            && starts(&instance.name, self.name_starts.as_ref())
            && contains(&instance.description, self.description_contains.as_ref())
            && (label.is_none() || instance.labels.iter().any(|have| contains(have, label)))
            && self
                .enabled
                .is_none_or(|enabled| (instance.state == InstanceState::Enabled) == enabled)
            && self.needs_deploy.is_none_or(|wanted| needs_deploy(instance) == wanted)
    }
}

impl Reader<'_> {
    /// An instance.
    ///
    /// # Errors
    /// It is absent, or not visible.
    pub fn instance(&self, id: InstanceId) -> Result<Instance, Fault> {
        let found = self.view.get::<Instance>(id)?;
        found
            .filter(|instance| self.actor.may_for(Operation::ViewInstances, instance.customer))
            .ok_or(Fault::Absent("instance"))
    }

    /// The app registrations of an instance, but for those of connections that the organization keeps to itself.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn registrations<'i>(&self, instance: &'i Instance) -> Result<Vec<&'i AppRegistration>, Fault> {
        let running = instance.deployed.as_ref().unwrap_or(&instance.config).version;
        let version = self.view.integration_version(instance.integration, running)?;
        let is_hidden = |registration: &&AppRegistration| {
            let mut variables = version.iter().flat_map(|version| &version.definition.config_vars);
            variables.any(|variable| variable.stable_key == registration.connection && !self.sees_variable(variable))
        };
        Ok(instance
            .registrations
            .iter()
            .filter(|registration| !is_hidden(registration))
            .collect())
    }

    /// Instances.
    ///
    /// # Errors
    /// A wrong cursor, or the disk fails.
    pub fn instances(&self, filter: &InstanceFilter, request: &PageRequest) -> Result<Listed<Instance>, Fault> {
        let mut filter = filter.clone();
        if let Some(external_id) = &filter.customer_external_id {
            match self.view.customer_by_external_id(external_id)? {
                Some(customer) if filter.customer.is_none_or(|wanted| wanted == customer.id) => filter.customer = Some(customer.id),
                _ => return Ok(Listed::none()),
            }
        }
        let customer = match (self.actor.customer(), filter.customer) {
            (Some(own), Some(wanted)) if own != wanted => return Ok(Listed::none()),
            (own, wanted) => wanted.or(own),
        };
        if !self.actor.may(Operation::ViewInstances) {
            return Ok(Listed::none());
        }
        let keep = |instance: &Instance| {
            let is_visible = customer.is_none_or(|customer| instance.customer == customer);
            Ok(is_visible && filter.fits(instance) && self.in_times::<Instance>(instance.id, filter.times)?)
        };
        let by_name = only(&filter.order).filter(|order| order.field == InstanceField::Name);
        let indexed = Indexed {
            by: Sorted::instances_by_name(customer),
            starts_with: match by_name {
                Some(_) => filter.name_starts.as_deref().unwrap_or_default(),
                None => filter.name.as_deref().or(filter.name_starts.as_deref()).unwrap_or_default(),
            },
            whole: by_name.is_none() && filter.name.is_some(),
            descending: by_name.is_some_and(|order| order.descending),
        };
        let from_index = by_name.is_some() || filter.name.is_some() || filter.name_starts.is_some();
        let fetch = |after: Option<&[u8]>, limit| match (from_index, customer, filter.integration) {
            (true, ..) => Ok(self.view.sorted(indexed.by, &indexed.reading(after, limit))?),
            (false, Some(customer), _) => by_id(after, |after| self.view.instances_of_customer(customer, after, limit)),
            (false, None, Some(integration)) => by_id(after, |after| self.view.instances_of_integration(integration, after, limit)),
            (false, None, None) => by_id(after, |after| self.view.page::<Instance>(after, limit)),
        };
        if filter.order.is_empty() || by_name.is_some() {
            return self.walk(request, fetch, keep);
        }
        self.arranged(request, &filter.order, fetch, keep, |field, instance| {
            Ok(match field {
                InstanceField::Name => Key::text(&instance.name),
                InstanceField::Description => Key::text(&instance.description),
                InstanceField::Enabled => Key::Number(u64::from(instance.state == InstanceState::Enabled)),
                InstanceField::Version => Key::Number(instance.config.version.into()),
                InstanceField::Customer => Key::text(&self.view.require::<Customer>(instance.customer)?.name),
                InstanceField::Integration => Key::text(&self.view.require::<Integration>(instance.integration)?.name),
                InstanceField::CreatedAt => Key::Number(self.stamp::<Instance>(instance.id)?.created_at.0),
                InstanceField::UpdatedAt => Key::Number(self.stamp::<Instance>(instance.id)?.changed_at.0),
            })
        })
    }
}
