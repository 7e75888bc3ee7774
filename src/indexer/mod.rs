//! Runs the index behind the journal, and keeps the data directory within its budget.
//!
//! Takes committed batches from the [`Feed`], commits their net effect, raises and lowers the flags that close admission, and
//! drops the oldest segments together with their history. What it must not do is hold anything up: the writer only queues,
//! readers look past the last commit, and a full index closes admission long before it stops acknowledging. So it works at low
//! priority, but for making room: events would wait for that.
//!
//! Reading order: `recover` → `thread` → `nice` → `collector`.

pub mod collector;
mod full;
mod lost;
mod nice;
mod processors;
mod recover;
mod source;
#[cfg(test)]
mod tests;
mod thread;

pub use collector::RetentionOptions;
pub use recover::{Progress, RecoverError, Recovered, recover};
pub use source::JournalEntries;
pub use thread::{IndexerHandle, Options, Parts, start};

use perseat_journal::{CommitSink, Committed};
use perseat_store::index::{Feed, Logged};
use std::sync::Arc;

/// Hands committed batches to the index's queue.
#[derive(Clone, Debug)]
pub struct IndexSink(pub Arc<Feed>);

impl CommitSink for IndexSink {
    fn committed(&mut self, batch: Arc<[Committed]>) {
        self.0.push(batch.iter().map(logged));
    }
}

pub(crate) fn logged(committed: &Committed) -> Logged {
    Logged {
        position: committed.position.to_bits(),
        segment: committed.position.segment(),
        partition: committed.partition,
        payload: committed.payload.clone(),
    }
}
