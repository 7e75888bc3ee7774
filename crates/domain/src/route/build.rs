//! Makes snapshots: the first one from everything there is, each later one from what changed.

use super::config_row::{ConfigRow, ExternalRow, OwnerRow, UserConfigState};
use super::hash::{HashSecret, Wide};
use super::instance::InstanceRoute;
use super::snapshot::{Instances, IntegrationRoute, RoutingSnapshot};
use super::table::Table;
use crate::id::{CustomerId, InstanceId, IntegrationId, UserConfigId, UserId};
use crate::model::Membership;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// A user configuration, as routing sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserConfigRoute {
    /// Its id.
    pub id: UserConfigId,
    /// Of which instance.
    pub instance: InstanceId,
    /// Whose.
    pub user: UserId,
    /// Where it stands.
    pub state: UserConfigState,
}

/// Something that changed in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteChange {
    /// Users' own configurations were switched on or off.
    UlcEnabled(bool),
    /// A customer got, changed or lost their external id. Deleting one: `after` is `None`.
    CustomerExternalId {
        /// Which customer.
        customer: CustomerId,
        /// The id until now.
        before: Option<String>,
        /// The id from now on.
        after: Option<String>,
    },
    /// A user got, changed or lost their external id. Deleting one: `after` is `None`.
    UserExternalId {
        /// Which user.
        user: UserId,
        /// To whom they belong.
        membership: Membership,
        /// The id until now.
        before: Option<String>,
        /// The id from now on.
        after: Option<String>,
    },
    /// An instance was made, deployed, switched on or off.
    Instance(Box<InstanceRoute>),
    /// An instance was deleted; its users' URLs name nothing from now on.
    InstanceDeleted(InstanceId),
    /// A user configuration was saved or removed; nothing happens if its instance is unknown.
    UserConfig(UserConfigRoute),
    /// A user configuration's row is no longer needed: its URL names nothing from now on.
    UserConfigForgotten(UserConfigId),
}

/// Collects everything there is. Instances must be added before their users' configurations.
#[derive(Debug)]
pub struct SnapshotBuilder {
    secret: HashSecret,
    ulc_enabled: bool,
    instances: Instances,
    configs: Vec<ConfigRow>,
    users: Vec<ExternalRow>,
    organization_users: Vec<ExternalRow>,
    customers: Vec<ExternalRow>,
}

impl SnapshotBuilder {
    /// An empty picture.
    #[must_use]
    pub fn new(secret: HashSecret, ulc_enabled: bool) -> Self {
        Self {
            secret,
            ulc_enabled,
            instances: Instances::default(),
            configs: Vec::new(),
            users: Vec::new(),
            organization_users: Vec::new(),
            customers: Vec::new(),
        }
    }

    /// Adds a customer that has an external id.
    pub fn customer(&mut self, customer: CustomerId, external_id: &str) {
        let hash = self.secret.of(0, external_id);
        self.customers.push(ExternalRow {
            hash,
            id: customer.0.into(),
        });
    }

    /// Adds a user who has an external id.
    pub fn user(&mut self, user: UserId, membership: Membership, external_id: &str) {
        let (rows, scope) = match membership {
            Membership::Organization => (&mut self.organization_users, 0),
            Membership::Customer(customer) => (&mut self.users, customer.0.as_u128()),
        };
        rows.push(ExternalRow {
            hash: self.secret.of(scope, external_id),
            id: user.0.into(),
        });
    }

    /// Adds an instance.
    pub fn instance(&mut self, instance: InstanceRoute) {
        self.instances.put(instance);
    }

    /// Adds a user configuration; one of an unknown instance is left out.
    pub fn user_config(&mut self, config: &UserConfigRoute) {
        if let Some(slot) = self.instances.by_id.get(&config.instance) {
            self.configs.push(config.row(*slot));
        }
    }

    /// The snapshot of the catalog at `revision`.
    #[must_use]
    pub fn build(mut self, revision: u64) -> RoutingSnapshot {
        let integrations: Vec<IntegrationId> = self.instances.of_customer.keys().map(|(integration, _)| *integration).collect();
        self.instances.settle(integrations);
        let owners: Vec<OwnerRow> = self.configs.iter().filter(|row| row.is_live()).map(OwnerRow::of).collect();
        RoutingSnapshot {
            revision,
            ulc_enabled: self.ulc_enabled,
            secret: self.secret,
            owners: Table::build(&owners),
            configs: Table::build(&self.configs),
            users: Table::build(&self.users),
            organization_users: Table::build(&self.organization_users),
            customers: Table::build(&self.customers),
            instances: Arc::new(self.instances),
            #[cfg(feature = "faults")]
            is_customer_dropped: false,
        }
    }
}

impl UserConfigRoute {
    fn row(&self, slot: u32) -> ConfigRow {
        ConfigRow::new(self.id.0.into(), self.user.0.into(), slot, self.state)
    }
}

impl Instances {
    fn put(&mut self, mut instance: InstanceRoute) {
        self.share_flows(&mut instance);
        if let Some(slot) = self.by_id.get(&instance.id) {
            self.slots[*slot as usize] = Some(Arc::new(instance));
            return;
        }
        // Four thousand million instances of one start do not fit in memory, so that the number cannot wrap.
        let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.by_id.insert(instance.id, slot);
        self.of_customer
            .entry((instance.integration, instance.customer))
            .or_default()
            .push(slot);
        self.slots.push(Some(Arc::new(instance)));
    }

    /// A request reads the flows of its instance: where all have the same, those of any are in the processor's cache.
    fn share_flows(&mut self, instance: &mut InstanceRoute) {
        match self.flows.entry((instance.integration, instance.version)) {
            Entry::Occupied(shared) if *shared.get() == instance.flows => instance.flows = Arc::clone(shared.get()),
            Entry::Occupied(mut other) => drop(other.insert(Arc::clone(&instance.flows))),
            Entry::Vacant(first) => drop(first.insert(Arc::clone(&instance.flows))),
        }
    }

    /// Empties the slot for good: rows that still name it find nothing, never another instance.
    fn delete(&mut self, id: InstanceId) -> Option<IntegrationId> {
        let slot = self.by_id.remove(&id)?;
        let instance = self.slots.get_mut(slot as usize)?.take()?;
        let key = (instance.integration, instance.customer);
        if let Some(slots) = self.of_customer.get_mut(&key) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.of_customer.remove(&key);
            }
        }
        Some(instance.integration)
    }

    /// Recomputes the shared endpoints of these integrations.
    fn settle(&mut self, integrations: impl IntoIterator<Item = IntegrationId>) {
        let mut deployed: HashMap<IntegrationId, Vec<&Arc<InstanceRoute>>> = integrations.into_iter().map(|id| (id, Vec::new())).collect();
        for instance in self.slots.iter().flatten().filter(|instance| instance.is_deployed()) {
            if let Some(instances) = deployed.get_mut(&instance.integration) {
                instances.push(instance);
            }
        }
        // Versions that nobody has any more.
        self.flows.retain(|_, flows| Arc::strong_count(flows) > 1);
        for (id, instances) in deployed {
            match IntegrationRoute::new(&instances) {
                Some(route) => self.integrations.insert(id, Arc::new(route)),
                None => self.integrations.remove(&id),
            };
        }
    }
}

impl RoutingSnapshot {
    /// The snapshot after these changes, at `revision`. Shares with this one whatever did not change.
    #[must_use]
    pub fn with_changes(&self, changes: impl IntoIterator<Item = RouteChange>, revision: u64) -> Self {
        let mut next = self.clone();
        next.revision = revision;
        let mut unsettled = Vec::new();
        for change in changes {
            next.apply(change, &mut unsettled);
        }
        if !unsettled.is_empty() {
            Arc::make_mut(&mut next.instances).settle(unsettled);
        }
        next
    }

    fn apply(&mut self, change: RouteChange, unsettled: &mut Vec<IntegrationId>) {
        match change {
            RouteChange::UlcEnabled(enabled) => self.ulc_enabled = enabled,
            RouteChange::CustomerExternalId { customer, before, after } => {
                let secret = self.secret;
                move_external(&mut self.customers, customer.0.into(), before, after, |text| secret.of(0, text));
            }
            RouteChange::UserExternalId {
                user,
                membership,
                before,
                after,
            } => {
                let secret = self.secret;
                let (rows, scope) = match membership {
                    Membership::Organization => (&mut self.organization_users, 0),
                    Membership::Customer(customer) => (&mut self.users, customer.0.as_u128()),
                };
                move_external(rows, user.0.into(), before, after, |text| secret.of(scope, text));
            }
            RouteChange::Instance(instance) => {
                unsettled.push(instance.integration);
                Arc::make_mut(&mut self.instances).put(*instance);
            }
            RouteChange::InstanceDeleted(id) => unsettled.extend(Arc::make_mut(&mut self.instances).delete(id)),
            RouteChange::UserConfig(config) => {
                if let Some(slot) = self.instances.by_id.get(&config.instance) {
                    let row = config.row(*slot);
                    self.put_config(config.id, Some(row));
                }
            }
            RouteChange::UserConfigForgotten(id) => self.put_config(id, None),
        }
    }

    fn put_config(&mut self, id: UserConfigId, row: Option<ConfigRow>) {
        let wide = Wide::from(id.0);
        let old = self.config(id).copied();
        self.configs.edit(wide.high, |rows| {
            rows.retain(|other| other.config != wide);
            rows.extend(row);
        });
        let (old, new) = (
            old.filter(ConfigRow::is_live).map(|row| OwnerRow::of(&row)),
            row.filter(ConfigRow::is_live).map(|row| OwnerRow::of(&row)),
        );
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.owners
                .edit(super::table::Row::key(&old), |rows| rows.retain(|other| *other != old));
        }
        if let Some(new) = new {
            self.owners.edit(super::table::Row::key(&new), |rows| rows.push(new));
        }
    }
}

/// Moves an id from one external id to another. An external id that somebody else took meanwhile stays theirs.
fn move_external(rows: &mut Table<ExternalRow>, id: Wide, before: Option<String>, after: Option<String>, hash: impl Fn(&str) -> Wide) {
    if let Some(before) = before {
        rows.edit(hash(&before), |rows| rows.retain(|row| row.id != id));
    }
    if let Some(after) = after {
        let hash = hash(&after);
        rows.edit(hash, |rows| {
            rows.clear();
            rows.push(ExternalRow { hash, id });
        });
    }
}
