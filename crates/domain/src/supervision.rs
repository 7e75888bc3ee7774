//! Decides when a child that panicked is started again, and when that is no use any more.
//!
//! Restarts are delayed by a jittered exponential back-off, so that a hundred children felled by one cause do not
//! return in one moment, and counted within a window: past the budget the child is quarantined, because a fault that
//! survives five restarts from the store is in the store. Time and dice are passed in; nothing here starts anything.

use std::time::Duration;

/// When to restart and when to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Restarts allowed within the window; one more panic quarantines.
    pub restarts_max: u32,
    /// The window.
    pub within: Duration,
    /// Delay before the first restart; doubles with each panic in the window.
    pub backoff_first: Duration,
    /// Longest delay.
    pub backoff_max: Duration,
    /// How long a quarantine lasts.
    pub quarantine: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            restarts_max: 5,
            within: Duration::from_secs(60),
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            quarantine: Duration::from_secs(600),
        }
    }
}

/// What to do with a child that panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start it again after this delay.
    RestartAfter(Duration),
    /// Leave it alone for this long.
    Quarantine(Duration),
}

/// The panics of one child that still count; never more than the policy allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    panics: Vec<Duration>,
}

impl Record {
    /// Notes a panic at `now` (time since some fixed point) and decides. `dice` is any random number.
    pub fn on_panic(&mut self, policy: &RestartPolicy, now: Duration, dice: u64) -> Decision {
        self.panics.retain(|at| now.saturating_sub(*at) < policy.within);
        let earlier = u32::try_from(self.panics.len()).unwrap_or(u32::MAX);
        if earlier >= policy.restarts_max {
            self.panics.clear();
            return Decision::Quarantine(policy.quarantine);
        }
        self.panics.push(now);
        Decision::RestartAfter(backoff(policy.backoff_first, policy.backoff_max, earlier, dice))
    }

    /// How many panics were noted and not yet forgotten.
    #[must_use]
    pub fn panics(&self) -> usize {
        self.panics.len()
    }
}

/// The delay before try number `earlier + 2`: `first` doubled `earlier` times, at most `max`, of which the upper half is
/// left to `dice`.
#[must_use]
pub fn backoff(first: Duration, max: Duration, earlier: u32, dice: u64) -> Duration {
    let full = first.saturating_mul(1_u32.checked_shl(earlier).unwrap_or(u32::MAX)).min(max);
    let half = full / 2;
    let share = (dice >> 32) as u32;
    // share / 2^32 of the other half, in integers.
    let jitter = Duration::from_nanos(((half.as_nanos() * u128::from(share)) >> 32).try_into().unwrap_or(u64::MAX));
    half + jitter
}

/// A small deterministic source of dice (SplitMix64): for jitter, never for secrets.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that always fall the same way for one seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy = RestartPolicy {
        restarts_max: 5,
        within: Duration::from_secs(60),
        backoff_first: Duration::from_millis(100),
        backoff_max: Duration::from_secs(10),
        quarantine: Duration::from_secs(600),
    };

    fn panics_at(seconds: &[u64]) -> Vec<Decision> {
        let (mut record, mut dice) = (Record::default(), Dice::new(1));
        let decide = |at: &u64| record.on_panic(&POLICY, Duration::from_secs(*at), dice.roll());
        seconds.iter().map(decide).collect()
    }

    #[test]
    fn a_child_is_quarantined_at_its_sixth_panic_in_a_minute() {
        let decisions = panics_at(&[0, 1, 2, 3, 4, 5]);
        assert!(
            decisions[..5].iter().all(|decision| matches!(decision, Decision::RestartAfter(_))),
            "{decisions:?}"
        );
        assert_eq!(decisions[5], Decision::Quarantine(POLICY.quarantine));
    }

    #[test]
    fn panics_outside_the_window_do_not_count() {
        let decisions = panics_at(&[0, 15, 30, 45, 61, 76, 91, 106, 121]);
        assert!(
            decisions.iter().all(|decision| matches!(decision, Decision::RestartAfter(_))),
            "{decisions:?}"
        );
    }

    #[test]
    fn after_a_quarantine_the_count_starts_anew() {
        let decisions = panics_at(&[0, 0, 0, 0, 0, 0, 1]);
        assert!(matches!(decisions[6], Decision::RestartAfter(_)));
    }

    #[test]
    fn the_back_off_doubles_within_its_jitter_up_to_its_maximum() {
        let mut dice = Dice::new(7);
        for earlier in 0..80 {
            let full = Duration::from_millis(100)
                .saturating_mul(2_u32.saturating_pow(earlier))
                .min(POLICY.backoff_max);
            for _ in 0..50 {
                let delay = backoff(POLICY.backoff_first, POLICY.backoff_max, earlier, dice.roll());
                assert!(delay >= full / 2 && delay <= full, "{earlier}: {delay:?} of {full:?}");
            }
        }
    }

    #[test]
    fn two_children_felled_together_do_not_return_together() {
        let mut dice = Dice::new(3);
        let delays: std::collections::BTreeSet<Duration> = (0..100)
            .map(|_| backoff(POLICY.backoff_first, POLICY.backoff_max, 0, dice.roll()))
            .collect();
        assert!(delays.len() > 90, "only {} different delays", delays.len());
    }
}
