//! One execution taken up by a user: performs what the state machine decides, as `actors/src/execution/run.rs` does,
//! with a provider that answers by chance.

use crate::journal::Ticket;
use crate::memory::needs;
use crate::mutant::Mutant;
use crate::stage::{Beat, Config, Stage, Timer, ToOwner};
use crate::world::World;
use bytes::Bytes;
use perseat_actors::execution::Room;
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::{Called, Calls, EndStatus, Ended, Entry, Parked, Started, StepRecord, StepStatus};
use perseat_domain::execution::{Draft, DraftLogs, Effect, Event, Limits, Machine, NodeIndex, Outcome, Past, Plan, Verdict};
use perseat_domain::fair::Cost;
use perseat_domain::id::ExecutionId;
use perseat_domain::identity::Identity;
use perseat_domain::model::Sealed;
use perseat_domain::owner::{Turn, UserKey, Wait};
use perseat_domain::time::Timestamp;
use perseat_domain::usage::Through;
use perseat_store::index::{EntryRef, unpack};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const LIMITS: Limits = Limits {
    max_deaths: 3,
    max_activations: 1_000,
};
pub(crate) const TIMEOUT: Duration = Duration::from_secs(400);
/// How long an execution may wait for a credential, from the first time on.
pub(crate) const PARK_LIMIT: Duration = Duration::from_secs(900);
/// When a missing credential is worth another try, where it is.
const AGAIN: Duration = Duration::from_secs(20);
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(crate) struct Activation {
    number: u64,
    turn: Turn,
    began: Duration,
    plan: Arc<Plan>,
    machine: Machine,
    draft: Draft,
    /// Outbound steps that began since its last entry.
    calls: u32,
    is_cancelled: bool,
    is_waiting: bool,
    /// Whether it waits for an append.
    is_writing: bool,
    /// Raised whenever it goes on: what was waited for before no longer counts.
    beat: u64,
    parked_since: Option<Timestamp>,
    /// What it waits for from now on.
    parking: Option<(String, Timestamp)>,
    /// Its memory.
    room: Option<Room>,
}

impl Activation {
    /// The execution, if it was waiting for an append.
    pub(crate) fn left_behind(&self) -> Option<ExecutionId> {
        self.is_writing.then_some(self.turn.execution)
    }

    /// What was gathered, and how often it called since.
    fn take(&mut self, stage: &Stage) -> Vec<Entry> {
        let execution = self.turn.execution;
        let mut entries = self.draft.take(execution, DraftLogs::default(), stage.workload.entry_bytes);
        let count = std::mem::take(&mut self.calls);
        if count > 0 {
            let calls = Calls {
                through: Through::default(),
                is_first: false,
                count,
                sent: 1,
                received: 1,
            };
            entries.push(Entry::Called(Called {
                execution,
                at: at(stage),
                calls: vec![calls],
            }));
        }
        entries
    }
}

/// Why an activation goes no further.
enum Halt {
    /// The execution panicked.
    Fell,
    /// It waits for the credential of this connection.
    Parked(&'static str),
}

impl World {
    /// A user takes up a turn, unless it has to read its configuration first.
    pub(crate) fn start(&mut self, turn: Turn) {
        let delay = self.stage.chance.millis(0, 3);
        let Some(user) = self.stage.alive(turn.user) else { return };
        match &mut user.config {
            Config::Read(binding) => {
                let binding = binding.clone();
                self.launch(turn, &binding);
            }
            Config::Reading => user.waiting.push(turn),
            Config::Unread => {
                user.waiting.push(turn);
                self.read_config(turn.user, delay);
            }
        }
    }

    pub(crate) fn read_config(&mut self, key: UserKey, delay: Duration) {
        if let Some(user) = self.stage.alive(key) {
            user.config = Config::Reading;
            user.reading += 1;
            let (generation, reading) = (user.generation, user.reading);
            self.stage.after(delay, Timer::ConfigRead(key, generation, reading));
        }
    }

    fn launch(&mut self, turn: Turn, binding: &Result<BTreeSet<&'static str>, ErrorCode>) {
        let mut room = self.stage.alive(turn.user).and_then(|user| user.short.take(turn.execution));
        let Some(taken) = self.owner.take_up(&turn) else {
            return self.turn_over(&turn);
        };
        if taken.is_scout {
            let missing = binding.iter().flatten().map(|connection| (*connection).to_owned()).collect();
            self.stage.to_owner.push_back(ToOwner::Usable(turn.user, missing));
        }
        let number = self.stage.number();
        let now = self.stage.now();
        self.stage.model.taken_up(number, turn.execution, now);
        // Without a slot it is taken up to be ended.
        if needs(turn.execution) > 0 && room.is_none() && turn.slot.is_some() {
            room = self.stage.memory.try_claim(&taken.identity, needs(turn.execution));
            if room.is_none() {
                return self.gives_back(number, turn, taken.identity);
            }
        }
        let entries: Vec<Bytes> = match taken.accepted {
            Some(accepted) => vec![accepted],
            None => {
                let read = |at: &EntryRef| Some(unpack(self.stage.journal.read(at.position)?.clone(), at.entries).unwrap());
                match taken.entries.iter().map(read).collect::<Option<Vec<_>>>() {
                    Some(entries) => entries.concat(),
                    None => return self.stage.model.wrong(|| format!("{} has an entry that expired", turn.execution)),
                }
            }
        };
        let mut past = match Past::gather(entries) {
            Ok(past) => past,
            Err(error) => return self.stage.model.wrong(|| format!("{}: {error}", turn.execution)),
        };
        let mut deaths = taken.deaths.total(past.progress.deaths);
        match self.stage.mutant {
            Some(Mutant::RepeatsACompletedStep) => {
                past.steps.pop().and_then(|step| past.progress.done.remove(&step.path));
            }
            Some(Mutant::ForgetsDeaths) => {
                deaths = 0;
                past.progress.deaths = 0;
            }
            _ => {}
        }
        let flow = taken.identity.flow.0 as usize;
        let plan = self.stage.workload.plans[flow].clone();
        let mut activation = Activation {
            number,
            turn,
            began: self.stage.now(),
            machine: Machine::new(plan.clone(), LIMITS),
            plan,
            draft: Draft::default(),
            calls: 0,
            is_cancelled: false,
            is_waiting: false,
            is_writing: false,
            beat: 0,
            parked_since: past.progress.parked_since,
            parking: None,
            room,
        };
        if let Some(user) = self.stage.alive(turn.user) {
            user.running.insert(turn.execution, number);
        }
        if let Some(code) = past.obstacle(binding, deaths, &LIMITS) {
            return self.unable(activation, past.attempt(), code);
        }
        let lacking = binding.as_ref().ok().and_then(|lacking| {
            let waits_for = past.progress.waits_for.as_deref().filter(|_| !past.progress.cancelled)?;
            lacking.contains(waits_for).then(|| waits_for.to_owned())
        });
        if let Some(connection) = lacking {
            let since = past.progress.parked_since.unwrap_or(at(&self.stage));
            if since.after(PARK_LIMIT) <= at(&self.stage) {
                return self.unable(activation, past.attempt(), ErrorCode::ParkedTooLong);
            }
            activation.parking = Some((connection, since));
            self.stage.activations.insert(number, activation);
            return self.is_parked(number);
        }
        // It may also fall before it has written anything.
        if self.stage.chance.one_in(self.stage.workload.faults.panic * 4) {
            return self.fell(activation.number, activation.turn);
        }
        let progress = past.progress;
        self.drive(activation, Event::Begin { progress, deaths });
    }

    /// There is no memory for it: it waits without a slot.
    fn gives_back(&mut self, number: u64, turn: Turn, identity: Identity) {
        self.stage.model.gives_back(number);
        if self.stage.mutant != Some(Mutant::WaitsInItsSlot) {
            self.stage.to_owner.push_back(ToOwner::GaveBack(turn));
        }
        let memory = self.stage.memory.clone();
        if let Some(user) = self.stage.alive(turn.user) {
            user.short.wait(&memory, turn.execution, identity);
        }
    }

    /// An execution that ends before its first step.
    fn unable(&mut self, mut activation: Activation, attempt: u32, code: ErrorCode) {
        let status = match code {
            ErrorCode::Cancelled => EndStatus::Cancelled,
            ErrorCode::Quarantined => EndStatus::Quarantined,
            _ => EndStatus::Failed,
        };
        let ended = ended(&self.stage, &activation, attempt, status, Some(code));
        self.hand_over(&mut activation, &[Entry::Ended(ended)]);
        self.stage.activations.insert(activation.number, activation);
    }

    /// Lets an activation go on with an event.
    pub(crate) fn wake(&mut self, number: u64, event: Event) {
        if let Some(activation) = self.stage.activations.remove(&number) {
            self.drive(activation, event);
        }
    }

    /// A step or a wait came to its end, if it is still the one that the activation waits for.
    pub(crate) fn beat(&mut self, number: u64, beat: u64, what: Beat) {
        if self.stage.activations.get(&number).is_none_or(|activation| activation.beat != beat) {
            return;
        }
        let event = match what {
            Beat::StepEnds(outcome) => {
                self.stage.model.step_ended(number, &outcome);
                Event::StepEnded(outcome)
            }
            Beat::RetryDue => Event::RetryDue,
            Beat::Deadline => Event::DeadlinePassed,
        };
        self.wake(number, event);
    }

    /// Somebody asks a running execution to end: it hears it now if it waits for a step or a retry, else before its next.
    pub(crate) fn cancel(&mut self, number: u64) {
        if let Some(activation) = self.stage.activations.get_mut(&number) {
            activation.is_cancelled = true;
            if activation.is_waiting {
                self.wake(number, Event::CancelRequested);
            }
        }
    }

    fn drive(&mut self, mut activation: Activation, event: Event) {
        activation.beat += 1;
        activation.is_waiting = false;
        activation.is_writing = false;
        let mut next = Some(event);
        while let Some(event) = next.take() {
            for effect in activation.machine.on(event) {
                match self.perform(&mut activation, effect) {
                    Ok(event) => next = event.or(next),
                    Err(Halt::Fell) => return self.fell(activation.number, activation.turn),
                    Err(Halt::Parked(connection)) => return self.park(activation, connection),
                }
            }
        }
        self.stage.activations.insert(activation.number, activation);
    }

    fn perform(&mut self, activation: &mut Activation, effect: Effect) -> Result<Option<Event>, Halt> {
        let stage = &mut self.stage;
        match effect {
            Effect::WriteStarted { activation: count, deaths } => {
                stage.model.begins(activation.number);
                activation.draft.started(started(stage, activation, count, deaths));
                Ok(None)
            }
            Effect::WriteStep {
                node,
                status,
                branch,
                tries,
            } => {
                let path = activation.plan.node(node).path.clone();
                stage.model.result(activation.number, &path, status, branch.as_deref(), tries);
                let record = record(stage, path, status, tries);
                activation.draft.step(record, branch);
                Ok(None)
            }
            Effect::Flush => {
                let entries = activation.take(stage);
                if entries.is_empty() {
                    return Ok(Some(Event::Flushed));
                }
                let holds_start = entries.iter().any(|entry| matches!(entry, Entry::Started(_)));
                if stage.mutant == Some(Mutant::SkipsTheFlush) && !holds_start {
                    stage.append(&entries, Ticket::Nobody);
                    return Ok(Some(Event::Flushed));
                }
                activation.is_writing = true;
                stage.append(&entries, Ticket::Flushed(activation.number, activation.turn));
                Ok(None)
            }
            Effect::Perform { node, tries } => step(stage, activation, node, tries),
            Effect::Sleep(delay) => {
                let delay = match stage.mutant {
                    Some(Mutant::RetriesAtOnce) => delay / 2,
                    _ => delay,
                };
                wait(stage, activation, delay, Beat::RetryDue);
                Ok(None)
            }
            Effect::Abandon => {
                stage.model.abandoned(activation.number);
                Ok(None)
            }
            Effect::Finish(verdict) => {
                let last = last(stage, activation, verdict);
                self.hand_over(activation, &last);
                Ok(None)
            }
        }
    }

    /// It is through: its user has nothing to do with it any more.
    fn hand_over(&mut self, activation: &mut Activation, last: &[Entry]) {
        let (number, turn) = (activation.number, activation.turn);
        match activation.room.take() {
            Some(room) if self.stage.mutant == Some(Mutant::KeepsItsMemory) => self.stage.kept.push(room),
            _ => {}
        }
        if self.stage.mutant != Some(Mutant::LosesWhatEnds) && !self.owner.ending(turn.execution) {
            return self.stage.model.wrong(|| format!("{} ends and does not run", turn.execution));
        }
        self.stage.append(last, Ticket::Ended(number));
        self.stage.model.ends(number);
        if let Some(user) = self.stage.alive(turn.user) {
            user.running.remove(&turn.execution);
        }
    }

    /// It makes durable that it waits.
    fn park(&mut self, mut activation: Activation, connection: &str) {
        let stage = &mut self.stage;
        let (execution, now) = (activation.turn.execution, at(stage));
        let since = activation.parked_since.unwrap_or(now);
        let mut entries = activation.take(stage);
        entries.push(Entry::Parked(Parked {
            execution,
            at: now,
            since,
            connection: connection.to_owned(),
        }));
        activation.is_writing = true;
        activation.parking = Some((connection.to_owned(), since));
        stage.append(&entries, Ticket::Parked(activation.number, activation.turn));
        stage.activations.insert(activation.number, activation);
    }

    /// That it waits is durable: its user gives the slot back.
    pub(crate) fn is_parked(&mut self, number: u64) {
        let Some(activation) = self.stage.activations.remove(&number) else {
            return;
        };
        let turn = activation.turn;
        let Some((connection, since)) = activation.parking else { return };
        self.stage.model.parks(number);
        let (now, is_passing) = (at(&self.stage), self.stage.workload.is_passing);
        let Some(user) = self.stage.alive(turn.user) else { return };
        user.running.remove(&turn.execution);
        user.has_parked = true;
        // What it lacked may be back by now, and nobody would say so again.
        let is_missing = match &user.config {
            Config::Read(Ok(missing)) => missing.contains(connection.as_str()),
            Config::Reading => true,
            Config::Unread | Config::Read(Err(_)) => false,
        };
        let again = match (is_missing, is_passing) {
            (false, _) => Some(now),
            (true, true) => Some(now.after(AGAIN)),
            (true, false) => None,
        };
        let wait = Wait {
            connection,
            until: since.after(PARK_LIMIT),
            again,
        };
        let cost = Cost {
            slot: self.stage.now().saturating_sub(activation.began),
            cpu: Duration::ZERO,
        };
        if self.stage.mutant != Some(Mutant::KeepsTheParkedSlot) {
            self.stage.to_owner.push_back(ToOwner::Park(turn, cost, wait));
        }
    }

    /// The execution panicked: it lines up again.
    fn fell(&mut self, number: u64, turn: Turn) {
        self.stage.model.lost(number, true);
        if let Some(user) = self.stage.alive(turn.user) {
            user.running.remove(&turn.execution);
        }
        if self.stage.mutant == Some(Mutant::AbandonsTheDead) {
            return;
        }
        self.stage.to_owner.push_back(ToOwner::Fell(turn));
    }

    /// The end is durable, whatever became of its user meanwhile.
    pub(crate) fn is_over(&mut self, number: u64) {
        let Some(activation) = self.stage.activations.remove(&number) else {
            return;
        };
        let turn = activation.turn;
        let cost = Cost {
            slot: self.stage.now().saturating_sub(activation.began),
            cpu: Duration::ZERO,
        };
        self.stage.model.slot_freed(&turn);
        if self.stage.mutant != Some(Mutant::KeepsItsSlot) {
            self.owner.over(&turn, Some(cost));
        }
    }
}

/// Performs a step: cancellation first, then the deadline, then whatever the provider does.
fn step(stage: &mut Stage, activation: &mut Activation, node: NodeIndex, tries: u8) -> Result<Option<Event>, Halt> {
    let now = stage.now();
    let left = (activation.began + TIMEOUT).saturating_sub(now);
    if activation.is_cancelled {
        return Ok(Some(Event::CancelRequested));
    }
    if left.is_zero() && stage.mutant != Some(Mutant::IgnoresTheDeadline) {
        return Ok(Some(Event::DeadlinePassed));
    }
    let plan = activation.plan.clone();
    let node = plan.node(node);
    let user = activation.turn.user;
    let lacking = stage.lacking(user).into_iter();
    let lacks = lacking.into_iter().find(|connection| node.step.action.component == *connection);
    if let Some(connection) = lacks
        && stage.mutant != Some(Mutant::WorksWithoutACredential)
    {
        return Err(Halt::Parked(connection));
    }
    stage.model.call(activation.number, &node.path, tries, node.nature.is_outbound, now);
    activation.calls += u32::from(node.nature.is_outbound);
    if stage.chance.one_in(stage.workload.faults.panic) {
        return Err(Halt::Fell);
    }
    let (outcome, takes) = answer(stage, &node.branches.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>());
    let takes = if node.nature.is_outbound { takes } else { takes / 50 };
    wait(stage, activation, takes.min(STEP_TIMEOUT), Beat::StepEnds(outcome));
    Ok(None)
}

/// What a step does and how long it takes; one that hangs is failed by its time-out.
fn answer(stage: &mut Stage, branches: &[&str]) -> (Outcome, Duration) {
    let chance = &mut stage.chance;
    let takes = chance.millis(1, 400);
    let failed = |code, is_retryable| Outcome::Failed { code, is_retryable };
    match chance.below(40) {
        0..=6 => (failed(ErrorCode::StepFailed, true), takes),
        7 | 8 => (failed(ErrorCode::StepFailed, false), takes),
        9 | 10 => (failed(ErrorCode::StepTimeout, true), STEP_TIMEOUT * 50),
        11 => (Outcome::Stopped, takes),
        _ if branches.is_empty() => (Outcome::Done, takes),
        12 => (Outcome::Branch("none of them".into()), takes),
        other => (Outcome::Branch(branches[other % branches.len()].to_owned()), takes),
    }
}

fn wait(stage: &mut Stage, activation: &mut Activation, span: Duration, beat: Beat) {
    activation.is_waiting = true;
    let left = (activation.began + TIMEOUT).saturating_sub(stage.now());
    let (number, count) = (activation.number, activation.beat);
    if left <= span && stage.mutant != Some(Mutant::IgnoresTheDeadline) {
        stage.after(left, Timer::Beat(number, count, Beat::Deadline));
    } else {
        stage.after(span, Timer::Beat(number, count, beat));
    }
}

/// What is left to be written, and the end.
fn last(stage: &mut Stage, activation: &mut Activation, verdict: Verdict) -> Vec<Entry> {
    let failed = verdict.failed.map(|node| activation.plan.node(node).path.clone());
    let now = stage.now();
    stage
        .model
        .verdict(activation.number, verdict.status, verdict.code, failed.as_deref(), now);
    let mut entries = activation.take(stage);
    entries.push(Entry::Ended(ended(stage, activation, 1, verdict.status, verdict.code)));
    entries
}

pub(crate) fn at(stage: &Stage) -> Timestamp {
    perseat_actors::kit::Clock::now(&stage.clock)
}

fn started(stage: &Stage, activation: &Activation, count: u32, deaths: u32) -> Started {
    Started {
        execution: activation.turn.execution,
        attempt: 1,
        activation: count,
        deaths,
        definition_version: 1,
        instance_revision: 1,
        user_revision: 1,
        at: at(stage),
    }
}

fn record(stage: &Stage, path: String, status: StepStatus, tries: u8) -> StepRecord {
    StepRecord {
        name: path.clone(),
        path,
        status,
        started_at: at(stage),
        ended_at: at(stage),
        output: Sealed(vec![1; 24]),
        masks: Vec::new(),
        credentials: Vec::new(),
        tries,
    }
}

fn ended(stage: &Stage, activation: &Activation, attempt: u32, status: EndStatus, code: Option<ErrorCode>) -> Ended {
    Ended {
        execution: activation.turn.execution,
        attempt,
        status,
        code,
        failed_step: None,
        message: None,
        response: None,
        cost: (0, 0),
        at: at(stage),
    }
}
