//! Executions that wait for a credential: who finds out when it may be back, and when somebody has to look.
//!
//! Of those of one user that wait for one connection a single one at a time is on its way to find out, the *scout*; the rest
//! stay behind it in the order of acceptance. A try that is asked for meanwhile is made when the scout is back.

use super::UserKey;
use crate::id::ExecutionId;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What a parked execution waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The stable key of the connection.
    pub connection: String,
    /// When it is given up.
    pub until: Timestamp,
    /// When it is worth trying again without anybody's doing.
    pub again: Option<Timestamp>,
}

#[derive(Debug)]
struct One {
    execution: ExecutionId,
    connection: String,
    until: Timestamp,
}

/// What one user's executions wait for; those are named by the order of their acceptance.
#[derive(Debug, Default)]
struct OfUser {
    waiting: BTreeMap<u64, One>,
    /// Those that were let go, until it is durable that they went on.
    let_go: BTreeMap<u64, One>,
    /// Who is on its way to find out, by connection.
    scouts: BTreeMap<String, u64>,
    /// Connections to be tried as soon as no scout is on its way for them.
    wanted: BTreeSet<String>,
}

impl OfUser {
    /// It is on its way no more: whoever waits for what it was sent for is next, unless it waits for that again itself.
    fn is_back(&mut self, order: u64, waits_for: Option<&str>) {
        let wanted = &mut self.wanted;
        self.scouts.retain(|connection, scout| {
            if *scout == order && waits_for != Some(connection) {
                wanted.insert(connection.clone());
            }
            *scout != order
        });
    }

    fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.let_go.is_empty() && self.scouts.is_empty()
    }
}

/// When each of some users is worth trying, at most one time each.
#[derive(Debug, Default)]
struct Tries {
    of: BTreeMap<UserKey, Timestamp>,
    /// The same, the first of them at hand.
    in_order: BTreeSet<(Timestamp, UserKey)>,
}

impl Tries {
    /// The earlier one counts.
    fn add(&mut self, user: UserKey, at: Timestamp) {
        if self.of.get(&user).is_some_and(|known| *known <= at) {
            return;
        }
        self.remove(user);
        self.of.insert(user, at);
        self.in_order.insert((at, user));
    }

    fn remove(&mut self, user: UserKey) {
        if let Some(at) = self.of.remove(&user) {
            self.in_order.remove(&(at, user));
        }
    }

    fn first(&self) -> Option<Timestamp> {
        self.in_order.first().map(|(at, _)| *at)
    }

    fn due(&self, now: Timestamp) -> Vec<UserKey> {
        let due = self.in_order.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, user)| *user).collect()
    }
}

/// Everything that is parked, by user.
#[derive(Debug, Default)]
pub(super) struct Parked {
    users: BTreeMap<UserKey, OfUser>,
    /// When each is given up.
    ends: BTreeSet<(Timestamp, UserKey, u64)>,
    /// When users are worth trying again.
    again: Tries,
}

impl Parked {
    pub(super) fn add(&mut self, user: UserKey, order: u64, execution: ExecutionId, wait: Wait) {
        self.ends.insert((wait.until, user, order));
        if let Some(again) = wait.again {
            self.again.add(user, again);
        }
        let of_user = self.users.entry(user).or_default();
        of_user.let_go.remove(&order);
        of_user.is_back(order, Some(&wait.connection));
        let one = One {
            execution,
            connection: wait.connection,
            until: wait.until,
        };
        of_user.waiting.insert(order, one);
    }

    /// It neither waits nor finds out any more.
    pub(super) fn remove(&mut self, user: UserKey, order: u64) {
        self.take(user, order);
        if let Some(of_user) = self.users.get_mut(&user) {
            of_user.let_go.remove(&order);
            of_user.is_back(order, None);
        }
        self.tidy(user);
    }

    /// It is durable that it went on.
    pub(super) fn went_on(&mut self, user: UserKey, order: u64) {
        if let Some(of_user) = self.users.get_mut(&user) {
            of_user.let_go.remove(&order);
            self.tidy(user);
        }
    }

    /// The users that `which` picks.
    pub(super) fn users(&self, which: impl Fn(&UserKey) -> bool) -> Vec<UserKey> {
        self.users.keys().copied().filter(which).collect()
    }

    /// Whatever the user's executions wait for is to be tried.
    pub(super) fn want(&mut self, user: UserKey) {
        self.again.remove(user);
        if let Some(of_user) = self.users.get_mut(&user) {
            let waited_for = of_user.waiting.values().map(|one| &one.connection);
            of_user.wanted.extend(waited_for.chain(of_user.scouts.keys()).cloned());
        }
    }

    /// Takes out the first of each connection that is to be tried and has no scout on its way: they find out whether it is back.
    pub(super) fn take_scouts(&mut self, user: UserKey) -> Vec<ExecutionId> {
        let Some(of_user) = self.users.get_mut(&user) else {
            return Vec::new();
        };
        let (sent, mut free): (BTreeSet<String>, BTreeSet<String>) = std::mem::take(&mut of_user.wanted)
            .into_iter()
            .partition(|connection| of_user.scouts.contains_key(connection));
        of_user.wanted = sent;
        let mut first = Vec::new();
        for (order, one) in &of_user.waiting {
            if free.is_empty() {
                break;
            }
            if let Some(connection) = free.take(&one.connection) {
                of_user.scouts.insert(connection, *order);
                first.push(*order);
            }
        }
        self.let_go(user, first)
    }

    /// Whether it was sent to find out.
    pub(super) fn is_scout(&self, user: UserKey, order: u64) -> bool {
        self.users
            .get(&user)
            .is_some_and(|of_user| of_user.scouts.values().any(|scout| *scout == order))
    }

    /// Takes out all of the user's that do not wait for one of these connections. Nobody has to find out about those any more.
    pub(super) fn take_usable(&mut self, user: UserKey, missing: &[String]) -> Vec<ExecutionId> {
        let Some(of_user) = self.users.get_mut(&user) else {
            return Vec::new();
        };
        of_user.scouts.retain(|connection, _| missing.contains(connection));
        of_user.wanted.retain(|connection| missing.contains(connection));
        let usable = of_user.waiting.iter().filter(|(_, one)| !missing.contains(&one.connection));
        let orders = usable.map(|(order, _)| *order).collect();
        let taken = self.let_go(user, orders);
        self.tidy(user);
        taken
    }

    /// What was let go for this connection and was accepted later than this, as far as nothing is known of it since.
    pub(super) fn let_go_behind(&self, user: UserKey, order: u64, connection: &str) -> Vec<(u64, ExecutionId)> {
        let let_go = self.users.get(&user).map(|of_user| of_user.let_go.range(order + 1..));
        let behind = let_go.into_iter().flatten().filter(|(_, one)| one.connection == connection);
        behind.map(|(order, one)| (*order, one.execution)).collect()
    }

    /// It was let go and waits on.
    pub(super) fn put_back(&mut self, user: UserKey, order: u64) {
        if let Some(of_user) = self.users.get_mut(&user)
            && let Some(one) = of_user.let_go.remove(&order)
        {
            self.ends.insert((one.until, user, order));
            of_user.waiting.insert(order, one);
            of_user.is_back(order, None);
        }
    }

    /// Takes out what is given up now.
    pub(super) fn take_ended(&mut self, now: Timestamp) -> Vec<(UserKey, ExecutionId)> {
        let due = self.ends.iter().take_while(|(until, ..)| *until <= now);
        let due: Vec<(UserKey, u64)> = due.map(|(_, user, order)| (*user, *order)).collect();
        let taken = due
            .into_iter()
            .filter_map(|(user, order)| Some((user, self.take(user, order)?.execution)));
        let taken: Vec<_> = taken.collect();
        taken.iter().for_each(|(user, _)| self.tidy(*user));
        taken
    }

    /// The users that are worth trying now.
    pub(super) fn due(&self, now: Timestamp) -> Vec<UserKey> {
        self.again.due(now)
    }

    /// When somebody has to look.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        let end = self.ends.first().map(|(until, ..)| *until);
        [end, self.again.first()].into_iter().flatten().min()
    }

    /// Whether something of this user waits, or is on its way to find out.
    pub(super) fn holds(&self, user: UserKey) -> bool {
        self.users
            .get(&user)
            .is_some_and(|of_user| !of_user.waiting.is_empty() || !of_user.scouts.is_empty())
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn let_go(&mut self, user: UserKey, orders: Vec<u64>) -> Vec<ExecutionId> {
        let mut gone = Vec::with_capacity(orders.len());
        for order in orders {
            let Some(one) = self.take(user, order) else { continue };
            gone.push(one.execution);
            self.users.entry(user).or_default().let_go.insert(order, one);
        }
        gone
    }

    fn take(&mut self, user: UserKey, order: u64) -> Option<One> {
        let waiting = &mut self.users.get_mut(&user)?.waiting;
        let one = waiting.remove(&order)?;
        if waiting.is_empty() {
            self.again.remove(user);
        }
        self.ends.remove(&(one.until, user, order));
        Some(one)
    }

    fn tidy(&mut self, user: UserKey) {
        if self.users.get(&user).is_some_and(OfUser::is_done) {
            self.users.remove(&user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::InstanceId;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn user(number: u128) -> UserKey {
        UserKey {
            instance: InstanceId(Uuid::from_u128(number)),
            config: None,
        }
    }

    proptest! {
        /// A time that is given counts, and none is a removal.
        #[test]
        fn tries_are_found_in_order_as_a_walk_over_all_users_finds_them(
            changes in prop::collection::vec((0_u128..6, prop::option::of(0_u64..20)), 0..40),
            now in 0_u64..20,
        ) {
            let (mut tries, mut all) = (Tries::default(), BTreeMap::new());
            for (number, at) in changes {
                match at.map(Timestamp) {
                    Some(at) => {
                        tries.add(user(number), at);
                        all.entry(user(number)).and_modify(|known: &mut Timestamp| *known = at.min(*known)).or_insert(at);
                    }
                    None => {
                        tries.remove(user(number));
                        all.remove(&user(number));
                    }
                }
                prop_assert_eq!(tries.first(), all.values().min().copied());
            }
            let mut due: Vec<UserKey> = all.iter().filter(|(_, at)| at.0 <= now).map(|(user, _)| *user).collect();
            due.sort_by_key(|user| (all[user], *user));
            prop_assert_eq!(tries.due(Timestamp(now)), due);
        }
    }
}
