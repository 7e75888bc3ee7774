//! One seed from its first event to the end of its last execution.

use crate::chance::Chance;
use crate::disk::{Disk, Row};
use crate::executions::{Execution, Running, Work};
use crate::holder::{Call, Holder, Reading, Write};
use crate::model::Model;
use crate::mutant::Mutant;
use crate::plan::{BEGIN, CALM, Incident, Plan};
use crate::provider::{Answer, Provider, Token};
use crate::report::Report;
use crate::stage::{self, Stage};
use perseat_domain::grant::{Grant, Renewed, Status, Wrote};
use perseat_domain::owner::Owner;
use perseat_domain::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// A seed that is not through by then has come to a stop.
const STEPS_MAX: usize = 50_000;

#[derive(Debug)]
pub(crate) enum Event {
    Incident(Incident),
    /// A row was read.
    Loaded(u64),
    /// A write is tried again.
    Store(u64),
    Lands(Box<Write>),
    Told(Box<Write>, Wrote),
    Arrives(Call),
    /// None where nobody answered.
    Answered(u64, Option<Answer>),
    ConsentTold(usize),
    Worked(Work),
    Pump,
    Look,
    UserBack(usize),
    Restart,
}

impl Event {
    /// The name of a step of a renewal.
    fn step(&self) -> Option<&'static str> {
        Some(match self {
            Self::Loaded(_) => "before it is begun",
            Self::Lands(write) if write.is_intent() => "before an intent is durable",
            Self::Told(write, _) if write.is_intent() => "after an intent is durable",
            Self::Arrives(_) => "before the provider is reached",
            Self::Answered(..) => "before the answer is heard",
            Self::Lands(_) => "before an outcome is durable",
            Self::Told(..) => "after an outcome is durable",
            Self::ConsentTold(_) => "after a consent is durable",
            _ => return None,
        })
    }
}

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) chance: Chance,
    pub(crate) plan: Plan,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) disk: Disk,
    /// By grant, what became of a renewal and could not be written down: what may be on disk, and what is held.
    pub(crate) unwritten: Vec<Option<(Vec<Grant>, Grant)>>,
    pub(crate) provider: Provider,
    pub(crate) model: Model,
    pub(crate) report: Report,
    pub(crate) holders: Vec<Holder>,
    pub(crate) readings: BTreeMap<u64, Reading>,
    pub(crate) owner: Owner,
    pub(crate) stage: Stage,
    pub(crate) executions: Vec<Execution>,
    pub(crate) running: BTreeMap<usize, Running>,
    pub(crate) look_at: Option<Timestamp>,
    pub(crate) can_ask: bool,
    /// What was consented to last, by grant.
    consents: Vec<Token>,
    /// Of which of them it was heard that somebody has to consent, and nobody has yet.
    asked: Vec<bool>,
    is_up: bool,
    steps: u64,
    events: BTreeMap<(Timestamp, u64), Event>,
    next: u64,
}

/// Runs one seed; gives what it covered, or what went wrong.
pub(crate) fn run(seed: u64, mutant: Option<Mutant>) -> Result<Report, String> {
    let mut world = World::new(seed, mutant);
    for _ in 0..STEPS_MAX {
        if let Some(wrong) = world.stage.wrong().or_else(|| world.model.violation()) {
            return Err(wrong);
        }
        let Some(((at, _), event)) = world.events.pop_first() else {
            world.check_executions();
            return match world.model.violation() {
                Some(wrong) => Err(wrong),
                None => Ok(world.report),
            };
        };
        world.now = at;
        world.step(event);
    }
    Err(format!("it does not come to an end at {:?}", world.now))
}

impl World {
    fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut chance = Chance::new(seed);
        let plan = Plan::new(seed, &mut chance);
        let mut provider = Provider::new(plan.kind, plan.life);
        let mut rows = Vec::new();
        for _ in 0..plan.grants() {
            let token = provider.consent(BEGIN);
            let mut grant = Grant::default();
            grant.consented(renewed(&plan), BEGIN, &plan.rules());
            rows.push(Row { grant, token });
        }
        let mut world = Self {
            now: BEGIN,
            model: Model::new(&rows),
            report: Report::default(),
            holders: (0..plan.users).map(|_| Holder::default()).collect(),
            readings: BTreeMap::new(),
            owner: stage::owner(plan.slots),
            stage: Stage::new(plan.users),
            executions: Vec::new(),
            running: BTreeMap::new(),
            look_at: None,
            can_ask: true,
            consents: rows.iter().map(|row| row.token).collect(),
            asked: vec![false; rows.len()],
            unwritten: vec![None; rows.len()],
            disk: Disk::new(rows),
            is_up: true,
            steps: 0,
            events: BTreeMap::new(),
            next: 0,
            provider,
            chance,
            plan,
            mutant,
        };
        world.report.note(world.plan.kind.name());
        if world.plan.shares {
            world.report.note("a shared grant");
        }
        for (at, incident) in std::mem::take(&mut world.plan.incidents) {
            world.at(at, Event::Incident(incident));
        }
        world
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn at(&mut self, at: Timestamp, event: Event) {
        let number = self.number();
        self.events.insert((at, number), event);
    }

    pub(crate) fn after(&mut self, span: Duration, event: Event) {
        self.at(self.now.after(span), event);
    }

    /// Within so many milliseconds.
    pub(crate) fn soon(&mut self, millis: usize, event: Event) {
        let span = self.chance.millis(0, millis);
        self.after(span, event);
    }

    fn step(&mut self, event: Event) {
        if let Some(name) = event.step() {
            self.steps += 1;
            if self.is_up && self.plan.crashes.contains(&(self.steps - 1)) && self.now < BEGIN.after(CALM) {
                self.report.crashed(name);
                // It is lost, or on its way.
                self.at(self.now, event);
                return self.crash();
            }
            if let Some(writer) = self.at_it(&event).filter(|_| self.plan.deaths.contains(&(self.steps - 1))) {
                if self.plan.shares {
                    self.holder_dies(writer);
                } else {
                    self.incident(Incident::HolderDies(writer));
                }
            }
        }
        match event {
            Event::Incident(incident) => self.incident(incident),
            Event::Loaded(reading) => self.loaded(reading),
            Event::Store(reading) => self.store(reading),
            Event::Lands(write) => {
                let wrote = self.lands(&write);
                if self.readings.contains_key(&write.reading) {
                    self.soon(10, Event::Told(write, wrote));
                }
            }
            Event::Told(write, wrote) => self.told(&write, wrote),
            Event::Arrives(call) => self.arrives(call),
            Event::Answered(reading, answer) => self.hears(reading, answer),
            Event::ConsentTold(user) => self.forget(user),
            Event::Worked(work) => self.worked(work),
            Event::Pump => self.pump(),
            Event::Look => self.look(),
            Event::UserBack(user) => self.user_is_back(user),
            Event::Restart => {
                self.is_up = true;
                self.recover();
            }
        }
    }

    /// Whose actor it is that waits for this.
    fn at_it(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Loaded(reading) | Event::Answered(reading, _) => self.readings.get(reading).map(|reading| reading.writer),
            Event::Lands(write) | Event::Told(write, _) => Some(write.writer),
            _ => None,
        }
    }

    fn incident(&mut self, incident: Incident) {
        match incident {
            // Whoever sends tries again.
            Incident::Send(_) | Incident::HolderDies(_) | Incident::Consent(_) if !self.is_up => {
                self.after(Duration::from_secs(5), Event::Incident(incident));
            }
            Incident::Send(user) => self.send(user),
            Incident::Weather(weather) => self.provider.weather = weather,
            Incident::Full(is_full) => self.disk.is_full = is_full,
            Incident::Unconfigured(is_lacking) => self.can_ask = !is_lacking,
            Incident::Revoke(user) => {
                self.provider.revoke(self.consents[self.plan.grant_of(user)]);
                self.report.note("a revocation");
            }
            Incident::EndAccess(user) => self.provider.end_access(self.consents[self.plan.grant_of(user)]),
            Incident::Consent(user) => self.consent(self.plan.grant_of(user)),
            Incident::HolderDies(user) if self.plan.shares && self.chance.one_in(2) => {
                self.holder_dies(self.plan.grant_of(user));
            }
            Incident::HolderDies(user) if !self.stage.lines[user].is_down => {
                if !self.plan.shares {
                    self.holder_dies(user);
                }
                self.user_dies(user);
                let span = self.chance.millis(50, 5_000);
                self.after(span, Event::UserBack(user));
            }
            Incident::HolderDies(_) => {}
            Incident::Crash if self.is_up => {
                self.report.crashed("at any moment");
                self.crash();
            }
            Incident::Crash => {}
        }
    }

    /// Somebody consents in their browser.
    fn consent(&mut self, of: usize) {
        if self.disk.is_full {
            return self.after(Duration::from_secs(30), Event::Incident(Incident::Consent(of)));
        }
        let token = self.provider.consent(self.now);
        let mut grant = self.disk.row(of).grant.clone();
        grant.consented(renewed(&self.plan), self.now, &self.plan.rules());
        self.consents[of] = token;
        self.asked[of] = false;
        self.disk.put(of, Row { grant, token }, true);
        self.model.consented(of, token);
        self.is_stored(of);
        self.soon(50, Event::ConsentTold(of));
    }

    /// A row is durable.
    pub(crate) fn is_stored(&mut self, of: usize) {
        self.model.stored(of, &self.disk, &self.provider);
        let status = self.disk.row(of).grant.status;
        self.report.stands(self.plan.kind.name(), status);
        let is_over = matches!(status, Status::Failed | Status::Uncertain);
        // Who is told comes, sooner or later.
        if is_over && self.disk.notice(of).is_some() && !self.asked[of] {
            self.asked[of] = true;
            let span = self.chance.millis(1_000, 1_200_000);
            self.after(span, Event::Incident(Incident::Consent(of)));
        }
    }

    /// The process dies: what it wrote is durable or not, what it sent is on its way, and all else is lost.
    fn crash(&mut self) {
        self.is_up = false;
        let mut writes = Vec::new();
        for (at, event) in std::mem::take(&mut self.events) {
            match event {
                Event::Incident(_) | Event::Arrives(_) => {
                    self.events.insert(at, event);
                }
                Event::Lands(write) => writes.push(write),
                _ => {}
            }
        }
        for write in writes {
            if self.chance.one_in(2) {
                self.lands(&write);
            }
        }
        for of in 0..self.plan.grants() {
            if self.disk.row(of).grant.intent.is_some() {
                self.model.is_cut_off(of);
            } else {
                self.model.called(of, true);
            }
        }
        self.holders.fill_with(Holder::default);
        self.readings.clear();
        self.unwritten.fill(None);
        self.executions_die();
        // Some outlast every grace.
        let longest = if self.chance.one_in(3) { 120_000 } else { 5_000 };
        let span = self.chance.millis(100, longest);
        self.after(span, Event::Restart);
    }
}

fn renewed(plan: &Plan) -> Renewed {
    Renewed {
        lifetime: plan.tells_life.then_some(plan.life),
        renewal: plan.first_renewal(),
    }
}
