//! Every limit of the log, and what it takes from outside: time and randomness.

use std::{fmt, sync::Arc, time::Duration};

use crate::OpenError;
use crate::format::{FRAME_HEADER, FRAMES_AT};

/// Time and randomness for new segments.
pub trait Stamp: Send + Sync {
    /// Milliseconds since 1970, written into a segment's header.
    fn now_millis(&self) -> u64;
    /// 128 random bits, different for every segment ever prepared.
    fn segment_id(&self) -> u128;
}

/// The machine's clock and random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemStamp;

impl Stamp for SystemStamp {
    fn now_millis(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |age| age.as_millis() as u64)
    }

    fn segment_id(&self) -> u128 {
        uuid::Uuid::new_v4().as_u128()
    }
}

/// Limits and sources of one journal.
#[derive(Clone)]
pub struct Options {
    /// Size of a segment file; all are equal. at least 32 KiB, below 4 GiB.
    pub segment_bytes: u32,
    /// The most the directory may hold at first: segments, spares and files waiting for reuse. [`crate::Journal::limit`] changes it.
    pub max_bytes: u64,
    /// Segments kept ready ahead of the writer; they are the reserve in which running work ends when the disk is full.
    pub spare_segments: u32,
    /// Released files kept for reuse beyond the spares; more are deleted.
    pub max_free_segments: u32,
    /// The largest append call (payloads and headers); at most half a segment.
    pub max_entry_bytes: u32,
    /// A batch closes at this size; a larger call goes alone.
    pub max_frame_bytes: u32,
    /// The most entries that may wait for the writer.
    pub max_queued_entries: usize,
    /// The most payload bytes that may wait for the writer.
    pub max_queued_bytes: usize,
    /// How long an append waits for a spare that is being prepared, or for a release at the limit, before it is answered `Full`. One
    /// that the disk refuses is not waited for.
    pub spare_wait: Duration,
    /// How soon a failed preparation (no space, an error) is tried again by itself.
    pub retry_interval: Duration,
    /// The segment of the newest position that the caller remembers: a directory in which neither this one nor a newer one is has lost
    /// entries, and is not opened.
    pub remembered_segment: u32,
    /// Time and randomness.
    pub stamp: Arc<dyn Stamp>,
    /// Test switches.
    #[cfg(feature = "faults")]
    pub faults: Arc<crate::Faults>,
}

impl Options {
    /// The defaults for a directory that may hold `max_bytes`: segments of a thirty-second of it, within 1 and 64 MiB.
    #[must_use]
    pub fn for_budget(max_bytes: u64) -> Self {
        let segment_bytes = (max_bytes / 32).clamp(1 << 20, 64 << 20) as u32;
        Self {
            segment_bytes,
            max_bytes,
            spare_segments: 2,
            max_free_segments: 2,
            max_entry_bytes: segment_bytes / 2,
            max_frame_bytes: (4 << 20).min(segment_bytes / 2),
            max_queued_entries: 131_072,
            max_queued_bytes: 128 << 20,
            spare_wait: Duration::from_secs(20),
            retry_interval: Duration::from_secs(1),
            remembered_segment: 0,
            stamp: Arc::new(SystemStamp),
            #[cfg(feature = "faults")]
            faults: Arc::default(),
        }
    }

    /// What the entries of one frame may come to that has a segment for itself.
    pub(crate) fn most_in_segment(&self) -> u32 {
        self.segment_bytes - FRAMES_AT - FRAME_HEADER
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let half = self.segment_bytes / 2;
        let problem = match () {
            () if self.segment_bytes < 32 << 10 => "segment_bytes is below 32 KiB",
            () if self.max_entry_bytes > half => "max_entry_bytes is above half a segment",
            () if self.max_frame_bytes > half => "max_frame_bytes is above half a segment",
            () if self.max_entry_bytes == 0 || self.max_frame_bytes == 0 => "max_entry_bytes and max_frame_bytes must not be 0",
            () if self.spare_segments == 0 => "spare_segments must not be 0",
            () if self.max_bytes < u64::from(self.segment_bytes) * (u64::from(self.spare_segments) + 1) => {
                "max_bytes does not hold one segment and the spares"
            }
            () => return Ok(()),
        };
        Err(OpenError::Options(problem))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::for_budget(10 << 30)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("segment_bytes", &self.segment_bytes)
            .field("max_bytes", &self.max_bytes)
            .field("spare_segments", &self.spare_segments)
            .field("max_entry_bytes", &self.max_entry_bytes)
            .field("max_frame_bytes", &self.max_frame_bytes)
            .field("max_queued_entries", &self.max_queued_entries)
            .field("max_queued_bytes", &self.max_queued_bytes)
            .finish_non_exhaustive()
    }
}
