//! Keeps consents and tokens that are given back apart: a provider that ends all that somebody allowed a client must not be told of an
//! old token while it gives a new one that nobody here knows of yet.

use perseat_flow::oauth::Place;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// By the host that tokens are given back to, and the client.
#[derive(Debug, Default)]
pub(super) struct Crossings(Mutex<HashMap<Place, Weak<RwLock<()>>>>);

impl Crossings {
    /// A consent goes on, beside others, until this is dropped.
    pub(super) async fn consent(&self, place: Place) -> OwnedRwLockReadGuard<()> {
        self.at(place).read_owned().await
    }

    /// A token is given back, beside nothing else, until this is dropped.
    pub(super) async fn give_back(&self, place: Place) -> OwnedRwLockWriteGuard<()> {
        self.at(place).write_owned().await
    }

    fn at(&self, place: Place) -> Arc<RwLock<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, lock| lock.strong_count() > 0);
        let lock = all.get(&place).and_then(Weak::upgrade).unwrap_or_default();
        all.insert(place, Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn place(client: &str) -> Place {
        ("provider.example".to_owned(), client.to_owned())
    }

    #[test]
    fn a_token_is_given_back_beside_no_consent_of_its_client_and_beside_those_of_others() {
        let crossings = Crossings::default();
        let consents = [1, 2].map(|_| crossings.consent(place("ours")).now_or_never().unwrap());
        assert!(crossings.give_back(place("ours")).now_or_never().is_none());
        let others = crossings.give_back(place("another")).now_or_never();
        assert!(others.is_some());
        drop(consents);
        let given = crossings.give_back(place("ours")).now_or_never();
        assert!(given.is_some() && crossings.consent(place("ours")).now_or_never().is_none());
        drop((given, others));
        assert!(crossings.consent(place("ours")).now_or_never().is_some());
        assert_eq!(crossings.0.lock().unwrap().len(), 1, "what nobody waits at is forgotten");
    }
}
