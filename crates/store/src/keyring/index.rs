//! Which slot holds whose key, in 20 bytes an owner.

use super::Owner;
use perseat_domain::id::{CustomerId, UserId};
use uuid::Uuid;

type Row = ([u8; 16], u32);

const SHARD_BITS: u32 = 12;

/// Slots by owner.
#[derive(Default)]
pub(super) struct Index {
    organization: Option<u32>,
    customers: Shards,
    users: Shards,
}

impl Index {
    /// Takes all owners at once; much faster than one by one.
    pub(super) fn from_rows(rows: impl IntoIterator<Item = (Owner, u32)>) -> Self {
        let mut index = Self::default();
        for (owner, slot) in rows {
            match index.shards(owner) {
                Some((shards, id)) => shards.of(id).push((id.into_bytes(), slot)),
                None => index.organization = Some(slot),
            }
        }
        index.customers.settle();
        index.users.settle();
        index
    }

    /// The owners that were given more than one slot, with all of those: of each the index holds one.
    pub(super) fn from_doubled_rows(rows: impl IntoIterator<Item = (Owner, u32)>) -> (Self, Vec<(Owner, Vec<u32>)>) {
        let mut index = Self::from_rows(rows);
        let mut doubled = index.customers.take_doubles(|id| Owner::Customer(CustomerId(id)));
        doubled.extend(index.users.take_doubles(|id| Owner::User(UserId(id))));
        (index, doubled)
    }

    pub(super) fn get(&self, owner: Owner) -> Option<u32> {
        match owner {
            Owner::Organization => self.organization,
            Owner::Customer(id) => self.customers.get(id.0),
            Owner::User(id) => self.users.get(id.0),
        }
    }

    pub(super) fn insert(&mut self, owner: Owner, slot: u32) {
        match self.shards(owner) {
            Some((shards, id)) => shards.insert(id, slot),
            None => self.organization = Some(slot),
        }
    }

    pub(super) fn remove(&mut self, owner: Owner) -> Option<u32> {
        match self.shards(owner) {
            Some((shards, id)) => shards.remove(id),
            None => self.organization.take(),
        }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.organization.is_some()) + self.customers.len() + self.users.len()
    }

    fn shards(&mut self, owner: Owner) -> Option<(&mut Shards, Uuid)> {
        match owner {
            Owner::Organization => None,
            Owner::Customer(id) => Some((&mut self.customers, id.0)),
            Owner::User(id) => Some((&mut self.users, id.0)),
        }
    }
}

/// Sorted rows, in shards so that an insertion moves little.
#[derive(Default)]
struct Shards(Vec<Vec<Row>>);

impl Shards {
    fn place(id: Uuid) -> usize {
        let (high, low) = id.as_u64_pair();
        ((high ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SHARD_BITS)) as usize
    }

    fn of(&mut self, id: Uuid) -> &mut Vec<Row> {
        if self.0.is_empty() {
            self.0.resize_with(1 << SHARD_BITS, Vec::new);
        }
        &mut self.0[Self::place(id)]
    }

    fn settle(&mut self) {
        for shard in &mut self.0 {
            shard.sort_unstable();
            shard.shrink_to_fit();
        }
    }

    /// Leaves one slot to each id, and gives the ids with all of theirs that had more.
    fn take_doubles(&mut self, owner: impl Fn(Uuid) -> Owner) -> Vec<(Owner, Vec<u32>)> {
        let mut doubled = Vec::new();
        for shard in &mut self.0 {
            for same in shard.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
                let slots = same.iter().map(|row| row.1).collect();
                doubled.push((owner(Uuid::from_bytes(same[0].0)), slots));
            }
            shard.dedup_by_key(|row| row.0);
        }
        doubled
    }

    fn get(&self, id: Uuid) -> Option<u32> {
        let shard = self.0.get(Self::place(id))?;
        let at = shard.binary_search_by_key(id.as_bytes(), |row| row.0).ok()?;
        Some(shard[at].1)
    }

    fn insert(&mut self, id: Uuid, slot: u32) {
        let shard = self.of(id);
        match shard.binary_search_by_key(id.as_bytes(), |row| row.0) {
            Ok(at) => shard[at].1 = slot,
            Err(at) => shard.insert(at, (id.into_bytes(), slot)),
        }
    }

    fn remove(&mut self, id: Uuid) -> Option<u32> {
        let shard = self.of(id);
        let at = shard.binary_search_by_key(id.as_bytes(), |row| row.0).ok()?;
        Some(shard.remove(at).1)
    }

    fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn owner() -> impl Strategy<Value = Owner> {
        prop_oneof![
            Just(Owner::Organization),
            (0..20u128).prop_map(|n| Owner::Customer(CustomerId(Uuid::from_u128(n)))),
            (0..20u128).prop_map(|n| Owner::User(UserId(Uuid::from_u128(n)))),
        ]
    }

    proptest! {
        #[test]
        fn the_index_answers_as_a_map_does(
            start in prop::collection::hash_map(owner(), any::<u32>(), 0..20),
            steps in prop::collection::vec((owner(), prop::option::of(any::<u32>())), 0..60),
        ) {
            let mut index = Index::from_rows(start.iter().map(|(owner, slot)| (*owner, *slot)));
            let mut map: HashMap<Owner, u32> = start;
            for (owner, slot) in steps {
                match slot {
                    Some(slot) => {
                        index.insert(owner, slot);
                        map.insert(owner, slot);
                    }
                    None => prop_assert_eq!(index.remove(owner), map.remove(&owner)),
                }
                prop_assert_eq!(index.get(owner), map.get(&owner).copied());
            }
            prop_assert_eq!(index.len(), map.len());
        }
    }
}
