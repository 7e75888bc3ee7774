//! The daemon under a service manager: readiness, watchdog, stopping, credentials, passed sockets.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use harness::daemon::{Daemon, Setup};
use harness::manifests::{Integration, code, flow, people, post};
use harness::provider::{Manner, Provider};
use harness::{PATIENCE, within};
use http::Method;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SIGABRT: i32 = 6;

/// The service manager's side of the notification socket.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { folder, socket }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("the daemon said nothing more");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Waits for a message with this line.
    fn until(&self, line: &str) {
        while !self.next().lines().any(|said| said == line) {}
    }

    /// What has arrived and was not read.
    fn rest(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        let rest = std::iter::from_fn(|| {
            self.socket
                .recv(&mut buffer)
                .ok()
                .map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
        });
        let rest = rest.collect();
        self.socket.set_nonblocking(false).unwrap();
        rest
    }
}

/// One user whose flow runs code and posts to the provider; the flow's URL.
async fn populate(daemon: &Daemon, provider: &Provider) -> String {
    let work = code("Work", "module.exports = async () => ({ data: 1 });");
    let files = Integration {
        name: "Files",
        endpoint_type: "flow_specific",
        is_user_level: true,
        keys: "",
        flows: flow("Store", "", &[work, post("Send", "/one", "work.results")]),
    };
    let manifests = [
        people(&[("globex", &["jane"])]),
        files.manifest(),
        files.instance("globex", &provider.url(""), ""),
        files.user("globex", "jane"),
    ];
    daemon.apply(&manifests.concat()).await;
    daemon.endpoints("").await.swap_remove(0).url
}

/// Waits until so many executions have succeeded.
async fn until_succeeded(daemon: &Daemon, executions: usize) {
    let all_ended = async {
        let mut look = tokio::time::interval(Duration::from_millis(50));
        loop {
            let list = daemon.local(Method::GET, "/executions?status=succeeded", None).await.unwrap();
            if list["executions"].as_array().unwrap().len() == executions {
                return;
            }
            look.tick().await;
        }
    };
    within("the end of every execution", all_ended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_arbiter_starves_the_watchdog_aborts_and_the_next_start_ends_what_was_accepted() {
    let manager = Manager::new();
    std::fs::write(manager.path("master-key"), [7; 32]).unwrap();
    let provider = Provider::start().await;
    let setup = Setup::new()
        .allow(&[provider.address()])
        .env("NOTIFY_SOCKET", manager.path("notify"))
        .env("WATCHDOG_USEC", "300000")
        .env("CREDENTIALS_DIRECTORY", manager.path(""))
        // The one that is frozen has every execution.
        .set("execution.owner-arbiters", 1)
        .set("supervision.pulse", "200ms")
        .set("supervision.silence-degraded", "2s")
        .set("supervision.silence-abort", "4s");
    let mut daemon = Daemon::launch(setup);
    assert!(manager.next().lines().any(|line| line == "READY=1"), "READY comes first");
    assert_eq!(daemon.admin("/readyz").await.status, 200);
    assert!(!daemon.data().join("master-key").exists(), "the key is the credential");
    manager.until("WATCHDOG=1");

    let url = populate(&daemon, &provider).await;
    provider.set(Manner::Hang);
    assert_eq!(daemon.post(&url, &[], "{}").await.status, 200);
    provider.until(1).await;
    daemon.switch("freeze-owner", true).await;
    for _ in 0..3 {
        assert_eq!(daemon.post(&url, &[], "{}").await.status, 200, "the front and the journal go on");
    }
    let degraded = async {
        let mut look = tokio::time::interval(Duration::from_millis(50));
        while daemon.admin("/readyz").await.status != 503 {
            look.tick().await;
            // Whoever feeds waits where nobody takes it.
            manager.rest();
        }
    };
    within("the end of readiness", degraded).await;
    daemon.log_line(&["watchdog is not fed"]);
    manager.rest();
    assert_eq!(daemon.until_ended().signal(), Some(SIGABRT), "{}", daemon.log());
    daemon.log_line(&["a thread is frozen: ending the process", "owner-0"]);
    assert_eq!(manager.rest(), Vec::<String>::new(), "a frozen daemon must not feed the watchdog");

    provider.set(Manner::Answer);
    // History is made again from the journal, and the manager is to wait for that however long it takes.
    for file in std::fs::read_dir(daemon.data().join("history")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    daemon.restart();
    let first = manager.next();
    assert!(first.lines().any(|line| line == "EXTEND_TIMEOUT_USEC=900000000"), "{first}");
    manager.until("READY=1");
    // One request hung when the daemon died and is repeated.
    let records = provider.until(5).await;
    assert_eq!(records.iter().filter(|record| record.key == records[0].key).count(), 2);
    until_succeeded(&daemon, 4).await;
    manager.rest();
    assert!(daemon.terminate().success());
    assert!(manager.rest().concat().lines().any(|line| line == "STOPPING=1"));
}

/// Whatever it is that they do not do any more: nobody would notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_a_supervisor_or_a_thread_behind_the_journal_ends_the_daemon_and_the_next_start_ends_what_was_accepted() {
    let provider = Provider::start().await;
    let mut daemon = Daemon::start(Setup::new().allow(&[provider.address()]));
    let url = populate(&daemon, &provider).await;
    provider.set(Manner::Hang);
    for _ in 0..3 {
        assert_eq!(daemon.post(&url, &[], "{}").await.status, 200);
    }
    provider.until(1).await;
    let armed = daemon.local(Method::POST, "/faults/panic:state-stored:1", None).await;
    armed.unwrap();
    provider.set(Manner::Answer);
    until_aborted(&mut daemon).await;

    // The journal's keeper, with the first segment that it prepares.
    daemon.relaunch(Some("panic:segment-named:1"));
    until_aborted(&mut daemon).await;

    daemon.restart();
    // It may end before it has answered.
    let _ = daemon.local(Method::POST, "/faults/fail-supervisor", None).await;
    until_aborted(&mut daemon).await;

    daemon.restart();
    until_succeeded(&daemon, 3).await;
}

/// Waits until it has ended itself.
async fn until_aborted(daemon: &mut Daemon) {
    let ended = async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while !daemon.has_ended() {
            look.tick().await;
        }
    };
    within("the end of the daemon", ended).await;
    assert_eq!(daemon.until_ended().signal(), Some(SIGABRT), "{}", daemon.log());
}

/// Counts what callers met.
#[derive(Debug, Default)]
struct Met {
    accepted: AtomicU64,
    unavailable: AtomicU64,
    closed: AtomicU64,
    is_over: AtomicBool,
}

/// Posts over a fresh connection each time. A connection that is refused is a failure.
async fn call(address: SocketAddr, path: String, met: Arc<Met>) {
    let request = format!("POST {path} HTTP/1.1\r\nhost: hooks\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}");
    while !met.is_over.load(Ordering::Relaxed) {
        let mut stream = match TcpStream::connect(address).await {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => panic!("a connection was refused"),
            stream => stream.unwrap(),
        };
        let mut answer = Vec::new();
        let talked = async {
            stream.write_all(request.as_bytes()).await?;
            stream.read_to_end(&mut answer).await
        };
        let _ = talked.await;
        let counter = match String::from_utf8_lossy(&answer).split(' ').nth(1) {
            Some("200") => &met.accepted,
            Some("503") => &met.unavailable,
            None => &met.closed,
            Some(status) => panic!("status {status}"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_on_passed_sockets_refuse_no_connection_under_load() {
    let provider = Provider::start().await;
    let sockets = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let address = sockets[0].local_addr().unwrap();
    let setup = Setup::new().allow(&[provider.address()]);
    let mut daemon = Daemon::start(sockets.iter().fold(setup, |setup, socket| setup.pass(socket.try_clone().unwrap())));
    assert_eq!(daemon.address("hooks"), address);
    assert_eq!(daemon.address("admin"), sockets[2].local_addr().unwrap());
    let url = populate(&daemon, &provider).await;
    let path = url[url.find("/trigger/").unwrap()..].to_owned();

    let met = Arc::new(Met::default());
    let callers: Vec<_> = (0..4).map(|_| tokio::spawn(call(address, path.clone(), met.clone()))).collect();
    let mut requests = provider.records().len();
    for restart in 0..3 {
        requests = provider.until(requests + 20).await.len();
        if restart == 2 {
            daemon.kill();
        } else {
            assert!(daemon.terminate().success());
        }
        daemon.restart();
    }
    provider.until(requests + 20).await;
    met.is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        within("the end of a caller", caller).await.unwrap();
    }
    println!("{met:?}");
    let accepted = met.accepted.load(Ordering::Relaxed);
    // Eighty requests reached the provider; a kill leaves a few without an answer, or repeats them.
    assert!(accepted >= 60, "{met:?}");
    // Only a kill cuts a connection, and each of the four callers has one.
    assert!(met.closed.load(Ordering::Relaxed) <= 4, "{met:?}");
}
