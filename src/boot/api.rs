//! The API listener: plain or TLS, with limits of its own; where hooks and API share an address, the front's listener instead.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use perseat_flow::outbound::OutboundClient;
use perseat_store::executions::ExecutionReader;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::Base;
use super::http::{Accept, Limits, serve as serve_http};
use super::listeners::Listeners;
use super::plane::Plane;
use crate::config::Config;
use crate::control::{Control, Desk, Mail, Provider};
use crate::oauth::Door;
use perseat_flow::oauth::OauthClient;

/// What the control plane works with.
pub(super) fn desk(
    config: &Config,
    plane: &Plane,
    listeners: &Listeners,
    executions: ExecutionReader,
    mail: Option<Mail>,
) -> anyhow::Result<Desk> {
    let listener = listeners.api.as_ref().unwrap_or(&listeners.hooks);
    let url = config.public_url(listener.local_addr().context("the API listener")?);
    let outbound = OutboundClient::new(config.outbound_policy()?, config.outbound_options()).context("calls to providers")?;
    let outbound = outbound.governed(plane.governor.clone()).sharing(plane.answers.clone());
    let door = Door::new(OauthClient::new(outbound, config.oauth_limits()), config.consent_options());
    Ok(Desk::new(
        plane,
        executions,
        url,
        config.control_options(),
        config.sign_in_options(),
        door,
        mail,
    ))
}

/// Serves the API until `stop`.
pub(super) fn serve(
    config: &Config,
    base: &Base,
    plane: &Plane,
    desk: Arc<Desk>,
    control: &Runtime,
    stop: CancellationToken,
) -> anyhow::Result<Option<JoinHandle<()>>> {
    let provider = provider(config, control)?;
    let service = Control::new(desk, provider, config.console_options(), control.handle().clone());
    let Some(listener) = &base.listeners.api else {
        plane.front.serve_beside(Arc::new(service), config.api.max_body.as_usize());
        return Ok(None);
    };
    let listener = listener.try_clone().context("the API listener")?;
    let limits = Limits {
        connections: config.api.connections.as_usize(),
        max_body: config.api.max_body.as_usize(),
        body_memory: config.api.body_memory.as_usize(),
        read_timeout: config.api.read_timeout,
        drain: config.drain.deadline,
        accept_pause: config.front.accept_pause,
    };
    let _inside = control.enter();
    let listener = Doors::open(listener, base.tls.clone(), config.tls.handshake_timeout, limits)?;
    Ok(Some(control.spawn(serve_http(listener, limits, Arc::new(service), stop))))
}

/// Who else says who somebody is.
fn provider(config: &Config, control: &Runtime) -> anyhow::Result<Option<Provider>> {
    if config.people.oidc.issuer.is_none() {
        return Ok(None);
    }
    // Its connections live where its calls are made.
    let _inside = control.enter();
    let client = OutboundClient::new(config.oidc_policy()?, config.oidc_outbound())?;
    Ok(Provider::open(&config.oidc_options(), client)?)
}

/// Connections that are ready to be served: those with TLS have shaken hands, each in its own time.
struct Doors {
    ready: Mutex<mpsc::Receiver<Stream>>,
    accepting: JoinHandle<()>,
}

impl Doors {
    fn open(
        listener: TcpListener,
        tls: Arc<ArcSwapOption<rustls::ServerConfig>>,
        within: Duration,
        limits: Limits,
    ) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::from_std(listener).context("the API listener")?;
        let (send, ready) = mpsc::channel(limits.connections);
        let accepting = tokio::spawn(async move {
            loop {
                // A permit first: who waits beyond the limit waits in the kernel's queue.
                let Ok(permit) = send.clone().reserve_owned().await else { return };
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(limits.accept_pause).await;
                        continue;
                    }
                };
                let Some(tls) = tls.load_full() else {
                    permit.send(Stream::Plain(stream));
                    continue;
                };
                tokio::spawn(async move {
                    match tokio::time::timeout(within, TlsAcceptor::from(tls).accept(stream)).await {
                        Ok(Ok(stream)) => {
                            permit.send(Stream::Tls(Box::new(stream)));
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

impl Drop for Doors {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Accept for Doors {
    type Connection = Stream;

    async fn accept(&self) -> io::Result<Option<Stream>> {
        Ok(self.ready.lock().await.recv().await)
    }

    fn peer(connection: &Stream) -> Option<IpAddr> {
        let stream = match connection {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        };
        stream.peer_addr().ok().map(|address| address.ip())
    }
}

/// A connection, with or without TLS.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
