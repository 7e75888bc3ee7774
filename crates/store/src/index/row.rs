//! What the indexes hold of one execution: ids, times, status and step names, never text from payloads or messages.

use perseat_domain::code::ErrorCode;
use perseat_domain::entry::{EndStatus, EntryRef, Origin, StepStatus};
use perseat_domain::identity::Identity;
use perseat_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Version of the stored form of a row.
pub(crate) const ROW_FORMAT: u8 = 2;
/// The version before it: the same without `parked`, which is last.
const WITHOUT_PARKED: u8 = 1;

/// Room for most rows, so that few are copied while they grow: what an execution of three steps comes to.
const ROW_ROOM: usize = 512;

/// One finished step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    /// Where it stands in the flow.
    pub path: String,
    /// Its display name.
    pub name: String,
    /// How it ended.
    pub status: StepStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How.
    pub status: EndStatus,
    /// Why, unless it succeeded.
    pub code: Option<ErrorCode>,
    /// The display name of the step that failed.
    pub failed_step: Option<String>,
    /// Slot time and CPU time of code steps in milliseconds.
    pub cost: (u32, u32),
    /// When.
    pub at: Timestamp,
}

/// What an execution waits for that cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedRow {
    /// When it was parked for the first time.
    pub since: Timestamp,
    /// The stable key of the connection.
    pub connection: String,
}

/// One execution, live or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionRow {
    /// The partition that its entries carry.
    pub partition: u8,
    /// On whose behalf; `None` for events that found no instance.
    pub identity: Option<Identity>,
    /// What made it.
    pub origin: Origin,
    /// Bits of the position that `Accepted` was first written at: the order of queues, kept when entries are carried.
    pub accepted: u64,
    /// When the request was complete.
    pub accepted_at: Timestamp,
    /// When the attempt began; `None` while queued.
    pub started_at: Option<Timestamp>,
    /// The attempt, 0 if none began.
    pub attempt: u32,
    /// How often an actor took the attempt up.
    pub activation: u32,
    /// The integration's version that the attempt bound.
    pub definition_version: u32,
    /// Whether its end was asked for.
    pub cancel_requested: bool,
    /// The first finished steps of the attempt, at most [`super::Limits::steps_listed`].
    pub steps: Vec<StepRow>,
    /// How many steps of the attempt finished.
    pub steps_finished: u32,
    /// Counts of log lines by level.
    pub log_counts: Vec<(String, u32)>,
    /// Where its entries stand, in the order in which they were written.
    pub entries: Vec<EntryRef>,
    /// The sum of their sizes.
    pub bytes: u64,
    /// How it ended; `None` while it is live.
    pub outcome: Option<Outcome>,
    /// What it waits for; `None` unless it is parked.
    pub parked: Option<ParkedRow>,
}

impl ExecutionRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(ROW_ROOM);
        row.push(ROW_FORMAT);
        // Encoding owned data into memory has no failing case.
        postcard::to_extend(self, row).unwrap_or_default()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [ROW_FORMAT, body @ ..] => postcard::from_bytes(body).ok(),
            [WITHOUT_PARKED, body @ ..] => postcard::from_bytes(&[body, &[0]].concat()).ok(),
            _ => None,
        }
    }
}

/// A live execution, as its owner needs it after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveExecution {
    /// Which execution.
    pub execution: perseat_domain::id::ExecutionId,
    /// The partition that its entries carry.
    pub partition: u8,
    /// On whose behalf.
    pub identity: Option<Identity>,
    /// Bits of the position that `Accepted` was first written at: the order of queues.
    pub accepted: u64,
    /// Where its entries stand, in the order in which they were written; each holds one entry or, after collection, a
    /// `Carried` with several.
    pub entries: Vec<EntryRef>,
    /// The sum of their sizes.
    pub bytes: u64,
    /// The attempt, 0 while queued.
    pub attempt: u32,
    /// How often an actor took the attempt up.
    pub activation: u32,
    /// Whether its end was asked for.
    pub cancel_requested: bool,
    /// What it waits for; `None` unless it is parked.
    pub parked: Option<ParkedRow>,
}

impl From<(perseat_domain::id::ExecutionId, ExecutionRow)> for LiveExecution {
    fn from((execution, row): (perseat_domain::id::ExecutionId, ExecutionRow)) -> Self {
        Self {
            execution,
            partition: row.partition,
            identity: row.identity,
            accepted: row.accepted,
            entries: row.entries,
            bytes: row.bytes,
            attempt: row.attempt,
            activation: row.activation,
            cancel_requested: row.cancel_requested,
            parked: row.parked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::samples::row;

    #[test]
    fn a_row_of_the_version_before_is_read() {
        let row = row(7, 10);
        let mut before = row.encode();
        assert_eq!(before.pop(), Some(0), "what is last is absent");
        before[0] = WITHOUT_PARKED;
        assert_eq!(ExecutionRow::decode(&before), Some(row.clone()));
        let parked = ExecutionRow {
            parked: Some(ParkedRow {
                since: Timestamp(11),
                connection: "account".into(),
            }),
            ..row
        };
        assert_eq!(ExecutionRow::decode(&parked.encode()), Some(parked));
    }
}
