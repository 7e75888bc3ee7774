//! The journal's sink: each committed batch to the index's queue and to the owners.

use crate::indexer::IndexSink;
use perseat_actors::kit::ring_together;
use perseat_actors::supervisor;
use perseat_journal::{CommitSink, Committed};
use perseat_store::index::Feed;
use std::sync::{Arc, OnceLock};

/// See the module. Clones are the same sink.
#[derive(Clone, Debug)]
pub(crate) struct FanOut {
    index: IndexSink,
    owners: Arc<OnceLock<supervisor::Feed>>,
}

/// The owners hear of what is committed: what is live may be handed over to them.
#[derive(Debug)]
pub(super) struct Connected(());

impl FanOut {
    pub(crate) fn new(feed: Arc<Feed>) -> Self {
        Self {
            index: IndexSink(feed),
            owners: Arc::default(),
        }
    }

    /// From now on the owners hear of every batch. Nothing may be appended before.
    pub(super) fn connect(&self, owners: supervisor::Feed) -> Connected {
        if self.owners.set(owners).is_err() {
            tracing::error!("the owners were connected twice");
        }
        Connected(())
    }
}

impl CommitSink for FanOut {
    fn committed(&mut self, batch: Arc<[Committed]>) {
        if let Some(owners) = self.owners.get() {
            owners.deliver(&batch);
        }
        self.index.committed(batch);
    }

    /// Whoever wakes is not to take the processor from the writer, who has the others still to wake.
    fn answering(&mut self, answer: &mut dyn FnMut()) {
        ring_together(answer);
    }
}
