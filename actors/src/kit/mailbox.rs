//! Addresses an actor: `tell` with a bound, `ask` with a deadline.
//!
//! actix bounds a mailbox per *sender*, and every clone of an `Addr` is a new sender with a place of its own, so a
//! caller that clones before each message is never refused. All clones of a [`Mailbox`] share one sender: the bound
//! holds for all of them together. An `ask` is a `tell` whose message carries a [`Reply`], so it is refused by the
//! same bound, and a handler may answer later without holding the actor.

use actix::dev::{SendError, ToEnvelope};
use actix::{Actor, Addr, AsyncContext, Context, Handler, Message};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The mailbox is full: the actor is slower than its senders.
    #[error("the mailbox is full")]
    Full,
    /// The actor ended.
    #[error("the actor ended")]
    Gone,
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It was not taken.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It was taken and dropped: the handler failed or chose not to answer. Not a sign that the actor is dead.
    #[error("the question was dropped")]
    Dropped,
    /// No answer came in time; the actor may still be working on it.
    #[error("no answer in time")]
    TimedOut,
}

/// The way back of a question.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// Answers. A caller that no longer waits is no error.
    pub fn send(self, answer: T) {
        let _ = self.0.send(answer);
    }

    /// Whether the caller has stopped waiting.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }

    /// A reply with its receiving end, for callers that wait otherwise than by [`Mailbox::ask`].
    #[must_use]
    pub fn channel() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }
}

/// A handle to an actor. Cheap to clone; usable from any thread.
pub struct Mailbox<A: Actor> {
    address: Arc<Addr<A>>,
}

impl<A: Actor<Context = Context<A>>> Mailbox<A> {
    pub(super) fn new(address: Addr<A>) -> Self {
        Self {
            address: Arc::new(address),
        }
    }

    /// The mailbox of the actor whose context this is. Take it once, in the constructor, and clone that.
    #[must_use]
    pub fn of(ctx: &Context<A>) -> Self {
        Self::new(ctx.address())
    }

    /// Hands over a message without waiting.
    ///
    /// # Errors
    /// If the mailbox is full or the actor ended; the message is dropped then.
    pub fn tell<M>(&self, message: M) -> Result<(), Refused>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.address.try_send(message).map_err(|error| match error {
            SendError::Full(_) => Refused::Full,
            SendError::Closed(_) => Refused::Gone,
        })
    }

    /// Sends the message that `question` makes around a [`Reply`] and waits for the answer, at most `within`.
    ///
    /// # Errors
    /// If the message is refused, its reply is dropped, or no answer comes in time.
    pub async fn ask<M, T>(&self, within: Duration, question: impl FnOnce(Reply<T>) -> M) -> Result<T, AskError>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let (reply, answer) = Reply::channel();
        self.tell(question(reply))?;
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(AskError::Dropped),
            Err(_) => Err(AskError::TimedOut),
        }
    }

    /// As [`Mailbox::ask`], on the calling thread, outside of any runtime, and for as long as the answer takes: an actor that dies drops the
    /// question, and one that is frozen is the pulse's to notice.
    ///
    /// # Errors
    /// If the message is refused or its reply is dropped.
    pub fn ask_blocking<M, T>(&self, question: impl FnOnce(Reply<T>) -> M) -> Result<T, AskError>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let (reply, answer) = Reply::channel();
        self.tell(question(reply))?;
        answer.blocking_recv().map_err(|_| AskError::Dropped)
    }

    /// Hands over a message past the bound: for facts that must not be lost and whose number is bounded otherwise.
    #[expect(
        clippy::disallowed_methods,
        reason = "one per child that ends, one per actor and change of configuration, one per permit, one of turns that are over: a parent would wait, an actor use what was replaced, and a slot stay empty, for ever"
    )]
    pub(crate) fn tell_past_the_bound<M>(&self, message: M)
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.address.do_send(message);
    }

    /// Whether the actor still takes messages.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.address.connected()
    }

    /// This mailbox for one kind of message, without the name of the actor's type.
    #[must_use]
    pub fn outlet<M>(&self) -> Outlet<M>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let mailbox = self.clone();
        Outlet(Arc::new(move |message| mailbox.tell(message)))
    }
}

impl<A: Actor> Clone for Mailbox<A> {
    fn clone(&self) -> Self {
        Self {
            address: Arc::clone(&self.address),
        }
    }
}

impl<A: Actor> PartialEq for Mailbox<A> {
    fn eq(&self, other: &Self) -> bool {
        *self.address == *other.address
    }
}

impl<A: Actor> fmt::Debug for Mailbox<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox<{}>", std::any::type_name::<A>())
    }
}

/// A mailbox seen as a place for one kind of message.
pub struct Outlet<M>(Arc<dyn Fn(M) -> Result<(), Refused> + Send + Sync>);

impl<M> Outlet<M> {
    /// An outlet that is not an actor: for tests and for adapters at the edge.
    #[must_use]
    pub fn from_fn(take: impl Fn(M) -> Result<(), Refused> + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Hands over a message without waiting.
    ///
    /// # Errors
    /// As [`Mailbox::tell`].
    pub fn tell(&self, message: M) -> Result<(), Refused> {
        (self.0)(message)
    }
}

impl<M> Clone for Outlet<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for Outlet<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outlet<{}>", std::any::type_name::<M>())
    }
}
