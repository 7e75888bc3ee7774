//! What happens to a pool in any order, without processes: what is kept up to date agrees with the children after each
//! step, and nothing waits that could begin.

mod said;
mod written;

use super::*;
use crate::component::IdempotencyKey;
use crate::js::{Part, Sandbox};
use crate::outbound::{self, Count, Policy};
use perseat_domain::id::{CustomerId, ExecutionId, UserId};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;
use tokio::runtime::Builder;
use tokio::sync::oneshot::error::TryRecvError;
use uuid::Uuid;

/// The runs whose end somebody waits for.
type Waiting = Vec<(u64, oneshot::Receiver<RunReport>)>;

/// What happens to a pool.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A user's script is to run.
    Submitted { customer: u128, user: u128, script: u8 },
    /// Nobody waits for one of the runs any more.
    GivenUp(Index),
    /// A child that was started is ready.
    Arrived,
    /// The first run of a child ended, and perhaps the child with it.
    Ended { child: Index, waited: bool, last: bool },
    /// A child ended.
    Departed { child: Index, said_so: bool },
    /// A child's first run has run for long.
    Relieved(Index),
    /// A child's first run has nothing to do but to wait.
    Waits(Index),
    /// It was given an answer.
    Answered(Index),
}

fn event() -> impl Strategy<Value = Event> {
    let submitted = (1..4_u128, 1..4_u128, 0..4_u8).prop_map(|(customer, user, script)| Event::Submitted { customer, user, script });
    let ended = (any::<Index>(), 0..4_u8).prop_map(|(child, how)| Event::Ended {
        child,
        waited: how == 1,
        last: how == 2,
    });
    let departed = (any::<Index>(), any::<bool>()).prop_map(|(child, said_so)| Event::Departed { child, said_so });
    prop_oneof![
        8 => submitted,
        1 => any::<Index>().prop_map(Event::GivenUp),
        4 => Just(Event::Arrived),
        6 => ended,
        2 => departed,
        1 => any::<Index>().prop_map(Event::Relieved),
        4 => any::<Index>().prop_map(Event::Waits),
        3 => any::<Index>().prop_map(Event::Answered),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let limits = (
        1..5_usize,
        1..3_usize,
        0..3_usize,
        0..3_usize,
        0..4_usize,
        1..4_u32,
        1..4_usize,
        any::<bool>(),
    );
    limits.prop_map(|(slots, per_user, spares, kept, aside, turn_runs, in_flight, is_patient)| Options {
        child_command: Some(vec!["/proc/self/exe".into()]),
        slots,
        per_user,
        spares,
        kept,
        aside,
        turn_runs,
        turn_time: Duration::from_secs(3600),
        begin_within: if is_patient { Duration::from_secs(3600) } else { Duration::ZERO },
        in_flight,
        max_scripts: 2,
        sandbox: Sandbox::BestEffort,
        ..Options::default()
    })
}

fn request(customer: u128, user: u128, script: u8) -> RunRequest {
    RunRequest {
        owner: UserKey {
            customer: CustomerId(Uuid::from_u128(customer)),
            user: Some(UserId(Uuid::from_u128(user))),
        },
        key: IdempotencyKey {
            execution: ExecutionId(Uuid::from_u128(1)),
            path: "0".into(),
        },
        script: script.to_string().into(),
        part: Part::Step,
        context: Arc::default(),
        config: "{}".to_owned().into(),
        results: Vec::new(),
        count: Count::default(),
        deadline: Instant::now() + Duration::from_secs(60),
    }
}

/// Those of the children of which something holds, in the order in which they came.
fn children(state: &State, counts: impl Fn(&Worker) -> bool) -> Vec<u64> {
    let mut ids: Vec<u64> = state
        .workers
        .iter()
        .filter(|(_, worker)| counts(worker))
        .map(|(id, _)| *id)
        .collect();
    ids.sort_unstable();
    ids
}

fn chosen(from: &[u64], index: Index) -> Option<u64> {
    (!from.is_empty()).then(|| *index.get(from))
}

/// What is true between any two events.
fn check(state: &State, options: &Options) {
    let sorted = |mut ids: Vec<u64>| {
        ids.sort_unstable();
        ids
    };
    let State {
        workers, roster, queue, ..
    } = state;
    let (holders, kept, spares) = (sorted(roster.holders().to_vec()), roster.kept(), sorted(roster.spares().to_vec()));
    let aside = sorted(roster.aside().to_vec());
    let kept_ids = sorted(kept.iter().map(|(_, id)| *id).collect());
    assert_eq!(spares, children(state, |worker| worker.customer.is_none()));
    let of_nobody = |id: &u64| !holders.contains(id) && !aside.contains(id) && !spares.contains(id) && !kept_ids.contains(id);
    for (id, worker) in workers {
        assert!(!of_nobody(id) || (worker.doomed && worker.flights.is_empty()), "{id} is lost");
        let is_aside = aside.contains(id);
        assert!(
            worker.flights.is_empty() || holders.contains(id) || is_aside,
            "{id} runs without a slot"
        );
        assert!(!is_aside || (worker.waits && !holders.contains(id)));
        for (place, flight) in worker.flights.iter().enumerate() {
            let owner = flight.request.owner;
            assert_eq!(Some(owner.customer), worker.customer);
            let mut before = worker.flights.iter().take(place);
            assert!(
                before.all(|other| other.is_quick || other.request.owner == owner),
                "a slow one holds up others"
            );
        }
        assert!(worker.flights.len() <= options.in_flight && worker.scripts.len() <= options.max_scripts);
        assert!(worker.flights.len() < 2 || worker.watched || worker.doomed, "nobody watches {id}");
    }
    for (customer, id) in kept {
        assert!(workers[id].customer == Some(*customer) && !workers[id].doomed && !holders.contains(id));
    }
    assert!(aside.len() <= options.aside && holders.len() + aside.len() <= options.slots + options.aside);
    assert!(kept.len() <= options.kept + options.slots.saturating_sub(holders.len()));
    assert!(spares.len() + state.starting >= options.spares.max(1));
    let of = |counts: &dyn Fn(&Worker) -> bool| holders.iter().filter(|id| counts(&workers[id])).count();
    let mut could_begin = Vec::new();
    for (customer, user) in (1..4).flat_map(|customer| (1..4).map(move |user| (customer, user))) {
        let owner = request(customer, user, 0).owner;
        let running = |ids: &[u64]| {
            let has = |worker: &Worker| worker.flights.iter().any(|flight| flight.request.owner == owner);
            ids.iter().filter(|id| has(&workers[id])).count()
        };
        let running = running(&holders) + running(&aside);
        assert_eq!(roster.running(owner), running);
        assert!(running <= options.per_user);
        let slots = of(&|worker| worker.customer == Some(owner.customer));
        assert_eq!(roster.slots(owner.customer), slots);
        let of_customer = aside.iter().filter(|id| workers[id].customer == Some(owner.customer)).count();
        assert!(of_customer <= options.aside.div_ceil(2));
        let has_child = !spares.is_empty() || kept.iter().any(|(of, _)| *of == owner.customer);
        assert_eq!(roster.has_child(owner.customer), has_child);
        if queue.has(owner) && running < options.per_user && has_child {
            could_begin.push(owner);
        }
    }
    // Whose own children are slow does not wait for others' quick ones.
    let now = Instant::now();
    let is_half = of(&|worker| worker.is_over_soon(now, options)) >= options.slots.div_ceil(2);
    let waits_for_quick = |owner: UserKey| {
        let is_its_own = |worker: &Worker| worker.customer == Some(owner.customer) && worker.is_over_soon(now, options);
        is_half && (!roster.holds(owner.customer) || of(&is_its_own) > 0)
    };
    for owner in could_begin.into_iter().filter(|owner| !waits_for_quick(*owner)) {
        let is_at_its_limit = roster.slots(owner.customer) >= options.per_customer();
        assert!(holders.len() >= options.slots || is_at_its_limit, "a slot is free for {owner:?}");
        assert_eq!(
            state.that_may_step_aside(is_at_its_limit.then_some(owner.customer), options),
            None,
            "one waits that {owner:?} need not wait for"
        );
    }
    let is_unwatched = |worker: &Worker| worker.is_over_soon(now, options) && !worker.watched;
    assert!(
        holders.len() >= options.slots || queue.len() == 0 || of(&is_unwatched) == 0,
        "nobody looks again"
    );
    let without_slot = queue.one_waits(|customer| of(&|worker| worker.customer == Some(customer)) == 0);
    for worker in holders
        .iter()
        .map(|id| &workers[id])
        .filter(|worker| !worker.doomed && !worker.retiring)
    {
        let first = worker.flights.front().expect("it holds a slot for something").request.owner;
        let could_take = worker.flights.len() < options.in_flight && queue.has(first) && worker.is_open_for(first);
        let runs_dry = worker.in_a_row >= options.turn_runs && queue.has_beside(first);
        let turn_is_over = (worker.turn_runs >= options.turn_runs && without_slot) || runs_dry;
        assert!(
            !could_take || turn_is_over || worker.scripts.len() == options.max_scripts,
            "{worker:?} could take more"
        );
    }
}

/// Whoever waits for a run has it on its way, or was told that its child ended.
fn check_runs(state: &State, waiting: &mut Waiting) {
    let flights = state.workers.values().flat_map(|worker| &worker.flights);
    let mut ids: Vec<u64> = flights.chain(state.queue.items()).map(|flight| flight.id).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "one is there twice: {ids:?}");
    waiting.retain_mut(|(id, outcome)| match outcome.try_recv() {
        Ok(report) => {
            assert_eq!(report.outcome, Err(RunError::Killed));
            false
        }
        Err(TryRecvError::Empty) => {
            assert!(ids.binary_search(id).is_ok(), "nothing becomes of {id}");
            true
        }
        Err(TryRecvError::Closed) => panic!("{id} is lost"),
    });
}

/// A child serves the customer that it served first.
fn check_customers(state: &State, served: &mut BTreeMap<u64, CustomerId>) {
    for (id, worker) in &state.workers {
        if let Some(customer) = worker.customer {
            assert_eq!(*served.entry(*id).or_insert(customer), customer, "{id} has served another customer");
        }
    }
}

/// Lets it happen.
fn happen(shared: &Arc<Shared>, event: Event, waiting: &mut Waiting) {
    let mut state = shared.lock();
    match event {
        Event::Submitted { customer, user, script } => {
            let (answer, outcome) = oneshot::channel();
            let (begun, _) = oneshot::channel();
            let run = (request(customer, user, script), Calls::default());
            waiting.push((state.submit(run, answer, begun, shared).unwrap(), outcome));
        }
        Event::GivenUp(run) if !waiting.is_empty() => {
            let (id, outcome) = waiting.swap_remove(run.index(waiting.len()));
            drop((outcome, state));
            drop(Cancel { shared, id, armed: true });
        }
        Event::Arrived if state.starting > 0 => {
            state.arrived(Worker::new(0), shared);
        }
        Event::Ended { child, waited, last } => {
            let busy = children(&state, |worker| !worker.flights.is_empty());
            if let Some(child) = chosen(&busy, child) {
                drop(state);
                let cpu = Duration::ZERO;
                let run = finish(shared, child, End { cpu, waited }, last);
                waiting.retain(|(id, _)| *id != run);
            }
        }
        Event::Departed { child, said_so } => {
            if let Some(child) = chosen(&children(&state, |_| true), child) {
                state.departed(child, said_so, shared);
            }
        }
        Event::Relieved(child) => {
            if let Some(child) = chosen(&children(&state, |_| true), child) {
                state.relieve(child, shared);
                state.pump(shared);
            }
        }
        Event::Waits(child) => {
            if let Some(child) = chosen(&children(&state, |worker| !worker.flights.is_empty()), child) {
                state.waits(child, shared);
            }
        }
        Event::Answered(child) => {
            if let Some(child) = chosen(&children(&state, |worker| !worker.flights.is_empty()), child) {
                state.answered(child, shared);
            }
        }
        Event::GivenUp(_) | Event::Arrived => {}
    }
}

/// A pool whose first child starts, inside a runtime.
fn pool(options: Options) -> Arc<Shared> {
    Arc::new(Shared {
        outbound: OutboundClient::new(Policy::default(), outbound::Options::default()).unwrap(),
        spawner: Spawner::new(&options).unwrap(),
        runtime: Handle::current(),
        state: Mutex::new(State::new()),
        options,
    })
}

/// Limits of one slot for users of one customer.
fn options_of_one(in_flight: usize) -> Options {
    Options {
        child_command: Some(vec!["/proc/self/exe".into()]),
        slots: 1,
        per_user: 1,
        in_flight,
        turn_runs: 4,
        begin_within: Duration::from_secs(2),
        sandbox: Sandbox::BestEffort,
        ..Options::default()
    }
}

/// Such a pool with its child.
fn pool_of_one(in_flight: usize) -> Arc<Shared> {
    let shared = pool(options_of_one(in_flight));
    happen(&shared, Event::Arrived, &mut Vec::new());
    shared
}

/// The users of which the child that holds the slot has something, in their order.
fn held(shared: &Shared) -> Vec<u128> {
    let state = shared.lock();
    let worker = &state.workers[&state.roster.holders()[0]];
    let user = |flight: &Flight| flight.request.owner.user.map_or(0, |user| user.0.as_u128());
    worker.flights.iter().map(user).collect()
}

/// The first run of a child ended, this one.
fn finish(shared: &Arc<Shared>, child: u64, end: End, last: bool) -> u64 {
    let run = shared.lock().workers[&child].flights[0].id;
    worker::done(shared, child, run, last, Some(end)).unwrap();
    run
}

/// The first run of the child that holds the first slot ended by itself.
fn end(shared: &Arc<Shared>, waited: bool) {
    let child = shared.lock().roster.holders()[0];
    let cpu = Duration::ZERO;
    finish(shared, child, End { cpu, waited }, false);
}

/// Users' runs of one script.
fn submit(shared: &Arc<Shared>, customer: u128, users: impl IntoIterator<Item = u128>, waiting: &mut Waiting) {
    for user in users {
        happen(shared, Event::Submitted { customer, user, script: 0 }, waiting);
    }
}

/// A pool of one slot whose child holds runs of these users, the first of which has begun.
fn pool_that_holds(users: &[u128], waiting: &mut Waiting) -> (Arc<Shared>, u64) {
    let shared = pool_of_one(users.len());
    submit(&shared, 1, [100], waiting);
    end(&shared, false);
    waiting.clear();
    submit(&shared, 1, users.iter().copied(), waiting);
    assert_eq!(held(&shared), users);
    let child = shared.lock().roster.holders()[0];
    (shared, child)
}

#[tokio::test]
async fn users_wait_in_one_child_behind_scripts_that_are_over_at_once() {
    let shared = pool_of_one(3);
    let mut waiting = Vec::new();
    submit(&shared, 1, 1..=6, &mut waiting);
    assert_eq!(held(&shared), [1], "nobody knows yet how long it takes");
    end(&shared, false);
    assert_eq!(held(&shared), [2, 3, 4]);
    end(&shared, false);
    assert_eq!(held(&shared), [3, 4, 5]);
    end(&shared, true);
    assert_eq!(held(&shared), [4, 5], "one has waited, and the next may");
    end(&shared, false);
    assert_eq!(held(&shared), [5]);
    end(&shared, false);
    assert_eq!(held(&shared), [6]);
}

#[tokio::test]
async fn a_script_that_computes_for_long_or_brings_much_has_a_child_alone() {
    let shared = pool_of_one(3);
    let mut waiting = Vec::new();
    submit(&shared, 1, 1..=4, &mut waiting);
    let quick = shared.options.quick();
    for (cpu, then) in [(quick + Duration::from_micros(1), vec![2]), (quick, vec![3, 4])] {
        let child = shared.lock().roster.holders()[0];
        finish(&shared, child, End { cpu, waited: false }, false);
        assert_eq!(held(&shared), then);
    }
    let mut large = request(1, 5, 0);
    large.config = "x".repeat(64 << 10).into();
    let (answer, _outcome) = oneshot::channel();
    let (begun, _) = oneshot::channel();
    shared.lock().submit((large, Calls::default()), answer, begun, &shared).unwrap();
    assert_eq!(held(&shared), [3, 4]);
}

#[tokio::test]
async fn nobody_waits_in_one_child_behind_a_user_whose_last_script_was_slow() {
    let shared = pool_of_one(3);
    let mut waiting = Vec::new();
    submit(&shared, 1, [1], &mut waiting);
    end(&shared, false);
    shared.lock().patience.exhausted(request(1, 2, 0).owner);
    submit(&shared, 1, [2, 3, 4], &mut waiting);
    assert_eq!(held(&shared), [2]);
    end(&shared, false);
    assert_eq!(held(&shared), [3, 4]);
    shared.lock().patience.exhausted(request(1, 5, 0).owner);
    submit(&shared, 1, [5], &mut waiting);
    assert_eq!(held(&shared), [3, 4]);
}

#[tokio::test]
async fn who_needs_a_child_alone_gets_it_while_others_keep_coming() {
    let mut waiting = Vec::new();
    let (shared, _) = pool_that_holds(&[1, 2, 3], &mut waiting);
    happen(
        &shared,
        Event::Submitted {
            customer: 1,
            user: 9,
            script: 1,
        },
        &mut waiting,
    );
    let mut ends = 0;
    // Users with one run each, then one with many.
    submit(&shared, 1, [3; 8], &mut waiting);
    while !held(&shared).contains(&9) {
        let user = held(&shared)[0];
        submit(&shared, 1, [if user == 3 { 3 } else { user + 10 }], &mut waiting);
        end(&shared, false);
        ends += 1;
        assert!(ends <= 2 * (shared.options.turn_runs + 3), "it waits for ever");
    }
    assert!(ends > 3, "the others went on meanwhile");
    assert_eq!(held(&shared), [9]);
}

#[tokio::test]
async fn who_waits_for_long_behind_another_user_goes_to_the_next_child_and_is_not_held_up_again() {
    let mut waiting = Vec::new();
    let (shared, child) = pool_that_holds(&[1, 2, 3], &mut waiting);
    assert!(shared.lock().relieve(child, &shared) && held(&shared) == [1, 2, 3]);
    let patience = shared.options.begin_within * BEGIN_ELSEWHERE;
    shared.lock().workers.get_mut(&child).unwrap().flights[2].given -= patience;
    assert!(shared.lock().relieve(child, &shared), "the running one has only just begun");
    let is_slow = shared.options.begin_within;
    shared.lock().workers.get_mut(&child).unwrap().began -= is_slow;
    assert!(!shared.lock().relieve(child, &shared));
    assert_eq!(held(&shared), [1]);
    submit(&shared, 1, [4], &mut waiting);
    end(&shared, false);
    shared.lock().departed(child, false, &shared);
    happen(&shared, Event::Arrived, &mut waiting);
    assert_eq!(held(&shared), [2], "the new child does not know the script");
    end(&shared, false);
    assert_eq!(held(&shared), [3, 4], "one that nobody held up may wait");
    assert!(
        waiting[2..]
            .iter_mut()
            .all(|(_, outcome)| outcome.try_recv().is_err_and(|error| error == TryRecvError::Empty))
    );
}

#[tokio::test]
async fn what_is_over_at_once_runs_in_half_of_the_slots_unless_it_takes_longer() {
    let shared = pool(Options {
        slots: 4,
        ..options_of_one(1)
    });
    let mut waiting = Vec::new();
    for customer in 1..=4 {
        happen(&shared, Event::Arrived, &mut waiting);
        submit(&shared, customer, [1], &mut waiting);
    }
    let holders = || shared.lock().roster.holders().to_vec();
    assert_eq!(holders().len(), 4, "nobody knows yet how long it takes");
    for _ in 0..4 {
        end(&shared, false);
    }
    assert!(holders().is_empty());
    for customer in 1..=3 {
        submit(&shared, customer, [1], &mut waiting);
    }
    assert_eq!(holders().len(), 2);
    let child = holders()[0];
    let overdue = shared.options.begin_within;
    let mut state = shared.lock();
    assert!(state.workers[&child].watched);
    state.workers.get_mut(&child).unwrap().began -= overdue;
    assert!(!state.relieve(child, &shared), "nothing waits in it");
    state.pump(&shared);
    assert_eq!(state.roster.holders().len(), 3);
}

#[tokio::test]
async fn whose_own_script_waits_gets_a_second_child_beside_others_quick_ones() {
    let shared = pool(Options {
        slots: 4,
        ..options_of_one(1)
    });
    let mut waiting = Vec::new();
    for customer in 1..=2 {
        happen(&shared, Event::Arrived, &mut waiting);
        submit(&shared, customer, [1], &mut waiting);
    }
    for _ in 1..=2 {
        end(&shared, false);
    }
    happen(&shared, Event::Arrived, &mut waiting);
    // Two that are over at once, and one that nobody knows.
    for (customer, user) in [(3, 1), (1, 1), (2, 1)] {
        submit(&shared, customer, [user], &mut waiting);
    }
    let holders = || shared.lock().roster.holders().len();
    assert_eq!(holders(), 3);
    happen(&shared, Event::Arrived, &mut waiting);
    submit(&shared, 1, [2], &mut waiting);
    assert_eq!(holders(), 3, "it waits for its own");
    submit(&shared, 3, [2], &mut waiting);
    assert_eq!(holders(), 4);
}

#[tokio::test]
async fn a_customer_without_a_child_comes_before_anothers_second() {
    let shared = pool(Options {
        slots: 2,
        ..options_of_one(1)
    });
    let mut waiting = Vec::new();
    happen(&shared, Event::Arrived, &mut waiting);
    submit(&shared, 1, [1, 2], &mut waiting);
    submit(&shared, 2, [1], &mut waiting);
    happen(&shared, Event::Arrived, &mut waiting);
    let state = shared.lock();
    let [one, other] = [1, 2].map(|customer| state.roster.holds(request(customer, 1, 0).owner.customer));
    assert!(one && other, "each has one");
}

proptest! {
    #[test]
    fn what_the_pool_knows_of_its_children_is_true_whatever_happens(options in options(), events in vec(event(), 1..120)) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let shared = pool(options);
        shared.lock().arrived(Worker::new(0), &shared);
        let (mut waiting, mut served) = (Vec::new(), BTreeMap::new());
        for event in events {
            happen(&shared, event, &mut waiting);
            check(&shared.lock(), &shared.options);
            check_runs(&shared.lock(), &mut waiting);
            check_customers(&shared.lock(), &mut served);
        }
    }
}
