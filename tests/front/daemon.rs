//! The real daemon on a fresh directory, and its local socket.

use super::http::{Answer, PATIENCE, Request, request};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    process: Child,
    pub(crate) hooks: SocketAddr,
    log: Arc<Log>,
    folder: Arc<tempfile::TempDir>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Log {
    /// Waits for a line that holds all of `words`.
    fn wait(&self, words: &[&str]) -> String {
        let wanted = |line: &&String| words.iter().all(|word| line.contains(word));
        let lines = self.lines.lock().unwrap();
        let (lines, _) = self
            .changed
            .wait_timeout_while(lines, PATIENCE, |(lines, ended)| !*ended && !lines.iter().any(|line| wanted(&line)))
            .unwrap();
        let found = lines.0.iter().find(wanted).cloned();
        found.unwrap_or_else(|| panic!("no log line with {words:?} in:\n{}", lines.0.join("\n")))
    }
}

impl Daemon {
    /// Starts one with this configuration besides its directory and its listeners.
    pub(crate) fn start(config: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let path = folder.path().join("perseat.toml");
        let fixed = format!(
            "data.dir = \"{}\"\nlog.format = \"json\"\nlog.level = \"debug,hyper=info,h2=info\"\n",
            folder.path().join("data").display()
        );
        let listen = "hooks.listen = \"127.0.0.1:0\"\napi.listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\ncode.children = 1\ncode.spares = 1\n";
        std::fs::write(path, [&fixed, listen, config].concat()).unwrap();
        Self::run(folder)
    }

    fn run(folder: Arc<tempfile::TempDir>) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_perseat"))
            .args(["serve", "--config"])
            .arg(folder.path().join("perseat.toml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::<Log>::default();
        follow(&log, process.stdout.take().unwrap());
        follow(&log, process.stderr.take().unwrap());
        log.wait(&["\"ready\""]);
        let address = |name: &str| {
            let line: Value = serde_json::from_str(&log.wait(&["\"listening\"", &format!("\"{name}\"")])).unwrap();
            let address = line["address"].as_str().or_else(|| line["fields"]["address"].as_str()).unwrap();
            address.parse().unwrap()
        };
        let hooks = address("hooks");
        Self {
            process,
            hooks,
            log,
            folder,
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn log(&self) -> String {
        self.log.lines.lock().unwrap().0.join("\n")
    }

    /// The first log line with all of these words, once it is there.
    #[track_caller]
    pub(crate) fn log_line(&self, words: &[&str]) -> String {
        self.log.wait(words)
    }

    /// Kills it as a power cut would and starts it again on the same directory; its address changes.
    pub(crate) fn kill_and_restart(mut self) -> Self {
        let folder = self.folder.clone();
        self.end();
        drop(self);
        Self::run(folder)
    }

    /// Kills it and leaves its directory to be looked into.
    pub(crate) fn kill(mut self) -> Arc<tempfile::TempDir> {
        self.end();
        self.folder.clone()
    }

    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Sends a request to the hooks listener.
    pub(crate) fn call(&self, request: &Request) -> Answer {
        let stream = TcpStream::connect(self.hooks).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        request.send(stream)
    }

    /// Sends a request to the local socket.
    pub(crate) fn local(&self, request: &Request) -> Answer {
        let stream = UnixStream::connect(self.data().join("perseat.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        request.send(stream)
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

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

fn follow(log: &Arc<Log>, output: impl std::io::Read + Send + 'static) {
    let log = log.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            log.lines.lock().unwrap().0.push(line);
            log.changed.notify_all();
        }
        log.lines.lock().unwrap().1 = true;
        log.changed.notify_all();
    });
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
