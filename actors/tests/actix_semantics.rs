//! What the kit relies on in actix, one behaviour each: an upgrade that changes one fails here by its name.
#![expect(
    clippy::disallowed_methods,
    reason = "these tests are about what the kit keeps others from calling"
)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use actix::fut::wrap_future;
use actix::prelude::*;
use actix_rt::Arbiter;
use std::cell::Cell;
use std::future::pending;
use std::os::unix::process::ExitStatusExt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// Notes how it was dropped, what it began and what it finished.
#[derive(Clone, Default)]
struct Notes {
    begun: Arc<AtomicUsize>,
    finished: Arc<AtomicUsize>,
    started: Arc<AtomicUsize>,
    stopped: Arc<AtomicUsize>,
    dropped_by_panic: Arc<AtomicUsize>,
    dropped_by_stop: Arc<AtomicUsize>,
}

fn count(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::SeqCst)
}

fn note(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::SeqCst);
}

#[derive(Default)]
struct Probe {
    notes: Notes,
    memory: u32,
}

impl Drop for Probe {
    fn drop(&mut self) {
        note(if std::thread::panicking() {
            &self.notes.dropped_by_panic
        } else {
            &self.notes.dropped_by_stop
        });
    }
}

impl Actor for Probe {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        note(&self.notes.started);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        note(&self.notes.stopped);
    }
}

impl Supervised for Probe {}

fn probe() -> (Probe, Notes) {
    let notes = Notes::default();
    let actor = Probe {
        notes: notes.clone(),
        memory: 0,
    };
    (actor, notes)
}

#[derive(Message)]
#[rtype(result = "u32")]
struct Remember(u32);

impl Handler<Remember> for Probe {
    type Result = u32;

    fn handle(&mut self, message: Remember, _: &mut Context<Self>) -> u32 {
        self.memory += message.0;
        self.memory
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

impl Handler<Panic> for Probe {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("on purpose");
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

impl Handler<Stop> for Probe {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// Answered by a future of its own, apart from the actor.
#[derive(Message)]
#[rtype(result = "()")]
struct Apart(After);

/// Answered by a future that is polled within the actor.
#[derive(Message)]
#[rtype(result = "()")]
struct Within(After);

#[derive(Clone, Copy)]
enum After {
    Panic,
    Never,
    AWhile,
}

async fn work(notes: Notes, after: After) {
    note(&notes.begun);
    match after {
        After::Panic => panic!("on purpose"),
        After::Never => pending().await,
        After::AWhile => settle().await,
    }
    note(&notes.finished);
}

impl Handler<Apart> for Probe {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, message: Apart, _: &mut Context<Self>) -> Self::Result {
        Box::pin(work(self.notes.clone(), message.0))
    }
}

impl Handler<Within> for Probe {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, message: Within, _: &mut Context<Self>) -> Self::Result {
        Box::pin(wrap_future(work(self.notes.clone(), message.0)))
    }
}

/// Lets everything on this thread run until it waits.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn in_system<T>(future: impl Future<Output = T>) -> T {
    System::new().block_on(future)
}

#[test]
fn a_panic_in_a_handler_ends_that_actor_and_nothing_else() {
    in_system(async {
        let ((first, notes), (second, _)) = (probe(), probe());
        let (first, second) = (first.start(), second.start());
        assert_eq!(first.send(Panic).await, Err(MailboxError::Closed));
        settle().await;
        assert!(!first.connected());
        assert_eq!(count(&notes.dropped_by_panic), 1);
        assert_eq!(second.send(Remember(1)).await, Ok(1), "the neighbour on the same thread lives");
    });
}

#[test]
fn the_supervisor_of_actix_does_not_restart_an_actor_that_panicked() {
    in_system(async {
        let (actor, notes) = probe();
        let address = actix::Supervisor::start(|_| actor);
        assert_eq!(address.send(Panic).await, Err(MailboxError::Closed));
        settle().await;
        assert!(!address.connected());
        assert_eq!(count(&notes.started), 1);
    });
}

#[test]
fn a_stop_under_the_supervisor_of_actix_restarts_the_same_value_at_once_and_without_limit() {
    in_system(async {
        let (actor, notes) = probe();
        let address = actix::Supervisor::start(|_| actor);
        assert_eq!(address.send(Remember(41)).await, Ok(41));
        for _ in 0..100 {
            address.send(Stop).await.unwrap();
            settle().await;
        }
        assert_eq!(count(&notes.started), 101);
        assert_eq!(address.send(Remember(1)).await, Ok(42), "the state is the old one");
    });
}

#[test]
fn the_capacity_of_a_mailbox_does_not_bound_asynchronous_handlers() {
    in_system(async {
        let (actor, notes) = probe();
        let address = Probe::create(|ctx| {
            ctx.set_mailbox_capacity(16);
            actor
        });
        for _ in 0..1_000 {
            actix_rt::spawn({
                let address = address.clone();
                async move { address.send(Apart(After::Never)).await }
            });
        }
        settle().await;
        assert_eq!((count(&notes.begun), count(&notes.finished)), (1_000, 0));
    });
}

#[test]
fn do_send_ignores_the_bound_and_drops_silently() {
    in_system(async {
        let (actor, _) = probe();
        let address = actor.start();
        (0..10_000).for_each(|_| address.do_send(Remember(1)));
        assert_eq!(address.send(Remember(0)).await, Ok(10_000));
        address.send(Stop).await.unwrap();
        settle().await;
        address.do_send(Remember(1));
        assert_eq!(address.send(Remember(1)).await, Err(MailboxError::Closed));
    });
}

#[test]
fn try_send_is_bounded_for_one_address_but_every_clone_has_a_place_of_its_own() {
    in_system(async {
        let (actor, _) = probe();
        let address = actor.start();
        let taken = (0..100).filter(|_| address.try_send(Remember(1)).is_ok()).count();
        assert_eq!(taken, 16, "the default capacity");
        assert!(
            (0..100).all(|_| address.clone().try_send(Remember(1)).is_ok()),
            "so the kit shares one address"
        );
    });
}

#[test]
fn a_panic_in_a_response_future_leaves_the_actor_alive_although_the_caller_sees_closed() {
    in_system(async {
        let (actor, _) = probe();
        let address = actor.start();
        assert_eq!(address.send(Apart(After::Panic)).await, Err(MailboxError::Closed));
        assert_eq!(address.send(Remember(1)).await, Ok(1));
    });
}

#[test]
fn a_panic_in_a_future_within_the_actor_ends_the_actor() {
    in_system(async {
        let (actor, notes) = probe();
        let address = actor.start();
        assert_eq!(address.send(Within(After::Panic)).await, Err(MailboxError::Closed));
        settle().await;
        assert!(!address.connected());
        assert_eq!(count(&notes.dropped_by_panic), 1);
    });
}

#[test]
fn a_stop_cancels_futures_within_the_actor_and_leaves_response_futures_running() {
    in_system(async {
        for (is_within, finished) in [(true, 0), (false, 1)] {
            let (actor, notes) = probe();
            let address = actor.start();
            if is_within {
                address.do_send(Within(After::AWhile));
            } else {
                address.do_send(Apart(After::AWhile));
            }
            tokio::task::yield_now().await;
            address.do_send(Stop);
            settle().await;
            settle().await;
            assert_eq!((count(&notes.begun), count(&notes.finished)), (1, finished), "within: {is_within}");
        }
    });
}

#[test]
fn a_caller_that_stops_waiting_does_not_stop_the_handler() {
    in_system(async {
        let (actor, notes) = probe();
        let address = actor.start();
        let question = address.send(Apart(After::AWhile));
        tokio::task::yield_now().await;
        drop(question);
        settle().await;
        settle().await;
        assert_eq!(count(&notes.finished), 1);
    });
}

#[test]
fn a_value_dropped_with_its_actor_can_tell_a_panic_from_a_stop() {
    in_system(async {
        let ((stops, stop_notes), (panics, panic_notes)) = (probe(), probe());
        let (stops, panics) = (stops.start(), panics.start());
        stops.do_send(Stop);
        panics.do_send(Panic);
        settle().await;
        assert_eq!((count(&stop_notes.dropped_by_stop), count(&stop_notes.dropped_by_panic)), (1, 0));
        assert_eq!((count(&panic_notes.dropped_by_stop), count(&panic_notes.dropped_by_panic)), (0, 1));
        assert_eq!(count(&panic_notes.stopped), 1, "stopped() runs even then");
    });
}

#[test]
fn an_actor_ends_when_its_last_address_is_dropped() {
    in_system(async {
        let (actor, notes) = probe();
        drop(actor.start());
        settle().await;
        assert_eq!(count(&notes.dropped_by_stop), 1);
    });
}

#[test]
fn starting_an_actor_from_a_tokio_worker_panics_and_start_in_arbiter_works() {
    let (handle_sender, handle) = mpsc::channel();
    let arbiter_thread = std::thread::spawn(move || {
        let system = System::new();
        handle_sender
            .send((System::current(), System::current().arbiter().clone()))
            .unwrap();
        system.run().unwrap();
    });
    let (system, arbiter) = handle.recv().unwrap();
    let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    workers.block_on(async {
        assert!(tokio::spawn(async { drop(Probe::default().start()) }).await.unwrap_err().is_panic());
        assert!(tokio::spawn(async { drop(Arbiter::current()) }).await.unwrap_err().is_panic());
        assert!(tokio::spawn(async { drop(System::current()) }).await.unwrap_err().is_panic());
        let address = Probe::start_in_arbiter(&arbiter, |_| Probe::default());
        let answer = tokio::spawn(async move { address.send(Remember(3)).await }).await.unwrap();
        assert_eq!(answer, Ok(3), "an ask from another runtime works");
    });
    system.stop();
    arbiter_thread.join().unwrap();
}

/// Panics in a handler, and again in `stopped`, which actix calls on the way out.
struct Twice;

impl Actor for Twice {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        panic!("a second time");
    }
}

impl Handler<Panic> for Twice {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("on purpose");
    }
}

#[test]
fn a_panic_in_stopped_after_a_panic_aborts_the_process() {
    const CHILD: &str = "PERSEAT_TEST_PANICS_TWICE";
    if std::env::var_os(CHILD).is_some() {
        in_system(async {
            let _ = Twice.start().send(Panic).await;
        });
        return;
    }
    let itself = std::env::current_exe().unwrap();
    let name = "a_panic_in_stopped_after_a_panic_aborts_the_process";
    let ended = std::process::Command::new(itself)
        .args(["--exact", name])
        .env(CHILD, "1")
        .output()
        .unwrap();
    const SIGABRT: i32 = 6;
    assert_eq!(ended.status.signal(), Some(SIGABRT), "{}", String::from_utf8_lossy(&ended.stderr));
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

#[test]
fn an_idle_actor_costs_less_than_4_kilobytes_and_answers_on_its_own_arbiter() {
    in_system(async {
        const ACTORS: usize = 20_000;
        let answered = Rc::new(Cell::new(0));
        let before = resident_bytes();
        let addresses: Vec<Addr<Probe>> = (0..ACTORS).map(|_| Probe::default().start()).collect();
        settle().await;
        let each = resident_bytes().saturating_sub(before) / ACTORS;
        assert!(each < 4_096, "{each} bytes");
        for address in &addresses {
            answered.set(answered.get() + address.send(Remember(1)).await.unwrap() as usize);
        }
        assert_eq!(answered.get(), ACTORS);
    });
}
