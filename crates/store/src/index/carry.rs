//! Packs a live execution's entries into `Carried` entries, and unpacks them for those who read.

use bytes::Bytes;
use perseat_domain::entry::{Carried, Entry, EntryError};
use perseat_domain::id::ExecutionId;

/// What a `Carried` around one entry adds to it at most. Whoever appends an execution's entry keeps it this much below
/// the journal's limit, so that it can be carried.
pub const CARRY_OVERHEAD: usize = 64;

/// What each entry within a `Carried` adds.
const LENGTH_BYTES: usize = 5;

/// The execution's entries at one place, in their stored form: the payload itself, or the last so many of what a `Carried` holds,
/// as its reference says.
///
/// # Errors
/// If the payload does not decode.
pub fn unpack(payload: Bytes, entries: u32) -> Result<Vec<Bytes>, EntryError> {
    if payload.get(1) != Some(&Entry::CARRIED) {
        return Ok(vec![payload]);
    }
    let mut found = match Entry::decode(&payload)? {
        Entry::Carried(carried) => carried.entries,
        _ => vec![payload],
    };
    found.drain(..found.len().saturating_sub(entries as usize));
    Ok(found)
}

/// Packs entries, given in order and with the number of the first of them, into as few `Carried` as fit `max_bytes` each. A larger
/// entry has one of its own.
#[must_use]
pub fn pack(execution: ExecutionId, mut first: u32, entries: Vec<Bytes>, max_bytes: usize) -> Vec<Carried> {
    let mut packed: Vec<Carried> = Vec::new();
    let mut room = 0;
    for entry in entries {
        let size = entry.len() + LENGTH_BYTES;
        match packed.last_mut().filter(|_| size <= room) {
            Some(last) => last.entries.push(entry),
            None => {
                room = max_bytes.saturating_sub(CARRY_OVERHEAD - LENGTH_BYTES);
                packed.push(Carried {
                    execution,
                    first,
                    entries: vec![entry],
                });
            }
        }
        room = room.saturating_sub(size);
        first += 1;
    }
    packed
}
