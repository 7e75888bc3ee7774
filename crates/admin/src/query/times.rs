//! Lists by when their records were made and changed.

use super::Reader;
use crate::fault::Fault;
use perseat_domain::time::Timestamp;
use perseat_store::catalog::Record;

/// Between which moments, both included; everything that is set must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Made at this moment or after it.
    pub created_from: Option<Timestamp>,
    /// Made at this moment or before it.
    pub created_to: Option<Timestamp>,
    /// Last changed at this moment or after it.
    pub changed_from: Option<Timestamp>,
    /// Last changed at this moment or before it.
    pub changed_to: Option<Timestamp>,
}

impl Reader<'_> {
    /// Whether a record that was read here was made and changed then.
    pub(super) fn in_times<R: Record>(&self, id: R::Id, times: Times) -> Result<bool, Fault> {
        if times == Times::default() {
            return Ok(true);
        }
        let stamp = self.stamp::<R>(id)?;
        let within = |at: Timestamp, from: Option<Timestamp>, to: Option<Timestamp>| {
            from.is_none_or(|from| from <= at) && to.is_none_or(|to| at <= to)
        };
        Ok(
            within(stamp.created_at, times.created_from, times.created_to)
                && within(stamp.changed_at, times.changed_from, times.changed_to),
        )
    }
}
