//! Hosts the connections of one front thread.
//!
//! Each connection is a local future of its own, so that a panic in one ends only it; they all end with the actor.

use super::address_limit::AddressPlace;
use super::{FrontShared, connection};
use crate::kit::{ChildExited, LocalRun, Mailbox, Obituary, run_here};
use actix::{Actor, Context, Handler, Message};
use perseat_domain::id::{IdMap, give_back};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

/// Sent by the acceptor · serve this connection · no reply · dropped with its permits if the actor ends first.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct ServeConnection {
    pub(super) stream: std::net::TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
    pub(super) waiting: Waiting,
}

/// A connection's wait for its front thread, which bounds the mailbox. Dropped when the front takes the connection.
#[derive(Debug)]
pub(super) struct Waiting {
    for_thread: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl Waiting {
    pub(super) fn begin(for_thread: &Arc<AtomicUsize>, permit: OwnedSemaphorePermit) -> Self {
        for_thread.fetch_add(1, Ordering::AcqRel);
        Self {
            for_thread: Arc::clone(for_thread),
            _permit: permit,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.for_thread.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection's right to be there: one of all, and one of its address's.
#[derive(Debug)]
pub(super) struct Seat {
    _permit: OwnedSemaphorePermit,
    _of_address: AddressPlace,
}

impl Seat {
    pub(super) fn new(permit: OwnedSemaphorePermit, of_address: AddressPlace) -> Self {
        Self {
            _permit: permit,
            _of_address: of_address,
        }
    }
}

/// A connection's place among all, and among those of its front and its address. Dropped when the connection ends.
#[derive(Debug)]
pub(super) struct Place {
    front: Arc<FrontShared>,
    of_thread: Arc<AtomicUsize>,
    seat: Option<Seat>,
}

impl Place {
    pub(super) fn take(front: &Arc<FrontShared>, of_thread: &Arc<AtomicUsize>, seat: Seat) -> Self {
        front.open.fetch_add(1, Ordering::AcqRel);
        of_thread.fetch_add(1, Ordering::AcqRel);
        front.metrics.connections.increment(1.0);
        Self {
            front: Arc::clone(front),
            of_thread: Arc::clone(of_thread),
            seat: Some(seat),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever sees the counts fall finds the seat free.
        self.seat = None;
        self.front.open.fetch_sub(1, Ordering::AcqRel);
        self.of_thread.fetch_sub(1, Ordering::AcqRel);
        self.front.metrics.connections.decrement(1.0);
    }
}

/// See the module.
pub(super) struct FrontActor {
    front: Arc<FrontShared>,
    mailbox: Mailbox<Self>,
    /// Held so that connections end with the actor.
    connections: IdMap<u64, LocalRun>,
    next: u64,
}

impl FrontActor {
    pub(super) fn new(front: Arc<FrontShared>, ctx: &Context<Self>) -> Self {
        Self {
            front,
            mailbox: Mailbox::of(ctx),
            connections: IdMap::default(),
            next: 0,
        }
    }
}

impl Actor for FrontActor {
    type Context = Context<Self>;
}

impl Handler<ServeConnection> for FrontActor {
    type Result = ();

    fn handle(&mut self, connection: ServeConnection, _: &mut Context<Self>) {
        let ServeConnection {
            stream,
            peer,
            place,
            waiting,
        } = connection;
        drop(waiting);
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%peer, %error, "cannot serve a connection"),
        };
        let (front, key) = (Arc::clone(&self.front), self.next);
        self.next += 1;
        let run = run_here(Obituary::to(&self.mailbox, key, 0), async move {
            let _place = place;
            connection::serve(front, stream, peer).await;
        });
        self.connections.insert(key, run);
    }
}

impl Handler<ChildExited<u64>> for FrontActor {
    type Result = ();

    fn handle(&mut self, exited: ChildExited<u64>, _: &mut Context<Self>) {
        self.connections.remove(&exited.key);
        give_back(&mut self.connections);
    }
}

/// Sent by tests · panic · no reply.
#[cfg(feature = "faults")]
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Fail;

#[cfg(feature = "faults")]
impl Handler<Fail> for FrontActor {
    type Result = ();

    fn handle(&mut self, _: Fail, _: &mut Context<Self>) {
        panic!("a front fails on purpose");
    }
}
