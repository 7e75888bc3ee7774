//! Looking at a keyring file without opening it for writing, and without the master key.

use super::export::{self, Mark};
use super::file::{KeyringFile, Medium};
use super::index::Index;
use super::slot::{Content, Slot};
use super::{Keyring, MasterKey, NewKey, Options, Owner};
use crate::error::StoreError;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file that is only read; what would be written is dropped.
#[derive(Debug)]
struct ReadOnly(File);

impl Medium for ReadOnly {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.0.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn read_at_once(&self, _: &mut [u8], _: u64) -> bool {
        // Whoever looks at a file has the time.
        false
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_name(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Keyring {
    /// Opens a file for looking up keys alone: nothing is written, whatever is found or asked for.
    ///
    /// # Errors
    /// If it is no keyring, belongs to another master key, or the disk fails.
    pub fn look(path: &Path, master: MasterKey, options: &Options) -> Result<Self, StoreError> {
        export::mark(path)?;
        let file = KeyringFile::on(Box::new(ReadOnly(File::open(path)?)), &master)?;
        Self::over(file, master, options)
    }
}

/// What is wrong with one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotFault {
    /// It does not read; with the owner it names, if it does.
    Damaged(Option<Owner>),
    /// The owner has a key in another slot, too.
    Doubled(Owner),
    /// The key that wraps it is not there, so nobody can open it.
    Orphaned(Owner),
    /// It reads, and does not open.
    Sealed(Owner),
}

/// A keyring file as it was found.
pub struct Inspected {
    /// Which keyring.
    pub mark: Mark,
    /// Slots with a key that reads.
    pub keys: u64,
    /// Slots without one.
    pub free: u64,
    /// Slots whose wipe was cut off; the next start finishes it.
    pub half_wiped: u64,
    /// What is wrong, by slot.
    pub faults: Vec<(u32, SlotFault)>,
    index: Index,
    wrapped: Vec<NewKey>,
}

impl std::fmt::Debug for Inspected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspected")
            .field("mark", &self.mark)
            .field("keys", &self.keys)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Inspected {
    /// Reads every slot.
    ///
    /// # Errors
    /// If it is no keyring, or the disk fails.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let mut found = Self {
            mark: export::mark(path)?,
            keys: 0,
            free: 0,
            half_wiped: 0,
            faults: Vec::new(),
            index: Index::default(),
            wrapped: Vec::new(),
        };
        let file = KeyringFile::unchecked(Box::new(ReadOnly(File::open(path)?)));
        let mut wrapped: Vec<(u32, NewKey)> = Vec::new();
        let (mut forms, mut newest) = (HashSet::new(), HashMap::new());
        file.scan(file.slots()?, |number, bytes| match Content::of(bytes) {
            Content::Free => found.free += 1,
            Content::HalfWiped => found.half_wiped += 1,
            Content::Damaged(owner) => found.faults.push((number, SlotFault::Damaged(owner))),
            Content::Live(owner) => {
                found.keys += 1;
                let Some(slot) = Slot::decode(bytes) else { return };
                // A customer's key may have several versions, and a process that ended may have left a user's under two of them.
                let form = match owner {
                    Owner::User(_) => slot.wrapped_under(),
                    Owner::Organization | Owner::Customer(_) => slot.version,
                };
                if !forms.insert((owner, form, slot.sealed_until)) {
                    found.faults.push((number, SlotFault::Doubled(owner)));
                }
                let is_newest = newest.get(&owner).is_none_or(|newest| *newest <= form);
                if is_newest {
                    newest.insert(owner, form);
                    found.index.insert(owner, number);
                }
                wrapped.push((number, slot.key));
            }
        })?;
        for (number, key) in &wrapped {
            if key.wrapper().is_some_and(|wrapper| found.index.get(wrapper).is_none()) {
                found.faults.push((*number, SlotFault::Orphaned(key.owner())));
            }
        }
        found.wrapped = wrapped.into_iter().map(|(_, key)| key).collect();
        Ok(found)
    }

    /// Whether there is a key of this owner.
    #[must_use]
    pub fn contains(&self, owner: Owner) -> bool {
        self.index.get(owner).is_some()
    }

    /// Whose keys there are.
    pub fn owners(&self) -> impl Iterator<Item = Owner> + '_ {
        self.wrapped.iter().map(|key| key.owner())
    }

    /// The slots whose keys do not open, in a keyring that was [opened](Keyring::look) with its master key.
    #[must_use]
    pub fn unopened(&self, keyring: &Keyring) -> Vec<(u32, SlotFault)> {
        let closed = self.owners().filter(|owner| keyring.data_key(*owner).is_err());
        closed
            .filter_map(|owner| self.index.get(owner).map(|number| (number, SlotFault::Sealed(owner))))
            .collect()
    }
}
