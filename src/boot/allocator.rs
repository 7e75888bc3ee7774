//! What a thread keeps of freed memory for its next allocations goes back while the thread rests.
//!
//! The allocator looks through it by what is allocated meanwhile: after a burst a thread would keep it for good, and with it the
//! slabs that single pieces of it are in.

use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::time::Duration;
use tikv_jemalloc_ctl::{Access as _, AsName as _};

/// What a thread computes between two looks at most where it rests, and what it has computed at least since it gave back before it
/// does so again. No key: a hundredth of the second between two beats of the pulse.
const RESTING: Duration = Duration::from_millis(10);

/// Whether the calling thread has such a cache (jemalloc's manual, `thread.tcache.enabled`).
const CACHE: &str = "thread.tcache.enabled\0";

/// What a thread had computed in all.
#[derive(Clone, Copy, Debug, Default)]
struct Computed {
    at_last_look: Duration,
    when_given_back: Duration,
}

impl Computed {
    /// Whether a thread that has computed so much by now rests and has something to give back.
    fn rests(&mut self, now: Duration) -> bool {
        let rests = now.saturating_sub(self.at_last_look) < RESTING;
        let has_worked = now.saturating_sub(self.when_given_back) >= RESTING;
        self.at_last_look = now;
        if rests && has_worked {
            self.when_given_back = now;
        }
        rests && has_worked
    }
}

thread_local! {
    static COMPUTED: Cell<Computed> = Cell::default();
}

/// To be called by a thread now and then: gives back what the calling thread keeps, if it rests.
pub(crate) fn look() {
    let Ok(now) = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)) else {
        return;
    };
    let mut computed = COMPUTED.get();
    if computed.rests(now)
        && let Err(error) = give_back()
    {
        tracing::debug!(%error, "a thread keeps freed memory");
    }
    COMPUTED.set(computed);
}

/// A cache that is switched off gives back all that it holds.
fn give_back() -> tikv_jemalloc_ctl::Result<()> {
    let cache = CACHE.name();
    cache.write(false)?;
    cache.write(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gives_back_once_after_a_burst_and_not_while_it_works() {
        let mut computed = Computed::default();
        let mut look = |millis| computed.rests(Duration::from_millis(millis));
        let seen = [0, 500, 509, 515, 1_000, 1_004, 1_005, 1_013, 1_015].map(|millis| (millis, look(millis)));
        let given_back = seen.iter().filter(|(_, rests)| *rests).map(|(millis, _)| *millis);
        assert_eq!(given_back.collect::<Vec<u64>>(), [509, 1_004, 1_015]);
    }

    #[test]
    fn a_thread_that_gave_back_keeps_what_it_frees_from_then_on() {
        give_back().unwrap();
        let keeps: bool = CACHE.name().read().unwrap();
        assert!(keeps);
    }
}
