//! Runs that wait for a child: round robin over customers, then over each customer's users. Pure.

use super::run::UserKey;
use perseat_domain::id::{CustomerId, IdMap};
use std::collections::{VecDeque, vec_deque};

/// Items by customer and user. Who is in a round has at least one item.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// Customers in the order of their turns.
    turns: VecDeque<CustomerId>,
    /// Each one's users in the order of theirs.
    users: IdMap<CustomerId, VecDeque<UserKey>>,
    items: IdMap<UserKey, VecDeque<T>>,
    len: usize,
}

/// Takes one out of a round. Who was chosen last stands at its end.
fn leave<K: PartialEq>(turns: &mut VecDeque<K>, key: &K) {
    if let Some(at) = turns.iter().rposition(|other| other == key) {
        turns.remove(at);
    }
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            turns: VecDeque::new(),
            users: IdMap::default(),
            items: IdMap::default(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether something of a user waits.
    pub(super) fn has(&self, owner: UserKey) -> bool {
        self.items.contains_key(&owner)
    }

    /// The items of a user, who gets a place at the end of the round, or in front, where they have none.
    fn of(&mut self, owner: UserKey, is_first: bool) -> &mut VecDeque<T> {
        let Self { turns, users, items, .. } = self;
        items.entry(owner).or_insert_with(|| {
            let users = users.entry(owner.customer).or_insert_with(|| {
                turns.push_back(owner.customer);
                VecDeque::new()
            });
            if is_first {
                users.push_front(owner);
            } else {
                users.push_back(owner);
            }
            VecDeque::new()
        })
    }

    pub(super) fn push(&mut self, owner: UserKey, item: T) {
        self.of(owner, false).push_back(item);
        self.len += 1;
    }

    /// Puts an item back that was taken but not begun, in front of its user's; a user who has none goes in front of their customer's.
    pub(super) fn push_front(&mut self, owner: UserKey, item: T) {
        self.of(owner, true).push_front(item);
        self.len += 1;
    }

    /// Takes the oldest item of one user, who keeps their place in the round.
    pub(super) fn take_of(&mut self, owner: UserKey) -> Option<T> {
        let items = self.items.get_mut(&owner)?;
        let item = items.pop_front()?;
        self.len -= 1;
        if items.is_empty() {
            self.items.remove(&owner);
            if let Some(users) = self.users.get_mut(&owner.customer) {
                leave(users, &owner);
                if users.is_empty() {
                    self.users.remove(&owner.customer);
                    leave(&mut self.turns, &owner.customer);
                }
            }
        }
        Some(item)
    }

    /// Chooses the next of a customer's users whose oldest item may run, of so many at most, and moves them to the end of the round.
    pub(super) fn next_user(&mut self, customer: CustomerId, among: usize, may_run: impl Fn(UserKey, &T) -> bool) -> Option<UserKey> {
        let users = self.users.get_mut(&customer)?;
        let first = |user| self.items.get(user).and_then(VecDeque::front);
        let at = users
            .iter()
            .take(among)
            .position(|user| first(user).is_some_and(|item| may_run(*user, item)))?;
        let user = users.remove(at)?;
        users.push_back(user);
        Some(user)
    }

    /// The next customer that wants a child.
    pub(super) fn choose(&self, wants: impl Fn(CustomerId, &mut vec_deque::Iter<'_, UserKey>) -> bool) -> Option<CustomerId> {
        let wanted = |customer: &&CustomerId| {
            let users = self.users.get(customer);
            users.is_some_and(|users| wants(**customer, &mut users.iter()))
        };
        self.turns.iter().find(wanted).copied()
    }

    /// A customer that was chosen stands at the end of the round.
    pub(super) fn had_its_turn(&mut self, customer: CustomerId) {
        if let Some(at) = self.turns.iter().position(|other| *other == customer)
            && let Some(customer) = self.turns.remove(at)
        {
            self.turns.push_back(customer);
        }
    }

    /// Whether something of another user of the same customer waits.
    pub(super) fn has_beside(&self, owner: UserKey) -> bool {
        let users = self.users.get(&owner.customer).map_or(0, VecDeque::len);
        users > usize::from(self.has(owner))
    }

    /// Whether a customer waits of which `counts` holds.
    pub(super) fn one_waits(&self, counts: impl Fn(CustomerId) -> bool) -> bool {
        self.turns.iter().any(|customer| counts(*customer))
    }

    /// All that waits, in no order.
    #[cfg(test)]
    pub(super) fn items(&self) -> impl Iterator<Item = &T> {
        self.items.values().flatten()
    }

    /// Takes everything.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.turns.clear();
        self.users.clear();
        self.len = 0;
        self.items.drain().flat_map(|(_, items)| items).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::id::UserId;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use uuid::Uuid;

    impl<T> Queue<T> {
        /// The next customer that wants a child, which has its turn.
        fn next_customer(&mut self, wants: impl Fn(CustomerId, &mut vec_deque::Iter<'_, UserKey>) -> bool) -> Option<CustomerId> {
            let chosen = self.choose(wants);
            chosen.into_iter().for_each(|customer| self.had_its_turn(customer));
            chosen
        }
    }

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
            let user = queue.next_user(customer, usize::MAX, |_, _| true).unwrap();
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
        assert_eq!(queue.next_user(customer, 1, |user, _| user != owner(1, 1)), None);
        assert_eq!(queue.next_user(customer, 2, |user, _| user != owner(1, 1)), Some(owner(1, 2)));
        assert!(!queue.one_waits(|other| other != customer));
    }

    /// The same as plain lists, walked for each answer.
    #[derive(Default)]
    struct Lists {
        customers: Vec<CustomerId>,
        users: Vec<UserKey>,
        items: Vec<(UserKey, u32)>,
    }

    /// Moves the first of which `counts` holds to the end.
    fn turn<K: Copy>(list: &mut Vec<K>, counts: impl Fn(K) -> bool) -> Option<K> {
        let at = list.iter().position(|key| counts(*key))?;
        let key = list.remove(at);
        list.push(key);
        Some(key)
    }

    impl Lists {
        fn put(&mut self, owner: UserKey, item: u32, is_first: bool) {
            if !self.customers.contains(&owner.customer) {
                self.customers.push(owner.customer);
            }
            if !self.users.contains(&owner) {
                let at = if is_first { 0 } else { self.users.len() };
                self.users.insert(at, owner);
            }
            let at = if is_first { 0 } else { self.items.len() };
            self.items.insert(at, (owner, item));
        }

        fn take_of(&mut self, owner: UserKey) -> Option<u32> {
            let at = self.items.iter().position(|(of, _)| *of == owner)?;
            let (_, item) = self.items.remove(at);
            let items = &self.items;
            self.users.retain(|user| items.iter().any(|(of, _)| of == user));
            self.customers
                .retain(|customer| items.iter().any(|(of, _)| of.customer == *customer));
            Some(item)
        }

        fn next_user(&mut self, customer: CustomerId, among: usize, may_run: impl Fn(UserKey, &u32) -> bool) -> Option<UserKey> {
            let items = &self.items;
            let first = |user| items.iter().find(|(of, _)| *of == user).map(|(_, item)| item);
            let of_customer = self.users.iter().filter(|user| user.customer == customer);
            let chosen = of_customer
                .take(among)
                .find(|user| may_run(**user, first(**user).unwrap()))
                .copied()?;
            turn(&mut self.users, |user| user == chosen)
        }

        fn next_customer(&mut self, may_run: impl Fn(UserKey) -> bool) -> Option<CustomerId> {
            let users = &self.users;
            turn(&mut self.customers, |customer| {
                users.iter().any(|user| user.customer == customer && may_run(*user))
            })
        }
    }

    proptest! {
        #[test]
        fn it_gives_what_plain_lists_give(steps in vec((0..7_u8, 1..4_u128, 1..5_u128, any::<u8>()), 1..200)) {
            let mut queue = Queue::new();
            let mut lists = Lists::default();
            for (number, (step, customer, user, barred)) in (0..).zip(steps) {
                let owner = owner(customer, user);
                // A few users, of all customers alike, may not run.
                let may_run = |user: UserKey| user.user.is_some_and(|user| barred >> user.0.as_u128() & 1 == 0);
                match step {
                    0 | 1 => {
                        queue.push(owner, number);
                        lists.put(owner, number, false);
                    }
                    2 => {
                        queue.push_front(owner, number);
                        lists.put(owner, number, true);
                    }
                    3 => prop_assert_eq!(queue.take_of(owner), lists.take_of(owner)),
                    4 => {
                        let (customer, among) = (owner.customer, usize::from(barred % 5));
                        let may_run = |user, item: &u32| may_run(user) && !item.is_multiple_of(3);
                        prop_assert_eq!(queue.next_user(customer, among, may_run), lists.next_user(customer, among, may_run));
                    }
                    5 => {
                        let chosen = queue.next_customer(|_, users| users.any(|user| may_run(*user)));
                        prop_assert_eq!(chosen, lists.next_customer(may_run));
                    }
                    _ => {
                        let other = |customer| customer != owner.customer;
                        prop_assert_eq!(queue.one_waits(other), lists.customers.iter().any(|customer| other(*customer)));
                    }
                }
                prop_assert_eq!(queue.len(), lists.items.len());
                prop_assert_eq!(queue.has(owner), lists.users.contains(&owner));
                let is_beside = |other: &UserKey| other.customer == owner.customer && *other != owner;
                prop_assert_eq!(queue.has_beside(owner), lists.users.iter().any(is_beside));
            }
            let mut rest = queue.drain();
            rest.sort_unstable();
            let mut items: Vec<u32> = lists.items.into_iter().map(|(_, item)| item).collect();
            items.sort_unstable();
            prop_assert_eq!(rest, items);
            prop_assert!(queue.len() == 0 && !queue.one_waits(|_| true));
        }
    }
}
