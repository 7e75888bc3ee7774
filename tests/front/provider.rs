//! The harness's provider for tests without a runtime of their own, which answers as its paths say.
//!
//! `/echo…` answers at once, `/hang…` only after [`Provider::release`], `/flaky/N…` fails N times and then answers,
//! `/closing/N…` closes its connection N times and then answers, `/fail…` always fails.

use crate::harness::provider::{Manner, Provider as Server, Record};
use http::StatusCode;
use std::net::SocketAddr;
use tokio::runtime::{Builder, Runtime};

/// The third party.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    server: Server,
    runtime: Runtime,
}

impl Provider {
    pub(crate) fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(Server::start());
        server.set_at("/hang", Manner::Hang);
        server.set_at("/flaky/2", Manner::FailFirst(2));
        server.set_at("/closing/2", Manner::CloseFirst(2));
        server.set_at("/fail", Manner::Refuse(StatusCode::INTERNAL_SERVER_ERROR));
        Self {
            address: server.address(),
            server,
            runtime,
        }
    }

    /// Lets every hanging request end, and those that come.
    pub(crate) fn release(&self) {
        self.server.set_at("/hang", Manner::Answer);
    }

    /// Every request whose path starts so.
    pub(crate) fn seen(&self, path: &str) -> Vec<Record> {
        self.server.records_at(path)
    }

    /// Waits until so many requests to such a path came, and returns them.
    pub(crate) fn wait_for(&self, path: &str, count: usize) -> Vec<Record> {
        self.runtime.block_on(self.server.until_at(path, count))
    }
}
