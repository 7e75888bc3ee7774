//! The command line as an administrator uses it: beside a running daemon and on a directory of its own.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::daemon::{Daemon, Setup};
use harness::manifests::{Integration, code, flow, people, post};
use harness::provider::{Manner, Provider};
use harness::within;
use http::Method;
use serde_json::{Value, json};

fn perseat(data: &Path, arguments: &[&str], environment: &[(String, String)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    command.args(arguments).arg("--data").arg(data);
    command
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn demo() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo").display().to_string()
}

/// Every variable of the demo's manifests, each with its own name as the value.
fn demo_secrets() -> Vec<(String, String)> {
    let accounts = ["GLOBEX", "INITECH"].iter().flat_map(|customer| {
        let users = ["JANE", "BOB"].map(|user| format!("TOKEN_{customer}_{user}"));
        [format!("TOKEN_{customer}")].into_iter().chain(users)
    });
    let names = accounts.chain(["STORAGE_URL".to_owned(), "API_KEY".to_owned()]);
    names
        .map(|name| format!("PERSEAT_DEMO_{name}"))
        .map(|name| (name.clone(), name))
        .collect()
}

#[test]
fn one_set_of_manifests_makes_the_same_offline_and_in_a_running_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let offline: PathBuf = folder.path().join("offline");
    let apply = ["apply", "-f", &demo()];

    let planned = done(&perseat(&offline, &[apply.as_slice(), &["--dry-run"]].concat(), &demo_secrets()));
    assert!(planned.contains("62 created") && planned.contains("dry run"), "{planned}");
    assert!(!offline.exists(), "a dry run makes nothing");
    let applied = done(&perseat(&offline, &apply, &demo_secrets()));
    assert!(
        applied.contains("62 created") && applied.contains("no daemon runs on it"),
        "{applied}"
    );
    let again = done(&perseat(&offline, &apply, &demo_secrets()));
    assert!(again.contains("62 unchanged") && again.contains("nothing to do"), "{again}");
    let exported = done(&perseat(&offline, &["export"], &[]));

    let daemon = Daemon::start(Setup::new());
    let file = folder.path().join("export.yml");
    std::fs::write(&file, &exported).unwrap();
    let apply = ["apply", "-f", file.to_str().unwrap()];
    let unset = perseat(&daemon.data(), &apply, &[]);
    assert_eq!(unset.status.code(), Some(1), "{}", said(&unset));
    assert!(said(&unset).contains("nothing was changed"), "{}", said(&unset));
    let variables = done(&perseat(&offline, &["export", "--variables"], &[]));
    let secrets: Vec<_> = variables.lines().map(|name| (name.to_owned(), "secret".to_owned())).collect();
    let applied = done(&perseat(&daemon.data(), &apply, &secrets));
    assert!(applied.contains("62 created") && applied.contains("running daemon"), "{applied}");
    assert_eq!(done(&perseat(&daemon.data(), &["export"], &[])), exported);
}

#[test]
fn wrong_manifests_are_reported_by_place_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("set-up.yml"), folder.path().join("data"));
    std::fs::write(
        folder.path().join("i.yml"),
        "definitionVersion: 7\nname: I\ndescription: ''\nflwos: []\nflows: []\nconfigPages: []\n",
    )
    .unwrap();
    let text = "kind: Organization\nname: A\n---\nkind: Integration\nfile: i.yml\n---\nkind: CustomerUser\ncustomer: nobody\nname: N\nemail: n@a.example\nrole: member\n";
    std::fs::write(&file, text).unwrap();
    let output = perseat(&data, &["apply", "-f", file.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(
        text.contains("set-up.yml:4: ") && text.contains("i.yml:4:1: ") && text.contains("`flows`"),
        "{text}"
    );
    assert!(text.contains("set-up.yml:7: there is no customer `nobody`"), "{text}");
    assert!(!done(&perseat(&data, &["export"], &[])).contains("kind: "), "something was applied");
}

const SCRIPT: &str = "module.exports = async ({ logger }, { onEvent }) => { logger.info(`for ${onEvent.results.user.name}`); return { data: onEvent.results.body.data }; };";

async fn working(provider: &Provider) -> Daemon {
    let daemon = Daemon::start(Setup::new().allow(&[provider.address()]));
    let integration = Integration {
        name: "Notices",
        endpoint_type: "instance_specific",
        is_user_level: true,
        keys: "",
        flows: flow(
            "Notify",
            "    isSynchronous: true\n",
            &[code("Describe", SCRIPT), post("Send", "/notices", "describe.results")],
        ),
    };
    let manifests = people(&[("acme", &["jane", "bob"])])
        + &integration.manifest()
        + &integration.instance("acme", &provider.url(""), "")
        + &integration.user("acme", "jane")
        + &integration.user("acme", "bob");
    daemon.apply(&manifests).await;
    daemon
}

async fn notify(daemon: &Daemon, user: &str) -> harness::daemon::Answer {
    let url = daemon.endpoints("").await[0].url.clone();
    daemon
        .post(
            &url,
            &[("perseat-user-external-id", user), ("content-type", "application/json")],
            r#"{"text":"hello"}"#,
        )
        .await
}

fn listed(data: &Path, arguments: &[&str]) -> Vec<Value> {
    let text = done(&perseat(data, &[&["executions", "list", "--json"], arguments].concat(), &[]));
    let list: Value = serde_json::from_str(&text).unwrap();
    list["executions"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_are_listed_by_user_and_shown_with_steps_and_log() {
    let provider = Provider::start().await;
    let daemon = working(&provider).await;
    for user in ["jane", "bob", "jane"] {
        let answer = notify(&daemon, user).await;
        assert_eq!(answer.status, 200, "{:?}", answer.json());
    }
    let data = daemon.data();
    assert_eq!(listed(&data, &[]).len(), 3);
    let of_jane = listed(&data, &["--customer", "acme", "--user", "jane"]);
    assert_eq!(of_jane.len(), 2);
    assert_eq!(listed(&data, &["--limit", "1"])[0]["id"], of_jane[0]["id"], "newest first");
    assert!(listed(&data, &["--status", "failed,queued"]).is_empty());

    let id = of_jane[0]["id"].as_str().unwrap();
    let shown = done(&perseat(&data, &["executions", "show", id], &[]));
    for part in [
        "succeeded",
        "jane of acme",
        "Notify",
        "0 Describe: ok",
        "1 Send: ok",
        r#"{"text":"hello"}"#,
        "Describe: for jane of acme",
    ] {
        assert!(shown.contains(part), "{part} is missing\n{shown}");
    }
    assert!(
        !shown.contains("token-of-acme-jane"),
        "the provider repeats the token; it is blanked\n{shown}"
    );

    let ended = perseat(&data, &["executions", "cancel", id], &[]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(said(&ended).contains("execution_ended"), "{}", said(&ended));
    let nobody = perseat(&data, &["executions", "list", "--customer", "acme", "--user", "mallory"], &[]);
    assert!(
        !nobody.status.success() && said(&nobody).contains("no user `mallory`"),
        "{}",
        said(&nobody)
    );
    // What only reads makes nothing where there is nothing.
    let (none, folder) = (data.join("elsewhere"), tempfile::tempdir().unwrap());
    let [file, key] = ["globex", "key"].map(|name| folder.path().join(name).display().to_string());
    for arguments in [
        &["executions", "list"][..],
        &["audit", "list"],
        &["audit", "verify"],
        &["export"],
        &["customer", "export", "globex", &file, "--key-file", &key],
    ] {
        let nowhere = perseat(&none, arguments, &[]);
        assert_eq!(nowhere.status.code(), Some(3), "{arguments:?}: {}", said(&nowhere));
        assert!(!none.exists(), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_execution_can_be_cancelled() {
    let provider = Provider::start().await;
    provider.set(Manner::Hang);
    let daemon = working(&provider).await;
    let (answer, id) = tokio::join!(notify(&daemon, "jane"), async {
        provider.until(1).await;
        let running = listed(&daemon.data(), &["--status", "running"]);
        let id = running[0]["id"].as_str().unwrap().to_owned();
        done(&perseat(&daemon.data(), &["executions", "cancel", &id], &[]));
        id
    });
    assert_eq!(answer.json()["code"], "cancelled", "{:?}", answer.json());
    let rows = listed(&daemon.data(), &["--status", "cancelled"]);
    assert_eq!(rows.iter().map(|row| &row["id"]).collect::<Vec<_>>(), [&json!(id)]);
}

/// The lines of each page of a list but for its head, as each page but the last names the place to go on from.
fn pages(data: &Path, list: &[&str]) -> Vec<Vec<String>> {
    let (mut pages, mut more) = (Vec::new(), Vec::new());
    loop {
        let more_words: Vec<&str> = more.iter().map(String::as_str).collect();
        let text = done(&perseat(data, &[list, &more_words].concat(), &[]));
        let mut lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
        let next = lines.pop_if(|line| line.contains(": --after "));
        pages.push(lines);
        match next.as_deref().and_then(|line| line.split_once(": ")) {
            Some((_, words)) => more = words.split(' ').map(str::to_owned).collect(),
            None => return pages,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_longer_than_a_page_names_the_place_to_go_on_from() {
    let mut daemon = Daemon::start(Setup::new().set("local.page", 3));
    for name in ["a", "b", "c", "d", "e", "f"] {
        done(&perseat(
            &daemon.data(),
            &["token", "create", "--role", "owner", "--name", name],
            &[],
        ));
    }
    let data = daemon.data();
    let tokens = pages(&data, &["token", "list"]);
    assert_eq!(tokens.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    let ids: BTreeSet<&str> = tokens.iter().flatten().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(ids.len(), 6, "each once: {tokens:?}");
    let audit = ["audit", "list", "--set", "local.page=3"];
    let running = pages(&data, &audit);
    daemon.terminate();
    assert_eq!(pages(&data, &audit), running, "the same without a daemon");
    let lines = running.concat();
    let revisions: Vec<usize> = lines.iter().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(revisions, (1..=revisions.len()).collect::<Vec<_>>(), "each once, the oldest first");
    assert!(revisions.len() >= 6 && running[0].len() == 3, "{running:?}");
}

/// A command that needs no daemon and no data: its exit code, and everything it said.
fn plain(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_perseat"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    (output.status.code(), said(&output))
}

#[test]
fn checks_start_nothing_name_every_problem_and_exit_by_what_they_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "wrong.toml",
        "front.max-bdoy = \"1MiB\"\nadmission.user = \"many\"\nlog.level = \"inof\"\nfront.json-depth = 5000\n",
    );
    write("right.toml", "front.max-body = \"1MiB\"\n");
    write(
        "wrong.yml",
        "definitionVersion: 7\nname: I\ndescription: ''\nflwos: []\nflows: []\n",
    );
    write("right.yml", "kind: Customer\nname: Acme\nexternalId: acme\n");

    let (code, said) = plain(folder.path(), &["check-config", "--config", "wrong.toml"]);
    assert_eq!(code, Some(1), "{said}");
    for part in [
        "unknown key front.max-bdoy; did you mean front.max-body?",
        "wrong.toml:2: admission.user",
        "wrong.toml:3: log.level",
        "front.json-depth is 5000",
    ] {
        assert!(said.contains(part), "{part} is missing\n{said}");
    }
    let (code, said) = plain(folder.path(), &["check-config", "--config", "right.toml", "--show"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("front.max-body = \"1MiB\"") && said.contains("valid"), "{said}");

    let (code, said) = plain(folder.path(), &["validate", "nowhere.yml", "right.yml", "wrong.yml"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nowhere.yml: cannot read: "), "{said}");
    let (code, limited) = plain(folder.path(), &["validate", "--set", "definition.max-bytes=10B", "wrong.yml"]);
    assert!(code == Some(1) && limited.contains("longer than 10 bytes"), "{limited}");
    assert!(
        said.contains("right.yml: valid") && said.contains("wrong.yml:4:1: ") && said.contains("`flows`"),
        "{said}"
    );
    assert_eq!(plain(folder.path(), &["validate", "right.yml"]).0, Some(0));

    let mut shown = Command::new(env!("CARGO_BIN_EXE_perseat"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    shown
        .args(["check-config", "--config", "right.toml", "--show"])
        .current_dir(folder.path());
    let ended = shown.stdout(writer).output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success() && told.is_empty(), "nobody reads on: {told}");

    let (code, said) = plain(folder.path(), &["version"]);
    assert!(code == Some(0) && said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    assert_eq!(plain(folder.path(), &["exectuions"]).0, Some(2), "a wrong command line");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 4, "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_can_be_looked_into_beside_the_daemon_and_shows_no_payload() {
    let provider = Provider::start().await;
    let daemon = working(&provider).await;
    let answer = notify(&daemon, "jane").await;
    let id = answer.headers["prismatic-executionid"].to_str().unwrap().to_owned();
    let shown = done(&perseat(&daemon.data(), &["journal", "inspect", "--frames", "--entries"], &[]));
    let uuid = id.parse::<perseat_domain::id::ExecutionId>().unwrap().to_string();
    for part in ["segment ", "frame ", "Accepted ", "Started ", "StepsDone ", "Ended "] {
        let line = shown
            .lines()
            .find(|line| line.contains(part))
            .unwrap_or_else(|| panic!("no {part}\n{shown}"));
        assert!(part.starts_with(char::is_lowercase) || line.contains(&uuid), "{line}");
    }
    assert!(!shown.contains("hello") && !shown.contains("token-of"), "{shown}");
    let states = |state: &str| shown.lines().filter(|line| line.contains(&format!(" bytes, {state}  "))).count();
    assert_eq!((states("open"), states("sealed")), (1, 0), "one is being written\n{shown}");
    let empty = shown.lines().filter(|line| line.contains(": 0 entries")).count();
    assert_eq!(states("spare"), empty, "{shown}");
}

/// The numbers of segments whose hashes are in the audit, once there are so many.
async fn attested(daemon: &Daemon, count: usize) -> Vec<u64> {
    within("the notes of sealed segments", async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            look.tick().await;
            let audit = daemon.local(Method::GET, "/audit?after=0", None).await.unwrap();
            let entries = audit["entries"].as_array().unwrap().iter();
            let segments = entries.filter_map(|entry| entry["segments"].as_array()).flatten();
            let numbers: Vec<u64> = segments.map(|segment| segment["number"].as_u64().unwrap()).collect();
            if numbers.len() >= count {
                return numbers;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_names_what_changed_and_finds_a_segment_that_was_tampered_with() {
    let provider = Provider::start().await;
    let mut daemon = working(&provider).await;
    notify(&daemon, "jane").await;
    let listed = done(&perseat(&daemon.data(), &["audit", "list"], &[]));
    assert!(listed.contains("created organization") && listed.contains(" more"), "{listed}");
    let json = done(&perseat(&daemon.data(), &["audit", "list", "--json"], &[]));
    assert!(json.contains(r#""external id":"jane""#), "who was made is said\n{json}");
    assert!(!json.contains("token-of"), "no value is\n{json}");
    // The segment is sealed by the end, and noted after the next start.
    daemon.terminate();
    daemon.restart();
    let sealed = attested(&daemon, 1).await[0];
    let verify = |daemon: &Daemon| perseat(&daemon.data(), &["audit", "verify"], &[]);
    let whole = done(&verify(&daemon));
    assert!(
        whole.contains("nothing was changed or taken out") && whole.contains("1 sealed segments"),
        "{whole}"
    );
    assert!(done(&perseat(&daemon.data(), &["audit", "list"], &[])).contains(&format!("segment {sealed}")));
    for _ in 0..2 {
        notify(&daemon, "jane").await;
        daemon.terminate();
        daemon.restart();
    }
    let numbers = attested(&daemon, 3).await;
    daemon.terminate();
    let file_of = |number: u64| daemon.data().join(format!("journal/{number:010}.seg"));
    let (middle, aside) = (file_of(numbers[1]), daemon.data().join("aside"));
    std::fs::rename(&middle, &aside).unwrap();
    for (is_directory, why) in [
        (false, format!("segment {}: acknowledged entries are missing behind it", numbers[0])),
        (true, "Is a directory".to_owned()),
    ] {
        if is_directory {
            std::fs::create_dir(&middle).unwrap();
        }
        let found = verify(&daemon);
        assert_eq!(found.status.code(), Some(1), "{}", said(&found));
        assert!(said(&found).contains(&why), "{}", said(&found));
    }
    std::fs::remove_dir(&middle).unwrap();
    std::fs::rename(&aside, &middle).unwrap();
    // Released between its name and its bytes.
    let file = file_of(sealed);
    std::fs::rename(&file, &aside).unwrap();
    std::os::unix::fs::symlink("released", &file).unwrap();
    done(&verify(&daemon));
    done(&perseat(&daemon.data(), &["journal", "inspect"], &[]));
    std::fs::rename(&aside, &file).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[8192 + 40] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let found = verify(&daemon);
    assert_eq!(found.status.code(), Some(1));
    assert!(
        said(&found).contains(&format!("segment {sealed}: its bytes are not those")),
        "{}",
        said(&found)
    );
    let inspected = perseat(&daemon.data(), &["journal", "inspect"], &[]);
    assert_eq!(inspected.status.code(), Some(1));
    let damaged: Vec<String> = said(&inspected)
        .lines()
        .filter(|line| line.contains("DAMAGED"))
        .map(str::to_owned)
        .collect();
    assert!(
        matches!(&damaged[..], [line] if line.starts_with(&format!("segment {sealed}: "))),
        "{}",
        said(&inspected)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_up_what_it_can_says_what_waits_and_keeps_what_is_wrong_out() {
    let daemon = Daemon::start(Setup::new());
    let file = daemon.folder().join("perseat.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let reload = |more: &str| {
        std::fs::write(&file, before.clone() + more).unwrap();
        daemon.signal(rustix::process::Signal::HUP);
    };
    reload("front.max-bdoy = \"1MiB\"\n");
    let line = daemon.log_line(&["nothing changed"]);
    assert!(line.contains("front.max-bdoy"), "{line}");
    reload("trusted-proxies = [\"10.0.0.0/8\"]\nlog.level = \"inof\"\n");
    let line = daemon.log_line(&["nothing changed", "log.level"]);
    assert_eq!(line.matches("inof").count(), 1, "{line}");
    assert!(!daemon.log().contains("configuration changed"), "{}", daemon.log());
    reload("trusted-proxies = [\"10.0.0.0/8\"]\nadmission.user = 7\n");
    let line = daemon.log_line(&["configuration changed", "trusted-proxies"]);
    assert!(!line.contains("next start"), "{line}");
    let line = daemon.log_line(&["configuration changed", "admission.user"]);
    assert!(line.contains("next start"), "{line}");
    assert_eq!(daemon.admin("/readyz").await.status, 200);
}
