//! The segmented, group-committed log: what is acknowledged was written and synced first.
//!
//! One writer on its own thread takes whatever waits, writes it as one frame, syncs once, hands the batch to the sink and resolves the
//! tickets. Segments are pre-filled and recycled; after a restart the old tail is cut and sealed, never appended to. Payloads are opaque:
//! this crate knows nothing of executions. `docs/store-format.md` describes the bytes.

pub mod disk;
mod entry;
mod error;
#[cfg(feature = "faults")]
mod faults;
mod journal;
mod options;
mod position;

pub use disk::{Disk, File, MemoryDisk, RealDisk};
pub use entry::{CommitSink, Committed, NewEntry};
pub use error::{AppendError, OpenError, ReadError, ReleaseError};
#[cfg(feature = "faults")]
pub use faults::Faults;
pub use journal::{Append, Journal, Released, Room, Scan, SegmentInfo};
pub use options::{Options, Stamp, SystemStamp};
pub use position::Position;
