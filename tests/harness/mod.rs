//! A real daemon, a pretend provider and manifests, for the tests that look at Perseat from outside.
//!
//! Nothing here waits by sleeping: the daemon's log, the provider's records and the exit of a process are waited for.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub(crate) mod api;
pub(crate) mod browser;
pub(crate) mod daemon;
pub(crate) mod gate;
pub(crate) mod manifests;
pub(crate) mod node;
pub(crate) mod oauth;
pub(crate) mod post_office;
pub(crate) mod processes;
pub(crate) mod provider;
pub(crate) mod python;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// After so long a test gives up on what it waits for; never what it measures.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of a client in `tests/clients`.
pub(crate) fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// The result of `awaited`, or a failure that names what never came.
pub(crate) async fn within<T>(what: &str, awaited: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, awaited).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}
