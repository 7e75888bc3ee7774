//! Executions that wait for a credential: who is tried when it may be back, and when somebody has to look.

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

/// Everything that is parked, by user and in the order of acceptance.
#[derive(Debug, Default)]
pub(super) struct Parked {
    users: BTreeMap<UserKey, BTreeMap<u64, One>>,
    /// When each is given up.
    ends: BTreeSet<(Timestamp, UserKey, u64)>,
    /// When a user is worth trying again; at most one time each.
    again: BTreeMap<UserKey, Timestamp>,
}

impl Parked {
    pub(super) fn add(&mut self, user: UserKey, order: u64, execution: ExecutionId, wait: Wait) {
        self.ends.insert((wait.until, user, order));
        if let Some(again) = wait.again {
            let known = self.again.entry(user).or_insert(again);
            *known = again.min(*known);
        }
        let one = One {
            execution,
            connection: wait.connection,
            until: wait.until,
        };
        self.users.entry(user).or_default().insert(order, one);
    }

    pub(super) fn remove(&mut self, user: UserKey, order: u64) -> Option<ExecutionId> {
        let of_user = self.users.get_mut(&user)?;
        let one = of_user.remove(&order)?;
        if of_user.is_empty() {
            self.users.remove(&user);
            self.again.remove(&user);
        }
        self.ends.remove(&(one.until, user, order));
        Some(one.execution)
    }

    /// The users that `which` picks.
    pub(super) fn users(&self, which: impl Fn(&UserKey) -> bool) -> Vec<UserKey> {
        self.users.keys().copied().filter(which).collect()
    }

    /// Takes out the first of each connection that the user's executions wait for: they find out whether it is back.
    pub(super) fn take_first(&mut self, user: UserKey) -> Vec<ExecutionId> {
        self.again.remove(&user);
        let mut known = BTreeSet::new();
        let of_user = self.users.get(&user).into_iter().flatten();
        let first = of_user.filter(|(_, one)| known.insert(one.connection.as_str()));
        let orders: Vec<u64> = first.map(|(order, _)| *order).collect();
        orders.into_iter().filter_map(|order| self.remove(user, order)).collect()
    }

    /// Takes out all of the user's that do not wait for one of these connections.
    pub(super) fn take_usable(&mut self, user: UserKey, missing: &[String]) -> Vec<ExecutionId> {
        let of_user = self.users.get(&user).into_iter().flatten();
        let usable = of_user.filter(|(_, one)| !missing.contains(&one.connection));
        let orders: Vec<u64> = usable.map(|(order, _)| *order).collect();
        orders.into_iter().filter_map(|order| self.remove(user, order)).collect()
    }

    /// Takes out what is given up now.
    pub(super) fn take_ended(&mut self, now: Timestamp) -> Vec<(UserKey, ExecutionId)> {
        let due = self.ends.iter().take_while(|(until, ..)| *until <= now);
        let due: Vec<(UserKey, u64)> = due.map(|(_, user, order)| (*user, *order)).collect();
        let taken = due.into_iter().filter_map(|(user, order)| Some((user, self.remove(user, order)?)));
        taken.collect()
    }

    /// The users that are worth trying now.
    pub(super) fn due(&self, now: Timestamp) -> Vec<UserKey> {
        let due = self.again.iter().filter(|(_, again)| **again <= now);
        due.map(|(user, _)| *user).collect()
    }

    /// When somebody has to look.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        let end = self.ends.first().map(|(until, ..)| *until);
        let again = self.again.values().min().copied();
        [end, again].into_iter().flatten().min()
    }

    pub(super) fn holds(&self, user: UserKey) -> bool {
        self.users.contains_key(&user)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}
