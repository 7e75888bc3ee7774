//! Packs a live execution's entries into `Carried` entries, and unpacks them for those who read.

use bytes::Bytes;
use perseat_domain::entry::{Carried, Entry, EntryError};
use perseat_domain::id::ExecutionId;

/// What a `Carried` around one entry adds to it at most. Whoever appends an execution's entry keeps it this much below
/// the journal's limit, so that it can be carried.
pub const CARRY_OVERHEAD: usize = 64;

/// What each entry within a `Carried` adds.
const LENGTH_BYTES: usize = 5;

/// The execution's entries at one position, in their stored form: the payload itself, or what a `Carried` holds.
///
/// # Errors
/// If the payload does not decode.
pub fn unpack(payload: Bytes) -> Result<Vec<Bytes>, EntryError> {
    match payload.get(1) {
        Some(&kind) if kind == Entry::CARRIED => match Entry::decode(&payload)? {
            Entry::Carried(carried) => Ok(carried.entries),
            _ => Ok(vec![payload]),
        },
        _ => Ok(vec![payload]),
    }
}

/// Packs payloads, given in the order of the execution's entries of which `first` come before, into as few `Carried` as fit
/// `max_bytes` each. What stands in one payload stays together, so that references are replaced whole.
///
/// # Errors
/// If a payload does not decode.
pub fn pack(execution: ExecutionId, mut first: u32, payloads: Vec<Bytes>, max_bytes: usize) -> Result<Vec<Carried>, EntryError> {
    let mut packed: Vec<Carried> = Vec::new();
    let mut room = 0;
    for payload in payloads {
        let entries = unpack(payload)?;
        let size: usize = entries.iter().map(|entry| entry.len() + LENGTH_BYTES).sum();
        if packed.is_empty() || size > room {
            packed.push(Carried {
                execution,
                first,
                entries: Vec::new(),
            });
            room = max_bytes.saturating_sub(CARRY_OVERHEAD - LENGTH_BYTES);
        }
        room = room.saturating_sub(size);
        first += entries.len() as u32;
        if let Some(last) = packed.last_mut() {
            last.entries.extend(entries);
        }
    }
    Ok(packed)
}
