//! The stored form of records: one format byte, when and by which revision it was made and changed, and its postcard
//! encoding, under its id's bytes.

use super::Record;
use crate::error::StoreError;
use perseat_domain::time::Timestamp;

/// Format of stored records.
pub(super) const RECORD_FORMAT: u8 = 4;
/// Bytes before a record's own: format, made at, changed at, revision.
const HEADER: usize = 1 + 8 + 8 + 8;

/// When a record was made and changed, and by which revision: what a writer compares to see that nobody was faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub changed_at: Timestamp,
    /// The revision of the mutation that changed it last.
    pub revision: u64,
}

impl Stamp {
    /// Reads the stamp of a stored form.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            created_at: Timestamp(number(1)?),
            changed_at: Timestamp(number(9)?),
            revision: number(17)?,
        })
    }
}

/// The stored form of a record.
pub(super) fn encode<R: Record>(record: &R, stamp: Stamp) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(128);
    bytes.push(RECORD_FORMAT);
    for number in [stamp.created_at.0, stamp.changed_at.0, stamp.revision] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    postcard::to_extend(record, bytes).map_err(|error| StoreError::corrupt(format!("{} to be stored: {error}", R::TYPE.name())))
}

/// Whether two stored forms hold the same record, whenever they were written.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.first() == other.first() && one.get(HEADER..) == other.get(HEADER..)
}

/// Reads the stored form.
pub(super) fn decode<R: Record>(bytes: &[u8]) -> Result<R, StoreError> {
    match bytes.split_first() {
        Some((&RECORD_FORMAT, rest)) => {
            let body = rest.get(HEADER - 1..).ok_or_else(|| StoreError::corrupt(R::TYPE.name()))?;
            match postcard::take_from_bytes(body) {
                Ok((record, [])) => Ok(record),
                // They would be lost with the next change.
                Ok(_) => Err(StoreError::UnknownFields { what: R::TYPE.name() }),
                Err(_) => Err(StoreError::corrupt(R::TYPE.name())),
            }
        }
        Some((&found, _)) => Err(StoreError::UnknownFormat {
            what: R::TYPE.name(),
            found: found.into(),
            known: RECORD_FORMAT.into(),
        }),
        None => Err(StoreError::corrupt(R::TYPE.name())),
    }
}
