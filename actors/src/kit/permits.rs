//! Bounds work in flight. A mailbox's capacity does not: actix takes the next message while an asynchronous handler
//! is still waiting (1,000 in flight at capacity 16 were measured).

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of permits, shared by all clones.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Semaphore>);

/// One permit; dropping it gives it back.
#[derive(Debug)]
#[must_use = "dropping it gives it back"]
pub struct Permit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Permits {
    /// That many permits.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// A permit if one is free now.
    #[must_use]
    pub fn try_take(&self) -> Option<Permit> {
        Arc::clone(&self.0).try_acquire_owned().ok().map(Permit)
    }

    /// Waits for a permit, first come, first served. `None` never happens while the semaphore is open, and it is
    /// never closed.
    pub async fn take(&self) -> Option<Permit> {
        Arc::clone(&self.0).acquire_owned().await.ok().map(Permit)
    }

    /// How many are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.0.available_permits()
    }
}
