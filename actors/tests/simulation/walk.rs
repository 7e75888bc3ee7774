//! What a flow says comes next, and what its error rules say about a step: the words of the documentation, as a walk.

use crate::model::Done;
use perseat_domain::definition::{Step, StepErrorPolicy};
use perseat_domain::entry::StepStatus;
use perseat_domain::execution::Outcome;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    /// This step is to be performed.
    Next(String),
    /// This step failed the flow.
    Failed(String),
    /// Nothing is left.
    End,
}

/// Walks through steps that have results up to the first that has none.
pub(crate) fn next(steps: &[Step], done: &Done) -> Walk {
    within(steps, "", done)
}

fn within(steps: &[Step], prefix: &str, done: &Done) -> Walk {
    for (index, step) in steps.iter().enumerate() {
        let path = format!("{prefix}{index}");
        let Some((status, chosen)) = done.get(&path) else {
            return Walk::Next(path);
        };
        if *status == StepStatus::Failed {
            return Walk::Failed(path);
        }
        let branch = step.branches.iter().position(|branch| Some(&branch.name) == chosen.as_ref());
        if let Some(number) = branch {
            match within(&step.branches[number].steps, &format!("{path}.b{number}."), done) {
                Walk::End => {}
                other => return other,
            }
        }
    }
    Walk::End
}

/// How long to wait after the failure of try number `last`, counted from 0; none if it is not to be tried again.
pub(crate) fn expected_delay(policy: &StepErrorPolicy, last: u8) -> Option<Duration> {
    match policy {
        StepErrorPolicy::Retry {
            max_attempts,
            delay_seconds,
            exponential,
            ..
        } if last < *max_attempts => {
            let doubled = if *exponential { 2_u32.pow(u32::from(last)) } else { 1 };
            Some(Duration::from_secs(u64::from(*delay_seconds)) * doubled)
        }
        _ => None,
    }
}

/// How a step ends after that many tries; none if it is not over yet.
pub(crate) fn settled(policy: &StepErrorPolicy, outcome: &Outcome, tries: u8) -> Option<StepStatus> {
    let Outcome::Failed { is_retryable, .. } = outcome else {
        return Some(StepStatus::Ok);
    };
    match policy {
        StepErrorPolicy::Fail => Some(StepStatus::Failed),
        StepErrorPolicy::Ignore => Some(StepStatus::Ignored),
        StepErrorPolicy::Retry { max_attempts, .. } if *is_retryable && tries <= *max_attempts => None,
        StepErrorPolicy::Retry { ignore_final: true, .. } => Some(StepStatus::Ignored),
        StepErrorPolicy::Retry { .. } => Some(StepStatus::Failed),
    }
}

/// The step at a path such as `2.b1.0`.
pub(crate) fn find<'a>(steps: &'a [Step], path: &str) -> Option<&'a Step> {
    let mut parts = path.split('.');
    let step = steps.get(parts.next()?.parse::<usize>().ok()?)?;
    match parts.next() {
        None => Some(step),
        Some(branch) => {
            let branch = step.branches.get(branch.strip_prefix('b')?.parse::<usize>().ok()?)?;
            find(&branch.steps, &parts.collect::<Vec<_>>().join("."))
        }
    }
}
