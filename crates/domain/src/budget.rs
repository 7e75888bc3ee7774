//! Says how much may be accepted and not yet ended: per user, flow, customer and in all.
//!
//! Without these bounds one user's flood would fill the journal with everybody's patience. Below the wait mark an event
//! is taken at once; above it the front waits for room and then refuses, so the rest up to the limit is left to what
//! cannot be refused any more: events found in the journal at start, and those that Perseat makes itself.

use crate::id::{CustomerId, FlowNumber, InstanceId, UserId};
use crate::identity::Identity;

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Events of one person.
    User,
    /// Events of one flow of one instance, over all its users.
    Flow,
    /// Events of one customer.
    Customer,
    /// All events.
    Total,
    /// Bytes of all events, with what these have written since.
    Bytes,
}

impl Scope {
    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Flow => "flow",
            Self::Customer => "customer",
            Self::Total => "total",
            Self::Bytes => "bytes",
        }
    }
}

/// Accepted-not-ended events at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one user.
    pub user: u64,
    /// Of one flow of one instance.
    pub flow: u64,
    /// Of one customer.
    pub customer: u64,
    /// In all.
    pub total: u64,
    /// Bytes of events in all, with what these have written since: a flow's results are kept until it ends.
    pub bytes: u64,
    /// The same of one user: whoever fills the backlog closes the door for everybody.
    pub user_bytes: u64,
    /// The same of one customer.
    pub customer_bytes: u64,
    /// Share of a limit, in percent, above which an event from outside waits.
    pub wait_percent: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            user: 16_384,
            flow: 32_768,
            customer: 65_536,
            total: 131_072,
            bytes: 2_560 << 20,
            user_bytes: 640 << 20,
            customer_bytes: 1_280 << 20,
            wait_percent: 80,
        }
    }
}

/// Where an event comes from, as far as room is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A caller that can wait and be refused.
    Outside,
    /// Perseat itself: schedules, replays, deploy flows.
    Inside,
}

impl Limits {
    /// Up to where events of that source are taken: the wait mark or the limit itself. At least one.
    #[must_use]
    pub fn mark(&self, scope: Scope, source: Source) -> u64 {
        let limit = match scope {
            Scope::User => self.user,
            Scope::Flow => self.flow,
            Scope::Customer => self.customer,
            Scope::Total => self.total,
            Scope::Bytes => self.bytes,
        };
        self.part(limit, source)
    }

    /// The same of bytes, where a scope has a share of them.
    #[must_use]
    pub fn bytes_mark(&self, scope: Scope, source: Source) -> Option<u64> {
        let limit = match scope {
            Scope::User => self.user_bytes,
            Scope::Customer => self.customer_bytes,
            Scope::Flow | Scope::Total | Scope::Bytes => return None,
        };
        Some(self.part(limit, source))
    }

    fn part(&self, limit: u64, source: Source) -> u64 {
        let percent = match source {
            Source::Inside => 100,
            Source::Outside => u64::from(self.wait_percent.min(100)),
        };
        (limit / 100 * percent + limit % 100 * percent / 100).max(1)
    }
}

/// What one event takes up until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The customer it belongs to.
    pub customer: Option<CustomerId>,
    /// The flow it is for.
    pub flow: Option<(InstanceId, FlowNumber)>,
    /// The person on whose behalf it runs.
    pub user: Option<UserId>,
    /// Its size, and that of what it has written since.
    pub bytes: u64,
}

impl Claim {
    /// The claim of an event with that identity; one without counts in all only.
    #[must_use]
    pub fn of(identity: Option<&Identity>, bytes: u64) -> Self {
        Self {
            customer: identity.map(|identity| identity.customer),
            flow: identity.map(|identity| (identity.instance, identity.flow)),
            user: identity.and_then(|identity| identity.user).map(|bound| bound.user),
            bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_mark_is_four_fifths_of_the_limit_and_never_nothing() {
        let limits = Limits::default();
        assert_eq!(limits.mark(Scope::User, Source::Outside), 13_107);
        assert_eq!(limits.mark(Scope::User, Source::Inside), 16_384);
        let tiny = Limits { user: 1, ..limits };
        assert_eq!(tiny.mark(Scope::User, Source::Outside), 1);
        assert_eq!(limits.bytes_mark(Scope::User, Source::Outside), Some(512 << 20));
        let huge = Limits { bytes: u64::MAX, ..limits };
        assert!(huge.mark(Scope::Bytes, Source::Outside) < u64::MAX);
    }
}
