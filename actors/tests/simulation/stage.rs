//! The actors, reduced to their mailboxes: who is told what, who is up, who dies.
//!
//! A message waits in its mailbox until chance picks that mailbox; a mailbox keeps its order. What an actor decides it
//! decides by the product's own code: [`Owner`](perseat_domain::owner::Owner) in the world, [`Nursery`] here.

use crate::chance::Chance;
use crate::execution::Activation;
use crate::journal::{Journal, Ticket};
use crate::memory::Short;
use crate::model::Model;
use crate::mutant::Mutant;
use crate::workload::{Account, Workload};
use bytes::Bytes;
use perseat_actors::admission::{Admission, AdmissionOptions};
use perseat_actors::execution::{ExecutionMemory, Room};
use perseat_actors::kit::{ChildExited, Clock, Exit, Nursery, NurseryOptions, Unavailable, VirtualClock};
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::Entry;
use perseat_domain::execution::Outcome;
use perseat_domain::fair::Cost;
use perseat_domain::id::{ExecutionId, InstanceId};
use perseat_domain::owner::{Reached, Refusal, Turn, UserKey, Users, Wait};
use perseat_domain::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub(crate) enum ToOwner {
    Committed(Vec<(u64, Bytes)>),
    TurnsOver,
    Fell(Turn),
    Unsettled(ExecutionId),
    Settled(UserKey, ExecutionId),
    NotStarted(Turn, Refusal),
    NotHeard(ExecutionId),
    Park(Turn, Cost, Wait),
    GaveBack(Turn),
    HasRoom(ExecutionId),
    TryParked(UserKey),
    Usable(UserKey, Vec<String>),
    ConfigChanged(UserKey),
    LookDue(Timestamp),
    UserDied,
    UserBack(UserKey),
    InstanceExited(ChildExited<InstanceId>),
    InstanceBack(InstanceId),
    InstanceStillNeeded(InstanceId),
    Tidy,
}

#[derive(Debug)]
pub(crate) enum ToInstance {
    Start(Turn),
    Cancel(UserKey, ExecutionId),
    UserExited(ChildExited<UserKey>),
    UserBack(UserKey),
    StillNeeded(UserKey),
    Leave { is_idle: bool },
}

#[derive(Debug)]
pub(crate) enum ToUser {
    Start(Turn),
    Cancel(ExecutionId),
    RoomCame(ExecutionId, Room),
    Forget,
    PutAway,
}

#[derive(Debug)]
pub(crate) enum Config {
    Unread,
    Reading,
    /// With the connections whose credential is missing.
    Read(Result<BTreeSet<&'static str>, ErrorCode>),
}

#[derive(Debug)]
pub(crate) struct User {
    pub(crate) generation: u64,
    pub(crate) mail: VecDeque<ToUser>,
    pub(crate) running: BTreeMap<ExecutionId, u64>,
    pub(crate) waiting: Vec<Turn>,
    /// What gave its turn back for want of memory.
    pub(crate) short: Short,
    pub(crate) config: Config,
    /// How often it was read: a word of an earlier reading does not count.
    pub(crate) reading: u64,
    pub(crate) has_parked: bool,
}

impl User {
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty() && self.short.is_empty()
    }
}

#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) generation: u64,
    pub(crate) nursery: Nursery<UserKey, u64>,
    pub(crate) mail: VecDeque<ToInstance>,
    pub(crate) users: BTreeMap<UserKey, User>,
}

impl Instance {
    /// Whether it or one of its users has something to handle.
    pub(crate) fn has_mail(&self) -> bool {
        !self.mail.is_empty() || self.users.values().any(|user| !user.mail.is_empty())
    }
}

#[derive(Debug)]
pub(crate) enum Timer {
    Request(usize),
    Sync,
    Tidy,
    Crash,
    ConfigRead(UserKey, u64, u64),
    Account(Account),
    Look(Timestamp),
    UserBack(UserKey, u64),
    InstanceBack(InstanceId),
    /// What an activation waits for, unless it has gone on meanwhile.
    Beat(u64, u64, Beat),
}

#[derive(Debug)]
pub(crate) enum Beat {
    StepEnds(Outcome),
    RetryDue,
    Deadline,
}

/// Everything but the owner.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) workload: Workload,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) chance: Chance,
    pub(crate) clock: VirtualClock,
    pub(crate) model: Model,
    pub(crate) journal: Journal,
    pub(crate) admission: Admission,
    pub(crate) memory: Arc<ExecutionMemory>,
    /// What a mutant keeps of it.
    pub(crate) kept: Vec<Room>,
    pub(crate) nursery: Nursery<InstanceId, u64>,
    pub(crate) instances: BTreeMap<InstanceId, Instance>,
    pub(crate) to_owner: VecDeque<ToOwner>,
    pub(crate) woken: VecDeque<Ticket>,
    pub(crate) activations: BTreeMap<u64, Activation>,
    pub(crate) timers: BTreeMap<(Duration, u64), Timer>,
    /// Accounts whose credential is missing.
    pub(crate) missing: BTreeSet<(UserKey, &'static str)>,
    pub(crate) is_syncing: bool,
    /// Carries on their way: what expires once the owner knows.
    pub(crate) carrying: BTreeMap<ExecutionId, Vec<u64>>,
    pub(crate) deaths: usize,
    pub(crate) crashes: usize,
    jumps: usize,
    next_number: u64,
}

impl Stage {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut chance = Chance::new(seed);
        let workload = Workload::new(seed, &mut chance);
        let clock = VirtualClock::at(Timestamp(1_700_000_000_000));
        let mut stage = Self {
            admission: admission(&workload, &clock),
            memory: memory(&workload),
            kept: Vec::new(),
            nursery: nursery(&clock, 0),
            model: Model::new(&workload),
            workload,
            mutant,
            chance,
            clock,
            journal: Journal::new(),
            instances: BTreeMap::new(),
            to_owner: VecDeque::new(),
            woken: VecDeque::new(),
            activations: BTreeMap::new(),
            timers: BTreeMap::new(),
            missing: BTreeSet::new(),
            is_syncing: false,
            carrying: BTreeMap::new(),
            deaths: 0,
            crashes: 0,
            jumps: 0,
            next_number: 0,
        };
        for index in 0..stage.workload.requests.len() {
            let at = stage.workload.requests[index].0;
            stage.after(at, Timer::Request(index));
        }
        for (at, account) in stage.workload.accounts.clone() {
            stage.after(at, Timer::Account(account));
        }
        stage.after(TIDY_EVERY, Timer::Tidy);
        stage
    }

    /// The user's accounts whose credential is missing now.
    pub(crate) fn lacking(&self, user: UserKey) -> BTreeSet<&'static str> {
        let of_user = self.missing.iter().filter(|(whose, _)| *whose == user);
        of_user.map(|(_, connection)| *connection).collect()
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.uptime()
    }

    pub(crate) fn pass(&mut self, span: Duration) {
        self.clock.advance(span);
        self.model.time(self.now());
    }

    /// By minutes back, or by up to half an hour ahead.
    pub(crate) fn wall_may_jump(&mut self) {
        let faults = &self.workload.faults;
        if self.jumps == faults.jumps_max || !self.chance.one_in(faults.jump) {
            return;
        }
        self.jumps += 1;
        self.model.jumped();
        let (now, span) = (self.clock.now(), self.chance.below(1_800_000) as u64);
        self.clock.set_wall(match self.chance.one_in(2) {
            true => Timestamp(now.0 + span),
            false => Timestamp(now.0 - span / 4),
        });
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub(crate) fn after(&mut self, span: Duration, timer: Timer) {
        let number = self.number();
        self.timers.insert((self.now() + span, number), timer);
    }

    pub(crate) fn append(&mut self, entries: &[Entry], ticket: Ticket) {
        let payloads = entries.iter().map(|entry| Bytes::from(entry.encode())).collect();
        self.journal.append(payloads, ticket);
        if !self.is_syncing {
            self.begin_sync();
        }
    }

    pub(crate) fn begin_sync(&mut self) {
        self.is_syncing = true;
        let longest = if self.chance.one_in(self.workload.faults.stall) { 2_000 } else { 4 };
        let span = self.chance.millis(0, longest);
        self.after(span, Timer::Sync);
    }

    /// The process died: nothing that was in memory is left, what comes from outside still comes.
    pub(crate) fn crash(&mut self) {
        self.crashes += 1;
        self.model.crashed();
        self.journal.crash();
        self.woken.clear();
        self.to_owner.clear();
        self.instances.clear();
        self.activations.clear();
        self.carrying.clear();
        self.is_syncing = false;
        self.timers
            .retain(|_, timer| matches!(timer, Timer::Request(_) | Timer::Account(_) | Timer::Tidy));
        self.admission = admission(&self.workload, &self.clock);
        self.memory = memory(&self.workload);
        self.nursery = nursery(&self.clock, self.crashes as u64);
    }

    /// Whether an actor that handles a message dies of it.
    pub(crate) fn dies(&mut self) -> bool {
        let dies = self.deaths < self.workload.faults.deaths_max && self.chance.one_in(self.workload.faults.death);
        self.deaths += usize::from(dies);
        dies
    }

    pub(crate) fn is_busy(&mut self) -> bool {
        // A mailbox that is always full would be no fault but the end.
        self.now() < Duration::from_secs(3_600) && self.chance.one_in(self.workload.faults.busy)
    }

    /// The instance's actor dies, and its users with it.
    pub(crate) fn instance_dies(&mut self, id: InstanceId) {
        if let Some(instance) = self.instances.remove(&id) {
            for (_, user) in instance.users {
                self.lose(user.running.values());
            }
            self.timers
                .retain(|_, timer| !matches!(timer, Timer::UserBack(user, _) | Timer::ConfigRead(user, ..) if user.instance == id));
            self.to_owner.push_back(ToOwner::InstanceExited(ChildExited {
                key: id,
                generation: instance.generation,
                exit: Exit::Panicked,
            }));
        }
    }

    pub(crate) fn user_dies(&mut self, key: UserKey) {
        if let Some(user) = self.user_exits(key, Exit::Panicked) {
            self.lose(user.running.values());
        }
    }

    pub(crate) fn user_exits(&mut self, key: UserKey, exit: Exit) -> Option<User> {
        let instance = self.instances.get_mut(&key.instance)?;
        let user = instance.users.remove(&key)?;
        instance.mail.push_back(ToInstance::UserExited(ChildExited {
            key,
            generation: user.generation,
            exit,
        }));
        Some(user)
    }

    fn lose<'a>(&mut self, activations: impl Iterator<Item = &'a u64>) {
        for number in activations {
            if let Some(activation) = self.activations.remove(number) {
                self.model.lost(*number, true);
                self.to_owner.extend(activation.left_behind().map(ToOwner::Unsettled));
            }
        }
    }

    /// The instance's actor, started if it is not there.
    fn instance(&mut self, id: InstanceId) -> Result<&mut Instance, Unavailable> {
        let mut born = None;
        let ensured = self.nursery.ensure(&id, |birth| {
            born = Some(birth.generation);
            birth.generation
        });
        ensured?;
        if let Some(generation) = born {
            let instance = Instance {
                generation,
                nursery: nursery(&self.clock, generation),
                mail: VecDeque::new(),
                users: BTreeMap::new(),
            };
            self.instances.insert(id, instance);
        }
        // It died, and the supervisor has not heard of it yet.
        self.instances.get_mut(&id).ok_or(Unavailable::Waiting)
    }

    /// The user's actor, if it is there.
    pub(crate) fn alive(&mut self, key: UserKey) -> Option<&mut User> {
        self.instances.get_mut(&key.instance)?.users.get_mut(&key)
    }

    /// The user's actor, started if it is not there.
    pub(crate) fn user(&mut self, key: UserKey) -> Result<&mut User, Refusal> {
        let instance = self.instances.get_mut(&key.instance).ok_or(Refusal::Down)?;
        let mut born = None;
        let ensured = instance.nursery.ensure(&key, |birth| {
            born = Some(birth.generation);
            birth.generation
        });
        ensured.map_err(|_| Refusal::Down)?;
        if let Some(generation) = born {
            let user = User {
                generation,
                mail: VecDeque::new(),
                running: BTreeMap::new(),
                waiting: Vec::new(),
                short: Short::default(),
                config: Config::Unread,
                reading: 0,
                has_parked: false,
            };
            instance.users.insert(key, user);
        }
        instance.users.get_mut(&key).ok_or(Refusal::Down)
    }
}

impl Users for Stage {
    fn start(&mut self, turn: &Turn) -> Reached {
        let is_busy = self.is_busy();
        let is_unread = self.chance.one_in(4);
        let now = self.now();
        let reached = match self.instance(turn.user.instance) {
            Err(_) => Err(Refusal::Down),
            Ok(_) if is_busy => Err(Refusal::Busy),
            // Its configuration is to be read first.
            Ok(instance) if is_unread => {
                instance.mail.push_back(ToInstance::Start(*turn));
                Ok(())
            }
            Ok(_) => self.user(turn.user).map(|user| user.mail.push_back(ToUser::Start(*turn))),
        };
        self.model.turn(turn, reached.err(), now);
        reached
    }

    fn cancel(&mut self, user: UserKey, execution: ExecutionId) -> Reached {
        if self.mutant == Some(Mutant::IgnoresCancellation) {
            return Ok(());
        }
        if self.mutant == Some(Mutant::PutsOffCancellation) && self.chance.one_in(2) {
            return Err(Refusal::Busy);
        }
        let is_busy = self.is_busy();
        let reached = match self.instance(user.instance) {
            Ok(instance) if !is_busy => {
                instance.mail.push_back(ToInstance::Cancel(user, execution));
                Ok(())
            }
            Ok(_) | Err(Unavailable::Leaving) => Err(Refusal::Busy),
            Err(_) => Err(Refusal::Down),
        };
        if reached == Err(Refusal::Busy) {
            self.model.not_heard(execution, self.now());
        }
        reached
    }
}

pub(crate) const TIDY_EVERY: Duration = Duration::from_secs(30);

fn admission(workload: &Workload, clock: &VirtualClock) -> Admission {
    let options = AdmissionOptions {
        limits: workload.budget,
        ..AdmissionOptions::default()
    };
    Admission::new(options, Arc::new(clock.clone()))
}

fn memory(workload: &Workload) -> Arc<ExecutionMemory> {
    Arc::new(ExecutionMemory::new(workload.memory))
}

fn nursery<K: Clone + Eq + std::hash::Hash>(clock: &VirtualClock, seed: u64) -> Nursery<K, u64> {
    let options = NurseryOptions {
        idle_after: Duration::from_secs(60),
        ..NurseryOptions::default()
    };
    Nursery::new(options, Arc::new(clock.clone()), seed)
}
