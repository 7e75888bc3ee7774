//! A map that holds at most so many entries and gives up one that was not used lately (second chance).

use perseat_domain::id::IdMap;
use std::hash::Hash;

struct Entry<K, V> {
    key: K,
    value: V,
    used: bool,
}

/// At most `capacity` values by key.
pub(crate) struct Bounded<K, V> {
    capacity: usize,
    places: IdMap<K, usize>,
    entries: Vec<Entry<K, V>>,
    hand: usize,
}

impl<K: Copy + Eq + Hash, V: Clone> Bounded<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            places: IdMap::default(),
            entries: Vec::new(),
            hand: 0,
        }
    }

    pub(crate) fn get(&mut self, key: K) -> Option<V> {
        let entry = &mut self.entries[*self.places.get(&key)?];
        entry.used = true;
        Some(entry.value.clone())
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        let entry = Entry { key, value, used: false };
        if let Some(&place) = self.places.get(&key) {
            self.entries[place] = entry;
        } else if self.entries.len() < self.capacity {
            self.places.insert(key, self.entries.len());
            self.entries.push(entry);
        } else {
            let place = self.victim();
            self.places.remove(&self.entries[place].key);
            self.places.insert(key, place);
            self.entries[place] = entry;
        }
    }

    /// The first entry from the hand on that was not used since the hand last passed it.
    fn victim(&mut self) -> usize {
        loop {
            let place = self.hand % self.entries.len();
            self.hand = place + 1;
            if !std::mem::take(&mut self.entries[place].used) {
                return place;
            }
        }
    }

    /// Drops every value that was not asked for since the last time, and the room that they took.
    pub(crate) fn drop_unused(&mut self) {
        self.entries.retain_mut(|entry| std::mem::take(&mut entry.used));
        self.entries.shrink_to_fit();
        self.places = self.places();
    }

    fn places(&self) -> IdMap<K, usize> {
        self.entries.iter().enumerate().map(|(place, entry)| (entry.key, place)).collect()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Drops every entry for which `keep` is false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.entries.retain(|entry| keep(&entry.key, &entry.value));
        self.places = self.places();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_gives_up_what_was_not_used() {
        let mut map = Bounded::new(2);
        map.insert(1, "a");
        map.insert(2, "b");
        assert_eq!(map.get(1), Some("a"));
        map.insert(3, "c");
        assert_eq!((map.get(1), map.get(2), map.get(3)), (Some("a"), None, Some("c")));
    }

    #[test]
    fn what_nobody_asks_for_is_dropped() {
        let mut map = Bounded::new(8);
        for n in 0..4 {
            map.insert(n, n * 10);
        }
        assert_eq!((map.get(1), map.get(3)), (Some(10), Some(30)));
        map.drop_unused();
        assert_eq!((0..4).filter_map(|n| map.get(n)).collect::<Vec<_>>(), [10, 30]);
        map.drop_unused();
        map.drop_unused();
        assert_eq!(map.len(), 0);
    }

    #[test]
    fn what_was_not_kept_is_gone_and_the_rest_is_found() {
        let mut map = Bounded::new(8);
        for n in 0..8 {
            map.insert(n, n * 10);
        }
        map.retain(|key, _| key % 2 == 1);
        assert_eq!((0..8).filter_map(|n| map.get(n)).collect::<Vec<_>>(), [10, 30, 50, 70]);
    }
}
