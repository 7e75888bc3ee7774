//! Publishes what changed in the catalog: the routing snapshot first, then the owners' actors.
//!
//! A change that is said to have failed may be stored all the same, where it was the last sync that failed. So it is looked at after
//! each that failed whether records changed, and everything is published anew where they did.

use super::random;
use arc_swap::ArcSwap;
use perseat_actors::kit::Clock;
use perseat_actors::kit::Mailbox;
use perseat_actors::supervisor::{ConfigChanged, Supervisor};
use perseat_admin::edit::Effects;
use perseat_domain::owner::UserKey;
use perseat_domain::route::{HashSecret, RoutingSnapshot};
use perseat_store::catalog::Touched;
use perseat_store::custody::Custody;
use perseat_store::error::StoreError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// See the module.
#[derive(Debug)]
pub(crate) struct Publisher {
    custody: Custody,
    snapshot: Arc<ArcSwap<RoutingSnapshot>>,
    supervisors: Vec<Mailbox<Supervisor>>,
    /// One publication at a time, in the order of mutations: held over mutation and publication.
    turn: Mutex<Turn>,
    /// Told where a change is in doubt and the catalog cannot be read.
    doubts: Notify,
}

#[derive(Debug, Default)]
struct Turn {
    /// The revision before a change of which it is not known whether it is stored; 0 where that was not known either.
    in_doubt: Option<u64>,
}

impl Publisher {
    pub(crate) fn new(custody: Custody, snapshot: Arc<ArcSwap<RoutingSnapshot>>, supervisors: Vec<Mailbox<Supervisor>>) -> Self {
        Self {
            custody,
            snapshot,
            supervisors,
            turn: Mutex::default(),
            doubts: Notify::new(),
        }
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the snapshot with or without the mutant whose look-up drops the customer.
    #[cfg(feature = "faults")]
    pub(crate) fn drop_customer(&self, is_dropped: bool) {
        let _turn = self.turn();
        let next = self.snapshot.load().with_customer_dropped(is_dropped);
        self.snapshot.store(Arc::new(next));
    }

    /// Runs a mutation and publishes what it changed.
    pub(crate) fn publish<T, E>(&self, mutate: impl FnOnce() -> Result<(T, Published), E>) -> Result<T, E> {
        let mut turn = self.turn();
        let before = self.custody.catalog().revision().unwrap_or_default();
        let (value, published) = match mutate() {
            Ok(changed) => changed,
            Err(error) => {
                turn.in_doubt.get_or_insert(before);
                self.settle(&mut turn);
                return Err(error);
            }
        };
        let Effects {
            routes,
            instances,
            users,
            holders,
            is_everywhere,
        } = published.effects;
        let next = (!routes.is_empty()).then(|| self.snapshot.load().with_changes(routes, published.revision));
        // Owners hear of it first: what a front routes by the new snapshot never meets the version before.
        if !instances.is_empty() || !users.is_empty() || !holders.is_empty() || is_everywhere {
            let users = users.into_iter().map(|(instance, config)| UserKey {
                instance,
                config: Some(config),
            });
            self.announce(&ConfigChanged {
                users: users.collect(),
                instances: (!is_everywhere).then_some(instances),
                holders: holders.into_iter().collect(),
            });
        }
        #[cfg(feature = "faults")]
        perseat_journal::kill_point::reach("change-announced");
        if let Some(next) = next {
            self.snapshot.store(Arc::new(next));
        }
        Ok(value)
    }

    fn announce(&self, changed: &ConfigChanged) {
        for supervisor in &self.supervisors {
            supervisor.announce(changed.clone());
        }
    }

    /// Settles what is in doubt once the catalog can be read, until `stop`.
    pub(crate) async fn settle_doubts(self: Arc<Self>, clock: Arc<dyn Clock>, retry: Duration, stop: CancellationToken) {
        let settle = async {
            loop {
                self.doubts.notified().await;
                clock.sleep(retry).await;
                let this = self.clone();
                let settled = tokio::task::spawn_blocking(move || this.settle(&mut this.turn()));
                if let Err(error) = settled.await {
                    tracing::error!(%error, "what may have been stored could not be published");
                }
            }
        };
        stop.run_until_cancelled(settle).await;
    }

    /// Finds out whether what is in doubt is stored.
    fn settle(&self, turn: &mut Turn) {
        let Some(before) = turn.in_doubt else { return };
        let settled = match self.custody.catalog().changes_since(before) {
            Ok((_, Touched::Records(records))) if records.is_empty() => Ok(()),
            Ok(_) => self.publish_all(),
            Err(error) => Err(error),
        };
        match settled {
            Ok(()) => turn.in_doubt = None,
            Err(error) => {
                tracing::warn!(%error, "whether a change is stored is not known now; it is looked at again");
                self.doubts.notify_one();
            }
        }
    }

    /// Publishes everything anew, and does what a change left to be done.
    fn publish_all(&self) -> Result<(), StoreError> {
        let next = perseat_admin::routing::snapshot(self.custody.catalog(), HashSecret::new(random()))?;
        self.announce(&ConfigChanged::everywhere());
        self.snapshot.store(Arc::new(next));
        tracing::warn!("a change that was said to have failed is stored: everything was published anew");
        if let Err(error) = self.custody.destroy_pending() {
            tracing::error!(%error, "keys of deleted owners could not be destroyed yet");
        }
        Ok(())
    }
}

/// What a mutation changed.
pub(crate) struct Published {
    pub(crate) effects: Effects,
    pub(crate) revision: u64,
}
