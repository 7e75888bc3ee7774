//! Work on many bytes, off the thread that serves all connections.

use crate::kit::relayed;
use perseat_domain::code::ErrorCode;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// So much work at once: `front.pool`.
#[derive(Debug)]
pub(super) struct Pool(Arc<Semaphore>);

impl Pool {
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places)))
    }

    /// Does it once there is a place. It goes on where the client leaves, so the place and what is held for it, a body's share of the
    /// memory, are the work's until it ends.
    pub(super) async fn run<H: Send + 'static, T: Send + 'static>(
        &self,
        held: H,
        work: impl FnOnce(&H) -> T + Send + 'static,
    ) -> Result<(H, T), ErrorCode> {
        // The semaphore is never closed, and the work does not panic.
        let permit = Arc::clone(&self.0).acquire_owned().await.map_err(|_| ErrorCode::Internal)?;
        let worked = tokio::task::spawn_blocking(move || {
            let worked = work(&held);
            drop(permit);
            (held, worked)
        });
        relayed(worked).await.map_err(|_| ErrorCode::Internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::mpsc::channel;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn work_whose_client_left_keeps_its_place_and_what_is_held_for_it() {
        let pool = Pool::new(1);
        let held = Arc::new(());
        let (begun, has_begun) = oneshot::channel();
        let (goes_on, may_go_on) = channel::<()>();
        let (ended, has_ended) = oneshot::channel();
        let first = pool.run(Arc::clone(&held), move |_| {
            begun.send(()).unwrap();
            may_go_on.recv().unwrap();
            ended.send(()).unwrap();
        });
        {
            let mut first = pin!(first);
            let mut has_begun = pin!(has_begun);
            tokio::select! {
                _ = &mut first => panic!("it cannot have ended"),
                begun = &mut has_begun => begun.unwrap(),
            }
        }
        let mut next = pin!(pool.run((), |()| 7));
        assert!(futures_util::poll!(&mut next).is_pending(), "its place is taken");
        assert_eq!(Arc::strong_count(&held), 2);
        goes_on.send(()).unwrap();
        has_ended.await.unwrap();
        assert_eq!(next.await, Ok(((), 7)));
    }
}
