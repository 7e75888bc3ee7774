//! The live executions of one owner: accepted and not ended.

use super::UserKey;
use crate::budget::Claim;
use crate::entry::EntryRef;
use crate::id::{ExecutionId, IdMap, give_back};
use crate::identity::Identity;
use bytes::Bytes;

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Its user is paused.
    Withheld,
    /// In its user's queue.
    Waiting,
    /// On its way to its user.
    Granted,
    /// Taken up.
    Running,
    /// Out of the queue until a credential is back.
    Parked,
    /// Out of the queue until there is memory for it.
    Short,
    /// Out of the queue until its user and its customer hold less.
    Apart,
    /// Its end was handed over to be written: nothing else becomes of it.
    Ending,
}

/// How many actors died under an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deaths {
    /// So many in all.
    All(u32),
    /// So many since the daemon started; its entries say what was before.
    Since(u32),
}

impl Deaths {
    /// In all, where its entries say `written`.
    #[must_use]
    pub fn total(self, written: u32) -> u32 {
        match self {
            Self::All(count) => count.max(written),
            Self::Since(count) => written.saturating_add(count),
        }
    }

    pub(super) fn one_more(&mut self) {
        match self {
            Self::All(count) | Self::Since(count) => *count += 1,
        }
    }

    /// Its entries now say `written`, of which `told` were told from here.
    pub(super) fn are_written(&mut self, written: u32, told: u32) {
        *self = Self::All(match self {
            Self::All(count) => written.max(*count),
            Self::Since(count) => written + count.saturating_sub(told),
        });
    }

    fn count(self) -> u32 {
        match self {
            Self::All(count) | Self::Since(count) => count,
        }
    }
}

/// One live execution.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) identity: Identity,
    /// Bits of the position that it was first accepted at: the order of queues.
    pub(super) order: u64,
    /// Where its entries stand, oldest first.
    pub(super) entries: Vec<EntryRef>,
    /// Bytes of its entries, as far as admission counts them: of its event, and of what its steps gave.
    pub(super) bytes: u64,
    /// Whether it is durable that it began: then what it holds counts against others that have not.
    pub(super) has_begun: bool,
    /// Whether memory is kept for it until it is taken up.
    pub(super) has_memory: bool,
    /// Its accepted entry, while it is young and there is room in memory.
    pub(super) accepted: Option<Bytes>,
    pub(super) stand: Stand,
    pub(super) deaths: Deaths,
    /// How many of them whoever took it up last was told of.
    pub(super) deaths_told: u32,
    /// Whether its end was asked for: then it is not parked.
    pub(super) is_cancelled: bool,
    /// Appends of dead actors of which it is not known yet whether they became durable.
    pub(super) unsettled: u32,
}

impl Live {
    pub(super) fn user(&self) -> UserKey {
        UserKey::of(&self.identity)
    }

    /// The room that it takes up.
    pub(super) fn claim(&self) -> Claim {
        Claim::of(Some(&self.identity), self.bytes)
    }
}

/// What a user needs to run an execution.
#[derive(Clone, Debug)]
pub struct TakenUp {
    /// On whose behalf.
    pub identity: Identity,
    /// Where its entries stand, oldest first.
    pub entries: Vec<EntryRef>,
    /// Its accepted entry, if it is still in memory and the only one.
    pub accepted: Option<Bytes>,
    /// Actors that died under it.
    pub deaths: Deaths,
    /// Whether others wait until it has found out that a credential is back: whoever takes it up says what can be
    /// [used](super::Owner::usable).
    pub is_scout: bool,
}

/// All live executions of one owner.
#[derive(Debug)]
pub(super) struct Table {
    executions: IdMap<ExecutionId, Live>,
    cached: usize,
    cache_bytes: usize,
}

impl Table {
    /// An empty table that keeps at most `cache_bytes` of accepted entries in memory.
    pub(super) fn new(cache_bytes: usize) -> Self {
        Self {
            executions: IdMap::default(),
            cached: 0,
            cache_bytes,
        }
    }

    pub(super) fn insert(&mut self, id: ExecutionId, mut live: Live) {
        let size = live.accepted.as_ref().map_or(0, Bytes::len);
        if self.cached + size > self.cache_bytes {
            live.accepted = None;
        } else {
            self.cached += size;
        }
        self.executions.insert(id, live);
    }

    /// It holds so many bytes more; what is claimed for them.
    pub(super) fn grew(&mut self, id: ExecutionId, bytes: u64) -> Option<(Identity, Claim)> {
        let live = self.executions.get_mut(&id)?;
        live.bytes += bytes;
        Some((live.identity, Claim::of(Some(&live.identity), bytes)))
    }

    pub(super) fn get(&self, id: ExecutionId) -> Option<&Live> {
        self.executions.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ExecutionId) -> Option<&mut Live> {
        self.executions.get_mut(&id)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Live> {
        self.executions.values_mut()
    }

    /// The entries of an execution from the one numbered `first` on stand at `reference` now, as many as it says. One
    /// that does not fit changes nothing.
    pub(super) fn carried(&mut self, id: ExecutionId, first: u32, reference: EntryRef) {
        if let Some(live) = self.executions.get_mut(&id) {
            reference.take_place(&mut live.entries, first);
        }
    }

    pub(super) fn remove(&mut self, id: ExecutionId) -> Option<Live> {
        let live = self.executions.remove(&id)?;
        give_back(&mut self.executions);
        self.cached -= live.accepted.as_ref().map_or(0, Bytes::len);
        Some(live)
    }

    /// What a user needs to run it; its accepted entry leaves the memory.
    pub(super) fn take_up(&mut self, id: ExecutionId, is_scout: impl FnOnce(&Live) -> bool) -> Option<TakenUp> {
        let live = self.executions.get_mut(&id).filter(|live| live.stand == Stand::Granted)?;
        let accepted = live.accepted.take();
        self.cached -= accepted.as_ref().map_or(0, Bytes::len);
        live.stand = Stand::Running;
        live.has_memory = false;
        live.deaths_told = live.deaths.count();
        // One place may hold several entries: what was carried meanwhile.
        let is_only_one = live.entries.iter().map(|reference| reference.entries).sum::<u32>() == 1;
        Some(TakenUp {
            identity: live.identity,
            entries: live.entries.clone(),
            accepted: accepted.filter(|_| is_only_one),
            deaths: live.deaths,
            is_scout: is_scout(live),
        })
    }

    /// The users with appends that are not settled.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = UserKey> {
        self.executions.values().filter(|live| live.unsettled > 0).map(Live::user)
    }

    /// The withheld executions of the users that `which` picks, in the order of acceptance.
    pub(super) fn withheld(&self, which: impl Fn(&UserKey) -> bool) -> Vec<(ExecutionId, Identity)> {
        let is_withheld = |live: &&Live| live.stand == Stand::Withheld && which(&live.user());
        let picked = self.executions.iter().filter(|(_, live)| is_withheld(live));
        let mut found: Vec<_> = picked.map(|(id, live)| (live.order, (*id, live.identity))).collect();
        found.sort_unstable_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, execution)| execution).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.executions.len()
    }
}
