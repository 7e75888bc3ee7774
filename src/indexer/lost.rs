//! What the journal alone says of executions whose first entries are gone, for a start without state or without some of history.
//!
//! A `Carried` repeats the entries of an execution that was live when the collector read them. It may have ended before
//! the `Carried` was written. With state that is known; without, an `Ended` in the journal decides, wherever it stands.
//! Where there is none, it may have stood in a segment that was dropped.

use super::logged;
use super::recover::{Progress, RecoverError, note_damage};
use perseat_domain::entry::EntryHead;
use perseat_journal::{Committed, Journal, Position, ReadError};
use perseat_store::index::{Beginning, Copies, Logged};
use std::collections::HashSet;

/// Reads the journal once, and once more where something was carried: what is kept in memory is what was live at once.
/// What is damaged is passed over here; recovery reports it. `progress` hears of each entry that is read.
///
/// # Errors
/// If the disk does not answer: an end that was not read must not be taken for none.
pub(super) fn look(journal: &Journal, progress: Progress<'_>) -> Result<Copies, ReadError> {
    let mut carried = HashSet::new();
    each(journal, progress, |committed| {
        if let Ok(EntryHead::Carried { execution, .. }) = EntryHead::read(&committed.payload) {
            carried.insert(execution);
        }
    })?;
    let is_carried = !carried.is_empty();
    let mut copies = Copies::of(carried);
    if is_carried {
        each(journal, progress, |committed| copies.take(&logged(committed)))?;
    }
    Ok(copies)
}

/// Reads what the executions begin with of which only copies are left.
///
/// # Errors
/// If the disk does not answer.
pub(super) fn take_over(
    journal: &Journal,
    copies: &Copies,
    damaged: &mut u64,
    mut take: impl FnMut(&Beginning, &[Logged]),
) -> Result<(), RecoverError> {
    for beginning in copies.beginnings() {
        let read = |(at, _): &(u64, u32)| journal.read(Position::from_bits(*at)).map(|committed| logged(&committed));
        match beginning.places.iter().map(read).collect::<Result<Vec<_>, _>>() {
            Ok(copies) => take(&beginning, &copies),
            Err(error) => note_damage(error, damaged)?,
        }
    }
    Ok(())
}

/// Gives every entry that is intact.
fn each(journal: &Journal, progress: Progress<'_>, mut look: impl FnMut(&Committed)) -> Result<(), ReadError> {
    let mut read = 0;
    for entry in journal.scan(None) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error @ ReadError::Io(_)) => return Err(error),
            Err(_) => continue,
        };
        read += 1;
        progress(read);
        look(&entry);
    }
    Ok(())
}
