//! A million configured users: how soon the daemon is ready, what it holds in memory idle, how soon one changed
//! configuration is published, and whether memory returns after a hundred thousand users were active and put away.
//!
//! One run, no repetitions; needs `/proc`. `SIZE_USERS`, `SIZE_INSTANCES` and `SIZE_ACTIVE` shorten it.

#![allow(clippy::unwrap_used, reason = "a bench without a daemon has nothing to measure")]

mod fixture;

use fixture::{Daemon, Fixture};
use http::Method;
use perseat::boot::administration::ApplyBody;
use perseat::cli::client::call;
use perseat_admin::apply::ApplyOptions;
use perseat_admin::manifest::read_text;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CALLERS: usize = 64;
const CHANGES: u32 = 50;
/// Actors that were idle for so long are put away, looked for so often.
const PASSIVATION: [&str; 2] = ["supervision.passivate-after=2s", "supervision.tidy-every=1s"];
/// How long memory is given to return after the last actor was put away.
const SETTLE: Duration = Duration::from_secs(15);

/// Resident memory of a daemon and its children, MiB.
fn resident(daemon: &Daemon) -> f64 {
    let children = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let process = entry.ok()?.file_name().into_string().ok()?.parse::<u32>().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse::<u32>().ok()?;
        (parent == daemon.0.id()).then_some(process)
    });
    let kibibytes = children.chain([daemon.0.id()]).filter_map(|process| {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    });
    kibibytes.sum::<f64>() / 1024.0
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Posts one event to each.
async fn activate(client: &reqwest::Client, urls: Arc<Vec<String>>) {
    let callers = (0..CALLERS).map(|caller| {
        let (client, urls) = (client.clone(), urls.clone());
        tokio::spawn(async move {
            for url in urls.iter().skip(caller).step_by(CALLERS) {
                let sent = client.post(url).header("content-type", "application/json").body("{}").send().await;
                assert!(sent.is_ok_and(|answer| answer.status().is_success()), "a request was refused");
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}

/// How long one changed user configuration takes from the call until it is durable and published.
async fn change(socket: &Path, n: u32) -> Duration {
    let manifest = format!(
        "kind: UserLevelConfig\ncustomer: customer-0000000\ninstance: Bench\nuser: user-00000000\nconfigVars: {{Folder: /changed/{n}}}\n"
    );
    let body = ApplyBody {
        manifests: read_text(&manifest, Path::new("change.yml"), &|_| None).unwrap(),
        options: ApplyOptions::default(),
    };
    let begun = Instant::now();
    let plan = call(socket, Method::POST, "/apply", Some(json!(body))).await.unwrap();
    let took = begun.elapsed();
    assert!(plan.to_string().contains("changed"), "{plan}");
    took
}

fn main() {
    let (users, instances, active) = (
        number("SIZE_USERS", 1_000_000),
        number("SIZE_INSTANCES", 10_000),
        number("SIZE_ACTIVE", 100_000),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    println!("writing {users} users of {instances} instances");
    let fixture = Fixture::write("ack", "flow-specific", users, instances, &[]);

    let begun = Instant::now();
    let daemon = runtime.block_on(fixture.serve(&client, &PASSIVATION));
    println!(
        "ready after {:.2} s, {:.0} MiB resident",
        begun.elapsed().as_secs_f64(),
        resident(&daemon)
    );

    let urls = fixture.requests();
    let urls = urls.lines().filter_map(|line| line.split('\t').next());
    let mut urls: Vec<String> = urls
        .take(active + 1_000)
        .map(|path| format!("http://{}{path}", fixture.hooks))
        .collect();
    let warm = Arc::new(urls.split_off(urls.len().saturating_sub(1_000)));
    runtime.block_on(activate(&client, warm));
    std::thread::sleep(SETTLE);
    let before = resident(&daemon);
    let count = urls.len();
    runtime.block_on(activate(&client, Arc::new(urls)));
    let during = resident(&daemon);
    std::thread::sleep(SETTLE);
    let after = resident(&daemon);
    let left = runtime.block_on(fixture.metric(&client, "perseat_users_in_memory"));
    println!(
        "{count} users active: {before:.0} MiB before, {during:.0} at the end of the load, {after:.0} once all but {left} were put away \
         ({:+.1} %, aim within 10)",
        (after / before - 1.0) * 100.0
    );

    let socket = fixture.directory.join("data").join("perseat.sock");
    let mut times: Vec<Duration> = (0..CHANGES).map(|n| runtime.block_on(change(&socket, n))).collect();
    times.sort_unstable();
    println!(
        "one changed user configuration, durable and published: median {:.1} ms, longest {:.1} ms of {CHANGES} (aim 50)",
        times[times.len() / 2].as_secs_f64() * 1_000.0,
        times[times.len() - 1].as_secs_f64() * 1_000.0
    );
}
