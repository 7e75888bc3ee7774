//! Short blocking work beside an arbiter: reading rows and entries that its actors wait for.

use super::relay::{relayed, ring_together};
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Threads that work off one line at most. No key: what the page cache answers takes microseconds and gains nothing by more,
/// and so many overlap the reads of a slow disk.
const RUNNERS: usize = 4;
/// Errands that may wait for each thread before another one joins in.
const LINE: usize = 64;
/// Errands after which those who asked are woken, if there is more to do: as long they wait for the last of these as they would in
/// the line. No key: each of them takes microseconds, and woken one by one they would take the processor from the thread as often.
const TOGETHER: usize = 8;

type Errand = Box<dyn FnOnce() + Send>;

/// A line of errands, worked off in order by few threads of the runtime's pool.
///
/// Handing one to the pool by itself wakes a thread each time, which costs more than most errands do. Here the thread that is
/// awake goes on with the next. The line is as long as there are actors that wait; they wait for one errand each.
#[derive(Clone, Default)]
pub struct Errands(Arc<Mutex<Line>>);

#[derive(Default)]
struct Line {
    waiting: VecDeque<Errand>,
    runners: usize,
}

/// The errand panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("work beside the arbiter panicked")]
pub struct Failed;

impl fmt::Debug for Errands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line();
        let mut shown = f.debug_struct("Errands");
        shown.field("waiting", &line.waiting.len()).field("runners", &line.runners).finish()
    }
}

impl Errands {
    /// Runs `work` on another thread and waits for what it gives. Call it on a runtime.
    ///
    /// # Errors
    /// If it panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failed> {
        let (answer, answered) = oneshot::channel();
        self.line_up(Box::new(move || {
            // Whoever asked may have stopped waiting.
            let _ = answer.send(work());
        }));
        relayed(answered).await.map_err(|_| Failed)
    }

    fn line_up(&self, errand: Errand) {
        let mut line = self.line();
        line.waiting.push_back(errand);
        let is_short = line.waiting.len() <= line.runners * LINE;
        if is_short || line.runners == RUNNERS {
            return;
        }
        line.runners += 1;
        drop(line);
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.work_off());
    }

    fn work_off(&self) {
        let mut is_there_more = true;
        while is_there_more {
            ring_together(|| is_there_more = (0..TOGETHER).all(|_| self.work_off_one()));
        }
    }

    /// Whether there was one.
    fn work_off_one(&self) -> bool {
        let next = self.next();
        let was_one = next.is_some();
        // The panic hook has said what it was; the answer is dropped, which is how the one who waits hears of it.
        let _ = next.map(|errand| catch_unwind(AssertUnwindSafe(errand)));
        was_one
    }

    /// The next errand; without one the thread leaves.
    fn next(&self) -> Option<Errand> {
        let mut line = self.line();
        let next = line.waiting.pop_front();
        if next.is_none() {
            line.runners -= 1;
        }
        next
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::mpsc;
    use std::time::Duration;

    #[tokio::test]
    async fn errands_run_in_the_order_they_came_and_a_panic_is_one_errands_own() {
        let errands = Errands::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = (0..LINE).map(|n| {
            let seen = seen.clone();
            errands.run(move || {
                assert_ne!(n, 7, "on purpose");
                seen.lock().unwrap().push(n);
            })
        });
        let ended = join_all(all).await;
        let failed: Vec<usize> = (0..LINE).filter(|n| ended[*n].is_err()).collect();
        assert_eq!(failed, [7]);
        let expected: Vec<usize> = (0..LINE).filter(|n| *n != 7).collect();
        assert_eq!(*seen.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn a_slow_errand_does_not_hold_up_a_long_line() {
        let errands = Errands::default();
        let (release, released) = mpsc::channel::<()>();
        let slow = errands.run(move || released.recv());
        let quick = join_all((0..=LINE).map(|n| errands.run(move || n)));
        let (slow, ()) = tokio::join!(slow, async move {
            assert!(quick.await.iter().all(Result::is_ok));
            release.send(()).unwrap();
        });
        assert_eq!(slow, Ok(Ok(())));
        assert!(errands.line().waiting.is_empty());
    }

    #[test]
    fn whoever_asked_for_errands_that_follow_one_another_is_woken_when_they_are_done() {
        actix_rt::System::new().block_on(async {
            let errands = Errands::default();
            let (go, begins) = mpsc::channel::<()>();
            let (resumed, is_resumed) = mpsc::channel();
            let first = async {
                errands.run(move || begins.recv().unwrap()).await.unwrap();
                // Nobody listens any more once the second is done.
                let _ = resumed.send(());
            };
            // The answer to the first is there by now.
            let second = errands.run(move || is_resumed.recv_timeout(Duration::from_millis(50)));
            let ((), second, ()) = tokio::join!(first, second, async { go.send(()).unwrap() });
            assert_eq!(second, Ok(Err(mpsc::RecvTimeoutError::Timeout)));
        });
    }
}
