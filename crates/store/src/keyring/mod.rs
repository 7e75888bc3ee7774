//! The keyring: one wrapped data key per owner, in a file of fixed slots that are overwritten in place.
//!
//! User keys are wrapped by their customer's key, customer keys and the organization's by the master key; users of
//! the organization by the organization's key. Deleting a key overwrites its slot and syncs before it returns, so
//! everything sealed under it is unreadable, in old backups too. A customer's key has versions: the newest seals, older ones open
//! until nothing is sealed with them any more. Keys never go into redb or the journal: both keep
//! freed bytes. Every change raises the file's generation, by which an older copy is told from the newest. In memory an owner costs 20 bytes of index; unwrapped keys live in a bounded cache.

mod batch;
mod export;
mod file;
mod index;
mod inspect;
mod master;
mod reading;
mod rotate;
mod slot;
mod unwrapped;
mod versions;

pub use export::{KeyringCopyError, Mark, mark};
pub use inspect::{Inspected, SlotFault};
pub use master::{MasterKey, gather_randomness};
pub use rotate::{Rewrapped, discard, exchange, fits, wipe_file};
pub use versions::{KeyVersions, OlderVersion};

use crate::error::StoreError;
use arc_swap::ArcSwap;
use batch::Batch;
use file::{Generation, KeyringFile};
use index::Index;
use perseat_domain::id::{CustomerId, UserId};
use perseat_domain::model::Membership;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use unwrapped::Shared;
use uuid::Uuid;

/// Limits of the keyring.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many unwrapped keys stay in memory (`keyring.cache-entries`); about 1 KiB each.
    pub cache_entries: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_entries: 32_768 }
    }
}

/// Whose key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The organization: unrouted events, its own users' keys.
    Organization,
    /// A customer: instance-level connections, executions without a user, its users' keys.
    Customer(CustomerId),
    /// A user: their connections and executions.
    User(UserId),
}

impl Owner {
    /// Kind and id: the form that other files name owners by.
    pub(crate) fn to_bytes(self) -> [u8; 17] {
        let (kind, id) = self.parts();
        let mut out = [kind; 17];
        out[1..].copy_from_slice(id.as_bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, id) = bytes.split_first()?;
        let id = Uuid::from_slice(id).ok()?;
        match kind {
            1 => Some(Self::Organization),
            2 => Some(Self::Customer(CustomerId(id))),
            3 => Some(Self::User(UserId(id))),
            _ => None,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization => f.write_str("the organization"),
            Self::Customer(id) => write!(f, "customer {id}"),
            Self::User(id) => write!(f, "user {id}"),
        }
    }
}

/// A key to be made, and with it what wraps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NewKey {
    /// The organization's, wrapped by the master key.
    Organization,
    /// A customer's, wrapped by the master key.
    Customer(CustomerId),
    /// A user's, wrapped by the key of what they belong to.
    User(UserId, Membership),
}

impl NewKey {
    /// Whose key it is.
    #[must_use]
    pub fn owner(self) -> Owner {
        match self {
            Self::Organization => Owner::Organization,
            Self::Customer(id) => Owner::Customer(id),
            Self::User(id, _) => Owner::User(id),
        }
    }

    /// Whose key wraps it; `None` for the master key.
    fn wrapper(self) -> Option<Owner> {
        match self {
            Self::Organization | Self::Customer(_) => None,
            Self::User(_, Membership::Organization) => Some(Owner::Organization),
            Self::User(_, Membership::Customer(customer)) => Some(Owner::Customer(customer)),
        }
    }
}

/// What opening found in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Usable keys.
    pub keys: usize,
    /// Slots whose wipe a crash had cut off; wiped now.
    pub wiped: usize,
    /// Slots that were torn or damaged; kept as they are and not used.
    pub damaged: usize,
}

/// All owners' keys.
pub struct Keyring {
    /// Replaced whole, with both locks held.
    vault: ArcSwap<Vault>,
    findings: Findings,
    /// Held by those who write, for as long as they write. Taken before `shared`.
    room: Mutex<Room>,
    /// Taken for moments; never held while the disk reads or writes.
    shared: Mutex<Shared>,
}

/// The file, and the key that its outermost keys are wrapped by.
struct Vault {
    master: MasterKey,
    file: KeyringFile,
}

/// Where new keys go.
struct Room {
    slots: u32,
    /// The newest one that is on the disk.
    generation: Generation,
    /// The highest that was tried; never given twice.
    attempted: u64,
    free: Vec<u32>,
    /// Slots that may hold what a failed creation left; wiped before anything else is made.
    unclean: Vec<u32>,
}

impl Room {
    /// Writes the next generation; durable with the next sync, which is to be followed by [`Room::is_raised`].
    fn raise(&mut self, file: &KeyringFile) -> Result<Generation, StoreError> {
        let next = self.generation.after(self.attempted);
        self.attempted = next.number;
        file.write_generation(next)?;
        Ok(next)
    }

    fn is_raised(&mut self, generation: Generation) {
        self.generation = generation;
    }

    fn clean(&mut self, file: &KeyringFile) -> Result<(), StoreError> {
        wipe(file, &self.unclean)?;
        self.free.append(&mut self.unclean);
        Ok(())
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("findings", &self.findings).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// If the file belongs to another master key, has another format, is in use, or the disk fails.
    pub fn open(path: &Path, master: MasterKey, options: &Options) -> Result<Self, StoreError> {
        let file = KeyringFile::open(path, &master)?;
        // Only now is it known that this file is the one that counts.
        rotate::discard_draft(path).map_err(StoreError::from_io)?;
        Self::over(file, master, options)
    }

    fn over(file: KeyringFile, master: MasterKey, options: &Options) -> Result<Self, StoreError> {
        let slots = file.slots()?;
        let (mut rows, mut free, mut half_wiped, mut damaged) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        file.scan(slots, |number, bytes| match slot::Content::of(bytes) {
            slot::Content::Free => free.push(number),
            slot::Content::Live(owner) => rows.push((owner, number)),
            slot::Content::HalfWiped => half_wiped.push(number),
            slot::Content::Damaged(owner) => damaged.push((number, owner)),
        })?;
        free.extend_from_slice(&half_wiped);
        let (mut index, doubled) = Index::from_doubled_rows(rows);
        let settled = versions::settle(&file, &mut index, doubled)?;
        free.extend_from_slice(&settled.spare);
        // What is seen may not be on disk, where the process ended after a sync had failed; so zeros and generation are written
        // again.
        let generation = file.generation()?;
        overwrite(&file, &free)?;
        if generation.number > 0 {
            file.write_generation(generation)?;
        }
        if generation.number > 0 || !free.is_empty() {
            file.sync()?;
        }
        let findings = Findings {
            keys: index.len(),
            wiped: half_wiped.len(),
            damaged: damaged.len(),
        };
        let mut shared = Shared::new(index, options.cache_entries, damaged);
        shared.older = settled.older;
        Ok(Self {
            vault: ArcSwap::from_pointee(Vault { master, file }),
            findings,
            room: Mutex::new(Room {
                slots,
                generation,
                attempted: generation.number,
                free,
                unclean: Vec::new(),
            }),
            shared: Mutex::new(shared),
        })
    }

    /// What opening found in the file.
    #[must_use]
    pub fn findings(&self) -> Findings {
        self.findings
    }

    /// Whether the file system tells what it has in memory. Where it does not, every key that is not unwrapped here is asked of the disk.
    #[must_use]
    pub fn reads_at_once(&self) -> bool {
        self.vault().file.reads_at_once()
    }

    /// Zeroes the keys in memory that were not asked for since the last time; they are unwrapped again when they are.
    pub fn put_away_unused(&self) {
        self.shared().put_away_unused();
    }

    /// Whether the owner has a key.
    #[must_use]
    pub fn contains(&self, owner: Owner) -> bool {
        self.slot_of(owner).is_some()
    }

    fn slot_of(&self, owner: Owner) -> Option<u32> {
        self.shared().index.get(owner)
    }

    /// Makes a key and syncs it; keeps the one that is there.
    ///
    /// # Errors
    /// [`StoreError::NoKey`] if the key that wraps it does not exist; [`StoreError::Full`] without room.
    pub fn create(&self, key: NewKey) -> Result<(), StoreError> {
        self.create_many([key])
    }

    /// Makes many keys with one sync; keeps those that are there. None is usable if it fails.
    ///
    /// # Errors
    /// As [`Keyring::create`].
    pub fn create_many(&self, keys: impl IntoIterator<Item = NewKey>) -> Result<(), StoreError> {
        let mut room = self.room();
        let vault = self.vault();
        room.clean(&vault.file)?;
        let mut batch = Batch::new(self, &vault, &mut room);
        let made = keys.into_iter().try_for_each(|key| batch.add(key)).and_then(|()| batch.finish());
        match made {
            Ok(rows) => {
                self.shared().place(rows);
                Ok(())
            }
            Err(error) => {
                batch.undo();
                Err(error)
            }
        }
    }

    /// Overwrites the owner's key, syncs, and forgets it; a customer's takes its users' keys with it.
    /// Without a key it does nothing.
    ///
    /// # Errors
    /// If the disk fails; the key may still be there.
    pub fn destroy(&self, owner: Owner) -> Result<(), StoreError> {
        self.destroy_many(&[owner])
    }

    /// Destroys many keys with one sync.
    ///
    /// # Errors
    /// As [`Keyring::destroy`].
    pub fn destroy_many(&self, owners: &[Owner]) -> Result<(), StoreError> {
        let mut room = self.room();
        let vault = self.vault();
        let slots = self.shared().forget(owners);
        let named = slots.iter().map(|(number, _)| *number);
        let numbers: Vec<u32> = named.chain(room.unclean.iter().copied()).collect();
        // Raised even where there is nothing to wipe: a crash may have come between the zeros and the generation.
        let wiped = room.raise(&vault.file).and_then(|generation| {
            overwrite(&vault.file, &numbers)?;
            vault.file.sync()?;
            Ok(generation)
        });
        match wiped {
            Ok(generation) => room.is_raised(generation),
            Err(error) => {
                self.shared().damaged.extend(slots);
                return Err(error);
            }
        }
        room.unclean.clear();
        room.free.extend(numbers);
        Ok(())
    }

    /// As it is now; with either lock held it is not replaced.
    fn vault(&self) -> Arc<Vault> {
        self.vault.load_full()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Overwrites slots with zeros and syncs.
fn wipe(file: &KeyringFile, numbers: &[u32]) -> Result<(), StoreError> {
    if numbers.is_empty() {
        return Ok(());
    }
    overwrite(file, numbers)?;
    file.sync()
}

/// Overwrites slots with zeros, neighbours at once.
fn overwrite(file: &KeyringFile, numbers: &[u32]) -> Result<(), StoreError> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    for run in numbers.chunk_by(|a, b| a + 1 == *b) {
        for part in run.chunks(file::CHUNK) {
            file.write(part[0], &vec![0; part.len() * slot::SLOT])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod seeds;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;
