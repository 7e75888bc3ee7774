//! A sorted table in 4,096 shards that shares its unchanged shards with its predecessor.
//!
//! One changed row copies the vector of shards and one shard, whatever the size of the table. Rows stand in the order
//! of a well-mixed hash of their keys, so that a look-up can guess a row's place within a few rows and then touches
//! two or three cache lines instead of the eight of a binary search.

use std::fmt;
use std::sync::Arc;

/// The top bits of a row's order choose its shard.
const SHARD_BITS: u32 = 12;
const SHARDS: usize = 1 << SHARD_BITS;

/// What a table holds: small rows with an ordered key.
pub(super) trait Row: Copy {
    /// What rows are found by.
    type Key: Ord + Copy;
    /// The row's key.
    fn key(&self) -> Self::Key;
    /// 64 well-mixed bits of a key: the order of the table.
    fn spread(key: Self::Key) -> u64;
}

/// See the module.
#[derive(Clone)]
pub(super) struct Table<R> {
    shards: Arc<Vec<Arc<[R]>>>,
}

fn shard_of<R: Row>(key: R::Key) -> usize {
    (R::spread(key) >> (u64::BITS - SHARD_BITS)) as usize
}

fn order<R: Row>(row: &R) -> (u64, R::Key) {
    (R::spread(row.key()), row.key())
}

impl<R: Row> Table<R> {
    /// Builds a table; rows may come in any order.
    pub(super) fn build(rows: &[R]) -> Self {
        let mut ends = vec![0_usize; SHARDS];
        for row in rows {
            ends[shard_of::<R>(row.key())] += 1;
        }
        let mut total = 0;
        for end in &mut ends {
            total += std::mem::replace(end, total);
        }
        // Scattered by shard first, each shard is sorted within the processor's cache.
        let mut scattered = rows.to_vec();
        for row in rows {
            let end = &mut ends[shard_of::<R>(row.key())];
            scattered[*end] = *row;
            *end += 1;
        }
        let none: Arc<[R]> = Arc::from(Vec::new());
        let mut start = 0;
        let shards = ends.into_iter().map(|end| {
            let shard = &mut scattered[std::mem::replace(&mut start, end)..end];
            shard.sort_unstable_by_key(order);
            if shard.is_empty() { Arc::clone(&none) } else { Arc::from(&*shard) }
        });
        Self {
            shards: Arc::new(shards.collect()),
        }
    }

    /// All rows with this key; keys need not be unique.
    pub(super) fn find(&self, key: R::Key) -> &[R] {
        let shard = &self.shards[shard_of::<R>(key)];
        let start = first_from(shard, key);
        let count = shard[start..].iter().take_while(|row| row.key() == key).count();
        &shard[start..start + count]
    }

    /// Replaces the rows with this key by what `edit` leaves of them. Other snapshots keep theirs.
    pub(super) fn edit(&mut self, key: R::Key, edit: impl FnOnce(&mut Vec<R>)) {
        let shard = &mut Arc::make_mut(&mut self.shards)[shard_of::<R>(key)];
        let start = first_from(shard, key);
        let count = shard[start..].iter().take_while(|row| row.key() == key).count();
        let mut rows = shard[start..start + count].to_vec();
        edit(&mut rows);
        *shard = shard[..start].iter().chain(&rows).chain(&shard[start + count..]).copied().collect();
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }
}

impl<R: Row> fmt::Debug for Table<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} rows)", self.len())
    }
}

/// The place of the first row of a shard that is not before `key`: guessed from its order, then bracketed by steps that
/// double, so that even the worst guess costs no more than a binary search.
fn first_from<R: Row>(shard: &[R], key: R::Key) -> usize {
    let wanted = (R::spread(key), key);
    let is_before = |place: usize| order(&shard[place]) < wanted;
    let within = wanted.0 << SHARD_BITS;
    let guess = ((u128::from(within) * shard.len() as u128) >> u64::BITS) as usize;
    let (mut low, mut high) = (guess, guess);
    let mut step = 1;
    while high < shard.len() && is_before(high) {
        low = high + 1;
        high = low + step;
        step *= 2;
    }
    // Does nothing if the place is known to lie to the right.
    step = 1;
    while low > 0 && !is_before(low - 1) {
        high = low - 1;
        low = high.saturating_sub(step);
        step *= 2;
    }
    let high = high.min(shard.len());
    low + shard[low..high].partition_point(|row| order(row) < wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Pair(u64, u32);

    impl Row for Pair {
        type Key = u64;
        fn key(&self) -> u64 {
            self.0
        }
        /// Badly mixed on purpose: three shards, and many keys of one order.
        fn spread(key: u64) -> u64 {
            (key % 3) << 60 | (key / 7)
        }
    }

    fn sorted(mut rows: Vec<Pair>) -> Vec<Pair> {
        rows.sort_unstable();
        rows
    }

    proptest! {
        #[test]
        fn it_finds_exactly_the_rows_of_a_key_however_they_are_spread(rows in vec((0..60_u64, 0..3_u32), 0..200)) {
            let rows: Vec<Pair> = rows.into_iter().map(|(key, value)| Pair(key, value)).collect();
            let table = Table::build(&rows);
            prop_assert_eq!(table.len(), rows.len());
            for key in 0..61 {
                let expected = rows.iter().filter(|row| row.0 == key).copied().collect();
                prop_assert_eq!(sorted(table.find(key).to_vec()), sorted(expected));
            }
        }

        #[test]
        fn edits_change_one_key_and_leave_the_older_table(edits in vec((0..30_u64, 0..3_u32), 0..60)) {
            let mut table = Table::build(&[]);
            let mut expected = std::collections::BTreeMap::new();
            for (key, count) in edits {
                let (older, before) = (table.clone(), table.len());
                let rows: Vec<Pair> = (0..count).map(|value| Pair(key, value)).collect();
                table.edit(key, |found| found.clone_from(&rows));
                expected.insert(key, rows);
                prop_assert_eq!(older.len(), before);
            }
            for (key, rows) in &expected {
                prop_assert_eq!(&sorted(table.find(*key).to_vec()), rows);
            }
            prop_assert_eq!(table.len(), expected.values().map(Vec::len).sum::<usize>());
        }
    }
}
