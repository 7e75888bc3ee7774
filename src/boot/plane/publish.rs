//! Publishes what changed in the catalog: the routing snapshot first, then the owners' actors.

use arc_swap::ArcSwap;
use perseat_actors::kit::Mailbox;
use perseat_actors::supervisor::{ConfigChanged, Supervisor};
use perseat_admin::edit::Effects;
use perseat_domain::route::RoutingSnapshot;
use std::sync::{Arc, Mutex, PoisonError};

/// See the module.
#[derive(Debug)]
pub(crate) struct Publisher {
    snapshot: Arc<ArcSwap<RoutingSnapshot>>,
    supervisors: Vec<Mailbox<Supervisor>>,
    /// One publication at a time, in the order of mutations: held over mutation and publication.
    turn: Mutex<()>,
}

impl Publisher {
    pub(crate) fn new(snapshot: Arc<ArcSwap<RoutingSnapshot>>, supervisors: Vec<Mailbox<Supervisor>>) -> Self {
        Self {
            snapshot,
            supervisors,
            turn: Mutex::new(()),
        }
    }

    /// Publishes the snapshot with or without the mutant whose look-up drops the customer.
    #[cfg(feature = "faults")]
    pub(crate) fn drop_customer(&self, is_dropped: bool) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.snapshot.load().with_customer_dropped(is_dropped);
        self.snapshot.store(Arc::new(next));
    }

    /// Runs a mutation and publishes what it changed.
    pub(crate) fn publish<T, E>(&self, mutate: impl FnOnce() -> Result<(T, Published), E>) -> Result<T, E> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, published) = mutate()?;
        let Effects {
            routes,
            instances,
            holders,
            is_everywhere,
        } = published.effects;
        if !routes.is_empty() {
            let next = self.snapshot.load().with_changes(routes, published.revision);
            self.snapshot.store(Arc::new(next));
        }
        if !instances.is_empty() || !holders.is_empty() || is_everywhere {
            let changed = ConfigChanged {
                instances: (!is_everywhere).then(|| instances.into_iter().collect()),
                holders: holders.into_iter().collect(),
            };
            for supervisor in &self.supervisors {
                supervisor.announce(changed.clone());
            }
        }
        Ok(value)
    }
}

/// What a mutation changed.
pub(crate) struct Published {
    pub(crate) effects: Effects,
    pub(crate) revision: u64,
}
