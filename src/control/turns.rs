//! Which requests run, so that no identity's keep everybody else's waiting.

use perseat_actors::kit::Shares;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// See the module.
#[derive(Debug)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    each: usize,
    of: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A request's turn, while it is kept.
#[derive(Debug)]
pub(crate) struct Turn {
    // Before the share, so that nobody of the same identity comes while all are taken.
    _all: OwnedSemaphorePermit,
    _share: OwnedSemaphorePermit,
}

impl Turns {
    /// `all` at once, `each` of one identity; one is always left for another, where there is more than one.
    pub(crate) fn new(all: usize, each: usize) -> Self {
        let all = all.max(1);
        Self {
            all: Arc::new(Semaphore::new(all)),
            each: each.clamp(1, (all - 1).max(1)),
            of: Mutex::default(),
        }
    }

    /// Waits for a turn of `identity`: first behind its own other requests, where it holds up nobody, then behind all that run.
    /// `None` never happens while turns are given.
    pub(crate) async fn wait(&self, identity: &str) -> Option<Turn> {
        let share = self.share(identity).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Turn { _all: all, _share: share })
    }

    /// A turn of `identity`, if there is one now.
    pub(crate) fn take(&self, identity: &str) -> Option<Turn> {
        let share = self.share(identity).try_acquire_owned().ok()?;
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Turn { _all: all, _share: share })
    }

    fn share(&self, identity: &str) -> Arc<Semaphore> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever waits or runs holds it, too.
        of.retain(|_, share| Arc::strong_count(share) > 1);
        let share = of.entry(identity.to_owned());
        Arc::clone(share.or_insert_with(|| Arc::new(Semaphore::new(self.each))))
    }
}

/// Turns for which an identity's requests wait in a line of its own: each of them keeps a connection.
#[derive(Debug)]
pub(crate) struct Lines {
    turns: Turns,
    waiting: Arc<Shares<String>>,
    patience: Duration,
}

/// Why a request gets no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// As many of its identity wait as may.
    Crowded,
    /// It has waited as long as it may.
    TooLate,
    /// No turns are given any more.
    Over,
}

impl Lines {
    /// At most `waiting` of one identity wait for `turns`, and none longer than `patience`.
    pub(crate) fn new(turns: Turns, waiting: usize, patience: Duration) -> Self {
        Self {
            turns,
            waiting: Shares::new(waiting),
            patience,
        }
    }

    /// The turns, for what goes on and has been in line.
    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Waits for a turn of `identity`.
    ///
    /// # Errors
    /// If it gets none.
    pub(crate) async fn wait(&self, identity: &str) -> Result<Turn, NoTurn> {
        if let Some(turn) = self.turns.take(identity) {
            return Ok(turn);
        }
        let _place = self.waiting.try_claim(identity.to_owned(), 1).ok_or(NoTurn::Crowded)?;
        let turn = timeout(self.patience, self.turns.wait(identity)).await;
        turn.map_err(|_| NoTurn::TooLate)?.ok_or(NoTurn::Over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn is_waiting<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[tokio::test]
    async fn an_identitys_requests_wait_for_each_other_and_for_nobody_elses() {
        let turns = Turns::new(3, 2);
        let held = [turns.wait("a").await, turns.wait("a").await];
        let mut third = pin!(turns.wait("a"));
        assert!(is_waiting(third.as_mut()));
        // Somebody else is let in, however long the first waits; past all turns others wait, too.
        let other = turns.wait("b").await;
        assert!(is_waiting(pin!(turns.wait("c"))));
        drop(held);
        assert!(third.await.is_some());
        drop(other);
        assert!(turns.wait("c").await.is_some());
        assert_eq!(turns.of.lock().unwrap().len(), 1, "identities of whom nothing runs are forgotten");
    }

    #[test]
    fn who_does_not_wait_gets_what_is_free_and_no_more_than_a_share() {
        let turns = Turns::new(3, 2);
        let held = [turns.take("a"), turns.take("a")];
        assert!(held.iter().all(Option::is_some) && turns.take("a").is_none());
        let other = turns.take("b");
        assert!(other.is_some() && turns.take("b").is_none() && turns.take("c").is_none());
        drop(held);
        assert!(turns.take("a").is_some());
    }

    #[tokio::test]
    async fn so_many_of_an_identity_wait_and_so_long() {
        let lines = |patience| Lines::new(Turns::new(3, 1), 2, patience);
        let patient = lines(Duration::from_secs(3_600));
        let held = patient.wait("a").await.unwrap();
        let (mut first, mut second) = (pin!(patient.wait("a")), pin!(patient.wait("a")));
        assert!(is_waiting(first.as_mut()) && is_waiting(second.as_mut()));
        assert_eq!(patient.wait("a").await.unwrap_err(), NoTurn::Crowded);
        assert!(patient.wait("b").await.is_ok(), "others have a line of their own");
        drop(held);
        let held = first.await.unwrap();
        assert!(is_waiting(second.as_mut()));
        drop(held);
        assert!(second.await.is_ok());

        let impatient = lines(Duration::from_millis(1));
        let held = impatient.wait("a").await.unwrap();
        assert_eq!(impatient.wait("a").await.unwrap_err(), NoTurn::TooLate);
        drop(held);
        assert!(impatient.wait("a").await.is_ok());
    }

    #[tokio::test]
    async fn nobody_has_all_turns_where_there_are_several() {
        for (all, each) in [(2, 2), (8, 64), (1, 5)] {
            let turns = Turns::new(all, each);
            assert_eq!(turns.each, if all == 1 { 1 } else { all - 1 });
        }
    }
}
