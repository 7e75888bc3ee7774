//! Tells a parent that its child ended, whichever way it did.
//!
//! An actor that panics runs no code of its own afterwards that could report it, and a `Closed` mailbox error is no
//! proof of death. So the kit keeps an [`Obituary`] beside every actor and local future it runs; dropping it sends
//! the notice, and [`std::thread::panicking`] tells a panic from a stop.

use super::mailbox::Mailbox;
use actix::{Actor, Context, Handler, Message};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By its own decision, by being put away, or because it was cancelled.
    Stopped,
    /// By a panic; its memory is lost and the store is the truth.
    Panicked,
}

/// Sent by an [`Obituary`] to the parent: the child `key` of that generation is no more. Never refused, never lost
/// while the parent lives.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ChildExited<K> {
    /// Which child.
    pub key: K,
    /// Which incarnation: a notice of an older one than the nursery holds is stale.
    pub generation: u64,
    /// How.
    pub exit: Exit,
}

/// Reports an end when dropped.
pub struct Obituary(Option<Box<dyn FnOnce(Exit) + Send>>);

impl Obituary {
    /// An obituary that calls `notice`, which must neither block nor panic.
    #[must_use]
    pub fn new(notice: impl FnOnce(Exit) + Send + 'static) -> Self {
        Self(Some(Box::new(notice)))
    }

    /// An obituary that sends [`ChildExited`] to `parent`.
    #[must_use]
    pub fn to<P, K>(parent: &Mailbox<P>, key: K, generation: u64) -> Self
    where
        P: Actor<Context = Context<P>> + Handler<ChildExited<K>>,
        K: Send + 'static,
    {
        let parent = parent.clone();
        Self::new(move |exit| parent.tell_past_the_bound(ChildExited { key, generation, exit }))
    }

    /// An obituary that sends [`ChildExited`] to `parent` after a panic only: for a child that reports its ordinary end
    /// itself.
    #[must_use]
    pub fn of_panic<P, K>(parent: &Mailbox<P>, key: K, generation: u64) -> Self
    where
        P: Actor<Context = Context<P>> + Handler<ChildExited<K>>,
        K: Send + 'static,
    {
        let parent = parent.clone();
        Self::new(move |exit| {
            if exit == Exit::Panicked {
                parent.tell_past_the_bound(ChildExited { key, generation, exit });
            }
        })
    }

    /// For actors at the root, whose end nobody waits for.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }
}

impl Drop for Obituary {
    fn drop(&mut self) {
        if let Some(notice) = self.0.take() {
            notice(if std::thread::panicking() { Exit::Panicked } else { Exit::Stopped });
        }
    }
}

impl fmt::Debug for Obituary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Obituary")
    }
}

/// A future and its obituary. Field order matters: the future is dropped first, the notice goes out last.
pub(super) struct Watched<F> {
    future: F,
    obituary: Obituary,
}

impl<F> Watched<F> {
    pub(super) fn new(future: F, obituary: Obituary) -> Self {
        Self { future, obituary }
    }
}

impl<F: Future + Unpin> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        Pin::new(&mut self.future).poll(cx).map(|_| ())
    }
}

impl<F> fmt::Debug for Watched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("obituary", &self.obituary).finish_non_exhaustive()
    }
}
