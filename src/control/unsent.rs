//! What answers hold in memory until they are sent.

use bytes::Bytes;
use perseat_actors::kit::{Held, Memory, Shares, shrink};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// See the module.
#[derive(Debug)]
pub(super) struct Unsent {
    memory: Memory,
    halves: Arc<Shares<String>>,
    patience: Duration,
}

impl Unsent {
    /// Each has half of `memory`, and waits for it for no longer than `patience`.
    pub(super) fn new(memory: usize, patience: Duration) -> Self {
        Self {
            memory: Memory::new(memory),
            halves: Shares::new(memory / 2),
            patience,
        }
    }

    /// Room for so many bytes, or for as many as there ever are, once they are free; `None` never happens.
    pub(super) async fn claim(&self, whose: &str, bytes: usize) -> Option<Room> {
        Some(Room {
            of_half: self.halves.claim(whose.to_owned(), bytes).await.ok()?,
            of_all: self.memory.claim(bytes).await.ok()?,
        })
    }

    /// The same bytes, which hold as much of the memory until they are sent; `None` where there is none for too long.
    pub(super) async fn hold(&self, whose: &str, bytes: Bytes) -> Option<Bytes> {
        let room = timeout(self.patience, self.claim(whose, bytes.len())).await;
        Some(room.ok()??.hold(bytes))
    }
}

/// Memory that is claimed for an answer in the making.
#[derive(Debug)]
pub(super) struct Room {
    of_half: Held<String>,
    of_all: OwnedSemaphorePermit,
}

impl Room {
    /// The same bytes, which hold this until they are sent; what they do not need is given back.
    pub(super) fn hold(mut self, bytes: Bytes) -> Bytes {
        self.of_half.shrink(bytes.len());
        shrink(&mut self.of_all, bytes.len());
        Bytes::from_owner(Sending { bytes, _room: self })
    }
}

struct Sending {
    bytes: Bytes,
    _room: Room,
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
    async fn what_is_not_sent_holds_memory_of_which_each_has_half() {
        let unsent = Unsent::new(100, Duration::from_secs(60));
        let hold = |whose, bytes| unsent.hold(whose, Bytes::from(vec![7; bytes])).now_or_never();
        let first = hold("a", 40).flatten().unwrap();
        let part = first.slice(1..3);
        drop(first);
        assert!(hold("a", 11).is_none(), "a part of it is still to be sent");
        assert!(hold("b", 11).is_some());
        drop(part);
        assert_eq!(hold("a", 11).flatten().as_deref(), Some([7; 11].as_slice()));
    }

    #[tokio::test]
    async fn what_was_claimed_beyond_an_answer_is_given_back_with_it() {
        let unsent = Unsent::new(100, Duration::ZERO);
        let claim = |bytes| unsent.claim("a", bytes).now_or_never().flatten();
        let room = claim(1_000).unwrap();
        assert!(claim(1).is_none(), "all of its half");
        let held = room.hold(Bytes::from(vec![7; 20]));
        assert!(claim(31).is_none() && claim(30).is_some());
        drop(held);
        assert!(claim(50).is_some());
    }

    #[tokio::test]
    async fn nobody_waits_for_memory_for_ever() {
        let unsent = Unsent::new(100, Duration::ZERO);
        let hold = |bytes| unsent.hold("a", Bytes::from(vec![7; bytes]));
        let first = hold(40).await;
        assert!(first.is_some() && hold(11).await.is_none());
    }
}
