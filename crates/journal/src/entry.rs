//! What goes into the log and what comes out of it; payloads are opaque here.

use std::sync::Arc;

use bytes::Bytes;

use crate::Position;

/// An entry to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// The partition it belongs to.
    pub partition: u8,
    /// The epoch of the partition's owner; below the fence the append is refused.
    pub epoch: u64,
    /// The caller's bytes.
    pub payload: Bytes,
}

/// An entry that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Where it stands.
    pub position: Position,
    /// The partition it belongs to.
    pub partition: u8,
    /// The epoch it was written under.
    pub epoch: u64,
    /// The caller's bytes.
    pub payload: Bytes,
}

/// Takes each batch after its sync, before the callers learn that it is durable.
///
/// Runs on the writer thread: it must be quick and must not wait for the journal. It must not hold a `Journal` either, or the journal never closes.
pub trait CommitSink: Send {
    /// One frame's entries in position order. Batches come in position order too.
    fn committed(&mut self, batch: Arc<[Committed]>);

    /// Runs `answer`, by which all callers of that frame learn that it is durable, one after the other. A sink that knows how
    /// they wait can see to it that they wake together.
    fn answering(&mut self, answer: &mut dyn FnMut()) {
        answer();
    }
}

impl<F: FnMut(Arc<[Committed]>) + Send> CommitSink for F {
    fn committed(&mut self, batch: Arc<[Committed]>) {
        self(batch);
    }
}
