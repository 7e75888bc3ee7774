//! Requests of which it is known when a connection has taken them.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use tokio::sync::watch;

/// Goes with a request, and is dropped when a connection has taken all of it, or none will.
pub(crate) type Unsent = watch::Receiver<()>;

/// A body that holds it: a connection drops each body that it has taken, an empty one, too.
pub(super) fn body(bytes: Bytes, unsent: Unsent) -> reqwest::Body {
    let holds = move |never: Infallible| {
        let _ = &unsent;
        never
    };
    reqwest::Body::wrap(Full::new(bytes).map_err(holds))
}
