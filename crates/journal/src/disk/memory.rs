//! The deterministic twin of a disk: written and durable state kept apart, faults at chosen calls, crashes by seed.
//!
//! What a crash keeps is decided by the seed alone, so a failing schedule is replayed from it.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Disk, File};
use crate::Stamp;

/// Written data survives a crash, or not, in pieces of this size.
const SECTOR: usize = 512;

/// What happens at a chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    faults: BTreeMap<u64, Fault>,
    stopped: bool,
    capacity: u64,
    random: Random,
}

#[derive(Clone)]
enum Change {
    Add(String, u64),
    Remove(String),
    Rename(String, String),
}

#[derive(Default)]
struct Content {
    visible: Vec<u8>,
    durable: Vec<u8>,
    // Byte ranges written since the last sync.
    dirty: Vec<(usize, usize)>,
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
            faults: BTreeMap::new(),
            stopped: false,
            capacity: u64::MAX,
            random: Random(seed),
        })))
    }

    /// Plans a fault at the `call`-th I/O call from the disk's creation, counted from 0.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.state().faults.insert(call, fault);
    }

    /// I/O calls made so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
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
            content.visible.clone_from(&content.durable);
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
            if let Some(range) = image.get_mut(offset..offset + bytes.len()) {
                range.copy_from_slice(bytes);
            }
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

impl Content {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.visible.len() < end {
            self.visible.resize(end, 0);
        }
        self.visible[offset..end].copy_from_slice(bytes);
        self.dirty.push((offset, end));
    }

    fn sync(&mut self) {
        self.durable.resize(self.visible.len(), 0);
        for (start, end) in self.dirty.drain(..) {
            self.durable[start..end].copy_from_slice(&self.visible[start..end]);
        }
    }

    /// Each dirty sector reaches the disk or does not; nothing is dirty afterwards. What is visible stays so.
    fn settle(&mut self, random: &mut Random) {
        for (start, end) in std::mem::take(&mut self.dirty) {
            let mut from = start;
            while from < end {
                let to = end.min((from / SECTOR + 1) * SECTOR);
                if random.below(2) == 0 {
                    if self.durable.len() < to {
                        self.durable.resize(to, 0);
                    }
                    self.durable[from..to].copy_from_slice(&self.visible[from..to]);
                }
                from = to;
            }
        }
    }
}

impl State {
    /// Counts a call and says what has to go wrong.
    fn call(&mut self) -> io::Result<Option<Fault>> {
        let fault = self.faults.get(&self.calls).copied();
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

    /// For calls that neither write nor sync: any planned fault is a plain error.
    fn plain_call(&mut self) -> io::Result<()> {
        self.call()?.map_or(Ok(()), |_| Err(failure()))
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .filter_map(|file| self.files.get(file))
            .map(|content| content.visible.len() as u64)
            .sum()
    }

    fn change(&mut self, change: Change) {
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
        let mut state = self.state();
        state.plain_call()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = state.next_file;
        state.next_file += 1;
        state.files.insert(number, Content::default());
        state.change(Change::Add(name.to_owned(), number));
        Ok(Arc::new(MemoryFile {
            disk: self.clone(),
            number,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.plain_call()?;
        let number = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile {
            disk: self.clone(),
            number,
        }))
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

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    number: u64,
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.plain_call()?;
        let content = state.files.get(&self.number).ok_or(io::ErrorKind::NotFound)?;
        let rest = content.visible.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let state = &mut *state;
        let fault = state.call()?;
        let used = state.used();
        let content = state.files.get_mut(&self.number).ok_or(io::ErrorKind::NotFound)?;
        let (offset, end) = (offset as usize, offset as usize + bytes.len());
        if used + end.saturating_sub(content.visible.len()) as u64 > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match fault {
            None => content.write(bytes, offset),
            Some(Fault::ShortWrite) => content.write(&bytes[..state.random.below(bytes.len() as u64) as usize], offset),
            Some(Fault::TornWrite) => {
                let mut from = 0;
                while from < bytes.len() {
                    let to = bytes.len().min(from + SECTOR - (offset + from) % SECTOR);
                    if state.random.below(2) == 0 {
                        content.write(&bytes[from..to], offset + from);
                    }
                    from = to;
                }
            }
            Some(_) => {}
        }
        fault.map_or(Ok(()), |_| Err(failure()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let state = &mut *state;
        let fault = state.call()?;
        let content = state.files.get_mut(&self.number).ok_or(io::ErrorKind::NotFound)?;
        if fault.is_some() {
            content.settle(&mut state.random);
            return Err(failure());
        }
        content.sync();
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.plain_call()?;
        Ok(state.files.get(&self.number).ok_or(io::ErrorKind::NotFound)?.visible.len() as u64)
    }
}

/// A splitmix generator: small, seeded, good enough to choose what a crash keeps.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, 0 for 0.
    fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.next() % limit }
    }
}

/// Time and randomness for tests: a counting clock and ids that follow a seed.
#[derive(Debug, Default)]
pub struct SeededStamp {
    seed: u64,
    count: AtomicU64,
}

impl SeededStamp {
    /// The same seed gives the same ids in the same order.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            count: AtomicU64::new(0),
        }
    }
}

impl Stamp for SeededStamp {
    fn now_millis(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn segment_id(&self) -> u128 {
        let mut random = Random(self.seed ^ self.count.fetch_add(1, Ordering::Relaxed).rotate_left(32));
        u128::from(random.next()) << 64 | u128::from(random.next())
    }
}
