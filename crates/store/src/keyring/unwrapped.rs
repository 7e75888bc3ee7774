//! What a keyring knows of its file: which slot holds whose key, and the keys that are unwrapped.

use super::Owner;
use super::index::Index;
use super::versions::Older;
use crate::bounded::Bounded;
use crate::error::StoreError;
use crate::seal::DataKey;
use perseat_domain::id::CustomerId;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

/// Owners are told apart by so many counts of changes.
const COUNTS: usize = 256;
/// Below so many, keys that nobody holds any more are not looked for.
const FEW: usize = 1_024;

/// See the module.
pub(super) struct Shared {
    pub(super) index: Index,
    /// How often it changed where keys stand, or that they do, by owners.
    changes: [u64; COUNTS],
    /// How often something changed that may be any key's: of what others are wrapped by, or the file.
    all_changed: u64,
    pub(super) cache: Bounded<Owner, Cached>,
    /// Slots that do not read, with what they say of their owner.
    pub(super) damaged: Vec<(u32, Option<Owner>)>,
    /// Versions before the newest, in their order.
    pub(super) older: HashMap<CustomerId, Vec<Older>>,
    /// Every customer's key that somebody holds, so that the next version reaches all who do.
    held: HashMap<CustomerId, Weak<DataKey>>,
    /// At so many, those that nobody holds are dropped.
    sweep_at: usize,
}

/// An unwrapped key.
#[derive(Clone)]
pub(super) struct Cached {
    pub(super) key: Arc<DataKey>,
    pub(super) wrapper: Option<Owner>,
}

/// As of when a key is read: where this is what it was, so is the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    owner: u64,
    all: u64,
}

/// Where an owner's key stands.
pub(super) struct Places {
    pub(super) newest: u32,
    /// Versions before it, in their order.
    pub(super) older: Vec<Older>,
}

impl Shared {
    pub(super) fn new(index: Index, cache_entries: usize, damaged: Vec<(u32, Option<Owner>)>) -> Self {
        Self {
            index,
            changes: [0; COUNTS],
            all_changed: 0,
            cache: Bounded::new(cache_entries),
            damaged,
            older: HashMap::new(),
            held: HashMap::new(),
            sweep_at: FEW,
        }
    }

    /// Why the owner has no key.
    pub(super) fn absent(&self, owner: Owner) -> StoreError {
        if self.damaged.iter().any(|(_, damaged)| *damaged == Some(owner)) {
            return StoreError::corrupt(format!("the key of {owner}"));
        }
        StoreError::NoKey { owner: owner.to_string() }
    }

    /// Forgets keys; gives the slots to wipe, those of older versions and damaged ones that name these owners included.
    pub(super) fn forget(&mut self, owners: &[Owner]) -> Vec<(u32, Option<Owner>)> {
        let gone: HashSet<Owner> = owners.iter().copied().collect();
        let mut slots = Vec::new();
        for owner in &gone {
            match owner {
                Owner::User(_) => self.changes(*owner),
                Owner::Organization | Owner::Customer(_) => self.all_change(),
            }
            slots.extend(self.index.remove(*owner).map(|number| (number, Some(*owner))));
            if let Owner::Customer(id) = owner {
                let older = self.older.remove(id).unwrap_or_default();
                slots.extend(older.into_iter().map(|older| (older.slot, Some(*owner))));
                self.held.remove(id);
            }
        }
        slots.extend(
            self.damaged
                .extract_if(.., |(_, owner)| owner.is_some_and(|owner| gone.contains(&owner))),
        );
        self.cache
            .retain(|owner, cached| !gone.contains(owner) && !cached.wrapper.is_some_and(|wrapper| gone.contains(&wrapper)));
        slots
    }

    /// Notes where keys stand from now on.
    pub(super) fn place(&mut self, rows: Vec<(Owner, u32)>) {
        for (owner, slot) in rows {
            self.changes(owner);
            self.index.insert(owner, slot);
        }
    }

    /// What is read of this owner meanwhile is read again.
    pub(super) fn changes(&mut self, owner: Owner) {
        self.changes[count_of(owner)] += 1;
    }

    /// Whatever is read meanwhile is read again.
    pub(super) fn all_change(&mut self) {
        self.all_changed += 1;
    }

    /// As of when the owner's key is read that is read now.
    pub(super) fn moment(&self, owner: Owner) -> Moment {
        Moment {
            owner: self.changes[count_of(owner)],
            all: self.all_changed,
        }
    }

    /// The versions before the newest.
    pub(super) fn older_of(&self, owner: Owner) -> Vec<Older> {
        match owner {
            Owner::Customer(id) => self.older.get(&id).cloned().unwrap_or_default(),
            Owner::Organization | Owner::User(_) => Vec::new(),
        }
    }

    /// The key, where it is in memory.
    pub(super) fn known(&mut self, owner: Owner) -> Option<Arc<DataKey>> {
        match self.cache.get(owner) {
            Some(cached) => Some(cached.key),
            None => self.held(owner),
        }
    }

    /// Where the key stands.
    pub(super) fn places(&self, owner: Owner) -> Result<Places, StoreError> {
        Ok(Places {
            newest: self.index.get(owner).ok_or_else(|| self.absent(owner))?,
            older: self.older_of(owner),
        })
    }

    /// Takes a key into memory.
    pub(super) fn enter(&mut self, owner: Owner, read: Cached) -> Arc<DataKey> {
        self.hold(owner, &read.key);
        let key = Arc::clone(&read.key);
        self.cache.insert(owner, read);
        key
    }

    /// A customer's key, where somebody still holds it though it is not in the cache any more.
    fn held(&mut self, owner: Owner) -> Option<Arc<DataKey>> {
        let Owner::Customer(id) = owner else { return None };
        let key = self.held.get(&id)?.upgrade()?;
        let cached = Cached {
            key: Arc::clone(&key),
            wrapper: None,
        };
        self.cache.insert(owner, cached);
        Some(key)
    }

    /// Drops the keys that were not asked for since the last time, and what is remembered of those that nobody holds.
    pub(super) fn put_away_unused(&mut self) {
        self.cache.drop_unused();
        self.sweep();
        self.held.shrink_to_fit();
    }

    /// Memory of a key that nobody holds is given back once nobody remembers it either.
    fn sweep(&mut self) {
        self.held.retain(|_, key| key.strong_count() > 0);
        self.sweep_at = FEW.max(2 * self.held.len());
    }

    /// Remembers that a customer's key is given out.
    fn hold(&mut self, owner: Owner, key: &Arc<DataKey>) {
        let Owner::Customer(id) = owner else { return };
        if self.held.len() >= self.sweep_at {
            self.sweep();
        }
        self.held.insert(id, Arc::downgrade(key));
    }
}

/// Ids end in random bits.
fn count_of(owner: Owner) -> usize {
    let [.., last] = owner.to_bytes();
    usize::from(last) % COUNTS
}
