//! Makes keys: into free slots first, then at the end of the file, with one sync for all.

use super::file::Appender;
use super::index::Index;
use super::master::random_key;
use super::slot::{Slot, binding};
use super::{Keyring, NewKey, Owner, Room, Vault};
use crate::error::StoreError;
use crate::seal::{DataKey, RecordKind};
use std::collections::HashMap;
use std::sync::Arc;

/// The first version of every key.
const FIRST_VERSION: u32 = 1;

/// Keys being made. Nothing of it is usable before [`Batch::finish`] returned.
pub(super) struct Batch<'a> {
    keyring: &'a Keyring,
    vault: &'a Vault,
    room: &'a mut Room,
    end: Appender<'a>,
    made: Index,
    rows: Vec<(Owner, u32)>,
    /// Keys that were there are written again.
    is_written: bool,
    reused: Vec<u32>,
    /// Keys of this batch that wrap others of it.
    wrapping: HashMap<Owner, Arc<DataKey>>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(keyring: &'a Keyring, vault: &'a Vault, room: &'a mut Room) -> Self {
        Self {
            keyring,
            vault,
            end: Appender::new(&vault.file, room.slots),
            room,
            made: Index::default(),
            rows: Vec::new(),
            is_written: false,
            reused: Vec::new(),
            wrapping: HashMap::new(),
        }
    }

    /// Makes one key, unless its owner has one. A key that is there is written again: it may be the remains of a creation
    /// that failed, seen and not on disk.
    pub(super) fn add(&mut self, key: NewKey) -> Result<(), StoreError> {
        let owner = key.owner();
        if self.made.get(owner).is_some() {
            return Ok(());
        }
        if let Some(number) = self.keyring.slot_of(owner) {
            match self.keyring.data_key(owner) {
                Ok(_) => {
                    self.is_written = true;
                    return self.vault.file.write(number, &self.vault.file.read(number)?);
                }
                // What wraps it is lost: the remains of a creation of which a part was lost.
                Err(StoreError::Sealed(_) | StoreError::NoKey { .. }) => self.replace(owner)?,
                Err(error) => return Err(error),
            }
        }
        if let damaged @ StoreError::Corrupt { .. } = self.keyring.shared().absent(owner) {
            return Err(damaged);
        }
        let bytes = random_key();
        let kind = RecordKind::WrappedKey;
        let id = binding(owner, FIRST_VERSION);
        let wrapped = match key.wrapper() {
            None => self.vault.master.0.seal(kind, &id, bytes.as_slice()),
            Some(wrapper) => self.wrapping_key(wrapper)?.seal(kind, &id, bytes.as_slice()),
        };
        let slot = Slot {
            key,
            version: FIRST_VERSION,
            wrapped,
            sealed_until: 0,
        };
        let number = self.put(&slot)?;
        self.made.insert(owner, number);
        self.rows.push((owner, number));
        if !matches!(owner, Owner::User(_)) {
            self.wrapping.insert(owner, Arc::new(DataKey::new(&bytes, FIRST_VERSION)));
        }
        Ok(())
    }

    /// Writes a key that is there in another form, into another slot; gives its number.
    pub(super) fn again(&mut self, slot: &Slot) -> Result<u32, StoreError> {
        let number = self.put(slot)?;
        self.rows.push((slot.key.owner(), number));
        Ok(number)
    }

    /// Wipes a key that nothing opens any more.
    fn replace(&mut self, owner: Owner) -> Result<(), StoreError> {
        let slots = self.keyring.shared().forget(&[owner]);
        self.room.unclean.extend(slots.iter().map(|(number, _)| *number));
        self.room.clean(&self.vault.file)
    }

    fn wrapping_key(&self, owner: Owner) -> Result<Arc<DataKey>, StoreError> {
        match self.wrapping.get(&owner) {
            Some(key) => Ok(Arc::clone(key)),
            None => self.keyring.data_key(owner),
        }
    }

    fn put(&mut self, slot: &Slot) -> Result<u32, StoreError> {
        let bytes = slot.encode();
        let Some(number) = self.room.free.pop() else {
            return self.end.push(&bytes);
        };
        self.reused.push(number);
        self.vault.file.write(number, &bytes)?;
        Ok(number)
    }

    /// Syncs; gives what was made.
    pub(super) fn finish(&mut self) -> Result<Vec<(Owner, u32)>, StoreError> {
        if self.rows.is_empty() && !self.is_written {
            return Ok(Vec::new());
        }
        self.end.flush()?;
        let generation = self.room.raise(&self.vault.file)?;
        self.vault.file.sync()?;
        self.room.is_raised(generation);
        self.room.slots = self.end.end();
        Ok(std::mem::take(&mut self.rows))
    }

    /// Takes back what was written, with zeros and a sync: a sync that failed may have put it on disk. Where even that
    /// fails, it is tried again before the next keys are made or destroyed: an owner must never come to have two, and one
    /// whose key was destroyed none.
    pub(super) fn undo(&mut self) {
        self.room.unclean.append(&mut self.reused);
        // What was never written takes no room, so a full disk hinders nobody.
        let end = self.vault.file.slots().unwrap_or(u32::MAX).clamp(self.room.slots, self.end.end());
        self.room.unclean.extend(self.room.slots..end);
        self.room.slots = end;
        if let Err(error) = self.room.clean(&self.vault.file) {
            tracing::warn!(%error, "new keys could not be taken back from the keyring yet");
        }
    }
}
