//! How much room uploaded files have, together and for each: one customer, and one owner's uploads that nothing takes up, must
//! not use up what all share.

use super::MediaError;
use crate::error::StoreError;
use perseat_domain::id::{CustomerId, MediaId};
use perseat_domain::model::MediaOwner;
use std::collections::HashMap;

/// Limits of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// All files together, in bytes (`media.budget`).
    pub budget: u64,
    /// Those of one customer and its users, in bytes (`media.customer-budget`).
    pub customer: u64,
    /// Uploads of one owner that nothing has taken up (`media.untaken`).
    pub untaken: usize,
}

/// What is to be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) id: MediaId,
    pub(super) owner: MediaOwner,
    /// The customer whose file it is, or whose user's.
    pub(super) customer: Option<CustomerId>,
    /// As it is stored.
    pub(super) bytes: u64,
}

/// What is taken.
#[derive(Debug)]
pub(super) struct Ledger {
    room: Room,
    total: u64,
    customers: HashMap<CustomerId, u64>,
    /// Uploads that nothing had taken up when they were last looked at, by owner and with the customer.
    uploads: HashMap<MediaOwner, Vec<MediaId>>,
    owners: HashMap<MediaId, (MediaOwner, Option<CustomerId>)>,
}

impl Ledger {
    pub(super) fn new(room: Room) -> Self {
        Self {
            room,
            total: 0,
            customers: HashMap::new(),
            uploads: HashMap::new(),
            owners: HashMap::new(),
        }
    }

    /// A file that is there already; whose it is becomes known later.
    pub(super) fn found(&mut self, bytes: u64) {
        self.total += bytes;
    }

    /// Counts a file that is there for its customer.
    pub(super) fn charge(&mut self, customer: CustomerId, bytes: u64) {
        *self.customers.entry(customer).or_default() += bytes;
    }

    /// Counts an upload, or says what is full. `is_named` tells whether something has taken an upload up.
    pub(super) fn reserve(&mut self, item: Item, is_named: &dyn Fn(MediaId) -> Result<bool, StoreError>) -> Result<(), MediaError> {
        if self.total.saturating_add(item.bytes) > self.room.budget {
            return Err(MediaError::Budget);
        }
        let of_customer = item.customer.and_then(|customer| self.customers.get(&customer)).copied();
        if item.customer.is_some() && of_customer.unwrap_or(0).saturating_add(item.bytes) > self.room.customer {
            return Err(MediaError::CustomerBudget);
        }
        if self.untaken(item.owner) >= self.room.untaken {
            for id in self.uploads.get(&item.owner).cloned().unwrap_or_default() {
                if is_named(id)? {
                    self.is_taken(id);
                }
            }
            if self.untaken(item.owner) >= self.room.untaken {
                return Err(MediaError::Untaken);
            }
        }
        self.total += item.bytes;
        if let Some(customer) = item.customer {
            self.charge(customer, item.bytes);
        }
        self.uploads.entry(item.owner).or_default().push(item.id);
        self.owners.insert(item.id, (item.owner, item.customer));
        Ok(())
    }

    fn untaken(&self, owner: MediaOwner) -> usize {
        self.uploads.get(&owner).map_or(0, Vec::len)
    }

    /// Something has taken an upload up, or it is gone: it counts among the owner's uploads no more. Gives its customer.
    pub(super) fn is_taken(&mut self, id: MediaId) -> Option<CustomerId> {
        let (owner, customer) = self.owners.remove(&id)?;
        if let Some(uploads) = self.uploads.get_mut(&owner) {
            uploads.retain(|upload| *upload != id);
            if uploads.is_empty() {
                self.uploads.remove(&owner);
            }
        }
        customer
    }

    /// A file is gone; `customer` is whose it was, where the record said so.
    pub(super) fn release(&mut self, id: MediaId, customer: Option<CustomerId>, bytes: u64) {
        self.total = self.total.saturating_sub(bytes);
        let Some(customer) = self.is_taken(id).or(customer) else { return };
        if let Some(used) = self.customers.get_mut(&customer) {
            *used = used.saturating_sub(bytes);
            if *used == 0 {
                self.customers.remove(&customer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::id::UserId;
    use uuid::Uuid;

    const ACME: CustomerId = CustomerId(Uuid::from_u128(1));
    const GLOBEX: CustomerId = CustomerId(Uuid::from_u128(2));

    fn item(id: u128, owner: MediaOwner, customer: CustomerId, bytes: u64) -> Item {
        Item {
            id: MediaId(Uuid::from_u128(id)),
            owner,
            customer: Some(customer),
            bytes,
        }
    }

    fn user(id: u128) -> MediaOwner {
        MediaOwner::User(UserId(Uuid::from_u128(id)))
    }

    #[test]
    fn one_customer_leaves_room_for_others() {
        let mut ledger = Ledger::new(Room {
            budget: 100,
            customer: 40,
            untaken: 10,
        });
        let none = |_: MediaId| Ok(false);
        ledger.reserve(item(1, MediaOwner::Customer(ACME), ACME, 30), &none).unwrap();
        let full = ledger.reserve(item(2, user(7), ACME, 11), &none);
        assert!(
            matches!(full, Err(MediaError::CustomerBudget)),
            "its users' files count, too: {full:?}"
        );
        ledger.reserve(item(2, user(7), ACME, 10), &none).unwrap();
        ledger.reserve(item(3, MediaOwner::Customer(GLOBEX), GLOBEX, 40), &none).unwrap();
        ledger.release(MediaId(Uuid::from_u128(1)), Some(ACME), 30);
        ledger.reserve(item(4, user(7), ACME, 30), &none).unwrap();
        let organization = Item {
            customer: None,
            ..item(5, user(9), ACME, 21)
        };
        assert!(matches!(ledger.reserve(organization, &none), Err(MediaError::Budget)));
        // What was there at the start counts once it is known whose it is.
        ledger.found(5);
        ledger.charge(GLOBEX, 5);
        assert_eq!((ledger.total, ledger.customers[&GLOBEX]), (85, 45));
    }

    #[test]
    fn uploads_that_nothing_takes_up_are_few_and_those_of_others_do_not_count() {
        let mut ledger = Ledger::new(Room {
            budget: 100,
            customer: 100,
            untaken: 2,
        });
        let none = |_: MediaId| Ok(false);
        for id in 1..=2 {
            ledger.reserve(item(id, user(7), ACME, 1), &none).unwrap();
        }
        assert!(matches!(ledger.reserve(item(3, user(7), ACME, 1), &none), Err(MediaError::Untaken)));
        ledger.reserve(item(3, user(8), ACME, 1), &none).unwrap();
        // One is taken up, another one is swept.
        let first = |id: MediaId| Ok(id.0.as_u128() == 1);
        ledger.reserve(item(4, user(7), ACME, 1), &first).unwrap();
        ledger.release(MediaId(Uuid::from_u128(2)), None, 1);
        assert_eq!(ledger.customers[&ACME], 3, "whose upload it was is known");
        ledger.reserve(item(5, user(7), ACME, 1), &none).unwrap();
        assert!(matches!(ledger.reserve(item(6, user(7), ACME, 1), &none), Err(MediaError::Untaken)));
    }
}
