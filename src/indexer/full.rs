//! A full disk: what the index gives up to go on.

use perseat_store::history::{DroppedHistory, History};
use perseat_store::pressure::Ballast;
use std::error::Error;

/// Says that an index cannot be written. Where the disk `is_full`, makes room: by the ballast first, which costs nothing, then by history, the
/// oldest first; whether there was something to give up.
pub(super) fn hold_up(error: &(dyn Error + 'static), is_full: bool, ballast: &Ballast, history: &History) -> bool {
    metrics::counter!("perseat_index_failures_total").increment(1);
    let made_room = is_full && ballast.release();
    let dropped = match is_full && !made_room {
        true => history.drop_oldest(),
        false => DroppedHistory::default(),
    };
    tracing::error!(
        error,
        ballast_released = made_room,
        history_files_dropped = dropped.files,
        history_rows_dropped = dropped.rows,
        "indexing is held up; events are accepted until the lag reaches its limit"
    );
    made_room || dropped.files > 0
}
