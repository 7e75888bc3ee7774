//! One run of a script: what it gets, what it came to.

use super::calls::{HeldCall, Rest};
use crate::component::{IdempotencyKey, StepLog};
use crate::expression::Results;
use crate::outbound::{Count, OutboundError};
use crate::payload::FlowContext;
use perseat_domain::id::{CustomerId, UserId};
use serde::Serialize;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// For whom a script runs. Where there is no user, the customer counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserKey {
    /// The customer; children are never shared between customers.
    pub customer: CustomerId,
    /// The user.
    pub user: Option<UserId>,
}

/// As what a script runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// A code step: `(context, stepResults) => ({ data })`.
    #[default]
    Step,
    /// A data source: `(context, inputs) => ({ result })`, where `config` is JSON of `{configVars, inputs}`.
    Source,
}

/// One run of a script.
pub struct RunRequest {
    /// For whom.
    pub owner: UserKey,
    /// Names its requests to third parties.
    pub key: IdempotencyKey,
    /// The script.
    pub script: Arc<str>,
    /// As what it runs.
    pub part: Part,
    /// Identity, addresses and the API keys of the flows.
    pub context: Arc<FlowContext>,
    /// JSON of configuration variables.
    pub config: Zeroizing<String>,
    /// Reference names and step results.
    pub results: Vec<(String, Arc<Results>)>,
    /// Counts its requests.
    pub count: Count,
    /// When it is given up, whether or not it has begun.
    pub deadline: Instant,
}

impl RunRequest {
    /// The bytes of all that it brings.
    pub(super) fn size(&self) -> usize {
        let results = self.results.iter().map(|(name, results)| name.len() + results.json().len());
        self.script.len() + self.context.json().len() + self.config.len() + results.sum::<usize>()
    }
}

impl fmt::Debug for RunRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it brings holds credentials.
        f.debug_struct("RunRequest")
            .field("owner", &self.owner)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// JSON that holds secrets, in memory of its exact size: text that grows leaves copies behind that nobody zeroes.
pub(crate) fn exact_json(value: &impl Serialize) -> Result<Zeroizing<String>, serde_json::Error> {
    let mut size = Counter(0);
    serde_json::to_writer(&mut size, value)?;
    let mut json = Zeroizing::new(Vec::with_capacity(size.0));
    serde_json::to_writer(&mut *json, value)?;
    let text = String::from_utf8(std::mem::take(&mut *json));
    // What was written is JSON, and JSON is text.
    Ok(Zeroizing::new(text.unwrap_or_default()))
}

/// Counts what is written to it.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct RunReport {
    /// JSON of its data.
    pub outcome: Result<String, RunError>,
    /// What it logged.
    pub logs: Vec<StepLog>,
    /// The CPU time it took.
    pub cpu: Duration,
    /// The request that it has to wait for, where it sent nothing before.
    pub(crate) held: Option<HeldCall>,
    /// Why a request failed, if that passes.
    pub(crate) setback: Option<Setback>,
    /// Its requests that are not answered, until they are sent.
    pub(super) rest: Option<Rest>,
}

/// What fails a request and passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setback {
    /// A provider's limits kept it back.
    KeptBack,
    /// It did not get through, or there was no time or room for its answer.
    Unanswered,
}

impl Setback {
    pub(super) fn of(error: &OutboundError) -> Option<Self> {
        match error {
            OutboundError::Held { .. } => Some(Self::KeptBack),
            OutboundError::Unreached { .. }
            | OutboundError::Failed { .. }
            | OutboundError::ConnectTimedOut(_)
            | OutboundError::TimedOut(_)
            | OutboundError::NoRoom { .. } => Some(Self::Unanswered),
            OutboundError::NotHttp(_)
            | OutboundError::Refused { .. }
            | OutboundError::Uncertified { .. }
            | OutboundError::TooLarge { .. }
            | OutboundError::TooManyRedirects(_) => None,
        }
    }
}

/// Why a run gave no data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// It threw or does not compile.
    #[error("{0}")]
    Threw(String),
    /// It reached its deadline.
    #[error("the code ran out of time")]
    TimedOut,
    /// No child was free before its deadline.
    #[error("no process for code was free in time: `code.children` run what was there before")]
    NoChild,
    /// It reached `code.cpu`.
    #[error("the code used more CPU time than `code.cpu` allows")]
    OutOfCpu,
    /// It reached `code.memory`.
    #[error("the code used more memory than `code.memory` allows")]
    OutOfMemory,
    /// Its promise can never settle.
    #[error("the code waits for something that cannot happen")]
    Stuck,
    /// Its result is larger than `execution.max-step-result`.
    #[error("the code's result is larger than `execution.max-step-result` allows")]
    ResultTooLarge,
    /// What it would get is larger than a frame.
    #[error("the results and configuration that the code would get are larger than `code.max-frame` allows")]
    InputTooLarge,
    /// Its process ended under it.
    #[error("the process that ran the code ended")]
    Killed,
    /// `code.queue` runs wait already.
    #[error("too many code steps wait")]
    Busy,
    /// The pool was closed.
    #[error("code steps are shut down")]
    Closed,
}

impl RunReport {
    pub(super) fn failed(error: RunError) -> Self {
        Self {
            outcome: Err(error),
            logs: Vec::new(),
            cpu: Duration::ZERO,
            held: None,
            setback: None,
            rest: None,
        }
    }
}
