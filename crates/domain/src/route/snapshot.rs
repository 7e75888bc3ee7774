//! The immutable picture of who and what is configured, from which every request is routed.
//!
//! A change makes a new snapshot that shares what did not change. The users' tables hold packed rows and no text;
//! a row's instance is named by its *slot*, which is never given to another instance within one line of snapshots.

use super::config_row::{ConfigRow, ExternalRow, OwnerRow};
use super::gate::Gate;
use super::hash::{HashSecret, Wide};
use super::instance::{FlowRoute, InstanceRoute};
use super::table::Table;
use crate::definition::{EndpointType, RoutingPath};
use crate::id::{CustomerId, EndpointId, FlowNumber, IdMap, InstanceId, IntegrationId, UserConfigId, UserId};
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug)]
pub struct RoutingSnapshot {
    pub(super) revision: u64,
    pub(super) ulc_enabled: bool,
    pub(super) secret: HashSecret,
    pub(super) configs: Table<ConfigRow>,
    pub(super) owners: Table<OwnerRow>,
    pub(super) users: Table<ExternalRow>,
    pub(super) organization_users: Table<ExternalRow>,
    pub(super) customers: Table<ExternalRow>,
    pub(super) instances: Arc<Instances>,
    /// A seeded mutant; see [`RoutingSnapshot::with_customer_dropped`].
    #[cfg(feature = "faults")]
    pub(super) is_customer_dropped: bool,
}

/// All instances and the integrations behind shared endpoints.
#[derive(Clone, Debug, Default)]
pub(super) struct Instances {
    pub(super) slots: Vec<Option<Arc<InstanceRoute>>>,
    pub(super) by_id: IdMap<InstanceId, u32>,
    pub(super) of_customer: IdMap<(IntegrationId, CustomerId), Vec<u32>>,
    pub(super) integrations: IdMap<IntegrationId, Arc<IntegrationRoute>>,
    /// The flows of the instance of a version that came last, for others that have the same.
    pub(super) flows: IdMap<(IntegrationId, u32), Arc<[FlowRoute]>>,
}

/// A shared endpoint: the newest version that is deployed to any customer decides how it routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrationRoute {
    /// An instance of the newest deployed version.
    pub newest: Arc<InstanceRoute>,
    /// By flow: what every customer's instance lets pass. A key that passes here is wrong for nobody, so that
    /// an answer about an unknown customer tells its holder nothing.
    pub gates: Vec<(FlowNumber, Gate)>,
}

impl IntegrationRoute {
    /// The shared endpoint of these deployed instances; `None` without any.
    pub(super) fn new(instances: &[&Arc<InstanceRoute>]) -> Option<Self> {
        let newest = instances.iter().max_by_key(|instance| (instance.version, instance.id))?;
        let mut gates: Vec<(FlowNumber, Gate)> = Vec::new();
        for flow in instances.iter().flat_map(|instance| &*instance.flows) {
            match gates.iter_mut().find(|(number, _)| *number == flow.number) {
                Some((_, gate)) => *gate = gate.and(&flow.gate),
                None => gates.push((flow.number, flow.gate.clone())),
            }
        }
        Some(Self {
            newest: Arc::clone(newest),
            gates,
        })
    }

    /// What every customer's instance lets pass to this flow.
    pub(super) fn gate(&self, number: FlowNumber) -> Option<&Gate> {
        self.gates.iter().find(|(flow, _)| *flow == number).map(|(_, gate)| gate)
    }
}

impl RoutingSnapshot {
    /// The catalog's revision that it shows.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether users' own configurations are switched on.
    #[must_use]
    pub fn is_ulc_enabled(&self) -> bool {
        self.ulc_enabled
    }

    /// The instance with this id.
    #[must_use]
    pub fn instance(&self, id: InstanceId) -> Option<&Arc<InstanceRoute>> {
        self.placed(id).map(|(_, instance)| instance)
    }

    /// Number of user configurations, removed ones that still answer so included.
    #[must_use]
    pub fn user_configs(&self) -> usize {
        self.configs.len()
    }

    /// Whether routing a request to this endpoint reads its body.
    #[must_use]
    pub fn needs_body(&self, endpoint: EndpointId) -> bool {
        let instance = match endpoint {
            EndpointId::UserFlow(..) | EndpointId::InstanceFlow(..) => None,
            EndpointId::Instance(id) => self.instance(id),
            EndpointId::Integration(id) => self.integration(id).map(|integration| &integration.newest),
        };
        instance.is_some_and(|instance| {
            let fields = &instance.routing;
            [&fields.flow_name, &fields.customer, &fields.user]
                .into_iter()
                .any(|path| matches!(path, Some(RoutingPath::Body(_))))
        })
    }

    /// The instance with its slot.
    pub(super) fn placed(&self, id: InstanceId) -> Option<(u32, &Arc<InstanceRoute>)> {
        let slot = *self.instances.by_id.get(&id)?;
        self.in_slot(slot).map(|instance| (slot, instance))
    }

    pub(super) fn in_slot(&self, slot: u32) -> Option<&Arc<InstanceRoute>> {
        self.instances.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn config(&self, id: UserConfigId) -> Option<&ConfigRow> {
        let wide = Wide::from(id.0);
        self.configs.find(wide.high).iter().find(|row| row.config == wide)
    }

    /// The live configuration of a user for the instance in a slot.
    pub(super) fn config_of(&self, slot: u32, user: UserId) -> Option<&ConfigRow> {
        let user = Wide::from(user.0);
        let rows = self.owners.find(OwnerRow::tag(slot, user));
        let mut configs = rows.iter().flat_map(|row| self.configs.find(row.config_high()));
        configs.find(|row| row.slot == slot && row.user == user && row.is_live())
    }

    pub(super) fn customer(&self, external_id: &str) -> Option<CustomerId> {
        let row = self.customers.find(self.secret.of(0, external_id)).first()?;
        Some(CustomerId(row.id.into()))
    }

    pub(super) fn customer_user(&self, customer: CustomerId, external_id: &str) -> Option<UserId> {
        let row = self.users.find(self.secret.of(customer.0.as_u128(), external_id)).first()?;
        Some(UserId(row.id.into()))
    }

    pub(super) fn is_organization_user(&self, external_id: &str) -> bool {
        !self.organization_users.find(self.secret.of(0, external_id)).is_empty()
    }

    pub(super) fn integration(&self, id: IntegrationId) -> Option<&Arc<IntegrationRoute>> {
        let integration = self.instances.integrations.get(&id)?;
        (integration.newest.endpoint_type == EndpointType::SharedInstance).then_some(integration)
    }

    /// The customer's instance of an integration; of several, one that is switched on. Of several of those, the one with the
    /// smallest id, whatever the order in which they came.
    pub(super) fn instance_of(&self, integration: IntegrationId, customer: CustomerId) -> Option<(u32, &Arc<InstanceRoute>)> {
        use crate::model::InstanceState::{Disabled, Enabled, NotDeployed};
        let slots = self.slots_of(integration, customer)?;
        slots
            .iter()
            .filter_map(|slot| Some((*slot, self.in_slot(*slot)?)))
            .min_by_key(|(_, instance)| {
                let place = match instance.state {
                    Enabled => 0,
                    Disabled => 1,
                    NotDeployed => 2,
                };
                (place, instance.id)
            })
    }

    fn slots_of(&self, integration: IntegrationId, customer: CustomerId) -> Option<&Vec<u32>> {
        #[cfg(feature = "faults")]
        if self.is_customer_dropped {
            return self.slots_of_anybody(integration);
        }
        self.instances.of_customer.get(&(integration, customer))
    }
}
