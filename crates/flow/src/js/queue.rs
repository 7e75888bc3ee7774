//! Runs that wait for a child: round robin over customers, then over each customer's users. Pure.

use super::run::UserKey;
use perseat_domain::id::CustomerId;
use std::collections::{HashMap, VecDeque, vec_deque};

/// Waiting items of one customer.
#[derive(Debug)]
struct Waiting<T> {
    /// Users in the order of their turns; each has at least one item.
    turns: VecDeque<UserKey>,
    items: HashMap<UserKey, VecDeque<T>>,
}

/// Items by customer and user.
#[derive(Debug)]
pub(super) struct Queue<T> {
    turns: VecDeque<CustomerId>,
    customers: HashMap<CustomerId, Waiting<T>>,
    len: usize,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            turns: VecDeque::new(),
            customers: HashMap::new(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn of(&mut self, owner: UserKey) -> &mut VecDeque<T> {
        let turns = &mut self.turns;
        let waiting = self.customers.entry(owner.customer).or_insert_with(|| {
            turns.push_back(owner.customer);
            Waiting {
                turns: VecDeque::new(),
                items: HashMap::new(),
            }
        });
        let user_turns = &mut waiting.turns;
        waiting.items.entry(owner).or_insert_with(|| {
            user_turns.push_back(owner);
            VecDeque::new()
        })
    }

    pub(super) fn push(&mut self, owner: UserKey, item: T) {
        self.of(owner).push_back(item);
        self.len += 1;
    }

    /// Puts an item back that was taken but not begun.
    pub(super) fn push_front(&mut self, owner: UserKey, item: T) {
        self.of(owner).push_front(item);
        self.len += 1;
    }

    /// Takes the oldest item of one user, who keeps their place in the round.
    pub(super) fn take_of(&mut self, owner: UserKey) -> Option<T> {
        let waiting = self.customers.get_mut(&owner.customer)?;
        let items = waiting.items.get_mut(&owner)?;
        let item = items.pop_front();
        self.len -= usize::from(item.is_some());
        if items.is_empty() {
            waiting.items.remove(&owner);
            waiting.turns.retain(|user| *user != owner);
        }
        if waiting.items.is_empty() {
            self.customers.remove(&owner.customer);
            self.turns.retain(|customer| *customer != owner.customer);
        }
        item
    }

    /// Chooses the next of a customer's users that may run, and moves them to the end of the round.
    pub(super) fn next_user(&mut self, customer: CustomerId, may_run: impl Fn(UserKey) -> bool) -> Option<UserKey> {
        let waiting = self.customers.get_mut(&customer)?;
        let at = waiting.turns.iter().position(|user| may_run(*user))?;
        let user = waiting.turns.remove(at)?;
        waiting.turns.push_back(user);
        Some(user)
    }

    /// Chooses the next customer that wants a child, and moves it to the end of the round.
    pub(super) fn next_customer(&mut self, wants: impl Fn(CustomerId, &mut vec_deque::Iter<'_, UserKey>) -> bool) -> Option<CustomerId> {
        let customers = &self.customers;
        let wanted = |customer: &CustomerId| {
            let waiting = customers.get(customer);
            waiting.is_some_and(|waiting| wants(*customer, &mut waiting.turns.iter()))
        };
        let at = self.turns.iter().position(wanted)?;
        let customer = self.turns.remove(at)?;
        self.turns.push_back(customer);
        Some(customer)
    }

    /// Whether another customer waits of which `counts` holds.
    pub(super) fn another_waits(&self, customer: CustomerId, counts: impl Fn(CustomerId) -> bool) -> bool {
        self.turns.iter().any(|other| *other != customer && counts(*other))
    }

    /// Takes everything.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.turns.clear();
        self.len = 0;
        self.customers
            .drain()
            .flat_map(|(_, waiting)| waiting.items.into_values().flatten())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::id::UserId;
    use uuid::Uuid;

    fn owner(customer: u128, user: u128) -> UserKey {
        UserKey {
            customer: CustomerId(Uuid::from_u128(customer)),
            user: Some(UserId(Uuid::from_u128(user))),
        }
    }

    #[test]
    fn customers_and_users_take_turns() {
        let mut queue = Queue::new();
        for number in 0..3 {
            queue.push(owner(1, 1), number);
        }
        queue.push(owner(1, 2), 10);
        queue.push(owner(2, 1), 20);
        let mut taken = Vec::new();
        while let Some(customer) = queue.next_customer(|_, _| true) {
            let user = queue.next_user(customer, |_| true).unwrap();
            taken.extend(queue.take_of(user));
        }
        assert_eq!(taken, vec![0, 20, 10, 1, 2]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn what_was_put_back_is_first_again() {
        let mut queue = Queue::new();
        queue.push(owner(1, 1), 1);
        queue.push(owner(1, 1), 2);
        let first = queue.take_of(owner(1, 1)).unwrap();
        queue.push_front(owner(1, 1), first);
        assert_eq!(queue.take_of(owner(1, 1)), Some(1));
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.drain(), vec![2]);
    }

    #[test]
    fn a_user_who_may_not_run_is_passed_over() {
        let mut queue = Queue::new();
        queue.push(owner(1, 1), 1);
        queue.push(owner(1, 2), 2);
        let customer = owner(1, 1).customer;
        assert_eq!(queue.next_user(customer, |user| user != owner(1, 1)), Some(owner(1, 2)));
        assert!(!queue.another_waits(customer, |_| true));
    }
}
