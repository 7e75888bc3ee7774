//! Turns committed journal entries into live state and history, in position order.
//!
//! Pure core, performed by a thread of the daemon: `row` is what is kept of an execution, the core folds entries
//! into the net effect since the last commit, and the index merges that with what is stored, so that whatever was
//! acknowledged is visible at once. It must not read payloads beyond ids, times, status and step names.

mod ahead;
mod carry;
mod copies;
pub(crate) mod core;
pub(crate) mod fault;
mod feed;
pub(crate) mod file;
mod merged;
#[cfg(test)]
mod properties;
mod rebuild;
pub(crate) mod row;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod seeds;
pub(crate) mod status;
#[cfg(test)]
mod tests;

pub use self::core::{Backlog, Core, EndedRow, Stored, retold};
pub use ahead::{Ahead, Found};
pub use carry::{CARRY_OVERHEAD, pack, unpack};
pub use copies::{Beginning, Copies};
pub use fault::IndexError;
pub use feed::{Feed, FeedOptions};
pub use merged::{ExecutionIndex, Flushed, ToCarry};
pub use perseat_domain::entry::EntryRef;
pub use rebuild::Rebuild;
pub use row::{ExecutionRow, LiveExecution, Outcome, ParkedRow, StepRow};
pub use status::{Filter, Page, Status};

use bytes::Bytes;

/// After how many entries what reads the journal, and does not index it, puts away what it has.
const STORE_EVERY: u64 = 8_000;

/// One committed journal entry.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The position's bits; positions are ordered.
    pub position: u64,
    /// The number of the segment that it stands in.
    pub segment: u32,
    /// The partition it was appended with.
    pub partition: u8,
    /// The stored form of [`perseat_domain::entry::Entry`].
    pub payload: Bytes,
}

/// What is bounded in a row.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many finished steps an execution's row lists.
    pub steps_listed: usize,
    /// How many live executions a list looks at for one page; then it ends early.
    pub state_scan: usize,
    /// How many entries readers may have applied that are not committed, while the index stands back or commits fail.
    pub pending: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps_listed: 256,
            state_scan: 20_000,
            pending: 32_000,
        }
    }
}
