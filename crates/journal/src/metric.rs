//! The names of the journal's metrics, and what they mean.

use metrics::Unit;

/// Entries a frame holds.
pub const BATCH_ENTRIES: &str = "perseat_journal_batch_entries";
/// Seconds one write and its sync take.
pub const SYNC_SECONDS: &str = "perseat_journal_sync_seconds";
/// Bytes written in frames.
pub const WRITTEN_BYTES: &str = "perseat_journal_written_bytes_total";
/// Segments that hold entries.
pub const SEGMENTS: &str = "perseat_journal_segments";
/// Spare segments that are ready.
pub const SPARE_SEGMENTS: &str = "perseat_journal_spare_segments";
/// Bytes of all files, spares included.
pub const DIRECTORY_BYTES: &str = "perseat_journal_directory_bytes";
/// Segments given up after a failed write or sync.
pub const FAILED_SEGMENTS: &str = "perseat_journal_failed_segments_total";
/// Appends refused for lack of room.
pub const REFUSED_FULL: &str = "perseat_journal_refused_full_total";

/// Registers the descriptions with the recorder. Call it before the journal is opened.
pub fn describe() {
    metrics::describe_histogram!(BATCH_ENTRIES, Unit::Count, "Entries committed by one sync");
    metrics::describe_histogram!(SYNC_SECONDS, Unit::Seconds, "Time of one journal write and its sync");
    metrics::describe_counter!(WRITTEN_BYTES, Unit::Bytes, "Bytes written to the journal");
    metrics::describe_gauge!(SEGMENTS, Unit::Count, "Journal segments that hold entries");
    metrics::describe_gauge!(SPARE_SEGMENTS, Unit::Count, "Journal segments prepared and not yet used");
    metrics::describe_gauge!(DIRECTORY_BYTES, Unit::Bytes, "Bytes of all journal files, spares included");
    metrics::describe_counter!(
        FAILED_SEGMENTS,
        Unit::Count,
        "Journal segments given up after a failed write or sync"
    );
    metrics::describe_counter!(
        REFUSED_FULL,
        Unit::Count,
        "Appends refused because there was no room for the next segment"
    );
}
