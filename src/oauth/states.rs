//! Consents that are under way: random states, each good once, for a time, in one browser.

use super::Ticket;
use perseat_domain::grant::Rules;
use perseat_domain::model::KeyDigest;
use perseat_domain::time::Timestamp;
use perseat_flow::oauth::Pkce;
use perseat_store::seal::key_digest;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use url::Url;

/// What consents are held to.
#[derive(Clone, Debug)]
pub(crate) struct OauthOptions {
    /// How long a consent may take (`oauth.state-lifetime`).
    pub(crate) state_lifetime: Duration,
    /// Consents under way at once (`oauth.states`).
    pub(crate) states: usize,
    /// Of them for one connection (`oauth.states-per-connection`).
    pub(crate) states_per_connection: usize,
    /// Addresses that a browser may be sent on to (`oauth.redirects`).
    pub(crate) redirects: Vec<Url>,
    /// Executions that are looked through for the uses of a connection (`oauth.uses-looked-at`).
    pub(crate) uses_looked_at: usize,
    /// How grants are kept.
    pub(crate) rules: Rules,
}

/// One consent under way.
pub(super) struct Pending {
    pub(super) ticket: Ticket,
    /// Whose provider the browser is sent to.
    pub(super) registration: KeyDigest,
    pub(super) pkce: Pkce,
    /// The cookie of the browser that it belongs to.
    pub(super) browser: String,
    pub(super) until: Timestamp,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("until", &self.until).finish_non_exhaustive()
    }
}

/// All of them, by the digest of the state.
#[derive(Debug)]
pub(super) struct States {
    limit: usize,
    /// For one connection: nobody who may connect one thing crowds out the consents of others.
    each: usize,
    pending: Mutex<HashMap<KeyDigest, Pending>>,
}

impl States {
    pub(super) fn new(limit: usize, each: usize) -> Self {
        Self {
            limit: limit.max(1),
            each: each.max(1),
            pending: Mutex::new(HashMap::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyDigest, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers it. At a limit, what has ended goes first, then what ends next: of the same connection, or of all.
    pub(super) fn add(&self, state: &str, pending: Pending, now: Timestamp) {
        let mut all = self.lock();
        let is_of = |other: &Pending| other.ticket.id == pending.ticket.id;
        if all.len() >= self.limit || all.values().filter(|other| is_of(other)).count() >= self.each {
            all.retain(|_, pending| now < pending.until);
        }
        if all.values().filter(|other| is_of(other)).count() >= self.each {
            drop_oldest(&mut all, is_of);
        }
        if all.len() >= self.limit {
            drop_oldest(&mut all, |_| true);
        }
        all.insert(key_digest(state), pending);
    }

    /// Takes it: a second use finds nothing.
    pub(super) fn take(&self, state: &str, now: Timestamp) -> Option<Pending> {
        self.lock().remove(&key_digest(state)).filter(|pending| now < pending.until)
    }
}

fn drop_oldest(all: &mut HashMap<KeyDigest, Pending>, is_meant: impl Fn(&Pending) -> bool) {
    let meant = all.iter().filter(|(_, pending)| is_meant(pending));
    if let Some(oldest) = meant.min_by_key(|(_, pending)| pending.until).map(|(state, _)| *state) {
        all.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::grant::Holder;
    use perseat_domain::id::InstanceId;
    use perseat_store::catalog::GrantId;

    fn pending(until: u64) -> Pending {
        of("account", until)
    }

    fn of(variable: &str, until: u64) -> Pending {
        let id = GrantId {
            holder: Holder::Instance(InstanceId(uuid::Uuid::nil())),
            variable: variable.into(),
        };
        Pending {
            ticket: Ticket { id, by: "test".into() },
            registration: key_digest("registration"),
            pkce: Pkce::new(&[7; 32]),
            browser: "browser".into(),
            until: Timestamp(until),
        }
    }

    #[test]
    fn a_state_is_good_once_and_until_its_end() {
        let states = States::new(2, 2);
        states.add("a", pending(10), Timestamp(0));
        assert!(states.take("b", Timestamp(1)).is_none());
        assert!(states.take("a", Timestamp(1)).is_some());
        assert!(states.take("a", Timestamp(1)).is_none(), "a second use");
        states.add("a", pending(10), Timestamp(0));
        assert!(states.take("a", Timestamp(10)).is_none(), "too late");
    }

    #[test]
    fn beyond_the_limit_the_oldest_goes() {
        let states = States::new(2, 2);
        for (state, until) in [("a", 10), ("b", 20), ("c", 30)] {
            states.add(state, pending(until), Timestamp(0));
        }
        let found = ["a", "b", "c"].map(|state| states.take(state, Timestamp(5)).is_some());
        assert_eq!(found, [false, true, true]);
    }

    #[test]
    fn one_connection_crowds_out_none_but_its_own() {
        let states = States::new(10, 2);
        states.add("other", of("other", 5), Timestamp(0));
        for (state, until) in [("a", 10), ("b", 20), ("c", 30), ("d", 40)] {
            states.add(state, pending(until), Timestamp(0));
        }
        let found = ["other", "a", "b", "c", "d"].map(|state| states.take(state, Timestamp(1)).is_some());
        assert_eq!(found, [true, false, false, true, true]);
    }
}
