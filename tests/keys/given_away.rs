//! History that a full disk gave away, and the version of a key that its executions need.

use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::customer::{DESTROYED, World, setup};
use crate::harness::api::Api;
use crate::harness::provider::Manner;
use crate::harness::within;
use crate::master::done;

/// The numbers of the history files.
fn history(world: &World) -> Vec<u32> {
    let files = std::fs::read_dir(world.daemon.data().join("history")).unwrap();
    let mut numbers: Vec<u32> = files
        .filter_map(|file| file.unwrap().path().file_stem()?.to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Text that does not become much smaller by compression.
fn filler(bytes: usize) -> String {
    let mut state = 1_u64;
    let letter = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + u8::try_from((state >> 58) % 40).unwrap())
    };
    (0..bytes).map(letter).filter(char::is_ascii_alphanumeric).collect()
}

/// An event of a user's: the user's key seals it.
async fn send(world: &World, user: &'static str, body: &str) -> u16 {
    let url = world.daemon.hook(&world.urls[&("globex", user)]);
    world
        .daemon
        .post(&url, &[("content-type", "application/json")], body.to_owned())
        .await
        .status
}

/// What came with the execution, as the API shows it.
async fn results(world: &World, execution: &str) -> String {
    let api = Api::program(&world.daemon, "owner").await;
    let query = "query ($e: ID!) { executionResult(id: $e) { stepResults { nodes { resultsUrl } } } }";
    let found = api.get(query, json!({ "e": execution })).await;
    let mut all = String::new();
    for step in found["stepResults"]["nodes"].as_array().unwrap() {
        let url = step["resultsUrl"].as_str().unwrap();
        let path = url.split("://").nth(1).unwrap().split_once('/').unwrap().1;
        let url = format!("http://{}/{path}", world.daemon.address("api"));
        let answer = world.daemon.send(Method::GET, &url, &[("authorization", api.bearer())], "").await;
        all += &String::from_utf8_lossy(&answer.body);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_waits_for_history_that_a_full_disk_gave_away() {
    let setup = setup()
        .set("journal.segment", "512KiB")
        .set("front.max-body", "128KiB")
        .set("retention.ballast", "1MiB")
        .set("index.retry-interval", "50ms");
    let mut world = World::start(setup).await;
    let url = world.daemon.hook(&world.urls[&("globex", "everybody")]);
    let answer = world
        .daemon
        .post(&url, &[("content-type", "application/json")], r#"{"text":"canary"}"#)
        .await;
    let execution = answer.json()["executionId"].as_str().unwrap().to_owned();
    world.provider.until(1).await;
    let large = json!({ "filler": filler(60_000) }).to_string();
    while history(&world).len() < 3 {
        assert_eq!(send(&world, "ann", &large).await, 200);
    }
    let first = history(&world)[0];
    assert!(results(&world, &execution).await.contains("canary"));

    world.provider.set(Manner::Hang);
    world.daemon.switch("fill-state", true).await;
    within("the oldest history to go", async {
        let mut look = tokio::time::interval(Duration::from_millis(1));
        while history(&world).contains(&first) {
            look.tick().await;
            send(&world, "ann", "{}").await;
            send(&world, "bob", "{}").await;
        }
    })
    .await;
    world.provider.set(Manner::Answer);
    world.daemon.switch("fill-state", false).await;
    within("the index to catch up", async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while world.daemon.metric("perseat_index_lag_entries").await > 0.0 {
            look.tick().await;
        }
    })
    .await;

    done(&world.rotate("globex"));
    world.daemon.log_line(&["waits for history"]);
    assert!(!world.daemon.log().contains(DESTROYED));
    world.daemon.terminate();
    world.daemon.restart();
    world.daemon.log_line(&["history made again from the journal"]);
    assert!(results(&world, &execution).await.contains("canary"));
    assert!(!world.daemon.log().contains(DESTROYED), "the execution is there");
}
