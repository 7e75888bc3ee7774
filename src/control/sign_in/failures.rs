//! Wrong passwords in a row, by the address that was typed, whether it belongs to anybody or not.

use perseat_domain::model::KeyDigest;
use perseat_store::seal::key_digest;
use std::collections::HashMap;
use std::time::Duration;

struct Failed {
    count: u32,
    /// The last one.
    at: Duration,
    locked_until: Option<Duration>,
}

/// See the module. Time is an argument: the time since the start.
pub(super) struct Failures {
    most: u32,
    lock: Duration,
    remembered: usize,
    known: HashMap<KeyDigest, Failed>,
}

impl Failures {
    /// `most` failures lock an address for `lock`; so long after its last failure it is forgotten.
    pub(super) fn new(most: u32, lock: Duration, remembered: usize) -> Self {
        Self {
            most,
            lock,
            remembered: remembered.max(1),
            known: HashMap::new(),
        }
    }

    /// Whether the address is refused for now.
    pub(super) fn is_locked(&self, address: &str, now: Duration) -> bool {
        let failed = self.known.get(&key(address));
        failed.and_then(|failed| failed.locked_until).is_some_and(|until| now < until)
    }

    /// Notes a wrong password; true if this one locks the address.
    pub(super) fn note(&mut self, address: &str, now: Duration) -> bool {
        let address = key(address);
        if !self.known.contains_key(&address) && self.known.len() >= self.remembered {
            self.make_room(now);
        }
        let failed = self.known.entry(address).or_insert(Failed {
            count: 0,
            at: now,
            locked_until: None,
        });
        if now.saturating_sub(failed.at) >= self.lock || failed.locked_until.is_some_and(|until| until <= now) {
            (failed.count, failed.locked_until) = (0, None);
        }
        failed.count += 1;
        failed.at = now;
        let locks = failed.count >= self.most && failed.locked_until.is_none();
        if locks {
            failed.locked_until = Some(now + self.lock);
        }
        locks
    }

    /// The right password: nothing to hold against the address any more.
    pub(super) fn forget(&mut self, address: &str) {
        self.known.remove(&key(address));
    }

    fn make_room(&mut self, now: Duration) {
        let lock = self.lock;
        self.known.retain(|_, failed| now.saturating_sub(failed.at) < lock);
        if self.known.len() >= self.remembered {
            let oldest = self.known.iter().min_by_key(|(_, failed)| failed.at).map(|(key, _)| *key);
            oldest.map(|key| self.known.remove(&key));
        }
    }
}

fn key(address: &str) -> KeyDigest {
    key_digest(&address.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn so_many_wrong_passwords_in_a_row_lock_an_address_for_a_while() {
        let mut failures = Failures::new(3, second(60), 10);
        assert!(!failures.note("Ann@a.example", second(0)) && !failures.note("ann@a.example", second(1)));
        assert!(!failures.is_locked("ann@a.example", second(1)));
        assert!(failures.note("ANN@a.example", second(2)), "case makes no difference");
        assert!(failures.is_locked("ann@a.example", second(61)) && !failures.is_locked("bob@a.example", second(3)));
        assert!(!failures.note("ann@a.example", second(3)), "it is locked already");
        assert!(!failures.is_locked("ann@a.example", second(62)));
        assert!(!failures.note("ann@a.example", second(63)), "then it begins anew");
        failures.note("ann@a.example", second(64));
        failures.forget("ann@a.example");
        assert!(!failures.note("ann@a.example", second(65)) && !failures.note("ann@a.example", second(66)));
        assert!(!failures.note("ann@a.example", second(127)), "old failures are forgotten");
    }

    #[test]
    fn only_so_many_addresses_are_remembered() {
        let mut failures = Failures::new(2, second(60), 2);
        failures.note("a", second(0));
        failures.note("b", second(1));
        failures.note("c", second(2));
        assert_eq!(failures.known.len(), 2);
        assert!(
            failures.note("b", second(3)) && !failures.note("a", second(3)),
            "the oldest made room"
        );
    }
}
