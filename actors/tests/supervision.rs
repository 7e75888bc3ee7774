//! A parent and its children under the kit: what happens when they panic, idle, leave, freeze or are shut down.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use actix::{Actor, ActorContext, Context, Handler, Message};
use perseat_actors::kit::{
    Arbiter, ArbiterOptions, Arbiters, AskError, Birth, ChildExited, Clock, Exit, Health, LocalRun, Mailbox, Nursery, NurseryOptions,
    Obituary, Permits, Pulse, PulseHooks, PulseOptions, Refused, Reply, Unavailable, Verdict, VirtualClock, remind, run_here, start_here,
    start_on,
};
use perseat_domain::supervision::RestartPolicy;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

/// Counts what it is told; panics, idles or stops on demand.
struct Child {
    count: u32,
    has_work: bool,
    held: Vec<Reply<u32>>,
    parent: Mailbox<Parent>,
    key: u32,
}

impl Actor for Child {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
enum ToChild {
    Count(Reply<u32>),
    Panic,
    PutAway,
    Stop,
    Drop(Reply<u32>),
    Hold(Reply<u32>),
}

impl Handler<ToChild> for Child {
    type Result = ();

    fn handle(&mut self, message: ToChild, ctx: &mut Context<Self>) {
        match message {
            ToChild::Count(reply) => {
                self.count += 1;
                reply.send(self.count);
            }
            ToChild::Panic => panic!("on purpose"),
            ToChild::PutAway if self.has_work => self.parent.tell(ToParent::Keep(self.key)).unwrap(),
            ToChild::PutAway | ToChild::Stop => ctx.stop(),
            ToChild::Drop(reply) => drop(reply),
            ToChild::Hold(reply) => self.held.push(reply),
        }
    }
}

struct Parent {
    nursery: Nursery<u32, Mailbox<Child>>,
    clock: VirtualClock,
    mailbox: Mailbox<Parent>,
    verdicts: Vec<Verdict>,
    has_work: bool,
    closed: Option<Reply<()>>,
}

impl Actor for Parent {
    type Context = Context<Self>;
}

type Ensured = Result<Mailbox<Child>, Unavailable>;

#[derive(Message)]
#[rtype(result = "()")]
enum ToParent {
    Ensure(u32, Reply<Ensured>),
    Idle(Reply<Vec<u32>>),
    PutAway(u32),
    Keep(u32),
    Verdicts(Reply<Vec<Verdict>>),
    Close(Reply<()>),
    Restart(u32),
}

impl Parent {
    fn ensure(&mut self, key: u32) -> Ensured {
        let (parent, has_work) = (self.mailbox.clone(), self.has_work);
        let start = |birth: Birth<u32>| {
            start_here(16, birth.obituary(&parent), |_| Child {
                count: 0,
                has_work,
                held: Vec::new(),
                parent: parent.clone(),
                key,
            })
        };
        self.nursery.ensure(&key, start).cloned()
    }
}

impl Handler<ToParent> for Parent {
    type Result = ();

    fn handle(&mut self, message: ToParent, _: &mut Context<Self>) {
        match message {
            ToParent::Ensure(key, reply) => reply.send(self.ensure(key)),
            ToParent::Idle(reply) => reply.send(self.nursery.idle(100)),
            ToParent::PutAway(key) => self.nursery.put_away(&key).unwrap().tell(ToChild::PutAway).unwrap(),
            ToParent::Keep(key) => drop(self.nursery.keep(&key)),
            ToParent::Verdicts(reply) => reply.send(self.verdicts.clone()),
            ToParent::Close(reply) => {
                self.closed = Some(reply);
                for child in self.nursery.close() {
                    child.tell(ToChild::Stop).unwrap();
                }
            }
            ToParent::Restart(key) => drop(self.ensure(key)),
        }
    }
}

impl Handler<ChildExited<u32>> for Parent {
    type Result = ();

    fn handle(&mut self, exited: ChildExited<u32>, ctx: &mut Context<Self>) {
        let verdict = self.nursery.on_exit(&exited);
        self.verdicts.push(verdict);
        match verdict {
            Verdict::RestartAfter(delay) => drop(remind(ctx, &self.clock, delay, ToParent::Restart(exited.key))),
            Verdict::StartNow => drop(self.ensure(exited.key)),
            Verdict::Gone if self.nursery.is_empty() => {
                if let Some(reply) = self.closed.take() {
                    reply.send(());
                    ctx.stop();
                }
            }
            Verdict::Gone | Verdict::Stale | Verdict::Quarantine(_) => {}
        }
    }
}

/// A parent in a thread of its own world: virtual time, no sleep.
struct World {
    parent: Mailbox<Parent>,
    clock: VirtualClock,
}

fn policy() -> NurseryOptions {
    NurseryOptions {
        restart: RestartPolicy {
            restarts_max: 3,
            ..RestartPolicy::default()
        },
        idle_after: Duration::from_secs(60),
        children_max: 4,
    }
}

impl World {
    fn run<F: Future<Output = ()>>(has_work: bool, test: impl FnOnce(Self) -> F) {
        actix_rt::System::new().block_on(async move {
            let clock = VirtualClock::default();
            let parent = start_here(64, Obituary::none(), |ctx| Parent {
                nursery: Nursery::new(policy(), Arc::new(clock.clone()), 1),
                clock: clock.clone(),
                mailbox: Mailbox::of(ctx),
                verdicts: Vec::new(),
                has_work,
                closed: None,
            });
            test(Self { parent, clock }).await;
        });
    }

    async fn ensure(&self, key: u32) -> Ensured {
        settle().await;
        self.parent.ask(LONG, |reply| ToParent::Ensure(key, reply)).await.unwrap()
    }

    async fn verdicts(&self) -> Vec<Verdict> {
        settle().await;
        self.parent.ask(LONG, ToParent::Verdicts).await.unwrap()
    }

    async fn tell(&self, key: u32, message: ToChild) {
        self.ensure(key).await.unwrap().tell(message).unwrap();
        settle().await;
    }

    async fn count(&self, key: u32) -> u32 {
        self.ensure(key).await.unwrap().ask(LONG, ToChild::Count).await.unwrap()
    }

    /// Moves time to the end of the next wait.
    async fn pass(&self) {
        let (sleepers, first) = self.clock.sleepers();
        assert_eq!(sleepers, 1);
        self.clock.advance(first.unwrap());
        settle().await;
    }
}

/// Lets everything on this thread run until it waits.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_child_that_panics_is_made_anew_after_its_back_off_and_not_before() {
    World::run(false, async |world| {
        assert_eq!((world.count(1).await, world.count(1).await), (1, 2));
        world.tell(1, ToChild::Panic).await;
        assert_eq!(world.ensure(1).await.unwrap_err(), Unavailable::Waiting);
        let Some(Verdict::RestartAfter(delay)) = world.verdicts().await.last().copied() else {
            panic!("it is not made anew");
        };
        world.clock.advance(delay - Duration::from_nanos(1));
        world.clock.set_wall(world.clock.now().after(Duration::from_hours(24)));
        assert_eq!(world.ensure(1).await.unwrap_err(), Unavailable::Waiting);
        world.pass().await;
        assert_eq!(world.count(1).await, 1, "nothing of the old value is left");
    });
}

#[test]
fn a_child_that_panics_past_its_budget_is_quarantined_and_its_sibling_is_not() {
    World::run(false, async |world| {
        assert_eq!(world.count(2).await, 1);
        for _ in 0..3 {
            world.tell(1, ToChild::Panic).await;
            world.pass().await;
        }
        world.tell(1, ToChild::Panic).await;
        let quarantine = policy().restart.quarantine;
        assert_eq!(world.verdicts().await.last(), Some(&Verdict::Quarantine(quarantine)));
        assert_eq!(world.ensure(1).await.unwrap_err(), Unavailable::Quarantined);
        assert_eq!(world.count(2).await, 2);
        world.clock.advance(quarantine);
        assert_eq!(world.count(1).await, 1, "it may be tried again afterwards");
    });
}

#[test]
fn an_idle_child_is_put_away_and_started_again_on_use() {
    World::run(false, async |world| {
        assert_eq!(world.count(1).await, 1);
        world.clock.advance(Duration::from_secs(59));
        assert_eq!(world.count(2).await, 1);
        world.clock.advance(Duration::from_secs(1));
        let idle = world.parent.ask(LONG, ToParent::Idle).await.unwrap();
        assert_eq!(idle, [1]);
        world.parent.tell(ToParent::PutAway(1)).unwrap();
        assert_eq!(world.verdicts().await, [Verdict::Gone]);
        assert_eq!(world.count(1).await, 1);
    });
}

#[test]
fn a_child_wanted_while_it_leaves_is_started_again_at_once() {
    World::run(false, async |world| {
        world.ensure(1).await.unwrap();
        world.parent.tell(ToParent::PutAway(1)).unwrap();
        let ensured = world.parent.ask(LONG, |reply| ToParent::Ensure(1, reply)).await.unwrap();
        assert_eq!(ensured.unwrap_err(), Unavailable::Leaving);
        assert_eq!(world.verdicts().await, [Verdict::StartNow]);
        assert_eq!(world.count(1).await, 1);
    });
}

#[test]
fn a_child_that_has_work_is_kept() {
    World::run(true, async |world| {
        assert_eq!(world.count(1).await, 1);
        world.parent.tell(ToParent::PutAway(1)).unwrap();
        assert_eq!(world.verdicts().await, []);
        assert_eq!(world.count(1).await, 2);
    });
}

#[test]
fn a_parent_shuts_down_after_all_its_children_and_starts_none_meanwhile() {
    World::run(false, async |world| {
        for key in 1..=3 {
            world.ensure(key).await.unwrap();
        }
        world.tell(4, ToChild::Panic).await;
        let (reply, closed) = Reply::channel();
        world.parent.tell(ToParent::Close(reply)).unwrap();
        let ensured = world.parent.ask(LONG, |reply| ToParent::Ensure(1, reply)).await.unwrap();
        assert_eq!(ensured.unwrap_err(), Unavailable::Closing);
        closed.await.unwrap();
        settle().await;
        assert!(!world.parent.is_alive());
    });
}

#[test]
fn there_are_never_more_children_than_allowed() {
    World::run(false, async |world| {
        for key in 1..=4 {
            world.ensure(key).await.unwrap();
        }
        assert_eq!(world.ensure(5).await.unwrap_err(), Unavailable::Crowded);
        world.ensure(4).await.unwrap();
    });
}

#[test]
fn the_exit_of_an_older_incarnation_changes_nothing() {
    let mut nursery: Nursery<u32, u32> = Nursery::new(policy(), Arc::new(VirtualClock::default()), 1);
    let mut generation = 0;
    nursery
        .ensure(&1, |birth| {
            generation = birth.generation;
            7
        })
        .unwrap();
    let exit = |key, generation| ChildExited {
        key,
        generation,
        exit: Exit::Panicked,
    };
    assert_eq!(nursery.on_exit(&exit(1, generation + 1)), Verdict::Stale);
    assert_eq!(nursery.on_exit(&exit(2, generation)), Verdict::Stale);
    assert_eq!(nursery.get(&1), Some(&7));
    assert!(matches!(nursery.on_exit(&exit(1, generation)), Verdict::RestartAfter(_)));
    assert_eq!(nursery.get(&1), None);
    assert!(nursery.pardon(&1) && !nursery.pardon(&1));
}

fn obituary() -> (Obituary, mpsc::Receiver<Exit>) {
    let (sender, exits) = mpsc::channel();
    (Obituary::new(move |exit| sender.send(exit).unwrap()), exits)
}

#[test]
fn a_local_future_tells_how_it_ended_and_takes_nobody_with_it() {
    actix_rt::System::new().block_on(async {
        let run = |future: std::pin::Pin<Box<dyn Future<Output = ()>>>| -> (LocalRun, mpsc::Receiver<Exit>) {
            let (obituary, exits) = obituary();
            (run_here(obituary, future), exits)
        };
        let (ended, ended_exit) = run(Box::pin(async {}));
        let (panicked, panicked_exit) = run(Box::pin(async { panic!("on purpose") }));
        let (dropped, dropped_exit) = run(Box::pin(std::future::pending()));
        let (living, living_exit) = run(Box::pin(std::future::pending()));
        drop(dropped);
        settle().await;
        assert_eq!((ended_exit.try_recv(), ended.is_over()), (Ok(Exit::Stopped), true));
        assert_eq!((panicked_exit.try_recv(), panicked.is_over()), (Ok(Exit::Panicked), true));
        assert_eq!(dropped_exit.try_recv(), Ok(Exit::Stopped), "what is dropped is cancelled");
        assert_eq!((living_exit.try_recv(), living.is_over()), (Err(mpsc::TryRecvError::Empty), false));
    });
}

#[test]
fn a_mailbox_is_bounded_over_all_its_clones_and_says_when_its_actor_is_gone() {
    World::run(false, async |world| {
        let child = world.ensure(1).await.unwrap();
        let taken = (0..100).filter(|_| child.clone().tell(ToChild::Stop) != Err(Refused::Full)).count();
        assert_eq!(taken, 16);
        let refused = child.ask(LONG, ToChild::Count).await;
        assert_eq!(refused, Err(AskError::Refused(Refused::Full)));
        settle().await;
        assert_eq!(child.tell(ToChild::Stop), Err(Refused::Gone));
        assert_eq!(child.outlet().tell(ToChild::Panic), Err(Refused::Gone));
    });
}

#[test]
fn a_question_that_is_dropped_or_late_is_an_error_and_the_actor_lives() {
    World::run(false, async |world| {
        let child = world.ensure(1).await.unwrap();
        assert_eq!(child.ask(LONG, ToChild::Drop).await, Err(AskError::Dropped));
        assert_eq!(child.ask(Duration::ZERO, ToChild::Hold).await, Err(AskError::TimedOut));
        assert_eq!(child.ask(LONG, ToChild::Count).await, Ok(1));
    });
}

#[test]
fn permits_bound_what_is_in_flight() {
    let permits = Permits::new(2);
    let (first, second) = (permits.try_take(), permits.try_take());
    assert!(first.is_some() && second.is_some() && permits.try_take().is_none());
    drop(first);
    assert_eq!(permits.free(), 1);
}

fn arbiters() -> Arbiters {
    Arbiters::start(ArbiterOptions { owners: 3, fronts: 1 }).unwrap()
}

/// Blocks a thread until the returned end is dropped; returns once it is blocked.
fn freeze(arbiter: &Arbiter) -> mpsc::Sender<()> {
    let (thaw, frozen) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    arbiter
        .execute(move || {
            begin.send(()).unwrap();
            let _ = frozen.recv();
        })
        .unwrap();
    begun.recv().unwrap();
    thaw
}

#[test]
fn an_actor_is_started_on_another_thread_from_any_thread() {
    let arbiters = arbiters();
    let (sender, made_on) = mpsc::channel();
    let (notice, exits) = obituary();
    let mailbox = start_on(arbiters.owner_of(5), 16, notice, move |_| {
        sender.send(std::thread::current().name().map(str::to_owned)).unwrap();
        Root
    });
    mailbox.unwrap().tell(Ping).unwrap();
    assert_eq!(made_on.recv().unwrap().as_deref(), Some("owner-2"), "partition 5 of three owners");
    assert_eq!(exits.recv().unwrap(), Exit::Panicked);
    assert_eq!(arbiters.stop(LONG), []);
}

#[test]
fn an_actor_whose_constructor_panics_is_reported_and_its_mailbox_is_gone() {
    let arbiters = arbiters();
    let (notice, exits) = obituary();
    let mailbox = start_on::<Root>(arbiters.owner_of(0), 16, notice, |_| panic!("on purpose")).unwrap();
    assert_eq!(exits.recv().unwrap(), Exit::Panicked);
    assert_eq!(mailbox.tell(Ping), Err(Refused::Gone));
    assert_eq!(arbiters.stop(LONG), []);
}

struct Root;

impl Actor for Root {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Ping;

impl Handler<Ping> for Root {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {
        panic!("on purpose");
    }
}

#[test]
fn stopping_the_threads_names_the_one_that_is_frozen() {
    let arbiters = arbiters();
    let stopped = arbiters.owner_of(0).clone();
    let thaw = freeze(arbiters.owner_of(1));
    let names = arbiters.stop(Duration::from_secs(3));
    assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), ["owner-1"]);
    assert_eq!(stopped.execute(|| {}), Err(Refused::Gone));
    drop(thaw);
}

/// A pulse whose rounds and end can be waited for.
fn pulse(options: PulseOptions) -> (Pulse, mpsc::Receiver<Health>, mpsc::Receiver<String>) {
    let ((round, rounds), (end, frozen)) = (mpsc::channel(), mpsc::channel());
    let hooks = PulseHooks {
        on_round: Box::new(move |health| round.send(health).unwrap_or_default()),
        on_frozen: Box::new(move |report| end.send(report.to_owned()).unwrap()),
        ..PulseHooks::default()
    };
    (Pulse::start(options, hooks).unwrap(), rounds, frozen)
}

fn wait_for(rounds: &mpsc::Receiver<Health>, wanted: Health) {
    while rounds.recv().unwrap() != wanted {}
}

#[test]
fn a_frozen_thread_is_late_then_degraded_and_well_again_once_it_answers() {
    let arbiters = arbiters();
    let (pulse, rounds, _frozen) = pulse(PulseOptions {
        interval: Duration::from_millis(5),
        degraded_after: Duration::from_millis(50),
        abort_after: LONG,
    });
    arbiters
        .owners()
        .chain(arbiters.fronts())
        .for_each(|arbiter| pulse.watch_arbiter(arbiter));
    wait_for(&rounds, Health::Well);
    let thaw = freeze(arbiters.owner_of(1));
    wait_for(&rounds, Health::Late);
    wait_for(&rounds, Health::Degraded);
    assert_eq!(pulse.health(), Health::Degraded);
    drop(thaw);
    wait_for(&rounds, Health::Well);
    assert_eq!(arbiters.stop(LONG), []);
}

#[test]
fn every_watched_arbiter_beats_on_its_own_thread() {
    let arbiters = arbiters();
    let (beat, beats) = mpsc::channel();
    let hooks = PulseHooks {
        on_beat: Arc::new(move || beat.send(std::thread::current().name().map(str::to_owned)).unwrap_or_default()),
        ..PulseHooks::default()
    };
    let options = PulseOptions {
        interval: Duration::from_millis(5),
        degraded_after: LONG,
        abort_after: LONG * 2,
    };
    let pulse = Pulse::start(options, hooks).unwrap();
    let watched = || arbiters.owners().chain(arbiters.fronts());
    watched().for_each(|arbiter| pulse.watch_arbiter(arbiter));
    let mut missing: std::collections::BTreeSet<String> = watched().map(|arbiter| arbiter.name().to_owned()).collect();
    while !missing.is_empty() {
        let name = beats
            .recv_timeout(LONG)
            .expect("another beat")
            .expect("arbiters' threads have names");
        missing.remove(&name);
    }
    assert_eq!(arbiters.stop(LONG), []);
}

#[test]
fn a_thread_frozen_for_too_long_ends_the_process_with_a_report_that_names_it() {
    let arbiters = arbiters();
    let (pulse, _rounds, frozen) = pulse(PulseOptions {
        interval: Duration::from_millis(2),
        degraded_after: Duration::from_millis(10),
        abort_after: Duration::from_millis(40),
    });
    let writer_beats = Arc::new(std::sync::atomic::AtomicBool::new(true));
    pulse.watch("journal writer", {
        let writer_beats = Arc::clone(&writer_beats);
        move || writer_beats.load(std::sync::atomic::Ordering::SeqCst)
    });
    arbiters.owners().for_each(|arbiter| pulse.watch_arbiter(arbiter));
    writer_beats.store(false, std::sync::atomic::Ordering::SeqCst);
    let report = frozen.recv().unwrap();
    assert!(report.contains("journal writer silent for "), "{report}");
    assert_eq!(arbiters.stop(LONG), []);
}

#[test]
fn threads_that_were_told_to_stop_are_not_missed() {
    let arbiters = arbiters();
    let (pulse, rounds, _frozen) = pulse(PulseOptions {
        interval: Duration::from_millis(10),
        degraded_after: Duration::from_millis(200),
        abort_after: Duration::from_millis(400),
    });
    arbiters
        .owners()
        .chain(arbiters.fronts())
        .for_each(|arbiter| pulse.watch_arbiter(arbiter));
    wait_for(&rounds, Health::Well);
    assert_eq!(arbiters.stop(LONG), []);
    // A round counts twice its interval at most, so silence would have ended the process within so many; the daemon still
    // has the index to commit then.
    for _ in 0..100 {
        rounds.recv().expect("the process goes on");
    }
    assert_eq!(pulse.health(), Health::Well);
}

#[test]
fn a_pulse_at_rest_misses_nobody() {
    let (pulse, rounds, _frozen) = pulse(PulseOptions {
        interval: Duration::from_millis(10),
        degraded_after: LONG,
        abort_after: LONG,
    });
    let (asked, asks) = mpsc::channel();
    pulse.watch("journal writer", move || asked.send(()).is_err());
    wait_for(&rounds, Health::Late);
    pulse.rest();
    wait_for(&rounds, Health::Well);
    assert_eq!(asks.iter().last(), Some(()), "nobody can ask again");
}

#[test]
fn virtual_time_stands_still_until_it_is_moved() {
    actix_rt::System::new().block_on(async {
        let clock = VirtualClock::default();
        let (obituary, exits) = obituary();
        let sleep = clock.sleep(Duration::from_secs(10));
        let run = run_here(obituary, sleep);
        clock.advance(Duration::from_secs(9));
        settle().await;
        assert!(!run.is_over());
        clock.advance(Duration::from_secs(1));
        settle().await;
        assert_eq!(exits.try_recv(), Ok(Exit::Stopped));
        assert_eq!((clock.sleepers(), clock.now().0), ((0, None), 10_000));
    });
}
