//! The daemon as a child process: its own directory, its own ports, its log collected.

use std::io::{BufRead as _, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use http::Method;
use perseat::boot::administration::ApplyBody;
use perseat::cli::client::{ClientError, call};
use perseat_admin::apply::ApplyOptions;
use perseat_admin::endpoints::{Endpoint, Endpoints};
use perseat_admin::manifest::read_text;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, within};

/// What a daemon is started with.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    settings: Vec<(String, toml::Value)>,
    environment: Vec<(String, String)>,
    sockets: Vec<TcpListener>,
    program: Option<PathBuf>,
}

impl Setup {
    /// All listeners on free ports of this machine. The budget makes segments of 16 MiB: those of 64 MiB that are filled ahead
    /// keep the disk busy where daemons start by the hundred.
    pub(crate) fn new() -> Self {
        ["hooks.listen", "api.listen", "admin.listen"]
            .into_iter()
            .fold(Self::default(), |setup, key| setup.set(key, "127.0.0.1:0"))
            .set("retention.budget", "512MiB")
    }

    /// Sets a key of the configuration.
    pub(crate) fn set(mut self, key: &str, value: impl Into<toml::Value>) -> Self {
        self.settings.push((key.to_owned(), value.into()));
        self
    }

    /// Sets keys that are given as a configuration file has them.
    pub(crate) fn with(self, toml: &str) -> Self {
        fn flat(table: &toml::Table, before: &str, setup: Setup) -> Setup {
            table.iter().fold(setup, |setup, (key, value)| match value {
                toml::Value::Table(table) => flat(table, &format!("{before}{key}."), setup),
                value => setup.set(&format!("{before}{key}"), value.clone()),
            })
        }
        flat(&toml.parse().unwrap(), "", self)
    }

    /// Lets flows reach `addresses`, which are not public.
    pub(crate) fn allow(self, addresses: &[SocketAddr]) -> Self {
        let rules: Vec<toml::Value> = addresses.iter().map(|address| address.to_string().into()).collect();
        self.set("outbound.allow", rules)
    }

    /// Starts the daemon from another place than where it was built.
    pub(crate) fn program(mut self, path: &Path) -> Self {
        self.program = Some(path.to_owned());
        self
    }

    /// Sets an environment variable of the daemon.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Passes a listening socket as a service manager does; the first is for hooks, then API, then admin.
    pub(crate) fn pass(mut self, socket: TcpListener) -> Self {
        self.sockets.push(socket);
        self
    }

    /// The configuration file; a key that was set twice has its last value.
    fn file(&self, data: &Path) -> String {
        let mut table = toml::Table::new();
        table.insert("data.dir".to_owned(), data.display().to_string().into());
        for (key, value) in &self.settings {
            table.insert(key.clone(), value.clone());
        }
        table.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }
}

/// A running daemon. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    setup: Setup,
    folder: TempDir,
    child: Child,
    log: Log,
    client: reqwest::Client,
}

/// An answer to a request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: bytes::Bytes,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Daemon {
    /// Starts a daemon on a fresh directory and waits until it says that it is ready.
    pub(crate) fn start(setup: Setup) -> Self {
        let daemon = Self::launch(setup);
        daemon.until_ready();
        daemon
    }

    /// Starts a daemon on a fresh directory and does not wait.
    pub(crate) fn launch(setup: Setup) -> Self {
        Self::launch_on(setup, |_| {})
    }

    /// Starts a daemon on a data directory that `prepare` makes, and does not wait.
    pub(crate) fn launch_on(setup: Setup, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::Builder::new().prefix("perseat-test-").tempdir().unwrap();
        prepare(&folder.path().join("data"));
        let (child, log) = spawn(&setup, folder.path(), None);
        // Shorter than the daemon keeps a silent connection, also one that was opened and never used (`front.header-timeout`): none is closed
        // as it is taken.
        let client = reqwest::Client::builder().no_proxy().pool_idle_timeout(Duration::from_secs(5));
        let client = client.build().unwrap();
        Self {
            setup,
            folder,
            child,
            log,
            client,
        }
    }

    /// Waits for the log line that says so.
    pub(crate) fn until_ready(&self) {
        self.log.wait("ready");
    }

    /// Kills it with SIGKILL and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.reap();
    }

    /// Sends SIGTERM and waits for its end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.reap()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end without a cause of the test's.
    pub(crate) fn until_ended(&mut self) -> ExitStatus {
        self.reap()
    }

    /// Waits for its end, and for its last words.
    fn reap(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        self.log.until_over();
        status
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Starts it again on the same directory, after [`Daemon::kill`] or [`Daemon::terminate`], and waits until it is ready.
    pub(crate) fn restart(&mut self) {
        self.relaunch(None);
        self.until_ready();
    }

    /// The same with keys of its configuration set, from now on.
    pub(crate) fn restart_with(&mut self, keys: &[(&str, &str)]) {
        for (key, value) in keys {
            self.setup.settings.push(((*key).to_owned(), (*value).into()));
        }
        self.restart();
    }

    /// Starts it again with these test switches on from the start, and does not wait.
    pub(crate) fn relaunch(&mut self, faults: Option<&str>) {
        (self.child, self.log) = spawn(&self.setup, self.folder.path(), faults);
    }

    /// Starts it again with an argument more, and does not wait.
    pub(crate) fn relaunch_with(&mut self, argument: &str) {
        (self.child, self.log) = spawn_with(&self.setup, self.folder.path(), None, &[argument]);
    }

    /// Waits until it is ready (true) or has ended before it was.
    pub(crate) fn until_ready_or_ended(&mut self) -> bool {
        let is_ready = self.log.line_before_end(|line| said(line)["message"] == "ready").is_some();
        if !is_ready {
            self.reap();
        }
        is_ready
    }

    /// Waits for a log line.
    pub(crate) fn until_said(&self, message: &str) {
        self.log.wait(message);
    }

    /// Whether it has ended by now.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has killed itself at a point.
    pub(crate) async fn until_killed(&mut self, point: &str) {
        let killed = async {
            let mut look = tokio::time::interval(Duration::from_millis(2));
            loop {
                look.tick().await;
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
            }
        };
        let status = within(&format!("the kill at {point}"), killed).await;
        self.log.until_over();
        assert_eq!(
            status.signal(),
            Some(Signal::KILL.as_raw()),
            "it ended otherwise than at {point}: {status}"
        );
    }

    /// Where a listener (`hooks`, `api`, `admin`) really is.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.log.address(listener)
    }

    /// The URL of `path` on the hooks listener. A whole URL gets this daemon's present address.
    pub(crate) fn hook(&self, path: &str) -> String {
        let path = path.find("/trigger/").map_or(path, |at| &path[at..]);
        format!("http://{}{path}", self.address("hooks"))
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder that holds its configuration and its data.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The first log line since its last start that holds all of `words`, once it is there.
    pub(crate) fn log_line(&self, words: &[&str]) -> String {
        self.log
            .line(&format!("{words:?}"), |line| words.iter().all(|word| line.contains(word)))
    }

    /// What it has logged since its last start.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Posts to a trigger, as [`Daemon::hook`] reads it.
    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Answer {
        self.send(Method::POST, &self.hook(path), headers, body).await
    }

    /// Sends any request.
    pub(crate) async fn send(&self, method: Method, url: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Answer {
        let mut request = self.client.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap(),
        }
    }

    /// Gets a page of the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.address("admin"));
        self.send(Method::GET, &url, &[], "").await
    }

    /// The sum of a metric over its labels; 0 if it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let page = self.admin("/metrics").await.body;
        let page = String::from_utf8(page.to_vec()).unwrap();
        let of_this = page
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        of_this.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Calls the local socket.
    pub(crate) async fn local(&self, method: Method, target: &str, body: Option<Value>) -> Result<Value, ClientError> {
        call(&self.data().join("perseat.sock"), method, target, body).await
    }

    /// Applies manifests and returns the plan. `valueFrom: {env: …}` is looked up in this process.
    pub(crate) async fn apply(&self, manifests: &str) -> Value {
        let read = read_text(manifests, Path::new("manifests.yml"), &|name| std::env::var(name).ok());
        let manifests = read.unwrap_or_else(|problems| panic!("{problems:#?}"));
        let body = ApplyBody {
            manifests,
            options: ApplyOptions::default(),
        };
        let applied = self.local(Method::POST, "/apply", Some(json!(body))).await;
        applied.unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// Trigger URLs, one for each customer, user and flow that has its own; `query` filters (`user=jane&…`).
    pub(crate) async fn endpoints(&self, query: &str) -> Vec<Endpoint> {
        let list = self.local(Method::GET, &format!("/endpoints?{query}"), None).await.unwrap();
        serde_json::from_value::<Endpoints>(list).unwrap().endpoints
    }

    /// Lets it kill itself at a point; it may be gone before it answers.
    pub(crate) async fn arm(&self, point: &str, times: u64) {
        let target = format!("/faults/kill:{point}:{times}");
        if let Err(error @ ClientError::Refused { .. }) = within(point, self.local(Method::POST, &target, None)).await {
            panic!("{error}");
        }
    }

    /// Flips a test switch.
    pub(crate) async fn switch(&self, name: &str, is_on: bool) {
        let target = format!("/faults/{name}?{}", if is_on { "on" } else { "off" });
        within(name, self.local(Method::POST, &target, None)).await.unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let ended = self.child.try_wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.log.until_over();
            eprintln!("the daemon's end before the test's: {ended:?}; its log:\n{}", self.log.text());
        }
    }
}

fn spawn(setup: &Setup, folder: &Path, faults: Option<&str>) -> (Child, Log) {
    spawn_with(setup, folder, faults, &[])
}

fn spawn_with(setup: &Setup, folder: &Path, faults: Option<&str>, arguments: &[&str]) -> (Child, Log) {
    let file = folder.join("perseat.toml");
    std::fs::write(&file, setup.file(&folder.join("data"))).unwrap();
    let binary = setup.program.as_deref().unwrap_or(Path::new(env!("CARGO_BIN_EXE_perseat")));
    // Kept until the child has them.
    let (inherited, script) = inheritable(&setup.sockets);
    let mut command = if inherited.is_empty() {
        Command::new(binary)
    } else {
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).arg(binary);
        shell
    };
    command
        .args(["serve", "--config"])
        .arg(&file)
        .args(arguments)
        .env("PERSEAT_LOG__FORMAT", "json")
        .envs(setup.environment.iter().map(|(name, value)| (name, value)))
        .envs(faults.map(|faults| ("FAULTS", faults)))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let log = Log::default();
    log.collect(child.stdout.take().unwrap());
    log.collect(child.stderr.take().unwrap());
    (child, log)
}

/// Copies of `sockets` that a child inherits, and the shell line that puts them where a service manager would.
fn inheritable(sockets: &[TcpListener]) -> (Vec<OwnedFd>, String) {
    let copy = |socket| {
        let copy = rustix::io::fcntl_dupfd_cloexec(socket, 100).unwrap();
        rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty()).unwrap();
        copy
    };
    let copies: Vec<OwnedFd> = sockets.iter().map(copy).collect();
    let moves = copies
        .iter()
        .enumerate()
        .map(|(index, copy)| format!("{}<&{1} {1}<&- ", index + 3, copy.as_raw_fd()));
    let script = format!(
        "exec {}\nLISTEN_PID=$$ LISTEN_FDS={} exec \"$0\" \"$@\"",
        moves.collect::<String>(),
        sockets.len()
    );
    (copies, script)
}

/// The log lines of one process.
#[derive(Clone, Debug, Default)]
struct Log {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    /// How many outputs of the process are not read to their end.
    open: usize,
}

impl Log {
    fn collect(&self, from: impl Read + Send + 'static) {
        let shared = self.shared.clone();
        shared.0.lock().unwrap().open += 1;
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                shared.0.lock().unwrap().lines.push(line);
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().open -= 1;
            shared.1.notify_all();
        });
    }

    /// Waits for the last lines of a process that has ended: they are read from its pipes a little later.
    fn until_over(&self) {
        let lines = self.shared.0.lock().unwrap();
        let goes_on = |lines: &mut Lines| lines.open > 0;
        drop(self.shared.1.wait_timeout_while(lines, PATIENCE, goes_on).unwrap());
    }

    fn text(&self) -> String {
        self.shared.0.lock().unwrap().lines.join("\n")
    }

    /// Waits for a line with this message, unless the process ends first.
    fn wait(&self, message: &str) {
        self.line(message, |line| said(line)["message"] == message);
    }

    /// Waits for the first such line, unless the process ends first.
    fn line(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let line = self.line_before_end(is_it);
        line.unwrap_or_else(|| panic!("the daemon never said {what}:\n{}", self.text()))
    }

    /// Waits for the first such line, or for the end of the process.
    fn line_before_end(&self, is_it: impl Fn(&str) -> bool) -> Option<String> {
        let find = |lines: &Lines| lines.lines.iter().find(|line| is_it(line)).cloned();
        let lines = self.shared.0.lock().unwrap();
        let goes_on = |lines: &mut Lines| lines.open > 0 && find(lines).is_none();
        let (lines, _) = self.shared.1.wait_timeout_while(lines, PATIENCE, goes_on).unwrap();
        find(&lines)
    }

    fn address(&self, listener: &str) -> SocketAddr {
        let lines = self.shared.0.lock().unwrap();
        let lines = lines.lines.iter().map(|line| said(line));
        let mut listening = lines.filter(|fields| fields["message"] == "listening" && fields["listener"] == listener);
        let fields = listening.next().unwrap_or_else(|| panic!("no {listener} listener"));
        fields["address"].as_str().unwrap().parse().unwrap()
    }
}

fn said(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_default()
}
