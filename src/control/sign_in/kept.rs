//! Values under a secret that only its holder knows, for a short time and not too many.

use perseat_domain::model::KeyDigest;
use perseat_store::seal::key_digest;
use std::collections::HashMap;
use std::time::Duration;

/// See the module. Time is an argument: the time since the start.
pub(super) struct Kept<T> {
    most: usize,
    values: HashMap<KeyDigest, Value<T>>,
}

struct Value<T> {
    value: T,
    /// Whose it is, as far as shares go.
    whose: String,
    until: Duration,
}

impl<T> Kept<T> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            values: HashMap::new(),
        }
    }

    /// Keeps a value until a time. Where there is no room, the first to end of whoever has most gives way.
    pub(super) fn put(&mut self, secret: &str, whose: String, value: T, until: Duration, now: Duration) {
        if self.values.len() >= self.most {
            self.values.retain(|_, kept| now < kept.until);
        }
        if self.values.len() >= self.most {
            self.make_room();
        }
        self.values.insert(key_digest(secret), Value { value, whose, until });
    }

    fn make_room(&mut self) {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for kept in self.values.values() {
            *counts.entry(&kept.whose).or_default() += 1;
        }
        let most = counts.values().copied().max();
        let crowd = self.values.iter().filter(|(_, kept)| counts.get(&*kept.whose).copied() == most);
        let first = crowd.min_by_key(|(_, kept)| kept.until).map(|(digest, _)| *digest);
        if let Some(first) = first {
            self.values.remove(&first);
        }
    }

    /// The value, if it is still kept.
    pub(super) fn get(&mut self, secret: &str, now: Duration) -> Option<&mut T> {
        let kept = self.values.get_mut(&key_digest(secret))?;
        (now < kept.until).then_some(&mut kept.value)
    }

    /// Takes the value away.
    pub(super) fn take(&mut self, secret: &str, now: Duration) -> Option<T> {
        let kept = self.values.remove(&key_digest(secret))?;
        (now < kept.until).then_some(kept.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn values_end_with_their_time_and_are_taken_once() {
        let mut kept = Kept::new(2);
        kept.put("a", "one".into(), 1, second(10), second(0));
        kept.put("b", "other".into(), 2, second(20), second(0));
        assert_eq!(kept.get("a", second(9)).copied(), Some(1));
        assert_eq!(kept.get("a", second(10)), None);
        kept.put("c", "other".into(), 3, second(30), second(10));
        assert_eq!(kept.get("b", second(10)).copied(), Some(2), "what has ended makes room");
        assert_eq!((kept.take("b", second(11)), kept.take("b", second(11))), (Some(2), None));
        assert_eq!(kept.take("x", second(11)), None);
    }

    #[test]
    fn whoever_begins_most_crowds_out_nobody_else() {
        let mut kept = Kept::new(10);
        kept.put("first", "one".into(), 0, second(50), second(0));
        for number in 0..100 {
            let whose = if number % 3 == 0 { "another" } else { "crowd" };
            kept.put(&number.to_string(), whose.into(), number, second(100 + number), second(0));
        }
        assert_eq!(kept.values.len(), 10);
        assert_eq!(kept.get("first", second(0)).copied(), Some(0));
        assert_eq!(kept.get("99", second(0)).copied(), Some(99), "the newest is there");
        assert_eq!(kept.get("1", second(0)), None);
    }
}
