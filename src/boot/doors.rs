//! Connections of the API listener: those with TLS have shaken hands, each in its own time. One address does not have them all, and
//! one whose client takes nothing of its answer is cut.

use std::future::Future as _;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};
use perseat_actors::front::{AddressLimit, AddressPlace, Proxies, network_of};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::http::Accept;

/// What a client may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct DoorOptions {
    /// Connections at once.
    pub(super) connections: usize,
    /// Those of one address, but for proxies.
    pub(super) connections_per_address: usize,
    /// How long a TLS handshake may take.
    pub(super) handshake_timeout: Duration,
    /// How long a client may take nothing of what is written to it.
    pub(super) answer_timeout: Duration,
    /// The pause after an accept that failed.
    pub(super) accept_pause: Duration,
}

/// See the module.
pub(super) struct Doors {
    ready: Mutex<mpsc::Receiver<Connection>>,
    accepting: JoinHandle<()>,
}

impl Doors {
    pub(super) fn open(
        listener: TcpListener,
        tls: Arc<ArcSwapOption<rustls::ServerConfig>>,
        proxies: Arc<ArcSwap<Proxies>>,
        options: DoorOptions,
    ) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::from_std(listener).context("the API listener")?;
        let (send, ready) = mpsc::channel(options.connections);
        let addresses = AddressLimit::new(options.connections_per_address);
        let accepting = tokio::spawn(async move {
            loop {
                // A permit first: who waits beyond the limit waits in the kernel's queue.
                let Ok(permit) = send.clone().reserve_owned().await else { return };
                let (stream, place) = accept(&listener, &addresses, &proxies, options).await;
                let connection = move |stream| Connection {
                    stream,
                    patience: options.answer_timeout,
                    unsent: None,
                    _place: place,
                };
                let Some(tls) = tls.load_full() else {
                    permit.send(connection(Stream::Plain(stream)));
                    continue;
                };
                tokio::spawn(async move {
                    let handshake = TlsAcceptor::from(tls).accept(stream);
                    match tokio::time::timeout(options.handshake_timeout, handshake).await {
                        Ok(Ok(stream)) => {
                            permit.send(connection(Stream::Tls(Box::new(stream))));
                        }
                        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                        Err(_) => tracing::debug!("TLS handshake took too long"),
                    }
                });
            }
        });
        Ok(Self {
            ready: Mutex::new(ready),
            accepting,
        })
    }
}

/// The next connection that may stay.
async fn accept(
    listener: &tokio::net::TcpListener,
    addresses: &Arc<AddressLimit>,
    proxies: &ArcSwap<Proxies>,
    options: DoorOptions,
) -> (TcpStream, AddressPlace) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match addresses.join(peer.ip(), &proxies.load()) {
                Ok(place) => return (stream, place),
                Err(at_limit) if at_limit.is_new => tracing::warn!(
                    address = %network_of(peer.ip()),
                    limit = options.connections_per_address,
                    "an address has as many connections as api.connections-per-address allows; more are closed (a proxy belongs into trusted-proxies)"
                ),
                Err(_) => {}
            },
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(options.accept_pause).await;
            }
        }
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Accept for Doors {
    type Connection = Connection;

    async fn accept(&self) -> io::Result<Option<Connection>> {
        Ok(self.ready.lock().await.recv().await)
    }

    fn peer(connection: &Connection) -> Option<IpAddr> {
        let stream = match &connection.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        };
        stream.peer_addr().ok().map(|address| address.ip())
    }
}

/// With TLS or without.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that fails once its client takes nothing for too long.
pub(super) struct Connection {
    stream: Stream,
    patience: Duration,
    /// When it fails, while the client takes nothing of what is written.
    unsent: Option<Pin<Box<Sleep>>>,
    _place: AddressPlace,
}

impl Connection {
    /// What became of writing, unless it has taken too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.unsent = None;
            return written;
        }
        let patience = self.patience;
        let timer = self.unsent.get_or_insert_with(|| Box::pin(sleep(patience)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        self.in_time(cx, written)
    }

    // Without it hyper copies an answer before it is sent, and lets go what that holds until then.
    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        };
        self.in_time(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        self.in_time(cx, shut)
    }
}
