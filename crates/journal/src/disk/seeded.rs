//! What a seed decides.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Stamp;

/// A splitmix generator: small, seeded, good enough to choose what a workload does and what a crash keeps.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Follows `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, 0 for 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.next() % limit }
    }
}

/// Time and randomness for tests: a counting clock and ids that follow a seed.
#[derive(Debug, Default)]
pub struct SeededStamp {
    seed: u64,
    count: AtomicU64,
}

impl SeededStamp {
    /// The same seed gives the same ids in the same order.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            count: AtomicU64::new(0),
        }
    }
}

impl Stamp for SeededStamp {
    fn now_millis(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn segment_id(&self) -> u128 {
        let mut random = Random(self.seed ^ self.count.fetch_add(1, Ordering::Relaxed).rotate_left(32));
        u128::from(random.next()) << 64 | u128::from(random.next())
    }
}
