//! Paths of the hooks listener that are no webhooks: where hooks and API share one address.

use super::body::BodyMemory;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Semaphore;

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

/// What those paths may take of the listener that they share.
#[derive(Clone, Copy, Debug)]
pub struct BesideLimits {
    /// The largest body.
    pub max_body: usize,
    /// Memory for bodies: what waits for its answer holds none of the webhooks'.
    pub body_memory: usize,
    /// Requests at once; more get `rate_limited`, so that the others' connections are left to webhooks.
    pub requests: usize,
}

/// Who answers beside the webhooks, and within what.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) service: Arc<dyn Beside>,
    pub(super) max_body: usize,
    pub(super) memory: BodyMemory,
    pub(super) places: Semaphore,
}

impl Neighbour {
    pub(super) fn new(service: Arc<dyn Beside>, limits: BesideLimits) -> Self {
        Self {
            service,
            max_body: limits.max_body,
            memory: BodyMemory::new(limits.body_memory),
            places: Semaphore::new(limits.requests),
        }
    }
}
