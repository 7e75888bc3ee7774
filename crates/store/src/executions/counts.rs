//! How many executions stand where.

use super::ExecutionReader;
use crate::index::{Filter, IndexError, Status};
use std::collections::BTreeMap;

/// As far as it was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By where they stand; those of which there is none are absent.
    pub by: BTreeMap<Status, u64>,
    /// Whether all were counted.
    pub is_whole: bool,
}

impl Counts {
    /// How many were looked at.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.by.values().sum()
    }

    /// How many stand there.
    #[must_use]
    pub fn of(&self, status: &[Status]) -> u64 {
        status.iter().filter_map(|status| self.by.get(status)).sum()
    }
}

impl ExecutionReader {
    /// Counts the newest `most` executions of `filter`. After each page but the last `goes_on` is asked: those that do not match are looked at,
    /// too, so that there may be many pages with nothing to count. No entry is read. Blocks on the disk.
    ///
    /// # Errors
    /// If an index cannot be read.
    pub fn counts(&self, filter: &Filter, most: usize, mut goes_on: impl FnMut() -> bool) -> Result<Counts, IndexError> {
        let (mut counts, mut before, mut left) = (Counts::default(), None, most);
        while left > 0 {
            let page = self.index.list(filter, before, left.min(self.limits.page))?;
            for (_, row) in &page.rows {
                *counts.by.entry(row.status()).or_default() += 1;
            }
            // A page may be empty, and yet not the last.
            left = left.saturating_sub(page.rows.len().max(1));
            before = page.next;
            if before.is_none() {
                counts.is_whole = true;
                break;
            }
            if !goes_on() {
                break;
            }
        }
        Ok(counts)
    }
}
