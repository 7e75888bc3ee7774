//! Keys that have to be read from the disk.
//!
//! ```text
//! key in memory ──────────────────────────────────────────► seal
//! key on the disk ─ place to wait ─ one read for all ─────► seal
//!                   memory for it    who ask for it
//! ```
//!
//! A slow disk delays those whose keys it holds: there are so many reads at once, and so many events that wait for them with their
//! share of the memory for bodies; of both a customer has half, so that many of its users at once leave the rest to others.

use super::intake::{Acceptance, Intake};
use super::memory::SharedMemory;
use super::metrics::FrontMetrics;
use super::{FrontOptions, FrontShared};
use crate::kit::relayed;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use metrics::Gauge;
use perseat_domain::code::ErrorCode;
use perseat_domain::id::CustomerId;
use perseat_store::keyring::Owner;
use perseat_store::seal::DataKey;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

type Read = Result<Arc<DataKey>, ErrorCode>;
/// Whoever waits for it lets it go on.
type Reading = Shared<BoxFuture<'static, Read>>;

/// The reads of all front threads.
pub(super) struct KeyReads {
    intake: Arc<dyn Intake>,
    /// `front.key-reads`.
    places: Arc<SharedMemory<CustomerId>>,
    /// `front.key-waiters`.
    waiters: SharedMemory<CustomerId>,
    /// `front.key-wait`.
    wait: Duration,
    under_way: Mutex<HashMap<Owner, WeakShared<BoxFuture<'static, Read>>>>,
}

impl fmt::Debug for KeyReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyReads").field("places", &self.places).finish_non_exhaustive()
    }
}

impl KeyReads {
    pub(super) fn new(intake: Arc<dyn Intake>, options: &FrontOptions) -> Self {
        Self {
            intake,
            places: Arc::new(SharedMemory::new(options.key_reads)),
            waiters: SharedMemory::new(options.key_waiters),
            wait: options.key_wait,
            under_way: Mutex::default(),
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.held()
    }

    async fn read<W>(&self, acceptance: Acceptance, metrics: &FrontMetrics, may_wait: impl FnOnce() -> Option<W>) -> Read {
        let _place = self
            .waiters
            .try_claim(acceptance.identity.customer, 1)
            .ok_or(ErrorCode::RateLimited)?;
        let _leave = may_wait().ok_or(ErrorCode::RateLimited)?;
        let _counted = Counted::one_more(&metrics.key_waiters);
        let reading = self.reading(acceptance, metrics);
        let read = tokio::time::timeout(self.wait, relayed(reading)).await;
        read.unwrap_or(Err(ErrorCode::RateLimited))
    }

    /// The read of this key that is under way, or a new one.
    fn reading(&self, acceptance: Acceptance, metrics: &FrontMetrics) -> Reading {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = acceptance.owner();
        if let Some(reading) = under_way.get(&owner).and_then(WeakShared::upgrade) {
            return reading;
        }
        // No more than there are who wait, and those that ended since the last one began.
        under_way.retain(|_, reading| reading.upgrade().is_some());
        metrics.keys_read.increment(1);
        let (intake, places) = (Arc::clone(&self.intake), Arc::clone(&self.places));
        let reading = async move {
            let place = places.claim(acceptance.identity.customer, 1).await?;
            // The place is the read's until it ends, also where nobody waits for it any more.
            let read = tokio::task::spawn_blocking(move || {
                let key = acceptance.key(intake.as_ref());
                drop(place);
                key
            });
            read.await.unwrap_or(Err(ErrorCode::Internal))
        };
        let reading = reading.boxed().shared();
        under_way.extend(reading.downgrade().map(|reading| (owner, reading)));
        reading
    }
}

/// One of those that a gauge counts.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn one_more(gauge: &'a Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// The key that seals a request. Where it has to be waited for, `may_wait` is asked for leave to, with all that the caller holds.
pub(super) async fn key_of<W>(front: &FrontShared, acceptance: Acceptance, may_wait: impl FnOnce() -> Option<W>) -> Read {
    match acceptance.key_at_once(front.parts.intake.as_ref())? {
        Some(key) => Ok(key),
        // Boxed: whoever does not wait should not carry the room for it.
        None => Box::pin(front.keys.read(acceptance, &front.metrics, may_wait)).await,
    }
}
