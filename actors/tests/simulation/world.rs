//! One seed from its first request to the end of its last execution.

mod credentials;
mod mailboxes;

use crate::execution::{self, PARK_LIMIT};
use crate::journal::{Batch, Ticket};
use crate::mutant::Mutant;
use crate::report::Report;
use crate::stage::{Instance, Stage, TIDY_EVERY, Timer, ToInstance, ToOwner, ToUser};
use crate::workload::Request;
use bytes::Bytes;
use futures_util::FutureExt;
use perseat_actors::kit::Verdict;
use perseat_domain::budget::Claim;
use perseat_domain::entry::{Accepted, Cancelled, Entry, Origin};
use perseat_domain::execution::Event;
use perseat_domain::id::{ExecutionId, InstanceId};
use perseat_domain::identity::Identity;
use perseat_domain::model::Sealed;
use perseat_domain::owner::{Commit, Note, Owner, OwnerOptions, Recovered, Turn, UserKey, Wait};
use perseat_domain::time::Timestamp;
use perseat_store::index::{EntryRef, pack, unpack};
use std::time::Duration;
use uuid::Uuid;

/// A seed that is not through by then has come to a stop.
const HORIZON: Duration = Duration::from_secs(4 * 3_600);
const STEPS_MAX: usize = 50_000;

pub(crate) struct World {
    pub(crate) owner: Owner,
    pub(crate) stage: Stage,
    /// Requests that came and were not refused.
    executions: Vec<Option<ExecutionId>>,
    /// When parked executions are looked at next.
    look_at: Option<Timestamp>,
    /// Whether the owner was told that turns are over and did not look since.
    is_told: bool,
}

/// Runs one seed; gives what it covered, or what went wrong.
pub(crate) fn run(seed: u64, mutant: Option<Mutant>) -> Result<Report, String> {
    play(Stage::new(seed, mutant))
}

/// Runs one seed of which the process dies once, at this entry of its journal, or not at all.
pub(crate) fn run_dying_at(seed: u64, entry: Option<u64>) -> Result<Report, String> {
    let mut stage = Stage::new(seed, None);
    let faults = &mut stage.workload.faults;
    (faults.crash, faults.crash_at, faults.crashes_max) = (0, entry.unwrap_or(u64::MAX), usize::from(entry.is_some()));
    play(stage)
}

fn play(stage: Stage) -> Result<Report, String> {
    let mut world = World {
        owner: owner(&stage),
        executions: vec![None; stage.workload.requests.len()],
        look_at: None,
        is_told: false,
        stage,
    };
    for _ in 0..STEPS_MAX {
        if let Some(wrong) = world.stage.model.violation() {
            return Err(wrong);
        }
        if world.is_through() {
            world.check_end();
            return world.stage.model.finish();
        }
        world.step();
        if world.stage.now() > HORIZON {
            break;
        }
    }
    Err(format!("it does not come to an end: {}", world.stage.model.unfinished()))
}

fn owner(stage: &Stage) -> Owner {
    let mut fair = stage.workload.fair;
    if stage.mutant == Some(Mutant::ForgetsTheShares) {
        (fair.user_divisor, fair.reserve_divisor) = (1, u32::MAX);
    }
    Owner::new(OwnerOptions {
        fair,
        cache_bytes: stage.workload.cache_bytes,
        shares: stage.workload.shares,
    })
}

impl World {
    fn is_through(&self) -> bool {
        let stage = &self.stage;
        let has_requests = stage.timers.values().any(|timer| matches!(timer, Timer::Request(_)));
        // An instance may still have to say that a user died, and a user may have memory on its way that it does not need.
        let has_mail = !stage.to_owner.is_empty()
            || !stage.woken.is_empty()
            || stage.journal.has_pending()
            || stage.instances.values().any(Instance::has_mail);
        !has_requests && !has_mail && stage.model.all_ended()
    }

    fn check_end(&mut self) {
        let left = (
            self.owner.live(),
            self.owner.running(),
            self.stage.admission.total(),
            self.stage.admission.counters(),
        );
        let is_clean = left == (0, 0, (0, 0), 0);
        self.stage.model.must(is_clean, || {
            format!("live, running, room and counters are {left:?} when all is over")
        });
        let memory = self.stage.memory.clone();
        let requests = self.stage.workload.requests.iter();
        let is_free = requests
            .filter_map(|(_, request)| match request {
                Request::Trigger(identity) => Some(memory.try_claim(identity, usize::MAX)),
                Request::Cancel(_) => None,
            })
            .all(|room| room.is_some());
        self.stage.model.must(is_free, || "memory is taken when all is over".into());
    }

    /// Some actor handles a message, or time goes on.
    fn step(&mut self) {
        if self.stage.chance.one_in(2) {
            self.memory_comes();
        }
        let stage = &mut self.stage;
        let mut doors = Vec::new();
        if !stage.to_owner.is_empty() {
            doors.push(Door::Owner);
        }
        if !stage.woken.is_empty() {
            doors.push(Door::Woken);
        }
        for (id, instance) in &stage.instances {
            if !instance.mail.is_empty() {
                doors.push(Door::Instance(*id));
            }
            let users = instance.users.iter().filter(|(_, user)| !user.mail.is_empty());
            doors.extend(users.map(|(key, _)| Door::User(*key)));
        }
        // Mailboxes are slow, but not by seconds.
        let soon = stage.now() + Duration::from_millis(200);
        let is_soon = stage.timers.first_key_value().is_some_and(|((at, _), _)| *at <= soon);
        if doors.is_empty() || (is_soon && stage.chance.one_in(10)) {
            return self.time_passes();
        }
        let door = doors[stage.chance.below(doors.len())];
        match door {
            Door::Owner => {
                if let Some(message) = self.stage.to_owner.pop_front() {
                    self.owner_handles(message);
                }
            }
            Door::Woken => {
                if let Some(ticket) = self.stage.woken.pop_front() {
                    self.woken(ticket);
                }
            }
            Door::Instance(id) => self.instance_handles(id),
            Door::User(key) => self.user_handles(key),
        }
    }

    fn time_passes(&mut self) {
        let Some(((at, _), timer)) = self.stage.timers.pop_first() else {
            return;
        };
        let span = at.saturating_sub(self.stage.now());
        self.stage.pass(span);
        self.stage.wall_may_jump();
        match timer {
            Timer::Request(index) => self.request(index),
            Timer::Sync => self.sync(),
            Timer::Tidy => {
                self.stage.to_owner.push_back(ToOwner::Tidy);
                self.stage.after(TIDY_EVERY, Timer::Tidy);
            }
            Timer::Crash => self.crash(),
            Timer::ConfigRead(key, generation, reading) => self.config_read(key, generation, reading),
            Timer::Account(account) => self.account(account),
            Timer::Look(at) => self.stage.to_owner.push_back(ToOwner::LookDue(at)),
            Timer::UserBack(key, generation) => {
                if let Some(instance) = self.stage.instances.get_mut(&key.instance)
                    && instance.generation == generation
                {
                    instance.mail.push_back(ToInstance::UserBack(key));
                }
            }
            Timer::InstanceBack(id) => self.stage.to_owner.push_back(ToOwner::InstanceBack(id)),
            Timer::Beat(number, count, beat) => self.beat(number, count, beat),
        }
    }

    fn request(&mut self, index: usize) {
        match self.stage.workload.requests[index].1 {
            Request::Trigger(identity) => {
                let execution = ExecutionId(Uuid::from_u128(u128::from(self.stage.number())));
                let entry = Entry::from(accepted(execution, identity, execution::at(&self.stage)));
                let claim = Claim::of(Some(&identity), entry.encode().len() as u64);
                let Some(Ok(room)) = self.stage.admission.admit(claim).now_or_never() else {
                    return self.stage.model.refused();
                };
                self.executions[index] = Some(execution);
                if self.stage.mutant == Some(Mutant::AcknowledgesEarly) {
                    self.stage.model.receipt(execution);
                }
                self.stage.append(&[entry], Ticket::Receipt(execution, room));
            }
            Request::Cancel(which) => {
                if let Some(execution) = self.executions[which]
                    && self.stage.model.is_live(execution)
                {
                    let entry = Entry::from(Cancelled {
                        execution,
                        at: Timestamp(1),
                        by: "local:0".into(),
                    });
                    self.stage.append(&[entry], Ticket::Nobody);
                }
            }
        }
    }

    /// The journal's writer makes some of what waits durable; the process may die before anybody hears of it.
    fn sync(&mut self) {
        let stage = &mut self.stage;
        stage.is_syncing = false;
        let appends = if stage.chance.one_in(2) { 1 } else { stage.chance.between(1, 6) };
        let may_crash = stage.crashes < stage.workload.faults.crashes_max;
        let stop = if may_crash { stage.workload.faults.crash_at } else { u64::MAX };
        let before = stage.journal.len();
        let Batch { entries, tickets } = stage.journal.sync(appends, stop);
        for (position, payload) in &entries {
            stage.model.durable(*position, payload);
        }
        let is_due = before <= stop && stop < stage.journal.len();
        if may_crash && (is_due || stage.chance.one_in(stage.workload.faults.crash)) {
            if is_due || stage.chance.one_in(2) {
                return self.crash();
            }
            let span = stage.chance.millis(0, 500);
            stage.after(span, Timer::Crash);
        }
        if !entries.is_empty() {
            stage.to_owner.push_back(ToOwner::Committed(entries));
        }
        stage.woken.extend(tickets);
        if stage.journal.has_pending() {
            stage.begin_sync();
        }
        if stage.chance.one_in(3) {
            stage.journal.commit_index();
        }
        self.carry();
    }

    /// The collector writes some of a live execution's entries again, which follow one upon the other.
    fn carry(&mut self) {
        let stage = &mut self.stage;
        if !stage.chance.one_in(stage.workload.faults.carry) {
            return;
        }
        let which = stage.chance.below(64);
        let Some((execution, references)) = stage.journal.row(which) else {
            return;
        };
        if stage.carrying.contains_key(&execution) {
            return;
        }
        let begin = stage.chance.below(references.len());
        let first = references[..begin].iter().map(|reference| reference.entries).sum();
        let read = |at: &EntryRef| Some(unpack(stage.journal.read(at.position)?.clone(), at.entries).unwrap());
        let mut entries = references[begin..].iter().filter_map(read).collect::<Vec<_>>().concat();
        entries.truncate(1 + stage.chance.below(entries.len()));
        let mut left = entries.len() as u32;
        let is_whole = |reference: &&EntryRef| {
            let is_whole = reference.entries <= left;
            left = left.saturating_sub(reference.entries);
            is_whole
        };
        let positions = references[begin..].iter().take_while(is_whole).map(|reference| reference.position);
        stage.carrying.insert(execution, positions.collect());
        let packed = pack(execution, first, entries, usize::MAX);
        let entries: Vec<Entry> = packed.into_iter().map(Entry::from).collect();
        stage.append(&entries, Ticket::Nobody);
    }

    fn crash(&mut self) {
        self.stage.crash();
        // Until it is up again, much may fall due.
        let longest = [500, 30_000, 1_200_000][self.stage.chance.below(3)];
        let down = self.stage.chance.millis(0, longest);
        self.stage.pass(down);
        self.owner = owner(&self.stage);
        self.look_at = None;
        self.is_told = false;
        let mut live = self.stage.journal.recover();
        match self.stage.mutant {
            Some(Mutant::LosesTheQueuesHead) if !live.is_empty() => drop(live.remove(0)),
            Some(Mutant::ReversesTheQueue) => live.reverse(),
            _ => {}
        }
        for (execution, row) in live {
            let Some(identity) = row.identity else { continue };
            let parked = row.parked.map(|parked| Wait {
                connection: parked.connection,
                until: parked.since.after(PARK_LIMIT),
                again: None,
            });
            if parked.is_some() && self.stage.mutant == Some(Mutant::LosesTheParked) {
                continue;
            }
            match &parked {
                Some(wait) => self.stage.model.is_parked(execution, wait.clone()),
                None => self.stage.model.lined_up(execution),
            }
            let recovered = Recovered {
                execution,
                identity,
                order: row.accepted,
                entries: row.entries,
                cancel_requested: row.cancel_requested,
                parked,
            };
            let claim = self.owner.recover(recovered, &mut self.stage);
            self.stage.admission.restore(&claim);
        }
        // What they waited for may have come while the process was down.
        self.try_parked(|_| true);
        self.look_later();
        self.after_change();
    }

    fn woken(&mut self, ticket: Ticket) {
        match ticket {
            Ticket::Receipt(execution, room) => {
                room.keep();
                self.stage.model.receipt(execution);
            }
            Ticket::Flushed(number, turn) | Ticket::Parked(number, turn) if !self.stage.activations.contains_key(&number) => {
                self.stage.to_owner.push_back(ToOwner::Settled(turn.user, turn.execution));
            }
            Ticket::Parked(number, _) => self.is_parked(number),
            Ticket::Flushed(number, _) => self.wake(number, Event::Flushed),
            Ticket::Ended(number) => {
                self.is_over(number);
                self.after_change();
            }
            Ticket::Nobody => {}
        }
    }

    fn after_change(&mut self) {
        self.owner.grant(&mut self.stage);
        if self.owner.running() == 0 {
            self.stage.model.caught_up();
            self.owner.catch_up(&mut self.stage);
        }
        self.stage.model.granted(self.owner.running());
    }

    /// Nothing was to be done in a turn: it is over in the table; the owner hears it once for all that are until it looks.
    pub(crate) fn turn_over(&mut self, turn: &Turn) {
        self.stage.model.slot_freed(turn);
        self.owner.over(turn, None);
        if !std::mem::replace(&mut self.is_told, true) {
            self.stage.to_owner.push_back(ToOwner::TurnsOver);
        }
    }

    fn owner_handles(&mut self, message: ToOwner) {
        match message {
            ToOwner::Committed(batch) => batch.into_iter().for_each(|(position, payload)| self.committed(position, &payload)),
            ToOwner::TurnsOver => self.is_told = false,
            ToOwner::Fell(turn) => {
                self.stage.model.fell(&turn);
                self.owner.fell(&turn);
            }
            ToOwner::Unsettled(execution) => {
                if self.stage.mutant != Some(Mutant::TrustsWhatItKnows) {
                    self.stage.model.unsettled(execution);
                    self.owner.unsettled(execution);
                }
            }
            ToOwner::Settled(key, execution) => {
                self.stage.model.settled(key, execution);
                self.owner.settled(key, execution, &mut self.stage);
            }
            ToOwner::NotStarted(turn, why) => {
                self.stage.model.not_started(&turn, why);
                self.owner.refused(&turn, why);
            }
            ToOwner::NotHeard(execution) => return self.owner.not_heard(execution),
            ToOwner::Park(turn, cost, wait) => {
                self.stage.model.parked(&turn, &wait);
                self.owner.parked(&turn, cost, wait);
                self.look_later();
            }
            ToOwner::GaveBack(turn) => {
                self.stage.model.gave_back(&turn);
                self.owner.gave_back(&turn, &mut self.stage);
            }
            ToOwner::HasRoom(execution) => {
                self.stage.model.has_room(execution);
                if self.stage.mutant == Some(Mutant::ForgetsTheShort) {
                    return;
                }
                self.owner.has_room(execution);
            }
            ToOwner::TryParked(key) => {
                self.stage.model.try_parked(|user| *user == key);
                self.owner.try_parked_of(key, &mut self.stage);
            }
            ToOwner::Usable(key, missing) => {
                self.stage.model.usable(key, &missing);
                if self.stage.mutant == Some(Mutant::ForgetsTheParked) {
                    return;
                }
                self.owner.usable(key, &missing, &mut self.stage);
            }
            ToOwner::ConfigChanged(key) => {
                if let Some(user) = self.stage.alive(key) {
                    user.mail.push_back(ToUser::Forget);
                }
                self.try_parked(|user| *user == key);
            }
            ToOwner::LookDue(at) => {
                if self.look_at != Some(at) {
                    return;
                }
                self.look_at = None;
                let now = execution::at(&self.stage);
                self.stage.model.looks(now);
                self.owner.look(now, &mut self.stage);
                self.look_later();
            }
            // The instance has said so to the table; what is left is to use what is free.
            ToOwner::UserDied => {}
            ToOwner::UserBack(key) => self.back(|user| *user == key),
            ToOwner::InstanceExited(exited) => match self.stage.nursery.on_exit(&exited) {
                Verdict::Stale | Verdict::Gone => return,
                Verdict::StartNow => self.back(|user| user.instance == exited.key),
                Verdict::RestartAfter(delay) | Verdict::Quarantine(delay) => {
                    self.died(|user| user.instance == exited.key);
                    self.stage.after(delay, Timer::InstanceBack(exited.key));
                }
            },
            ToOwner::InstanceBack(id) => self.back(|user| user.instance == id),
            ToOwner::InstanceStillNeeded(id) => {
                if self.stage.nursery.keep(&id).is_some() {
                    self.back(|user| user.instance == id);
                }
            }
            ToOwner::Tidy => self.tidy(),
        }
        self.after_change();
    }

    fn committed(&mut self, position: u64, payload: &Bytes) {
        let now = self.stage.now();
        let entry = Entry::decode(payload).unwrap();
        self.stage.model.delivered(&entry, now);
        let note = self.owner.committed(Commit { position, payload }, &mut self.stage);
        match note {
            Ok(Note::Ended(claim)) if self.stage.mutant != Some(Mutant::KeepsItsRoom) => self.stage.admission.ended(&claim),
            Ok(Note::Grew(claim)) => self.stage.admission.grew(&claim),
            _ => {}
        }
        if let Entry::Carried(carried) = entry
            && let Some(old) = self.stage.carrying.remove(&carried.execution)
        {
            self.stage.journal.commit_index();
            old.into_iter().for_each(|position| self.stage.journal.expire(position));
        }
    }

    fn died(&mut self, which: impl Fn(&UserKey) -> bool) {
        self.stage.model.died(&which);
        if self.stage.mutant != Some(Mutant::AbandonsTheDead) {
            self.owner.died(which);
        }
    }

    fn back(&mut self, which: impl Fn(&UserKey) -> bool) {
        self.stage.model.back(&which);
        self.owner.back(which, &mut self.stage);
    }

    fn tidy(&mut self) {
        self.stage.model.caught_up();
        self.owner.catch_up(&mut self.stage);
        let idle = self.stage.nursery.idle(100);
        for (id, instance) in &mut self.stage.instances {
            if !idle.contains(id) {
                instance.mail.push_back(ToInstance::Leave { is_idle: false });
            }
        }
        for id in idle {
            if self.stage.nursery.put_away(&id).is_some()
                && let Some(instance) = self.stage.instances.get_mut(&id)
            {
                instance.mail.push_back(ToInstance::Leave { is_idle: true });
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Door {
    Owner,
    Woken,
    Instance(InstanceId),
    User(UserKey),
}

fn accepted(execution: ExecutionId, identity: Identity, received_at: Timestamp) -> Accepted {
    Accepted {
        execution,
        identity: Some(identity),
        origin: Origin::Webhook,
        received_at,
        dedupe_id: None,
        unique_request_id: None,
        catalog_revision: 1,
        sync_deadline: None,
        refusal: None,
        request: Sealed(vec![7; 100]),
    }
}
