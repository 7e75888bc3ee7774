//! What one request of the API may read and answer, and for how long it may read.

use super::Desk;
use perseat_actors::kit::Clock;
use perseat_store::catalog::{Allowance, Spent};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// See the module.
pub(crate) struct Budget {
    left: AtomicUsize,
    bytes: usize,
    bytes_left: AtomicUsize,
    answer_left: AtomicUsize,
    /// Until when after the start more may be read.
    until: Duration,
    /// When a quarter of that time is over.
    long_after: Duration,
    clock: Arc<dyn Clock>,
    spent: OnceLock<Spent>,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Budget {
    /// For a request that begins now.
    pub(super) fn new(records: usize, bytes: usize, time: Duration, clock: Arc<dyn Clock>) -> Self {
        let now = clock.uptime();
        Self {
            left: AtomicUsize::new(records),
            bytes,
            bytes_left: AtomicUsize::new(bytes),
            answer_left: AtomicUsize::new(bytes),
            until: now.saturating_add(time),
            long_after: now.saturating_add(time / 4),
            clock,
            spent: OnceLock::new(),
        }
    }

    /// That of a request of the API.
    pub(crate) fn of(desk: &Desk) -> Self {
        let options = desk.options();
        Self::new(options.query_rows, options.query_bytes, options.query_time, desk.clock())
    }

    /// Why something was refused, if anything was.
    pub(super) fn spent(&self) -> Option<Spent> {
        self.spent.get().copied()
    }

    /// Takes room for a part of the answer, however long it took to make: a mutation says what it did. Once there is too little,
    /// there is none for anything.
    pub(super) fn take_answer(&self, bytes: usize) -> Result<(), Spent> {
        let less = |left: usize| Some(left.saturating_sub(bytes));
        let taken = self.answer_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if taken.is_ok_and(|left| left > bytes) {
            return Ok(());
        }
        Err(*self.spent.get_or_init(|| Spent::Bytes))
    }

    /// Whether more than a quarter of the bytes is taken: who goes through many things ends in time with what there is.
    pub(crate) fn has_read_much(&self) -> bool {
        self.bytes_left.load(Ordering::Relaxed) < self.bytes / 4 * 3
    }

    /// The same of the time.
    pub(crate) fn has_taken_long(&self) -> bool {
        self.clock.uptime() >= self.long_after
    }

    fn take_from(&self, left: &AtomicUsize, taken: usize, short: Spent) -> Result<(), Spent> {
        if let Some(spent) = self.spent() {
            return Err(spent);
        }
        let less = |left: usize| left.checked_sub(taken);
        let spent = if self.clock.uptime() >= self.until {
            Spent::Time
        } else if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
            short
        } else {
            return Ok(());
        };
        Err(*self.spent.get_or_init(|| spent))
    }
}

impl Allowance for Budget {
    fn take(&self, records: usize) -> Result<(), Spent> {
        self.take_from(&self.left, records, Spent::Records)
    }

    fn take_bytes(&self, bytes: usize) -> Result<(), Spent> {
        self.take_from(&self.bytes_left, bytes, Spent::Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_actors::kit::RealClock;

    fn budget(records: usize, time: Duration) -> Budget {
        Budget::new(records, 10, time, Arc::new(RealClock::new()))
    }

    #[test]
    fn what_was_overdrawn_gives_nothing_more() {
        let budget = budget(3, Duration::MAX);
        assert_eq!(budget.take(2), Ok(()));
        assert_eq!(budget.spent(), None);
        assert_eq!(budget.take(2), Err(Spent::Records));
        assert_eq!(budget.take(1), Err(Spent::Records));
        assert_eq!(budget.spent(), Some(Spent::Records));
        assert_eq!(budget.take_bytes(1), Err(Spent::Records));
    }

    #[test]
    fn bytes_are_counted_apart() {
        let budget = budget(1, Duration::MAX);
        assert_eq!((budget.take_bytes(10), budget.take(1)), (Ok(()), Ok(())));
        assert_eq!(budget.take_bytes(1), Err(Spent::Bytes));
    }

    #[test]
    fn an_answer_without_room_gets_no_more_of_it() {
        let budget = budget(1, Duration::ZERO);
        assert_eq!((budget.take_answer(6), budget.spent()), (Ok(()), None));
        assert_eq!(budget.take_answer(5), Err(Spent::Bytes));
        assert_eq!((budget.take_answer(0), budget.spent()), (Err(Spent::Bytes), Some(Spent::Bytes)));
    }

    #[test]
    fn a_quarter_of_the_bytes_is_much() {
        let budget = budget(1, Duration::MAX);
        assert!(budget.take_bytes(2).is_ok() && !budget.has_read_much());
        assert!(budget.take_bytes(3).is_ok() && budget.has_read_much());
    }

    #[test]
    fn nothing_is_read_once_the_time_is_over() {
        assert!(!budget(3, Duration::MAX).has_taken_long());
        let budget = budget(3, Duration::ZERO);
        assert!(budget.has_taken_long());
        assert_eq!(budget.take(0), Err(Spent::Time));
        assert_eq!(budget.spent(), Some(Spent::Time));
    }
}
