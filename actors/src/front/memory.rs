//! Memory that connections share, a permit a byte.

use super::address::network_of;
use perseat_domain::code::ErrorCode;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many bytes, for whoever claims them.
#[derive(Debug)]
pub(super) struct Memory {
    bytes: usize,
    free: Arc<Semaphore>,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        let bytes = bytes.min(u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        Self {
            bytes,
            free: Arc::new(Semaphore::new(bytes)),
        }
    }

    /// Claims `bytes`, or all of it if that is less, when they are free.
    pub(super) async fn claim(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ErrorCode> {
        if let Some(permit) = self.try_claim(bytes) {
            return Ok(permit);
        }
        // Boxed: a request that does not wait should not carry the room for it. The semaphore is never closed.
        let waiting = Box::pin(Arc::clone(&self.free).acquire_many_owned(self.permits(bytes)));
        waiting.await.map_err(|_| ErrorCode::Internal)
    }

    /// The same, if they are free now.
    pub(super) fn try_claim(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_many_owned(self.permits(bytes)).ok()
    }

    fn permits(&self, bytes: usize) -> u32 {
        bytes.min(self.bytes) as u32
    }
}

/// Memory of which one network may hold half: what its clients begin and do not end delays none of the others.
#[derive(Debug)]
pub(super) struct SharedMemory {
    all: Memory,
    halves: Arc<Halves>,
}

impl SharedMemory {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            all: Memory::new(bytes),
            halves: Arc::new(Halves {
                bytes: bytes / 2,
                of: Mutex::default(),
            }),
        }
    }

    /// As [`Memory::claim`], once the network of `client` has so much left of its half.
    pub(super) async fn claim(&self, client: IpAddr, bytes: usize) -> Result<Claim, ErrorCode> {
        let half = Half::of(&self.halves, network_of(client));
        let of_half = half.memory.claim(bytes).await?;
        Ok(Claim {
            of_all: self.all.claim(bytes).await?,
            _of_half: of_half,
            _half: half,
        })
    }

    /// The same, if they are free now.
    pub(super) fn try_claim(&self, client: IpAddr, bytes: usize) -> Option<Claim> {
        let half = Half::of(&self.halves, network_of(client));
        let of_half = half.memory.try_claim(bytes)?;
        Some(Claim {
            of_all: self.all.try_claim(bytes)?,
            _of_half: of_half,
            _half: half,
        })
    }
}

/// Memory for results: `front.answer-memory`. An eighth is for small ones, which no large one can take.
#[derive(Debug)]
pub(super) struct AnswerMemory {
    small: SharedMemory,
    large: SharedMemory,
}

/// Up to this a result is small.
const SMALL: usize = 16 << 10;

impl AnswerMemory {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            small: SharedMemory::new(bytes / 8),
            large: SharedMemory::new(bytes - bytes / 8),
        }
    }

    pub(super) fn try_claim(&self, client: IpAddr, bytes: usize) -> Option<Claim> {
        let part = if bytes <= SMALL { &self.small } else { &self.large };
        part.try_claim(client, bytes)
    }
}

/// Bytes of [`SharedMemory`].
#[derive(Debug)]
pub(super) struct Claim {
    of_all: OwnedSemaphorePermit,
    _of_half: OwnedSemaphorePermit,
    _half: Half,
}

impl Claim {
    pub(super) fn bytes(&self) -> usize {
        self.of_all.num_permits()
    }
}

/// The halves of the networks that claim something, with how often each is claimed from.
#[derive(Debug)]
struct Halves {
    bytes: usize,
    of: Mutex<HashMap<IpAddr, (usize, Arc<Memory>)>>,
}

impl Halves {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, (usize, Arc<Memory>)>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The half of one network; forgotten with the last claim.
#[derive(Debug)]
struct Half {
    halves: Arc<Halves>,
    network: IpAddr,
    memory: Arc<Memory>,
}

impl Half {
    fn of(halves: &Arc<Halves>, network: IpAddr) -> Self {
        let mut all = halves.lock();
        let (claims, memory) = all.entry(network).or_insert_with(|| (0, Arc::new(Memory::new(halves.bytes))));
        *claims += 1;
        Self {
            memory: Arc::clone(memory),
            halves: Arc::clone(halves),
            network,
        }
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        let mut all = self.halves.lock();
        let Entry::Occupied(mut entry) = all.entry(self.network) else {
            return;
        };
        entry.get_mut().0 -= 1;
        if entry.get().0 == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_network_has_half_and_leaves_nothing_behind() {
        let memory = SharedMemory::new(1_000);
        let claim = |client: &str, bytes| memory.claim(client.parse().unwrap(), bytes).now_or_never();
        let first = claim("203.0.113.9", 400).unwrap().unwrap();
        assert!(claim("203.0.113.9", 101).is_none(), "it would have more than half");
        let second = claim("203.0.113.9", 100).unwrap().unwrap();
        let other = claim("2001:db8::1", 500).unwrap().unwrap();
        assert!(claim("2001:db8::2", 1).is_none(), "one network");
        assert!(claim("203.0.113.10", 1).is_none(), "nothing is left");
        drop(first);
        let late = claim("203.0.113.10", 400).unwrap().unwrap();
        assert_eq!([&second, &other, &late].map(Claim::bytes), [100, 500, 400]);
        drop((second, other, late));
        assert!(memory.halves.lock().is_empty());
    }
}
