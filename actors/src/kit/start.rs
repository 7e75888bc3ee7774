//! Starts actors and local futures, each under an obituary; with [`super::mailbox`] the only caller of actix's own
//! start and spawn functions.

use super::arbiters::Arbiter;
use super::clock::Clock;
use super::mailbox::{Mailbox, Refused};
use super::obituary::{Obituary, Watched};
use actix::dev::channel::channel;
use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, SpawnHandle};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Poll, Waker};
use std::time::Duration;
use tokio::task::AbortHandle;

/// Starts an actor on the calling arbiter. `make` may take its own mailbox by [`Mailbox::of`].
///
/// # Panics
/// Outside an arbiter: there use [`start_on`].
pub fn start_here<A>(capacity: usize, obituary: Obituary, make: impl FnOnce(&mut Context<A>) -> A) -> Mailbox<A>
where
    A: Actor<Context = Context<A>>,
{
    let (sender, receiver) = channel(capacity);
    run(obituary, Context::with_receiver(receiver), make);
    Mailbox::new(Addr::new(sender))
}

/// Starts an actor on `arbiter`, from any thread. Messages may be sent at once; they wait for the actor.
/// If `make` panics, the obituary says so.
///
/// # Errors
/// [`Refused::Gone`] if the arbiter has stopped.
pub fn start_on<A>(
    arbiter: &Arbiter,
    capacity: usize,
    obituary: Obituary,
    make: impl FnOnce(&mut Context<A>) -> A + Send + 'static,
) -> Result<Mailbox<A>, Refused>
where
    A: Actor<Context = Context<A>>,
{
    let (sender, receiver) = channel(capacity);
    arbiter.execute(move || run(obituary, Context::with_receiver(receiver), make))?;
    Ok(Mailbox::new(Addr::new(sender)))
}

/// Parameters are dropped last first: if `make` panics, the mailbox is closed before the obituary is sent.
fn run<A>(obituary: Obituary, mut ctx: Context<A>, make: impl FnOnce(&mut Context<A>) -> A)
where
    A: Actor<Context = Context<A>>,
{
    let actor = make(&mut ctx);
    actix_rt::spawn(Watched::new(ctx.into_future(actor), obituary));
}

/// A local future that runs beside its owner's mailbox. Dropping it cancels the future at its next wait, so what an
/// actor holds dies with it.
#[derive(Debug)]
#[must_use = "dropping it cancels the future"]
pub struct LocalRun(AbortHandle);

impl LocalRun {
    /// Whether the future has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for LocalRun {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a future on the calling arbiter under an obituary of its own: a panic in it ends only it.
///
/// # Panics
/// Outside an arbiter.
pub fn run_here(obituary: Obituary, future: impl Future<Output = ()> + 'static) -> LocalRun {
    LocalRun(actix_rt::spawn(Watched::new(Box::pin(future), obituary)).abort_handle())
}

/// How far a future came at once.
#[derive(Debug)]
pub enum Begun<F: Future> {
    /// To its end.
    Over(F::Output),
    /// It waits; to be [run](run_here), or dropped.
    Waits(F),
    /// It panicked.
    Panicked,
}

/// Begins a future on the calling arbiter, without a task: most of what an actor has to run comes to its end at once. A
/// panic in it ends only it.
pub fn begin_here<F: Future + Unpin>(mut future: F) -> Begun<F> {
    // Whoever runs it polls it again: nobody has to be woken before.
    let mut cx = std::task::Context::from_waker(Waker::noop());
    match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut future).poll(&mut cx))) {
        Ok(Poll::Ready(output)) => Begun::Over(output),
        Ok(Poll::Pending) => Begun::Waits(future),
        Err(_) => Begun::Panicked,
    }
}

/// Sends `message` to the actor itself once `after` has passed on `clock`. Cancelled with the actor, or by the
/// returned handle.
pub fn remind<A, M>(ctx: &mut Context<A>, clock: &dyn Clock, after: Duration, message: M) -> SpawnHandle
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + 'static,
{
    let due = actix::fut::wrap_future::<_, A>(clock.sleep(after));
    ctx.spawn(due.map(move |(), actor, ctx| {
        actor.handle(message, ctx);
    }))
}

/// One reminder at a time: a later one takes the place of the one before, which would wait for nothing until it is due.
#[derive(Debug, Default)]
pub struct Reminder(Option<SpawnHandle>);

impl Reminder {
    /// As [`remind`].
    pub fn set<A, M>(&mut self, ctx: &mut Context<A>, clock: &dyn Clock, after: Duration, message: M)
    where
        A: Actor<Context = Context<A>> + Handler<M>,
        M: Message + 'static,
    {
        self.cancel(ctx);
        self.0 = Some(remind(ctx, clock, after, message));
    }

    /// Nobody is to be reminded any more. One that is due at this moment may still come.
    pub fn cancel<A: Actor<Context = Context<A>>>(&mut self, ctx: &mut Context<A>) {
        if let Some(reminder) = self.0.take() {
            ctx.cancel_future(reminder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[test]
    fn a_future_that_is_begun_ends_at_once_or_goes_on_as_a_run_and_takes_nobody_with_it() {
        actix_rt::System::new().block_on(async {
            assert!(matches!(begin_here(Box::pin(async { 7 })), Begun::Over(7)));
            let panics = std::future::poll_fn(|_| -> Poll<()> { panic!("on purpose") });
            assert!(matches!(begin_here(Box::pin(panics)), Begun::Panicked));
            let (sender, receiver) = oneshot::channel();
            let (goes_on, went_on) = oneshot::channel();
            let Begun::Waits(waits) = begin_here(Box::pin(async move { goes_on.send(receiver.await).unwrap() })) else {
                panic!("nothing was sent")
            };
            let _run = run_here(Obituary::none(), waits);
            sender.send(9).unwrap();
            assert_eq!(went_on.await, Ok(Ok(9)), "it is woken once it runs");
        });
    }
}
