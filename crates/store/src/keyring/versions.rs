//! The next version of a customer's key, while the key is in use.
//!
//! ```text
//! next version durable, seals ─► users' keys wrapped anew, slot by slot ─► … nothing is sealed with the one before … ─► its slot is wiped
//! ```
//!
//! Versions stand in slots of their own. A key that is written in another form gets another slot, durable before the former one
//! is wiped: where a process dies in between there are two, of which opening keeps the newer form. So each key is there, in
//! one form or the other, whenever a process dies.

use super::batch::Batch;
use super::file::KeyringFile;
use super::index::Index;
use super::master::random_key;
use super::slot::{Slot, binding};
use super::{Keyring, NewKey, Owner, Room, Vault, overwrite};
use crate::error::StoreError;
use crate::seal::RecordKind;
use perseat_domain::id::CustomerId;
use std::collections::{BTreeMap, HashMap};
use std::sync::MutexGuard;

/// A version before the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Older {
    pub(super) version: u32,
    pub(super) slot: u32,
    pub(super) sealed_until: u64,
}

/// The versions of a customer's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyVersions {
    /// The one that seals.
    pub newest: u32,
    /// Those before it that are still there, oldest first.
    pub older: Vec<OlderVersion>,
}

/// A version that opens and seals no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OlderVersion {
    /// Its number.
    pub number: u32,
    /// Up to which position of the journal it may have sealed, if that is known.
    pub sealed_until: Option<u64>,
}

impl Keyring {
    /// The customers whose keys have more than one version.
    #[must_use]
    pub fn rotating(&self) -> Vec<CustomerId> {
        let mut customers: Vec<CustomerId> = self.shared().older.keys().copied().collect();
        customers.sort_unstable();
        customers
    }

    /// The versions of a customer's key.
    ///
    /// # Errors
    /// [`StoreError::NoKey`] if there is none; if it does not open.
    pub fn versions_of(&self, customer: CustomerId) -> Result<KeyVersions, StoreError> {
        let owner = Owner::Customer(customer);
        let key = self.data_key(owner)?;
        // A version is made and destroyed with the lock held.
        let shared = self.shared();
        let older = shared.older_of(owner).into_iter().map(|older| OlderVersion {
            number: older.version,
            sealed_until: (older.sealed_until > 0).then_some(older.sealed_until),
        });
        Ok(KeyVersions {
            newest: key.version(),
            older: older.collect(),
        })
    }

    /// Makes the next version of a customer's key and syncs it. It seals from then on, wherever the key is held already. Gives its
    /// number.
    ///
    /// # Errors
    /// [`StoreError::NoKey`] if the customer has none; [`StoreError::Full`] without room. Then the key is what it was.
    pub fn next_version(&self, customer: CustomerId) -> Result<u32, StoreError> {
        let owner = Owner::Customer(customer);
        let mut room = self.room();
        let vault = self.vault();
        room.clean(&vault.file)?;
        // Held from here on, so that everybody who asks meanwhile gets the same one.
        let key = self.data_key(owner)?;
        let before = key.version();
        let version = before.checked_add(1).ok_or_else(|| StoreError::corrupt("version of a key"))?;
        let bytes = random_key();
        let slot = Slot {
            key: NewKey::Customer(customer),
            version,
            wrapped: vault
                .master
                .0
                .seal(RecordKind::WrappedKey, &binding(owner, version), bytes.as_slice()),
            sealed_until: 0,
        };
        let rows = self.write_again(&mut room, &vault, &[slot])?;
        let mut shared = self.shared();
        let former = shared.index.get(owner).map(|slot| Older {
            version: before,
            slot,
            sealed_until: 0,
        });
        shared.older.entry(customer).or_default().extend(former);
        shared.place(rows);
        key.advance(&bytes, version);
        Ok(version)
    }

    /// The slots of users' keys that an older version of their customer's key wraps. Reads the whole file.
    ///
    /// # Errors
    /// If the disk fails, or there is no key.
    pub fn wrapped_by_older(&self, customer: CustomerId) -> Result<Vec<u32>, StoreError> {
        let newest = self.data_key(Owner::Customer(customer))?.version();
        let room = self.room();
        self.wrapped_where(&room, customer, |version| version != newest)
    }

    fn wrapped_where(
        &self,
        room: &MutexGuard<'_, Room>,
        customer: CustomerId,
        is_meant: impl Fn(u32) -> bool,
    ) -> Result<Vec<u32>, StoreError> {
        let wrapper = Some(Owner::Customer(customer));
        let mut found = Vec::new();
        self.vault().file.scan(room.slots, |number, bytes| {
            let slot = Slot::decode(bytes).filter(|slot| slot.key.wrapper() == wrapper && is_meant(slot.wrapped_under()));
            found.extend(slot.map(|slot| (number, slot.key.owner())));
        })?;
        found.retain(|(number, owner)| self.slot_of(*owner) == Some(*number));
        Ok(found.into_iter().map(|(number, _)| number).collect())
    }

    /// Wraps the users' keys in these slots by the newest version of their customer's key; those that went or moved meanwhile are
    /// passed over. Gives how many.
    ///
    /// # Errors
    /// If the disk is full or fails: some may be wrapped anew then, and none is lost.
    pub fn wrap_anew(&self, customer: CustomerId, slots: &[u32]) -> Result<usize, StoreError> {
        let mut room = self.room();
        let vault = self.vault();
        room.clean(&vault.file)?;
        let key = self.data_key(Owner::Customer(customer))?;
        let (mut former, mut next) = (Vec::new(), Vec::new());
        for number in slots {
            let slot = Slot::decode(&vault.file.read(*number)?)
                .filter(|slot| slot.key.wrapper() == Some(Owner::Customer(customer)) && self.slot_of(slot.key.owner()) == Some(*number));
            let Some(slot) = slot else { continue };
            match key.reseal(RecordKind::WrappedKey, &slot.binding(), &slot.wrapped) {
                Ok(Some(wrapped)) => {
                    former.push(*number);
                    next.push(Slot { wrapped, ..slot });
                }
                Ok(None) => {}
                // Nobody can open it, with whatever version.
                Err(error) => tracing::error!(owner = %slot.key.owner(), %error, "a key does not open and is not wrapped anew"),
            }
        }
        let rows = self.write_again(&mut room, &vault, &next)?;
        self.shared().place(rows);
        reach("user-keys-written");
        self.clear(&mut room, &vault, &former)?;
        Ok(former.len())
    }

    /// Notes of all versions before `newest` of which that is not known up to which position of the journal they may have sealed.
    /// Where `newest` is not that any more it does nothing.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn note_sealed_until(&self, customer: CustomerId, newest: u32, position: u64) -> Result<(), StoreError> {
        let owner = Owner::Customer(customer);
        let mut room = self.room();
        if self.data_key(owner)?.version() != newest {
            return Ok(());
        }
        let vault = self.vault();
        room.clean(&vault.file)?;
        let all = self.shared().older_of(owner);
        let (mut former, mut next) = (Vec::new(), Vec::new());
        for older in all.iter().filter(|older| older.sealed_until == 0) {
            former.push(older.slot);
            next.push(Slot {
                sealed_until: position.max(1),
                ..self.slot_at(older.slot, owner)?
            });
        }
        let rows = self.write_again(&mut room, &vault, &next)?;
        {
            let mut shared = self.shared();
            shared.changes(owner);
            let mut older = shared.older.get_mut(&customer).into_iter().flatten();
            for ((_, number), former) in rows.into_iter().zip(&former) {
                if let Some(older) = older.find(|older| older.slot == *former) {
                    (older.slot, older.sealed_until) = (number, position.max(1));
                }
            }
        }
        self.clear(&mut room, &vault, &former)
    }

    /// Destroys an older version; `false` where it still wraps a user's key. What it sealed does not open any more, and neither
    /// does it in any copy made before, together with the keyring as it is now. Without such a version it does nothing.
    ///
    /// # Errors
    /// If the disk fails; the version may still be there.
    pub fn destroy_version(&self, customer: CustomerId, version: u32) -> Result<bool, StoreError> {
        let owner = Owner::Customer(customer);
        let mut room = self.room();
        let vault = self.vault();
        let older = self.shared().older_of(owner).into_iter().find(|older| older.version == version);
        let Some(older) = older else { return Ok(true) };
        let key = self.data_key(owner)?;
        for number in self.wrapped_where(&room, customer, |wrapper| wrapper == version)? {
            let Some(slot) = Slot::decode(&vault.file.read(number)?) else {
                continue;
            };
            match self.data_key(slot.key.owner()) {
                Ok(_) => return Ok(false),
                Err(error @ (StoreError::Io(_) | StoreError::Full(_))) => return Err(error),
                // What does not open is lost already.
                Err(_) => {}
            }
        }
        let generation = room.raise(&vault.file)?;
        overwrite(&vault.file, &[older.slot])?;
        vault.file.sync()?;
        room.is_raised(generation);
        room.free.push(older.slot);
        let mut shared = self.shared();
        shared.changes(owner);
        if let Some(versions) = shared.older.get_mut(&customer) {
            versions.retain(|older| older.version != version);
            if versions.is_empty() {
                shared.older.remove(&customer);
            }
        }
        key.forget(version);
        Ok(true)
    }

    /// Writes keys into other slots and syncs; gives where they stand now. The former slots stay as they are.
    fn write_again(&self, room: &mut Room, vault: &Vault, slots: &[Slot]) -> Result<Vec<(Owner, u32)>, StoreError> {
        let mut batch = Batch::new(self, vault, room);
        let written = slots.iter().try_for_each(|slot| batch.again(slot).map(|_| ()));
        written.and_then(|()| batch.finish()).inspect_err(|_| batch.undo())
    }

    /// Wipes slots that hold the former form of keys; where that fails it is tried again before anything else is made.
    fn clear(&self, room: &mut Room, vault: &Vault, numbers: &[u32]) -> Result<(), StoreError> {
        if numbers.is_empty() {
            return Ok(());
        }
        room.unclean.extend_from_slice(numbers);
        let generation = room.raise(&vault.file)?;
        room.clean(&vault.file)?;
        room.is_raised(generation);
        Ok(())
    }
}

/// What opening makes of owners with several slots.
#[derive(Default)]
pub(super) struct Settled {
    pub(super) older: HashMap<CustomerId, Vec<Older>>,
    /// Former forms of keys: to be wiped.
    pub(super) spare: Vec<u32>,
}

/// Sorts the slots of owners who have several: versions of a customer's key, and former forms of keys. What is kept of them is
/// written again and synced: it may be seen and not be on disk.
pub(super) fn settle(file: &KeyringFile, index: &mut Index, doubled: Vec<(Owner, Vec<u32>)>) -> Result<Settled, StoreError> {
    let mut settled = Settled::default();
    let mut kept = Vec::new();
    // Customers stand before their users.
    for (owner, numbers) in doubled {
        let mut slots = Vec::new();
        for number in numbers {
            slots.extend(Slot::decode(&file.read(number)?).map(|slot| (number, slot)));
        }
        match owner {
            Owner::Customer(customer) => kept.extend(settled.versions(index, customer, slots)),
            Owner::User(_) => kept.extend(settled.wrapped(file, index, owner, slots)?),
            Owner::Organization => {}
        }
    }
    if kept.is_empty() {
        return Ok(settled);
    }
    for number in kept {
        file.write(number, &file.read(number)?)?;
    }
    file.sync()?;
    Ok(settled)
}

impl Settled {
    /// Of each version the slot that says more counts.
    fn versions(&mut self, index: &mut Index, customer: CustomerId, slots: Vec<(u32, Slot)>) -> Vec<u32> {
        let mut by_version: BTreeMap<u32, Older> = BTreeMap::new();
        for (slot, read) in slots {
            let found = Older {
                version: read.version,
                slot,
                sealed_until: read.sealed_until,
            };
            let former = by_version.insert(found.version, found);
            match former {
                Some(former) if former.sealed_until > found.sealed_until => {
                    by_version.insert(former.version, former);
                    self.spare.push(found.slot);
                }
                Some(former) => self.spare.push(former.slot),
                None => {}
            }
        }
        let kept = by_version.values().map(|older| older.slot).collect();
        if let Some((_, newest)) = by_version.pop_last() {
            index.insert(Owner::Customer(customer), newest.slot);
        }
        if !by_version.is_empty() {
            self.older.insert(customer, by_version.into_values().collect());
        }
        kept
    }

    /// A user's key as the newest version of the customer's key that is there wraps it.
    fn wrapped(&mut self, file: &KeyringFile, index: &mut Index, owner: Owner, slots: Vec<(u32, Slot)>) -> Result<Vec<u32>, StoreError> {
        let mut ranked = Vec::new();
        for (number, slot) in slots {
            let is_there = match slot.key.wrapper() {
                Some(wrapper) => self.has(file, index, wrapper, slot.wrapped_under())?,
                None => false,
            };
            ranked.push(((is_there, slot.wrapped_under()), number));
        }
        let Some((best, number)) = ranked.iter().max().copied() else {
            return Ok(Vec::new());
        };
        index.insert(owner, number);
        // Of two that are alike nobody knows which is the former one.
        self.spare
            .extend(ranked.iter().filter(|(rank, _)| *rank != best).map(|(_, number)| *number));
        Ok(vec![number])
    }

    fn has(&self, file: &KeyringFile, index: &Index, owner: Owner, version: u32) -> Result<bool, StoreError> {
        if let Owner::Customer(id) = owner
            && let Some(older) = self.older.get(&id)
            && older.iter().any(|older| older.version == version)
        {
            return Ok(true);
        }
        let Some(number) = index.get(owner) else { return Ok(false) };
        Ok(Slot::decode(&file.read(number)?).is_some_and(|slot| slot.version == version))
    }
}

/// A place at which a test stops the process.
#[cfg(feature = "faults")]
fn reach(point: &str) {
    perseat_journal::kill_point::reach(point);
}

#[cfg(not(feature = "faults"))]
fn reach(_: &str) {}
