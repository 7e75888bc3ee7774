//! Makes an accepted request durable: sealed under its owner's key, within the budgets, appended to the journal.
//!
//! Once the journal has been handed an entry nobody can take it back. So when a caller goes away in the middle, the
//! outcome is still awaited: room in the budgets falls free only if the append fails.

use super::FrontShared;
use super::reply::Refusal;
use crate::admission::{Admission, Admitted};
use crate::kit::{Relayed, relayed};
use bytes::Bytes;
use perseat_domain::budget::Claim;
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::{Accepted, Entry, Origin};
use perseat_domain::id::{ExecutionId, partition_of};
use perseat_domain::identity::Identity;
use perseat_domain::time::Timestamp;
use perseat_journal::{AppendError, Journal, NewEntry};
use perseat_store::StoreError;
use perseat_store::keyring::{Keyring, Owner};
use perseat_store::seal::{DataKey, RecordKind};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The outcome of an append. Dropping it does not withdraw the entry.
pub type Appending = Pin<Box<dyn Future<Output = Result<(), AppendError>> + Send>>;

/// What the front asks of storage.
pub trait Intake: Send + Sync + fmt::Debug {
    /// The budgets of what is accepted and not ended.
    fn admission(&self) -> &Admission;

    /// The key that requests of this owner are sealed under; `None` where the disk would have to be waited for. Never blocks.
    ///
    /// # Errors
    /// If the owner has no key: it was deleted meanwhile.
    fn key_at_once(&self, owner: Owner) -> Result<Option<Arc<DataKey>>, StoreError>;

    /// The same key, wherever it is. May block.
    ///
    /// # Errors
    /// If the owner has no key: it was deleted meanwhile.
    fn key(&self, owner: Owner) -> Result<Arc<DataKey>, StoreError>;

    /// Appends an entry; resolves when it is durable. Never blocks.
    fn append(&self, partition: u8, payload: Bytes) -> Appending;
}

/// The keyring and the journal of this daemon.
#[derive(Clone, Debug)]
pub struct DurableIntake {
    /// The budgets.
    pub admission: Admission,
    /// The owners' keys.
    pub keyring: Arc<Keyring>,
    /// The log.
    pub journal: Journal,
    /// The epoch of this daemon's ownership, of all partitions.
    pub epoch: u64,
}

impl Intake for DurableIntake {
    fn admission(&self) -> &Admission {
        &self.admission
    }

    fn key_at_once(&self, owner: Owner) -> Result<Option<Arc<DataKey>>, StoreError> {
        self.keyring.data_key_at_once(owner)
    }

    fn key(&self, owner: Owner) -> Result<Arc<DataKey>, StoreError> {
        self.keyring.data_key(owner)
    }

    fn append(&self, partition: u8, payload: Bytes) -> Appending {
        // What is left on a full disk is the reserve in which running executions end.
        if self.journal.is_reserved() {
            return Box::pin(std::future::ready(Err(AppendError::Full)));
        }
        let appended = self.journal.append(vec![NewEntry {
            partition,
            epoch: self.epoch,
            payload,
        }]);
        Box::pin(async move { appended.await.map(|_| ()) })
    }
}

/// Everything of an `Accepted` entry but the sealed request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acceptance {
    pub(super) execution: ExecutionId,
    pub(super) identity: Identity,
    pub(super) origin: Origin,
    pub(super) received_at: Timestamp,
    pub(super) catalog_revision: u64,
    pub(super) sync_deadline: Option<Timestamp>,
    pub(super) refusal: Option<ErrorCode>,
}

impl Acceptance {
    /// Whose key seals the request: the user's, or the customer's where there is no user.
    pub(super) fn owner(&self) -> Owner {
        match self.identity.user {
            Some(bound) => Owner::User(bound.user),
            None => Owner::Customer(self.identity.customer),
        }
    }

    /// The key that seals the request, where the disk need not be waited for.
    pub(super) fn key_at_once(&self, intake: &dyn Intake) -> Result<Option<Arc<DataKey>>, ErrorCode> {
        intake.key_at_once(self.owner()).map_err(|error| self.keyless(error))
    }

    /// The key that seals the request. May block.
    pub(super) fn key(&self, intake: &dyn Intake) -> Result<Arc<DataKey>, ErrorCode> {
        intake.key(self.owner()).map_err(|error| self.keyless(error))
    }

    fn keyless(&self, error: StoreError) -> ErrorCode {
        match (error, self.owner()) {
            // Deleted a moment ago; the next snapshot answers so, too.
            (StoreError::NoKey { .. }, Owner::User(_)) => ErrorCode::UserConfigRemoved,
            (StoreError::NoKey { .. }, _) => ErrorCode::EndpointNotFound,
            (error, _) => {
                tracing::error!(%error, execution = %self.execution, "cannot seal a request");
                ErrorCode::Internal
            }
        }
    }

    /// The stored form of the entry.
    pub(super) fn seal(&self, key: &DataKey, plaintext: &[u8]) -> Bytes {
        let request = key.seal(RecordKind::Request, self.execution.0.as_bytes(), plaintext);
        let entry = Entry::from(Accepted {
            execution: self.execution,
            identity: Some(self.identity),
            origin: self.origin,
            received_at: self.received_at,
            dedupe_id: None,
            unique_request_id: None,
            catalog_revision: self.catalog_revision,
            sync_deadline: self.sync_deadline,
            refusal: self.refusal,
            request,
        });
        entry.encode().into()
    }
}

/// Claims room for the entry and appends it. The claim is for the bytes of its stored form: what the owner, who gives
/// the room back, knows of it too.
///
/// Where there is no room, `may_wait` is asked for leave to wait for it with all that the caller holds meanwhile.
pub(super) async fn append<W>(
    front: &FrontShared,
    identity: &Identity,
    payload: Bytes,
    may_wait: impl FnOnce() -> Option<W>,
) -> Result<(), Refusal> {
    let intake = &front.parts.intake;
    let claim = Claim::of(Some(identity), payload.len() as u64);
    let room = match intake.admission().try_admit(claim) {
        Ok(room) => room,
        Err(overload) => {
            let _leave = may_wait().ok_or(overload)?;
            intake.admission().admit(claim).await?
        }
    };
    let outcome = Settled {
        appending: Some((relayed(intake.append(partition_of(identity.instance), payload)), room)),
    };
    outcome.await.map_err(|error| refused(error).into())
}

fn refused(error: AppendError) -> ErrorCode {
    match error {
        AppendError::Full => ErrorCode::StorageFull,
        AppendError::Busy => ErrorCode::RateLimited,
        AppendError::TooLarge => ErrorCode::PayloadTooLarge,
        AppendError::Fenced | AppendError::Poisoned | AppendError::Closed => {
            tracing::error!(%error, "the journal takes no more entries");
            ErrorCode::NotReady
        }
    }
}

/// An append and the room claimed for it, which stay together until the outcome is known, whoever waits.
struct Settled {
    appending: Option<(Relayed<Appending>, Admitted)>,
}

impl Future for Settled {
    type Output = Result<(), AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((appending, _)) = &mut self.appending else {
            return Poll::Ready(Err(AppendError::Closed));
        };
        let Poll::Ready(outcome) = Pin::new(appending).poll(cx) else {
            return Poll::Pending;
        };
        if let Some((_, room)) = self.appending.take() {
            settle(room, &outcome);
        }
        Poll::Ready(outcome)
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        if let Some((appending, room)) = self.appending.take() {
            // The caller went away. The task ends with the journal's answer, which always comes.
            actix_rt::spawn(async move { settle(room, &appending.await) });
        }
    }
}

fn settle(room: Admitted, outcome: &Result<(), AppendError>) {
    if outcome.is_ok() {
        room.keep();
    }
}
