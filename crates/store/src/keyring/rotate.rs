//! Another master key.
//!
//! The whole file is written anew beside the old one, with every key that the master key wraps wrapped by the next; then the two
//! change places in one step, and the old one is overwritten. So the keyring is wholly under the one master key or wholly under the
//! other, whenever a process dies. Slots keep their places and data keys their bytes: nothing that is sealed changes.

use super::file::{self, Appender, KeyringFile};
use super::slot::{Content, SLOT, Slot};
use super::{Keyring, MasterKey, Room, Vault};
use crate::error::StoreError;
use crate::seal::RecordKind;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Slots that are written.
    pub slots: u64,
    /// Of so many.
    pub of: u64,
    /// Keys among them that are wrapped by the next master key.
    pub keys: u64,
    /// The generation of the new file.
    pub generation: u64,
}

impl Keyring {
    /// Puts everything under `next`, in the file at `path` that this keyring was opened on. Keys are used meanwhile; whoever makes
    /// or destroys one waits. `next` must be durable already.
    ///
    /// # Errors
    /// If the disk is full or fails: then the keyring is what it was, unless the error came after the files had changed places;
    /// [`fits`] tells.
    pub fn rotate_master(&self, path: &Path, next: MasterKey, told: &mut dyn FnMut(Rewrapped)) -> Result<Rewrapped, StoreError> {
        let mut room = self.room();
        let before = self.vault();
        room.clean(&before.file)?;
        let draft = draft_of(path);
        discard(&draft).map_err(StoreError::from_io)?;
        let written = write(&before, &mut room, &draft, next, told);
        let (after, rewrapped) = written.inspect_err(|_| {
            // What is left of it is of no use; the next start looks for it, too.
            let _ = discard(&draft);
        })?;
        reach("keyring-written");
        exchange(&draft, path)?;
        reach("keyring-exchanged");
        {
            // Nobody reads the old file from here on, but for users' keys, and those are read again.
            let mut shared = self.shared();
            shared.all_change();
            self.vault.store(Arc::new(after));
        }
        file::sync_parent(path)?;
        before.file.overwrite()?;
        reach("keyring-overwritten");
        discard(&draft)?;
        Ok(rewrapped)
    }
}

fn write(
    before: &Vault,
    room: &mut Room,
    draft: &Path,
    next: MasterKey,
    told: &mut dyn FnMut(Rewrapped),
) -> Result<(Vault, Rewrapped), StoreError> {
    let generation = room.generation.after(room.attempted);
    room.attempted = generation.number;
    let file = before.file.draft(draft, &next, generation)?;
    let mut said = Rewrapped {
        of: u64::from(room.slots),
        generation: generation.number,
        ..Rewrapped::default()
    };
    let mut end = Appender::new(&file, 0);
    let mut outcome = Ok(());
    before.file.scan(room.slots, |_, bytes| {
        if outcome.is_ok() {
            let bytes = rewrapped(bytes, &before.master, &next, &mut said.keys);
            outcome = end.push(&bytes).map(|_| ());
            said.slots += 1;
            if said.slots.is_multiple_of(file::CHUNK as u64) {
                told(said);
            }
        }
    })?;
    outcome?;
    end.flush()?;
    file.sync()?;
    told(said);
    room.is_raised(generation);
    Ok((Vault { master: next, file }, said))
}

/// The slot under the next master key. What another key wraps stays as it is, and so does what does not read or open.
fn rewrapped(bytes: &[u8; SLOT], master: &MasterKey, next: &MasterKey, keys: &mut u64) -> [u8; SLOT] {
    let slot = match Content::of(bytes) {
        Content::Free | Content::HalfWiped => return [0; SLOT],
        Content::Damaged(_) => return *bytes,
        Content::Live(_) => Slot::decode(bytes).filter(|slot| slot.key.wrapper().is_none()),
    };
    let Some(slot) = slot else { return *bytes };
    let id = slot.binding();
    let Ok(plain) = master.0.unseal(RecordKind::WrappedKey, &id, &slot.wrapped) else {
        return *bytes;
    };
    reach("key-rewrapped");
    *keys += 1;
    let wrapped = next.0.seal(RecordKind::WrappedKey, &id, &plain);
    Slot { wrapped, ..slot }.encode()
}

/// What is written before it takes the place of a keyring.
fn draft_of(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Overwrites what a rotation that was cut off left beside the keyring: a draft, or the file from before.
pub(super) fn discard_draft(path: &Path) -> io::Result<()> {
    discard(&draft_of(path))
}

/// Whether the keyring at `path` is under this master key; there is none that fits where there is no keyring.
///
/// # Errors
/// If it is no keyring, or the disk fails.
pub fn fits(path: &Path, master: &MasterKey) -> Result<bool, StoreError> {
    if !path.exists() {
        return Ok(false);
    }
    match KeyringFile::is_under(path, master) {
        Ok(()) => Ok(true),
        Err(StoreError::WrongMasterKey) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Lets two files change places in one step. Where the file system cannot, the one takes the other's place.
///
/// # Errors
/// If neither can be done.
pub fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => fs::rename(new, old),
        outcome => Ok(outcome?),
    }
}

/// Overwrites a file with zeros and removes it; one that is not there is no error.
///
/// # Errors
/// If the disk fails.
pub fn discard(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    wipe_file(&mut file)?;
    fs::remove_file(path)?;
    file::sync_parent(path)
}

/// Overwrites a file with zeros and syncs it.
///
/// # Errors
/// If the disk fails.
pub fn wipe_file(file: &mut File) -> io::Result<()> {
    let mut left = file.metadata()?.len();
    file.seek(SeekFrom::Start(0))?;
    let zeros = [0; 64 << 10];
    while left > 0 {
        let step = left.min(zeros.len() as u64);
        file.write_all(&zeros[..usize::try_from(step).unwrap_or(zeros.len())])?;
        left -= step;
    }
    file.sync_all()
}

/// A place at which a test stops the process.
#[cfg(feature = "faults")]
fn reach(point: &str) {
    perseat_journal::kill_point::reach(point);
}

#[cfg(not(feature = "faults"))]
fn reach(_: &str) {}
