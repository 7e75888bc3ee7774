//! A daemon that is killed while its configuration changes: each change is wholly there or wholly not, and the audit holds.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use harness::daemon::{Daemon, Setup};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;

const CREATE: &str = "mutation ($n: String!) { createCustomer(input: {name: $n, externalId: $n, labels: [\"a\", \"b\"]}) { customer { id } errors { messages } } }";
const LIST: &str = "query ($a: String) { customers(after: $a) { nodes { id name externalId labels } pageInfo { hasNextPage endCursor } } }";

async fn token(daemon: &Daemon) -> String {
    let body = json!({ "name": "test", "role": "owner", "organization": "Acme" });
    let made = daemon.local(Method::POST, "/tokens", Some(body)).await.unwrap();
    format!("Bearer {}", made["token"].as_str().unwrap())
}

/// Asks the API; `None` if the daemon went away.
async fn ask(client: &reqwest::Client, url: &str, bearer: &str, query: &str, variables: Value) -> Option<Value> {
    let body = json!({ "query": query, "variables": variables }).to_string();
    let request = client.post(url).header("authorization", bearer).body(body);
    let answer = request.send().await.ok()?;
    serde_json::from_slice(&answer.bytes().await.ok()?).ok()
}

/// Takes a backup beside what goes on.
fn begin_backup(daemon: &Daemon, to: &Path) -> Mutex<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    command.arg("backup").arg(to).arg("--data").arg(daemon.data());
    Mutex::new(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// Verifies a directory or a backup.
fn verify(data: &Path, subject: &Path, keyring: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    command.arg("verify").arg(subject).arg("--keyring").arg(keyring);
    command.arg("--master-key").arg(data.join("master-key")).output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_leaves_each_change_whole_or_away_and_the_audit_verifies() {
    let mut daemon = Daemon::start(Setup::new());
    let bearer = token(&daemon).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        let url = format!("http://{}/api", daemon.address("api"));
        let (sent, mut answers) = tokio::sync::mpsc::unbounded_channel();
        for writer in 0..4 {
            let (client, url, bearer, sent) = (client.clone(), url.clone(), bearer.clone(), sent.clone());
            tokio::spawn(async move {
                for count in 0.. {
                    let name = format!("{round}-{writer}-{count}");
                    let Some(answer) = ask(&client, &url, &bearer, CREATE, json!({ "n": name })).await else {
                        return;
                    };
                    let id = answer["data"]["createCustomer"]["customer"]["id"].as_str();
                    let id = id.unwrap_or_else(|| panic!("{answer}")).to_owned();
                    if sent.send((name, id)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sent);
        // At a moment in the middle of the next ones.
        for _ in 0..20 + round * 7 {
            acknowledged.insert(answers.recv().await.unwrap());
        }
        let backup = daemon.folder().join(format!("backup-{round}"));
        let taking = begin_backup(&daemon, &backup);
        if round == 2 {
            // Whole before the kill, and taken in the middle of changes.
            assert!(taking.lock().unwrap().wait().unwrap().success());
        }
        daemon.kill();
        let is_taken = taking.lock().unwrap().wait().unwrap().success();
        let data = daemon.data();
        let keyring = data.join("keyring");
        let verified = verify(&data, &data, &keyring);
        assert!(verified.status.success(), "{verified:?}");
        let verified = verify(&data, &backup, &keyring);
        assert_eq!(verified.status.success(), is_taken, "a backup is whole or refused: {verified:?}");
        while let Some(answer) = answers.recv().await {
            acknowledged.insert(answer);
        }
        daemon.restart();
        let url = format!("http://{}/api", daemon.address("api"));
        let (mut found, mut after) = (BTreeSet::new(), Value::Null);
        loop {
            let page = ask(&client, &url, &bearer, LIST, json!({ "a": after })).await.unwrap();
            let page = &page["data"]["customers"];
            for node in page["nodes"].as_array().unwrap() {
                let text = |field: &str| node[field].as_str().unwrap().to_owned();
                assert_eq!(text("name"), text("externalId"), "a change is there in part");
                assert_eq!(node["labels"], json!(["a", "b"]));
                found.insert((text("name"), text("id")));
            }
            if page["pageInfo"]["hasNextPage"] != true {
                break;
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "acknowledged and gone: {lost:?}");
        assert!(
            found.len() <= acknowledged.len() + 4 * (round + 1),
            "{} found, {} acknowledged",
            found.len(),
            acknowledged.len()
        );
        let verified = daemon.local(Method::GET, "/audit/verify", None).await.unwrap();
        // The organization and the token come first.
        assert_eq!(verified["entries"], found.len() + 1, "one entry a change");
    }
}
