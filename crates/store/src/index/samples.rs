//! Journal entries for the tests of index, state, history and executions.

use super::{EntryRef, ExecutionRow, Logged};
use perseat_domain::entry::{
    Accepted, Called, Calls, Cancelled, EndStatus, Ended, Entry, Origin, Parked, Started, StepRecord, StepStatus, StepsDone,
};
use perseat_domain::id::{CustomerId, ExecutionId, FlowNumber, InstanceId, UserConfigId, UserId};
use perseat_domain::identity::{BoundUser, Identity};
use perseat_domain::model::Sealed;
use perseat_domain::time::Timestamp;
use perseat_domain::usage::Through;
use uuid::Uuid;

/// A version 7 id: `millis` after the epoch, told apart by `n`.
pub(crate) fn execution(millis: u64, n: u64) -> ExecutionId {
    ExecutionId(Uuid::from_u128(u128::from(millis) << 80 | 0x7 << 76 | 0b10 << 62 | u128::from(n)))
}

/// Customer `n / 100`, instance `n / 10`, user configuration `n`.
pub(crate) fn identity(n: u128) -> Identity {
    Identity {
        customer: CustomerId(Uuid::from_u128(n / 100 + 1)),
        instance: InstanceId(Uuid::from_u128(n / 10 + 1)),
        flow: FlowNumber(1),
        user: Some(BoundUser {
            user: UserId(Uuid::from_u128(n + 1)),
            config: UserConfigId(Uuid::from_u128(n + 1)),
        }),
    }
}

/// The row of execution `n` as it was written the `version`th time.
pub(crate) fn row(n: u64, version: u64) -> ExecutionRow {
    ExecutionRow {
        partition: 5,
        identity: Some(identity(n.into())),
        origin: Origin::Webhook,
        accepted: n,
        accepted_at: Timestamp(n),
        started_at: None,
        attempt: 0,
        activation: version as u32,
        definition_version: 1,
        cancel_requested: false,
        steps: Vec::new(),
        steps_finished: 0,
        log_counts: Vec::new(),
        entries: vec![EntryRef {
            position: n,
            entries: 1,
            bytes: version as u32,
        }],
        bytes: version,
        outcome: None,
        parked: None,
    }
}

pub(crate) fn accepted(execution: ExecutionId, identity: Identity, at: u64) -> Entry {
    Entry::from(Accepted {
        execution,
        identity: Some(identity),
        origin: Origin::Webhook,
        received_at: Timestamp(at),
        dedupe_id: None,
        unique_request_id: None,
        catalog_revision: 1,
        sync_deadline: None,
        refusal: None,
        request: Sealed(vec![7; 40]),
    })
}

pub(crate) fn started(execution: ExecutionId, attempt: u32, activation: u32) -> Entry {
    Entry::from(Started {
        execution,
        attempt,
        activation,
        deaths: 0,
        definition_version: 3,
        instance_revision: 1,
        user_revision: 1,
        at: Timestamp(50),
    })
}

pub(crate) fn steps(execution: ExecutionId, attempt: u32, count: usize) -> Entry {
    let step = |n: usize| StepRecord {
        path: n.to_string(),
        name: format!("step {n}"),
        status: StepStatus::Ok,
        started_at: Timestamp(60),
        ended_at: Timestamp(61),
        output: Sealed(vec![9; 20]),
        masks: Vec::new(),
        credentials: Vec::new(),
        tries: 1,
    };
    Entry::from(StepsDone {
        execution,
        attempt,
        steps: (0..count).map(step).collect(),
        branches: Vec::new(),
        logs: None,
        log_counts: vec![("info".into(), count as u32)],
    })
}

/// Three calls through `account`.
pub(crate) fn called(execution: ExecutionId, is_first: bool) -> Entry {
    Entry::from(Called {
        execution,
        at: Timestamp(64),
        calls: vec![Calls {
            through: Through {
                connection: "account".into(),
                ..Through::default()
            },
            is_first,
            count: 3,
            sent: 10,
            received: 20,
        }],
    })
}

pub(crate) fn parked(execution: ExecutionId) -> Entry {
    Entry::from(Parked {
        execution,
        at: Timestamp(66),
        since: Timestamp(65),
        connection: "account".into(),
    })
}

pub(crate) fn cancelled(execution: ExecutionId) -> Entry {
    Entry::from(Cancelled {
        execution,
        at: Timestamp(70),
        by: "local:0".into(),
    })
}

pub(crate) fn ended(execution: ExecutionId, status: EndStatus) -> Entry {
    Entry::from(Ended {
        execution,
        attempt: 1,
        status,
        code: None,
        failed_step: None,
        message: None,
        response: None,
        cost: (1, 2),
        at: Timestamp(80),
    })
}

pub(crate) fn logged(position: u64, segment: u32, entry: &Entry) -> Logged {
    Logged {
        position,
        segment,
        partition: 5,
        payload: entry.encode().into(),
    }
}
