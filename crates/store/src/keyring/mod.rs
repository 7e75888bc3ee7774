//! The keyring: one wrapped data key per owner, in a file of fixed slots that are overwritten in place.
//!
//! User keys are wrapped by their customer's key, customer keys and the organization's by the master key; users of
//! the organization by the organization's key. Deleting a key overwrites its slot and syncs before it returns, so
//! everything sealed under it is unreadable, in old backups too. Keys never go into redb or the journal: both keep
//! freed bytes. In memory an owner costs 20 bytes of index; unwrapped keys live in a bounded cache.

mod file;
mod index;
mod master;
mod slot;

pub use master::MasterKey;

use crate::bounded::Bounded;
use crate::error::StoreError;
use crate::seal::DataKey;
use file::KeyringFile;
use index::Index;
use perseat_domain::id::{CustomerId, UserId};
use perseat_domain::model::Membership;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Limits of the keyring.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many unwrapped keys stay in memory (`keyring.cache-entries`); about 1 KiB each.
    pub cache_entries: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_entries: 8_192 }
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
    master: MasterKey,
    findings: Findings,
    /// Taken first, by those who write.
    writer: Mutex<KeyringFile>,
    /// Taken for moments; never held over a write.
    shared: Mutex<Shared>,
    reader: std::fs::File,
}

struct Shared {
    index: Index,
    cache: Bounded<Owner, Cached>,
}

#[derive(Clone)]
struct Cached {
    key: Arc<DataKey>,
    wrapper: Option<Owner>,
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
    /// If the file belongs to another master key, has another format, or the disk fails.
    pub fn open(path: &Path, master: MasterKey, options: &Options) -> Result<Self, StoreError> {
        todo!("{path:?} {master:?} {options:?}")
    }

    /// What opening found in the file.
    #[must_use]
    pub fn findings(&self) -> Findings {
        self.findings
    }

    /// The owner's key, unwrapped; from memory where it was used lately.
    ///
    /// # Errors
    /// [`StoreError::NoKey`] if it was destroyed or never made.
    pub fn data_key(&self, owner: Owner) -> Result<Arc<DataKey>, StoreError> {
        todo!("{owner:?}")
    }

    /// Whether the owner has a key.
    #[must_use]
    pub fn contains(&self, owner: Owner) -> bool {
        todo!("{owner:?}")
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
        let _ = keys.into_iter().count();
        todo!()
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
        todo!("{owners:?}")
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
