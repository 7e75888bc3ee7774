//! Performs one step: resolves its inputs, does what its action says, reports result, log lines and cost.

use crate::expression::Scope;
use crate::js::JsPool;
use crate::outbound::OutboundClient;
use crate::payload::FlowContext;
use bytes::Bytes;
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::Step;
use perseat_domain::entry::SyncResponse;
use perseat_domain::id::ExecutionId;
use perseat_domain::identity::Identity;
use perseat_domain::time::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Names one step of one execution, the same after a crash; each request that the step sends adds its ordinal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// The execution.
    pub execution: ExecutionId,
    /// The step's path.
    pub path: String,
}

impl IdempotencyKey {
    /// The header value of the step's request number `ordinal`, counted from 0.
    #[must_use]
    pub fn request(&self, ordinal: u32) -> String {
        format!("{}:{}:{ordinal}", self.execution, self.path)
    }
}

/// One step to perform.
#[derive(Clone, Copy, Debug)]
pub struct StepCall<'a> {
    /// The step: its action and its inputs as defined.
    pub step: &'a Step,
    /// What its inputs can see. Code steps get all results and settings in it.
    pub scope: &'a Scope,
    /// On whose behalf.
    pub identity: &'a Identity,
    /// Names and addresses of the execution, as the trigger payload has them.
    pub context: &'a Arc<FlowContext>,
    /// Names the step to third parties.
    pub key: &'a IdempotencyKey,
    /// When it is given up with `step_timeout`.
    pub deadline: Instant,
    /// Whether the caller asked for verbose logs (`prismatic-debug`).
    pub debug: bool,
}

/// The result of a step and its stored form.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutput {
    /// The value that later steps see.
    pub value: Arc<Value>,
    /// The same as JSON: what is sealed and stored.
    pub json: Bytes,
}

impl StepOutput {
    /// Takes a value and makes its JSON.
    #[must_use]
    pub fn new(value: Value) -> Self {
        let json = Bytes::from(value.to_string());
        Self {
            value: Arc::new(value),
            json,
        }
    }
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq)]
pub enum StepResult {
    /// Data for the steps after it.
    Data(StepOutput),
    /// The name of the branch to take.
    Branch(String),
    /// The end of the execution, with the answer for a synchronous caller.
    Stop(SyncResponse),
}

/// A log line of a step. Not yet masked: the caller masks before it stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepLog {
    /// When.
    pub at: Timestamp,
    /// `trace`, `debug`, `info`, `warn`, `error`, `fatal` or `metric`.
    pub level: &'static str,
    /// The text.
    pub message: String,
}

/// Why a step failed. The message holds no credential that Perseat put in; what a third party or a script says may
/// hold anything, so the caller masks it before it stores it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    /// `step_failed`, `step_timeout`, `outbound_refused`, `script_failed`, `connection_not_ready`,
    /// `result_too_large`, `expression_invalid` or `internal`.
    pub code: ErrorCode,
    /// A sentence for the person who reads the execution.
    pub message: String,
    /// Whether the same step may succeed when tried again unchanged.
    pub is_retryable: bool,
    /// What a step with `ignore` puts into its result beside the message: `{status, data}` of an HTTP answer.
    pub detail: Option<Box<Value>>,
}

impl StepError {
    /// A failure that trying again does not mend.
    #[must_use]
    pub fn fatal(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            is_retryable: false,
            detail: None,
        }
    }

    /// A failure that may pass.
    #[must_use]
    pub fn passing(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            is_retryable: true,
            ..Self::fatal(code, message)
        }
    }
}

/// Everything the execution actor learns of a performed step.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// What it came to.
    pub result: Result<StepResult, StepError>,
    /// What it logged, in order; bounded.
    pub logs: Vec<StepLog>,
    /// CPU time of a code step.
    pub cpu: Duration,
    /// Which credential versions it used: (variable stable key, version).
    pub credentials: Vec<(String, u64)>,
}

/// Limits of performing, besides those of [`crate::outbound::Options`] and [`crate::js::Options`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest JSON of a step's result.
    pub max_result: usize,
    /// The most attempts of one HTTP step after its first.
    pub max_http_retries: u32,
    /// The longest text of one log line.
    pub max_log_line: usize,
}

/// Performs steps. Cheap to clone; its HTTP connections belong to the runtime it was made on, so make one for each
/// arbiter.
#[derive(Clone, Debug)]
pub struct Performer {
    outbound: OutboundClient,
    js: JsPool,
    limits: Arc<Limits>,
}

impl Performer {
    /// Joins what performing needs.
    #[must_use]
    pub fn new(outbound: OutboundClient, js: JsPool, limits: Limits) -> Self {
        Self {
            outbound,
            js,
            limits: Arc::new(limits),
        }
    }

    /// Performs one step. Never blocks the thread and ends soon after the deadline; dropping the future gives the
    /// step up (a running script is killed).
    pub async fn perform(&self, call: StepCall<'_>) -> StepReport {
        let _ = (&self.outbound, &self.js, &self.limits, call);
        std::future::ready(StepReport {
            result: Err(StepError::fatal(ErrorCode::Internal, "not built yet")),
            logs: Vec::new(),
            cpu: Duration::ZERO,
            credentials: Vec::new(),
        })
        .await
    }
}
