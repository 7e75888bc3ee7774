//! Counts what goes out and comes back, by what it went through.

use perseat_domain::usage::{Amount, Through};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The requests of one execution. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<BTreeMap<Through, Count>>>);

impl Meter {
    /// What counts requests that go through this.
    #[must_use]
    pub fn through(&self, through: Through) -> Count {
        self.lock().entry(through).or_default().clone()
    }

    /// What was counted since the last call. Requests that are still on their way are in it; what comes back later is in the
    /// next.
    #[must_use]
    pub fn take(&self) -> Vec<(Through, Amount)> {
        let counts = self.lock();
        let taken = counts.iter().map(|(through, count)| (through.clone(), count.take()));
        taken.filter(|(_, amount)| *amount != Amount::default()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Through, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts requests. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    /// Below zero after a request was taken and turned out not to have been sent.
    calls: AtomicI64,
    sent: AtomicI64,
    received: AtomicU64,
}

impl Count {
    /// A request goes out with so many bytes: from now on it may arrive.
    pub(super) fn sending(&self, bytes: usize) {
        self.0.sent.fetch_add(signed(bytes), Ordering::Relaxed);
        self.0.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// It did not: there was no connection.
    pub(super) fn unsent(&self, bytes: usize) {
        self.0.sent.fetch_sub(signed(bytes), Ordering::Relaxed);
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }

    /// So many bytes came back.
    pub(super) fn received(&self, bytes: usize) {
        self.0
            .received
            .fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn take(&self) -> Amount {
        Amount {
            executions: 0,
            calls: positive(&self.0.calls),
            sent: positive(&self.0.sent),
            received: self.0.received.swap(0, Ordering::Relaxed),
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What is above zero; the rest is left.
fn positive(count: &AtomicI64) -> u64 {
    let taken = count.swap(0, Ordering::Relaxed);
    if taken < 0 {
        count.fetch_add(taken, Ordering::Relaxed);
    }
    u64::try_from(taken).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turned_out_unsent_after_it_was_taken_is_made_up_for() {
        let meter = Meter::default();
        let through = Through {
            connection: "account".into(),
            ..Through::default()
        };
        let (count, other) = (meter.through(through.clone()), meter.through(Through::default()));
        let calls = |calls, sent, received| Amount {
            executions: 0,
            calls,
            sent,
            received,
        };
        count.sending(10);
        count.sending(20);
        count.received(5);
        assert_eq!(meter.take(), [(through.clone(), calls(2, 30, 5))]);
        assert_eq!(meter.take(), []);
        count.unsent(20);
        assert_eq!(meter.take(), []);
        count.sending(7);
        count.sending(25);
        other.sending(0);
        assert_eq!(meter.take(), [(Through::default(), calls(1, 0, 0)), (through, calls(1, 12, 0))]);
    }
}
