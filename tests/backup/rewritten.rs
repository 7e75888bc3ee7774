//! What the catalog holds unsealed of a removed user: gone from every file once it is written anew.

use std::path::Path;

use crate::harness::api::Api;
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::manifests::{Integration, flow, people, step};
use crate::world::{CUSTOMER, until};
use http::Method;
use serde_json::json;

const LEAVING: &str = "leaving-4711";
const STAYING: &str = "staying-4712";
const DONE: &str = "the catalog was written anew: nothing of removed people is left in its file";
const FAILED: &str = "the catalog could not be written anew";

/// Name, address, external id, and the plain value of a configuration.
fn plain(user: &str) -> [String; 4] {
    [
        format!("{user} of {CUSTOMER}"),
        format!("{user}@{CUSTOMER}.example"),
        user.to_owned(),
        format!("/{CUSTOMER}/{user}"),
    ]
}

/// The files at or below `path` that hold `text`; one may go meanwhile.
fn holding(path: &Path, text: &str) -> Vec<String> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap();
        return entries.flat_map(|entry| holding(&entry.unwrap().path(), text)).collect();
    }
    // Sockets cannot be read.
    let bytes = std::fs::read(path).unwrap_or_default();
    let is_holding = bytes.windows(text.len()).any(|window| window == text.as_bytes());
    is_holding.then(|| path.display().to_string()).into_iter().collect()
}

/// Whether each of a user's texts stands in the catalog.
fn is_in_the_catalog(daemon: &Daemon, user: &str) -> bool {
    let catalog = daemon.data().join("catalog.redb");
    plain(user).iter().all(|text| !holding(&catalog, text).is_empty())
}

#[track_caller]
fn check_nothing_is_left(daemon: &Daemon) {
    for text in plain(LEAVING) {
        assert_eq!(holding(&daemon.data(), &text), Vec::<String>::new(), "{text}");
    }
    assert!(is_in_the_catalog(daemon, STAYING), "the search finds what is there");
}

/// Two users whose events have ended, a text of each in them.
async fn start(setup: Setup) -> Daemon {
    // What is searched is small.
    let small = [
        ("journal.segment", "1MiB"),
        ("front.max-body", "256KiB"),
        ("retention.ballast", "64KiB"),
    ];
    let daemon = Daemon::start(small.into_iter().fold(setup, |setup, (key, value)| setup.set(key, value)));
    let log = step(
        "Log",
        "log",
        "writeLog",
        "          level: {type: value, value: info}\n          message: {type: reference, value: onEvent.results.body.data.who}\n",
    );
    let files = Integration {
        name: "Files",
        endpoint_type: "flow_specific",
        is_user_level: true,
        keys: "",
        flows: flow("Pass", "", &[log]),
    };
    let users = [LEAVING, STAYING];
    let mut manifests = people(&[(CUSTOMER, &users)]) + &files.manifest() + &files.instance(CUSTOMER, "http://provider.example", "");
    manifests.extend(users.map(|user| files.user(CUSTOMER, user)));
    daemon.apply(&manifests).await;
    for user in users {
        assert_eq!(post(&daemon, user).await, 200);
        assert!(is_in_the_catalog(&daemon, user), "{user}");
    }
    daemon
}

/// Posts an event of a user's and waits for its end; gives the status of the answer.
async fn post(daemon: &Daemon, user: &str) -> u16 {
    let endpoints = daemon.endpoints(&format!("customer={CUSTOMER}&user={user}")).await;
    let body = json!({ "who": user }).to_string();
    let answer = daemon.post(&endpoints[0].url, &[("content-type", "application/json")], body).await;
    if answer.status == 200 {
        let execution = answer.json()["executionId"].as_str().unwrap().to_owned();
        until(daemon, &[(&execution, "succeeded")]).await;
    }
    answer.status
}

async fn remove(daemon: &Daemon) {
    let api = Api::program(daemon, "owner").await;
    let users = api.get("{ users { nodes { id externalId } } }", json!({})).await;
    let users = users["nodes"].as_array().unwrap();
    let leaving = users.iter().find(|user| user["externalId"] == LEAVING).unwrap();
    let delete = "mutation ($i: ID) { deleteUser(input: {id: $i}) { errors { messages } } }";
    api.get(delete, json!({ "i": leaving["id"] })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_removed_user_is_in_any_file_once_the_catalog_is_written_anew() {
    let setup = Setup::new().set("catalog.tidy-every", "100ms").set("catalog.rewrite-after", "0s");
    let mut daemon = start(setup).await;
    remove(&daemon).await;
    daemon.until_said(DONE);
    check_nothing_is_left(&daemon);
    assert!(daemon.metric("perseat_catalog_rewrites_total").await >= 1.0);
    assert_eq!(post(&daemon, STAYING).await, 200);
    // Neither what a start makes anew nor what an end writes brings any of it back.
    daemon.kill();
    daemon.restart();
    assert_eq!(post(&daemon, STAYING).await, 200);
    daemon.terminate();
    check_nothing_is_left(&daemon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_after_the_removal_leaves_nothing_for_long() {
    let mut daemon = start(Setup::new().set("catalog.rewrite-after", "0s")).await;
    remove(&daemon).await;
    daemon.kill();
    daemon.restart();
    daemon.until_said(DONE);
    check_nothing_is_left(&daemon);
    assert_eq!(post(&daemon, STAYING).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalog_that_does_not_fit_once_more_is_written_anew_once_there_is_room() {
    let setup = Setup::new().set("catalog.tidy-every", "100ms").set("catalog.rewrite-after", "0s");
    let daemon = start(setup).await;
    daemon.switch("fill-new-catalog", true).await;
    remove(&daemon).await;
    daemon.log_line(&[FAILED, "the disk is full"]);
    assert_eq!(post(&daemon, STAYING).await, 200);
    daemon.switch("fill-new-catalog", false).await;
    daemon.until_said(DONE);
    check_nothing_is_left(&daemon);
    let list = daemon.local(Method::GET, "/executions?limit=100", None).await.unwrap();
    assert_eq!(list["executions"].as_array().unwrap().len(), 3);
}
