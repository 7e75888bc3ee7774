//! A sorted table in 4,096 shards that shares its unchanged shards with its predecessor.
//!
//! One changed row copies the vector of shards and one shard, whatever the size of the table; a look-up is one
//! binary search within a shard.

use std::fmt;
use std::sync::Arc;

/// Shards of a table; a power of two.
const SHARDS: usize = 4_096;

/// What a table holds: small rows with an ordered key.
pub(super) trait Row: Copy {
    /// What rows are sorted by within a shard.
    type Key: Ord + Copy;
    /// The row's key.
    fn key(&self) -> Self::Key;
    /// 64 well-mixed bits that choose the shard of a key.
    fn spread(key: Self::Key) -> u64;
}

/// See the module.
#[derive(Clone)]
pub(super) struct Table<R> {
    shards: Arc<Vec<Arc<[R]>>>,
}

fn shard_of<R: Row>(key: R::Key) -> usize {
    (R::spread(key) >> 52) as usize
}

impl<R: Row> Table<R> {
    /// Builds a table; rows may come in any order.
    pub(super) fn build(mut rows: Vec<R>) -> Self {
        rows.sort_unstable_by_key(|row| (shard_of::<R>(row.key()), row.key()));
        let none: Arc<[R]> = Arc::from(Vec::new());
        let mut rest = rows.as_slice();
        let shards = (0..SHARDS)
            .map(|shard| {
                let count = rest.partition_point(|row| shard_of::<R>(row.key()) <= shard);
                let (mine, others) = rest.split_at(count);
                rest = others;
                if mine.is_empty() { Arc::clone(&none) } else { Arc::from(mine) }
            })
            .collect();
        Self { shards: Arc::new(shards) }
    }

    /// All rows with this key; keys need not be unique.
    pub(super) fn find(&self, key: R::Key) -> &[R] {
        let shard = &self.shards[shard_of::<R>(key)];
        let start = shard.partition_point(|row| row.key() < key);
        let count = shard[start..].iter().take_while(|row| row.key() == key).count();
        &shard[start..start + count]
    }

    /// Replaces the rows with this key by what `edit` leaves of them. Other snapshots keep theirs.
    pub(super) fn edit(&mut self, key: R::Key, edit: impl FnOnce(&mut Vec<R>)) {
        let shard = &mut Arc::make_mut(&mut self.shards)[shard_of::<R>(key)];
        let start = shard.partition_point(|row| row.key() < key);
        let end = start + shard[start..].partition_point(|row| row.key() == key);
        let mut rows = shard[start..end].to_vec();
        edit(&mut rows);
        *shard = shard[..start].iter().chain(&rows).chain(&shard[end..]).copied().collect();
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
