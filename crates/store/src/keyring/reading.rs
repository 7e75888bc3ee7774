//! Keys as they are asked for: from memory, or unwrapped from their slots.

use super::slot::Slot;
use super::unwrapped::{Cached, Places, Shared};
use super::{Keyring, Owner};
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

impl Keyring {
    /// The owner's key, unwrapped; from memory where it was used lately. May wait for the disk.
    ///
    /// # Errors
    /// [`StoreError::NoKey`] if it, or the key that wraps it, was destroyed or never made.
    pub fn data_key(&self, owner: Owner) -> Result<Arc<DataKey>, StoreError> {
        match self.key(owner, Reach::Disk)? {
            Some(key) => Ok(key),
            // It changed as it was read; with the lock held it does not.
            None => self.unwrap_key(&mut self.shared(), owner),
        }
    }

    /// The owner's key where nobody has to wait for it; `None` where [`Keyring::data_key`] is to be asked, on a thread that may.
    ///
    /// # Errors
    /// As [`Keyring::data_key`].
    pub fn data_key_at_once(&self, owner: Owner) -> Result<Option<Arc<DataKey>>, StoreError> {
        self.key(owner, Reach::Memory)
    }

    /// The key; `None` where it is out of reach, or changed as it was read.
    fn key(&self, owner: Owner, reach: Reach) -> Result<Option<Arc<DataKey>>, StoreError> {
        let (places, changes) = {
            let mut shared = self.shared();
            if let Some(key) = shared.known(owner) {
                return Ok(Some(key));
            }
            (shared.places(owner)?, shared.changes)
        };
        // Without the lock: a slow disk holds up nobody whose key is in memory.
        let read = self.read_key(&places, owner, reach, |wrapper| self.key(wrapper, reach));
        let mut shared = self.shared();
        // No key enters the cache after its destruction, nor from a slot that was written to meanwhile.
        if shared.changes != changes {
            return Ok(None);
        }
        let Some(read) = read? else { return Ok(None) };
        // All who hold a customer's key hold the same one: that of whoever was first.
        Ok(Some(shared.known(owner).unwrap_or_else(|| shared.enter(owner, read))))
    }

    /// The key, which does not change while the lock is held.
    pub(super) fn unwrap_key(&self, shared: &mut Shared, owner: Owner) -> Result<Arc<DataKey>, StoreError> {
        if let Some(key) = shared.known(owner) {
            return Ok(key);
        }
        let places = shared.places(owner)?;
        let read = self.read_key(&places, owner, Reach::Disk, |wrapper| self.unwrap_key(shared, wrapper).map(Some))?;
        let read = read.ok_or_else(|| corrupt(places.newest))?;
        Ok(shared.enter(owner, read))
    }

    /// The key from its slots; `None` where one of them, or the key that wraps it, is out of reach.
    fn read_key(
        &self,
        places: &Places,
        owner: Owner,
        reach: Reach,
        mut wrapping: impl FnMut(Owner) -> Result<Option<Arc<DataKey>>, StoreError>,
    ) -> Result<Option<Cached>, StoreError> {
        let mut read = |number| {
            let Some(slot) = self.slot_within(number, owner, reach)? else {
                return Ok(None);
            };
            let wrapping = match slot.key.wrapper() {
                Some(wrapper) => match wrapping(wrapper)? {
                    Some(key) => Some(key),
                    None => return Ok(None),
                },
                None => None,
            };
            let bytes = self.open_slot(&slot, wrapping.as_deref())?;
            Ok(Some((slot, bytes)))
        };
        let Some((slot, bytes)) = read(places.newest)? else {
            return Ok(None);
        };
        let key = Arc::new(DataKey::new(&bytes, slot.version));
        for older in &places.older {
            match read(older.slot) {
                Ok(Some((_, bytes))) => key.also_opens(&bytes, older.version),
                Ok(None) => return Ok(None),
                Err(error @ (StoreError::Io(_) | StoreError::Full(_))) => return Err(error),
                // What it sealed does not open; everything else does.
                Err(error) => tracing::error!(%owner, version = older.version, %error, "an older version of a key does not open"),
            }
        }
        Ok(Some(Cached {
            key,
            wrapper: slot.key.wrapper(),
        }))
    }

    /// The owner's key in this slot.
    pub(super) fn slot_at(&self, number: u32, owner: Owner) -> Result<Slot, StoreError> {
        let slot = self.slot_within(number, owner, Reach::Disk)?;
        slot.ok_or_else(|| corrupt(number))
    }

    fn slot_within(&self, number: u32, owner: Owner, reach: Reach) -> Result<Option<Slot>, StoreError> {
        let vault = self.vault();
        let bytes = match reach {
            Reach::Memory => vault.file.read_at_once(number),
            Reach::Disk => Some(vault.file.read(number)?),
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let slot = Slot::decode(&bytes).filter(|slot| slot.key.owner() == owner);
        slot.map(Some).ok_or_else(|| corrupt(number))
    }

    /// What stands in a slot, unwrapped by this key, or by the master key.
    fn open_slot(&self, slot: &Slot, wrapping: Option<&DataKey>) -> Result<Zeroizing<[u8; KEY_LEN]>, StoreError> {
        let vault = self.vault();
        let wrapping = wrapping.unwrap_or(&vault.master.0);
        let bytes = wrapping.unseal(RecordKind::WrappedKey, &slot.binding(), &slot.wrapped)?;
        let bytes = bytes.as_slice().try_into().map_err(|_| StoreError::corrupt("keyring key"))?;
        Ok(Zeroizing::new(bytes))
    }
}

fn corrupt(number: u32) -> StoreError {
    StoreError::corrupt(format!("keyring slot {number}"))
}
