//! Fetches by signed URL, which need no bearer: how many are made ready at once, and what they hold until they are sent.

use super::turns::{Turn, Turns};
use super::unsent::Unsent;
use bytes::Bytes;
use perseat_actors::front::network_of;
use std::net::IpAddr;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct Fetches {
    turns: Turns,
    unsent: Unsent,
}

impl Fetches {
    /// `all` at once, `each` of one network; of `memory` a network has half, and waits for it for no longer than `patience`.
    pub(super) fn new(all: usize, each: usize, memory: usize, patience: Duration) -> Self {
        Self {
            turns: Turns::new(all, each),
            unsent: Unsent::new(memory, patience),
        }
    }

    /// Waits for a turn of a client's network; `None` never happens while turns are given.
    pub(super) async fn wait(&self, client: IpAddr) -> Option<Turn> {
        self.turns.wait(&network_of(client).to_string()).await
    }

    /// The same bytes, which hold as much of the memory until they are sent; `None` where there is none for too long.
    pub(super) async fn hold(&self, client: IpAddr, bytes: Bytes) -> Option<Bytes> {
        self.unsent.hold(&network_of(client).to_string(), bytes).await
    }
}
