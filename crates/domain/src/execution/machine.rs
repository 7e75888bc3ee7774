//! The state machine: (state, event) → effects.

use super::plan::{Node, NodeIndex, Plan};
use super::progress::Progress;
use crate::code::ErrorCode;
use crate::definition::StepErrorPolicy;
use crate::entry::{EndStatus, StepStatus};
use std::sync::Arc;
use std::time::Duration;

/// What bounds an execution's restarts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Deaths of its actor after which it ends quarantined (`execution.max-deaths`).
    pub max_deaths: u32,
    /// Activations, restarts of the daemon included and those that were parked left out, after which it ends quarantined (`execution.max-activations`).
    pub max_activations: u32,
}

/// How a step ended, as the performer saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It gave a result.
    Done,
    /// It chose a branch.
    Branch(String),
    /// It asked for the end of the execution, with a response.
    Stopped,
    /// It failed.
    Failed {
        /// Why.
        code: ErrorCode,
        /// Whether another try can help.
        is_retryable: bool,
    },
}

/// How the execution ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How.
    pub status: EndStatus,
    /// Why, unless it succeeded.
    pub code: Option<ErrorCode>,
    /// The step that failed.
    pub failed: Option<NodeIndex>,
}

impl Verdict {
    const SUCCEEDED: Self = Self {
        status: EndStatus::Succeeded,
        code: None,
        failed: None,
    };

    fn failed(code: ErrorCode, failed: Option<NodeIndex>) -> Self {
        Self {
            status: EndStatus::Failed,
            code: Some(code),
            failed,
        }
    }
}

/// What can happen to an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An actor took it up.
    Begin {
        /// What the journal says it has done.
        progress: Progress,
        /// Actors that died under it, those that are counted there included.
        deaths: u32,
    },
    /// Everything written so far is durable.
    Flushed,
    /// The performing step ended.
    StepEnded(Outcome),
    /// The wait before another try is over.
    RetryDue,
    /// Somebody asked for its end.
    CancelRequested,
    /// Its time is up.
    DeadlinePassed,
    /// Its user or its instance was removed, or its configuration cannot be read any more.
    ConfigurationGone(ErrorCode),
}

/// What must be done about it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write `Started`.
    WriteStarted {
        /// The number of this activation.
        activation: u32,
        /// Deaths so far.
        deaths: u32,
    },
    /// Write the result of the step that just ended.
    WriteStep {
        /// The step.
        node: NodeIndex,
        /// How it ended.
        status: StepStatus,
        /// The branch that it chose.
        branch: Option<String>,
        /// Tries it took.
        tries: u8,
    },
    /// Make everything written durable, then report [`Event::Flushed`].
    Flush,
    /// Perform a step, then report [`Event::StepEnded`].
    Perform {
        /// The step.
        node: NodeIndex,
        /// 0 for the first try.
        tries: u8,
    },
    /// Wait, then report [`Event::RetryDue`].
    Sleep(Duration),
    /// Stop the performing step or the wait; nothing more is reported of it.
    Abandon,
    /// Write `Ended`, make it durable, answer who waits. Nothing follows.
    Finish(Verdict),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Queued,
    Flushing { then: NodeIndex },
    Performing { node: NodeIndex, tries: u8 },
    Sleeping { node: NodeIndex, tries: u8 },
    Ended,
}

/// One execution in one activation.
#[derive(Debug)]
pub struct Machine {
    plan: Arc<Plan>,
    limits: Limits,
    phase: Phase,
    has_unflushed: bool,
    progress: Progress,
}

impl Machine {
    /// A machine that has not begun.
    #[must_use]
    pub fn new(plan: Arc<Plan>, limits: Limits) -> Self {
        Self {
            plan,
            limits,
            phase: Phase::Queued,
            has_unflushed: false,
            progress: Progress::default(),
        }
    }

    /// Whether it has finished.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Takes an event; events that no longer matter have no effects.
    pub fn on(&mut self, event: Event) -> Vec<Effect> {
        match (self.phase, event) {
            (Phase::Queued, Event::Begin { progress, deaths }) => self.begin(progress, deaths),
            (Phase::Flushing { then }, Event::Flushed) => {
                self.has_unflushed = false;
                vec![self.perform(then, 0)]
            }
            (Phase::Performing { node, tries }, Event::StepEnded(outcome)) => self.step_ended(node, tries, &outcome),
            (Phase::Sleeping { node, tries }, Event::RetryDue) => vec![self.perform(node, tries)],
            (Phase::Performing { .. } | Phase::Sleeping { .. }, Event::CancelRequested) => self.abandon(Self::cancelled()),
            (Phase::Flushing { .. }, Event::CancelRequested) => vec![self.finish(Self::cancelled())],
            (Phase::Performing { .. } | Phase::Sleeping { .. }, Event::ConfigurationGone(code)) => {
                self.abandon(Verdict::failed(code, None))
            }
            (Phase::Flushing { .. }, Event::ConfigurationGone(code)) => vec![self.finish(Verdict::failed(code, None))],
            (Phase::Performing { node, .. } | Phase::Sleeping { node, .. }, Event::DeadlinePassed) => {
                self.abandon(Verdict::failed(ErrorCode::ExecutionTimeout, Some(node)))
            }
            (Phase::Flushing { then }, Event::DeadlinePassed) => {
                vec![self.finish(Verdict::failed(ErrorCode::ExecutionTimeout, Some(then)))]
            }
            _ => Vec::new(),
        }
    }

    fn cancelled() -> Verdict {
        Verdict {
            status: EndStatus::Cancelled,
            code: Some(ErrorCode::Cancelled),
            failed: None,
        }
    }

    fn begin(&mut self, progress: Progress, deaths: u32) -> Vec<Effect> {
        if progress.ended {
            self.phase = Phase::Ended;
            return Vec::new();
        }
        if progress.cancelled {
            return vec![self.finish(Self::cancelled())];
        }
        let deaths = progress.deaths.max(deaths);
        let activation = progress.activations + 1;
        let counted = activation.saturating_sub(progress.parks);
        if deaths >= self.limits.max_deaths || counted > self.limits.max_activations {
            return vec![self.finish(Verdict {
                status: EndStatus::Quarantined,
                code: Some(ErrorCode::Quarantined),
                failed: None,
            })];
        }
        self.has_unflushed = true;
        self.progress = progress;
        let started = Effect::WriteStarted { activation, deaths };
        let mut at = self.plan.first();
        while let Some(node) = at {
            let Node { path, nature, .. } = self.plan.node(node);
            match self.progress.done.get(path) {
                Some(StepStatus::Failed) => {
                    return vec![started, self.finish(Verdict::failed(ErrorCode::StepFailed, Some(node)))];
                }
                // It had asked for the end, which was not written any more.
                Some(StepStatus::Ok) if nature.is_stop => at = None,
                Some(_) => at = self.plan.follower(node, self.progress.branches.get(path).map(String::as_str)),
                None => break,
            }
        }
        vec![started, self.go_on(at)]
    }

    /// Continues with the step at `at`, or ends.
    fn go_on(&mut self, at: Option<NodeIndex>) -> Effect {
        let Some(node) = at else {
            return self.finish(Verdict::SUCCEEDED);
        };
        let is_first_of_activation = matches!(self.phase, Phase::Queued);
        if self.has_unflushed && (is_first_of_activation || self.plan.node(node).nature.is_outbound) {
            self.phase = Phase::Flushing { then: node };
            return Effect::Flush;
        }
        self.perform(node, 0)
    }

    fn perform(&mut self, node: NodeIndex, tries: u8) -> Effect {
        self.phase = Phase::Performing { node, tries };
        Effect::Perform { node, tries }
    }

    fn step_ended(&mut self, node: NodeIndex, tries: u8, outcome: &Outcome) -> Vec<Effect> {
        let policy = self.plan.node(node).step.on_error;
        let (status, branch) = match outcome {
            Outcome::Done | Outcome::Stopped => (StepStatus::Ok, None),
            Outcome::Branch(name) => (StepStatus::Ok, Some(name.clone())),
            Outcome::Failed { is_retryable, .. } => match policy {
                StepErrorPolicy::Retry {
                    max_attempts,
                    delay_seconds,
                    exponential,
                    ..
                } if *is_retryable && tries < max_attempts => {
                    let factor = if exponential { 1u64 << tries.min(16) } else { 1 };
                    self.phase = Phase::Sleeping { node, tries: tries + 1 };
                    return vec![Effect::Sleep(Duration::from_secs(u64::from(delay_seconds) * factor))];
                }
                StepErrorPolicy::Ignore | StepErrorPolicy::Retry { ignore_final: true, .. } => (StepStatus::Ignored, None),
                StepErrorPolicy::Fail | StepErrorPolicy::Retry { .. } => (StepStatus::Failed, None),
            },
        };
        self.has_unflushed = true;
        let follower = self.plan.follower(node, branch.as_deref());
        let written = Effect::WriteStep {
            node,
            status,
            branch,
            tries: tries + 1,
        };
        let next = match (status, outcome) {
            (StepStatus::Failed, Outcome::Failed { code, .. }) => self.finish(Verdict::failed(*code, Some(node))),
            (_, Outcome::Stopped) => self.finish(Verdict::SUCCEEDED),
            _ => self.go_on(follower),
        };
        vec![written, next]
    }

    /// Ends it in the middle of a step or a wait.
    fn abandon(&mut self, verdict: Verdict) -> Vec<Effect> {
        vec![Effect::Abandon, self.finish(verdict)]
    }

    fn finish(&mut self, verdict: Verdict) -> Effect {
        self.phase = Phase::Ended;
        Effect::Finish(verdict)
    }
}
