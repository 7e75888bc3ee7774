//! One user floods; what do twenty others notice? Pairs of runs, without and with the flood, on fresh daemons.
//!
//! The flood is 11,000 events of one user, each of which (a) hangs on HTTP or (b) spins in code until `code.wall`. Twenty
//! others, of the same instance or of another customer's, get 300 events a second in an open loop: code, then one request.
//! Their flow is synchronous, so that a sender sees the end: times are from sending the event to its result, in microseconds.
//! `NEIGHBOUR_CASE` picks a case by a part of its name, `NEIGHBOUR_PAIRS` and `NEIGHBOUR_SECONDS` shorten it.

#![allow(clippy::unwrap_used, reason = "a bench without a daemon has nothing to measure")]

#[path = "../tests/harness/mod.rs"]
mod harness;

use harness::daemon::{Daemon, Setup};
use harness::manifests::{Integration, code, flow, people, post, step};
use harness::provider::{Manner, Provider};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};

const PER_SECOND: u32 = 300;
/// Some start at once; so many are queued all the time.
const FLOOD: usize = 11_000;
const QUEUED: f64 = 10_000.0;
const FLOODERS: usize = 16;
/// How long the others may take to end after their last event.
const GRACE: Duration = Duration::from_secs(20);
const OTHERS: [&str; 20] = [
    "ann", "bob", "cem", "dan", "eva", "fay", "gus", "hal", "ida", "jon", "kim", "leo", "mia", "ned", "ola", "pia", "quy", "rui", "sam",
    "tea",
];

#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    /// The others' customer; the flood is globex's.
    customer: &'static str,
    /// The flow that floods.
    flow: &'static str,
}

const CASES: [Case; 4] = [
    Case {
        name: "same instance, hanging on HTTP",
        customer: "globex",
        flow: "Hang",
    },
    Case {
        name: "same instance, spinning in code",
        customer: "globex",
        flow: "Spin",
    },
    Case {
        name: "another customer, hanging on HTTP",
        customer: "initech",
        flow: "Hang",
    },
    Case {
        name: "another customer, spinning in code",
        customer: "initech",
        flow: "Spin",
    },
];

/// What the others got.
#[derive(Clone, Copy, Debug)]
struct Figures {
    p50: Duration,
    p99: Duration,
    /// Ended before the window was over, a second.
    throughput: f64,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn manifests(provider: &Provider, hanging: &Provider) -> String {
    let work = code(
        "Work",
        "module.exports = async (context, { onEvent }) => ({ data: onEvent.results.body.data });",
    );
    let hang = format!("          url: {{type: value, value: \"{}\"}}\n", hanging.url("/hang"));
    let flows = [
        flow("Work", "    isSynchronous: true\n", &[work, post("Send", "/work", "work.results")]),
        flow("Hang", "", &[step("Wait", "http", "httpPost", &hang)]),
        flow("Spin", "", &[code("Turn", "module.exports = () => { for (;;); };")]),
    ];
    let files = Integration {
        name: "Files",
        endpoint_type: "flow_specific",
        is_user_level: true,
        keys: "",
        flows: flows.concat(),
    };
    let users: Vec<&str> = OTHERS.into_iter().chain(["zoe"]).collect();
    let mut yaml = people(&[("globex", &users), ("initech", &OTHERS)]) + &files.manifest();
    for (customer, users) in [("globex", users.as_slice()), ("initech", &OTHERS)] {
        yaml += &files.instance(customer, &provider.url(""), "");
        yaml.extend(users.iter().map(|user| files.user(customer, user)));
    }
    yaml
}

/// Accepts the whole flood.
async fn flood(client: &reqwest::Client, url: &str) {
    let posts = (0..FLOODERS).map(|n| {
        let (client, url) = (client.clone(), url.to_owned());
        tokio::spawn(async move {
            for _ in (n..FLOOD).step_by(FLOODERS) {
                let answer = client.post(&url).body("{}").send().await.unwrap();
                assert!(answer.status().is_success(), "the flood was refused: {}", answer.status());
            }
        })
    });
    for post in posts.collect::<Vec<_>>() {
        post.await.unwrap();
    }
}

/// 300 events a second, whatever becomes of them; when each was sent and when it had ended, if it did within [`GRACE`].
async fn others(client: &reqwest::Client, urls: &[String], seconds: u32) -> Vec<(Instant, Option<Instant>)> {
    let mut clock = interval_at(Instant::now(), Duration::from_secs(1) / PER_SECOND);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let count = (seconds * PER_SECOND) as usize;
    let mut calls = Vec::with_capacity(count);
    for n in 0..count {
        let due = clock.tick().await;
        let call = client.post(&urls[n % urls.len()]).header("content-type", "application/json");
        let call = call.body(format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(500)));
        calls.push((
            due,
            tokio::spawn(async move {
                let answer = call.send().await.unwrap();
                let (status, body) = (answer.status(), answer.bytes().await.unwrap());
                assert!(status.is_success(), "an event of the others got {status}: {body:?}");
                Instant::now()
            }),
        ));
    }
    let give_up = Instant::now() + GRACE;
    let mut times = Vec::with_capacity(count);
    for (due, call) in calls {
        times.push((due, timeout_at(give_up, call).await.ok().map(Result::unwrap)));
    }
    times
}

/// Before the others' events and after them: what is measured between is measured beside the flood.
async fn must_be_flooded(daemon: &Daemon) {
    let live = daemon.metric("perseat_executions_live").await;
    let queued = live - daemon.metric("perseat_executions_running").await;
    assert!(queued >= QUEUED, "the flood is not there: {queued} of {live} executions are queued");
}

async fn run(case: Case, is_flooded: bool, seconds: u32) -> Figures {
    let (provider, hanging) = (Provider::start().await, Provider::start().await);
    hanging.set(Manner::Hang);
    let setup = Setup::new().allow(&[provider.address(), hanging.address()]);
    let daemon = Daemon::start(setup.set("code.wall", "2s").set("code.cpu", "2s").set("journal.segment", "16MiB"));
    daemon.apply(&manifests(&provider, &hanging)).await;
    let endpoints = daemon.endpoints("").await;
    let url = |customer: &str, user: &str, flow: &str| {
        let is_it = |one: &&perseat_admin::endpoints::Endpoint| {
            one.customer.as_deref() == Some(customer) && one.user.as_deref() == Some(user) && one.flow.as_deref() == Some(flow)
        };
        daemon.hook(&endpoints.iter().find(is_it).unwrap().url)
    };
    let urls = OTHERS.map(|user| url(case.customer, user, "Work"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    // Actors, scripts and connections are there before anything is measured.
    others(&client, &urls, 1).await;
    if is_flooded {
        flood(&client, &url("globex", "zoe", case.flow)).await;
        must_be_flooded(&daemon).await;
    }
    let until = Instant::now() + Duration::from_secs(seconds.into());
    let times = others(&client, &urls, seconds).await;
    if is_flooded {
        must_be_flooded(&daemon).await;
    }
    figures(&times, until, seconds)
}

fn figures(times: &[(Instant, Option<Instant>)], until: Instant, seconds: u32) -> Figures {
    let ended_in_time = times.iter().filter(|(_, end)| end.is_some_and(|end| end <= until)).count();
    // What never ended took for ever.
    let mut times: Vec<Duration> = times.iter().map(|(due, end)| end.map_or(Duration::MAX, |end| end - *due)).collect();
    times.sort_unstable();
    let of = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    Figures {
        p50: of(50),
        p99: of(99),
        throughput: ended_in_time as f64 / f64::from(seconds),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let (pairs, seconds) = (number("NEIGHBOUR_PAIRS", 5), number("NEIGHBOUR_SECONDS", 20) as u32);
    let wanted = std::env::var("NEIGHBOUR_CASE").unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    println!("others: {PER_SECOND}/s for {seconds} s; times in µs from the event to its result");
    for case in CASES.into_iter().filter(|case| case.name.contains(&wanted)) {
        let (mut ratios, mut shares) = (Vec::new(), Vec::new());
        for pair in 1..=pairs {
            let without = runtime.block_on(run(case, false, seconds));
            let with = runtime.block_on(run(case, true, seconds));
            let (ratio, share) = (
                with.p99.as_secs_f64() / without.p99.as_secs_f64(),
                with.throughput / without.throughput,
            );
            println!(
                "{}, pair {pair}: p50 {} → {}, p99 {} → {} ({ratio:.2}), {:.1} → {:.1} ended/s ({share:.3})",
                case.name,
                without.p50.as_micros(),
                with.p50.as_micros(),
                without.p99.as_micros(),
                with.p99.as_micros(),
                without.throughput,
                with.throughput
            );
            ratios.push(ratio);
            shares.push(share);
        }
        println!(
            "{}: median p99 ratio {:.2} (at most 1.5), median throughput share {:.3} (at least 0.95)",
            case.name,
            median(ratios),
            median(shares)
        );
    }
}
