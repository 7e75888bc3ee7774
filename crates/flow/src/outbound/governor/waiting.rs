//! Calls that wait for their turn, and the task that calls them up.

use super::{Inner, Pass, State, now};
use perseat_domain::rate::{Call, Refusal};
use perseat_domain::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

/// The shortest wait of the driver. No key: clocks are no finer.
const TICK: Duration = Duration::from_millis(1);

/// Why a call is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Held {
    /// A limit holds for too long.
    #[error("its limit holds for another {} ms, longer than the step or `governor.max-wait` allows", .0.as_millis())]
    For(Duration),
    /// Its turn did not come.
    #[error("its turn did not come within the time that the step and `governor.max-wait` allow")]
    TurnMissed,
    /// There is no room to wait.
    #[error("too many calls wait already (`governor.waiting`, `governor.waiting-per-user`)")]
    Full,
}

pub(super) fn pass_now(inner: &Inner, call: Call) -> Result<Pass, Held> {
    let now = now();
    let mut state = inner.state();
    state.release(now);
    match state.rates.start(&call, now) {
        Ok(()) => Ok(Pass { call, began: now }),
        Err(at) => Err(Held::For(at.since(now))),
    }
}

pub(super) async fn pass(inner: &Arc<Inner>, call: Call, until: Instant) -> Result<Pass, Held> {
    let (ticket, mut turn, until) = {
        let now = now();
        let mut state = inner.state();
        state.release(now);
        if state.rates.start(&call, now).is_ok() {
            return Ok(Pass { call, began: now });
        }
        let until = until.min(Instant::now() + state.rates.limits().max_wait);
        let give_up = now.after(until.saturating_duration_since(Instant::now()));
        let ticket = state.rates.wait(call, give_up, now).map_err(|refusal| {
            inner.count(&call, "refused");
            match refusal {
                Refusal::TooLong(at) => Held::For(at.since(now)),
                Refusal::Full => Held::Full,
            }
        })?;
        let (sender, turn) = oneshot::channel();
        state.waiters.insert(ticket, sender);
        state.release(now);
        if !std::mem::replace(&mut state.is_driven, true) {
            tokio::spawn(drive(Arc::clone(inner)));
        }
        inner.wake.notify_one();
        (ticket, turn, until)
    };
    let mut leave = Leave {
        inner,
        ticket,
        is_armed: true,
    };
    let called = timeout_at(until, &mut turn).await;
    leave.is_armed = called.is_err();
    match called {
        Ok(Ok(Ok(()))) => {
            inner.count(&call, "begun");
            Ok(Pass { call, began: now() })
        }
        Ok(Ok(Err(at))) => {
            inner.count(&call, "refused");
            Err(Held::For(at.since(now())))
        }
        Ok(Err(_)) | Err(_) => {
            inner.count(&call, "refused");
            Err(Held::TurnMissed)
        }
    }
}

impl Inner {
    fn count(&self, call: &Call, outcome: &'static str) {
        metrics::counter!("perseat_outbound_waits_total", "host" => self.label(call), "outcome" => outcome).increment(1);
    }
}

impl State {
    /// Calls up whoever may begin.
    fn release(&mut self, now: Timestamp) {
        let released = self.rates.release(now);
        let go = released.go.into_iter().map(|ticket| (ticket, Ok(())));
        let refuse = released.refuse.into_iter().map(|(ticket, at)| (ticket, Err(at)));
        for (ticket, turn) in go.chain(refuse) {
            if let Some(waiter) = self.waiters.remove(&ticket) {
                // Nobody listens if it was given up at this moment; then one call less is made.
                let _ = waiter.send(turn);
            }
        }
    }
}

/// Gives a place in the line up.
struct Leave<'a> {
    inner: &'a Inner,
    ticket: u64,
    is_armed: bool,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            let mut state = self.inner.state();
            state.waiters.remove(&self.ticket);
            state.rates.leave(self.ticket, now());
            self.inner.wake.notify_one();
        }
    }
}

/// Calls up whoever's time has come, as long as somebody waits.
async fn drive(inner: Arc<Inner>) {
    let mut undriven = Undriven(Some(Arc::clone(&inner)));
    loop {
        let wait = {
            let now = now();
            let mut state = inner.state();
            state.release(now);
            metrics::gauge!("perseat_outbound_waiting").set(state.rates.waiting() as f64);
            match state.rates.next_release() {
                Some(next) => next.since(now).max(TICK),
                None => {
                    state.is_driven = false;
                    undriven.0 = None;
                    return;
                }
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = inner.wake.notified() => {}
        }
    }
}

/// The runtime of the driver ended with it: the next that waits starts another one.
struct Undriven(Option<Arc<Inner>>);

impl Drop for Undriven {
    fn drop(&mut self) {
        if let Some(inner) = &self.0 {
            inner.state().is_driven = false;
        }
    }
}
