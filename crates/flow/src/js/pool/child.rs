//! What the pool knows of one child: the runs that it holds, the scripts that it knows.

use super::roster::Roster;
use super::{SOFT_STOP, Shared, watch};
use crate::js::Options;
use crate::js::calls::Sending;
use crate::js::frame::{self, Run, ToChild};
use crate::js::patience::Patience;
use crate::js::run::{Part, RunReport, RunRequest, UserKey};
use crate::outbound::Room;
use perseat_domain::id::{CustomerId, IdMap};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// What a run brings along where others may wait in the same child: a child full of them needs little memory, and looking up their
/// scripts little time. No key: it goes with `code.frames`, and what is larger has a child of its own.
const SMALL: usize = 64 << 10;

/// A run on its way.
#[derive(Debug)]
pub(in crate::js) struct Flight {
    pub(in crate::js) id: u64,
    pub(in crate::js) request: RunRequest,
    pub(in crate::js) answer: oneshot::Sender<RunReport>,
    /// Told when it begins: until when it may run.
    pub(super) begun: Option<oneshot::Sender<Instant>>,
    pub(in crate::js) fetches: u32,
    /// Answers that its child was given.
    pub(in crate::js) answers: u32,
    pub(in crate::js) sending: Sending,
    /// When a child was given it.
    pub(super) given: Instant,
    /// Whether it will be over at once, as far as one can tell: others may wait behind it.
    pub(super) is_quick: bool,
    /// Whether it waited in vain behind another user's run.
    pub(super) was_relieved: bool,
}

impl Flight {
    /// Its script runs from now on. Waiting for a child has not used up its time.
    pub(in crate::js) fn begin(&mut self, options: &Options) {
        if let Some(begun) = self.begun.take() {
            self.request.deadline = self.request.deadline.min(Instant::now() + options.max_time);
            // Nobody listens if it was given up at this moment.
            let _ = begun.send(self.request.deadline);
        }
    }
}

/// A script that a child knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    number: u32,
    /// Whether it was over at once when it last ran there.
    is_quick: bool,
    /// Whether it has waited for an answer or a timer, there or in another child, and may do so again.
    waits: bool,
}

/// How a run ended by itself.
#[derive(Clone, Copy, Debug)]
pub(in crate::js) struct End {
    /// The CPU time that it took.
    pub(in crate::js) cpu: Duration,
    /// Whether it waited for an answer or a timer.
    pub(in crate::js) waited: bool,
}

/// One child.
#[derive(Debug)]
pub(in crate::js) struct Worker {
    pub(in crate::js) pid: u32,
    pub(super) customer: Option<CustomerId>,
    /// The first runs; the others wait in the child.
    pub(in crate::js) flights: VecDeque<Flight>,
    /// Bytes for the socket.
    pub(in crate::js) out: Vec<u8>,
    /// What answers in there hold of the memory for answers.
    pub(in crate::js) rooms: Vec<Arc<Room>>,
    pub(in crate::js) wake: Arc<Notify>,
    /// Whether it is to be killed.
    pub(in crate::js) doomed: bool,
    /// Whether it is to be killed once the running script ends: what it would begin next runs elsewhere.
    pub(in crate::js) retiring: bool,
    /// When the first began.
    pub(in crate::js) began: Instant,
    /// Whether the running script has nothing to do but to wait: its slot is for whoever needs one.
    pub(super) waits: bool,
    /// Whether a task looks after those behind the first.
    pub(super) watched: bool,
    /// The scripts that it knows, by text: at most `max_scripts`, so nobody gains by texts that collide.
    pub(super) scripts: IdMap<Arc<str>, Script>,
    pub(super) turn_runs: u32,
    pub(super) turn_since: Instant,
    /// Runs that it was given since it last had none.
    pub(super) in_a_row: u32,
}

impl Worker {
    pub(in crate::js) fn new(pid: u32) -> Self {
        Self {
            pid,
            customer: None,
            flights: VecDeque::new(),
            out: Vec::new(),
            rooms: Vec::new(),
            wake: Arc::new(Notify::new()),
            doomed: false,
            retiring: false,
            began: Instant::now(),
            waits: false,
            watched: false,
            scripts: IdMap::default(),
            turn_runs: 0,
            turn_since: Instant::now(),
            in_a_row: 0,
        }
    }

    pub(in crate::js) fn doom(&mut self) {
        self.doomed = true;
        self.wake.notify_one();
    }

    pub(super) fn turn_is_over(&self, options: &Options, now: Instant) -> bool {
        self.turn_runs >= options.turn_runs || now.saturating_duration_since(self.turn_since) >= options.turn_time
    }

    /// Whether it may be given something.
    pub(super) fn has_room(&self, options: &Options) -> bool {
        !self.doomed && !self.retiring && self.flights.len() < options.in_flight
    }

    /// Whether a run of a user may wait behind what it has: their own, and what will be over at once.
    pub(super) fn is_open_for(&self, user: UserKey) -> bool {
        self.flights.iter().all(|flight| flight.is_quick || flight.request.owner == user)
    }

    /// Whether it knows the script of a run.
    pub(super) fn knows(&self, flight: &Flight) -> bool {
        self.scripts.contains_key(&flight.request.script)
    }

    /// Whether a run will be over at once, as far as one can tell.
    pub(super) fn is_quick(&self, flight: &Flight, patience: &Patience) -> bool {
        let is_known = || self.scripts.get(&flight.request.script).is_some_and(|script| script.is_quick);
        flight.request.size() <= SMALL && !patience.remembers(flight.request.owner) && is_known()
    }

    /// Whether it has something of a user.
    pub(super) fn has(&self, user: UserKey) -> bool {
        self.flights.iter().any(|flight| flight.request.owner == user)
    }

    /// How a run ended, `None` where not by itself.
    pub(in crate::js) fn learn(&mut self, flight: &Flight, end: Option<End>, patience: &mut Patience, options: &Options) {
        if end.is_some_and(|end| end.waited) {
            waits(&mut self.scripts, flight, patience);
        }
        if let Some(script) = self.scripts.get_mut(&flight.request.script) {
            script.is_quick = !script.waits && end.is_some_and(|end| end.cpu <= options.quick());
        }
    }

    /// The running script waits for an answer: nobody is to wait behind it again.
    pub(in crate::js) fn first_waits(&mut self, patience: &mut Patience) {
        if let Some(first) = self.flights.front() {
            waits(&mut self.scripts, first, patience);
        }
    }

    /// Whether something waits behind the run of another user.
    pub(in crate::js) fn holds_up_others(&self) -> bool {
        let first = self.flights.front().map(|first| first.request.owner);
        self.flights.iter().any(|flight| Some(flight.request.owner) != first)
    }

    /// Whether something has waited for so long behind the run of another user.
    pub(super) fn held_up_others_for(&self, time: Duration) -> bool {
        let first = self.flights.front().map(|first| first.request.owner);
        let mut others = self.flights.iter().filter(|flight| Some(flight.request.owner) != first);
        others.any(|other| other.given.elapsed() >= time)
    }

    /// Takes a run off it that is not the running one.
    pub(super) fn take_back(&mut self, roster: &mut Roster) -> Option<Flight> {
        let flight = (self.flights.len() > 1).then(|| self.flights.pop_back()).flatten()?;
        self.forget(&flight, roster);
        Some(flight)
    }

    /// A run was taken off it.
    pub(super) fn forget(&self, flight: &Flight, roster: &mut Roster) {
        if !self.has(flight.request.owner) {
            roster.ends(flight.request.owner);
        }
    }

    /// Whether all it has will be over at once, as far as one can tell.
    pub(super) fn is_over_soon(&self, now: Instant, options: &Options) -> bool {
        let is_overdue = now.saturating_duration_since(self.began) >= options.begin_within;
        !is_overdue && !self.retiring && !self.flights.is_empty() && self.flights.iter().all(|flight| flight.is_quick)
    }

    /// Sees to it that something looks after it.
    pub(super) fn watch(&mut self, id: u64, shared: &Arc<Shared>) {
        if !self.watched {
            self.watched = true;
            shared.runtime.spawn(watch(Arc::clone(shared), id));
        }
    }

    /// The number of a script, once it has been told.
    fn tell(&mut self, text: &Arc<str>, waits: bool) -> u32 {
        if let Some(script) = self.scripts.get(text) {
            return script.number;
        }
        let number = u32::try_from(self.scripts.len()).unwrap_or(u32::MAX);
        let script = Script {
            number,
            is_quick: false,
            waits,
        };
        self.scripts.insert(Arc::clone(text), script);
        frame::push(&mut self.out, &ToChild::Script { number, text });
        number
    }

    /// Takes a run and writes its frame.
    pub(super) fn take(&mut self, mut flight: Flight, roster: &mut Roster, patience: &Patience, options: &Options) {
        flight.is_quick = self.is_quick(&flight, patience);
        flight.given = Instant::now();
        let pace = patience.with(flight.request.owner);
        let waits = !self.knows(&flight) && patience.waits(flight.request.owner.customer, &flight.request.script);
        let script = self.tell(&flight.request.script, waits);
        let request = &flight.request;
        let room = request.deadline.saturating_duration_since(Instant::now()).min(options.max_time);
        let room = room.saturating_sub(SOFT_STOP).max(room / 2);
        let narrow = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let run = ToChild::Run(Run {
            run: flight.id,
            script,
            max_ms: millis(room),
            max_cpu_ms: millis(options.max_cpu),
            gives_way_us: u64::try_from(pace.gives_way_after.as_micros()).unwrap_or(u64::MAX),
            rests: pace.rests,
            max_log_lines: narrow(options.max_log_lines),
            max_log_bytes: narrow(options.max_log_bytes),
            max_thrown: narrow(options.max_thrown),
            max_fetches: options.max_fetches,
            max_timers: narrow(options.max_timers),
            max_result: narrow(options.max_result),
            is_source: request.part == Part::Source,
            context: request.context.json(),
            config: &request.config,
            results: request
                .results
                .iter()
                .map(|(name, results)| (name.as_str(), results.text()))
                .collect(),
        });
        frame::push(&mut self.out, &run);
        if !self.has(flight.request.owner) {
            roster.begins(flight.request.owner);
        }
        self.turn_runs = self.turn_runs.saturating_add(1);
        if self.flights.is_empty() {
            self.began = flight.given;
            self.in_a_row = 0;
            flight.begin(options);
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.flights.push_back(flight);
        self.wake.notify_one();
    }
}

/// Learns that a run's script waits.
fn waits(scripts: &mut IdMap<Arc<str>, Script>, flight: &Flight, patience: &mut Patience) {
    let RunRequest { script: text, owner, .. } = &flight.request;
    if let Some(script) = scripts.get_mut(text).filter(|script| !script.waits) {
        (script.waits, script.is_quick) = (true, false);
        patience.waited(owner.customer, text);
    }
}
