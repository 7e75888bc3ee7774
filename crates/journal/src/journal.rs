//! The handle that everyone holds: append, read, scan, release.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{AppendError, CommitSink, Committed, Disk, NewEntry, OpenError, Options, Position, ReadError, ReleaseError};

/// The log. Cheap to clone; the last clone to go closes it.
#[derive(Clone, Debug)]
pub struct Journal {}

/// The outcome of an append, once it is known. Dropping it does not withdraw the entries.
#[derive(Debug)]
pub struct Append {}

impl Future for Append {
    type Output = Result<Position, AppendError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Err(AppendError::Closed))
    }
}

impl Append {
    /// Waits on the calling thread; not for use within an async runtime.
    pub fn wait(self) -> Result<Position, AppendError> {
        Err(AppendError::Closed)
    }
}

/// The durable entries in position order; an error marks a place where entries are missing, after which it goes on.
#[derive(Debug)]
pub struct Scan {}

impl Iterator for Scan {
    type Item = Result<Committed, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

/// What is known about one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number; positions carry it.
    pub number: u32,
    /// The position of its first entry, if it has any.
    pub first: Option<Position>,
    /// The position of its last entry, if it has any.
    pub last: Option<Position>,
    /// Entries in it.
    pub entries: u64,
    /// Bytes in use, header included.
    pub bytes: u64,
    /// When it was prepared, in milliseconds since 1970.
    pub created_millis: u64,
    /// Nothing more will be written to it.
    pub sealed: bool,
    /// SHA-256 of its header and frames; known shortly after it is sealed.
    pub final_hash: Option<[u8; 32]>,
    /// Acknowledged entries are missing from it.
    pub damaged: bool,
    /// Where it is.
    pub path: PathBuf,
}

/// What a release gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Segments released by this call.
    pub segments: u32,
    /// Bytes of their files.
    pub bytes: u64,
}

/// How much room there is ahead of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// The spare segments are ready or being prepared.
    Ample,
    /// A spare cannot be prepared: refuse new events, let running executions end in what is left.
    Reserve,
    /// Nothing is left: appends answer `Full`.
    Full,
}

impl Journal {
    /// Opens the log of a directory: cuts and seals the old tail and starts a fresh segment.
    pub fn open(options: Options, disk: Arc<dyn Disk>, sink: Box<dyn CommitSink>) -> Result<Self, OpenError> {
        options.check()?;
        drop((disk, sink));
        Ok(Self {})
    }

    /// Queues entries for one frame, contiguous and in order; gives the position of the first. Never blocks.
    pub fn append(&self, entries: Vec<NewEntry>) -> Append {
        drop(entries);
        Append {}
    }

    /// Reads one entry: a blocking read, checked against segment id and checksum.
    pub fn read(&self, at: Position) -> Result<Committed, ReadError> {
        Err(ReadError::Expired(at))
    }

    /// All entries durable now, from a position on (inclusive), in order. Blocking reads.
    #[must_use]
    pub fn scan(&self, from: Option<Position>) -> Scan {
        let _ = from;
        Scan {}
    }

    /// The segments that hold entries or may get them next, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        Vec::new()
    }

    /// Recycles the sealed segments before `up_to_segment`, oldest first; their positions read as expired from now on.
    pub fn release(&self, up_to_segment: u32) -> Result<Released, ReleaseError> {
        let _ = up_to_segment;
        Ok(Released::default())
    }

    /// Refuses appends to a partition below `epoch` from now on. What is being written while this is called still commits.
    pub fn fence(&self, partition: u8, epoch: u64) {
        let _ = (partition, epoch);
    }

    /// The end of what is durable: every entry below it is, every later one comes at or above it.
    #[must_use]
    pub fn head(&self) -> Position {
        Position::START
    }

    /// Bytes of all files of the directory, spares included.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        0
    }

    /// How much room there is ahead of the writer.
    #[must_use]
    pub fn room(&self) -> Room {
        Room::Ample
    }

    /// Two segments in a row failed; appends fail until the log is opened again.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        false
    }

    /// Asks the writer for a sign of life; gives the number of the request.
    #[must_use]
    pub fn pulse(&self) -> u64 {
        0
    }

    /// The newest pulse the writer has answered.
    #[must_use]
    pub fn last_heartbeat(&self) -> u64 {
        0
    }

    /// Entries waiting for the writer.
    #[must_use]
    pub fn queued(&self) -> usize {
        0
    }

    /// Writes what is queued, seals the segment and stops; later appends answer `Closed`. Blocks.
    pub fn close(&self) {}
}
