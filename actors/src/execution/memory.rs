//! Memory for what running executions hold: their payloads, and results of their steps.
//!
//! Whoever begins claims what its payload will take: the shares of its user and its customer first, so that it waits for nobody else's
//! before there is room in its own. Who finds none gives the turn back and waits in the order of asking, holding nothing. Results that come while it runs are counted as far as there is room: whoever holds
//! something never waits for more, or all could wait for one another.

use crate::kit::{Held, Memory, Shares};
use perseat_domain::id::CustomerId;
use perseat_domain::identity::Identity;
use perseat_domain::owner::UserKey;
use std::sync::Arc;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};

/// Up to this an execution claims nothing, and a result is not counted. No key: as many as there are slots come to a quarter of
/// the memory that there is for larger ones.
pub(super) const UNCLAIMED: usize = 64 << 10;

/// What an execution is reckoned to take by what is stored of it, before that is opened.
pub(super) const fn reckoned(stored: usize) -> usize {
    stored.saturating_mul(3)
}

/// See the module. Of it a customer's executions may hold half, and a user's a quarter.
#[derive(Debug)]
pub struct ExecutionMemory {
    all: Memory,
    customers: Arc<Shares<CustomerId>>,
    users: Arc<Shares<UserKey>>,
}

impl ExecutionMemory {
    /// `bytes` in all (`execution.memory`).
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            all: Memory::new(bytes),
            customers: Shares::new(bytes / 2),
            users: Shares::new(bytes / 4),
        }
    }

    /// Claims `bytes`, or all of the user's share if that is less, when they are free.
    ///
    /// # Errors
    /// Never: nobody closes it.
    pub async fn claim(&self, identity: &Identity, bytes: usize) -> Result<Room, AcquireError> {
        let of_user = self.users.claim(UserKey::of(identity), bytes).await?;
        let of_customer = self.customers.claim(identity.customer, of_user.bytes()).await?;
        Ok(Room {
            bytes,
            _of_all: self.all.claim(of_user.bytes()).await?,
            _of_customer: of_customer,
            _of_user: of_user,
        })
    }

    /// The same, if they are free now.
    #[must_use]
    pub fn try_claim(&self, identity: &Identity, bytes: usize) -> Option<Room> {
        let of_user = self.users.try_claim(UserKey::of(identity), bytes)?;
        let of_customer = self.customers.try_claim(identity.customer, of_user.bytes())?;
        Some(Room {
            bytes,
            _of_all: self.all.try_claim(of_user.bytes())?,
            _of_customer: of_customer,
            _of_user: of_user,
        })
    }
}

/// Memory that was claimed for an execution.
#[derive(Debug)]
pub struct Room {
    /// What was asked for: more than a whole share is given that.
    bytes: usize,
    _of_all: OwnedSemaphorePermit,
    _of_customer: Held<CustomerId>,
    _of_user: Held<UserKey>,
}

impl Room {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
