//! A small HTTP/1 server for the two private doors: the admin listener and the local socket.
//!
//! Whole requests in, whole answers out, few connections, every wait bounded. Webhooks do not come through here; their front
//! is an actor of its own.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use perseat_actors::front::BodyMemory;
pub use perseat_actors::front::Peer;
use perseat_domain::code::ErrorCode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// An answer.
pub type Answer = Response<Full<Bytes>>;
/// An answer in the making.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A body that is made while it is sent, in place of the one that the answer has: put it among the answer's extensions.
#[derive(Clone, Debug)]
pub struct Streamed(Arc<Mutex<Option<mpsc::Receiver<Bytes>>>>);

impl Streamed {
    /// What comes through the channel until its other end goes.
    #[must_use]
    pub fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self(Arc::new(Mutex::new(Some(pieces))))
    }

    fn take(&self) -> Option<mpsc::Receiver<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The body of an answer as it is sent.
enum Sent {
    Whole(Full<Bytes>),
    Pieces(mpsc::Receiver<Bytes>),
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Pieces(pieces) => pieces.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Pieces(_) => hyper::body::SizeHint::default(),
        }
    }
}

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request whose body has been read.
    fn answer(&self, request: Request<Bytes>) -> Answering;

    /// Whose request it is, for shares: whoever is at the other end, or a client that they speak for.
    fn client(&self, peer: IpAddr, _headers: &HeaderMap) -> IpAddr {
        peer
    }
}

/// Where connections come from.
pub trait Accept: Send {
    /// One connection.
    type Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next one; `None` for one that is refused.
    fn accept(&self) -> impl Future<Output = std::io::Result<Option<Self::Connection>>> + Send;

    /// Who is at the other end; `None` where there is no address.
    fn peer(_connection: &Self::Connection) -> Option<IpAddr> {
        None
    }
}

impl Accept for tokio::net::TcpListener {
    type Connection = tokio::net::TcpStream;

    async fn accept(&self) -> std::io::Result<Option<Self::Connection>> {
        self.accept().await.map(|(stream, _)| Some(stream))
    }
}

/// What a client may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// The largest body.
    pub max_body: usize,
    /// Bodies of all connections together, until they are answered; one that finds no room waits for it while it is read.
    pub body_memory: usize,
    /// How long the headers may take, and a body without progress.
    pub read_timeout: Duration,
    /// How long open requests may take once `stop` was called.
    pub drain: Duration,
    /// The pause after an accept that failed, so that a lack of descriptors does not spin.
    pub accept_pause: Duration,
}

/// What a connection reads at once, and its headers at most: so much of a body is there before memory is claimed for it.
const READ_BUFFER: usize = 64 << 10;

/// Serves until `stop`, then lets open requests end.
pub async fn serve<A: Accept>(listener: A, limits: Limits, service: Arc<dyn Service>, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let memory = Arc::new(BodyMemory::new(limits.body_memory));
    let graceful = GracefulShutdown::new();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.read_timeout)
        .max_buf_size(READ_BUFFER);
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
            match listener.accept().await {
                Ok(connection) => Some((permit, connection)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(limits.accept_pause).await;
                    Some((permit, None))
                }
            }
        };
        let (permit, connection) = tokio::select! {
            next = next => match next { Some(next) => next, None => break },
            () = stop.cancelled() => break,
        };
        let Some(connection) = connection else { continue };
        let (service, memory) = (Arc::clone(&service), Arc::clone(&memory));
        let peer = A::peer(&connection).map(Peer);
        let answer = service_fn(move |mut request: Request<Incoming>| {
            peer.map(|peer| request.extensions_mut().insert(peer));
            one(Arc::clone(&service), Arc::clone(&memory), request, limits)
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(connection), answer));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a private connection ended early");
            }
            drop(permit);
        });
    }
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("private connections were still open at the deadline");
    }
}

async fn one(
    service: Arc<dyn Service>,
    memory: Arc<BodyMemory>,
    request: Request<Incoming>,
    limits: Limits,
) -> Result<Response<Sent>, Infallible> {
    let answer = answer(service, &memory, request, limits).await;
    let pieces = answer.extensions().get::<Streamed>().and_then(Streamed::take);
    Ok(answer.map(|body| pieces.map_or(Sent::Whole(body), Sent::Pieces)))
}

async fn answer(service: Arc<dyn Service>, memory: &BodyMemory, request: Request<Incoming>, limits: Limits) -> Answer {
    let (head, mut incoming) = request.into_parts();
    let client = || match head.extensions.get::<Peer>() {
        Some(peer) => service.client(peer.0, &head.headers),
        // The local socket's callers are one.
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let body = memory.read(&client, &mut incoming, limits.max_body);
    match tokio::time::timeout(limits.read_timeout, body).await {
        // Its share of the memory is held until it is answered.
        Ok(Ok(body)) => service.answer(Request::from_parts(head, body.bytes.clone())).await,
        Ok(Err(ErrorCode::PayloadTooLarge)) => {
            drain(incoming, limits).await;
            refusal(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large")
        }
        Ok(Err(_)) => refusal(StatusCode::BAD_REQUEST, "body_unreadable"),
        Err(_) => refusal(StatusCode::REQUEST_TIMEOUT, "body_timeout"),
    }
}

/// How many times `max_body` is read and dropped, so that a client that still writes gets to read why it was refused.
/// No key: it follows `max_body`, and the time for it is that of reading a body.
const DRAINED: usize = 16;

async fn drain(mut body: Incoming, limits: Limits) {
    let mut left = limits.max_body.saturating_mul(DRAINED);
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            if length > left {
                break;
            }
            left -= length;
        }
    };
    // What is not through by then is cut off.
    drop(tokio::time::timeout(limits.read_timeout, reading).await);
}

fn refusal(status: StatusCode, code: &str) -> Answer {
    json(
        status,
        &serde_json::json!({ "error": status.canonical_reason().unwrap_or(code), "code": code }),
    )
}

/// An answer with a JSON body.
#[must_use]
pub fn json(status: StatusCode, body: &serde_json::Value) -> Answer {
    text(status, "application/json", body.to_string())
}

/// An answer with a text body.
#[must_use]
pub fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    answer
}
