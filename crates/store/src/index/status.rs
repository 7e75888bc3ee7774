//! Where an execution stands, in one word, and the filters and pages of lists.

use super::row::ExecutionRow;
use perseat_domain::entry::EndStatus;
use perseat_domain::id::{CustomerId, ExecutionId, InstanceId, UserConfigId, UserId};
use perseat_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted, not begun.
    Queued,
    /// Begun.
    Running,
    /// Out of the queue until a connection can be used again.
    Parked,
    /// Ended well.
    Succeeded,
    /// A step or a limit failed it.
    Failed,
    /// Cancelled.
    Cancelled,
    /// Its actor died under it too often.
    Quarantined,
}

impl ExecutionRow {
    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.outcome.as_ref().map(|outcome| outcome.status) {
            None if self.parked.is_some() => Status::Parked,
            None if self.started_at.is_none() => Status::Queued,
            None => Status::Running,
            Some(EndStatus::Succeeded) => Status::Succeeded,
            Some(EndStatus::Failed) => Status::Failed,
            Some(EndStatus::Cancelled) => Status::Cancelled,
            Some(EndStatus::Quarantined) => Status::Quarantined,
        }
    }
}

/// Which executions a list shows; everything that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this instance.
    pub instance: Option<InstanceId>,
    /// Of this user's configuration.
    pub user_config: Option<UserConfigId>,
    /// Of this user.
    pub user: Option<UserId>,
    /// Of this customer.
    pub customer: Option<CustomerId>,
    /// In one of these; empty means any.
    pub status: Vec<Status>,
    /// Accepted at or after.
    pub since: Option<Timestamp>,
    /// Accepted before.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Whether `row` is shown.
    #[must_use]
    pub fn matches(&self, row: &ExecutionRow) -> bool {
        let identity = row.identity.as_ref();
        let user = identity.and_then(|identity| identity.user);
        self.instance
            .is_none_or(|id| identity.is_some_and(|identity| identity.instance == id))
            && self
                .customer
                .is_none_or(|id| identity.is_some_and(|identity| identity.customer == id))
            && self.user.is_none_or(|id| user.is_some_and(|user| user.user == id))
            && self.user_config.is_none_or(|id| user.is_some_and(|user| user.config == id))
            && (self.status.is_empty() || self.status.contains(&row.status()))
            && self.since.is_none_or(|since| row.accepted_at >= since)
            && self.until.is_none_or(|until| row.accepted_at < until)
    }
}

/// How far the time in an execution's id may lie from the time it was accepted.
const ID_TIME_SLACK: Duration = Duration::from_secs(600);

impl Filter {
    /// Between which ids to look: below `before`, and around the times, because ids are version 7 and begin with
    /// their time in milliseconds.
    pub(crate) fn id_bounds(&self, before: Option<ExecutionId>) -> Range<u128> {
        let slack = u64::try_from(ID_TIME_SLACK.as_millis()).unwrap_or(u64::MAX);
        let at = |millis: u64| u128::from(millis) << 80;
        let start = self.since.map_or(0, |since| at(since.0.saturating_sub(slack)));
        let end = self
            .until
            .map_or(u128::MAX, |until| at(until.0.saturating_add(slack).min(u64::MAX >> 16)));
        start..before.map_or(end, |before| end.min(before.0.as_u128())).max(start)
    }
}

/// One page of a list, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows, in falling order of their ids: ids are version 7, so this is the order of acceptance.
    pub rows: Vec<(ExecutionId, ExecutionRow)>,
    /// Where the next page begins (below this id); `None` at the end. A page may be short, or empty, and yet not the
    /// last, where a filter passes over many rows.
    pub next: Option<ExecutionId>,
}

/// Collects the newest rows of several sources into one page.
#[derive(Debug)]
pub(crate) struct Gather {
    limit: usize,
    best: BTreeMap<Reverse<ExecutionId>, ExecutionRow>,
    floor: Option<ExecutionId>,
}

impl Gather {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            best: BTreeMap::new(),
            floor: None,
        }
    }

    /// How many rows of one source can matter.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Offers a row; of two for one execution the ended one stays.
    pub(crate) fn offer(&mut self, execution: ExecutionId, row: ExecutionRow) {
        let key = Reverse(execution);
        if self.best.get(&key).is_some_and(|known| known.outcome.is_some()) {
            return;
        }
        self.best.insert(key, row);
        if self.best.len() > self.limit {
            self.best.pop_last();
        }
    }

    /// A source was read down to `execution` only: what it holds below is not known.
    pub(crate) fn stopped_at(&mut self, execution: ExecutionId) {
        self.floor = self.floor.max(Some(execution));
    }

    /// Whether a source whose ids go up to `highest` can add nothing to the page.
    pub(crate) fn is_settled_above(&self, highest: ExecutionId) -> bool {
        let full = self.best.len() >= self.limit && self.best.last_key_value().is_some_and(|(Reverse(lowest), _)| highest < *lowest);
        full || self.floor.is_some_and(|floor| highest < floor)
    }

    pub(crate) fn page(self) -> Page {
        let known = |execution: &ExecutionId| self.floor.is_none_or(|floor| *execution >= floor);
        let rows: Vec<_> = self
            .best
            .into_iter()
            .map(|(Reverse(execution), row)| (execution, row))
            .filter(|(execution, _)| known(execution))
            .collect();
        let next = if rows.len() == self.limit {
            rows.last().map(|(execution, _)| *execution)
        } else {
            self.floor
        };
        Page { rows, next }
    }
}
