//! Memory that connections share.

use crate::kit::{Held, Memory, Shares};
use perseat_domain::code::ErrorCode;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};

/// What a claim fails with, which it never does: nobody closes a memory.
pub(super) fn never(_: AcquireError) -> ErrorCode {
    ErrorCode::Internal
}

/// Memory, or places, of which one network, or customer, may hold half: what is begun for one and does not end delays none of the others.
#[derive(Debug)]
pub(super) struct SharedMemory<K = IpAddr> {
    all: Memory,
    halves: Arc<Shares<K>>,
}

impl<K: Eq + Hash + Clone> SharedMemory<K> {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            all: Memory::new(bytes),
            halves: Shares::new(bytes / 2),
        }
    }

    /// As [`Memory::claim`], once `whose` half has so much left.
    pub(super) async fn claim(&self, whose: K, bytes: usize) -> Result<Claim<K>, ErrorCode> {
        let of_half = self.halves.claim(whose, bytes).await.map_err(never)?;
        Ok(Claim {
            of_all: self.all.claim(bytes).await.map_err(never)?,
            _of_half: of_half,
        })
    }

    /// How much is claimed.
    pub(super) fn held(&self) -> usize {
        self.all.held()
    }

    /// The same, if they are free now.
    pub(super) fn try_claim(&self, whose: K, bytes: usize) -> Option<Claim<K>> {
        let of_half = self.halves.try_claim(whose, bytes)?;
        Some(Claim {
            of_all: self.all.try_claim(bytes)?,
            _of_half: of_half,
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

    pub(super) fn try_claim(&self, network: IpAddr, bytes: usize) -> Option<Claim> {
        let part = if bytes <= SMALL { &self.small } else { &self.large };
        part.try_claim(network, bytes)
    }
}

/// Bytes of [`SharedMemory`].
#[derive(Debug)]
pub(super) struct Claim<K: Eq + Hash + Clone = IpAddr> {
    of_all: OwnedSemaphorePermit,
    _of_half: Held<K>,
}

impl<K: Eq + Hash + Clone> Claim<K> {
    pub(super) fn bytes(&self) -> usize {
        self.of_all.num_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::address::network_of;
    use futures_util::FutureExt;

    #[test]
    fn a_network_has_half() {
        let memory = SharedMemory::new(1_000);
        let claim = |client: &str, bytes| memory.claim(network_of(client.parse().unwrap()), bytes).now_or_never();
        let first = claim("203.0.113.9", 400).unwrap().unwrap();
        assert!(claim("203.0.113.9", 101).is_none(), "it would have more than half");
        let second = claim("203.0.113.9", 100).unwrap().unwrap();
        let other = claim("2001:db8::1", 500).unwrap().unwrap();
        assert!(claim("2001:db8::2", 1).is_none(), "one network");
        assert!(claim("203.0.113.10", 1).is_none(), "nothing is left");
        drop(first);
        let late = claim("203.0.113.10", 400).unwrap().unwrap();
        assert_eq!([&second, &other, &late].map(Claim::bytes), [100, 500, 400]);
    }
}
