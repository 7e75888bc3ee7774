//! Accepts connections and hands each to the front with the fewest.
//!
//! One acceptor for all front threads: sockets that the kernel spreads by itself (SO_REUSEPORT) pile up on one thread
//! by chance, and those given to a frozen thread wait for ever. A front that does not take connections here keeps the
//! count it has, so that new ones go elsewhere.

use super::FrontShared;
use super::actor::{FrontActor, Place, ServeConnection};
use crate::kit::{Arbiter, Mailbox, Obituary, Refused, start_on};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// All front actors and the listeners they serve.
pub struct Fronts {
    front: Arc<FrontShared>,
    members: Arc<[Member]>,
    acceptor: Arbiter,
}

struct Member {
    mailbox: Mailbox<FrontActor>,
    connections: Arc<AtomicUsize>,
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
        let start = |thread: &&Arbiter| {
            let shared = Arc::clone(front);
            let mailbox = start_on(thread, front.options().handover, Obituary::none(), move |ctx| {
                FrontActor::new(shared, ctx)
            })?;
            Ok(Member {
                mailbox,
                connections: Arc::default(),
            })
        };
        Ok(Self {
            front: Arc::clone(front),
            members: threads.iter().map(start).collect::<Result<Arc<[Member]>, Refused>>()?,
            acceptor,
        })
    }

    /// Serves a listener until the front drains. Connections that wait in the kernel then stay there, for the next
    /// process on a passed socket.
    ///
    /// # Errors
    /// If the socket cannot be used, or the thread has stopped.
    pub fn listen(&self, listener: std::net::TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let (front, members) = (Arc::clone(&self.front), Arc::clone(&self.members));
        let accepting = async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => accept_all(&front, &members, &listener).await,
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

    /// Drains: stops accepting, lets requests end, closes connections. Returns how many are left after `within`.
    pub async fn drain(&self, within: Duration) -> usize {
        self.front.begin_drain();
        let all = u32::try_from(self.front.options().connections).unwrap_or(u32::MAX);
        // All permits are back when the last connection has ended.
        let _ = tokio::time::timeout(within, self.front.connections.acquire_many(all)).await;
        self.front.connections()
    }
}

async fn accept_all(front: &Arc<FrontShared>, members: &[Member], listener: &TcpListener) {
    let mut draining = front.draining.subscribe();
    let accepting = async {
        loop {
            // The permit comes first: what cannot be served waits in the kernel's queue. It is never closed.
            let Ok(permit) = Arc::clone(&front.connections).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, peer)) => hand_over(front, members, stream, peer, permit),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep_until(Instant::now() + front.options().accept_pause).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = draining.wait_for(|draining| *draining) => {}
    }
}

fn hand_over(front: &Arc<FrontShared>, members: &[Member], stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
    let Some(member) = members
        .iter()
        .filter(|member| member.mailbox.is_alive())
        .min_by_key(|member| member.connections.load(Ordering::Relaxed))
    else {
        return tracing::error!("no front is alive");
    };
    let handed = stream.into_std().map(|stream| {
        let place = Place::take(front, &member.connections, permit);
        member.mailbox.tell(ServeConnection { stream, peer, place })
    });
    match handed {
        Ok(Ok(())) => {}
        Ok(Err(refused)) => tracing::warn!(%peer, %refused, "no front takes the connection"),
        Err(error) => tracing::warn!(%peer, %error, "cannot hand a connection over"),
    }
}
