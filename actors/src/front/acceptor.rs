//! Accepts connections and hands each to the front with the fewest.
//!
//! One acceptor for all front threads: sockets that the kernel spreads by itself (SO_REUSEPORT) pile up on one thread
//! by chance, and those given to a frozen thread wait for ever. A front that does not take connections here keeps the
//! count it has, so that new ones go elsewhere.

use super::FrontShared;
use super::actor::{Place, Seat, ServeConnection, Waiting};
use super::address::network_of;
use super::address_limit::AtLimit;
use super::keeper::{Keeper, Member};
use crate::kit::{Arbiter, Exit, Mailbox, Obituary, Refused, start_on};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All front actors and the listeners they serve.
pub struct Fronts {
    front: Arc<FrontShared>,
    members: Arc<[Member]>,
    acceptor: Arbiter,
    /// Connections that may wait for the fronts to take them.
    handover: Arc<Semaphore>,
    /// Held so that it lives.
    _keeper: Mailbox<Keeper>,
}

impl fmt::Debug for Fronts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fronts")
            .field("front", &self.front)
            .field("threads", &self.members.len())
            .finish()
    }
}

impl Fronts {
    /// Starts a front actor on each of these threads; the first one accepts as well.
    ///
    /// # Errors
    /// [`Refused::Gone`] if a thread has stopped, or there is none.
    pub fn start<'a>(threads: impl IntoIterator<Item = &'a Arbiter>, front: &Arc<FrontShared>) -> Result<Self, Refused> {
        let threads: Vec<&Arbiter> = threads.into_iter().collect();
        let acceptor = (*threads.first().ok_or(Refused::Gone)?).clone();
        let members: Arc<[Member]> = threads.into_iter().map(Member::on).collect();
        let handover = Arc::new(Semaphore::new(front.options().handover * members.len()));
        let (shared, kept) = (Arc::clone(front), Arc::clone(&members));
        // It begins on its thread before anything is accepted there.
        let keeper = start_on(&acceptor, KEEPER_MAILBOX, Obituary::new(keeper_ended), move |ctx| {
            Keeper::new(shared, kept, ctx)
        })?;
        Ok(Self {
            front: Arc::clone(front),
            members,
            acceptor,
            handover,
            _keeper: keeper,
        })
    }

    /// Serves a listener until the front drains. Connections that wait in the kernel then stay there, for the next
    /// process on a passed socket.
    ///
    /// # Errors
    /// If the socket cannot be used, or the thread has stopped.
    pub fn listen(&self, listener: std::net::TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let (front, members, handover) = (Arc::clone(&self.front), Arc::clone(&self.members), Arc::clone(&self.handover));
        let accepting = async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => accept_all(&front, &members, &handover, &listener).await,
                Err(error) => tracing::error!(%error, "cannot listen"),
            }
        };
        self.acceptor.spawn(accepting).map_err(io::Error::other)
    }

    /// Open connections by front thread.
    #[must_use]
    pub fn connections(&self) -> Vec<usize> {
        self.members
            .iter()
            .map(|member| member.connections.load(Ordering::Acquire))
            .collect()
    }

    /// The front threads, to look at.
    #[must_use]
    pub fn threads(&self) -> FrontThreads {
        FrontThreads(Arc::clone(&self.members))
    }

    /// Drains: stops accepting, lets requests end, closes connections. Returns how many are left after `within`.
    pub async fn drain(&self, within: Duration) -> usize {
        self.front.begin_drain();
        let all = u32::try_from(self.front.options().connections).unwrap_or(u32::MAX);
        // All permits are back when the last connection has ended; its seat is free a moment before the counts fall.
        match tokio::time::timeout(within, self.front.connections.acquire_many(all)).await {
            Ok(_) => 0,
            Err(_) => self.front.connections(),
        }
    }
}

/// The front threads of a daemon. Cheap to clone.
#[derive(Clone)]
pub struct FrontThreads(Arc<[Member]>);

impl fmt::Debug for FrontThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontThreads").field("alive", &self.alive()).finish()
    }
}

impl FrontThreads {
    /// How many take connections.
    #[must_use]
    pub fn alive(&self) -> usize {
        let is_alive = |member: &&Member| member.front.load().as_ref().is_some_and(|front| front.is_alive());
        self.0.iter().filter(is_alive).count()
    }

    /// Lets the front of a thread panic: what a defect in it does.
    #[cfg(feature = "faults")]
    pub fn fail(&self, thread: usize) {
        if let Some(mailbox) = self.0.get(thread).and_then(|member| member.front.load_full()) {
            let _ = mailbox.tell(super::actor::Fail);
        }
    }
}

/// The keeper gets nothing but its own timers and, past the bound, its children's ends.
const KEEPER_MAILBOX: usize = 16;

fn keeper_ended(exit: Exit) {
    if exit == Exit::Panicked {
        tracing::error!("the fronts' keeper panicked; a front that dies is not restarted any more");
    }
}

async fn accept_all(front: &Arc<FrontShared>, members: &[Member], handover: &Arc<Semaphore>, listener: &TcpListener) {
    let mut draining = front.draining.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = accept(front, listener) => accepted,
            _ = draining.wait_for(|draining| *draining) => return,
        };
        let Some((stream, peer, seat)) = accepted else { return };
        // What is accepted is handed over, though the front begins to drain: it says so.
        let Ok(wait) = Arc::clone(handover).acquire_owned().await else {
            return;
        };
        hand_over(front, members, stream, peer, (seat, wait));
    }
}

/// The next connection that may stay, with its seat.
async fn accept(front: &FrontShared, listener: &TcpListener) -> Option<(TcpStream, SocketAddr, Seat)> {
    // The permit comes first: what cannot be served waits in the kernel's queue. It is never closed.
    let permit = Arc::clone(&front.connections).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match front.addresses.join(peer.ip(), &front.parts.proxies.load()) {
                Ok(of_address) => return Some((stream, peer, Seat::new(permit, of_address))),
                Err(at_limit) => turn_away(front, peer, at_limit),
            },
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(front.options().accept_pause).await;
            }
        }
    }
}

/// Says why a connection is closed: once for an address that keeps coming.
fn turn_away(front: &FrontShared, peer: SocketAddr, at_limit: AtLimit) {
    front.metrics.connections_refused.increment(1);
    if at_limit.is_new {
        tracing::warn!(
            address = %network_of(peer.ip()),
            limit = front.options().connections_per_address,
            "an address has as many connections as front.connections-per-address allows; more are closed (a proxy belongs into trusted-proxies)"
        );
    }
}

fn hand_over(
    front: &Arc<FrontShared>,
    members: &[Member],
    stream: TcpStream,
    peer: SocketAddr,
    (seat, wait): (Seat, OwnedSemaphorePermit),
) {
    let alive = members.iter().filter_map(|member| {
        let mailbox = member.front.load_full().filter(|mailbox| mailbox.is_alive())?;
        Some((member, mailbox))
    });
    // One that is as late as may be gets no more while another is not.
    let load = |(member, _): &(&Member, _)| {
        let is_late = member.waiting.load(Ordering::Acquire) >= front.options().handover;
        (is_late, member.connections.load(Ordering::Relaxed))
    };
    let Some((member, mailbox)) = alive.min_by_key(load) else {
        return tracing::error!(%peer, "no front is alive; a connection is cut");
    };
    let stream = match stream.into_std() {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%peer, %error, "cannot hand a connection over"),
    };
    mailbox.tell_past_the_bound(ServeConnection {
        stream,
        peer,
        place: Place::take(front, &member.connections, seat),
        waiting: Waiting::begin(&member.waiting, wait),
    });
}
