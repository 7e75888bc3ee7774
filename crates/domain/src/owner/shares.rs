//! Who begins nothing more for now, because of what theirs that has begun holds.
//!
//! What an execution has written is kept until it ends. Admission looks at that when an event comes; of what was let in before, all could
//! begin, write much and wait, for a credential say, until there is room for nobody's events. So where what a user or a customer has begun
//! holds their share, nothing else of theirs begins before some of it ends. What has begun goes on.

use super::table::{Live, Stand};
use super::{Owner, Turn};
use crate::id::{CustomerId, ExecutionId, IdMap, UserId};
use crate::identity::Identity;
use std::collections::BTreeMap;
use std::hash::Hash;

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

/// What holds how much, and what waits for that.
#[derive(Debug)]
pub(super) struct Held {
    shares: Shares,
    of_users: IdMap<UserId, u64>,
    of_customers: IdMap<CustomerId, u64>,
    /// What begins once there is room, in the order of acceptance.
    apart: BTreeMap<Whose, BTreeMap<u64, ExecutionId>>,
}

impl Held {
    pub(super) fn new(shares: Shares) -> Self {
        Self {
            shares,
            of_users: IdMap::default(),
            of_customers: IdMap::default(),
            apart: BTreeMap::new(),
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
        let of_customer = self.of_customers.get(&customer);
        of_user.is_some_and(|held| *held >= self.shares.user) || of_customer.is_some_and(|held| *held >= self.shares.customer)
    }

    fn forget(&mut self, whose: Whose, order: u64) {
        if let Some(apart) = self.apart.get_mut(&whose) {
            apart.remove(&order);
            if apart.is_empty() {
                self.apart.remove(&whose);
            }
        }
    }

    /// What of this customer may begin now, so many at most. Whoever holds their whole share is passed over; there are not more of them
    /// than shares.
    fn take(&mut self, customer: CustomerId, most: usize) -> Vec<ExecutionId> {
        let from_first = (customer, None)..;
        let others = self.apart.range(from_first).take_while(|((of, _), _)| *of == customer);
        let free = others.filter(|(whose, _)| !self.is_full(**whose));
        let found = free.flat_map(|(whose, apart)| apart.iter().map(|(order, execution)| (*whose, *order, *execution)));
        let found: Vec<_> = found.take(most).collect();
        found
            .into_iter()
            .map(|(whose, order, execution)| {
                self.forget(whose, order);
                execution
            })
            .collect()
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
        }
    }

    /// Gives the turn of what may not begin now back, and has it stand apart. What memory is kept for begins, and so does what finds out
    /// for others whether a credential is back.
    pub(super) fn is_set_apart(&mut self, turn: &Turn) -> bool {
        let Some(live) = self.table.get_mut(turn.execution) else {
            return false;
        };
        let whose = whose(&live.identity);
        let goes_on = live.has_begun || live.has_memory || live.is_cancelled;
        if goes_on || !self.held.is_full(whose) || self.parked.is_scout(turn.user, live.order) {
            return false;
        }
        live.stand = Stand::Apart;
        self.held.apart.entry(whose).or_default().insert(live.order, turn.execution);
        if let Some(slot) = turn.slot {
            self.queue.returned(slot);
        }
        true
    }

    /// It stands apart no longer.
    pub(super) fn is_apart_no_more(&mut self, identity: &Identity, order: u64) {
        self.held.forget(whose(identity), order);
    }

    /// It ended, and what it held is free: others of its customer line up, each in its old place. Also where it had not begun: it may be the
    /// last of those that were let go before.
    pub(super) fn frees(&mut self, ended: &Live) {
        // More than one, as what began may have held little; what does not fit after all stands apart again.
        const AT_ONCE: usize = 64;
        if ended.has_begun {
            self.held.take_off(&ended.identity, ended.bytes);
        }
        for execution in self.held.take(ended.identity.customer, AT_ONCE) {
            if let Some(live) = self.table.get(execution).filter(|live| live.stand == Stand::Apart) {
                self.line_up_in_place(live.user(), vec![execution]);
            }
        }
    }
}
