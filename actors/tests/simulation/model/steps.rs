//! What an activation does: which step comes when, how often, and how it ends.

use super::{Model, Open, Running, Story};
use crate::execution::{LIMITS, TIMEOUT};
use crate::stage::TIDY_EVERY;
use crate::walk::{Walk, expected_delay, find, next, settled};
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::{EndStatus, StepStatus};
use perseat_domain::execution::Outcome;
use perseat_domain::id::ExecutionId;
use perseat_domain::owner::UserKey;
use std::time::Duration;

/// From the owner to the execution, by mailboxes that chance empties while other things fall due.
const TELLING: Duration = Duration::from_secs(2);

impl Model {
    pub(super) fn running(&mut self, number: u64) -> Option<(&mut Story, ExecutionId)> {
        let execution = *self.activations.get(&number)?;
        let story = self.stories.get_mut(&execution)?;
        story
            .running
            .as_ref()
            .is_some_and(|running| running.number == number)
            .then_some((story, execution))
    }

    pub(crate) fn taken_up(&mut self, number: u64, execution: ExecutionId, now: Duration) {
        self.now = now;
        self.activations.insert(number, execution);
        let Some(story) = self.stories.get_mut(&execution) else { return };
        let (is_twice, has_ended) = (story.running.is_some(), story.ended.is_some());
        story.running = Some(Running {
            number,
            began: now,
            done: story.done.clone(),
            start_is_durable: false,
            has_begun: false,
            open: None,
            left: None,
            stopped: false,
            verdict: false,
            is_through: false,
        });
        self.must(!is_twice, || format!("{execution} is taken up while it runs"));
        self.must(!has_ended, || format!("{execution} is taken up after its end"));
    }

    /// An activation writes its start.
    pub(crate) fn begins(&mut self, number: u64) {
        if let Some((story, _)) = self.running(number)
            && let Some(running) = &mut story.running
        {
            running.has_begun = true;
        }
    }

    /// A step begins, or is tried again: what the provider sees.
    pub(crate) fn call(&mut self, number: u64, path: &str, tries: u8, is_outbound: bool, now: Duration) {
        self.now = now;
        self.report.calls += 1;
        let Some((story, execution)) = self.running(number) else {
            return self.wrong(|| format!("activation {number} is gone and performs step {path}"));
        };
        let (flow, user) = (story.identity.flow.0 as usize, UserKey::of(&story.identity));
        let (has_ended, cancelled, unheard) = (story.ended.is_some(), story.cancelled, story.unheard);
        let is_durable = story.done.contains_key(path);
        let (deaths, started) = (story.deaths, story.started);
        let counts = story.begun.entry(path.to_owned()).or_insert((0, 1));
        counts.0 += u32::from(tries == 0);
        let counts = *counts;
        let Some(running) = &mut story.running else { return };
        let (began, done, start_is_durable) = (running.began, running.done.clone(), running.start_is_durable);
        let undurable = running.done.keys().find(|path| !story.done.contains_key(*path)).cloned();
        let before = running.open.replace(Open {
            path: path.to_owned(),
            tries,
            outcome: None,
            ended_at: now,
        });
        self.must(!has_ended, || format!("{execution} performs step {path} after its end"));
        self.must(!is_durable, || format!("{execution} repeats step {path}, whose result is durable"));
        self.must(counts.0 <= counts.1, || {
            format!(
                "{execution} begins step {path} {} times for {} interruptions",
                counts.0,
                counts.1 - 1
            )
        });
        self.must(started && start_is_durable, || {
            format!("{execution} performs step {path} before its start is durable")
        });
        self.must(!is_outbound || undurable.is_none(), || {
            format!("{execution} begins outbound step {path} before the result of {undurable:?} is durable")
        });
        self.must(now < began + TIMEOUT, || {
            format!("{execution} performs step {path} past its time-out")
        });
        // It is told at once, and again at the next look where a mailbox was full.
        let heard = cancelled.map(|at| unheard.map_or(at, |at| at + TIDY_EVERY) + TELLING);
        self.must(heard.is_none_or(|at| now <= at), || {
            format!("{execution} performs step {path} although it was cancelled at {cancelled:?}")
        });
        self.must(deaths < LIMITS.max_deaths, || format!("{execution} runs after {deaths} deaths"));
        let expected = next(&self.flows[flow].steps, &done);
        self.must(expected == Walk::Next(path.to_owned()), || {
            format!("{execution} performs step {path}, expected {expected:?}")
        });
        let account = find(&self.flows[flow].steps, path).map(|step| (user, step.action.component.clone()));
        let lacks = account.filter(|account| self.missing.contains(account));
        self.must(lacks.is_none(), || format!("{execution} performs step {path} without a credential"));
        let step = find(&self.flows[flow].steps, path);
        let waited = before
            .as_ref()
            .map(|before| (before.path == path, before.tries, now.saturating_sub(before.ended_at)));
        match (tries, waited) {
            (0, waited) => self.must(waited.is_none(), || format!("{execution} begins step {path} while another is open")),
            (_, Some((true, last, waited))) => {
                self.report.retries += 1;
                let delay = step.and_then(|step| expected_delay(&step.on_error, last));
                self.must(last + 1 == tries && delay == Some(waited), || {
                    format!("{execution} tries step {path} again after {waited:?}, expected {delay:?}")
                });
            }
            _ => self.wrong(|| format!("{execution} begins step {path} with try {tries}")),
        }
    }

    pub(crate) fn step_ended(&mut self, number: u64, outcome: &Outcome) {
        let now = self.now;
        if let Some((story, _)) = self.running(number)
            && let Some(open) = story.running.as_mut().and_then(|running| running.open.as_mut())
        {
            open.outcome = Some(outcome.clone());
            open.ended_at = now;
        }
    }

    /// The machine takes a step's result.
    pub(crate) fn result(&mut self, number: u64, path: &str, status: StepStatus, branch: Option<&str>, tries: u8) {
        let Some((story, execution)) = self.running(number) else { return };
        let flow = story.identity.flow.0 as usize;
        let Some(running) = &mut story.running else { return };
        let open = running.open.take();
        running.done.insert(path.to_owned(), (status, branch.map(str::to_owned)));
        let (opened, tried, outcome) = match open {
            Some(open) => (open.path, open.tries + 1, open.outcome),
            None => return self.wrong(|| format!("{execution} has a result of step {path}, which it did not perform")),
        };
        running.stopped |= outcome == Some(Outcome::Stopped);
        let step = find(&self.flows[flow].steps, path);
        let expected = step
            .zip(outcome)
            .and_then(|(step, outcome)| settled(&step.on_error, &outcome, tried));
        self.must(opened == path && tried == tries && expected == Some(status), || {
            format!("{execution} ends step {path} as {status:?} after {tries} tries, expected {expected:?} after {tried}")
        });
    }

    pub(crate) fn abandoned(&mut self, number: u64) {
        if let Some((story, _)) = self.running(number)
            && let Some(running) = &mut story.running
        {
            running.left = running.open.take().map(|open| open.path);
        }
    }

    /// The machine says how it ends.
    pub(crate) fn verdict(&mut self, number: u64, status: EndStatus, code: Option<ErrorCode>, failed: Option<&str>, now: Duration) {
        self.now = now;
        let Some((story, execution)) = self.running(number) else { return };
        let flow = story.identity.flow.0 as usize;
        let (deaths, cancelled) = (story.deaths_ever, story.cancelled);
        let Some(running) = &mut story.running else { return };
        let is_late = now >= running.began + TIMEOUT;
        let (done, stopped) = (running.done.clone(), running.stopped);
        let is_second = std::mem::replace(&mut running.verdict, true);
        let walk = next(&self.flows[flow].steps, &done);
        let is_so = match (status, code) {
            (EndStatus::Succeeded, _) => stopped || walk == Walk::End,
            (EndStatus::Failed, Some(ErrorCode::ExecutionTimeout)) => is_late,
            (EndStatus::Failed, _) => failed.map(|path| Walk::Failed(path.to_owned())) == Some(walk.clone()),
            (EndStatus::Cancelled, _) => cancelled.is_some(),
            (EndStatus::Quarantined, _) => deaths >= LIMITS.max_deaths,
        };
        self.must(is_so && !is_second, || {
            format!("{execution} ends {status:?} ({code:?}) with {walk:?}, {deaths} deaths, cancelled {cancelled:?}")
        });
    }
}
