//! Reading what an execution has been through, with patience: what a disk does not answer now is not lost.

use super::run::{Start, Unable, refusal_sentence};
use super::{ExecutionEnv, READINGS};
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::EntryRef;
use perseat_domain::execution::{Past, PastError};
use perseat_journal::{Position, ReadError};
use perseat_store::index::{IndexError, unpack};

/// Why an execution's entries cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PastUnread {
    #[error("cannot read an entry of the execution")]
    Read(#[from] ReadError),
    #[error(transparent)]
    Past(#[from] PastError),
    #[error("cannot find the execution's entries")]
    Index(#[from] IndexError),
    #[error(transparent)]
    Interrupted(#[from] crate::kit::Failed),
    #[cfg(feature = "faults")]
    #[error(transparent)]
    Load(#[from] super::LoadError),
}

impl PastUnread {
    /// Whether they may be had a while later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            // Expired: they were carried on while they were being read.
            Self::Read(error) => matches!(error, ReadError::Io(_) | ReadError::Expired(_)),
            Self::Index(error) => error.is_passing(),
            Self::Past(_) | Self::Interrupted(_) => false,
            #[cfg(feature = "faults")]
            Self::Load(error) => error.is_passing(),
        }
    }
}

/// Reads until it goes well, or fails for a reason that does not pass, or too often. What waits for it ends where somebody asks for
/// its end meanwhile.
pub(super) async fn patiently<T, E: std::error::Error + 'static>(
    env: &ExecutionEnv,
    start: &Start,
    is_passing: impl Fn(&E) -> bool,
    read: impl AsyncFn() -> Result<T, E>,
) -> Result<Result<T, E>, Unable> {
    for failed in 0..READINGS {
        match read().await {
            // Said once: there may be as many as there are slots.
            Err(error) if is_passing(&error) && failed > 0 => {}
            Err(error) if is_passing(&error) => {
                tracing::warn!(execution = %start.execution, error = &error as &dyn std::error::Error, "an execution cannot be taken up now");
            }
            read => return Ok(read),
        }
        tokio::select! {
            biased;
            () = start.cancel.cancelled() => {
                let (attempt, code) = (0, ErrorCode::Cancelled);
                return Err(Unable { attempt, code, message: refusal_sentence(code) });
            }
            () = env.clock.sleep(env.limits.full_retry) => {}
        }
    }
    Ok(read().await)
}

/// How often an execution's entries may be carried on while they are being read. No key: twice is rare, and past it they
/// are read again a while later.
const MOVES: u32 = 16;

pub(super) async fn read_past(env: &ExecutionEnv, start: &Start) -> Result<Past, PastUnread> {
    #[cfg(feature = "faults")]
    env.faults.may_read(super::Reading::Entries)?;
    let (journal, index) = (env.journal.clone(), env.index.clone());
    let (execution, mut references) = (start.execution, start.entries.clone());
    let read = move || {
        let read = |at: &EntryRef| Ok((journal.read(Position::from_bits(at.position))?.payload, at.entries));
        let mut moves = 0;
        loop {
            match references.iter().map(read).collect::<Result<Vec<_>, ReadError>>() {
                // They were carried, and their old segment is gone: the index knows where they are before that happens.
                Err(ReadError::Expired(_)) if moves < MOVES => {
                    moves += 1;
                    if let Some(live) = index.live_one(execution)? {
                        references = live.entries;
                    }
                }
                payloads => {
                    let unpacked = payloads?.into_iter().map(|(payload, entries)| unpack(payload, entries));
                    let entries = unpacked.collect::<Result<Vec<_>, _>>().map_err(PastError::from)?;
                    return Ok(Past::gather(entries.concat())?);
                }
            }
        }
    };
    env.errands.run(read).await?
}
