//! Memory that many share, a permit a byte.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// So many bytes, for whoever claims them.
#[derive(Debug)]
pub struct Memory {
    bytes: usize,
    free: Arc<Semaphore>,
}

impl Memory {
    /// At most 4 GiB.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.min(u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        Self {
            bytes,
            free: Arc::new(Semaphore::new(bytes)),
        }
    }

    /// Claims `bytes`, or all of it if that is less, when they are free.
    ///
    /// # Errors
    /// Never: nobody closes it.
    pub async fn claim(&self, bytes: usize) -> Result<OwnedSemaphorePermit, AcquireError> {
        if let Some(permit) = self.try_claim(bytes) {
            return Ok(permit);
        }
        // Boxed: whoever does not wait should not carry the room for it.
        Box::pin(Arc::clone(&self.free).acquire_many_owned(self.permits(bytes))).await
    }

    /// The same, if they are free now.
    #[must_use]
    pub fn try_claim(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_many_owned(self.permits(bytes)).ok()
    }

    /// How many are claimed.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes - self.free.available_permits()
    }

    fn permits(&self, bytes: usize) -> u32 {
        bytes.min(self.bytes) as u32
    }
}

/// Gives back all of a claim but so many bytes.
pub fn shrink(claim: &mut OwnedSemaphorePermit, bytes: usize) {
    drop(claim.split(claim.num_permits().saturating_sub(bytes)));
}

/// How much of a memory each of many may hold: what one begins and does not end delays none of the others.
#[derive(Debug)]
pub struct Shares<K> {
    bytes: usize,
    /// Those that claim something, with how often each is claimed from.
    of: Mutex<HashMap<K, (usize, Arc<Memory>)>>,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// `bytes` for each.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            of: Mutex::default(),
        })
    }

    /// As [`Memory::claim`], of what `whose` may hold.
    ///
    /// # Errors
    /// As there.
    pub async fn claim(self: &Arc<Self>, whose: K, bytes: usize) -> Result<Held<K>, AcquireError> {
        let share = self.share(whose);
        Ok(Held {
            permit: share.memory.claim(bytes).await?,
            _share: share,
        })
    }

    /// The same, if they are free now.
    #[must_use]
    pub fn try_claim(self: &Arc<Self>, whose: K, bytes: usize) -> Option<Held<K>> {
        let share = self.share(whose);
        Some(Held {
            permit: share.memory.try_claim(bytes)?,
            _share: share,
        })
    }

    fn share(self: &Arc<Self>, whose: K) -> Share<K> {
        let mut all = self.lock();
        let (claims, memory) = all.entry(whose.clone()).or_insert_with(|| (0, Arc::new(Memory::new(self.bytes))));
        *claims += 1;
        Share {
            memory: Arc::clone(memory),
            shares: Arc::clone(self),
            whose,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (usize, Arc<Memory>)>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of somebody's share.
#[derive(Debug)]
pub struct Held<K: Eq + Hash + Clone> {
    permit: OwnedSemaphorePermit,
    _share: Share<K>,
}

impl<K: Eq + Hash + Clone> Held<K> {
    /// How many.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.permit.num_permits()
    }

    /// Gives back all but so many.
    pub fn shrink(&mut self, bytes: usize) {
        shrink(&mut self.permit, bytes);
    }
}

/// One's share; forgotten with the last claim.
#[derive(Debug)]
struct Share<K: Eq + Hash + Clone> {
    shares: Arc<Shares<K>>,
    whose: K,
    memory: Arc<Memory>,
}

impl<K: Eq + Hash + Clone> Drop for Share<K> {
    fn drop(&mut self) {
        let mut all = self.shares.lock();
        let Entry::Occupied(mut entry) = all.entry(self.whose.clone()) else {
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
    fn each_has_its_share_and_leaves_nothing_behind() {
        let shares = Shares::new(500);
        let claim = |whose, bytes| shares.claim(whose, bytes).now_or_never().map(Result::unwrap);
        let (mut first, second) = (claim("a", 450).unwrap(), claim("a", 50).unwrap());
        first.shrink(500);
        assert!(first.bytes() == 450 && shares.try_claim("a", 1).is_none());
        first.shrink(400);
        drop(second);
        let second = claim("a", 100).unwrap();
        assert!(claim("a", 1).is_none() && shares.try_claim("a", 1).is_none());
        let other = claim("b", 900).unwrap();
        drop(first);
        let late = shares.try_claim("a", 400).unwrap();
        assert_eq!([&second, &other, &late].map(Held::bytes), [100, 500, 400], "no more than a share");
        drop((second, other, late));
        assert!(shares.lock().is_empty());
    }
}
