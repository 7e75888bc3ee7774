//! Keys as they are asked for: from memory, or unwrapped from their slots.

use super::slot::Slot;
use super::unwrapped::{Cached, Places};
use super::{Keyring, Owner, Vault};
use crate::error::StoreError;
use crate::seal::{DataKey, KEY_LEN, RecordKind};
use std::sync::Arc;
use zeroize::Zeroizing;

/// How far it is gone for a slot.
#[derive(Clone, Copy, Debug)]
enum Reach {
    /// To what the operating system has in memory: nobody waits for the disk.
    Memory,
    /// To the disk.
    Disk,
}

/// What came of asking for a key.
enum Asked {
    Given(Arc<DataKey>),
    /// One of its slots, or the key that wraps it, is not within reach.
    OutOfReach,
    /// It may have changed as it was read.
    Changed,
}

/// A key as it was read.
struct Read {
    key: Cached,
    /// Older versions of it that do not open.
    closed: Vec<(u32, StoreError)>,
}

impl Keyring {
    /// The owner's key, unwrapped; from memory where it was used lately. May wait for the disk; nobody else waits meanwhile.
    ///
    /// # Errors
    /// [`StoreError::NoKey`] if it, or the key that wraps it, was destroyed or never made.
    pub fn data_key(&self, owner: Owner) -> Result<Arc<DataKey>, StoreError> {
        loop {
            match self.key(owner, Reach::Disk)? {
                Asked::Given(key) => return Ok(key),
                // Each time somebody made or destroyed a key, which takes longer than to read one.
                Asked::Changed => {}
                Asked::OutOfReach => return Err(StoreError::corrupt(format!("the key of {owner}"))),
            }
        }
    }

    /// The owner's key where nobody has to wait for it; `None` where [`Keyring::data_key`] is to be asked, on a thread that may.
    ///
    /// # Errors
    /// As [`Keyring::data_key`].
    pub fn data_key_at_once(&self, owner: Owner) -> Result<Option<Arc<DataKey>>, StoreError> {
        Ok(match self.key(owner, Reach::Memory)? {
            Asked::Given(key) => Some(key),
            Asked::OutOfReach | Asked::Changed => None,
        })
    }

    fn key(&self, owner: Owner, reach: Reach) -> Result<Asked, StoreError> {
        let (places, moment, vault) = {
            let mut shared = self.shared();
            if let Some(key) = shared.known(owner) {
                return Ok(Asked::Given(key));
            }
            (shared.places(owner)?, shared.moment(owner), self.vault())
        };
        // Without the lock: a slow disk holds up nobody whose key is in memory.
        let read = self.read_key(&vault, &places, owner, reach);
        let mut shared = self.shared();
        // No key enters the cache after its destruction, nor from a slot that was written to meanwhile.
        if shared.moment(owner) != moment {
            return Ok(Asked::Changed);
        }
        let Some(read) = read? else { return Ok(Asked::OutOfReach) };
        for (version, error) in read.closed {
            // What it sealed does not open; everything else does.
            tracing::error!(%owner, version, %error, "an older version of a key does not open");
        }
        // All who hold a customer's key hold the same one: that of whoever was first.
        Ok(Asked::Given(shared.known(owner).unwrap_or_else(|| shared.enter(owner, read.key))))
    }

    /// The key from its slots; `None` where one of them, or the key that wraps it, is out of reach.
    fn read_key(&self, vault: &Vault, places: &Places, owner: Owner, reach: Reach) -> Result<Option<Read>, StoreError> {
        let read = |number| {
            let Some(slot) = slot_within(vault, number, owner, reach)? else {
                return Ok(None);
            };
            let wrapping = match slot.key.wrapper() {
                Some(wrapper) => match reach {
                    Reach::Disk => Some(self.data_key(wrapper)?),
                    Reach::Memory => match self.data_key_at_once(wrapper)? {
                        Some(key) => Some(key),
                        None => return Ok(None),
                    },
                },
                None => None,
            };
            let bytes = open_slot(vault, &slot, wrapping.as_deref())?;
            Ok(Some((slot, bytes)))
        };
        let Some((slot, bytes)) = read(places.newest)? else {
            return Ok(None);
        };
        let key = Arc::new(DataKey::new(&bytes, slot.version));
        let mut closed = Vec::new();
        for older in &places.older {
            match read(older.slot) {
                Ok(Some((_, bytes))) => key.also_opens(&bytes, older.version),
                Ok(None) => return Ok(None),
                Err(error @ (StoreError::Io(_) | StoreError::Full(_))) => return Err(error),
                Err(error) => closed.push((older.version, error)),
            }
        }
        let wrapper = slot.key.wrapper();
        Ok(Some(Read {
            key: Cached { key, wrapper },
            closed,
        }))
    }

    /// The owner's key in this slot.
    pub(super) fn slot_at(&self, number: u32, owner: Owner) -> Result<Slot, StoreError> {
        let slot = slot_within(&self.vault(), number, owner, Reach::Disk)?;
        slot.ok_or_else(|| corrupt(number))
    }
}

fn slot_within(vault: &Vault, number: u32, owner: Owner, reach: Reach) -> Result<Option<Slot>, StoreError> {
    let bytes = match reach {
        Reach::Memory => vault.file.read_at_once(number),
        Reach::Disk => Some(vault.file.read(number)?),
    };
    let Some(bytes) = bytes else { return Ok(None) };
    let slot = Slot::decode(&bytes).filter(|slot| slot.key.owner() == owner);
    slot.map(Some).ok_or_else(|| corrupt(number))
}

/// What stands in a slot, unwrapped by this key, or by the master key.
fn open_slot(vault: &Vault, slot: &Slot, wrapping: Option<&DataKey>) -> Result<Zeroizing<[u8; KEY_LEN]>, StoreError> {
    let wrapping = wrapping.unwrap_or(&vault.master.0);
    let bytes = wrapping.unseal(RecordKind::WrappedKey, &slot.binding(), &slot.wrapped)?;
    let bytes = bytes.as_slice().try_into().map_err(|_| StoreError::corrupt("keyring key"))?;
    Ok(Zeroizing::new(bytes))
}

fn corrupt(number: u32) -> StoreError {
    StoreError::corrupt(format!("keyring slot {number}"))
}
