//! How a script computes beside everything else on the machine: by what its user's last one did. Pure.

use super::run::UserKey;
use perseat_domain::id::CustomerId;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::time::Duration;

/// CPU time of a run that competes like any other. Starting the next child costs a tenth of it, and a spare is ready. No key: less
/// would start a process for every step, more would let scripts hold up answers; how much a step may compute in all is `code.cpu`.
const FIRST: Duration = Duration::from_millis(10);
/// The same where the user's last run took longer than that: one that computes without end would otherwise hold up others at
/// each of its beginnings. No key: it goes with the one above.
const AGAIN: Duration = Duration::from_millis(1);
/// Users that are remembered. No key: past it all are forgotten, which costs them nothing and others ten milliseconds each.
const MAX_USERS: usize = 4_096;
/// Scripts that are remembered. No key: past it all are forgotten, and each may hold up others once more.
const MAX_SCRIPTS: usize = 4_096;

/// What the last run of a user was like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// It computed for long.
    Long,
    /// It had to be ended.
    Endless,
}

/// How a run computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// CPU time after which it gives way.
    pub(super) gives_way_after: Duration,
    /// Whether it rests most of the time from then on. A process of the least weight still takes a whole core where one is
    /// free, and with it the caches, the clock rate and the wake-ups of the others.
    pub(super) rests: bool,
}

/// The users whose last run computed for long, and the scripts that wait.
#[derive(Debug, Default)]
pub(super) struct Patience {
    users: HashMap<UserKey, Last>,
    /// By a hash of the customer and the text: who finds two alike has one of their own scripts alone in its process.
    scripts: HashSet<u64>,
    hasher: RandomState,
}

impl Patience {
    /// How the next run of a user computes.
    pub(super) fn with(&self, user: UserKey) -> Pace {
        let last = self.users.get(&user);
        Pace {
            gives_way_after: if last.is_some() { AGAIN } else { FIRST },
            rests: last == Some(&Last::Endless),
        }
    }

    /// Whether the last run of a user computed for long.
    pub(super) fn remembers(&self, user: UserKey) -> bool {
        self.users.contains_key(&user)
    }

    /// A run came to its end by itself and took this much CPU time.
    pub(super) fn ended(&mut self, user: UserKey, cpu: Duration) {
        if cpu >= FIRST {
            self.remember(user, Last::Long);
        } else {
            self.users.remove(&user);
        }
    }

    /// A run did not come to its end.
    pub(super) fn exhausted(&mut self, user: UserKey) {
        self.remember(user, Last::Endless);
    }

    fn remember(&mut self, user: UserKey, last: Last) {
        if self.users.len() >= MAX_USERS {
            self.users.clear();
        }
        self.users.insert(user, last);
    }

    /// A customer's script waited for an answer or a timer.
    pub(super) fn waited(&mut self, customer: CustomerId, script: &str) {
        if self.scripts.len() >= MAX_SCRIPTS {
            self.scripts.clear();
        }
        self.scripts.insert(self.hasher.hash_one((customer, script)));
    }

    /// Whether it did so lately.
    pub(super) fn waits(&self, customer: CustomerId, script: &str) -> bool {
        self.scripts.contains(&self.hasher.hash_one((customer, script)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::id::CustomerId;
    use uuid::Uuid;

    fn user(n: u128) -> UserKey {
        UserKey {
            customer: CustomerId(Uuid::from_u128(n)),
            user: None,
        }
    }

    #[test]
    fn who_computed_for_long_gives_way_sooner_until_a_run_is_short() {
        let mut patience = Patience::default();
        let pace = |gives_way_after, rests| Pace { gives_way_after, rests };
        assert_eq!(patience.with(user(1)), pace(FIRST, false));
        patience.ended(user(1), FIRST);
        patience.exhausted(user(2));
        assert_eq!(patience.with(user(1)), pace(AGAIN, false));
        assert_eq!(patience.with(user(2)), pace(AGAIN, true));
        assert_eq!(patience.with(user(3)), pace(FIRST, false));
        patience.ended(user(1), FIRST - Duration::from_micros(1));
        patience.ended(user(2), FIRST);
        assert_eq!(patience.with(user(1)), pace(FIRST, false));
        assert_eq!(patience.with(user(2)), pace(AGAIN, false));
    }

    #[test]
    fn no_more_users_and_scripts_are_remembered_than_the_bounds() {
        let mut patience = Patience::default();
        (0..10_000).for_each(|n| patience.exhausted(user(n)));
        assert!(patience.users.len() <= MAX_USERS && patience.with(user(9_999)).rests);
        let customer = user(1).customer;
        (0..10_000).for_each(|n| patience.waited(customer, &n.to_string()));
        assert!(patience.scripts.len() <= MAX_SCRIPTS && patience.waits(customer, "9999"));
        assert!(!patience.waits(user(2).customer, "9999"));
    }
}
