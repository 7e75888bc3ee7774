//! Which child does what, kept up to date so that handing out a run walks over no child it has nothing for. Pure.

use crate::js::run::UserKey;
use perseat_domain::id::{CustomerId, IdMap};
use std::collections::VecDeque;
use std::hash::Hash;

/// The children by what they do. One that is to be killed and holds no slot is in none of them.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Those that hold a slot.
    holders: Vec<u64>,
    /// The slots of each customer.
    slots: Counts<CustomerId>,
    /// Those that left their slots to others while their scripts wait.
    aside: Vec<u64>,
    /// The same, of each customer.
    aside_of: Counts<CustomerId>,
    /// The children that have something of each user.
    running: Counts<UserKey>,
    /// Those kept for their customer's next turn; the one idle for longest is first.
    kept: VecDeque<(CustomerId, u64)>,
    /// Those of no customer yet.
    spares: Vec<u64>,
}

impl Roster {
    /// A child is ready.
    pub(super) fn arrived(&mut self, id: u64) {
        self.spares.push(id);
    }

    /// A child ended: one of a customer, or a spare.
    pub(super) fn departed(&mut self, id: u64, customer: Option<CustomerId>) {
        match customer {
            None => self.spares.retain(|spare| *spare != id),
            Some(customer) if !self.leave(id, customer) && !self.is_aside_no_more(id, customer) => {
                self.kept.retain(|(_, kept)| *kept != id);
            }
            Some(_) => {}
        }
    }

    /// Whether a customer could get a child.
    pub(super) fn has_child(&self, customer: CustomerId) -> bool {
        !self.spares.is_empty() || self.kept.iter().any(|(of, _)| *of == customer)
    }

    /// Gives a slot to a child of the customer, to a spare where none is kept.
    pub(super) fn attach(&mut self, customer: CustomerId) -> Option<u64> {
        let kept = self.kept.iter().rposition(|(of, _)| *of == customer);
        let id = match kept.and_then(|at| self.kept.remove(at)) {
            Some((_, id)) => id,
            None => self.spares.pop()?,
        };
        self.holders.push(id);
        self.slots.add(customer);
        Some(id)
    }

    /// Takes a child's slot; whether it had one.
    pub(super) fn leave(&mut self, id: u64, customer: CustomerId) -> bool {
        let Some(at) = self.holders.iter().position(|holder| *holder == id) else {
            return false;
        };
        self.holders.swap_remove(at);
        self.slots.remove(&customer);
        true
    }

    /// Leaves a child's slot to others while its script waits.
    pub(super) fn steps_aside(&mut self, id: u64, customer: CustomerId) {
        if self.leave(id, customer) {
            self.aside.push(id);
            self.aside_of.add(customer);
        }
    }

    /// Gives a child that stepped aside a slot again, though there may be one more than there should be then.
    pub(super) fn goes_on(&mut self, id: u64, customer: CustomerId) {
        if self.is_aside_no_more(id, customer) {
            self.holders.push(id);
            self.slots.add(customer);
        }
    }

    fn is_aside_no_more(&mut self, id: u64, customer: CustomerId) -> bool {
        let Some(at) = self.aside.iter().position(|aside| *aside == id) else {
            return false;
        };
        self.aside.swap_remove(at);
        self.aside_of.remove(&customer);
        true
    }

    /// Whether one more child of a customer may step aside, of so many.
    pub(super) fn may_step_aside(&self, customer: CustomerId, most: usize) -> bool {
        self.aside.len() < most && self.aside_of.of(&customer) < most.div_ceil(2)
    }

    /// Keeps a child that left its slot for its customer's next turn.
    pub(super) fn keep(&mut self, id: u64, customer: CustomerId) {
        self.kept.push_back((customer, id));
    }

    /// Takes the child that was idle for longest, where more than `room` are kept.
    pub(super) fn forget_old(&mut self, room: usize) -> Option<u64> {
        let has_surplus = self.kept.len() > room;
        has_surplus.then(|| self.kept.pop_front()).flatten().map(|(_, id)| id)
    }

    /// A child that had nothing of a user has something of theirs.
    pub(super) fn begins(&mut self, user: UserKey) {
        self.running.add(user);
    }

    /// A child has nothing of a user any more.
    pub(super) fn ends(&mut self, user: UserKey) {
        self.running.remove(&user);
    }

    /// The children that hold a slot.
    pub(super) fn holders(&self) -> &[u64] {
        &self.holders
    }

    /// The slots that a customer holds.
    pub(super) fn slots(&self, customer: CustomerId) -> usize {
        self.slots.of(&customer)
    }

    /// Whether a customer holds a slot.
    pub(super) fn holds(&self, customer: CustomerId) -> bool {
        self.slots(customer) > 0
    }

    /// How many children have something of a user.
    pub(super) fn running(&self, user: UserKey) -> usize {
        self.running.of(&user)
    }

    /// The children of no customer yet.
    pub(super) fn spares(&self) -> &[u64] {
        &self.spares
    }

    /// The children that stepped aside.
    #[cfg(test)]
    pub(super) fn aside(&self) -> &[u64] {
        &self.aside
    }

    /// The children kept for their customers.
    #[cfg(test)]
    pub(super) fn kept(&self) -> &VecDeque<(CustomerId, u64)> {
        &self.kept
    }
}

/// How many there are of each.
#[derive(Debug)]
struct Counts<K>(IdMap<K, usize>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(IdMap::default())
    }
}

impl<K: Eq + Hash> Counts<K> {
    fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    fn remove(&mut self, key: &K) {
        if let Some(count) = self.0.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }

    fn of(&self, key: &K) -> usize {
        self.0.get(key).copied().unwrap_or_default()
    }
}
