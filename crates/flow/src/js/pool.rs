//! The pool: who runs where, decided under one short lock; the sockets are served by one task per child.
//!
//! A slot is the right to run. A child that holds one belongs to one customer; when its turn is over and another
//! customer waits, the slot goes to a child of that customer or to a fresh one, and the old child is kept for its
//! customer's next turn, as far as there is room (starting one costs about 3 ms, a kept one a few MiB). Frames in
//! flight to one child are all of one user, so a slow script delays only its own user; what waits behind it for long
//! goes to another child as soon as one is free, and the slow one's child ends with it. A deadline that passes kills
//! the child: only the running script fails, the others are sent again elsewhere.
//!
//! The tasks live on the runtime that started the pool. With one owner arbiter that is the arbiter's: a run then costs
//! no hop between threads, and writes that become ready in one turn of the loop leave in one call.

mod roster;
#[cfg(test)]
mod tests;

use self::roster::Roster;
use super::calls::{Calls, Sending};
use super::frame::{self, Run, ToChild};
use super::patience::{Pace, Patience};
use super::queue::Queue;
use super::run::{Part, RunError, RunReport, RunRequest, UserKey};
use super::spawner::Spawner;
use super::{Options, StartError, worker};
use crate::outbound::OutboundClient;
use perseat_domain::id::{CustomerId, IdMap};
use std::collections::{VecDeque, vec_deque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

/// Room in a frame beside its payload.
const FRAME_OVERHEAD: usize = 4096;
/// How long before its step's deadline a script is asked to stop, so that its child need not be killed.
const SOFT_STOP: Duration = Duration::from_millis(25);

/// Runs scripts. Cheap to clone; the children end with the last clone.
#[derive(Clone, Debug)]
pub struct JsPool {
    handle: Arc<CloseOnDrop>,
}

#[derive(Debug)]
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.lock().close();
    }
}

/// What the handle and the children's tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) outbound: OutboundClient,
    pub(super) spawner: Spawner,
    pub(super) runtime: Handle,
    state: Mutex<State>,
}

/// A run on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: u64,
    pub(super) request: RunRequest,
    pub(super) answer: oneshot::Sender<RunReport>,
    /// Told when it begins: until when it may run.
    begun: Option<oneshot::Sender<Instant>>,
    pub(super) fetches: u32,
    pub(super) sending: Sending,
}

impl Flight {
    /// Its script runs from now on. Waiting for a child has not used up its time.
    pub(super) fn begin(&mut self, options: &Options) {
        if let Some(begun) = self.begun.take() {
            self.request.deadline = self.request.deadline.min(Instant::now() + options.max_time);
            // Nobody listens if it was given up at this moment.
            let _ = begun.send(self.request.deadline);
        }
    }
}

/// One child.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) pid: u32,
    customer: Option<CustomerId>,
    /// The first runs; the others wait in the child.
    pub(super) flights: VecDeque<Flight>,
    /// Bytes for the socket.
    pub(super) out: Vec<u8>,
    pub(super) wake: Arc<Notify>,
    /// Whether it is to be killed.
    pub(super) doomed: bool,
    /// Whether it is to be killed once the running script ends: what it would begin next runs elsewhere.
    pub(super) retiring: bool,
    /// When the first began.
    pub(super) began: Instant,
    /// Whether a task looks after those behind the first.
    watched: bool,
    /// The scripts that it knows, by text: at most `max_scripts`, so nobody gains by texts that collide.
    scripts: IdMap<Arc<str>, u32>,
    turn_runs: u32,
    turn_since: Instant,
}

#[derive(Debug)]
pub(super) struct State {
    queue: Queue<Flight>,
    pub(super) workers: IdMap<u64, Worker>,
    roster: Roster,
    pub(super) patience: Patience,
    starting: usize,
    next_id: u64,
    pub(super) closed: bool,
}

impl JsPool {
    /// Starts the first children and waits until one is ready. Must be called inside a tokio runtime; its socket I/O
    /// is done there.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(outbound: OutboundClient, options: Options) -> Result<Self, StartError> {
        let spawner = Spawner::new(&options).map_err(StartError::Spawn)?;
        let shared = Arc::new(Shared {
            options,
            outbound,
            spawner,
            runtime: Handle::current(),
            state: Mutex::new(State::new()),
        });
        let pool = Self {
            handle: Arc::new(CloseOnDrop(Arc::clone(&shared))),
        };
        let link = worker::connect(&shared).await?;
        shared.runtime.spawn(worker::live(Arc::clone(&shared), link));
        Ok(pool)
    }

    /// Runs a script. Dropping the future gives the run up; a script that has begun is killed. It may wait for a child
    /// until its deadline, and run for `max_time` once it has begun.
    pub async fn run(&self, request: RunRequest) -> RunReport {
        self.run_with(request, Calls::default()).await
    }

    /// The same, and its requests count for what is given.
    pub(crate) async fn run_with(&self, request: RunRequest, calls: Calls) -> RunReport {
        let shared = &self.handle.0;
        let options = &shared.options;
        let sizes = request.results.iter().map(|(name, results)| name.len() + results.json().len());
        let size = request.script.len() + request.context.json().len() + request.config.len() + sizes.sum::<usize>();
        if size + FRAME_OVERHEAD > options.max_frame {
            return RunReport::failed(RunError::InputTooLarge);
        }
        let deadline = request.deadline;
        let (answer, mut outcome) = oneshot::channel();
        let (begun, begins) = oneshot::channel();
        let id = match shared.lock().submit((request, calls), answer, begun, shared) {
            Ok(id) => id,
            Err(error) => return RunReport::failed(error),
        };
        let mut cancel = Cancel { shared, id, armed: true };
        let ended = async {
            tokio::select! {
                biased;
                ended = &mut outcome => Ok(ended),
                Ok(until) = begins => timeout_at(until, outcome).await,
            }
        };
        match timeout_at(deadline, ended).await.and_then(|ended| ended) {
            Ok(ended) => {
                cancel.armed = false;
                ended.unwrap_or_else(|_| RunReport::failed(RunError::Closed))
            }
            Err(_) => RunReport::failed(RunError::TimedOut),
        }
    }

    /// The process ids of the children, for diagnosis.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        self.handle.0.lock().workers.values().map(|worker| worker.pid).collect()
    }

    /// How many runs wait for a slot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.handle.0.lock().queue.len()
    }
}

/// Looks after what waits in a child behind its running script, as long as something does.
async fn watch(shared: Arc<Shared>, id: u64) {
    loop {
        sleep(shared.options.begin_within).await;
        if !shared.lock().relieve(id, &shared) {
            return;
        }
    }
}

/// Kills the child that runs a script nobody waits for any more.
struct Cancel<'a> {
    shared: &'a Arc<Shared>,
    id: u64,
    armed: bool,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let mut state = self.shared.lock();
        let State { workers, patience, .. } = &mut *state;
        for worker in workers.values_mut() {
            if let Some(first) = worker.flights.front().filter(|first| first.id == self.id) {
                patience.exhausted(first.request.owner);
                worker.doom();
            }
        }
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; if some did, a pool that goes on is better than none.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    pub(super) fn new(pid: u32) -> Self {
        Self {
            pid,
            customer: None,
            flights: VecDeque::new(),
            out: Vec::new(),
            wake: Arc::new(Notify::new()),
            doomed: false,
            retiring: false,
            began: Instant::now(),
            watched: false,
            scripts: IdMap::default(),
            turn_runs: 0,
            turn_since: Instant::now(),
        }
    }

    pub(super) fn doom(&mut self) {
        self.doomed = true;
        self.wake.notify_one();
    }

    fn turn_is_over(&self, options: &Options, now: Instant) -> bool {
        self.turn_runs >= options.turn_runs || now.saturating_duration_since(self.turn_since) >= options.turn_time
    }

    /// The number of a script that it does not know yet, once it has been told.
    fn tell(&mut self, script: &Arc<str>) -> u32 {
        let number = u32::try_from(self.scripts.len()).unwrap_or(u32::MAX);
        self.scripts.insert(Arc::clone(script), number);
        frame::push(&mut self.out, &ToChild::Script { number, text: script });
        number
    }

    /// Writes the frame of a run of a script that it knows.
    fn send(&mut self, mut flight: Flight, script: u32, options: &Options, pace: Pace) {
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
        if self.flights.is_empty() {
            self.began = Instant::now();
        }
        self.turn_runs = self.turn_runs.saturating_add(1);
        if self.flights.is_empty() {
            flight.begin(options);
        }
        self.flights.push_back(flight);
        self.wake.notify_one();
    }
}

impl State {
    /// Of a pool whose first child starts.
    fn new() -> Self {
        Self {
            queue: Queue::new(),
            workers: IdMap::default(),
            roster: Roster::default(),
            patience: Patience::default(),
            starting: 1,
            next_id: 1,
            closed: false,
        }
    }

    fn submit(
        &mut self,
        (request, calls): (RunRequest, Calls),
        answer: oneshot::Sender<RunReport>,
        begun: oneshot::Sender<Instant>,
        shared: &Arc<Shared>,
    ) -> Result<u64, RunError> {
        if self.closed {
            return Err(RunError::Closed);
        }
        if self.queue.len() >= shared.options.max_waiting {
            return Err(RunError::Busy);
        }
        let id = self.next_id;
        self.next_id += 1;
        let owner = request.owner;
        self.queue.push(
            owner,
            Flight {
                id,
                request,
                answer,
                begun: Some(begun),
                fetches: 0,
                sending: Sending::new(owner, calls),
            },
        );
        self.pump(shared);
        Ok(id)
    }

    /// A child is ready.
    pub(super) fn arrived(&mut self, worker: Worker, shared: &Arc<Shared>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.starting -= 1;
        self.workers.insert(id, worker);
        self.roster.arrived(id);
        self.pump(shared);
        id
    }

    /// A child did not start.
    pub(super) fn failed_to_start(&mut self) {
        self.starting -= 1;
    }

    /// A child ended. The run that it had begun fails, unless it said that it ends; the others run elsewhere.
    pub(super) fn departed(&mut self, id: u64, said_so: bool, shared: &Arc<Shared>) {
        let Some(mut worker) = self.workers.remove(&id) else { return };
        self.roster.departed(id, worker.customer);
        if let Some(first) = worker.flights.front() {
            self.roster.ends(first.request.owner);
        }
        if !said_so && let Some(first) = worker.flights.pop_front() {
            self.patience.exhausted(first.request.owner);
            // Nobody waits if it was killed at its deadline.
            drop(first.answer.send(RunReport::failed(RunError::Killed)));
        }
        while let Some(flight) = worker.flights.pop_back() {
            self.queue.push_front(flight.request.owner, flight);
        }
        self.pump(shared);
    }

    /// Takes a run off its child, if it is the one that the child has begun.
    pub(super) fn take_first(&mut self, id: u64, run: u64) -> Option<Flight> {
        let worker = self.workers.get_mut(&id)?;
        let first = worker.flights.pop_front_if(|first| first.id == run)?;
        if worker.flights.is_empty() {
            self.roster.ends(first.request.owner);
        }
        Some(first)
    }

    fn close(&mut self) {
        self.closed = true;
        drop(self.queue.drain());
        self.workers.values_mut().for_each(Worker::doom);
    }

    /// Hands out work until nothing more can be handed out.
    pub(super) fn pump(&mut self, shared: &Arc<Shared>) {
        if self.closed {
            return;
        }
        let options = &shared.options;
        let now = Instant::now();
        loop {
            // One that loses its slot gives its place to the last.
            for at in (0..self.roster.holders().len()).rev() {
                if let Some(id) = self.roster.holders().get(at).copied() {
                    self.feed(id, now, shared);
                }
            }
            if !self.attach(now, options) {
                break;
            }
        }
        while let Some(old) = self.roster.forget_old(options.kept) {
            self.workers.get_mut(&old).into_iter().for_each(Worker::doom);
        }
        for _ in (self.roster.spares().len() + self.starting)..options.spares.max(1) {
            self.starting += 1;
            shared.runtime.spawn(worker::start(Arc::clone(shared)));
        }
    }

    /// Takes back what waits behind a script that has run for long, if another child is free for it; whether to look again.
    fn relieve(&mut self, id: u64, shared: &Arc<Shared>) -> bool {
        let options = &shared.options;
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        let owner = match worker.flights.front() {
            Some(first) if worker.flights.len() > 1 && !worker.doomed => first.request.owner,
            _ => {
                worker.watched = false;
                return false;
            }
        };
        if worker.began.elapsed() < options.begin_within || !self.has_room(options, owner) {
            return true;
        }
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        worker.retiring = true;
        worker.watched = false;
        while worker.flights.len() > 1
            && let Some(flight) = worker.flights.pop_back()
        {
            self.queue.push_front(owner, flight);
        }
        self.pump(shared);
        false
    }

    /// Whether one more child could run for a user now.
    fn has_room(&self, options: &Options, owner: UserKey) -> bool {
        self.roster.holders().len() < options.slots
            && self.roster.running(owner) < options.per_user
            && self.roster.has_child(owner.customer)
    }

    /// Gives a child that holds a slot what it may take, or takes the slot away.
    fn feed(&mut self, id: u64, now: Instant, shared: &Arc<Shared>) {
        let Self {
            queue, roster, patience, ..
        } = self;
        let options = &shared.options;
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(customer) = worker.customer else { return };
        while !worker.doomed && !worker.retiring && worker.flights.len() < options.in_flight {
            let user = worker.flights.front().map(|first| first.request.owner);
            if user.is_some_and(|user| !queue.has(user)) {
                return;
            }
            let gives_way = worker.turn_is_over(options, now) && queue.one_waits(|other| !roster.holds(other));
            let next = match user {
                _ if gives_way => None,
                Some(user) => Some(user),
                None => queue.next_user(customer, |user| roster.running(user) < options.per_user),
            };
            let Some(flight) = next.and_then(|user| queue.take_of(user)) else {
                if user.is_none() {
                    roster.leave(id, customer);
                    roster.keep(id, customer);
                }
                return;
            };
            let owner = flight.request.owner;
            if flight.answer.is_closed() {
                // Given up while it waited.
                continue;
            }
            let script = worker.scripts.get(&flight.request.script).copied();
            if script.is_none() && worker.scripts.len() >= options.max_scripts {
                queue.push_front(owner, flight);
                if user.is_none() {
                    roster.leave(id, customer);
                    worker.doom();
                }
                return;
            }
            let script = script.unwrap_or_else(|| worker.tell(&flight.request.script));
            worker.send(flight, script, options, patience.with(owner));
            if user.is_none() {
                roster.begins(owner);
            } else if !worker.watched {
                worker.watched = true;
                shared.runtime.spawn(watch(Arc::clone(shared), id));
            }
        }
    }

    /// Gives a free slot to the next customer that waits; whether it did.
    fn attach(&mut self, now: Instant, options: &Options) -> bool {
        let roster = &mut self.roster;
        if roster.holders().len() >= options.slots {
            return false;
        }
        let wants = |customer, users: &mut vec_deque::Iter<'_, UserKey>| {
            roster.has_child(customer) && users.any(|user| roster.running(*user) < options.per_user)
        };
        // Whoever has no slot comes first; so, too, does a customer's second child not start while another waits for its only one.
        let first = self
            .queue
            .next_customer(|customer, users| !roster.holds(customer) && wants(customer, users));
        let Some(customer) = first.or_else(|| self.queue.next_customer(wants)) else {
            return false;
        };
        let chosen = roster.attach(customer).and_then(|id| self.workers.get_mut(&id));
        let Some(worker) = chosen else { return false };
        worker.customer = Some(customer);
        worker.turn_runs = 0;
        worker.turn_since = now;
        true
    }
}
