use super::*;
use crate::supervision::Dice;
use std::collections::BTreeMap;

type Queue = FairQueue<u32, u32, u32>;

/// An execution is its flow.
impl Work<u32> for u32 {
    type Flow = u32;

    fn flow(&self, _: &u32) -> u32 {
        *self
    }
}

fn slots(slots: u32) -> FairOptions {
    FairOptions {
        slots,
        ..FairOptions::default()
    }
}

fn cost(slot_ms: u64) -> Cost {
    Cost {
        slot: Duration::from_millis(slot_ms),
        cpu: Duration::ZERO,
    }
}

/// Executions that run, each until its time: what a queue of real executions does, without the executions.
struct World {
    queue: Queue,
    now: u64,
    running: BTreeMap<(u64, u64), (Grant<u32, u32>, u64)>,
    granted: BTreeMap<u32, u64>,
    used: BTreeMap<u32, u64>,
    count: u64,
}

impl World {
    fn new(options: FairOptions) -> Self {
        Self {
            queue: Queue::new(options),
            now: 0,
            running: BTreeMap::new(),
            granted: BTreeMap::new(),
            used: BTreeMap::new(),
            count: 0,
        }
    }

    /// Grants every slot there is, each execution taking `span(user)` milliseconds.
    fn fill(&mut self, mut span: impl FnMut(u32) -> u64) {
        while let Some(grant) = self.queue.grant() {
            let span = span(grant.user);
            self.count += 1;
            *self.granted.entry(grant.user).or_default() += 1;
            self.running.insert((self.now + span, self.count), (grant, span));
        }
    }

    /// Lets the next execution end; returns whether there was one.
    fn step(&mut self) -> bool {
        let Some(((now, _), (grant, span))) = self.running.pop_first() else {
            return false;
        };
        self.now = now;
        *self.used.entry(grant.user).or_default() += span;
        self.queue.ended(grant, cost(span));
        true
    }

    fn used(&self, user: u32) -> u64 {
        self.used.get(&user).copied().unwrap_or_default()
    }
}

/// Both levels keep the same promises: two users of one customer, and two customers with a user each.
const LEVELS: [fn(u32) -> u32; 2] = [|_| 1, |user| user];

#[test]
fn one_slot_alternates_between_two_users_that_cost_the_same() {
    let mut world = World::new(slots(1));
    for _ in 0..3 {
        world.queue.ready(1, 1, 0);
        world.queue.ready(2, 1, 0);
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        let grant = world.queue.grant().unwrap();
        assert_eq!(world.queue.grant(), None, "one slot");
        order.push(grant.user);
        world.queue.ended(grant, cost(10));
    }
    assert_eq!(order, [1, 2, 1, 2, 1, 2]);
    assert_eq!((world.queue.users(), world.queue.waiting(), world.queue.running()), (0, 0, 0));
}

#[test]
fn a_customer_with_many_users_gets_no_more_than_one_with_a_single_user() {
    let mut world = World::new(slots(2));
    for n in 0..4_000 {
        world.queue.ready(100 + n % 20, 1, 1);
        world.queue.ready(7, 2, 2);
    }
    for _ in 0..2_000 {
        world.fill(|_| 10);
        world.step();
    }
    let (many, single): (u64, u64) = ((100..120).map(|user| world.used(user)).sum(), world.used(7));
    assert!(many.abs_diff(single) <= 40, "{many} against {single}");
    let shares: Vec<u64> = (100..120).map(|user| world.used(user)).collect();
    assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 20, "{shares:?}");
}

#[test]
fn shares_follow_cost_and_not_the_number_of_executions() {
    for customer_of in LEVELS {
        let mut world = World::new(slots(1));
        for _ in 0..5_000 {
            world.queue.ready(1, customer_of(1), 1);
            world.queue.ready(2, customer_of(2), 2);
        }
        for _ in 0..4_000 {
            world.fill(|user| if user == 1 { 90 } else { 10 });
            world.step();
        }
        assert!(world.used(1).abs_diff(world.used(2)) <= 180, "{:?}", world.used);
        assert!(world.granted[&2] > 8 * world.granted[&1], "{:?}", world.granted);
    }
}

#[test]
fn a_second_of_cpu_costs_as_much_as_four_of_a_slot() {
    let mut queue = Queue::new(slots(1));
    for _ in 0..1_000 {
        queue.ready(1, 1, 1);
        queue.ready(2, 1, 2);
    }
    let mut granted = [0_u32; 3];
    for _ in 0..1_000 {
        let grant = queue.grant().unwrap();
        granted[grant.user as usize] += 1;
        let cpu = if grant.user == 1 {
            Duration::from_millis(10)
        } else {
            Duration::ZERO
        };
        let slot = Duration::from_millis(10);
        queue.ended(grant, Cost { slot, cpu });
    }
    // 10 ms slot + 4 × 10 ms CPU against 10 ms.
    assert!((160..=172).contains(&granted[1]), "{granted:?}");
}

#[test]
fn waiting_earns_no_credit() {
    for customer_of in LEVELS {
        let mut world = World::new(slots(1));
        for _ in 0..1_000 {
            world.queue.ready(1, customer_of(1), 1);
        }
        for _ in 0..500 {
            world.fill(|_| 10);
            world.step();
        }
        for _ in 0..1_000 {
            world.queue.ready(2, customer_of(2), 1);
        }
        for _ in 0..100 {
            world.fill(|_| 10);
            world.step();
        }
        assert!(world.granted[&2] <= 51, "the newcomer took {} of 100", world.granted[&2]);
    }
}

#[test]
fn a_user_that_pauses_still_owes_what_it_used() {
    for customer_of in LEVELS {
        let mut world = World::new(slots(1));
        world.queue.ready(1, customer_of(1), 1);
        world.queue.ready(2, customer_of(2), 2);
        world.queue.ready(2, customer_of(2), 2);
        world.fill(|_| 1_000);
        world.step();
        // User 1 was idle for a moment and comes back, a second ahead of user 2.
        world.queue.ready(1, customer_of(1), 1);
        for _ in 0..50 {
            world.queue.ready(2, customer_of(2), 2);
        }
        for _ in 0..40 {
            world.fill(|_| 10);
            world.step();
        }
        assert_eq!(world.granted[&1], 1);
        assert_eq!(world.granted[&2], 40);
    }
}

#[test]
fn a_flow_known_to_be_expensive_is_charged_before_it_ends() {
    let mut queue = Queue::new(slots(8));
    queue.ready(1, 1, 1);
    let first = queue.grant().unwrap();
    queue.ended(first, cost(1_000));
    for _ in 0..4 {
        queue.ready(1, 1, 1);
        queue.ready(2, 1, 2);
    }
    let order: Vec<u32> = (0..5).map(|_| queue.grant().unwrap().user).collect();
    assert_eq!(
        order,
        [1, 2, 2, 1, 2],
        "user 1's first grant is charged a second at once; at two running both are above"
    );
}

#[test]
fn a_user_above_its_share_goes_after_all_others_and_leaves_the_reserve_free() {
    let mut world = World::new(slots(16));
    for _ in 0..100 {
        world.queue.ready(1, 1, 1);
    }
    world.fill(|_| 1_000);
    assert_eq!(world.queue.running(), 12, "a quarter of the slots stays free");
    for user in 2..=5 {
        world.queue.ready(user, 2, 1);
    }
    world.fill(|_| 1_000);
    assert_eq!(world.queue.running(), 16);
    assert_eq!(world.granted[&1], 12);
    assert!((2..=5).all(|user| world.granted[&user] == 1), "{:?}", world.granted);
    // The next free slot goes to whoever is below the share, although user 1 has waited longest.
    world.queue.ready(6, 3, 1);
    world.step();
    world.fill(|_| 1_000);
    assert_eq!(world.granted.get(&6), Some(&1));
}

#[test]
fn a_user_that_is_gone_frees_its_slots_and_its_old_grants_are_void() {
    let mut queue = Queue::new(slots(8));
    for flow in [1, 2, 3] {
        queue.ready(1, 1, flow);
    }
    let (first, second) = (queue.grant().unwrap(), queue.grant().unwrap());
    queue.gone(1);
    assert_eq!((queue.waiting(), queue.running()), (0, 0));
    queue.ready(1, 1, 4);
    let again = queue.grant().unwrap();
    queue.ended(first, cost(10));
    queue.ended(second, cost(10));
    assert_eq!(queue.running(), 1, "what was granted before ends nothing that runs now");
    queue.ended(again, cost(10));
    assert_eq!((queue.running(), queue.users()), (0, 0));
}

#[test]
fn users_that_came_and_went_leave_nothing() {
    let mut queue = Queue::new(FairOptions {
        flows_max: 1_000,
        ..slots(64)
    });
    for user in 0..50_000 {
        queue.ready(user, user % 1_000, user);
        let grant = queue.grant().unwrap();
        queue.ended(grant, cost(5));
    }
    assert_eq!((queue.users(), queue.customers.len(), queue.owing.len()), (0, 0, 0));
    assert!(queue.averages.len() <= queue.options.flows_max);
}

/// What must hold after every event, whatever happened.
fn check(world: &Queue, model: &BTreeMap<u32, (u32, u64, u32)>, seed: u64) {
    let (share, reserve) = (world.share(), world.reserve());
    let free = world.options.slots - world.running();
    let waiting: Vec<u32> = model
        .values()
        .filter(|(_, waiting, _)| *waiting > 0)
        .map(|(_, _, running)| *running)
        .collect();
    assert_eq!(
        world.waiting() as u64,
        model.values().map(|(_, waiting, _)| *waiting).sum::<u64>(),
        "seed {seed}"
    );
    assert_eq!(
        world.running(),
        model.values().map(|(_, _, running)| *running).sum::<u32>(),
        "seed {seed}"
    );
    let may_run = |running: &u32| *running < share || free > reserve;
    assert_eq!(
        world.next().is_some(),
        free > 0 && waiting.iter().any(may_run),
        "seed {seed}: {free} free, {waiting:?} run"
    );
    let known = model.values().filter(|(_, waiting, running)| *waiting > 0 || *running > 0).count();
    assert!(world.users() >= known, "seed {seed}");
    if known == 0 {
        assert_eq!((world.users(), world.customers.len()), (0, 0), "seed {seed}");
    }
}

/// One seeded history of arrivals, grants, ends and losses, against a model that counts.
fn history(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut queue = Queue::new(slots(1 + (dice.roll() % 12) as u32));
    let users = 1 + dice.roll() % 8;
    let mut model: BTreeMap<u32, (u32, u64, u32)> = BTreeMap::new();
    let mut held: Vec<Grant<u32, u32>> = Vec::new();
    for _ in 0..40 {
        let user = (dice.roll() % users) as u32;
        let entry = model.entry(user).or_insert((user % 3, 0, 0));
        match dice.roll() % 10 {
            0..=3 => {
                queue.ready(user, entry.0, user % 2);
                entry.1 += 1;
            }
            4..=6 => {
                let was_below = model.values().any(|(_, waiting, running)| *waiting > 0 && *running < queue.share());
                if let Some(grant) = queue.grant() {
                    let taken = model.get_mut(&grant.user).unwrap();
                    assert!(taken.1 > 0, "seed {seed}: {} has nothing that waits", grant.user);
                    assert!(
                        !was_below || taken.2 < queue.share(),
                        "seed {seed}: {} is above its share",
                        grant.user
                    );
                    *taken = (taken.0, taken.1 - 1, taken.2 + 1);
                    held.push(grant);
                }
            }
            7 | 8 if !held.is_empty() => {
                let grant = held.swap_remove((dice.roll() % held.len() as u64) as usize);
                model.get_mut(&grant.user).unwrap().2 -= 1;
                queue.ended(grant, cost(dice.roll() % 500));
            }
            9 => {
                queue.gone(user);
                *entry = (entry.0, 0, 0);
                let (void, kept) = held.into_iter().partition(|grant| grant.user == user);
                held = kept;
                let void: Vec<Grant<u32, u32>> = void;
                assert!(void.into_iter().all(|grant| !queue.ended(grant, cost(1))), "seed {seed}: void");
            }
            _ => {}
        }
        check(&queue, &model, seed);
    }
}

#[test]
fn no_slot_stays_free_while_somebody_may_run_in_any_of_12_000_histories() {
    (0..12_000).for_each(history);
}

#[test]
fn the_same_history_gives_the_same_order() {
    let run = |seed: u64| {
        let mut dice = Dice::new(seed);
        let mut world = World::new(slots(3));
        let mut order = Vec::new();
        for _ in 0..200 {
            let user = (dice.roll() % 9) as u32;
            world.queue.ready(user, user % 4, user);
            world.fill(|user| u64::from(user) + 1);
            order.extend(world.running.values().map(|(grant, _)| grant.user));
            world.step();
        }
        order
    };
    assert_eq!(run(5), run(5));
}

/// A flood meets a newcomer at a random moment: the newcomer starts within the time of the executions in flight.
fn flood(seed: u64) {
    let mut dice = Dice::new(seed);
    let count = 1 + (dice.roll() % 16) as u32;
    let mut world = World::new(slots(count));
    let long = 1 + dice.roll() % 1_000;
    for _ in 0..300 {
        world.queue.ready(1, 0, 1);
    }
    for _ in 0..dice.roll() % 100 {
        world.fill(|_| 1 + long / 2);
        world.step();
    }
    world.fill(|_| 1 + long / 2);
    let (asked, reserve) = (world.now, world.queue.reserve());
    world.queue.ready(2, (dice.roll() % 2) as u32, 2);
    world.fill(|_| long);
    if reserve > 0 {
        assert_eq!(world.granted.get(&2), Some(&1), "seed {seed}: the reserve is for this");
        return;
    }
    world.step();
    world.fill(|_| long);
    assert_eq!(world.granted.get(&2), Some(&1), "seed {seed}: the first slot that comes free");
    assert!(world.now - asked <= long, "seed {seed}");
}

#[test]
fn a_flood_delays_a_newcomer_by_at_most_one_running_execution_in_any_of_10_000_cases() {
    (0..10_000).for_each(flood);
}

/// A customer is never idle and uses little for long, while another uses much; then its users flood. A newcomer of a third
/// customer and the one that used much still get their turns. What it uses are long executions, or some that hang, behind which more
/// of their user wait.
fn late_flood(seed: u64, hangs: bool) {
    let mut dice = Dice::new(seed);
    let count = 6 + (dice.roll() % 11) as u32;
    let mut world = World::new(slots(count));
    let customer_of = |user: u32| user / 100;
    let span_of = |user: u32| match customer_of(user) {
        0 => 20,
        1 if user < 102 && hangs => 1_000_000_000,
        1 if user < 102 => 300,
        _ => 10,
    };
    let mut busy: Vec<u32> = (0..count / 2).collect();
    if hangs {
        busy.extend([100; 20]);
    } else {
        // Nobody waits: two thirds of the slots are used.
        busy.extend([100, 101]);
    }
    for user in &busy {
        world.queue.ready(*user, customer_of(*user), customer_of(*user));
        world.fill(span_of);
        if *user == 100 && !hangs {
            // So that one of the two always runs.
            (0..count).for_each(|_| again(&mut world, span_of, customer_of));
        }
    }
    for _ in 0..500 + dice.roll() % 500 {
        again(&mut world, span_of, customer_of);
    }
    for user in 110..130 {
        for _ in 0..50 {
            world.queue.ready(user, 1, 10);
        }
    }
    world.queue.ready(200, 2, 10);
    let (asked, before) = (world.now, world.granted[&0]);
    world.fill(span_of);
    while !world.granted.contains_key(&200) {
        again(&mut world, span_of, customer_of);
    }
    assert!(world.now - asked <= 20, "seed {seed}: the newcomer waited {}", world.now - asked);
    for _ in 0..10 * count {
        again(&mut world, span_of, customer_of);
    }
    assert!(world.granted[&0] > before, "seed {seed}: whoever used much waits for ever");
}

/// Lets the next execution end, and its user ask again if it is one of the busy.
fn again(world: &mut World, span_of: impl Fn(u32) -> u64, customer_of: impl Fn(u32) -> u32) {
    let user = world.running.first_key_value().map(|(_, (grant, _))| grant.user);
    world.step();
    if let Some(user) = user.filter(|user| *user < 102) {
        world.queue.ready(user, customer_of(user), customer_of(user));
    }
    world.fill(span_of);
}

#[test]
fn having_asked_for_little_before_earns_no_credit_for_a_flood_in_any_of_2_000_cases() {
    (0..2_000).for_each(|seed| late_flood(seed, seed % 2 == 0));
}

#[test]
fn what_was_charged_in_advance_and_not_used_delays_no_newcomer() {
    for customer_of in LEVELS {
        let mut world = World::new(slots(16));
        // The first execution of the flow takes ten thousand times as long as all others.
        world.queue.ready(0, customer_of(0), 7);
        world.fill(|_| 100_000);
        world.step();
        for user in 1..9 {
            for _ in 0..200 {
                world.queue.ready(user, customer_of(0), 7);
            }
        }
        for _ in 0..40 {
            world.fill(|_| 10);
            world.step();
        }
        world.queue.ready(200, customer_of(200), 9);
        let asked = world.now;
        while !world.granted.contains_key(&200) {
            world.fill(|_| 10);
            world.step();
        }
        assert!(world.now - asked <= 10, "the newcomer waited {}", world.now - asked);
    }
}

/// Users that always have work and random costs: what they got differs by a few executions at most.
fn convergence(seed: u64) {
    let mut dice = Dice::new(seed);
    let users = 2 + (dice.roll() % 4) as u32;
    let mut world = World::new(slots(1));
    let longest: Vec<u64> = (0..users).map(|_| 1 + dice.roll() % 50).collect();
    for user in 0..users {
        for _ in 0..400 {
            world.queue.ready(user, 1, user);
        }
    }
    for _ in 0..150 {
        world.fill(|user| 1 + dice.roll() % longest[user as usize]);
        world.step();
    }
    let used: Vec<u64> = (0..users).map(|user| world.used(user)).collect();
    let spread = used.iter().max().unwrap() - used.iter().min().unwrap();
    assert!(spread <= 2 * 51 + 10, "seed {seed}: {used:?}");
}

#[test]
fn shares_of_busy_users_converge_in_any_of_2_000_cases() {
    (0..2_000).for_each(convergence);
}
