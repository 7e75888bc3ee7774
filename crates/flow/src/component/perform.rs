//! Performs one step: resolves its inputs, does what its action says, reports result, log lines and cost.

use super::inputs::{Inputs, bad};
use super::{reply, spec};
use crate::expression::{Results, Scope, branch_on_expression, branch_on_value};
use crate::http::{self, Bounds, Trace};
use crate::js::JsPool;
use crate::outbound::{Meter, OutboundClient};
use crate::payload::FlowContext;
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::Step;
use perseat_domain::entry::SyncResponse;
use perseat_domain::id::ExecutionId;
use perseat_domain::identity::Identity;
use perseat_domain::rate::Sender;
use perseat_domain::time::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
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
    /// Counts its requests.
    pub meter: &'a Meter,
    /// Whether the caller asked for verbose logs (`prismatic-debug`).
    pub debug: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_result: 32 << 20,
            max_http_retries: 10,
            json_depth: 100,
        }
    }
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq)]
pub enum StepResult {
    /// Data for the steps after it.
    Data(Arc<Results>),
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

impl StepLog {
    /// A line of this moment.
    pub(crate) fn now(level: &'static str, message: String) -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            at: Timestamp(u64::try_from(at.as_millis()).unwrap_or(u64::MAX)),
            level,
            message,
        }
    }
}

/// Why a step failed. The message holds no credential that Perseat put in; what a third party or a script says may
/// hold anything, so the caller masks it before it stores it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    /// `step_failed`, `step_timeout`, `outbound_refused`, `script_failed`, `connection_not_ready`,
    /// `result_too_large`, `expression_invalid`, `outbound_rate_limited` or `internal`.
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
    /// The one of them that a third party refused in its last answer.
    pub refused: Option<(String, u64)>,
}

impl StepReport {
    /// Of a step that did nothing.
    #[must_use]
    pub fn failed(error: StepError) -> Self {
        Self {
            result: Err(error),
            logs: Vec::new(),
            cpu: Duration::ZERO,
            credentials: Vec::new(),
            refused: None,
        }
    }
}

/// Limits of performing, besides those of [`crate::outbound::Options`] and [`crate::js::Options`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest JSON of a step's result.
    pub max_result: usize,
    /// The most attempts of one HTTP step after its first.
    pub max_http_retries: u32,
    /// Lists and objects within one another in the JSON of an HTTP answer and of a script's result.
    pub json_depth: usize,
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

    /// The way out that its steps take.
    #[must_use]
    pub fn outbound(&self) -> &OutboundClient {
        &self.outbound
    }

    /// What scripts run with.
    pub(super) fn ways(&self) -> (&JsPool, &OutboundClient) {
        (&self.js, &self.outbound)
    }

    /// The largest JSON of a step's result, and the largest answer to a synchronous caller.
    #[must_use]
    pub fn max_result(&self) -> usize {
        self.limits.max_result
    }

    /// How deep JSON may nest.
    pub(super) fn json_depth(&self) -> usize {
        self.limits.json_depth
    }

    /// Performs one step. Never blocks the thread and ends soon after the deadline; dropping the future gives the
    /// step up (a running script is killed).
    pub async fn perform(&self, call: StepCall<'_>) -> StepReport {
        let mut report = StepReport::failed(bad(""));
        let result = self.dispatch(&call, &mut report).await;
        report.result = result.and_then(|result| self.check_size(result));
        report
    }

    async fn dispatch(&self, call: &StepCall<'_>, report: &mut StepReport) -> Result<StepResult, StepError> {
        let action = &call.step.action;
        let Some(spec) = spec(action) else {
            return Err(bad(format!(
                "there is no action `{}` of a component `{}`",
                action.action, action.component
            )));
        };
        let inputs = Inputs::new(call.step, call.scope);
        inputs.check_required(spec)?;
        match (spec.component, spec.key) {
            ("http", key) => self.http(key, inputs, call, report).await,
            ("code", _) => super::code::perform((&self.js, &self.outbound), inputs, call, self.limits.json_depth, report)
                .await
                .map(data),
            ("branch", key) => branch(key, call).map(StepResult::Branch),
            ("stop-execution", _) => reply::stop(inputs).map(StepResult::Stop),
            _ => log(inputs, report).map(data),
        }
    }

    async fn http(&self, key: &str, inputs: Inputs<'_>, call: &StepCall<'_>, report: &mut StepReport) -> Result<StepResult, StepError> {
        let bounds = Bounds {
            max_retries: self.limits.max_http_retries,
            json_depth: self.limits.json_depth,
            max_result: self.limits.max_result,
            deadline: call.deadline,
        };
        let mut trace = Trace::default();
        let output = http::perform(
            key,
            inputs,
            call.key,
            bounds,
            (&self.outbound, sender_of(call.identity)),
            call.meter,
            &mut trace,
        )
        .await;
        report.logs = trace.logs;
        report.credentials = trace.credentials;
        report.refused = trace.refused;
        output.map(data)
    }

    fn check_size(&self, result: StepResult) -> Result<StepResult, StepError> {
        let size = match &result {
            StepResult::Data(results) => results.json().len(),
            StepResult::Stop(reply) => reply.bytes(),
            StepResult::Branch(_) => 0,
        };
        too_large(size, self.limits.max_result)?;
        Ok(result)
    }
}

/// Fails for a result of so many bytes, where that is more than it may have.
pub(crate) fn too_large(bytes: usize, most: usize) -> Result<(), StepError> {
    if bytes > most {
        let message = format!("the result has {bytes} bytes, more than {most}");
        return Err(StepError::fatal(ErrorCode::ResultTooLarge, message));
    }
    Ok(())
}

/// Who takes turns at providers.
pub(super) fn sender_of(identity: &Identity) -> Sender {
    Sender {
        customer: identity.customer,
        user: identity.user.map(|bound| bound.user),
    }
}

fn data(results: Results) -> StepResult {
    StepResult::Data(Arc::new(results))
}

fn branch(key: &str, call: &StepCall<'_>) -> Result<String, StepError> {
    let input = |name: &str| {
        call.step
            .inputs
            .get(name)
            .ok_or_else(|| bad(format!("the input `{name}` is missing")))
    };
    let chosen = match key {
        "branchOnValue" => branch_on_value(input("inputValue")?, input("branchValueMappings")?, call.scope),
        _ => branch_on_expression(input("conditions")?, call.scope),
    };
    chosen.map_err(|error| StepError::fatal(ErrorCode::ExpressionInvalid, error.to_string()))
}

fn log(inputs: Inputs<'_>, report: &mut StepReport) -> Result<Results, StepError> {
    let level = inputs.text("level")?.to_ascii_lowercase();
    let known = ["trace", "debug", "info", "warn", "error", "fatal", "metric"];
    let level = known.into_iter().find(|known| *known == level).unwrap_or("info");
    report.logs.push(StepLog::now(level, inputs.text("message")?));
    Ok(Results::of_value(Value::Null))
}
