//! The harness's daemon for tests without a runtime of their own, spoken to by raw requests.

use super::http::{Answer, PATIENCE, Request, request};
use crate::harness::daemon::{Daemon as Process, Setup};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    pub(crate) process: Process,
    pub(crate) hooks: SocketAddr,
}

impl Daemon {
    /// Starts one with this configuration besides its directory and its listeners.
    pub(crate) fn start(config: &str) -> Self {
        let setup = Setup::new().set("code.children", 1).set("code.spares", 1);
        let process = Process::start(setup.set("log.level", "debug,hyper=info,h2=info").with(config));
        let hooks = process.address("hooks");
        Self { process, hooks }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.process.data()
    }

    /// Its configuration and its data.
    pub(crate) fn folder(&self) -> &Path {
        self.process.folder()
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// The first log line with all of these words, once it is there.
    pub(crate) fn log_line(&self, words: &[&str]) -> String {
        self.process.log_line(words)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    pub(crate) fn until_ended(&mut self) -> std::process::ExitStatus {
        self.process.until_ended()
    }

    /// Kills it as a power cut would and leaves its directory to be looked into.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same directory; its address changes.
    pub(crate) fn restart(&mut self) {
        self.process.restart();
        self.hooks = self.process.address("hooks");
    }

    /// Lets it end in good order.
    pub(crate) fn terminate(&mut self) {
        assert!(self.process.terminate().success(), "{}", self.log());
    }

    /// Kills it and starts it again on the same directory; its address changes.
    pub(crate) fn kill_and_restart(mut self) -> Self {
        self.kill();
        self.restart();
        self
    }

    /// Sends a request to the hooks listener.
    pub(crate) fn call(&self, request: &Request) -> Answer {
        let stream = TcpStream::connect(self.hooks).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        request.send(stream)
    }

    /// Gets a page of the admin listener.
    pub(crate) fn admin(&self, target: &str) -> Answer {
        let stream = TcpStream::connect(self.process.address("admin")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        request("GET", target).send(stream)
    }

    /// Waits until every owner has noted that nothing is left to do: only then is the room of what has ended given back, a little
    /// after its end can be read.
    pub(crate) fn until_nothing_lives(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let page = self.admin("/metrics").text();
            let owners = page.lines().filter(|line| line.starts_with("perseat_executions_live{"));
            let left: Vec<f64> = owners.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
            if !left.is_empty() && left.iter().sum::<f64>() == 0.0 {
                return;
            }
            assert!(Instant::now() < deadline, "something goes on living: {page}");
            std::thread::yield_now();
        }
    }

    /// Sends a request to the local socket.
    pub(crate) fn local(&self, request: &Request) -> Answer {
        let stream = UnixStream::connect(self.data().join("perseat.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        request.send(stream)
    }

    /// Flips a test switch on.
    pub(crate) fn switch(&self, name: &str) {
        self.flip(name, "on");
    }

    /// Flips a test switch off.
    pub(crate) fn switch_off(&self, name: &str) {
        self.flip(name, "off");
    }

    fn flip(&self, name: &str, to: &str) {
        let answer = self.local(&request("POST", &format!("/faults/{name}?{to}")));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Makes the catalog what these manifests say and nothing else.
    pub(crate) fn apply(&self, manifests: &str) -> Answer {
        self.send(manifests, true)
    }

    fn send(&self, manifests: &str, prune: bool) -> Answer {
        let manifests = perseat_admin::manifest::read_text(manifests, Path::new("set-up.yml"), &|_| None).unwrap();
        let options = json!({ "prune": prune, "dry_run": false });
        self.local(&request("POST", "/apply").json(&json!({ "manifests": manifests, "options": options })))
    }

    /// The same, and it must succeed.
    #[track_caller]
    pub(crate) fn set_up(&self, manifests: &str) {
        let answer = self.apply(manifests);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Applies these manifests and leaves the rest as it is.
    #[track_caller]
    pub(crate) fn add(&self, manifests: &str) {
        let answer = self.send(manifests, false);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Every trigger URL's path.
    pub(crate) fn endpoints(&self) -> Endpoints {
        let answer = self.local(&request("GET", "/endpoints"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        Endpoints(answer.json()["endpoints"].as_array().unwrap().clone())
    }

    /// What is known of an execution.
    pub(crate) fn execution(&self, id: &str) -> Value {
        let answer = self.local(&request("GET", &format!("/executions/{id}")));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// What is known of an execution once it has ended.
    pub(crate) fn ended(&self, id: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let execution = self.execution(id);
            let status = execution["status"].as_str().unwrap_or_default();
            if !matches!(status, "" | "queued" | "running") {
                return execution;
            }
            assert!(Instant::now() < deadline, "the execution does not end: {execution}");
            std::thread::yield_now();
        }
    }
}

/// The trigger URLs of a set-up.
pub(crate) struct Endpoints(Vec<Value>);

impl Endpoints {
    /// The path of the URL that serves this integration, customer, user and flow; `""` where the request names it.
    #[track_caller]
    pub(crate) fn path(&self, integration: &str, customer: &str, user: &str, flow: &str) -> String {
        let is = |endpoint: &Value, key: &str, wanted: &str| endpoint[key].as_str().unwrap_or_default() == wanted;
        let found = self.0.iter().find(|endpoint| {
            is(endpoint, "integration", integration)
                && is(endpoint, "customer", customer)
                && is(endpoint, "user", user)
                && is(endpoint, "flow", flow)
        });
        let found = found.unwrap_or_else(|| panic!("no endpoint {integration} {customer} {user} {flow} among {:#?}", self.0));
        let url = found["url"].as_str().unwrap();
        url[url.find("/trigger/").unwrap()..].to_owned()
    }
}
