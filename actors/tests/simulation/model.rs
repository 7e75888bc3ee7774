//! What must hold, said as simply as possible and by none of the code that it judges.
//!
//! The model hears what became durable, what clients and the provider saw, and whose turn came. It keeps sets and
//! counts; it decides nothing.

mod memory;
mod parked;
mod steps;

use crate::execution::PARK_LIMIT;
use crate::report::Report;
use crate::workload::Workload;
use bytes::Bytes;
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::Flow;
use perseat_domain::entry::{EndStatus, Entry, StepStatus};
use perseat_domain::execution::Outcome;
use perseat_domain::fair::FairOptions;
use perseat_domain::id::ExecutionId;
use perseat_domain::identity::Identity;
use perseat_domain::owner::{Refusal, Turn, UserKey, Wait};
use perseat_domain::time::Timestamp;
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
    /// When a full mailbox last kept that from it in this life of the process.
    unheard: Option<Duration>,
    /// Whether it is in the owner's table.
    is_known: bool,
    /// Deaths under it in this life of the process, once its start was durable or before any was written.
    deaths: u32,
    /// Deaths under it in all.
    deaths_ever: u32,
    /// How often each step was begun anew, and how often it may have been.
    begun: BTreeMap<String, (u32, u32)>,
    running: Option<Running>,
    /// When it had to wait for a credential for the first time.
    parked_since: Option<Timestamp>,
    /// Whether its last activation is over and its owner has not heard yet that it waits.
    is_resting: bool,
    /// Whether it waits for memory.
    is_short: bool,
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
    /// Whether it has handed over its end.
    is_through: bool,
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
    /// What waits for a credential, in order.
    parked: BTreeMap<UserKey, BTreeMap<(u64, ExecutionId), Wait>>,
    /// Who of them finds out.
    scouts: parked::Scouts,
    /// When the users of those are worth another try.
    again: BTreeMap<UserKey, Timestamp>,
    /// Those of which the owner has seen that they waited long enough, until they have their turn.
    given_up: BTreeSet<ExecutionId>,
    /// Accounts whose credential is missing.
    missing: BTreeSet<(UserKey, String)>,
    /// Handed to their user with a slot.
    handed: BTreeMap<ExecutionId, Turn>,
    /// Users that could not be reached and of whom nothing was heard since.
    unreachable: BTreeMap<UserKey, Refusal>,
    /// Appends that dead actors left behind, and users that are back but for those.
    unsettled: BTreeMap<ExecutionId, u32>,
    returning: BTreeSet<UserKey>,
    /// How the slots are shared.
    fair: FairOptions,
    /// Whether nothing that waits stands apart because of what others hold: then whose turn it is is known.
    is_in_order: bool,
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
            parked: BTreeMap::new(),
            scouts: parked::Scouts::default(),
            again: BTreeMap::new(),
            given_up: BTreeSet::new(),
            missing: BTreeSet::new(),
            handed: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            returning: BTreeSet::new(),
            fair: workload.fair,
            is_in_order: workload.shares.user == u64::MAX,
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
                unheard: None,
                is_known: false,
                deaths: 0,
                deaths_ever: 0,
                begun: BTreeMap::new(),
                running: None,
                parked_since: None,
                is_resting: false,
                is_short: false,
            };
            let twice = self.stories.insert(execution, story).is_some();
            return self.must(!twice, || format!("{execution} was accepted twice"));
        }
        let Some(story) = self.stories.get_mut(&execution) else {
            return self.wrong(|| format!("{execution} has an entry before it was accepted"));
        };
        let had_ended = story.ended.is_some();
        let (mut is_repeated, mut waited) = (None, true);
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
            Entry::Parked(parked) => waited = *story.parked_since.get_or_insert(parked.since) == parked.since,
            Entry::Ended(ended) => {
                if ended.code == Some(ErrorCode::ParkedTooLong) {
                    waited = story.parked_since.is_some_and(|since| since.after(PARK_LIMIT) <= ended.at);
                }
                story.ended = Some(ended.status);
                self.report.ended(ended.status, ended.code);
            }
            // Whoever asks for an end or carries may come too late.
            Entry::Cancelled(_) => {
                story.is_to_end = true;
                return;
            }
            Entry::Called(_) => {}
            Entry::Carried(_) | Entry::Accepted(_) => return,
        }
        self.must(!had_ended, || format!("{execution} goes on after its end, or ends twice"));
        self.must(waited, || {
            format!("how long {execution} waited for a credential is not as it was written down")
        });
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
                let place = (story.order, execution);
                self.unparked(user, place);
                self.finds_out_no_more(user, place);
            }
            Entry::Started(_) => {
                if let Some(story) = self.stories.get(&execution) {
                    let place = (story.order, execution);
                    self.scouts.went_on(UserKey::of(&story.identity), place);
                }
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
        if let Some(story) = self.stories.get(&turn.execution) {
            let place = (story.order, turn.execution);
            // Its end was asked for, and it need not wait for that.
            if turn.slot.is_none() {
                if self.unparked(turn.user, place).is_some() | self.is_short_no_more(turn.execution) {
                    self.lined_up(turn.execution);
                }
                self.finds_out_no_more(turn.user, place);
            }
        }
        let is_given_up = turn.slot.is_none() && self.given_up.remove(&turn.execution);
        let line = self.lines.entry(turn.user).or_default();
        let first = line.first().map(|(_, execution)| *execution);
        let cancelled = self.stories.get(&turn.execution).is_some_and(|story| story.cancelled.is_some());
        if turn.slot.is_some() {
            let execution = turn.execution;
            let is_in_order = self.is_in_order;
            self.must(!is_in_order || first == Some(execution), || {
                format!("{execution} has its turn before {first:?}, which waits longer at the same user")
            });
            let passed_over = self.passed_over(turn.user);
            self.must(!is_in_order || passed_over.is_none(), || {
                format!("{execution} has its turn above its user's share, and {passed_over:?} waits below its own")
            });
        } else {
            self.must(cancelled || is_given_up, || {
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
        for (execution, story) in &mut self.stories {
            let user = UserKey::of(&story.identity);
            if which(&user) {
                // Nobody tells its owner any more that it waits: it counts as a death.
                story.deaths_ever += u32::from(std::mem::take(&mut story.is_resting));
                story.is_short = false;
                self.unreachable.insert(user, Refusal::Down);
                self.returning.remove(&user);
                let is_through = story.running.as_ref().is_some_and(|running| running.is_through);
                let is_parked = self.parked.get(&user).is_some_and(|of| of.contains_key(&(story.order, *execution)));
                again.extend((story.is_known && !is_through && !is_parked).then_some(*execution));
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
        let held = self.held();
        let waiting = self.unreachable.keys().filter(|user| which(user) && held.contains(user));
        self.returning.extend(waiting);
        self.unreachable.retain(|user, _| !which(user) || held.contains(user));
        let withheld: BTreeSet<UserKey> = self.unreachable.keys().copied().collect();
        self.try_parked(|user| which(user) && !withheld.contains(user));
    }

    /// Users of whom some append is not known to have become durable.
    fn held(&self) -> BTreeSet<UserKey> {
        // What an execution that ended was writing is of no consequence.
        let open = self.unsettled.iter().filter(|(_, count)| **count > 0);
        let stories = open.filter_map(|(execution, _)| self.stories.get(execution));
        stories
            .filter(|story| story.is_known)
            .map(|story| UserKey::of(&story.identity))
            .collect()
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
        let busy = self.unreachable.iter().filter(|(_, why)| **why == Refusal::Busy);
        let busy: BTreeSet<UserKey> = busy.map(|(user, _)| *user).collect();
        self.unreachable.retain(|user, _| !busy.contains(user));
        self.try_parked(|user| busy.contains(user));
    }

    /// A running execution does not hear for now that it is to end.
    pub(crate) fn not_heard(&mut self, execution: ExecutionId, now: Duration) {
        if let Some(story) = self.stories.get_mut(&execution) {
            story.unheard = Some(now);
        }
    }

    /// Users that can be reached and of whom something waits.
    fn waiting(&self) -> impl Iterator<Item = UserKey> {
        let waits = |(user, line): &(&UserKey, &BTreeSet<(u64, ExecutionId)>)| !line.is_empty() && !self.unreachable.contains_key(user);
        self.lines.iter().filter(waits).map(|(user, _)| *user)
    }

    fn is_below_its_share(&self, user: UserKey) -> bool {
        let runs = self.handed.values().filter(|turn| turn.user == user).count() as u32;
        runs < (self.fair.slots / self.fair.user_divisor).max(1)
    }

    /// Who waits below their share, if this user is not below its own.
    fn passed_over(&self, served: UserKey) -> Option<UserKey> {
        let is_above = !self.is_below_its_share(served);
        is_above.then(|| self.waiting().find(|user| self.is_below_its_share(*user)))?
    }

    /// Every slot that may be used is used.
    pub(crate) fn granted(&mut self, running: u32) {
        let (free, reserve) = (self.fair.slots - running, self.fair.slots / self.fair.reserve_divisor);
        let handed = self.handed.len();
        self.must(running as usize == handed, || {
            format!("{running} slots are taken, {handed} turns are not over")
        });
        let mut waiting = self.waiting();
        let idle = waiting.find(|user| free > 0 && (free > reserve || self.is_below_its_share(*user)));
        drop(waiting);
        self.must(!self.is_in_order || idle.is_none(), || {
            format!("{free} slots are free and {idle:?} waits")
        });
    }

    pub(crate) fn jumped(&mut self) {
        self.report.jumps += 1;
    }

    pub(crate) fn time(&mut self, now: Duration) {
        self.now = now;
    }

    /// An activation has handed over its end.
    pub(crate) fn ends(&mut self, number: u64) {
        if let Some((story, _)) = self.running(number)
            && let Some(running) = &mut story.running
        {
            running.is_through = true;
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
        self.parked.clear();
        self.scouts = parked::Scouts::default();
        self.again.clear();
        self.given_up.clear();
        for story in self.stories.values_mut() {
            story.deaths = 0;
            story.is_known = false;
            story.is_resting = false;
            story.is_short = false;
            story.unheard = None;
            story.running = None;
            if story.is_to_end {
                story.cancelled.get_or_insert(self.now);
            }
        }
    }
}
