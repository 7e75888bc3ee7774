//! Whose pictures wait to be decoded: one customer's, or one owner's, must not keep all others waiting.

use super::limits::PictureLimits;
use perseat_domain::id::CustomerId;
use perseat_domain::model::MediaOwner;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts them.
#[derive(Debug)]
pub(super) struct Pictures {
    limits: PictureLimits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    owners: HashMap<MediaOwner, usize>,
    customers: HashMap<Option<CustomerId>, usize>,
}

/// One picture that waits or is decoded, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    pictures: Arc<Pictures>,
    owner: MediaOwner,
    customer: Option<CustomerId>,
}

impl Pictures {
    pub(super) fn new(limits: PictureLimits) -> Self {
        Self {
            limits,
            counts: Mutex::default(),
        }
    }

    /// Lets a picture wait; none if there are enough of its owner's, or of its customer's.
    pub(super) fn enter(self: &Arc<Self>, owner: MediaOwner, customer: Option<CustomerId>) -> Option<Turn> {
        let mut counts = self.counts();
        let of_owner = counts.owners.get(&owner).copied().unwrap_or(0);
        let of_customer = counts.customers.get(&customer).copied().unwrap_or(0);
        if of_owner >= self.limits.of_owner || of_customer >= self.limits.of_customer {
            return None;
        }
        counts.owners.insert(owner, of_owner + 1);
        counts.customers.insert(customer, of_customer + 1);
        Some(Turn {
            pictures: Arc::clone(self),
            owner,
            customer,
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = self.pictures.counts();
        lower(&mut counts.owners, &self.owner);
        lower(&mut counts.customers, &self.customer);
    }
}

fn lower<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::id::UserId;
    use uuid::Uuid;

    #[test]
    fn a_customers_pictures_leave_the_decoder_to_others() {
        let pictures = Arc::new(Pictures::new(PictureLimits {
            of_customer: 2,
            of_owner: 1,
        }));
        let user = |id: u128| MediaOwner::User(UserId(Uuid::from_u128(id)));
        let customer = |id: u128| Some(CustomerId(Uuid::from_u128(id)));
        let first = pictures.enter(user(1), customer(1)).unwrap();
        assert!(pictures.enter(user(1), customer(1)).is_none(), "one at a time for one owner");
        let second = pictures.enter(user(2), customer(1)).unwrap();
        assert!(pictures.enter(user(3), customer(1)).is_none(), "two at a time of one customer");
        let third = pictures.enter(user(4), customer(2)).unwrap();
        let organization = pictures.enter(user(5), None).unwrap();
        drop(first);
        let fourth = pictures.enter(user(3), customer(1)).unwrap();
        drop((second, third, fourth, organization));
        let counts = pictures.counts();
        assert!(counts.owners.is_empty() && counts.customers.is_empty());
    }
}
