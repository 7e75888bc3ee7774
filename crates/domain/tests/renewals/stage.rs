//! Users as the owner reaches them, and the order in which it may let their executions begin.

use perseat_domain::fair::FairOptions;
use perseat_domain::id::{CustomerId, ExecutionId, FlowNumber, InstanceId, UserConfigId, UserId};
use perseat_domain::identity::{BoundUser, Identity};
use perseat_domain::owner::{Owner, OwnerOptions, Reached, Refusal, Turn, UserKey, Users};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use uuid::Uuid;

/// How the owner reaches users, and what must be true of whom it lets begin.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    pub(crate) turns: VecDeque<Turn>,
    /// By user.
    pub(crate) lines: Vec<Line>,
    /// Counts turns and waits.
    pub(crate) ticks: u64,
    /// At which tick each that waited was let go.
    pub(crate) released: BTreeMap<usize, u64>,
    wrong: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) is_down: bool,
    /// What can begin, and what waits for a credential.
    pub(crate) ready: BTreeSet<usize>,
    pub(crate) parked: BTreeSet<usize>,
}

impl Users for Stage {
    fn start(&mut self, turn: &Turn) -> Reached {
        let (user, execution) = (user_of(turn.user), index_of(turn.execution));
        let line = &mut self.lines[user];
        if line.is_down {
            return Err(Refusal::Down);
        }
        // One of those that wait may find out.
        let is_first = line.parked.contains(&execution) || line.ready.iter().all(|other| execution <= *other);
        if !is_first && self.wrong.is_none() {
            self.wrong = Some(format!("user {user}: {execution} begins before others: {line:?}"));
        }
        line.ready.remove(&execution);
        self.ticks += 1;
        // Two may be sent to find out at once, and the later one may go on first.
        if line.parked.remove(&execution) {
            self.released.remove(&execution);
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
    })
}

impl Stage {
    pub(crate) fn new(users: usize) -> Self {
        Self {
            lines: vec![Line::default(); users],
            ..Self::default()
        }
    }

    /// Nobody is there any more; what is remembered of the order stays.
    pub(crate) fn is_anew(&mut self) {
        self.turns.clear();
        self.lines.fill(Line::default());
    }

    pub(crate) fn wrong(&mut self) -> Option<String> {
        self.wrong.take()
    }
}
