//! What does accepting cost while the catalog changes? Pairs of runs, without and with a script that makes 1,000 changes a
//! minute through the API, on fresh daemons, in turn.
//!
//! 64 callers post 1 KiB each in a closed loop to an acknowledge-only flow; every second call of the script changes a customer, every
//! other a user's configuration, which is published to the routing snapshot and to its owner. `CHANGES_PAIRS`, `CHANGES_SECONDS` and
//! `CHANGES_A_MINUTE` change the run.

#![allow(clippy::unwrap_used, reason = "a bench without a daemon has nothing to measure")]

#[path = "../tests/harness/mod.rs"]
mod harness;

use harness::api::Api;
use harness::daemon::{Daemon, Setup};
use harness::manifests::{Integration, flow, people};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Barrier;
use tokio::time::{Instant, MissedTickBehavior, interval};

const CALLERS: usize = 64;
/// What each caller sends before anything is counted: actors and connections are there then.
const WARM_UP: usize = 50;
const USERS: [&str; 8] = ["ann", "bob", "cem", "dan", "eva", "fay", "gus", "hal"];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Receipts a second, and how many changes were made meanwhile.
async fn run(seconds: u64, a_minute: Option<u64>) -> (f64, usize) {
    let daemon = Daemon::start(Setup::new().set("api.rate", 1_000));
    let files = Integration {
        name: "Files",
        endpoint_type: "flow_specific",
        is_user_level: true,
        keys: "",
        flows: flow("Take", "", &[]),
    };
    let mut yaml = people(&[("globex", &USERS)]) + &files.manifest() + &files.instance("globex", "https://files.example", "");
    yaml.extend(USERS.iter().map(|user| files.user("globex", user)));
    daemon.apply(&yaml).await;
    let urls: Arc<Vec<String>> = Arc::new(
        daemon
            .endpoints("")
            .await
            .iter()
            .map(|endpoint| daemon.hook(&endpoint.url))
            .collect(),
    );
    assert_eq!(urls.len(), USERS.len());
    let owner = Api::program(&daemon, "owner").await;
    let found = owner
        .get(
            "{ customers { nodes { id instances { nodes { userLevelConfigs { nodes { id } } } } } } }",
            json!({}),
        )
        .await;
    let customer = &found["nodes"][0]["id"];
    let config = &found["nodes"][0]["instances"]["nodes"][0]["userLevelConfigs"]["nodes"][0]["id"];

    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let warm = Arc::new(Barrier::new(CALLERS + 1));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| {
            let (client, urls, stop, count, warm) = (client.clone(), urls.clone(), stop.clone(), count.clone(), warm.clone());
            tokio::spawn(async move {
                let body = format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(1_000));
                let post = async || {
                    let answer = client
                        .post(&urls[n % urls.len()])
                        .header("content-type", "application/json")
                        .body(body.clone());
                    let status = answer.send().await.unwrap().status();
                    assert!(status.is_success(), "an event was refused: {status}");
                };
                for _ in 0..WARM_UP {
                    post().await;
                }
                warm.wait().await;
                while !stop.load(Ordering::Relaxed) {
                    post().await;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    warm.wait().await;
    let begun = Instant::now();
    let over = begun + Duration::from_secs(seconds);
    let mut changes = 0;
    if let Some(a_minute) = a_minute {
        let mut clock = interval(Duration::from_secs(60) / u32::try_from(a_minute).unwrap());
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while Instant::now() < over {
            clock.tick().await;
            let made = if changes % 2 == 0 {
                let query = "mutation ($i: ID!, $d: String) { updateCustomer(input: {id: $i, description: $d}) { customer { id } errors { messages } } }";
                owner.get(query, json!({ "i": customer, "d": format!("change {changes}") })).await
            } else {
                let query = "mutation ($i: ID!, $v: String) { updateUserLevelConfig(input: {id: $i, partial: true, configVariables: [{key: \"Folder\", value: $v}]}) { userLevelConfig { id } errors { messages } } }";
                owner.get(query, json!({ "i": config, "v": format!("/{changes}") })).await
            };
            assert!(made.is_object(), "{made}");
            changes += 1;
        }
    }
    // How long a run is: its length is what the receipts are divided by.
    tokio::time::sleep_until(over).await;
    let accepted = count.load(Ordering::Relaxed);
    let took = begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    (accepted as f64 / took, changes)
}

fn main() {
    let (pairs, seconds) = (number("CHANGES_PAIRS", 5), number("CHANGES_SECONDS", 10));
    let a_minute = number("CHANGES_A_MINUTE", 1_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for pair in 1..=pairs {
        let (quiet, _) = runtime.block_on(run(seconds, None));
        let (busy, changes) = runtime.block_on(run(seconds, Some(a_minute)));
        println!(
            "pair {pair}: {quiet:.0} → {busy:.0} accepted/s with {changes} changes in {seconds} s ({:.3})",
            busy / quiet
        );
        let wanted = seconds * a_minute / 60;
        assert!(
            changes as u64 * 10 >= wanted * 9,
            "{changes} changes were made, and {wanted} wanted: this says nothing of {a_minute} a minute"
        );
        without.push(quiet);
        with.push(busy);
    }
    for values in [&mut without, &mut with] {
        values.sort_by(f64::total_cmp);
    }
    let (quiet, busy) = (without[without.len() / 2], with[with.len() / 2]);
    println!(
        "median: {quiet:.0} → {busy:.0} accepted/s, {:.3} of it (at least 0.90)",
        busy / quiet
    );
}
