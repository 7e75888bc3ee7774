//! A seeded mutant of the routing look-up: the isolation tests must catch it.

use super::snapshot::RoutingSnapshot;
use crate::id::IntegrationId;

impl RoutingSnapshot {
    /// The same picture with a look-up that leaves the customer out of the key of instances: a shared endpoint then finds
    /// whose instance stands first.
    #[must_use]
    pub fn with_customer_dropped(&self, is_dropped: bool) -> Self {
        Self {
            is_customer_dropped: is_dropped,
            ..self.clone()
        }
    }

    pub(super) fn slots_of_anybody(&self, integration: IntegrationId) -> Option<&Vec<u32>> {
        let found = self.instances.of_customer.iter().filter(|((of, _), _)| *of == integration);
        found.min_by_key(|((_, customer), _)| *customer).map(|(_, slots)| slots)
    }
}
