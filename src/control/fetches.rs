//! Fetches by signed URL, which need no bearer: how many are made ready at once, and what they hold until they are sent.

use super::turns::{Turn, Turns};
use bytes::Bytes;
use perseat_actors::front::network_of;
use perseat_actors::kit::{Held, Memory, Shares};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// See the module.
#[derive(Debug)]
pub(super) struct Fetches {
    turns: Turns,
    memory: Memory,
    halves: Arc<Shares<IpAddr>>,
    patience: Duration,
}

impl Fetches {
    /// `all` at once, `each` of one network; of `memory` a network has half, and waits for it for no longer than `patience`.
    pub(super) fn new(all: usize, each: usize, memory: usize, patience: Duration) -> Self {
        Self {
            turns: Turns::new(all, each),
            memory: Memory::new(memory),
            halves: Shares::new(memory / 2),
            patience,
        }
    }

    /// Waits for a turn of a client's network; `None` never happens while turns are given.
    pub(super) async fn wait(&self, client: IpAddr) -> Option<Turn> {
        self.turns.wait(&network_of(client).to_string()).await
    }

    /// The same bytes, which hold as much of the memory until they are sent; `None` where there is none for too long.
    pub(super) async fn hold(&self, client: IpAddr, bytes: Bytes) -> Option<Bytes> {
        let claim = async {
            let of_half = self.halves.claim(network_of(client), bytes.len()).await.ok()?;
            Some((of_half, self.memory.claim(bytes.len()).await.ok()?))
        };
        let (of_half, of_all) = timeout(self.patience, claim).await.ok().flatten()?;
        Some(Bytes::from_owner(Sending {
            bytes,
            _of_all: of_all,
            _of_half: of_half,
        }))
    }
}

struct Sending {
    bytes: Bytes,
    _of_all: OwnedSemaphorePermit,
    _of_half: Held<IpAddr>,
}

impl AsRef<[u8]> for Sending {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn what_is_not_sent_holds_memory_of_which_a_network_has_half() {
        let fetches = Fetches::new(4, 4, 100, Duration::from_secs(60));
        let hold = |client: &str, bytes| fetches.hold(client.parse().unwrap(), Bytes::from(vec![7; bytes])).now_or_never();
        let first = hold("203.0.113.9", 40).flatten().unwrap();
        let part = first.slice(1..3);
        drop(first);
        assert!(hold("203.0.113.9", 11).is_none(), "a part of it is still to be sent");
        assert!(hold("203.0.113.10", 11).is_some());
        drop(part);
        assert_eq!(hold("203.0.113.9", 11).flatten().as_deref(), Some([7; 11].as_slice()));
    }

    #[tokio::test]
    async fn what_finds_no_memory_does_not_keep_its_turn_for_ever() {
        let fetches = Fetches::new(4, 4, 100, Duration::ZERO);
        let hold = |bytes| fetches.hold("203.0.113.9".parse().unwrap(), Bytes::from(vec![7; bytes]));
        let first = hold(40).await;
        assert!(first.is_some() && hold(11).await.is_none());
    }
}
