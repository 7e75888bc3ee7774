//! Waits on an arbiter for what other threads do, without being overtaken.
//!
//! An arbiter runs what its own tasks and its sockets woke before what other threads woke, but for one in 31 (tokio's
//! `LocalSet`). As long as it is busy, whoever a thread like the journal's writer wakes stands behind everybody who comes
//! later. So the other thread wakes one task of the arbiter here, once for all who are due, and that one wakes them on the
//! arbiter itself: they stand in line with everybody else, in their order.
//!
//! An arbiter that wakes may take the processor from the thread that woke it, find one who is due, and sleep until it is woken for
//! the next. A thread that has many to wake [rings for all of them together](ring_together).

use actix_rt::System;
use futures_util::task::AtomicWaker;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

thread_local! {
    static HERE: RefCell<Option<Arc<Relay>>> = const { RefCell::new(None) };
    /// Whom the calling thread has to wake, where it does so together.
    static RUNG: RefCell<Option<Rung>> = const { RefCell::new(None) };
}

/// Sleepers, and the relays of their arbiters.
type Rung = Vec<(Arc<Relay>, Waker)>;

/// Does what wakes others who wait [relayed](relayed): they are woken when it is done, each arbiter once. Within another one, when
/// that is done.
pub fn ring_together(work: impl FnOnce()) {
    if RUNG.with_borrow(Option::is_some) {
        return work();
    }
    RUNG.set(Some(Vec::new()));
    let _all = Together;
    work();
}

/// Wakes them, also where the work panicked.
struct Together;

impl Drop for Together {
    fn drop(&mut self) {
        let rung = RUNG.take().unwrap_or_default();
        let first = rung
            .into_iter()
            .filter_map(|(relay, sleeper)| relay.line_up(sleeper).then_some(relay));
        let asleep: Vec<Arc<Relay>> = first.collect();
        asleep.iter().for_each(|relay| relay.runner.wake());
    }
}

/// Waits for something that another thread does. Off an arbiter it waits for it directly.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are waited for"]
pub struct Relayed<F> {
    future: F,
    bell: Option<Arc<Bell>>,
}

/// `future`, woken through the relay of the arbiter that waits for it.
pub fn relayed<F: Future + Unpin>(future: F) -> Relayed<F> {
    Relayed { future, bell: None }
}

impl<F: Future + Unpin> Future for Relayed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        if this.bell.is_none() {
            this.bell = Relay::here().map(Bell::new);
        }
        let Some(bell) = &this.bell else {
            return Pin::new(&mut this.future).poll(cx);
        };
        bell.is_for(cx.waker());
        let waker = Waker::from(Arc::clone(bell));
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&waker))
    }
}

/// What the other thread rings: whoever waits is handed to the relay.
#[derive(Debug)]
struct Bell {
    relay: Arc<Relay>,
    sleeper: Mutex<Option<Waker>>,
}

impl Bell {
    fn new(relay: Arc<Relay>) -> Arc<Self> {
        Arc::new(Self {
            relay,
            sleeper: Mutex::default(),
        })
    }

    fn is_for(&self, waker: &Waker) {
        *lock(&self.sleeper) = Some(waker.clone());
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let sleeper = lock(&self.sleeper).take();
        if let Some(sleeper) = sleeper {
            self.relay.hand_over(sleeper);
        }
    }
}

/// Those who are due on one arbiter: at most all who wait there.
#[derive(Debug, Default)]
struct Relay {
    due: Mutex<Vec<Waker>>,
    runner: AtomicWaker,
    has_ended: AtomicBool,
}

impl Relay {
    /// The calling arbiter's; started by the first who waits there.
    fn here() -> Option<Arc<Self>> {
        HERE.with_borrow_mut(|here| {
            // The thread may have been another system's before.
            if let Some(relay) = here.as_ref().filter(|relay| !relay.has_ended.load(Ordering::Acquire)) {
                return Some(Arc::clone(relay));
            }
            *here = System::is_registered().then(|| {
                let relay = Arc::new(Self::default());
                actix_rt::spawn(Runner(Arc::clone(&relay)));
                relay
            });
            here.clone()
        })
    }

    fn hand_over(self: &Arc<Self>, sleeper: Waker) {
        let alone = RUNG.with_borrow_mut(|rung| match rung {
            Some(rung) => {
                rung.push((Arc::clone(self), sleeper));
                None
            }
            None => Some(sleeper),
        });
        if alone.is_some_and(|sleeper| self.line_up(sleeper)) {
            self.runner.wake();
        }
    }

    /// Whether the runner has to be woken: it has nobody else to wake.
    fn line_up(&self, sleeper: Waker) -> bool {
        let mut due = lock(&self.due);
        due.push(sleeper);
        due.len() == 1
    }
}

/// The task that other threads wake.
struct Runner(Arc<Relay>);

impl Future for Runner {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Before it looks: whoever is due afterwards wakes it again.
        self.0.runner.register(cx.waker());
        let due = std::mem::take(&mut *lock(&self.0.due));
        due.into_iter().for_each(Waker::wake);
        Poll::Pending
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::Either;
    use std::cell::Cell;
    use std::panic::AssertUnwindSafe;
    use std::rc::Rc;
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::oneshot;

    const WAITING: usize = 64;

    /// How often a busy neighbour had its turn until all who were woken at once had theirs, and the order of theirs.
    fn turns(is_relayed: bool) -> (usize, Vec<usize>) {
        System::new().block_on(async move {
            let (turns, order) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
            let (senders, receivers): (Vec<_>, Vec<_>) = (0..WAITING).map(|_| oneshot::channel::<()>()).unzip();
            let waiting = receivers.into_iter().enumerate().map(|(n, receiver)| {
                let order = Rc::clone(&order);
                actix_rt::spawn(async move {
                    let answered = match is_relayed {
                        true => Either::Left(relayed(receiver)),
                        false => Either::Right(receiver),
                    };
                    answered.await.unwrap();
                    order.borrow_mut().push(n);
                })
            });
            let waiting: Vec<_> = waiting.collect();
            tokio::task::yield_now().await;
            let counted = Rc::clone(&turns);
            let neighbour = actix_rt::spawn(async move {
                // Nothing else runs here until all have been woken.
                let wake = std::thread::spawn(move || senders.into_iter().for_each(|sender| sender.send(()).unwrap()));
                wake.join().unwrap();
                std::future::poll_fn::<(), _>(|cx| {
                    counted.set(counted.get() + 1);
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
            });
            for run in waiting {
                run.await.unwrap();
            }
            neighbour.abort();
            (turns.get(), order.take())
        })
    }

    #[test]
    fn who_is_woken_from_outside_stands_in_line_with_the_others_and_in_order() {
        let (directly, _) = turns(false);
        let (relayed, order) = turns(true);
        assert!(
            relayed * 4 < directly,
            "{relayed} turns of a busy neighbour, {directly} without the relay"
        );
        assert_eq!(order, (0..WAITING).collect::<Vec<_>>());
    }

    /// Counts how often it is woken.
    #[derive(Debug, Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_arbiter_that_is_faster_than_who_wakes_it_is_woken_once_for_all_who_are_rung_together() {
        let (relay, woken) = (Arc::new(Relay::default()), Arc::new(Woken::default()));
        let (mut runner, waker) = (Runner(Arc::clone(&relay)), Waker::from(Arc::clone(&woken)));
        let mut run = || Pin::new(&mut runner).poll(&mut Context::from_waker(&waker)).is_pending();
        assert!(run());
        let sleepers: Vec<_> = (0..WAITING).map(|_| Arc::new(Woken::default())).collect();
        let ring_all = |run: &mut dyn FnMut() -> bool| {
            for sleeper in &sleepers {
                let bell = Bell::new(Arc::clone(&relay));
                bell.is_for(&Waker::from(Arc::clone(sleeper)));
                bell.wake();
                assert!(run());
            }
            woken.0.swap(0, Ordering::Relaxed)
        };
        assert_eq!(ring_all(&mut run), WAITING, "each for itself");
        ring_together(|| ring_together(|| assert_eq!(ring_all(&mut run), 0, "nobody before all are")));
        assert_eq!(woken.0.swap(0, Ordering::Relaxed), 1);
        assert!(run());
        assert!(sleepers.iter().all(|sleeper| sleeper.0.load(Ordering::Relaxed) == 2));
        let panics = std::panic::catch_unwind(AssertUnwindSafe(|| ring_together(|| panic!("in the middle"))));
        assert!(panics.is_err());
        assert_eq!(ring_all(&mut run), WAITING, "and nobody is kept afterwards");
    }

    #[test]
    fn a_thread_that_gets_another_system_gets_another_relay() {
        for _ in 0..2 {
            assert_eq!(turns(true).1.len(), WAITING);
        }
    }

    #[tokio::test]
    async fn off_an_arbiter_it_waits_directly() {
        let (sender, receiver) = oneshot::channel();
        std::thread::spawn(move || sender.send(7).unwrap());
        assert_eq!(relayed(receiver).await, Ok(7));
    }
}
