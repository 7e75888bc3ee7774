//! One connection: HTTP/1.1 over TCP or TLS, with a time-out for every way of saying nothing.
//!
//! hyper's own header timer also runs between requests, so that a connection could not idle for longer than headers
//! may take. One timer here watches both phases instead; it is looked at when it rings, not moved with every request.

use super::FrontShared;
use super::request::{self, Caller};
use super::unparsed::{HeldBack, held_back};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

/// As many headers hyper parses without asking for memory first; what is configured below is counted afterwards.
const HEADERS_ON_THE_STACK: usize = 100;

/// Serves a connection until it ends.
pub(super) async fn serve(front: Arc<FrontShared>, stream: TcpStream, peer: SocketAddr) {
    // Answers are small and written at once; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = front.parts.tls.load_full() else {
        return drive(front, stream, Caller { peer, is_tls: false }).await;
    };
    let handshake = tokio_rustls::TlsAcceptor::from(tls).accept(stream);
    match timeout(front.options().handshake_timeout, handshake).await {
        Ok(Ok(stream)) => drive(front, stream, Caller { peer, is_tls: true }).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
    }
}

async fn drive<S: AsyncRead + AsyncWrite + Unpin + 'static>(front: Arc<FrontShared>, stream: S, caller: Caller) {
    let options = *front.options();
    let watch = Rc::new(Watch::new());
    let stream = Watched {
        stream,
        watch: Rc::clone(&watch),
    };
    let service = service_fn(|request| request::serve(Arc::clone(&front), Serving::begin(&watch), caller, request));
    let mut http = http1::Builder::new();
    if options.max_headers > HEADERS_ON_THE_STACK {
        http.max_headers(options.max_headers);
    }
    let mut connection = http
        // Twice the limit is read, so that the answer can say which limit it was.
        .max_buf_size(options.max_header_bytes.saturating_mul(2).max(8_192))
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    // The phase may have changed to one with a nearer deadline before the timer rings again.
    let glance = [options.idle_timeout, options.body_timeout, options.answer_timeout]
        .into_iter()
        .fold(options.header_timeout, Duration::min);
    let mut timer = pin!(sleep_until(Instant::now() + glance));
    let mut draining = front.draining.subscribe();
    let mut was_told = false;
    loop {
        tokio::select! {
            biased;
            outcome = &mut connection => {
                if let Err(error) = outcome {
                    tracing::debug!(peer = %caller.peer, %error, "connection ended with an error");
                }
                break;
            }
            () = timer.as_mut() => {
                let now = Instant::now();
                let latest = now + glance;
                match watch.deadline(&front) {
                    // The request is answered; the next turn of this loop asks it to.
                    Some(deadline) if deadline <= now && watch.asks_for_body() => {
                        watch.is_late.set(true);
                        timer.as_mut().reset(latest);
                    }
                    Some(deadline) if deadline <= now => return watch.count_timeout(&front),
                    deadline => timer.as_mut().reset(deadline.unwrap_or(latest).min(latest)),
                }
            }
            _ = draining.wait_for(|draining| *draining), if !was_told => {
                was_told = true;
                // hyper would cut a connection that has said nothing yet, or half a head: its client takes that for a lost
                // request. It gets an answer, which closes, or runs into the time-out of its head.
                if watch.phase.get() != Phase::Head {
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
    }
    let held = watch.held.take();
    if let Some(held) = held {
        held.answer(&front, connection.into_parts().io.into_inner().stream).await;
    }
}

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// For the rest of a request's head, or the first byte ever.
    Head,
    /// For the rest of a request's body, or for memory to hold it.
    Body,
    /// For the answer of a request; it has its own time-outs.
    Answer,
    /// For the next request.
    Idle,
}

/// The phase of a connection and when it made progress last.
pub(super) struct Watch {
    phase: Cell<Phase>,
    since: Cell<Instant>,
    /// Since when the client does not take what is written to it, whatever else is waited for.
    unsent_since: Cell<Option<Instant>>,
    /// Whether the body that is waited for took too long.
    is_late: Cell<bool>,
    /// What hyper would have answered to a head that it cannot parse.
    held: RefCell<Option<HeldBack>>,
}

impl Watch {
    fn new() -> Self {
        Self {
            phase: Cell::new(Phase::Head),
            since: Cell::new(Instant::now()),
            unsent_since: Cell::new(None),
            is_late: Cell::new(false),
            held: RefCell::new(None),
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        // An answer has time-outs of its own.
        if phase != Phase::Answer {
            self.since.set(Instant::now());
        }
    }

    /// Waits for a body no longer than `front.body-timeout`; `None` if that was not enough. The connection's timer rings
    /// for it: a timer of each request would cost more than most bodies take.
    pub(super) async fn in_time<T>(&self, body: impl Future<Output = T>) -> Option<T> {
        self.is_late.set(false);
        self.enter(Phase::Body);
        let mut body = pin!(body);
        let read = poll_fn(|cx| match body.as_mut().poll(cx) {
            Poll::Pending if self.is_late.get() => Poll::Ready(None),
            polled => polled.map(Some),
        });
        let read = read.await;
        self.enter(Phase::Answer);
        read
    }

    fn deadline(&self, front: &FrontShared) -> Option<Instant> {
        let options = front.options();
        if let Some(since) = self.unsent_since.get() {
            return Some(since + options.answer_timeout);
        }
        match self.phase.get() {
            Phase::Head => Some(self.since.get() + options.header_timeout),
            Phase::Idle => Some(self.since.get() + options.idle_timeout),
            Phase::Body => Some(self.since.get() + options.body_timeout),
            Phase::Answer => None,
        }
    }

    /// Whether a deadline is that of a body: then there is a request to answer.
    fn asks_for_body(&self) -> bool {
        self.unsent_since.get().is_none() && self.phase.get() == Phase::Body
    }

    fn count_timeout(&self, front: &FrontShared) {
        let metrics = &front.metrics;
        let counter = match self.phase.get() {
            _ if self.unsent_since.get().is_some() => &metrics.answer_timeouts,
            Phase::Head => &metrics.header_timeouts,
            _ => &metrics.idle_timeouts,
        };
        counter.increment(1);
    }

    /// Something that was written has to wait for the client.
    fn waits(&self) {
        if self.unsent_since.get().is_none() {
            self.unsent_since.set(Some(Instant::now()));
        }
    }

    /// The client has everything that was written.
    fn sent(&self) {
        if self.unsent_since.take().is_some() {
            // What it waited for meanwhile is waited for from now on.
            self.since.set(Instant::now());
        }
    }
}

/// A request is being served; dropped when its answer is ready, or nobody wants it any more.
pub(super) struct Serving(Rc<Watch>);

impl Serving {
    fn begin(watch: &Rc<Watch>) -> Self {
        watch.enter(Phase::Answer);
        Self(Rc::clone(watch))
    }

    /// Its connection's.
    pub(super) fn watch(&self) -> &Watch {
        &self.0
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

/// A stream that notes progress.
struct Watched<S> {
    stream: S,
    watch: Rc<Watch>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before && self.watch.phase.get() == Phase::Idle {
            self.watch.enter(Phase::Head);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.holds_back(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(&polled);
        polled
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let [only] = slices
            && self.holds_back(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when it has written all it had.
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        match polled {
            Poll::Ready(_) => self.watch.sent(),
            Poll::Pending => self.watch.waits(),
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.held.borrow().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S> Watched<S> {
    /// Whether this is an answer of hyper's own, to be replaced. While a request is served there is none.
    fn holds_back(&self, bytes: &[u8]) -> bool {
        if matches!(self.watch.phase.get(), Phase::Body | Phase::Answer) {
            return false;
        }
        let held = held_back(bytes);
        let holds = held.is_some();
        if holds {
            self.watch.held.replace(held);
        }
        holds
    }

    fn wrote(&self, polled: &Poll<io::Result<usize>>) {
        if polled.is_pending() {
            self.watch.waits();
        }
    }
}
