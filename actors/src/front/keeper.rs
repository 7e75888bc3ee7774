//! The parent of the front actors: starts one on each front thread, and another one where it died.
//!
//! The acceptor passes over a front that is down, so the others serve meanwhile; with the back-off over, the thread
//! takes connections again.

use super::FrontShared;
use super::actor::FrontActor;
use crate::kit::{Arbiter, Birth, ChildExited, Mailbox, Nursery, Verdict, remind, start_on};
use crate::telemetry;
use actix::{Actor, Context, Handler, Message};
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// One front thread, as the acceptor sees it.
pub(super) struct Member {
    /// Its front actor, while one lives.
    pub(super) front: ArcSwapOption<Mailbox<FrontActor>>,
    pub(super) connections: Arc<AtomicUsize>,
    /// Those of them that its front has not taken yet.
    pub(super) waiting: Arc<AtomicUsize>,
    thread: Arbiter,
}

impl Member {
    pub(super) fn on(thread: &Arbiter) -> Self {
        Self {
            front: ArcSwapOption::empty(),
            connections: Arc::default(),
            waiting: Arc::default(),
            thread: thread.clone(),
        }
    }
}

/// See the module.
pub(super) struct Keeper {
    front: Arc<FrontShared>,
    members: Arc<[Member]>,
    fronts: Nursery<usize, Option<Arc<Mailbox<FrontActor>>>>,
    me: Mailbox<Self>,
}

impl Keeper {
    /// Starts them all.
    pub(super) fn new(front: Arc<FrontShared>, members: Arc<[Member]>, ctx: &Context<Self>) -> Self {
        let parts = &front.parts;
        let seed = (parts.random)() as u64;
        let mut keeper = Self {
            fronts: Nursery::new(parts.supervision, parts.clock.clone(), seed),
            front,
            members,
            me: Mailbox::of(ctx),
        };
        for thread in 0..keeper.members.len() {
            keeper.begin(thread);
        }
        keeper
    }

    fn begin(&mut self, thread: usize) {
        let (front, member, me) = (&self.front, &self.members[thread], &self.me);
        let start = |birth: Birth<usize>| {
            let shared = Arc::clone(front);
            let capacity = front.options().handover;
            let started = start_on(&member.thread, capacity, birth.obituary(me), move |ctx| {
                FrontActor::new(shared, ctx)
            });
            started
                .inspect_err(|error| tracing::error!(thread, %error, "a front cannot be started"))
                .ok()
                .map(Arc::new)
        };
        if let Ok(started) = self.fronts.ensure(&thread, start) {
            member.front.store(started.clone());
        }
    }
}

impl Actor for Keeper {
    type Context = Context<Self>;
}

/// Sent by the keeper to itself · the back-off of this thread's front is over · no reply.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
struct RestartDue(usize);

impl Handler<RestartDue> for Keeper {
    type Result = ();

    fn handle(&mut self, RestartDue(thread): RestartDue, _: &mut Context<Self>) {
        self.begin(thread);
    }
}

impl Handler<ChildExited<usize>> for Keeper {
    type Result = ();

    fn handle(&mut self, exited: ChildExited<usize>, ctx: &mut Context<Self>) {
        let thread = exited.key;
        let delay = match self.fronts.on_exit(&exited) {
            Verdict::Stale => return,
            Verdict::Gone => return self.members[thread].front.store(None),
            Verdict::StartNow => return self.begin(thread),
            Verdict::RestartAfter(delay) => {
                tracing::error!(thread, ?delay, "a front panicked; its connections are cut, and it restarts");
                delay
            }
            Verdict::Quarantine(span) => {
                tracing::error!(
                    thread,
                    ?span,
                    "a front panicked too often; its thread takes no connections meanwhile"
                );
                metrics::counter!(telemetry::QUARANTINES).increment(1);
                span
            }
        };
        self.members[thread].front.store(None);
        remind(ctx, &*self.front.parts.clock, delay, RestartDue(thread));
    }
}
