//! What happens to a pool in any order, without processes: what is kept up to date agrees with the children after each
//! step, and nothing waits that could begin.

use super::*;
use crate::component::IdempotencyKey;
use crate::js::Sandbox;
use crate::outbound::{self, Count, Policy};
use perseat_domain::id::{ExecutionId, UserId};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::HashSet;
use tokio::runtime::Builder;
use uuid::Uuid;

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
    Ended { child: Index, last: bool },
    /// A child ended.
    Departed { child: Index, said_so: bool },
    /// A child's first run has run for long.
    Relieved(Index),
}

fn event() -> impl Strategy<Value = Event> {
    let submitted = (1..4_u128, 1..4_u128, 0..4_u8).prop_map(|(customer, user, script)| Event::Submitted { customer, user, script });
    let ended = (any::<Index>(), any::<bool>(), any::<bool>()).prop_map(|(child, one, other)| Event::Ended { child, last: one && other });
    let departed = (any::<Index>(), any::<bool>()).prop_map(|(child, said_so)| Event::Departed { child, said_so });
    prop_oneof![
        8 => submitted,
        1 => any::<Index>().prop_map(Event::GivenUp),
        4 => Just(Event::Arrived),
        6 => ended,
        2 => departed,
        1 => any::<Index>().prop_map(Event::Relieved),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let limits = (1..4_usize, 1..3_usize, 0..3_usize, 0..3_usize, 1..4_u32, 1..4_usize);
    limits.prop_map(|(slots, per_user, spares, kept, turn_runs, in_flight)| Options {
        child_command: Some(vec!["/proc/self/exe".into()]),
        slots,
        per_user,
        spares,
        kept,
        turn_runs,
        turn_time: Duration::from_secs(3600),
        begin_within: Duration::ZERO,
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
    let kept_ids = sorted(kept.iter().map(|(_, id)| *id).collect());
    assert_eq!(spares, children(state, |worker| worker.customer.is_none()));
    let of_nobody = |id: &u64| !holders.contains(id) && !spares.contains(id) && !kept_ids.contains(id);
    for (id, worker) in workers {
        assert!(!of_nobody(id) || (worker.doomed && worker.flights.is_empty()), "{id} is lost");
        assert!(worker.flights.is_empty() || holders.contains(id), "{id} runs without a slot");
        let users: HashSet<UserKey> = worker.flights.iter().map(|flight| flight.request.owner).collect();
        assert!(users.len() <= 1 && users.iter().all(|user| Some(user.customer) == worker.customer));
        assert!(worker.flights.len() <= options.in_flight && worker.scripts.len() <= options.max_scripts);
        assert!(worker.flights.len() < 2 || worker.watched || worker.doomed, "nobody watches {id}");
    }
    for (customer, id) in kept {
        assert!(workers[id].customer == Some(*customer) && !workers[id].doomed && !holders.contains(id));
    }
    assert!(holders.len() <= options.slots && kept.len() <= options.kept);
    assert!(spares.len() + state.starting >= options.spares.max(1));
    let of = |counts: &dyn Fn(&Worker) -> bool| holders.iter().filter(|id| counts(&workers[id])).count();
    let mut could_begin = Vec::new();
    for (customer, user) in (1..4).flat_map(|customer| (1..4).map(move |user| (customer, user))) {
        let owner = request(customer, user, 0).owner;
        let running = of(&|worker| worker.flights.front().is_some_and(|first| first.request.owner == owner));
        assert_eq!(roster.running(owner), running);
        assert!(running <= options.per_user);
        let slots = of(&|worker| worker.customer == Some(owner.customer));
        assert_eq!(roster.holds(owner.customer), slots > 0);
        let has_child = !spares.is_empty() || kept.iter().any(|(of, _)| *of == owner.customer);
        assert_eq!(roster.has_child(owner.customer), has_child);
        if queue.has(owner) && running < options.per_user && has_child {
            could_begin.push(owner);
        }
    }
    assert!(
        holders.len() == options.slots || could_begin.is_empty(),
        "a slot is free for {could_begin:?}"
    );
    let without_slot = queue.one_waits(|customer| of(&|worker| worker.customer == Some(customer)) == 0);
    for worker in holders
        .iter()
        .map(|id| &workers[id])
        .filter(|worker| !worker.doomed && !worker.retiring)
    {
        let first = worker.flights.front().expect("it holds a slot for something");
        let could_take = worker.flights.len() < options.in_flight && queue.has(first.request.owner);
        let turn_is_over = worker.turn_runs >= options.turn_runs && without_slot;
        assert!(!could_take || turn_is_over || worker.scripts.len() == options.max_scripts);
    }
}

/// Lets it happen; `waiting` are the runs whose end somebody waits for.
fn happen(shared: &Arc<Shared>, event: Event, waiting: &mut Vec<(u64, oneshot::Receiver<RunReport>)>) {
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
        Event::Ended { child, last } => {
            let busy = children(&state, |worker| !worker.flights.is_empty());
            if let Some(child) = chosen(&busy, child) {
                let run = state.workers[&child].flights[0].id;
                drop(state);
                worker::done(shared, child, run, last, Some(Duration::ZERO)).unwrap();
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

#[tokio::test]
async fn a_customer_without_a_child_comes_before_anothers_second() {
    let shared = pool(Options {
        child_command: Some(vec!["/proc/self/exe".into()]),
        slots: 2,
        per_user: 1,
        in_flight: 1,
        sandbox: Sandbox::BestEffort,
        ..Options::default()
    });
    let mut waiting = Vec::new();
    happen(&shared, Event::Arrived, &mut waiting);
    for (customer, user) in [(1, 1), (1, 2), (2, 1)] {
        happen(&shared, Event::Submitted { customer, user, script: 0 }, &mut waiting);
    }
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
        let mut waiting = Vec::new();
        for event in events {
            happen(&shared, event, &mut waiting);
            check(&shared.lock(), &shared.options);
        }
    }
}
