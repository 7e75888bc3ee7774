//! The deterministic twin of a disk: written and durable state kept apart, faults at chosen calls, crashes by seed.
//!
//! What a crash keeps is decided by the seed alone, so a failing schedule is replayed from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Disk, File,
    content::{Content, SECTOR},
    seeded::Random,
};

/// What happens at a chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The call fails and does nothing.
    Error,
    /// A write puts down a part from its start, then fails.
    ShortWrite,
    /// A write puts down some sectors and not others, then fails.
    TornWrite,
    /// A sync fails, and an unknown part of what was written is on disk; the rest is never written again.
    FailedSync,
    /// The call fails for lack of space.
    NoSpace,
    /// The machine stops at this call: it and all later ones fail until [`MemoryDisk::crash`].
    Stop,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    Write,
    Sync,
    Other,
}

impl Fault {
    /// Whether a call of this kind meets it as what it is; others just fail.
    pub(super) fn is_for(self, kind: CallKind) -> bool {
        match self {
            Self::ShortWrite | Self::TornWrite => kind == CallKind::Write,
            Self::FailedSync => kind == CallKind::Sync,
            Self::Error | Self::NoSpace | Self::Stop => true,
        }
    }
}

/// A directory in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryDisk(Arc<Mutex<State>>);

struct State {
    // What is visible now, and what a crash falls back to.
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    // Changes of names since the last directory sync, in order.
    renames: Vec<Change>,
    files: BTreeMap<u64, Content>,
    next_file: u64,
    calls: u64,
    changes: u64,
    faults: BTreeMap<u64, Fault>,
    // What the calls from the beginning of a trial on were, and whether the fault that was planned first was met as what it is.
    trial: Vec<CallKind>,
    planned: Option<u64>,
    met: bool,
    stopped: bool,
    capacity: u64,
    random: Random,
    // Files whose write or sync failed, and the names of those that were used after that.
    failed: BTreeSet<u64>,
    used_after_failure: Vec<String>,
}

#[derive(Clone)]
enum Change {
    Add(String, u64),
    Remove(String),
    Rename(String, String),
}

impl MemoryDisk {
    /// An empty disk whose crashes and torn writes follow `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renames: Vec::new(),
            files: BTreeMap::new(),
            next_file: 0,
            calls: 0,
            changes: 0,
            faults: BTreeMap::new(),
            trial: Vec::new(),
            planned: None,
            met: false,
            stopped: false,
            capacity: u64::MAX,
            random: Random::new(seed),
            failed: BTreeSet::new(),
            used_after_failure: Vec::new(),
        })))
    }

    /// Plans a fault at the `call`-th I/O call from the disk's creation, counted from 0.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        let mut state = self.state();
        state.planned.get_or_insert(call);
        state.faults.insert(call, fault);
    }

    /// Faults are planned for the calls from here on.
    pub fn begin_trial(&self) {
        self.state().trial.clear();
    }

    /// What the calls of the trial were.
    pub(super) fn trial(&self) -> Vec<CallKind> {
        self.state().trial.clone()
    }

    /// Whether the fault that was planned first was met as what it is: a torn write by a write, a failed sync by a sync.
    pub(super) fn has_met(&self) -> bool {
        self.state().met
    }

    /// I/O calls made so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Writes, cuts, syncs and changes of names made so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Limits the bytes all files may hold together; growing beyond fails with no space.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// The machine loses power and comes back: unsynced data survives, sector by sector, as the seed decides. Open files of before are void.
    pub fn crash(&self) {
        let mut state = self.state();
        let state = &mut *state;
        let kept = state.random.below(state.renames.len() as u64 + 1) as usize;
        for change in state.renames.drain(..).take(kept) {
            change.apply(&mut state.durable_names);
        }
        state.names.clone_from(&state.durable_names);
        for content in state.files.values_mut() {
            content.settle(&mut state.random);
            content.fall_back();
        }
        // New numbers: handles of before the crash find nothing.
        let mut files = std::mem::take(&mut state.files);
        for file in state.names.values_mut() {
            if let Some(content) = files.remove(file) {
                *file = state.next_file;
                state.next_file += 1;
                state.files.insert(*file, content);
            }
        }
        state.durable_names.clone_from(&state.names);
        state.stopped = false;
        state.failed.clear();
    }

    /// The process ends and starts again: what was written stays visible, and what failed is forgotten.
    pub fn reopen(&self) {
        self.state().failed.clear();
    }

    /// The names of files that were written or synced although a write or sync of them had failed.
    #[must_use]
    pub fn used_after_failure(&self) -> Vec<String> {
        self.state().used_after_failure.clone()
    }

    /// Bytes that all files hold together, with what is reserved for them.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// What of a file is certain to survive a crash.
    #[must_use]
    pub fn durable(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        let file = state.durable_names.get(name).and_then(|file| state.files.get(file));
        file.map(|content| content.durable.bytes()).unwrap_or_default()
    }

    /// Opens a file, made empty if it is not there.
    ///
    /// # Errors
    /// A planned fault.
    pub fn file(&self, name: &str) -> io::Result<MemoryFile> {
        let mut state = self.state();
        state.plain_call()?;
        let number = match state.names.get(name) {
            Some(number) => *number,
            None => {
                let number = state.next_file;
                state.next_file += 1;
                state.files.insert(number, Content::default());
                state.change(Change::Add(name.to_owned(), number));
                number
            }
        };
        Ok(MemoryFile {
            disk: self.clone(),
            number,
        })
    }

    /// Whether there is a file of this name.
    #[must_use]
    pub fn exists(&self, name: &str) -> bool {
        self.state().names.contains_key(name)
    }

    /// Plans no more faults.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Changes bytes of a file behind everyone's back, durably: rot.
    pub fn corrupt(&self, name: &str, offset: usize, bytes: &[u8]) {
        let mut state = self.state();
        let Some(content) = state.names.get(name).copied().and_then(|file| state.files.get_mut(&file)) else {
            return;
        };
        for image in [&mut content.visible, &mut content.durable] {
            image.write(bytes, offset);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Add(name, file) => {
                names.insert(name, file);
            }
            Self::Remove(name) => {
                names.remove(&name);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
        }
    }
}

impl State {
    /// Counts a call and says what has to go wrong.
    fn call(&mut self, kind: CallKind) -> io::Result<Option<Fault>> {
        let fault = self.faults.get(&self.calls).copied();
        self.met |= self.planned == Some(self.calls) && fault.is_some_and(|fault| fault.is_for(kind));
        self.trial.push(kind);
        self.calls += 1;
        if fault == Some(Fault::Stop) {
            self.stopped = true;
        }
        if self.stopped {
            return Err(io::Error::other("the machine has stopped"));
        }
        match fault {
            Some(Fault::Error) => Err(failure()),
            Some(Fault::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
            fault => Ok(fault),
        }
    }

    /// For calls that neither write bytes nor sync: any planned fault is a plain error.
    fn plain_call(&mut self) -> io::Result<()> {
        self.call(CallKind::Other)?.map_or(Ok(()), |_| Err(failure()))
    }

    /// Files that were open before a crash are void; using them is no call.
    fn check_open(&self, file: u64) -> io::Result<()> {
        match self.files.contains_key(&file) {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn write(&mut self, file: u64, bytes: &[u8], offset: usize) -> io::Result<()> {
        self.check_open(file)?;
        self.changes += 1;
        let fault = self.call(CallKind::Write)?;
        self.check_room(file, offset + bytes.len())?;
        let content = self.files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?;
        match fault {
            None => content.write(bytes, offset),
            Some(Fault::ShortWrite) => content.write(&bytes[..self.random.below(bytes.len() as u64) as usize], offset),
            Some(Fault::TornWrite) => {
                let mut from = 0;
                while from < bytes.len() {
                    let to = bytes.len().min(from + SECTOR - (offset + from) % SECTOR);
                    if self.random.below(2) == 0 {
                        content.write(&bytes[from..to], offset + from);
                    }
                    from = to;
                }
            }
            Some(_) => {}
        }
        fault.map_or(Ok(()), |_| Err(failure()))
    }

    fn sync(&mut self, file: u64) -> io::Result<()> {
        self.check_open(file)?;
        self.changes += 1;
        let fault = self.call(CallKind::Sync);
        let content = self.files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?;
        match fault {
            Ok(None) => content.sync(),
            Ok(Some(_)) => {
                content.settle(&mut self.random);
                return Err(failure());
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::StorageFull {
                    content.settle(&mut self.random);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn resize(&mut self, file: u64, length: usize) -> io::Result<()> {
        self.check_open(file)?;
        self.changes += 1;
        self.plain_call()?;
        self.check_room(file, length)?;
        self.files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?.resize(length);
        Ok(())
    }

    fn reserve(&mut self, file: u64, length: usize) -> io::Result<()> {
        self.check_open(file)?;
        self.plain_call()?;
        self.check_room(file, length)?;
        self.files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?.reserved = length;
        Ok(())
    }

    /// Whether there is room for a file to be so long.
    fn check_room(&self, file: u64, length: usize) -> io::Result<()> {
        let content = self.files.get(&file).ok_or(io::ErrorKind::NotFound)?;
        let before = content.visible.length();
        let growth = content.taken(before.max(length)) - content.taken(before);
        match self.used() + growth > self.capacity {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn note_use(&mut self, file: u64) {
        if self.failed.contains(&file) {
            let name = self.names.iter().find(|(_, number)| **number == file).map(|(name, _)| name.clone());
            self.used_after_failure.extend(name);
        }
    }

    fn note_outcome(&mut self, file: u64, outcome: &io::Result<()>) {
        if outcome.is_err() && !self.stopped {
            self.failed.insert(file);
        }
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .filter_map(|file| self.files.get(file))
            .map(|content| content.taken(content.visible.length()))
            .sum()
    }

    fn change(&mut self, change: Change) {
        self.changes += 1;
        change.clone().apply(&mut self.names);
        self.renames.push(change);
    }
}

fn failure() -> io::Error {
    io::Error::other("planned fault")
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.plain_call()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        if self.exists(name) {
            self.state().plain_call()?;
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Arc::new(self.file(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        if !self.exists(name) {
            self.state().plain_call()?;
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Arc::new(self.file(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.plain_call()?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.plain_call()?;
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state();
        state.plain_call()?;
        state.renames.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(name)
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryDisk")
            .field("files", &state.names.len())
            .field("calls", &state.calls)
            .finish_non_exhaustive()
    }
}

/// An open file of a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryFile {
    disk: MemoryDisk,
    number: u64,
}

impl MemoryFile {
    /// Cuts the file to `length` bytes, or fills it up with zeros.
    ///
    /// # Errors
    /// A planned fault, or no space.
    pub fn resize(&self, length: u64) -> io::Result<()> {
        self.disk.state().resize(self.number, length as usize)
    }
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.check_open(self.number)?;
        state.plain_call()?;
        let content = state.files.get(&self.number).ok_or(io::ErrorKind::NotFound)?;
        Ok(content.visible.read(buffer, offset as usize))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.note_use(self.number);
        let written = state.write(self.number, bytes, offset as usize);
        state.note_outcome(self.number, &written);
        written
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        self.disk.state().reserve(self.number, length as usize)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.note_use(self.number);
        let synced = state.sync(self.number);
        state.note_outcome(self.number, &synced);
        if synced.is_ok() {
            state.failed.remove(&self.number);
        }
        synced
    }

    fn length(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.check_open(self.number)?;
        state.plain_call()?;
        Ok(state.files.get(&self.number).ok_or(io::ErrorKind::NotFound)?.visible.length() as u64)
    }
}
