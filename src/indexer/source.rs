//! Lets the index's readers read payloads from the journal.

use bytes::Bytes;
use perseat_journal::{Journal, Position, ReadError};
use perseat_store::executions::{EntrySource, Unreadable};

/// The journal as a source of entries for [`perseat_store::executions::ExecutionReader`].
#[derive(Clone, Debug)]
pub struct JournalEntries(pub Journal);

impl EntrySource for JournalEntries {
    fn payload(&self, position: u64) -> Result<Bytes, Unreadable> {
        let committed = self.0.read(Position::from_bits(position)).map_err(|error| match error {
            ReadError::Expired(_) => Unreadable::Expired,
            error => {
                tracing::error!(error = &error as &dyn std::error::Error, "a journal entry cannot be read");
                Unreadable::Damaged
            }
        })?;
        Ok(committed.payload)
    }
}
