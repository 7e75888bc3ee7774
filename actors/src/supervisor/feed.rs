//! From the journal's writer to the owners: each committed batch, in position order, as one message per owner.

use super::actor::Supervisor;
use super::messages::Committed;
use crate::kit::{Mailbox, Refused};
use perseat_journal::Committed as CommittedEntry;
use std::sync::Arc;
use std::time::Duration;

/// Hands batches to the supervisors of all owners.
#[derive(Debug)]
pub struct Feed {
    owners: Vec<Mailbox<Supervisor>>,
    /// The pause before a full mailbox is tried again.
    retry: Duration,
}

impl Feed {
    /// A feed to `owners`, in the order of [`crate::kit::Arbiters::owners`].
    #[must_use]
    pub fn new(owners: Vec<Mailbox<Supervisor>>, retry: Duration) -> Self {
        Self { owners, retry }
    }

    /// Delivers a batch. Waits while an owner's mailbox is full: that is the back-pressure on the writer, and a frozen
    /// owner is the watchdog's business.
    pub fn deliver(&self, batch: &Arc<[CommittedEntry]>) {
        if let [owner] = self.owners.as_slice() {
            return self.send(owner, batch);
        }
        for (index, owner) in self.owners.iter().enumerate() {
            let part: Arc<[CommittedEntry]> = batch
                .iter()
                .filter(|entry| usize::from(entry.partition) % self.owners.len() == index)
                .cloned()
                .collect();
            if !part.is_empty() {
                self.send(owner, &part);
            }
        }
    }

    fn send(&self, owner: &Mailbox<Supervisor>, batch: &Arc<[CommittedEntry]>) {
        while let Err(Refused::Full) = owner.tell(Committed(batch.clone())) {
            std::thread::park_timeout(self.retry);
        }
    }
}
