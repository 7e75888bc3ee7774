//! Writes the catalog anew once people were removed from it: their keys are destroyed at once, but what is not sealed of them can be
//! read in the file between the rows of others until then.

use super::Catalog;
use super::tables::{META, PEOPLE_REMOVED};
use crate::error::StoreError;
use perseat_domain::time::Timestamp;
use std::time::Duration;

/// A catalog that was written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The number of mutations that it holds.
    pub revision: u64,
    /// The size of its file before.
    pub bytes_before: u64,
    /// The size of its file now.
    pub bytes_after: u64,
}

impl Catalog {
    /// When the first user or customer was removed since the file was written anew; `None` if none was.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn people_removed_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let view = self.view()?;
        let found = view.transaction.open_table(META)?.get(PEOPLE_REMOVED)?;
        Ok(found.map(|guard| Timestamp(guard.value())))
    }

    /// Writes the file anew if somebody was removed `after` ago or longer. Mutations wait for that, and reads do not.
    ///
    /// # Errors
    /// If the disk is full or fails: then everything is there as before, and it is still due.
    pub fn rewrite_if_due(&self, now: Timestamp, after: Duration) -> Result<Option<Rewritten>, StoreError> {
        // A removal that is yet to come was written by a clock that was wrong.
        let is_due = |at: Timestamp| now.0.checked_sub(at.0).is_none_or(|age| u128::from(age) >= after.as_millis());
        if !self.people_removed_at()?.is_some_and(is_due) {
            return Ok(None);
        }
        let sizes = self.database.rewrite(|copy| {
            copy.all()?;
            // Nobody is removed meanwhile: mutations wait.
            copy.without(META, PEOPLE_REMOVED)
        })?;
        Ok(Some(Rewritten {
            revision: self.revision()?,
            bytes_before: sizes.before,
            bytes_after: sizes.after,
        }))
    }
}
