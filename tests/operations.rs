//! What an operator relies on: TLS and its certificates, the end at the drain deadline, logs that hold nothing up, what a
//! reload changes at once, who may use the local socket, and what happens where code steps cannot be confined.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use harness::daemon::{Daemon, Setup};
use harness::gate::Gate;
use harness::manifests::{Integration, code, flow, people, post};
use harness::provider::{Manner, Provider};
use harness::{PATIENCE, within};
use http::Method;
use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

const CUSTOMER: &str = "globex";
const USER: &str = "jane";

/// One user whose webhook runs `steps`; gives the URL.
async fn set_up(daemon: &Daemon, provider: &Provider, steps: &[String]) -> String {
    let files = Integration {
        name: "Files",
        endpoint_type: "flow_specific",
        is_user_level: true,
        keys: "",
        flows: flow("Send", "", steps),
    };
    let people = people(&[(CUSTOMER, &[USER])]);
    let manifests = people + &files.manifest() + &files.instance(CUSTOMER, &provider.url(""), "") + &files.user(CUSTOMER, USER);
    daemon.apply(&manifests).await;
    let endpoints = daemon.endpoints(&format!("user={USER}")).await;
    endpoints[0].url.clone()
}

/// Posts an event and gives the execution.
async fn notify(daemon: &Daemon, url: &str) -> String {
    let answer = daemon.post(url, &[("content-type", "application/json")], "{}").await;
    assert_eq!(answer.status, 200);
    answer.json()["executionId"].as_str().unwrap().to_owned()
}

async fn until_succeeded(daemon: &Daemon, execution: &str) {
    within("the end of the execution", async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while daemon.local(Method::GET, &format!("/executions/{execution}"), None).await.unwrap()["status"] != "succeeded" {
            look.tick().await;
        }
    })
    .await;
}

/// A certificate for this machine that nobody else vouches for.
struct Identity {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key_pem: String,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        Self {
            certificate: made.cert.der().clone(),
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }

    fn write(&self, folder: &Path) {
        std::fs::write(folder.join("cert.pem"), &self.certificate_pem).unwrap();
        std::fs::write(folder.join("key.pem"), &self.key_pem).unwrap();
    }

    /// The first line of the answer to a request over TLS, from whoever shows this certificate.
    fn ask(&self, address: SocketAddr, path: &str) -> io::Result<String> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::from(address.ip());
        let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut stream = rustls::StreamOwned::new(connection, stream);
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

#[test]
fn a_certificate_is_swapped_on_both_listeners_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Identity::new(), Identity::new());
    first.write(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let daemon = Daemon::start(Setup::new().set("tls.cert", path("cert.pem")).set("tls.key", path("key.pem")));
    let listeners = [("hooks", "/trigger/nobody"), ("api", "/nothing")];
    let all = |identity: &Identity, other: &Identity| {
        for (listener, target) in listeners {
            let address = daemon.address(listener);
            let answer = identity.ask(address, target).unwrap();
            assert!(answer.starts_with("HTTP/1.1 4"), "{listener}: {answer}");
            assert!(other.ask(address, target).is_err(), "{listener} shows another certificate");
        }
    };
    all(&first, &second);
    second.write(folder.path());
    daemon.signal(Signal::HUP);
    daemon.until_said("certificate read again");
    all(&second, &first);
    // Certificate and key that do not fit.
    std::fs::write(folder.path().join("cert.pem"), &first.certificate_pem).unwrap();
    daemon.signal(Signal::HUP);
    daemon.log_line(&["the old certificate stays"]);
    all(&second, &first);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_still_runs_at_the_drain_deadline_is_left_and_goes_on_after_the_restart() {
    let provider = Provider::start().await;
    provider.set(Manner::Hang);
    let setup = Setup::new().allow(&[provider.address()]).set("drain.deadline", "3s");
    let mut daemon = Daemon::start(setup);
    let url = set_up(&daemon, &provider, &[post("Send", "/held", "onEvent.results.body.data")]).await;
    let execution = notify(&daemon, &url).await;
    provider.until(1).await;
    let ended = tokio::task::spawn_blocking(move || {
        let status = daemon.terminate();
        (daemon, status)
    });
    let (mut daemon, status) = within("the end at the deadline", ended).await.unwrap();
    assert!(status.success(), "{status}");
    let log = daemon.log();
    assert!(log.contains("at the drain deadline") && log.contains("stopped"), "{log}");
    assert_eq!(provider.records().len(), 1);
    provider.set(Manner::Answer);
    daemon.restart();
    until_succeeded(&daemon, &execution).await;
    let records = provider.records();
    assert_eq!(records.len(), 2, "the step that was under way is sent once more");
    assert!(!records[0].key.is_empty() && records[0].key == records[1].key, "with the same key");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_live_goes_on_before_a_start_is_past_what_can_refuse_it() {
    let provider = Provider::start().await;
    provider.set(Manner::Hang);
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    let readable_by = |mode| std::fs::set_permissions(&password, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::write(&password, "of the mail server").unwrap();
    readable_by(0o600);
    let setup = Setup::new()
        .allow(&[provider.address()])
        .set("mail.host", "127.0.0.1")
        .set("mail.from", "Perseat <perseat@acme.example>")
        .set("mail.user", "perseat")
        .set("mail.password", password.display().to_string());
    let mut daemon = Daemon::start(setup);
    let url = set_up(&daemon, &provider, &[post("Send", "/held", "onEvent.results.body.data")]).await;
    let execution = notify(&daemon, &url).await;
    provider.until(1).await;
    daemon.kill();

    // Everything is open by then.
    daemon.relaunch(Some("hold:start-through:1"));
    daemon.until_said("held");
    let known = daemon.metric("perseat_executions_live").await;
    let running = daemon.metric("perseat_executions_running").await;
    assert_eq!((known, running), (1.0, 0.0));
    // Whoever stops a start does not wait until it is through.
    let ended = daemon.terminate();
    assert!(ended.success(), "{ended}: {}", daemon.log());
    assert!(daemon.log().contains("stopped before it was ready"), "{}", daemon.log());

    readable_by(0o644);
    daemon.relaunch(None);
    assert!(!daemon.until_ready_or_ended());
    assert!(daemon.log().contains("may be read by other users"), "{}", daemon.log());
    assert_eq!(provider.records().len(), 1);

    readable_by(0o600);
    provider.set(Manner::Answer);
    daemon.restart();
    until_succeeded(&daemon, &execution).await;
    assert_eq!(provider.records().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_during_a_start_is_made_up_for_once_that_is_through() {
    let folder = tempfile::tempdir().unwrap();
    let password = Gate::new(folder.path().join("password"));
    let setup = Setup::new()
        .set("mail.host", "127.0.0.1")
        .set("mail.from", "Perseat <perseat@acme.example>")
        .set("mail.user", "perseat")
        .set("mail.password", password.path().display().to_string());
    let daemon = Daemon::launch(setup);
    let mut writer = password.reached().await;
    let file = daemon.folder().join("perseat.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, before + "log.level = \"debug\"\n").unwrap();
    daemon.signal(Signal::HUP);
    daemon.log_line(&["the daemon is starting", "read again"]);
    writer.write_all(b"of the mail server").unwrap();
    drop(writer);
    daemon.log_line(&["configuration changed", "log.level", "debug"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_takes_up_what_waits_however_long_that_takes() {
    const AT_ONCE: usize = 50;
    const TIMES: usize = 30;
    let provider = Provider::start().await;
    provider.set(Manner::Hang);
    let setup = Setup::new().allow(&[provider.address()]).set("drain.deadline", "0s");
    let mut daemon = Daemon::start(setup);
    let url = set_up(&daemon, &provider, &[post("Send", "/held", "onEvent.results.body.data")]).await;
    for _ in 0..TIMES {
        futures_util::future::join_all((0..AT_ONCE).map(|_| notify(&daemon, &url))).await;
    }
    daemon.kill();
    daemon.restart();
    assert_eq!(daemon.metric("perseat_executions_live").await, (AT_ONCE * TIMES) as f64);
}

/// Denies the calls that children confine themselves with, in this thread and in what it starts.
fn without_sandbox() {
    let denied = [libc::SYS_seccomp, libc::SYS_landlock_create_ruleset];
    let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> = denied.into_iter().map(|call| (call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(u32::try_from(libc::ENOSYS).unwrap());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into().unwrap());
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

/// Puts this build's `program` into a folder.
fn place(program: &str, folder: &Path) -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_perseat")).with_file_name(program);
    assert!(built.exists(), "{program} is missing: cargo build -p perseat-flow builds it");
    let path = folder.join(program);
    if std::fs::hard_link(&built, &path).is_err() {
        std::fs::copy(&built, &path).unwrap();
    }
    path
}

/// The program of each child of a process.
fn programs_of_children(process: u32) -> Vec<PathBuf> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let lists = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default());
    let children: Vec<String> = lists
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let links = children.iter().map(|child| std::fs::read_link(format!("/proc/{child}/exe")));
    links.filter_map(Result::ok).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn code_steps_run_in_the_small_program_of_the_daemons_build_and_else_in_the_daemons() {
    const SMALL: &str = "perseat-js-child";
    let script = "module.exports = async () => ({ data: {} });";
    // What lies beside the daemon, and which of the two runs code then.
    for (beside, runs) in [("ours", SMALL), ("none", "perseat"), ("another", "perseat")] {
        let folder = tempfile::tempdir().unwrap();
        let program = place("perseat", folder.path());
        match beside {
            "ours" => drop(place(SMALL, folder.path())),
            "another" => drop(std::fs::copy("/bin/true", folder.path().join(SMALL)).unwrap()),
            _ => {}
        }
        let provider = Provider::start().await;
        let daemon = Daemon::start(Setup::new().program(&program).allow(&[provider.address()]));
        let url = set_up(&daemon, &provider, &[code("Make", script)]).await;
        until_succeeded(&daemon, &notify(&daemon, &url).await).await;
        let programs = programs_of_children(daemon.pid());
        assert!(!programs.is_empty());
        assert!(programs.iter().all(|program| program.ends_with(runs)), "{beside}: {programs:?}");
        let is_told = daemon.log().contains("not of the daemon's build");
        assert_eq!(is_told, beside == "another", "{beside}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_steps_that_cannot_be_confined_are_refused_or_run_with_a_warning_as_configured() {
    let provider = Provider::start().await;
    let launch = |mode: &str| {
        let setup = Setup::new().allow(&[provider.address()]).set("code.sandbox", mode);
        let started = std::thread::spawn(move || {
            without_sandbox();
            Daemon::launch(setup)
        });
        started.join().unwrap()
    };
    let mut daemon = launch("required");
    assert!(!daemon.until_ready_or_ended(), "it must not start");
    let log = daemon.log();
    assert!(
        log.contains("code steps cannot be isolated here") && log.contains("best-effort"),
        "{log}"
    );

    let mut daemon = launch("best-effort");
    assert!(daemon.until_ready_or_ended(), "{}", daemon.log());
    let script = "module.exports = async () => ({ data: { made: 6 * 7 } });";
    let steps = [code("Make", script), post("Send", "/made", "make.results")];
    let url = set_up(&daemon, &provider, &steps).await;
    let execution = notify(&daemon, &url).await;
    assert_eq!(provider.until(1).await[0].json()["made"], 42);
    until_succeeded(&daemon, &execution).await;
    let line = daemon.log_line(&["code steps run without a part of their sandbox"]);
    assert!(line.contains("seccomp") && line.contains("landlock"), "{line}");
}

/// A daemon whose standard output is a pipe that this test reads, or does not.
struct Piped {
    child: std::process::Child,
    output: BufReader<std::process::ChildStdout>,
    folder: tempfile::TempDir,
}

impl Piped {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("perseat-test-").tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
        command.args(["serve", "--data"]).arg(folder.path().join("data"));
        for listener in ["hooks", "api", "admin"] {
            command.args(["--set", &format!("{listener}.listen=127.0.0.1:0")]);
        }
        let mut child = command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output, folder }
    }

    /// The lines up to the one that says that it is ready.
    fn until_ready(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "it ended: {lines:#?}");
            let is_ready = line.contains("ready") && line.contains("data");
            lines.push(line);
            if is_ready {
                return lines;
            }
        }
    }

    fn terminate(&mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address that a pretty or JSON line names.
fn address_in(lines: &[String], listener: &str) -> SocketAddr {
    let line = lines.iter().find(|line| line.contains("listening") && line.contains(listener));
    let words = line
        .unwrap()
        .split(|letter: char| !(letter.is_ascii_digit() || ".:".contains(letter)));
    words.filter_map(|word| word.trim_matches(':').parse().ok()).next().unwrap()
}

#[test]
fn logs_are_json_off_a_terminal_and_pretty_where_that_is_asked_for() {
    let mut daemon = Piped::start(&[]);
    let is_json = |line: &String| serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line["level"].is_string());
    let lines = daemon.until_ready();
    assert!(lines.iter().all(is_json), "{lines:#?}");
    let mut daemon = Piped::start(&["--set", "log.format=pretty"]);
    let lines = daemon.until_ready();
    assert!(!lines.iter().any(is_json), "{lines:#?}");
    assert!(
        lines.iter().any(|line| line.contains("INFO") && line.contains("listening")),
        "{lines:#?}"
    );
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_standard_output_holds_up_no_answer_and_what_is_lost_is_counted() {
    /// Together many times what a pipe holds.
    const REQUESTS: usize = 1_500;
    let mut daemon = Piped::start(&["--set", "log.level=debug", "--set", "log.queue=64"]);
    // Nobody reads from here on.
    let lines = daemon.until_ready();
    let (hooks, admin) = (address_in(&lines, "hooks"), address_in(&lines, "admin"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answers = async {
        for _ in 0..REQUESTS {
            let answer = client
                .post(format!("http://{hooks}/trigger/{}", "x".repeat(60)))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 404);
        }
    };
    within("all answers", answers).await;
    let dropped = async {
        let mut look = tokio::time::interval(Duration::from_millis(50));
        loop {
            look.tick().await;
            let page = client
                .get(format!("http://{admin}/metrics"))
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap();
            let count = page.lines().find_map(|line| line.strip_prefix("perseat_log_lines_dropped_total "));
            if count.is_some_and(|count| count.parse::<f64>().unwrap() > 0.0) {
                return;
            }
        }
    };
    within("the count of dropped lines", dropped).await;
    let ended = tokio::task::spawn_blocking(move || {
        let status = daemon.terminate();
        let mut rest = Vec::new();
        daemon.output.read_to_end(&mut rest).unwrap();
        assert!(daemon.folder.path().exists());
        (status, rest.len())
    });
    let (status, rest) = within("its end", ended).await.unwrap();
    assert!(status.success(), "{status}");
    assert!(rest > 32 << 10, "the pipe was full: {rest} bytes were left in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_what_is_logged_and_whose_word_is_believed_at_once() {
    let daemon = Daemon::start(Setup::new());
    let file = daemon.folder().join("perseat.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let ask = async |name: &str| {
        let headers = [("x-forwarded-for", "203.0.113.9")];
        assert_eq!(daemon.post(&format!("/trigger/{name}"), &headers, "").await.status, 404);
    };
    ask("before").await;
    std::fs::write(&file, before.clone() + "log.level = \"debug\"\n").unwrap();
    daemon.signal(Signal::HUP);
    daemon.log_line(&["configuration changed", "log.level"]);
    // The line that says so comes before the level is set: what follows is asked for until it shows.
    let shown = async |client: &str| {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        let expected = format!("\"client\":\"{client}\"");
        loop {
            look.tick().await;
            ask("after").await;
            if daemon
                .log()
                .lines()
                .any(|line| line.contains("request refused") && line.contains(&expected))
            {
                return;
            }
        }
    };
    within("a line of the new level", shown("127.0.0.1")).await;
    assert!(!daemon.log().contains("203.0.113.9"), "nobody vouches for it yet");
    let both = before + "log.level = \"debug\"\ntrusted-proxies = [\"127.0.0.0/8\"]\n";
    std::fs::write(&file, both).unwrap();
    daemon.signal(Signal::HUP);
    within("a client whom the proxy names", shown("203.0.113.9")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_socket_serves_no_other_user() {
    let daemon = Daemon::start(Setup::new());
    let socket = daemon.data().join("perseat.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    if !rustix::process::getuid().is_root() {
        println!("not run as root: nobody else's process can be started, so the look at the peer was not tested");
        return;
    }
    // As open as files can make it: the daemon looks for itself.
    let data = daemon.data();
    for (path, mode) in [(daemon.folder(), 0o711), (data.as_path(), 0o711), (socket.as_path(), 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    // The program is handed over open: the other user may not be able to reach it.
    let as_user = |user: &str| {
        let script = format!(
            "exec 3< \"$0\"; exec setpriv --reuid={user} --regid={user} --clear-groups /proc/self/fd/3 endpoints --set local.socket=\"$1\""
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_perseat")]).arg(&socket);
        command.current_dir("/").output().unwrap()
    };
    let ours = as_user("0");
    assert!(ours.status.success(), "{}", String::from_utf8_lossy(&ours.stderr));
    let theirs = as_user("65534");
    assert!(!theirs.status.success(), "{}", String::from_utf8_lossy(&theirs.stdout));
    daemon.log_line(&["a local connection of another user was closed", "65534"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_let_in_by_a_change_that_its_owner_has_not_heard_of() {
    let daemon = Daemon::start(Setup::new());
    let files = Integration {
        name: "Files",
        endpoint_type: "flow_specific",
        is_user_level: true,
        keys: "",
        flows: flow("Send", "", &[code("Nothing", "module.exports = async () => ({ data: null });")]),
    };
    let instance = |state: &str| files.instance(CUSTOMER, "http://127.0.0.1:1", &format!("state: {state}\n"));
    let manifests = people(&[(CUSTOMER, &[USER])]) + &files.manifest() + &instance("disabled") + &files.user(CUSTOMER, USER);
    daemon.apply(&manifests).await;
    let url = daemon.endpoints(&format!("user={USER}")).await[0].url.clone();
    let answer = async || daemon.post(&url, &[("content-type", "application/json")], "{}").await;
    assert_eq!(answer().await.json()["code"], "instance_disabled");

    daemon.switch("hold:change-announced:1", true).await;
    let file = daemon.folder().join("enabled.yml");
    std::fs::write(&file, instance("enabled")).unwrap();
    let mut apply = Command::new(env!("CARGO_BIN_EXE_perseat"))
        .args(["apply", "--data"])
        .arg(daemon.data())
        .arg("-f")
        .arg(&file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    daemon.log_line(&["held", "change-announced"]);
    assert_eq!(answer().await.json()["code"], "instance_disabled", "fronts hear of it last");
    apply.kill().unwrap();
    apply.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_happened_yet_is_counted_as_zero() {
    let daemon = Daemon::start(Setup::new());
    let page = String::from_utf8(daemon.admin("/metrics").await.body.to_vec()).unwrap();
    for line in [
        "perseat_quarantines_total 0",
        "perseat_retention_failures_total 0",
        "perseat_backups_total{what=\"keyring\",outcome=\"failed\"} 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}: {page}");
    }
}
