//! What is left of a removed user, for somebody who has everything but an older copy of the keyring.

use std::path::Path;

use crate::harness::api::Api;
use crate::harness::daemon::Daemon;
use crate::world::{CUSTOMER, World, done, perseat, until};
use http::Method;
use serde_json::{Value, json};

/// Of a user: what came with an event that has ended, and with one that has not.
fn events(user: &str) -> [String; 2] {
    ["ended", "running"].map(|what| format!("canary-{what}-of-{user}"))
}

/// Of a user: what they are called, and a plain value of their configuration.
fn person(user: &str) -> [String; 3] {
    [
        format!("{user} of {CUSTOMER}"),
        format!("{user}@{CUSTOMER}.example"),
        format!("/{CUSTOMER}/{user}"),
    ]
}

/// Whether a file below a directory holds the text as it is.
fn holds(directory: &Path, text: &str) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => holds(&entry.path(), text),
            kind if kind.is_file() => {
                let bytes = std::fs::read(entry.path()).unwrap();
                bytes.windows(text.len()).any(|window| window == text.as_bytes())
            }
            _ => false,
        }
    })
}

/// All that the daemon says of its executions, by every way to ask.
async fn readings(daemon: &Daemon) -> String {
    let api = Api::program(daemon, "owner").await;
    let mut all = String::new();
    let query = "{ executionResults { nodes { id userName error logs { nodes { message } } stepResults { nodes { displayStepName resultsUrl } } } } }";
    let shown = api.get(query, json!({})).await;
    all += &shown.to_string();
    for node in shown["nodes"].as_array().unwrap() {
        for step in node["stepResults"]["nodes"].as_array().unwrap() {
            if let Some(url) = step["resultsUrl"].as_str() {
                let path = url.split("://").nth(1).unwrap().split_once('/').unwrap().1;
                let url = format!("http://{}/{path}", daemon.address("api"));
                let answer = daemon.send(Method::GET, &url, &[("authorization", api.bearer())], "").await;
                all += &String::from_utf8_lossy(&answer.body);
            }
        }
    }
    let list = daemon.local(Method::GET, "/executions?limit=100", None).await.unwrap();
    let executions = list["executions"].as_array().unwrap().clone();
    assert!(!executions.is_empty());
    all += &list.to_string();
    for execution in executions {
        let target = format!("/executions/{}", execution["id"].as_str().unwrap());
        all += &daemon.local(Method::GET, &target, None).await.unwrap().to_string();
    }
    for arguments in [
        &["export"][..],
        &["audit", "list"],
        &["journal", "inspect", "--entries", "--frames"],
    ] {
        all += &done(&perseat(&daemon.data(), arguments));
    }
    all
}

fn has_all(said: &str, user: &str) -> bool {
    events(user).iter().chain(&person(user)).all(|canary| said.contains(canary))
}

fn has_any(said: &str, user: &str) -> bool {
    events(user).iter().chain(&person(user)).any(|canary| said.contains(canary))
}

/// Posts to a flow of the user's; gives the execution.
async fn post(world: &World, user: &str, flow: &str, text: &str) -> String {
    let url = world.url(user, flow).await;
    let body = json!({ "user": user, "n": 1, "text": text }).to_string();
    let answer = world.daemon.post(&url, &[("content-type", "application/json")], body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()["executionId"].as_str().unwrap().to_owned()
}

/// How many credentials open with these keys.
fn opens(world: &World, backup: &Path, keyring: &Path) -> u64 {
    let said = world.verifies(backup, keyring);
    let before = said.split(" sealed connections").next().unwrap();
    before
        .rsplit(|letter: char| !letter.is_ascii_digit())
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_users_data_is_read_from_nothing_but_an_older_copy_of_the_keyring() {
    let mut world = World::start(World::setup().set("execution.slots", 8).set("drain.deadline", "1s")).await;
    let data = world.daemon.data();
    for user in ["ann", "cem"] {
        let [ended, running] = events(user);
        let ended = post(&world, user, "Pass", &ended).await;
        let running = post(&world, user, "Send", &running).await;
        until(&world.daemon, &[(&ended, "succeeded"), (&running, "running")]).await;
    }
    let said = readings(&world.daemon).await;
    assert!(has_all(&said, "ann") && has_all(&said, "cem"), "{said}");

    let [backup, before, after] = ["backup", "before", "after"].map(|name| world.path(name));
    let export = |to: &Path| done(&perseat(&data, &["keyring", "export", to.to_str().unwrap()]));
    done(&perseat(&data, &["backup", backup.to_str().unwrap(), "--history"]));
    export(&before);
    let api = Api::program(&world.daemon, "owner").await;
    let users = api.get("{ users { nodes { id externalId } } }", json!({})).await;
    let users = users["nodes"].as_array().unwrap().clone();
    let cem: &Value = &users.iter().find(|user| user["externalId"] == "cem").unwrap()["id"];
    api.get(
        "mutation ($i: ID) { deleteUser(input: {id: $i}) { errors { messages } } }",
        json!({ "i": cem }),
    )
    .await;
    drop(api);
    export(&after);

    // The bytes of the backup, whatever reads them: what belongs to all is there as it is.
    assert!(holds(&backup, &format!("{CUSTOMER} Inc")));
    for (ann, cem) in person("ann").iter().zip(&person("cem")) {
        assert!(holds(&data, ann), "what the search finds in the live store: {ann}");
        assert!(!holds(&backup, ann) && !holds(&backup, cem), "{ann}");
    }

    // The live store with its segments, history and indexes; with and without what a start makes anew of them.
    let said = readings(&world.daemon).await;
    assert!(has_all(&said, "ann") && !has_any(&said, "cem"), "{said}");
    world.daemon.kill();
    world.daemon.restart();
    let said = readings(&world.daemon).await;
    assert!(has_all(&said, "ann") && !has_any(&said, "cem"), "{said}");
    world.daemon.terminate();
    std::fs::remove_dir_all(data.join("history")).unwrap();
    world.daemon.restart();
    let said = readings(&world.daemon).await;
    assert!(!has_any(&said, "cem"), "{said}");

    // The backup from before, with the keyring from after and the master key.
    assert_eq!(opens(&world, &backup, &before), opens(&world, &backup, &after) + 1);
    let (daemon, _) = world.restored(&backup, &after, &[]);
    let said = readings(&daemon).await;
    assert!(has_all(&said, "ann") && !has_any(&said, "cem"), "{said}");
    for (ann, cem) in person("ann").iter().zip(&person("cem")) {
        assert!(holds(&daemon.data(), ann) && !holds(&daemon.data(), cem), "{ann}");
    }
    drop(daemon);

    // An older copy of the keyring undoes it: keys are all that is missing.
    let (daemon, _) = world.restored(&backup, &before, &[]);
    let said = readings(&daemon).await;
    assert!(has_all(&said, "ann") && has_all(&said, "cem"), "{said}");
}
