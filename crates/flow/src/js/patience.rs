//! For how long a script computes before it gives way: less where its user's last one computed for long. Pure.

use super::run::UserKey;
use std::collections::HashSet;
use std::time::Duration;

/// CPU time of a run that competes like any other. Starting the next child costs a tenth of it, and a spare is ready. No key: less
/// would start a process for every step, more would let scripts hold up answers; how much a step may compute in all is `code.cpu`.
const FIRST: Duration = Duration::from_millis(10);
/// The same where the user's last run took longer than that: one that computes without end would otherwise hold up others at
/// each of its beginnings. No key: it goes with the one above.
const AGAIN: Duration = Duration::from_millis(1);
/// Users that are remembered. No key: past it all are forgotten, which costs them nothing and others ten milliseconds each.
const MAX_USERS: usize = 4_096;

/// The users whose last run computed for long.
#[derive(Debug, Default)]
pub(super) struct Patience(HashSet<UserKey>);

impl Patience {
    /// CPU time after which the next run of a user gives way.
    pub(super) fn with(&self, user: UserKey) -> Duration {
        if self.0.contains(&user) { AGAIN } else { FIRST }
    }

    /// A run took this much CPU time.
    pub(super) fn ended(&mut self, user: UserKey, cpu: Duration) {
        if cpu >= FIRST {
            self.exhausted(user);
        } else {
            self.0.remove(&user);
        }
    }

    /// A run did not come to its end.
    pub(super) fn exhausted(&mut self, user: UserKey) {
        if self.0.len() >= MAX_USERS {
            self.0.clear();
        }
        self.0.insert(user);
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
        assert_eq!(patience.with(user(1)), FIRST);
        patience.ended(user(1), FIRST);
        patience.exhausted(user(2));
        assert_eq!(
            (patience.with(user(1)), patience.with(user(2)), patience.with(user(3))),
            (AGAIN, AGAIN, FIRST)
        );
        patience.ended(user(1), FIRST - Duration::from_micros(1));
        assert_eq!((patience.with(user(1)), patience.with(user(2))), (FIRST, AGAIN));
    }

    #[test]
    fn no_more_users_are_remembered_than_the_bound() {
        let mut patience = Patience::default();
        (0..10_000).for_each(|n| patience.exhausted(user(n)));
        assert!(patience.0.len() <= MAX_USERS && patience.with(user(9_999)) == AGAIN);
    }
}
