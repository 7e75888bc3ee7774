//! The pool: who runs where, decided under one short lock; the sockets are served by one task per child.
//!
//! A slot is the right to run. A child that holds one belongs to one customer; when its turn is over and another
//! customer waits, the slot goes to a child of that customer or to a fresh one, and the old child is kept for its
//! customer's next turn, as far as there is room (starting one costs about 3 ms, a kept one a few MiB). Frames in
//! flight to one child are of one user, so a slow script delays only its own user; or they are all of scripts that were
//! over at once when they last ran there, for users whose own last runs were short: a child that goes on without a pause
//! finds its caches warm. What waits behind a slow one for long goes to another child as soon as one is free, and the
//! slow one's child ends with it. A deadline that passes kills the child: only the running script fails, the others are
//! sent again elsewhere. A script that waits for an answer or a timer needs no processor: where others wait for a slot, its child steps
//! aside and leaves them its own.
//!
//! The tasks live on the runtime that started the pool. With one owner arbiter that is the arbiter's: a run then costs
//! no hop between threads, and writes that become ready in one turn of the loop leave in one call.

mod child;
mod roster;
#[cfg(test)]
mod tests;

pub(super) use self::child::{End, Flight, Worker};
use self::roster::Roster;
use super::calls::{Calls, Sending};
use super::patience::Patience;
use super::queue::Queue;
use super::run::{RunError, RunReport, RunRequest, UserKey};
use super::spawner::Spawner;
use super::{Options, StartError, worker};
use crate::outbound::OutboundClient;
use perseat_domain::id::{CustomerId, IdMap};
use std::cell::Cell;
use std::collections::vec_deque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

/// Room in a frame beside its payload.
const FRAME_OVERHEAD: usize = 4096;
/// How long before its step's deadline a script is asked to stop, so that its child need not be killed.
const SOFT_STOP: Duration = Duration::from_millis(25);
/// What waits behind another user's run for so many times `begin_within` waits for any child instead. That run was expected to be over
/// at once, and where processors are short it may not have begun: sooner, its child would be killed for nothing.
/// No key: it goes with `begin_within`.
const BEGIN_ELSEWHERE: u32 = 5;

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
    /// until its deadline, and run for `max_time` once it has begun. Requests that it did not wait for are sent first.
    pub async fn run(&self, request: RunRequest) -> RunReport {
        self.run_with(request, Calls::default()).await
    }

    /// The same, and its requests count for what is given.
    pub(crate) async fn run_with(&self, request: RunRequest, calls: Calls) -> RunReport {
        let shared = &self.handle.0;
        let options = &shared.options;
        if request.size() + FRAME_OVERHEAD > options.max_frame {
            return RunReport::failed(RunError::InputTooLarge);
        }
        let deadline = request.deadline;
        let has_begun = Cell::new(false);
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
                Ok(until) = begins => {
                    has_begun.set(true);
                    timeout_at(until, outcome).await
                }
            }
        };
        match timeout_at(deadline, ended).await.and_then(|ended| ended) {
            Ok(ended) => {
                cancel.armed = false;
                let mut ended = ended.unwrap_or_else(|_| RunReport::failed(RunError::Closed));
                if let Some(rest) = ended.rest.take() {
                    worker::send_rest(shared, rest).await;
                }
                ended
            }
            Err(_) if has_begun.get() => RunReport::failed(RunError::TimedOut),
            Err(_) => RunReport::failed(RunError::NoChild),
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

/// Looks after what waits in a child behind its running script, and for what it runs to be over, as long as something does.
async fn watch(shared: Arc<Shared>, id: u64) {
    loop {
        sleep(shared.options.begin_within).await;
        let mut state = shared.lock();
        let goes_on = state.relieve(id, &shared);
        state.pump(&shared);
        if !goes_on {
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
                answers: 0,
                sending: Sending::new(owner, calls, shared.options.fetches_in_flight),
                given: Instant::now(),
                is_quick: false,
                was_relieved: false,
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

    /// A child ended. The run that it had begun fails, unless the child said that it ends or was killed for what ran before; the others
    /// run elsewhere.
    pub(super) fn departed(&mut self, id: u64, said_so: bool, shared: &Arc<Shared>) {
        let Some(mut worker) = self.workers.remove(&id) else { return };
        self.roster.departed(id, worker.customer);
        while let Some(flight) = worker.take_back(&mut self.roster) {
            self.queue.push_front(flight.request.owner, flight);
        }
        if let Some(first) = worker.flights.pop_front() {
            worker.forget(&first, &mut self.roster);
            // It was killed for what ran before, which it cannot help, and has done nothing yet that others can see.
            let is_innocent = worker.doomed && first.fetches == 0 && !first.answer.is_closed();
            if said_so || is_innocent {
                self.queue.push_front(first.request.owner, first);
            } else {
                if !worker.doomed {
                    self.patience.exhausted(first.request.owner);
                }
                // Nobody waits if it was killed at its deadline.
                drop(first.answer.send(RunReport::failed(RunError::Killed)));
            }
        }
        self.pump(shared);
    }

    /// The script that a child runs has nothing to do but to wait.
    pub(super) fn waits(&mut self, id: u64, shared: &Arc<Shared>) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.waits = true;
        }
        if self.queue.len() > 0 {
            self.pump(shared);
        }
    }

    /// It was given an answer.
    pub(super) fn answered(&mut self, id: u64, shared: &Arc<Shared>) {
        self.goes_on(id, &shared.options);
        // Its place among those that stepped aside is free.
        if self.queue.len() > 0 {
            self.pump(shared);
        }
    }

    /// It has something to do again.
    fn goes_on(&mut self, id: u64, options: &Options) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.waits = false;
        if let Some(customer) = worker.customer {
            self.roster.goes_on(id, customer);
            self.forget_old(options);
        }
    }

    /// Takes a run off its child, if it is the one that the child has begun.
    pub(super) fn take_first(&mut self, id: u64, run: u64, options: &Options) -> Option<Flight> {
        self.goes_on(id, options);
        let worker = self.workers.get_mut(&id)?;
        let first = worker.flights.pop_front_if(|first| first.id == run)?;
        worker.forget(&first, &mut self.roster);
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
            let waiting = self.queue.len();
            // One that loses its slot gives its place to the last.
            for at in (0..self.roster.holders().len()).rev() {
                if let Some(id) = self.roster.holders().get(at).copied() {
                    self.feed(id, now, shared);
                }
            }
            // Every customer has a child before one has a second: that is for what cannot wait in its first.
            if self.attach(true, now, options) {
                continue;
            }
            for at in 0..self.roster.holders().len() {
                self.pack(at, now, shared);
            }
            // What one takes may be what another left for somebody.
            if self.queue.len() == waiting && !self.attach(false, now, options) {
                break;
            }
        }
        if self.roster.holders().len() < options.slots && self.queue.len() > 0 {
            self.watch_quick(now, shared);
        }
        self.forget_old(options);
        for _ in (self.roster.spares().len() + self.starting)..options.spares.max(1) {
            self.starting += 1;
            shared.runtime.spawn(worker::start(Arc::clone(shared)));
        }
    }

    /// Lets those go that were kept for longest, beyond what there is room for.
    fn forget_old(&mut self, options: &Options) {
        let unused = options.slots.saturating_sub(self.roster.holders().len());
        while let Some(old) = self.roster.forget_old(options.kept + unused) {
            self.workers.get_mut(&old).into_iter().for_each(Worker::doom);
        }
    }

    /// Sees to it that somebody looks again where what was expected to be over soon is not.
    fn watch_quick(&mut self, now: Instant, shared: &Arc<Shared>) {
        for id in self.roster.holders() {
            let worker = self.workers.get_mut(id);
            if let Some(worker) = worker.filter(|worker| worker.is_over_soon(now, &shared.options)) {
                worker.watch(*id, shared);
            }
        }
    }

    /// Takes back what waits behind a script that has run for long, if another child is free for it or it is another user's; whether to
    /// look again.
    fn relieve(&mut self, id: u64, shared: &Arc<Shared>) -> bool {
        let options = &shared.options;
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        let second = worker.flights.get(1).filter(|_| !worker.doomed);
        let Some(owner) = second.map(|second| second.request.owner) else {
            worker.watched = false;
            return false;
        };
        let is_slow = worker.began.elapsed() >= options.begin_within;
        let is_overdue = worker.held_up_others_for(options.begin_within.saturating_mul(BEGIN_ELSEWHERE));
        if is_slow && (is_overdue || self.has_room(options, owner)) {
            self.take_back(id, shared);
            return false;
        }
        true
    }

    /// Takes back all that waits in a child, which ends with the script that runs there.
    pub(super) fn take_back(&mut self, id: u64, shared: &Arc<Shared>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.retiring = true;
        worker.watched = false;
        let running = worker.flights.front().map(|first| first.request.owner);
        while let Some(mut flight) = worker.take_back(&mut self.roster) {
            flight.was_relieved |= Some(flight.request.owner) != running;
            self.queue.push_front(flight.request.owner, flight);
        }
        self.pump(shared);
    }

    /// Whether one more child could run for a user now.
    fn has_room(&self, options: &Options, owner: UserKey) -> bool {
        self.roster.holders().len() < options.slots
            && self.roster.slots(owner.customer) < options.per_customer()
            && self.roster.running(owner) < options.per_user
            && self.roster.has_child(owner.customer)
    }

    /// Gives a child that holds a slot what it may take, or takes the slot away.
    fn feed(&mut self, id: u64, now: Instant, shared: &Arc<Shared>) {
        let Self { queue, roster, .. } = self;
        let options = &shared.options;
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(customer) = worker.customer else { return };
        while worker.has_room(options) {
            let user = worker.flights.front().map(|first| first.request.owner);
            if user.is_some_and(|user| !queue.has(user) || !worker.is_open_for(user)) {
                return;
            }
            // After so many the child runs dry for whoever else of the customer is first, and may have to have it alone.
            if user.is_some_and(|user| worker.in_a_row >= options.turn_runs && queue.has_beside(user)) {
                return;
            }
            let gives_way = worker.turn_is_over(options, now) && queue.one_waits(|other| !roster.holds(other));
            let next = match user {
                _ if gives_way => None,
                Some(user) => Some(user),
                None => queue.next_user(customer, usize::MAX, |user, _| roster.running(user) < options.per_user),
            };
            let Some(flight) = next.and_then(|user| queue.take_of(user)) else {
                if user.is_none() {
                    roster.leave(id, customer);
                    roster.keep(id, customer);
                }
                return;
            };
            if flight.answer.is_closed() {
                // Given up while it waited.
                continue;
            }
            if !worker.knows(&flight) && worker.scripts.len() >= options.max_scripts {
                queue.push_front(flight.request.owner, flight);
                if user.is_none() {
                    roster.leave(id, customer);
                    worker.doom();
                }
                return;
            }
            worker.take(flight, roster, &self.patience, options);
            if worker.flights.len() > 1 {
                worker.watch(id, shared);
            }
        }
    }

    /// Gives the child in a place something of another user to go on with, where all it has will be over at once.
    fn pack(&mut self, at: usize, now: Instant, shared: &Arc<Shared>) {
        let Self {
            queue, roster, patience, ..
        } = self;
        let options = &shared.options;
        let Some((id, worker)) = roster.holders().get(at).and_then(|id| Some((*id, self.workers.get_mut(id)?))) else {
            return;
        };
        let Some(customer) = worker.customer else { return };
        let is_open = worker.has_room(options) && !worker.flights.is_empty();
        if !is_open || (worker.turn_is_over(options, now) && queue.one_waits(|other| !roster.holds(other))) {
            return;
        }
        let may_share = |user, flight: &Flight| {
            let is_free = roster.running(user) < options.per_user && !flight.was_relieved;
            is_free && worker.is_open_for(user) && worker.is_quick(flight, patience)
        };
        // As in `feed`: who is first may have to have it alone.
        let among = if worker.in_a_row < options.turn_runs {
            options.in_flight
        } else {
            1
        };
        let next = queue.next_user(customer, among, may_share);
        let Some(flight) = next.and_then(|user| queue.take_of(user)) else {
            return;
        };
        if !flight.answer.is_closed() {
            worker.take(flight, roster, patience, options);
            worker.watch(id, shared);
        }
    }

    /// A child that holds a slot for a script that waits, and may leave it to others: one of this customer's, or anybody's.
    fn that_may_step_aside(&self, of: Option<CustomerId>, options: &Options) -> Option<(u64, CustomerId)> {
        self.roster.holders().iter().find_map(|id| {
            let worker = self.workers.get(id).filter(|worker| worker.waits && !worker.doomed)?;
            let customer = worker.customer.filter(|customer| of.is_none_or(|of| of == *customer))?;
            let may = self.roster.may_step_aside(customer, options.aside);
            may.then_some((*id, customer))
        })
    }

    /// Gives a free slot to the next customer that waits, to one that has none if so asked; whether it did.
    fn attach(&mut self, is_first: bool, now: Instant, options: &Options) -> bool {
        if self.queue.len() == 0 {
            return false;
        }
        while self.roster.holders().len() >= options.slots {
            let Some((id, customer)) = self.that_may_step_aside(None, options) else {
                return false;
            };
            self.roster.steps_aside(id, customer);
        }
        let roster = &self.roster;
        // What is over at once makes room at once. More of it side by side than there are cores only takes each other's caches.
        let held = roster.holders().iter().filter_map(|id| self.workers.get(id));
        let quick: Vec<_> = held
            .filter(|worker| worker.is_over_soon(now, options))
            .map(|worker| worker.customer)
            .collect();
        let is_half = quick.len() >= options.slots.div_ceil(2);
        if is_half && is_first {
            return false;
        }
        let is_at_its_limit = |customer| roster.slots(customer) >= options.per_customer();
        let wants = |customer, users: &mut vec_deque::Iter<'_, UserKey>| {
            let waits_for_its_own = is_half && quick.contains(&Some(customer));
            roster.holds(customer) != is_first
                && !waits_for_its_own
                && roster.has_child(customer)
                && users.any(|user| roster.running(*user) < options.per_user)
                && (!is_at_its_limit(customer) || self.that_may_step_aside(Some(customer), options).is_some())
        };
        let Some(customer) = self.queue.choose(wants) else { return false };
        let of_its_own = is_at_its_limit(customer).then(|| self.that_may_step_aside(Some(customer), options));
        self.queue.had_its_turn(customer);
        let roster = &mut self.roster;
        if let Some((id, customer)) = of_its_own.flatten() {
            roster.steps_aside(id, customer);
        }
        let chosen = roster.attach(customer).and_then(|id| self.workers.get_mut(&id));
        let Some(worker) = chosen else { return false };
        worker.customer = Some(customer);
        worker.turn_runs = 0;
        worker.turn_since = now;
        true
    }
}
