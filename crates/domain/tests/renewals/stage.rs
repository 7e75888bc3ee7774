//! Users as the owner reaches them, and the order in which it may let their executions begin.

use perseat_domain::fair::FairOptions;
use perseat_domain::id::{CustomerId, ExecutionId, FlowNumber, InstanceId, UserConfigId, UserId};
use perseat_domain::identity::{BoundUser, Identity};
use perseat_domain::owner::{Owner, OwnerOptions, Reached, Refusal, Shares, Turn, UserKey, Users};
use std::collections::{BTreeSet, VecDeque};
use uuid::Uuid;

/// How the owner reaches users, and what must be true of whom it lets begin.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    pub(crate) turns: VecDeque<Turn>,
    /// By user.
    pub(crate) lines: Vec<Line>,
    wrong: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) is_down: bool,
    /// What can begin, and what waits for a credential.
    pub(crate) ready: BTreeSet<usize>,
    pub(crate) parked: BTreeSet<usize>,
    /// What waited and was let go, until it works.
    pub(crate) let_go: BTreeSet<usize>,
    /// Who is on its way to find out.
    pub(crate) scout: Option<usize>,
}

impl Line {
    /// It waits, and with it whatever was let go after it and has not begun.
    pub(crate) fn parks(&mut self, execution: usize) {
        self.is_through(execution);
        let behind: Vec<usize> = self.ready.intersection(&self.let_go).copied().collect();
        for other in behind.into_iter().filter(|other| *other > execution) {
            self.is_through(other);
            self.ready.remove(&other);
            self.parked.insert(other);
        }
        self.parked.insert(execution);
    }

    /// It has found out about the credential.
    pub(crate) fn is_through(&mut self, execution: usize) {
        self.let_go.remove(&execution);
        self.scout = self.scout.filter(|scout| *scout != execution);
    }

    /// The credential is back.
    pub(crate) fn releases(&mut self) {
        self.scout = None;
        self.let_go.extend(&self.parked);
        self.ready.append(&mut self.parked);
    }

    /// Whether it may begin now: the oldest that can, and of what waits the oldest where nobody is on its way.
    fn may_begin(&self, execution: usize) -> bool {
        let is_oldest = |of: &BTreeSet<usize>| of.first().is_none_or(|first| execution <= *first);
        let is_scout = self.parked.contains(&execution);
        let has_waited = is_scout || self.let_go.contains(&execution);
        let is_in_order = is_oldest(&self.ready) && (!has_waited || is_oldest(&self.parked));
        is_in_order && (!is_scout || self.scout.is_none())
    }
}

impl Users for Stage {
    fn start(&mut self, turn: &Turn) -> Reached {
        let (user, execution) = (user_of(turn.user), index_of(turn.execution));
        let line = &mut self.lines[user];
        if line.is_down {
            return Err(Refusal::Down);
        }
        if !line.may_begin(execution) && self.wrong.is_none() {
            self.wrong = Some(format!("user {user}: {execution} begins before others: {line:?}"));
        }
        line.ready.remove(&execution);
        if line.parked.remove(&execution) {
            line.scout = Some(execution);
            line.let_go.insert(execution);
        }
        self.turns.push_back(*turn);
        Ok(())
    }

    fn cancel(&mut self, _: UserKey, _: ExecutionId) -> Reached {
        Ok(())
    }
}

pub(crate) fn id(execution: usize) -> ExecutionId {
    ExecutionId(Uuid::from_u128(execution as u128 + 1))
}

pub(crate) fn index_of(execution: ExecutionId) -> usize {
    execution.0.as_u128() as usize - 1
}

pub(crate) fn identity(user: usize) -> Identity {
    Identity {
        customer: CustomerId(Uuid::from_u128(1)),
        instance: InstanceId(Uuid::from_u128(1)),
        flow: FlowNumber(1),
        user: Some(BoundUser {
            user: UserId(Uuid::from_u128(user as u128 + 1)),
            config: UserConfigId(Uuid::from_u128(user as u128 + 1)),
        }),
    }
}

pub(crate) fn key(user: usize) -> UserKey {
    UserKey::of(&identity(user))
}

pub(crate) fn user_of(key: UserKey) -> usize {
    key.config.unwrap().0.as_u128() as usize - 1
}

pub(crate) fn owner(slots: u32) -> Owner {
    Owner::new(OwnerOptions {
        fair: FairOptions {
            slots,
            user_divisor: 1,
            reserve_divisor: u32::MAX,
            ..FairOptions::default()
        },
        cache_bytes: 1 << 20,
        shares: Shares {
            user: u64::MAX,
            customer: u64::MAX,
        },
    })
}

impl Stage {
    pub(crate) fn new(users: usize) -> Self {
        Self {
            lines: vec![Line::default(); users],
            ..Self::default()
        }
    }

    /// Nobody is there any more.
    pub(crate) fn is_anew(&mut self) {
        self.turns.clear();
        self.lines.fill(Line::default());
    }

    pub(crate) fn wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }
}
