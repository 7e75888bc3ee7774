//! The only way out: an HTTP client that refuses addresses by policy.
//!
//! A URL comes from a definition, a customer or a third party's redirect, so it may point inwards. The policy is
//! checked on address literals, on every resolved address (the checked address is the one dialled) and on every
//! redirect; no proxy is used, because then the policy would be the proxy's. Credentials are dropped when a redirect
//! changes the host. Every answer is capped in bytes (after decompression), time and redirects, and all together in the bytes that
//! are held at a time ([`AnswerMemory`]).
//!
//! What steps send waits for its turn at the [`Governor`], by the host that is called first, and so do requests for tokens.

mod answers;
mod client;
mod governor;
mod headers;
mod identity;
mod meter;
mod policy;
mod resolve;

pub use answers::AnswerMemory;
pub(crate) use answers::Room;
pub use client::{OutboundClient, Turn};
pub(crate) use client::{Unsent, is_of_the_connection};
pub use governor::{Caller, Governor, GovernorOptions, Keeper, Pass, TokenCaller};
pub(crate) use governor::{connection_of, retry_after, wall};
pub(crate) use headers::headers;
pub use identity::{ClientIdentity, IdentityError};
pub use meter::{Count, Meter};
pub use policy::{Policy, Rule, RuleError};
pub use resolve::{Looking, Names, SystemNames};

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Limits of outbound calls.
#[derive(Clone, Debug)]
pub struct Options {
    /// The largest answer, decompressed.
    pub max_response: usize,
    /// Bytes of answers held at a time; of one sender half as many.
    pub answer_memory: usize,
    /// The most headers that a step sets in one request.
    pub max_headers: usize,
    /// The longest time to set up a connection.
    pub connect_timeout: Duration,
    /// The longest call, redirects included.
    pub max_time: Duration,
    /// The most redirects of one call.
    pub max_redirects: u32,
    /// The most name look-ups at once; of the names of one zone half of them, at least one.
    pub max_lookups: usize,
    /// The longest look-up, from its turn on.
    pub lookup_timeout: Duration,
    /// How long an answer of a look-up is used.
    pub dns_cache: Duration,
    /// The most names that are remembered.
    pub dns_cache_names: usize,
    /// Idle connections kept to one host.
    pub idle_per_host: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// The most client certificates whose clients are kept.
    pub client_certificates: usize,
    /// The `User-Agent` of calls that set none.
    pub user_agent: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_response: 64 << 20,
            answer_memory: 256 << 20,
            max_headers: 256,
            connect_timeout: Duration::from_secs(10),
            max_time: Duration::from_secs(300),
            max_redirects: 5,
            max_lookups: 32,
            lookup_timeout: Duration::from_secs(10),
            dns_cache: Duration::from_secs(30),
            dns_cache_names: 4096,
            idle_per_host: 64,
            idle_timeout: Duration::from_secs(4),
            client_certificates: 64,
            user_agent: concat!("perseat/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// One call.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: ::http::Method,
    /// The address.
    pub url: url::Url,
    /// Headers; those marked sensitive are credentials and do not follow a redirect to another host.
    pub headers: ::http::HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The client certificate to show; like other credentials it does not follow a redirect to another host.
    pub identity: Option<Arc<ClientIdentity>>,
    /// When it is given up.
    pub deadline: Instant,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: ::http::StatusCode,
    /// The headers.
    pub headers: ::http::HeaderMap,
    /// The body, decompressed.
    pub body: Bytes,
    /// Whether the credentials were left behind on the way: it says nothing of them.
    pub(crate) is_bare: bool,
    /// What it holds of the memory for answers, until the last clone is dropped.
    room: Option<Arc<Room>>,
}

impl Response {
    /// One that holds nothing of the memory for answers.
    pub(crate) fn new(status: ::http::StatusCode, headers: ::http::HeaderMap, body: Bytes) -> Self {
        Self {
            status,
            headers,
            body,
            is_bare: false,
            room: None,
        }
    }

    /// What it holds of the memory for answers, for whoever keeps its body in another form.
    pub(crate) fn room(&self) -> Option<Arc<Room>> {
        self.room.clone()
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The query may hold a credential; headers may too.
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Not an address of HTTP.
    #[error("`{0}` is not an http or https address")]
    NotHttp(String),
    /// The policy refused it.
    #[error("calls to {target} are refused: {reason}; `{key}` decides")]
    Refused {
        /// Host and port.
        target: String,
        /// What is wrong with it.
        reason: String,
        /// The configuration key to change.
        key: &'static str,
    },
    /// No connection: nothing was sent.
    #[error("the call to {target} failed: {reason}")]
    Unreached {
        /// Host and port.
        target: String,
        /// What happened, without the URL.
        reason: String,
    },
    /// A broken connection: what was sent may have arrived.
    #[error("the call to {target} failed: {reason}")]
    Failed {
        /// Host and port.
        target: String,
        /// What happened, without the URL.
        reason: String,
    },
    /// The client certificate cannot be shown: nothing was sent.
    #[error("the call to {target} was not made: {reason}")]
    Uncertified {
        /// Host and port.
        target: String,
        /// Why.
        reason: String,
    },
    /// No connection in time: nothing was sent.
    #[error("the call to {0} found no connection in time")]
    ConnectTimedOut(String),
    /// Too slow.
    #[error("the call to {0} took too long")]
    TimedOut(String),
    /// A limit of [`Options`].
    #[error("the answer of {target} is larger than {limit} bytes (`outbound.max-response`)")]
    TooLarge {
        /// Host and port.
        target: String,
        /// The limit.
        limit: usize,
        /// The answer's status, where the credentials came with the request.
        status: Option<::http::StatusCode>,
    },
    /// A limit of [`Options`], of all answers together. What was sent has arrived.
    #[error("there is no room for the answer of {target} while others are held (`outbound.answer-memory`)")]
    NoRoom {
        /// Host and port.
        target: String,
        /// The answer's status, where the credentials came with the request.
        status: Option<::http::StatusCode>,
    },
    /// The provider's limits keep it back.
    #[error("the call to {target} was not made: {reason}")]
    Held {
        /// Host and port.
        target: String,
        /// Which limit, and for how long.
        reason: String,
        /// In how long it may be made, where that is known.
        wait: Option<Duration>,
    },
    /// A limit of [`Options`].
    #[error("{0} redirects too often (`outbound.redirects`)")]
    TooManyRedirects(String),
}

impl OutboundError {
    /// The status of an answer whose body was not read whole, where the credentials came with the request.
    pub(crate) fn status(&self) -> Option<::http::StatusCode> {
        match self {
            Self::TooLarge { status, .. } | Self::NoRoom { status, .. } => *status,
            _ => None,
        }
    }
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the outbound client cannot be set up")]
pub struct SetupError(#[source] reqwest::Error);
