//! The line of calls that wait for one host: customers take turns, and their users among themselves.

use super::{Call, Sender};
use crate::id::CustomerId;
use crate::time::Timestamp;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// One call that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) ticket: u64,
    pub(super) call: Call,
    /// It waits no longer.
    pub(super) give_up: Timestamp,
}

/// The users of one customer. Each in the ring has a call.
#[derive(Debug, Default)]
struct Turns {
    users: VecDeque<Sender>,
    calls: HashMap<Sender, VecDeque<Waiter>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Line {
    customers: VecDeque<CustomerId>,
    turns: HashMap<CustomerId, Turns>,
    /// Those that go before all others.
    first: VecDeque<Waiter>,
    /// Those whose own scopes make them wait until then; in order of time, then of arrival.
    asleep: BTreeMap<(Timestamp, u64), Waiter>,
    /// When it is worth a look.
    pub(super) due: Timestamp,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        !self.has_ready() && self.asleep.is_empty()
    }

    /// Whether somebody waits for the host itself.
    pub(super) fn has_ready(&self) -> bool {
        !self.customers.is_empty() || self.has_first()
    }

    /// Whether one of them goes before all others.
    pub(super) fn has_first(&self) -> bool {
        !self.first.is_empty()
    }

    /// Last of its user.
    pub(super) fn push(&mut self, waiter: Waiter) {
        if waiter.call.goes_first {
            self.first.push_back(waiter);
            return;
        }
        let sender = waiter.call.sender;
        let (customers, turns) = (&mut self.customers, &mut self.turns);
        let turns = turns.entry(sender.customer).or_insert_with(|| {
            customers.push_back(sender.customer);
            Turns::default()
        });
        let users = &mut turns.users;
        let calls = turns.calls.entry(sender).or_insert_with(|| {
            users.push_back(sender);
            VecDeque::new()
        });
        calls.push_back(waiter);
    }

    /// Stands aside until then.
    pub(super) fn sleep(&mut self, until: Timestamp, waiter: Waiter) {
        self.asleep.insert((until, waiter.ticket), waiter);
    }

    /// Takes whoever's time has come back into the line; their tickets.
    pub(super) fn wake(&mut self, now: Timestamp) -> Vec<u64> {
        let later = self.asleep.split_off(&(Timestamp(now.0.saturating_add(1)), 0));
        let woken = std::mem::replace(&mut self.asleep, later);
        woken
            .into_values()
            .map(|waiter| {
                self.push(waiter);
                waiter.ticket
            })
            .collect()
    }

    /// When the next of those that stand aside comes back.
    pub(super) fn wakes_at(&self) -> Option<Timestamp> {
        self.asleep.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the call whose turn it is. The turn is not over before [`Line::rotate`].
    pub(super) fn take(&mut self) -> Option<Waiter> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        let customer = *self.customers.front()?;
        let sender = *self.turns.get(&customer)?.users.front()?;
        self.remove_where(sender, |calls| calls.pop_front())
    }

    /// The turn of whoever sends this is over; what goes first takes nobody's.
    pub(super) fn rotate(&mut self, Call { sender, goes_first, .. }: Call) {
        if goes_first {
            return;
        }
        if let Some(turns) = self.turns.get_mut(&sender.customer) {
            to_the_end(&mut turns.users, &sender);
            to_the_end(&mut self.customers, &sender.customer);
        }
    }

    /// Takes a call out, wherever it stands.
    pub(super) fn leave(&mut self, ticket: u64, sender: Sender, asleep: Option<Timestamp>) {
        if let Some(until) = asleep {
            self.asleep.remove(&(until, ticket));
            return;
        }
        if let Some(at) = self.first.iter().position(|waiter| waiter.ticket == ticket) {
            self.first.remove(at);
            return;
        }
        self.remove_where(sender, |calls| {
            let at = calls.iter().position(|waiter| waiter.ticket == ticket)?;
            calls.remove(at)
        });
    }

    fn remove_where(&mut self, sender: Sender, remove: impl FnOnce(&mut VecDeque<Waiter>) -> Option<Waiter>) -> Option<Waiter> {
        let turns = self.turns.get_mut(&sender.customer)?;
        let calls = turns.calls.get_mut(&sender)?;
        let removed = remove(calls);
        if calls.is_empty() {
            turns.calls.remove(&sender);
            turns.users.retain(|user| *user != sender);
        }
        if turns.users.is_empty() {
            self.turns.remove(&sender.customer);
            self.customers.retain(|customer| *customer != sender.customer);
        }
        removed
    }
}

/// Moves the first to the end, if it is this one.
fn to_the_end<T: PartialEq>(ring: &mut VecDeque<T>, one: &T) {
    if ring.front() == Some(one) {
        ring.rotate_left(1);
    }
}
