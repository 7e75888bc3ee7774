//! The durable past of one execution, from its entries.

use super::machine::Limits;
use super::progress::Progress;
use crate::code::ErrorCode;
use crate::entry::{Accepted, Entry, EntryError, Started, StepRecord};
use crate::time::Timestamp;
use crate::usage::Through;
use std::collections::BTreeSet;

/// Why the past cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// An entry does not decode.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// Nothing among the entries says how it began.
    #[error("the execution has no accepted entry")]
    NoAccepted,
}

/// What an execution has durably been through.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// How it began.
    pub accepted: Accepted,
    /// What it has done.
    pub progress: Progress,
    /// Its finished steps, in the order in which they ended.
    pub steps: Vec<StepRecord>,
    /// When its attempt began: its first start.
    pub began_at: Option<Timestamp>,
    /// Its last start.
    pub started: Option<Started>,
    /// Through what it has sent requests.
    pub called: BTreeSet<Through>,
}

impl Past {
    /// From stored forms as they were written, oldest first.
    ///
    /// # Errors
    /// If one does not decode or the first is missing.
    pub fn gather<B: AsRef<[u8]>>(entries: impl IntoIterator<Item = B>) -> Result<Self, PastError> {
        let (mut accepted, mut progress, mut steps, mut started) = (None, Progress::default(), Vec::new(), None);
        let (mut began_at, mut called) = (None, BTreeSet::new());
        for bytes in entries {
            let entry = Entry::decode(bytes.as_ref())?;
            progress.record(&entry);
            match entry {
                Entry::Accepted(entry) => accepted = Some(entry),
                Entry::Started(entry) => {
                    began_at.get_or_insert(entry.at);
                    started = Some(entry);
                }
                Entry::StepsDone(entry) => steps.extend(entry.steps),
                Entry::Called(entry) => called.extend(entry.calls.into_iter().map(|calls| calls.through)),
                Entry::Parked(_) | Entry::Cancelled(_) | Entry::Ended(_) | Entry::Carried(_) => {}
            }
        }
        Ok(Self {
            accepted: accepted.ok_or(PastError::NoAccepted)?,
            progress,
            steps,
            began_at,
            started,
            called,
        })
    }

    /// Why it ends without being run, if it does. `binding` is what it would run with; `deaths` are those under it in all.
    #[must_use]
    pub fn obstacle<T>(&self, binding: &Result<T, ErrorCode>, deaths: u32, limits: &Limits) -> Option<ErrorCode> {
        let has_binding = binding.as_ref().map(drop).map_err(|code| *code);
        // Its configuration may not have been read: a queued execution is cancelled outside its turn.
        if self.progress.cancelled && (self.started.is_none() || has_binding.is_err()) {
            Some(ErrorCode::Cancelled)
        } else if deaths >= limits.max_deaths {
            Some(ErrorCode::Quarantined)
        } else {
            self.accepted.refusal.or(has_binding.err())
        }
    }

    /// The attempt that its end belongs to; 0 if none began.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.started.as_ref().map_or(0, |started| started.attempt)
    }
}
