//! Calls on a connection of their own, of which it is known whether anything was sent.

use super::{Target, failure, target_of, to_reqwest};
use crate::outbound::{OutboundClient, OutboundError, Request, Response};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::time::{Instant, timeout_at};

impl OutboundClient {
    /// Sends a request on a connection of its own; a redirect is an answer like any other. For bodies that hold a secret, which often
    /// is good once: a server may close a kept connection just when something is sent on it, and then nobody knows whether it was
    /// spent (RFC 9112, section 9.6).
    ///
    /// Of the answer's body `most` bytes are read, and one more, by which a longer one is known. So little takes no memory for answers,
    /// the want of which would leave nobody knowing, either.
    ///
    /// # Errors
    /// See [`OutboundError`]. What fails before any of the body is sent is known as such, whatever it is.
    pub async fn send_directly(&self, request: Request, most: usize) -> Result<Response, OutboundError> {
        let inner = &*self.inner;
        let deadline = request.deadline.min(Instant::now() + inner.options.max_time);
        let target = target_of(&request.url)?;
        let is_sent = Arc::new(AtomicBool::new(request.body.is_empty()));
        let call = async {
            let client = inner.client_for(&request, target, inner.fresh(target)?).await?;
            let mut out = to_reqwest(&request, None);
            if !request.body.is_empty() {
                *out.body_mut() = Some(reqwest::Body::wrap(Telling {
                    body: request.body.clone(),
                    is_sent: Arc::clone(&is_sent),
                }));
            }
            let answer = client.execute(out).await.map_err(|error| failure(target, &error))?;
            read_some(target, answer, most.saturating_add(1)).await
        };
        let answer = timeout_at(deadline, call).await;
        let answer = answer.unwrap_or_else(|_| Err(OutboundError::TimedOut(target.to_string())));
        answer.map_err(|error| match error {
            error if is_sent.load(Ordering::Relaxed) => error,
            OutboundError::TimedOut(target) => OutboundError::ConnectTimedOut(target),
            OutboundError::Failed { target, reason } => OutboundError::Unreached { target, reason },
            error => error,
        })
    }
}

/// Reads so many bytes at most.
async fn read_some(target: Target<'_>, mut answer: reqwest::Response, most: usize) -> Result<Response, OutboundError> {
    let status = answer.status();
    let headers = std::mem::take(answer.headers_mut());
    let mut body = Vec::new();
    while body.len() < most
        && let Some(mut chunk) = answer.chunk().await.map_err(|error| failure(target, &error))?
    {
        chunk.truncate(most - body.len());
        body.extend_from_slice(&chunk);
    }
    Ok(Response::new(status, headers, body.into()))
}

/// A body that tells when a connection takes it: not before there is one.
struct Telling {
    body: Bytes,
    is_sent: Arc<AtomicBool>,
}

impl Body for Telling {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.is_sent.store(true, Ordering::Relaxed);
        let body = std::mem::take(&mut self.body);
        Poll::Ready((!body.is_empty()).then(|| Ok(Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.len() as u64)
    }
}
