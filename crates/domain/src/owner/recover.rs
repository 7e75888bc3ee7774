//! Executions from before a restart.

use super::parked::Wait;
use super::table::{Deaths, Live, Stand};
use super::{Owner, UserKey, Users};
use crate::budget::Claim;
use crate::entry::EntryRef;
use crate::id::ExecutionId;
use crate::identity::Identity;

/// A live execution from before a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Which.
    pub execution: ExecutionId,
    /// On whose behalf.
    pub identity: Identity,
    /// Bits of the position that it was first accepted at.
    pub order: u64,
    /// Where its entries stand, oldest first.
    pub entries: Vec<EntryRef>,
    /// Whether its end was asked for.
    pub cancel_requested: bool,
    /// What it waits for, if it was parked.
    pub parked: Option<Wait>,
}

impl Owner {
    /// Takes in an execution from before a restart, in the order of acceptance; gives the room that it takes up. What is
    /// parked has to be [tried](Self::try_parked) once all are known.
    pub fn recover(&mut self, recovered: Recovered, users: &mut dyn Users) -> Claim {
        let live = Live {
            identity: recovered.identity,
            order: recovered.order,
            bytes: recovered.entries.iter().map(|entry| u64::from(entry.bytes)).sum(),
            // Cancelled ones count, too: they end at once.
            has_begun: recovered.entries.iter().map(|entry| entry.entries).sum::<u32>() > 1,
            has_memory: false,
            entries: recovered.entries,
            accepted: None,
            stand: Stand::Withheld,
            deaths: Deaths::Since(0),
            deaths_told: 0,
            is_cancelled: false,
            unsettled: 0,
        };
        let claim = live.claim();
        if live.has_begun {
            self.held.add(&live.identity, live.bytes);
        }
        self.table.insert(recovered.execution, live);
        match recovered.parked {
            Some(wait) => {
                self.stands(recovered.execution, Stand::Parked);
                let user = UserKey::of(&recovered.identity);
                self.parked.add(user, recovered.order, recovered.execution, wait);
            }
            None => self.line_up(recovered.execution, &recovered.identity),
        }
        if recovered.cancel_requested {
            self.cancel(recovered.execution, users);
        }
        claim
    }
}
