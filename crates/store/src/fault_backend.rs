//! A disk in memory whose faults a test chooses: it loses unsynced writes, fills up, or fails at a chosen operation.
//!
//! One [`FaultDisk`] outlives the databases opened over it. A crash ends every backend given out before it.

use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk that a test can crash.
#[derive(Clone, Debug, Default)]
pub struct FaultDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What a reader sees.
    current: Vec<u8>,
    /// What survives a crash for certain.
    durable: Vec<u8>,
    /// What may survive a crash, in order.
    unsynced: Vec<Unsynced>,
    /// Raised by a crash: older backends are dead.
    generation: u64,
    /// Operations that change the disk, so far.
    operations: u64,
    fail_from: Option<u64>,
    capacity: Option<u64>,
}

#[derive(Debug)]
enum Unsynced {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Unsynced {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Length(length) => image.resize(*length, 0),
            Self::Write(at, bytes) => {
                image.resize(image.len().max(at + bytes.len()), 0);
                image[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

impl FaultDisk {
    /// A backend over the disk as it is now.
    #[must_use]
    pub fn backend(&self) -> FaultBackend {
        FaultBackend {
            disk: self.clone(),
            generation: self.state().generation,
        }
    }

    /// Crashes: of what was not synced only the operations survive for which `survives` is true.
    pub fn crash(&self, mut survives: impl FnMut(usize) -> bool) {
        let mut state = self.state();
        let unsynced = std::mem::take(&mut state.unsynced);
        for (number, operation) in unsynced.iter().enumerate() {
            if survives(number) {
                operation.apply(&mut state.durable);
            }
        }
        state.current = state.durable.clone();
        state.generation += 1;
        state.fail_from = None;
    }

    /// From the `operations`th change on (0 is the next), every change fails.
    pub fn fail_after(&self, operations: u64) {
        let mut state = self.state();
        state.fail_from = Some(state.operations + operations);
    }

    /// Changes so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().current.len() as u64
    }

    /// Limits the disk to so many bytes; `None` lifts the limit.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.state().capacity = capacity;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`FaultDisk::backend`].
#[derive(Debug)]
pub struct FaultBackend {
    disk: FaultDisk,
    generation: u64,
}

impl FaultBackend {
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.generation != self.generation {
            return Err(io::Error::other("the disk crashed"));
        }
        Ok(state)
    }

    fn change(&self, end: u64) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.alive()?;
        if state.fail_from.is_some_and(|from| state.operations >= from) {
            return Err(io::Error::other("the disk fails as the test asked"));
        }
        if end > state.current.len() as u64 && state.capacity.is_some_and(|capacity| end > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.operations += 1;
        Ok(state)
    }

    fn keep(state: &mut State, operation: Unsynced) {
        operation.apply(&mut state.current);
        state.unsynced.push(operation);
    }
}

fn index(number: u64) -> io::Result<usize> {
    usize::try_from(number).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl StorageBackend for FaultBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.alive()?.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.alive()?;
        let from = index(offset)?;
        let bytes = state.current.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let length = index(len)?;
        Self::keep(&mut *self.change(len)?, Unsynced::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let state = &mut *self.change(0)?;
        for operation in std::mem::take(&mut state.unsynced) {
            operation.apply(&mut state.durable);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = index(offset)?;
        Self::keep(&mut *self.change(offset + data.len() as u64)?, Unsynced::Write(at, data.to_vec()));
        Ok(())
    }
}
