//! Paths of the hooks listener that are no webhooks: where hooks and API share one address.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

/// An answer in the making.
pub type BesideAnswer = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

/// Where a request came from: an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Answers what is no webhook.
pub trait Beside: Send + Sync + fmt::Debug {
    /// Whether this path is its own.
    fn takes(&self, path: &str) -> bool;

    /// Answers one request. Never blocks the thread.
    fn answer(&self, request: Request<Bytes>) -> BesideAnswer;
}
