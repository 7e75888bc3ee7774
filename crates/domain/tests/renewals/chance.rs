//! Everything that is left to chance comes from here, and from one seed.

use perseat_domain::supervision::Dice;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Chance(Dice);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Dice::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d)))
    }

    /// A number from 0 to `bound - 1`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.0.roll() % bound.max(1) as u64) as usize
    }

    pub(crate) fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last + 1 - first)
    }

    /// Whether the one case in `cases` came up; never for 0.
    pub(crate) fn one_in(&mut self, cases: usize) -> bool {
        cases > 0 && self.below(cases) == 0
    }

    pub(crate) fn millis(&mut self, first: usize, last: usize) -> Duration {
        Duration::from_millis(self.between(first, last) as u64)
    }
}
