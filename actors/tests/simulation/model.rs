//! What must hold, said as simply as possible and by none of the code that it judges.
//!
//! The model hears what became durable, what clients and the provider saw, and whose turn came. It keeps sets and
//! counts; it decides nothing.

use crate::execution::{LIMITS, TIMEOUT};
use crate::report::Report;
use crate::stage::TIDY_EVERY;
use crate::walk::{Walk, expected_delay, find, next, settled};
use crate::workload::Workload;
use bytes::Bytes;
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::Flow;
use perseat_domain::entry::{EndStatus, Entry, StepStatus};
use perseat_domain::execution::Outcome;
use perseat_domain::fair::FairOptions;
use perseat_domain::id::ExecutionId;
use perseat_domain::identity::Identity;
use perseat_domain::owner::{Refusal, Turn, UserKey};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Steps with a result: how they ended and which branch they chose.
pub(crate) type Done = BTreeMap<String, (StepStatus, Option<String>)>;

/// What is known of one execution.
#[derive(Debug)]
struct Story {
    identity: Identity,
    order: u64,
    has_receipt: bool,
    ended: Option<EndStatus>,
    /// Durable results, and the branches that were chosen.
    done: Done,
    branches: BTreeMap<String, String>,
    /// Whether some start is durable.
    started: bool,
    /// Whether its end was durably asked for, and when the owner heard of it.
    is_to_end: bool,
    cancelled: Option<Duration>,
    /// Whether it is in the owner's table.
    is_known: bool,
    /// Deaths under it in this life of the process, once its start was durable or before any was written.
    deaths: u32,
    /// Deaths under it in all.
    deaths_ever: u32,
    /// How often each step was begun anew, and how often it may have been.
    begun: BTreeMap<String, (u32, u32)>,
    running: Option<Running>,
}

/// One activation.
#[derive(Debug)]
struct Running {
    number: u64,
    began: Duration,
    /// What it knows to be done: what was durable, and its own results.
    done: Done,
    start_is_durable: bool,
    /// Whether it wrote a start.
    has_begun: bool,
    /// The step that it performs: path, tries before, whether it has answered.
    open: Option<Open>,
    /// The step that was open when its end was decided: until that is durable it may be repeated, too.
    left: Option<String>,
    stopped: bool,
    verdict: bool,
    over: bool,
}

#[derive(Debug)]
struct Open {
    path: String,
    tries: u8,
    outcome: Option<Outcome>,
    ended_at: Duration,
}

#[derive(Debug)]
pub(crate) struct Model {
    flows: Vec<Flow>,
    stories: BTreeMap<ExecutionId, Story>,
    receipts: BTreeSet<ExecutionId>,
    activations: BTreeMap<u64, ExecutionId>,
    /// Delivered and not handed to their user: who waits, in order.
    lines: BTreeMap<UserKey, BTreeSet<(u64, ExecutionId)>>,
    /// Handed to their user with a slot.
    handed: BTreeMap<ExecutionId, Turn>,
    /// Users that could not be reached and of whom nothing was heard since.
    unreachable: BTreeMap<UserKey, Refusal>,
    /// Appends that dead actors left behind, and users that are back but for those.
    unsettled: BTreeMap<ExecutionId, u32>,
    returning: BTreeSet<UserKey>,
    /// How long after its cancellation was delivered an execution may still begin a step: the way to it, and the next
    /// looks at full mailboxes.
    cancel_within: Duration,
    now: Duration,
    report: Report,
    violation: Option<String>,
}

impl Model {
    pub(crate) fn new(workload: &Workload) -> Self {
        Self {
            flows: workload.flows.clone(),
            stories: BTreeMap::new(),
            receipts: BTreeSet::new(),
            activations: BTreeMap::new(),
            lines: BTreeMap::new(),
            handed: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            returning: BTreeSet::new(),
            cancel_within: TIDY_EVERY * if workload.faults.busy > 0 { 12 } else { 1 },
            now: Duration::ZERO,
            report: Report::default(),
            violation: None,
        }
    }

    pub(crate) fn must(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(format!("at {:?}: {}", self.now, otherwise()));
        }
    }

    pub(crate) fn wrong(&mut self, what: impl FnOnce() -> String) {
        self.must(false, what);
    }

    pub(crate) fn violation(&self) -> Option<String> {
        self.violation.clone()
    }

    pub(crate) fn unfinished(&self) -> String {
        let open = self.stories.iter().filter(|(_, story)| story.ended.is_none());
        let open: Vec<_> = open
            .map(|(id, story)| (id.0.as_u128(), story.running.is_some(), story.done.len()))
            .collect();
        format!("{open:?}, unreachable {:?}", self.unreachable)
    }

    pub(crate) fn all_ended(&self) -> bool {
        self.stories.values().all(|story| story.ended.is_some())
    }

    pub(crate) fn is_live(&self, execution: ExecutionId) -> bool {
        self.stories.get(&execution).is_some_and(|story| story.ended.is_none())
    }

    /// Everything is over.
    pub(crate) fn finish(mut self) -> Result<Report, String> {
        let lost = self.receipts.iter().find(|id| !self.stories.contains_key(id)).copied();
        self.must(lost.is_none(), || format!("{lost:?} was acknowledged and lost"));
        self.report.executions = self.stories.len() as u64;
        self.report.receipts = self.receipts.len() as u64;
        self.violation.map_or(Ok(self.report), Err)
    }

    /// A client got 200.
    pub(crate) fn receipt(&mut self, execution: ExecutionId) {
        self.receipts.insert(execution);
        if let Some(story) = self.stories.get_mut(&execution) {
            story.has_receipt = true;
        }
    }

    pub(crate) fn refused(&mut self) {
        self.report.refused += 1;
    }

    /// An entry is on disk.
    pub(crate) fn durable(&mut self, position: u64, payload: &Bytes) {
        let entry = Entry::decode(payload).unwrap();
        self.report.wrote(&entry, position);
        let execution = entry.execution();
        if let Entry::Accepted(accepted) = &entry {
            let story = Story {
                identity: accepted.identity.unwrap(),
                order: position,
                has_receipt: false,
                ended: None,
                done: Done::new(),
                branches: BTreeMap::new(),
                started: false,
                is_to_end: false,
                cancelled: None,
                is_known: false,
                deaths: 0,
                deaths_ever: 0,
                begun: BTreeMap::new(),
                running: None,
            };
            let twice = self.stories.insert(execution, story).is_some();
            return self.must(!twice, || format!("{execution} was accepted twice"));
        }
        let Some(story) = self.stories.get_mut(&execution) else {
            return self.wrong(|| format!("{execution} has an entry before it was accepted"));
        };
        let had_ended = story.ended.is_some();
        let mut is_repeated = None;
        match entry {
            Entry::Started(_) => {
                story.started = true;
                if let Some(running) = &mut story.running {
                    running.start_is_durable = true;
                }
            }
            Entry::StepsDone(done) => {
                story.branches.extend(done.branches);
                for step in done.steps {
                    let branch = story.branches.get(&step.path).cloned();
                    let before = story.done.insert(step.path.clone(), (step.status, branch));
                    is_repeated = is_repeated.or(before.map(|_| step.path));
                }
            }
            Entry::Ended(ended) => {
                story.ended = Some(ended.status);
                self.report.ended(ended.status, ended.code);
            }
            // Whoever asks for an end or carries may come too late.
            Entry::Cancelled(_) => {
                story.is_to_end = true;
                return;
            }
            Entry::Parked(_) | Entry::Called(_) | Entry::Carried(_) | Entry::Accepted(_) => return,
        }
        self.must(!had_ended, || format!("{execution} goes on after its end, or ends twice"));
        self.must(is_repeated.is_none(), || {
            format!("{execution} has two results of step {is_repeated:?}")
        });
    }

    /// The owner hears of an entry.
    pub(crate) fn delivered(&mut self, entry: &Entry, now: Duration) {
        self.now = now;
        let execution = entry.execution();
        match entry {
            Entry::Accepted(_) => self.lined_up(execution),
            Entry::Cancelled(_) => {
                if let Some(story) = self.stories.get_mut(&execution) {
                    story.cancelled.get_or_insert(now);
                }
            }
            Entry::Ended(_) => {
                let Some(story) = self.stories.get_mut(&execution) else { return };
                story.is_known = false;
                let user = UserKey::of(&story.identity);
                self.lines.entry(user).or_default().remove(&(story.order, execution));
            }
            _ => {}
        }
    }

    /// An execution waits for its turn.
    pub(crate) fn lined_up(&mut self, execution: ExecutionId) {
        let Some(story) = self.stories.get_mut(&execution) else { return };
        story.is_known = true;
        let user = UserKey::of(&story.identity);
        self.lines.entry(user).or_default().insert((story.order, execution));
    }

    /// The owner gives an execution its turn.
    pub(crate) fn turn(&mut self, turn: &Turn, refusal: Option<Refusal>, now: Duration) {
        self.now = now;
        let line = self.lines.entry(turn.user).or_default();
        let first = line.first().map(|(_, execution)| *execution);
        let cancelled = self.stories.get(&turn.execution).is_some_and(|story| story.cancelled.is_some());
        if turn.slot.is_some() {
            let execution = turn.execution;
            self.must(first == Some(execution), || {
                format!("{execution} has its turn before {first:?}, which waits longer at the same user")
            });
        } else {
            self.must(cancelled, || {
                format!("{} goes out of turn and nobody asked for its end", turn.execution)
            });
        }
        if let Some(why) = refusal {
            self.unreachable.insert(turn.user, why);
            return;
        }
        if let Some(story) = self.stories.get(&turn.execution) {
            let place = (story.order, turn.execution);
            self.lines.entry(turn.user).or_default().remove(&place);
        }
        if turn.slot.is_some() {
            self.handed.insert(turn.execution, *turn);
        }
    }

    pub(crate) fn not_started(&mut self, turn: &Turn, why: Refusal) {
        self.slot_freed(turn);
        // One that is down is not merely busy because of a turn from before.
        let before = self.unreachable.entry(turn.user).or_insert(why);
        if *before == Refusal::Busy {
            *before = why;
        }
        if self.stories.get(&turn.execution).is_some_and(|story| story.is_known) {
            self.lined_up(turn.execution);
        }
    }

    /// A turn is over, unless its user died meanwhile: its execution may have its next turn by now.
    pub(crate) fn slot_freed(&mut self, turn: &Turn) {
        if self.handed.get(&turn.execution) == Some(turn) {
            self.handed.remove(&turn.execution);
        }
    }

    /// The actors of these users died: what they had waits again.
    pub(crate) fn died(&mut self, which: impl Fn(&UserKey) -> bool) {
        let mut again = Vec::new();
        for (execution, story) in &self.stories {
            let user = UserKey::of(&story.identity);
            if which(&user) {
                self.unreachable.insert(user, Refusal::Down);
                self.returning.remove(&user);
                let is_over = story.running.as_ref().is_some_and(|running| running.over);
                again.extend((story.is_known && !is_over).then_some(*execution));
            }
        }
        self.handed.retain(|_, turn| !which(&turn.user));
        again.into_iter().for_each(|execution| self.lined_up(execution));
    }

    /// An execution died under its user: it waits again.
    pub(crate) fn fell(&mut self, turn: &Turn) {
        self.slot_freed(turn);
        if self.stories.get(&turn.execution).is_some_and(|story| story.is_known) {
            self.lined_up(turn.execution);
        }
    }

    /// Users are back, unless it is not known yet what their last actors wrote.
    pub(crate) fn back(&mut self, which: impl Fn(&UserKey) -> bool) {
        // What an execution that ended was writing is of no consequence.
        let open = self.unsettled.iter().filter(|(_, count)| **count > 0);
        let stories = open.filter_map(|(execution, _)| self.stories.get(execution));
        let users: BTreeSet<UserKey> = stories
            .filter(|story| story.is_known)
            .map(|story| UserKey::of(&story.identity))
            .collect();
        let held = |user: &UserKey| users.contains(user);
        let waiting = self.unreachable.keys().filter(|user| which(user) && held(user));
        self.returning.extend(waiting);
        self.unreachable.retain(|user, _| !which(user) || held(user));
    }

    pub(crate) fn unsettled(&mut self, execution: ExecutionId) {
        *self.unsettled.entry(execution).or_default() += 1;
    }

    pub(crate) fn settled(&mut self, user: UserKey, execution: ExecutionId) {
        let count = self.unsettled.entry(execution).or_default();
        *count = count.saturating_sub(1);
        if self.returning.remove(&user) {
            self.back(|other| *other == user);
        }
    }

    /// Full mailboxes are tried again.
    pub(crate) fn caught_up(&mut self) {
        self.unreachable.retain(|_, why| *why != Refusal::Busy);
    }

    /// Every slot that may be used is used, and by those below their share first.
    pub(crate) fn granted(&mut self, running: u32, options: &FairOptions) {
        let (free, share) = (options.slots - running, (options.slots / options.user_divisor).max(1));
        let reserve = options.slots / options.reserve_divisor;
        let handed = self.handed.len();
        self.must(running as usize == handed, || {
            format!("{running} slots are taken, {handed} turns are not over")
        });
        let waits = |(user, line): &(&UserKey, &BTreeSet<(u64, ExecutionId)>)| !line.is_empty() && !self.unreachable.contains_key(user);
        let idle = self.lines.iter().filter(waits).find(|(user, _)| {
            let runs = self.handed.values().filter(|turn| turn.user == **user).count() as u32;
            free > 0 && (runs < share || free > reserve)
        });
        let idle = idle.map(|(user, _)| *user);
        self.must(idle.is_none(), || format!("{free} slots are free and {idle:?} waits"));
    }

    fn running(&mut self, number: u64) -> Option<(&mut Story, ExecutionId)> {
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
            over: false,
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
        let cancel_within = self.cancel_within;
        let Some((story, execution)) = self.running(number) else {
            return self.wrong(|| format!("activation {number} is gone and performs step {path}"));
        };
        let flow = story.identity.flow.0 as usize;
        let (has_ended, cancelled) = (story.ended.is_some(), story.cancelled);
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
        self.must(cancelled.is_none_or(|at| now <= at + cancel_within), || {
            format!("{execution} performs step {path} although it was cancelled at {cancelled:?}")
        });
        self.must(deaths < LIMITS.max_deaths, || format!("{execution} runs after {deaths} deaths"));
        let expected = next(&self.flows[flow].steps, &done);
        self.must(expected == Walk::Next(path.to_owned()), || {
            format!("{execution} performs step {path}, expected {expected:?}")
        });
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

    pub(crate) fn time(&mut self, now: Duration) {
        self.now = now;
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

    /// An activation's end is durable.
    pub(crate) fn over(&mut self, number: u64) {
        if let Some((story, _)) = self.running(number)
            && let Some(running) = &mut story.running
        {
            running.over = true;
        }
    }

    /// An activation is no more, by the death of an actor or of the process.
    pub(crate) fn lost(&mut self, number: u64, by_death: bool) {
        self.report.deaths += u64::from(by_death);
        let Some((story, _)) = self.running(number) else { return };
        let Some(running) = story.running.take() else { return };
        let is_counted = running.start_is_durable || !running.has_begun;
        story.deaths += u32::from(by_death && is_counted);
        story.deaths_ever += u32::from(by_death);
        // The step in flight may be repeated, and those whose results were not written.
        let open = running.open.map(|open| open.path).or(running.left);
        for path in running.done.into_keys().filter(|path| !story.done.contains_key(path)).chain(open) {
            story.begun.entry(path).or_insert((0, 1)).1 += 1;
        }
    }

    pub(crate) fn crashed(&mut self) {
        self.report.crashed();
        let numbers: Vec<u64> = self.activations.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.lost(number, false));
        self.activations.clear();
        self.lines.clear();
        self.handed.clear();
        self.unreachable.clear();
        self.unsettled.clear();
        self.returning.clear();
        for story in self.stories.values_mut() {
            story.deaths = 0;
            story.is_known = false;
            story.running = None;
            if story.is_to_end {
                story.cancelled.get_or_insert(self.now);
            }
        }
    }
}
