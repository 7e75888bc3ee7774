//! A daemon with one customer, one open flow and short patience, and somebody who only wants to be served.

use crate::client::{Answer, Client};
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::manifests::{Integration, flow, people, step};
use crate::memory::Memory;

/// A running daemon.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) daemon: Daemon,
    /// The path of the open flow's URL.
    pub(crate) path: String,
    /// What it holds, and may grow by, since the first request was served.
    memory: Memory,
    growth: (u64, &'static str),
}

/// The limits that these tests run into.
pub(crate) fn setup() -> Setup {
    Setup::new()
        .set("front.max-body", "256KiB")
        .set("front.body-memory", "4MiB")
        .set("front.max-header-bytes", "8KiB")
        .set("front.header-timeout", "500ms")
        .set("front.body-timeout", "500ms")
        .set("front.idle-timeout", "60s")
        .set("front.drain-timeout", "200ms")
        .set("code.children", 1)
        .set("code.spares", 1)
}

impl World {
    pub(crate) async fn start(setup: Setup) -> Self {
        Self::with(setup, Vec::new()).await
    }

    /// With further flows beside the open one.
    pub(crate) async fn with(setup: Setup, flows: Vec<String>) -> Self {
        let daemon = Daemon::start(setup);
        let note = step("Note", "log", "writeLog", "          message: {type: value, value: seen}\n");
        let all = [vec![flow("Import", OPEN, &[note])], flows].concat();
        let files = Integration {
            name: "Files",
            endpoint_type: "flow_specific",
            is_user_level: false,
            keys: "",
            flows: all.concat(),
        };
        let instance = files.instance("acme", "http://127.0.0.1:9", "");
        daemon
            .apply(&[people(&[("acme", &["jane"])]), files.manifest(), instance].concat())
            .await;
        let mut world = Self {
            memory: Memory::of(daemon.pid()),
            daemon,
            path: String::new(),
            growth: (2 * (4 << 20), "twice front.body-memory"),
        };
        world.path = world.path_of("Import").await;
        // What is there once, whoever calls, is there before.
        world.serves_others();
        world.memory = Memory::of(world.daemon.pid());
        world
    }

    /// For a test whose limit is a larger one.
    pub(crate) fn may_grow(mut self, bytes: u64, limit: &'static str) -> Self {
        self.growth = (bytes, limit);
        self
    }

    /// The path of a flow's URL.
    pub(crate) async fn path_of(&self, flow: &str) -> String {
        let endpoints = self.daemon.endpoints("").await;
        let found = endpoints.iter().find(|endpoint| endpoint.flow.as_deref() == Some(flow)).unwrap();
        found.url[found.url.find("/trigger/").unwrap()..].to_owned()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.daemon.address("hooks"))
    }

    /// The bytes of a whole request to the open flow.
    pub(crate) fn request(&self, headers: &str, body: &str) -> String {
        post(&self.path, headers, body)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut client = self.connect();
        client.write(bytes);
        client.answer()
    }

    /// Others are served, and the daemon has grown by no more than it may.
    #[track_caller]
    pub(crate) fn serves_others(&self) {
        let answer = self.send(self.request("", "{}"));
        assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
        let (bytes, limit) = self.growth;
        self.memory.grew_within(bytes, limit);
    }

    /// How many requests were accepted, but for the first.
    pub(crate) async fn accepted(&self) -> f64 {
        self.daemon.metric("perseat_front_accepted_total").await - 1.0
    }
}

pub(crate) const OPEN: &str = "    endpointSecurityType: unsecured\n";

pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
