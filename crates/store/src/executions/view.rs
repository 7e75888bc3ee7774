//! What support staff see of an execution: names, times, results with secrets blanked.

use crate::index::Status;
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::{LogLine, Origin, StepRecord, StepStatus};
use perseat_domain::id::ExecutionId;
use perseat_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Something with an id and, where it still exists, a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The id in its plain form.
    pub id: String,
    /// The name today; `None` once it was deleted.
    pub name: Option<String>,
}

/// A part that can be read, or why it cannot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Part<T> {
    /// It can be read.
    Readable(T),
    /// It cannot.
    Unreadable {
        /// Why.
        unreadable: Unreadable,
    },
}

/// Why a part cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unreadable {
    /// Its owner was deleted, and the key with them.
    #[serde(rename = "key destroyed")]
    KeyDestroyed,
    /// Its segment was dropped to stay within the storage budget.
    #[serde(rename = "expired")]
    Expired,
    /// The stored bytes are damaged.
    #[serde(rename = "damaged")]
    Damaged,
    /// Its execution's results hold more secrets than are looked for in it.
    #[serde(rename = "too many secrets")]
    TooManySecrets,
    /// It may say who a person is whom whoever asks may not see.
    #[serde(rename = "withheld")]
    Withheld,
}

/// One execution in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionSummary {
    /// Its id.
    pub id: ExecutionId,
    /// Where it stands.
    pub status: Status,
    /// Why it ended without success.
    pub code: Option<ErrorCode>,
    /// The display name of the step that failed.
    pub failed_step: Option<String>,
    /// What made it.
    pub origin: Origin,
    /// The customer.
    pub customer: Option<Named>,
    /// The instance.
    pub instance: Option<Named>,
    /// The flow; its id is its number.
    pub flow: Option<Named>,
    /// The user, under user level configuration.
    pub user: Option<Named>,
    /// When the request was complete.
    pub accepted_at: Timestamp,
    /// When the attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The attempt, 0 if none began.
    pub attempt: u32,
    /// How often an actor took the attempt up.
    pub activation: u32,
    /// Whether its end was asked for.
    pub cancel_requested: bool,
    /// When it was parked for the first time; `None` unless it is parked.
    pub parked_since: Option<Timestamp>,
    /// The stable key of the connection that it waits for while it is parked.
    pub waits_for: Option<String>,
    /// How many steps finished.
    pub steps_finished: u32,
    /// Counts of log lines by level.
    pub log_counts: Vec<(String, u32)>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionList {
    /// Newest first.
    pub executions: Vec<ExecutionSummary>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<ExecutionId>,
}

/// One execution with its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionView {
    /// What the list shows.
    #[serde(flatten)]
    pub summary: ExecutionSummary,
    /// The request that made it.
    pub trigger: Part<TriggerView>,
    /// Its finished steps, in the order in which they ended.
    pub steps: Vec<StepView>,
    /// The branch that each branching step chose: (path, branch name).
    pub branches: Vec<(String, String)>,
    /// The error message.
    pub message: Option<Part<String>>,
    /// Its log lines; each flush is a part of its own.
    pub logs: Vec<Part<Vec<LogLine>>>,
    /// What a synchronous caller got.
    pub response: Option<Part<ResponseView>>,
    /// Slot time and CPU time of code steps in milliseconds.
    pub cost: Option<(u32, u32)>,
    /// Entries that could not be read, and why.
    pub missing: Vec<Unreadable>,
}

/// What happened in one execution, without its log, what was sent and what its steps gave.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutionOutline {
    /// What the list shows.
    pub summary: ExecutionSummary,
    /// Its finished steps, in the order in which they ended.
    pub steps: Vec<StepOutline>,
    /// The error message.
    pub message: Option<Part<String>>,
}

/// What one execution said.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutionLog {
    /// What the list shows.
    pub summary: ExecutionSummary,
    /// Its lines; each flush is a part of its own.
    pub parts: Vec<Part<Vec<LogLine>>>,
    /// Whether it said more.
    pub is_cut: bool,
}

/// One finished step, without its results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepOutline {
    /// Its display name.
    pub name: String,
    /// Where it stands in the flow.
    pub path: String,
    /// How it ended.
    pub status: StepStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Attempts it took.
    pub tries: u8,
}

impl From<StepRecord> for StepOutline {
    fn from(step: StepRecord) -> Self {
        Self {
            name: step.name,
            path: step.path,
            status: step.status,
            started_at: step.started_at,
            ended_at: step.ended_at,
            tries: step.tries,
        }
    }
}

/// The request, with credentials blanked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TriggerView {
    /// The HTTP method.
    pub method: String,
    /// The URL without its query.
    pub url: String,
    /// The query.
    pub query: String,
    /// What follows the endpoint id in the path.
    pub path_fragment: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: BodyView,
}

/// A body, cut to a readable size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BodyView {
    /// Its whole size.
    pub bytes: usize,
    /// The beginning, if it is text.
    pub text: Option<String>,
    /// Whether more follows.
    pub is_cut: bool,
}

/// One finished step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Its display name.
    pub name: String,
    /// Where it stands in the flow.
    pub path: String,
    /// In which attempt it ran.
    pub attempt: u32,
    /// How it ended.
    pub status: StepStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Its results; of long ones the beginning, as text.
    pub output: Part<Value>,
    /// Which credential versions it used, by variable.
    pub credentials: Vec<(String, u64)>,
    /// Attempts it took.
    pub tries: u8,
}

/// What a synchronous caller got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseView {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub content_type: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: BodyView,
}
