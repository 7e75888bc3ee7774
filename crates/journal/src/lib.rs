//! The segmented, group-committed log: what is acknowledged was written and synced first.
//!
//! One writer on its own thread takes whatever waits, writes it as one frame, syncs once, hands the batch to the sink and resolves the
//! tickets. Segments are pre-filled and recycled; after a restart the old tail is cut and sealed, never appended to. Payloads are opaque:
//! this crate knows nothing of executions. `docs/store-format.md` describes the bytes.

mod abort;
pub mod disk;
mod entry;
mod error;
#[cfg(feature = "faults")]
mod faults;
mod format;
pub mod inspect;
mod journal;
mod keeper;
#[cfg(feature = "faults")]
pub mod kill_point;
pub mod metric;
mod options;
mod pace;
mod pin;
mod position;
mod queue;
mod recover;
mod scan;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

pub use abort::{AbortOnPanic, abort, before_abort};
pub use disk::{Disk, Fault, File, MemoryDisk, RealDisk};
pub use entry::{CommitSink, Committed, NewEntry};
pub use error::{AppendError, OpenError, ReadError, ReleaseError};
#[cfg(feature = "faults")]
pub use faults::Faults;
pub use journal::{Journal, Released};
pub use keeper::Room;
pub use options::{Options, Stamp, SystemStamp};
pub use pin::{Pin, Pinned};
pub use position::Position;
pub use queue::Append;
pub use scan::{Bookmark, Scan};
pub use segment::SegmentInfo;
