//! Who begins nothing more for now, because of what theirs that has begun holds.
//!
//! What an execution has written is kept until it ends. Admission looks at that when an event comes; of what was let in before, all could
//! begin, write much and wait, for a credential say, until there is room for nobody's events. So where what a user or a customer has begun
//! holds their share, nothing else of theirs begins before some of it ends. What has begun goes on.
//!
//! What stands apart is let in again a few at a time, whenever it may have become possible: at an end, and when something of the customer
//! began, or turned out not to begin for now. Its users take turns, so that none waits for another's to be through.

use super::table::{Live, Stand};
use super::{Owner, Turn};
use crate::id::{CustomerId, ExecutionId, IdMap, UserId};
use crate::identity::Identity;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::ops::Bound;

/// What is let in of a customer at once. More than one, as what began may have held little; what does not fit after all stands apart again.
const AT_ONCE: usize = 64;

/// Bytes that what has begun may hold before nothing more begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Of one user (`admission.user-bytes`).
    pub user: u64,
    /// Of one customer (`admission.customer-bytes`).
    pub customer: u64,
}

/// Customer and, where there is one, person.
type Whose = (CustomerId, Option<UserId>);

fn whose(identity: &Identity) -> Whose {
    (identity.customer, identity.user.map(|bound| bound.user))
}

/// What of one customer begins once there is room.
#[derive(Debug, Default)]
struct Apart {
    /// Of each user, in the order of acceptance.
    of: BTreeMap<Option<UserId>, BTreeMap<u64, ExecutionId>>,
    /// Who had a turn last.
    last: Option<UserId>,
}

impl Apart {
    /// Those whose turn it is, in their order.
    fn users(&self) -> impl Iterator<Item = Option<UserId>> {
        let after = self.of.range((Bound::Excluded(self.last), Bound::Unbounded));
        after.chain(self.of.range(..=self.last)).map(|(user, _)| *user)
    }

    fn remove(&mut self, user: Option<UserId>, order: u64) -> Option<ExecutionId> {
        let of_user = self.of.get_mut(&user)?;
        let removed = of_user.remove(&order);
        if of_user.is_empty() {
            self.of.remove(&user);
        }
        removed
    }

    /// The oldest of this user, who had their turn then.
    fn take(&mut self, user: Option<UserId>) -> Option<ExecutionId> {
        self.last = user;
        let (order, _) = self.of.get(&user)?.first_key_value()?;
        self.remove(user, *order)
    }
}

/// What holds how much, and what waits for that.
#[derive(Debug)]
pub(super) struct Held {
    shares: Shares,
    of_users: IdMap<UserId, u64>,
    of_customers: IdMap<CustomerId, u64>,
    apart: IdMap<CustomerId, Apart>,
    /// Customers of whom something may be let in.
    stirred: BTreeSet<CustomerId>,
}

impl Held {
    pub(super) fn new(shares: Shares) -> Self {
        Self {
            shares,
            of_users: IdMap::default(),
            of_customers: IdMap::default(),
            apart: IdMap::default(),
            stirred: BTreeSet::new(),
        }
    }

    /// What has begun holds so much more.
    pub(super) fn add(&mut self, identity: &Identity, bytes: u64) {
        let (customer, user) = whose(identity);
        *self.of_customers.entry(customer).or_default() += bytes;
        if let Some(user) = user {
            *self.of_users.entry(user).or_default() += bytes;
        }
    }

    /// It holds nothing any more.
    fn take_off(&mut self, identity: &Identity, bytes: u64) {
        let (customer, user) = whose(identity);
        lower(&mut self.of_customers, &customer, bytes);
        if let Some(user) = user {
            lower(&mut self.of_users, &user, bytes);
        }
    }

    fn is_full(&self, (customer, user): Whose) -> bool {
        let of_user = user.and_then(|user| self.of_users.get(&user));
        of_user.is_some_and(|held| *held >= self.shares.user) || self.is_full_of(customer)
    }

    fn is_full_of(&self, customer: CustomerId) -> bool {
        self.of_customers.get(&customer).is_some_and(|held| *held >= self.shares.customer)
    }

    /// Whether something that they accepted before this stands apart.
    fn has_older(&self, (customer, user): Whose, order: u64) -> bool {
        let of_user = self.apart.get(&customer).and_then(|apart| apart.of.get(&user));
        of_user.is_some_and(|apart| apart.range(..order).next().is_some())
    }

    /// Something of this customer began, ended, or does not begin for now.
    pub(super) fn stir(&mut self, customer: CustomerId) {
        if !self.apart.is_empty() && self.apart.contains_key(&customer) {
            self.stirred.insert(customer);
        }
    }

    fn set_apart(&mut self, (customer, user): Whose, order: u64, execution: ExecutionId) {
        self.apart
            .entry(customer)
            .or_default()
            .of
            .entry(user)
            .or_default()
            .insert(order, execution);
        self.stirred.insert(customer);
    }

    fn forget(&mut self, (customer, user): Whose, order: u64) {
        if let Some(apart) = self.apart.get_mut(&customer) {
            apart.remove(user, order);
            self.leave_out(customer);
        }
    }

    /// Nothing is kept of a customer of whom nothing stands apart.
    fn leave_out(&mut self, customer: CustomerId) {
        if self.apart.get(&customer).is_some_and(|apart| apart.of.is_empty()) {
            self.apart.remove(&customer);
            self.stirred.remove(&customer);
        }
    }

    /// Whose oldest may begin now. Whoever holds their whole share is passed over; there are not more of them than shares.
    fn next(&self, customer: CustomerId) -> Option<Option<UserId>> {
        if self.is_full_of(customer) {
            return None;
        }
        let mut users = self.apart.get(&customer)?.users();
        users.find(|user| !self.is_full((customer, *user)))
    }

    /// What of this customer may begin now.
    fn take(&mut self, customer: CustomerId) -> Vec<ExecutionId> {
        let mut found = Vec::new();
        while found.len() < AT_ONCE
            && let Some(user) = self.next(customer)
            && let Some(apart) = self.apart.get_mut(&customer)
        {
            found.extend(apart.take(user));
            self.leave_out(customer);
        }
        found
    }
}

fn lower<K: Copy + Eq + Hash>(held: &mut IdMap<K, u64>, key: &K, bytes: u64) {
    if let Some(count) = held.get_mut(key) {
        *count = count.saturating_sub(bytes);
        if *count == 0 {
            held.remove(key);
        }
    }
}

impl Owner {
    /// It has begun: what it holds counts from now on.
    pub(super) fn began(&mut self, execution: ExecutionId) {
        if let Some(live) = self.table.get_mut(execution).filter(|live| !live.has_begun) {
            live.has_begun = true;
            self.held.add(&live.identity, live.bytes);
            self.held.stir(live.identity.customer);
        }
    }

    /// Gives the turn of what may not begin now back, and has it stand apart: behind what stands there already, too. What memory is kept
    /// for begins, and so does what finds out for others whether a credential is back.
    pub(super) fn is_set_apart(&mut self, turn: &Turn) -> bool {
        let Some(live) = self.table.get_mut(turn.execution) else {
            return false;
        };
        let (whose, order) = (whose(&live.identity), live.order);
        let goes_on = live.has_begun || live.has_memory || live.is_cancelled;
        let is_held_up = || self.held.is_full(whose) || self.held.has_older(whose, order);
        if goes_on || !is_held_up() || self.parked.is_scout(turn.user, order) {
            return false;
        }
        live.stand = Stand::Apart;
        self.held.set_apart(whose, order, turn.execution);
        if let Some(slot) = turn.slot {
            self.queue.returned(slot);
        }
        true
    }

    /// There is memory for an execution that [gave its turn back](Self::gave_back); false where it may not begin now and stands apart:
    /// then the memory is for others. Where what begins gives its memory back, all would begin in the end.
    pub fn room_came(&mut self, execution: ExecutionId) -> bool {
        let Some(live) = self.table.get_mut(execution) else {
            return true;
        };
        let whose = whose(&live.identity);
        if live.stand != Stand::Short || live.has_begun || !self.held.is_full(whose) {
            return true;
        }
        live.stand = Stand::Apart;
        self.held.set_apart(whose, live.order, execution);
        false
    }

    /// It stands apart no longer.
    pub(super) fn is_apart_no_more(&mut self, identity: &Identity, order: u64) {
        self.held.forget(whose(identity), order);
    }

    /// It ended, and what it held is free.
    pub(super) fn frees(&mut self, ended: &Live) {
        if ended.has_begun {
            self.held.take_off(&ended.identity, ended.bytes);
        }
        self.held.stir(ended.identity.customer);
    }

    /// What may begin by now lines up, each in its old place; whether there was any.
    pub(super) fn let_in(&mut self) -> bool {
        let mut was_any = false;
        while let Some(customer) = self.held.stirred.pop_first() {
            for execution in self.held.take(customer) {
                if let Some(live) = self.table.get(execution).filter(|live| live.stand == Stand::Apart) {
                    was_any = true;
                    self.line_up_in_place(live.user(), vec![execution]);
                }
            }
        }
        was_any
    }
}
