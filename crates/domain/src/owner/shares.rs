//! Who begins nothing more for now, because of what theirs that has begun holds.
//!
//! What an execution has written is kept until it ends. Admission looks at that when an event comes; of what was let in before, all could
//! begin, write much and wait, for a credential say, until there is room for nobody's events. So where what a user or a customer has begun
//! holds their share, nothing else of theirs begins before some of it ends. What has begun goes on.
//!
//! What stands apart is let in again a few at a time, whenever it may have become possible: at an end, and when something of the customer
//! began, or turned out not to begin for now. Its queues take turns, so that none waits for another's to be through: who holds how much
//! is a person's, whose turn it is and what is older a queue's.

use super::table::{Live, Stand};
use super::{Owner, UserKey};
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
    of: BTreeMap<UserKey, Queue>,
    /// What had a turn last.
    last: Option<UserKey>,
}

/// Of one queue.
#[derive(Debug)]
struct Queue {
    /// Whose share it needs, beside its customer's.
    person: Option<UserId>,
    /// In the order of acceptance.
    executions: BTreeMap<u64, ExecutionId>,
}

impl Apart {
    /// The queues in the order of their turns.
    fn queues(&self) -> impl Iterator<Item = (&UserKey, &Queue)> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let before = self.last.into_iter().flat_map(|last| self.of.range(..=last));
        self.of.range((after, Bound::Unbounded)).chain(before)
    }

    fn remove(&mut self, key: UserKey, order: u64) -> Option<ExecutionId> {
        let executions = &mut self.of.get_mut(&key)?.executions;
        let removed = executions.remove(&order);
        if executions.is_empty() {
            self.of.remove(&key);
        }
        removed
    }

    /// The oldest of this queue, which had its turn then.
    fn take(&mut self, key: UserKey) -> Option<ExecutionId> {
        self.last = Some(key);
        let (order, _) = self.of.get(&key)?.executions.first_key_value()?;
        self.remove(key, *order)
    }
}

/// What holds how much, and what waits for that.
#[derive(Debug)]
pub(super) struct Held {
    shares: Shares,
    of_users: IdMap<UserId, u64>,
    of_customers: IdMap<CustomerId, u64>,
    apart: IdMap<CustomerId, Apart>,
    /// How many executions that is.
    apart_now: usize,
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
            apart_now: 0,
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

    /// Whether something of its queue that was accepted before this stands apart.
    fn has_older(&self, identity: &Identity, order: u64) -> bool {
        let apart = self.apart.get(&identity.customer);
        let queue = apart.and_then(|apart| apart.of.get(&UserKey::of(identity)));
        queue.is_some_and(|queue| queue.executions.range(..order).next().is_some())
    }

    /// Something of this customer began, ended, or does not begin for now.
    pub(super) fn stir(&mut self, customer: CustomerId) {
        if !self.apart.is_empty() && self.apart.contains_key(&customer) {
            self.stirred.insert(customer);
        }
    }

    fn set_apart(&mut self, identity: &Identity, order: u64, execution: ExecutionId) {
        let (customer, person) = whose(identity);
        let new = || Queue {
            person,
            executions: BTreeMap::new(),
        };
        let apart = self.apart.entry(customer).or_default();
        let queue = apart.of.entry(UserKey::of(identity)).or_insert_with(new);
        if queue.executions.insert(order, execution).is_none() {
            self.apart_now += 1;
        }
        self.stirred.insert(customer);
    }

    fn forget(&mut self, identity: &Identity, order: u64) {
        if let Some(apart) = self.apart.get_mut(&identity.customer) {
            let removed = apart.remove(UserKey::of(identity), order);
            self.apart_now -= usize::from(removed.is_some());
            self.leave_out(identity.customer);
        }
    }

    /// Nothing is kept of a customer of whom nothing stands apart.
    fn leave_out(&mut self, customer: CustomerId) {
        if self.apart.get(&customer).is_some_and(|apart| apart.of.is_empty()) {
            self.apart.remove(&customer);
            self.stirred.remove(&customer);
        }
    }

    /// The queue whose oldest may begin now. Those of whoever holds their whole share are passed over.
    fn next(&self, customer: CustomerId) -> Option<UserKey> {
        if self.is_full_of(customer) {
            return None;
        }
        let mut queues = self.apart.get(&customer)?.queues();
        let next = queues.find(|(_, queue)| !self.is_full((customer, queue.person)));
        next.map(|(key, _)| *key)
    }

    /// What of this customer may begin now.
    fn take(&mut self, customer: CustomerId) -> Vec<ExecutionId> {
        let mut found = Vec::new();
        while found.len() < AT_ONCE
            && let Some(key) = self.next(customer)
            && let Some(apart) = self.apart.get_mut(&customer)
        {
            let taken = apart.take(key);
            self.apart_now -= usize::from(taken.is_some());
            found.extend(taken);
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
    /// Executions that do not begin for now because of what theirs that has begun holds.
    #[must_use]
    pub fn apart_now(&self) -> usize {
        self.held.apart_now
    }

    /// It has begun: what it holds counts from now on.
    pub(super) fn began(&mut self, execution: ExecutionId) {
        if let Some(live) = self.table.get_mut(execution).filter(|live| !live.has_begun) {
            live.has_begun = true;
            self.held.add(&live.identity, live.bytes);
            self.held.stir(live.identity.customer);
        }
    }

    /// Has what may not begin now stand apart: behind what stands there already, too. What memory is kept for begins, and so does what
    /// finds out for others whether a credential is back.
    pub(super) fn is_set_apart(&mut self, user: UserKey, execution: ExecutionId) -> bool {
        let Some(live) = self.table.get_mut(execution) else {
            return false;
        };
        let (identity, order) = (live.identity, live.order);
        let goes_on = live.has_begun || live.has_memory || live.is_cancelled;
        let is_held_up = || self.held.is_full(whose(&identity)) || self.held.has_older(&identity, order);
        if goes_on || !is_held_up() || self.parked.is_scout(user, order) {
            return false;
        }
        live.stand = Stand::Apart;
        self.held.set_apart(&identity, order, execution);
        true
    }

    /// There is memory for an execution that [gave its turn back](Self::gave_back); false where it may not begin now and stands apart:
    /// then the memory is for others. Where what begins gives its memory back, all would begin in the end.
    pub fn room_came(&mut self, execution: ExecutionId) -> bool {
        let Some(live) = self.table.get_mut(execution) else {
            return true;
        };
        if live.stand != Stand::Short || live.has_begun || !self.held.is_full(whose(&live.identity)) {
            return true;
        }
        live.stand = Stand::Apart;
        self.held.set_apart(&live.identity, live.order, execution);
        false
    }

    /// It stands apart no longer.
    pub(super) fn is_apart_no_more(&mut self, identity: &Identity, order: u64) {
        self.held.forget(identity, order);
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
