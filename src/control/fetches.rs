//! Fetches by signed URL, which need no bearer: how many are made ready at once, and what they hold until they are sent.

use super::turns::{Turn, Turns};
use super::unsent::{Room, Unsent};
use perseat_actors::front::network_of;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::timeout;

/// See the module.
#[derive(Debug)]
pub(super) struct Fetches {
    turns: Turns,
    unsent: Unsent,
    patience: Duration,
}

impl Fetches {
    /// `all` at once, `each` of one network; of `memory` a network has half. Nobody waits for longer than `patience`.
    pub(super) fn new(all: usize, each: usize, memory: usize, patience: Duration) -> Self {
        Self {
            turns: Turns::new(all, each),
            unsent: Unsent::new(memory, patience),
            patience,
        }
    }

    /// What `waiting` comes to, unless it takes too long.
    pub(super) async fn within_patience<T>(&self, waiting: impl Future<Output = T>) -> Option<T> {
        timeout(self.patience, waiting).await.ok()
    }

    /// Waits for a turn of a client's network; `None` never happens while turns are given.
    pub(super) async fn wait(&self, client: IpAddr) -> Option<Turn> {
        self.turns.wait(&network_of(client).to_string()).await
    }

    /// Waits for memory; `None` never happens.
    pub(super) async fn claim(&self, client: IpAddr, bytes: usize) -> Option<Room> {
        self.unsent.claim(&network_of(client).to_string(), bytes).await
    }
}
