//! Makes keys: into free slots first, then at the end of the file, with one sync for all.

use super::file::Appender;
use super::index::Index;
use super::master::random_key;
use super::slot::{Slot, binding};
use super::{Keyring, NewKey, Owner, Room};
use crate::error::StoreError;
use crate::seal::{DataKey, RecordKind};
use std::collections::HashMap;
use std::sync::Arc;

/// The first version of every key.
const FIRST_VERSION: u32 = 1;

/// Keys being made. Nothing of it is usable before [`Batch::finish`] returned.
pub(super) struct Batch<'a> {
    keyring: &'a Keyring,
    room: &'a mut Room,
    end: Appender<'a>,
    made: Index,
    rows: Vec<(Owner, u32)>,
    reused: Vec<u32>,
    /// Keys of this batch that wrap others of it.
    wrapping: HashMap<Owner, Arc<DataKey>>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(keyring: &'a Keyring, room: &'a mut Room) -> Self {
        Self {
            keyring,
            end: Appender::new(&keyring.file, room.slots),
            room,
            made: Index::default(),
            rows: Vec::new(),
            reused: Vec::new(),
            wrapping: HashMap::new(),
        }
    }

    /// Makes one key, unless its owner has one.
    pub(super) fn add(&mut self, key: NewKey) -> Result<(), StoreError> {
        let owner = key.owner();
        if self.made.get(owner).is_some() || self.keyring.contains(owner) {
            return Ok(());
        }
        if let damaged @ StoreError::Corrupt { .. } = self.keyring.shared().absent(owner) {
            return Err(damaged);
        }
        let bytes = random_key();
        let kind = RecordKind::WrappedKey;
        let id = binding(owner, FIRST_VERSION);
        let wrapped = match key.wrapper() {
            None => self.keyring.master.0.seal(kind, &id, bytes.as_slice()),
            Some(wrapper) => self.wrapping_key(wrapper)?.seal(kind, &id, bytes.as_slice()),
        };
        let slot = Slot {
            key,
            version: FIRST_VERSION,
            wrapped,
        };
        let number = self.put(&slot)?;
        self.made.insert(owner, number);
        self.rows.push((owner, number));
        if !matches!(owner, Owner::User(_)) {
            self.wrapping.insert(owner, Arc::new(DataKey::new(&bytes, FIRST_VERSION)));
        }
        Ok(())
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
        self.keyring.file.write(number, &bytes)?;
        Ok(number)
    }

    /// Syncs; gives what was made.
    pub(super) fn finish(&mut self) -> Result<Vec<(Owner, u32)>, StoreError> {
        if self.rows.is_empty() {
            return Ok(Vec::new());
        }
        self.end.flush()?;
        self.keyring.file.sync()?;
        self.room.slots = self.end.end();
        Ok(std::mem::take(&mut self.rows))
    }

    /// Takes back what was written. Where even that fails, keys without an owner stay in the file until their slots are used again.
    pub(super) fn undo(&mut self) {
        let cut = self.keyring.file.cut(self.room.slots);
        let wiped = super::wipe(&self.keyring.file, &self.reused);
        if let Err(error) = cut.and(wiped) {
            tracing::warn!(%error, "new keys could not be taken back from the keyring");
        }
        self.room.free.append(&mut self.reused);
    }
}
