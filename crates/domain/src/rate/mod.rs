//! When a call to a third party may begin: what providers said of their limits, what an operator set, and whose turn it is.
//!
//! A call stands in a chain of scopes, narrowest first: the account that it is made with, the customer at that host (through
//! one app registration), the registration at that host, the host. What a provider says by 429 or 503 is held against the
//! account alone. Only when several accounts in a row were refused and none was served meanwhile is it held against what they
//! have in common: the customer for accounts of one customer, the registration for several customers, the host for several
//! registrations. So one customer's limit is never another's, unless the provider shows that it is.
//!
//! Calls that have to wait stand in one line per host. Customers take turns in it, and the users of a customer among
//! themselves; a call whose own account has to wait longer stands aside, and nobody waits behind it. Requests for tokens go first:
//! there are few of them, and other calls wait for what they bring.

mod decide;
mod line;
mod scope;
#[cfg(test)]
mod tests;

pub use decide::{Learnt, Level, Rates, Refusal, Released};

use crate::id::{CustomerId, UserId};
use std::collections::HashMap;
use std::time::Duration;

/// Names a scope; the same after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeId(pub u128);

/// Who takes turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    /// The customer.
    pub customer: CustomerId,
    /// The user. Where there is none, the customer counts as one.
    pub user: Option<UserId>,
}

/// What a call counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// On whose behalf it is made.
    pub sender: Sender,
    /// The account at the host; without a connection what the sender calls there.
    pub account: ScopeId,
    /// The customer at the host, through one registration.
    pub tenant: ScopeId,
    /// The app registration at the host, if there is one.
    pub client: Option<ScopeId>,
    /// The host.
    pub host: ScopeId,
    /// Whether it goes before those of others: they may wait for what it brings.
    pub goes_first: bool,
}

/// At most so many calls begin within any span of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls.
    pub count: u32,
    /// The span.
    pub per: Duration,
}

/// What an answer says about limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It was served. With a number and a span: so many more will be served within it.
    Served(Option<(u32, Duration)>),
    /// It was refused for now; with when to come again, if that was said.
    Refused(Option<Duration>),
}

/// What bounds the waiting and what is remembered.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What holds for each host without a rate of its own.
    pub rate: Option<Rate>,
    /// Rates of single hosts.
    pub rates: HashMap<ScopeId, Rate>,
    /// The longest time a call waits.
    pub max_wait: Duration,
    /// The longest pause that is believed.
    pub max_pause: Duration,
    /// The pause where none was named; it doubles with each refusal in a row.
    pub back_off: Duration,
    /// Its end.
    pub back_off_max: Duration,
    /// How long after a pause calls begin one by one.
    pub ease: Duration,
    /// How far apart they begin then.
    pub spacing: Duration,
    /// How many refused in a row are evidence against what they have in common.
    pub evidence: usize,
    /// From how many calls left on it is counted along.
    pub watch_below: u32,
    /// Scopes that are remembered.
    pub tracked: usize,
    /// Calls that wait. Those that go first are as many again.
    pub waiting: usize,
    /// Calls of one sender that wait.
    pub waiting_per_user: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rate: None,
            rates: HashMap::new(),
            max_wait: Duration::from_secs(60),
            max_pause: Duration::from_hours(1),
            back_off: Duration::from_secs(1),
            back_off_max: Duration::from_secs(60),
            ease: Duration::from_secs(5),
            spacing: Duration::from_millis(50),
            evidence: 3,
            watch_below: 100,
            tracked: 16_384,
            waiting: 8_192,
            waiting_per_user: 1_024,
        }
    }
}
