//! Instances.

use super::{Listed, PageRequest, Reader, contains, is_equal};
use crate::access::Operation;
use crate::fault::Fault;
use perseat_domain::id::{CustomerId, InstanceId, IntegrationId};
use perseat_domain::model::{Instance, InstanceState};
use perseat_store::catalog::Lookup;

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
        self.walk(
            request,
            |after, limit| match (customer, filter.integration) {
                (Some(customer), _) => self.view.instances_of_customer(customer, after, limit),
                (None, Some(integration)) => self.view.instances_of_integration(integration, after, limit),
                (None, None) => self.view.page::<Instance>(after, limit),
            },
            |instance| Ok(filter.fits(instance)),
        )
    }
}
