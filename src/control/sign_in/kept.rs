//! Values under a secret that only its holder knows, for a short time and not too many.

use perseat_domain::model::KeyDigest;
use perseat_store::seal::key_digest;
use std::collections::HashMap;
use std::time::Duration;

/// See the module. Time is an argument: the time since the start.
pub(super) struct Kept<T> {
    most: usize,
    values: HashMap<KeyDigest, (T, Duration)>,
}

impl<T> Kept<T> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            values: HashMap::new(),
        }
    }

    /// Keeps a value until a time; false where there is no room.
    pub(super) fn put(&mut self, secret: &str, value: T, until: Duration, now: Duration) -> bool {
        if self.values.len() >= self.most {
            self.values.retain(|_, (_, until)| now < *until);
        }
        let has_room = self.values.len() < self.most;
        if has_room {
            self.values.insert(key_digest(secret), (value, until));
        }
        has_room
    }

    /// The value, if it is still kept.
    pub(super) fn get(&mut self, secret: &str, now: Duration) -> Option<&mut T> {
        let (value, until) = self.values.get_mut(&key_digest(secret))?;
        (now < *until).then_some(value)
    }

    /// Takes the value away.
    pub(super) fn take(&mut self, secret: &str, now: Duration) -> Option<T> {
        let (value, until) = self.values.remove(&key_digest(secret))?;
        (now < until).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_with_their_time_and_make_room() {
        let mut kept = Kept::new(2);
        let second = Duration::from_secs;
        assert!(kept.put("a", 1, second(10), second(0)) && kept.put("b", 2, second(20), second(0)));
        assert!(!kept.put("c", 3, second(30), second(9)));
        assert_eq!(kept.get("a", second(9)).copied(), Some(1));
        assert_eq!(kept.get("a", second(10)), None);
        assert!(kept.put("c", 3, second(30), second(10)));
        assert_eq!((kept.take("b", second(11)), kept.take("b", second(11))), (Some(2), None));
        assert_eq!(kept.take("x", second(11)), None);
    }
}
