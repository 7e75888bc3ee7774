//! How far the index is behind when five seconds of load end, and how soon it has caught up, for each kind of event that the
//! comparison with others sends.
//!
//! One run each, no repetitions. `LAG_SECONDS` and `LAG_CALLERS` change how much is sent.

#![allow(clippy::unwrap_used, reason = "a bench without a daemon has nothing to measure")]

mod fixture;
#[path = "../tests/harness/mod.rs"]
mod harness;

use fixture::Fixture;
use harness::provider::Provider;
use perseat::boot::reload::Given;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is sent: the flow and the endpoint of the fixture.
const TARGETS: [(&str, &str); 4] = [
    ("ack", "flow-specific"),
    ("ack", "shared"),
    ("code", "flow-specific"),
    ("three-step", "flow-specific"),
];

/// A URL and the headers of a request to it.
type Target = (String, Vec<(String, String)>);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A line of the fixture: the path, then headers, between tabs.
fn target(hooks: &str, line: &str) -> Target {
    let mut parts = line.split('\t');
    let url = format!("http://{hooks}{}", parts.next().unwrap());
    let headers = parts.filter_map(|header| header.split_once(": "));
    (url, headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Sends without a pause until the time is over; gives how many were accepted.
async fn load(client: &reqwest::Client, targets: &Arc<Vec<Target>>, callers: usize, seconds: u64) -> u64 {
    let until = Instant::now() + Duration::from_secs(seconds);
    let body = format!(r#"{{"items":[],"pad":"{}"}}"#, "x".repeat(1_000));
    let callers = (0..callers).map(|caller| {
        let (client, targets, body) = (client.clone(), targets.clone(), body.clone());
        tokio::spawn(async move {
            let (mut accepted, mut next) = (0, caller);
            while Instant::now() < until {
                let (url, headers) = &targets[next % targets.len()];
                let mut request = client.post(url).header("content-type", "application/json").body(body.clone());
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                let answer = request.send().await.unwrap();
                assert!(answer.status().is_success(), "an event was refused: {}", answer.status());
                (accepted, next) = (accepted + 1, next + 17);
            }
            accepted
        })
    });
    let mut accepted = 0;
    for caller in callers.collect::<Vec<_>>() {
        accepted += caller.await.unwrap();
    }
    accepted
}

async fn run(client: &reqwest::Client, flow: &str, endpoint: &str) {
    let (callers, seconds) = (number("LAG_CALLERS", 64) as usize, number("LAG_SECONDS", 5));
    let sink = Provider::start().await;
    let url = sink.url("/");
    let sink: &[&str] = if flow == "three-step" { &["--sink", &url] } else { &[] };
    let fixture = Fixture::write(flow, endpoint, 1_000, 10, sink);
    let given = Given {
        file: Some(fixture.config()),
        ..Given::default()
    };
    let limit = given.load().unwrap().index.max_lag.get();
    let _daemon = fixture.serve(client, &[]).await;
    let lines = fixture.requests();
    let targets = Arc::new(lines.lines().map(|line| target(&fixture.hooks, line)).collect::<Vec<_>>());
    let accepted = load(client, &targets, callers, seconds).await;
    // Committed entries that are not in the index.
    let lag = async || fixture.metric(client, "perseat_index_lag_entries").await;
    let (behind, over) = (lag().await, Instant::now());
    let mut look = tokio::time::interval(Duration::from_millis(20));
    while lag().await > 0.0 {
        look.tick().await;
    }
    println!(
        "{flow}, {endpoint}: {} accepted/s; {behind} entries behind at the end (at most {limit}), none after {:.1} s (aim {seconds})",
        accepted / seconds,
        over.elapsed().as_secs_f64()
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (flow, endpoint) in TARGETS {
        runtime.block_on(run(&client, flow, endpoint));
    }
}
