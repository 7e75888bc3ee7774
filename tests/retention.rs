//! A byte budget for the data directory: traffic of many times its size passes through, and what is live stays.
//!
//! `make soak` runs the second test for long: `SOAK_SECONDS`, `SOAK_BUDGET_MIB` and `SOAK_TRAFFIC_MIB` say how long at
//! least, within what, and with how much.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::daemon::{Daemon, Setup};
use harness::manifests::{Integration, code, flow, people, post, step};
use harness::processes::children;
use harness::provider::{Manner, Provider};
use harness::within;
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const CUSTOMER: &str = "globex";
/// Whose requests get no answer until the end.
const HANGING: &str = "ann";
/// Who sends the traffic, over one connection each.
const BUSY: [&str; 4] = ["bob", "cem", "dan", "eva"];
const MIB: u64 = 1 << 20;
/// How long an event may wait for room (`journal.spare-wait`).
const SPARE_WAIT: Duration = Duration::from_secs(20);
/// How often the directory is looked at.
const LOOK: Duration = Duration::from_millis(10);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Where executions hang, and where they are answered.
const HELD: &str = "/held";
const ANSWERED: &str = "/answered";

/// A flow's only step, which calls nobody.
fn note() -> Vec<String> {
    let message = "          level: {type: value, value: info}\n          message: {type: value, value: it came}\n";
    vec![step("Log", "log", "writeLog", message)]
}

/// A code step, and a request with its result that is answered.
fn work() -> Vec<String> {
    let one = "module.exports = async () => ({ data: { one: 1 } });";
    vec![code("Work", one), post("Tell", ANSWERED, "work.results")]
}

/// A daemon with one user who hangs, one execution queued behind that, and others whose flow ends soon.
struct World {
    provider: Provider,
    daemon: Daemon,
    urls: Vec<String>,
    /// The hanging execution and the one behind it.
    held: [String; 2],
}

/// What the held executions send to the provider.
fn held_body(index: usize) -> Value {
    json!({ "index": index, "filler": "held ".repeat(2_000) })
}

impl World {
    /// One slot for each user, so that the second execution of a user waits for the first. Others take these steps.
    async fn start(setup: Setup, steps: &[String]) -> Self {
        let provider = Provider::start().await;
        provider.set_at(HELD, Manner::Hang);
        let setup = setup
            .allow(&[provider.address()])
            .set("execution.slots", 1 + BUSY.len() as i64)
            .set("execution.user-divisor", 1 + BUSY.len() as i64)
            .set("execution.reserve-divisor", 1)
            // Senders outrun what runs, by how much depends on the machine: they wait for room.
            .set("admission.wait", "60s")
            // What hangs does so to the end, however long the traffic takes.
            .set("outbound.timeout", "23h")
            .set("execution.step-timeout", "23h")
            .set("execution.timeout", "24h");
        let daemon = Daemon::start(setup);
        let send = post("Send", HELD, "onEvent.results.body.data");
        let files = Integration {
            name: "Files",
            endpoint_type: "flow_specific",
            is_user_level: true,
            keys: "",
            flows: flow("Hang", "", &[send]) + &flow("Pass", "", steps),
        };
        let users: Vec<&str> = BUSY.into_iter().chain([HANGING]).collect();
        let mut manifests = people(&[(CUSTOMER, &users)]) + &files.manifest() + &files.instance(CUSTOMER, &provider.url(""), "");
        manifests.extend(users.iter().map(|user| files.user(CUSTOMER, user)));
        daemon.apply(&manifests).await;
        let endpoints = daemon.endpoints("").await;
        let url = |user: &str, flow: &str| {
            let mut found = endpoints
                .iter()
                .filter(|it| it.user.as_deref() == Some(user) && it.flow.as_deref() == Some(flow));
            daemon.hook(&found.next().unwrap().url)
        };
        let mut held = [String::new(), String::new()];
        for (index, id) in held.iter_mut().enumerate() {
            let body = held_body(index).to_string();
            let answer = daemon
                .post(&url(HANGING, "Hang"), &[("content-type", "application/json")], body)
                .await;
            assert_eq!(answer.status, 200);
            *id = answer.json()["executionId"].as_str().unwrap().to_owned();
            provider.until(1).await;
        }
        let urls = BUSY.iter().map(|user| url(user, "Pass")).collect();
        Self {
            provider,
            daemon,
            urls,
            held,
        }
    }

    async fn statuses_of_held(&self) -> Vec<Value> {
        let mut statuses = Vec::new();
        for id in &self.held {
            let execution = self.daemon.local(Method::GET, &format!("/executions/{id}"), None).await.unwrap();
            statuses.push(execution["status"].clone());
        }
        statuses
    }

    /// Lets the provider answer, and holds the two executions to their end.
    async fn release(self) {
        assert_eq!(self.provider.records_at(HELD).len(), 1, "the second waits for the first");
        assert_eq!(self.statuses_of_held().await, ["running", "queued"]);
        self.provider.set_at(HELD, Manner::Answer);
        let records = self.provider.until_at(HELD, 2).await;
        for (index, record) in records.iter().enumerate() {
            assert_eq!(record.json(), held_body(index), "what was accepted is what is sent");
        }
        within("the end of what hung", async {
            let mut look = tokio::time::interval(LOOK);
            while self.statuses_of_held().await != ["succeeded", "succeeded"] {
                look.tick().await;
            }
        })
        .await;
    }
}

/// Bytes that no compression makes smaller.
fn noise(seed: &mut u64, bytes: usize) -> Vec<u8> {
    let mut body = vec![0; bytes];
    for word in body.chunks_exact_mut(8) {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        word.copy_from_slice(&(*seed ^ (*seed >> 33)).to_le_bytes());
    }
    body
}

/// What the senders have receipts for, all together.
struct Taken {
    bytes: AtomicU64,
    /// When the last receipt came, and the longest time between two.
    gap: Mutex<(Instant, Duration)>,
}

impl Taken {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicU64::new(0),
            gap: Mutex::new((Instant::now(), Duration::ZERO)),
        })
    }

    fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let (last, longest) = &mut *self.gap.lock().unwrap();
        *longest = last.elapsed().max(*longest);
        *last = Instant::now();
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn longest_gap(&self) -> Duration {
        self.gap.lock().unwrap().1
    }
}

/// Posts `bytes` of noise over and over while `goes_on`, each on `pace` if there is one; every answer must be a receipt.
fn send(
    url: String,
    seed: u64,
    bytes: usize,
    pace: Option<Duration>,
    goes_on: impl Fn() -> bool + Send + 'static,
    taken: Arc<Taken>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let (mut seed, mut ticks) = (seed, pace.map(tokio::time::interval));
        while goes_on() {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            let body = noise(&mut seed, bytes);
            let answer = client.post(&url).header("content-type", "application/octet-stream").body(body);
            let answer = answer.send().await.unwrap();
            let status = answer.status();
            assert_eq!(status, 200, "intake stopped: {}", answer.text().await.unwrap());
            taken.add(bytes as u64);
        }
    })
}

/// What the directory's files take, and how long they are.
fn bytes_of(directory: &Path) -> (u64, u64) {
    let mut sums = (0, 0);
    let Ok(entries) = std::fs::read_dir(directory) else { return sums };
    for entry in entries {
        let entry = entry.unwrap();
        // A file may go while this looks.
        let Ok(meta) = entry.metadata() else { continue };
        let (taken, length) = match meta.is_dir() {
            true => bytes_of(&entry.path()),
            false => (meta.blocks() * 512, meta.len()),
        };
        sums = (sums.0 + taken, sums.1 + length);
    }
    sums
}

/// The most that the directory came to while `loads` ran, by either measure.
async fn most_while(loads: &[JoinHandle<()>], directory: &Path) -> u64 {
    let (mut most, mut look) = (0, tokio::time::interval(LOOK));
    while loads.iter().any(|load| !load.is_finished()) {
        look.tick().await;
        let (taken, length) = bytes_of(directory);
        most = most.max(taken).max(length);
    }
    most
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_megabytes_pass_through_a_budget_of_twenty() {
    const BUDGET: u64 = 20 * MIB;
    const TRAFFIC: u64 = 500 * MIB;
    /// Near the limit for one body, so that a segment holds three.
    const BODY: usize = 250 << 10;
    let setup = Setup::new()
        .set("retention.budget", format!("{BUDGET}B"))
        .set("journal.segment", "1MiB")
        .set("front.max-body", "256KiB")
        .set("journal.spare-wait", format!("{}s", SPARE_WAIT.as_secs()));
    let world = World::start(setup, &note()).await;
    let (taken, began) = (Taken::new(), Instant::now());
    let goes_on = || {
        let taken = taken.clone();
        move || taken.bytes() < TRAFFIC
    };
    let urls = world.urls.iter().zip(1..);
    let loads: Vec<_> = urls
        .map(|(url, seed)| send(url.clone(), seed, BODY, None, goes_on(), taken.clone()))
        .collect();
    let most = most_while(&loads, &world.daemon.data()).await;
    for load in loads {
        load.await.unwrap();
    }
    let (elapsed, gap) = (began.elapsed(), taken.longest_gap());
    let [dropped, rows, carried] = within("a log that says what the metrics say", what_was_dropped(&world.daemon)).await;
    println!(
        "{} bytes in {elapsed:?}, {gap:?} at most between two receipts; the directory came to {most} bytes of {BUDGET}; \
         {dropped} segments dropped, {carried} times an execution carried",
        taken.bytes()
    );
    assert!(most <= BUDGET / 10 * 11, "the directory came to {most} bytes");
    assert_eq!(world.daemon.metric("perseat_front_refused_total").await, 0.0);
    // Whoever waited for room, for that or for an end of what runs, did so for less than an event may.
    assert!(gap < SPARE_WAIT, "intake stood still for {gap:?} of {elapsed:?}");
    assert!(dropped >= (TRAFFIC / MIB) as f64 - 20.0, "{dropped} segments were dropped");
    assert!(carried >= 2.0, "both held executions were in the oldest segment");
    assert!(rows > 0.0, "what had ended was dropped");
    world.release().await;
}

/// Segments and executions that were dropped, and how often one was carried: by the metrics, once the lines of the log come to the same.
async fn what_was_dropped(daemon: &Daemon) -> [f64; 3] {
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        let metrics = ["segments", "executions"].map(|what| format!("perseat_retention_dropped_{what}_total"));
        let counted = [
            daemon.metric(&metrics[0]).await,
            daemon.metric(&metrics[1]).await,
            daemon.metric("perseat_retention_carried_executions_total").await,
        ];
        let mut said = [0.0; 3];
        for line in daemon.log().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if line["message"] == "dropped the oldest segment to stay within the storage budget" {
                let figures = ["history_rows", "executions_carried"].map(|field| line[field].as_f64().unwrap());
                said = [said[0] + 1.0, said[1] + figures[0], said[2] + figures[1]];
            }
        }
        if said == counted {
            return counted;
        }
    }
}

/// Without `state.redb` nobody knows whether what was carried had ended: the daemon asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_lost_its_state_asks_before_it_runs_copies_again() {
    const BODY: usize = 250 << 10;
    let setup = Setup::new()
        .set("retention.budget", "20MiB")
        .set("journal.segment", "1MiB")
        .set("front.max-body", "256KiB");
    let mut world = World::start(setup, &note()).await;
    let (url, mut seed) = (world.urls[0].clone(), 1);
    while world.daemon.metric("perseat_retention_carried_executions_total").await < 2.0 {
        let body = noise(&mut seed, BODY);
        assert_eq!(world.daemon.post(&url, &[], body).await.status, 200);
    }
    world.daemon.kill();
    std::fs::remove_file(world.daemon.data().join("state.redb")).unwrap();
    world.daemon.relaunch(None);
    assert!(!world.daemon.until_ready_or_ended(), "it must not start by itself");
    let said = world.daemon.log();
    assert!(said.contains("2 executions") && said.contains("--resume-carried"), "{said}");

    world.provider.set_at(HELD, Manner::Answer);
    world.daemon.relaunch_with("--resume-carried");
    world.daemon.until_ready();
    within("the end of what hung", async {
        let mut look = tokio::time::interval(LOOK);
        while world.statuses_of_held().await != ["succeeded", "succeeded"] {
            look.tick().await;
        }
    })
    .await;
    let records = world.provider.records();
    assert_eq!(records.len(), 3, "the step that was under way is sent again");
    assert_eq!(records[0].key, records[1].key, "with its key");
    world.daemon.terminate();
    world.daemon.restart();
}

/// Resident memory and open files of the daemon and its children.
fn resources(pid: u32) -> (u64, u64) {
    let of = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        (resident << 10, files as u64)
    };
    [pid]
        .into_iter()
        .chain(children(pid))
        .map(of)
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn median(mut of: Vec<u64>) -> u64 {
    of.sort_unstable();
    of[of.len() / 2]
}

/// At 70 % of what it takes at most, a daemon's memory and files are at the end what they were in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steady_load_leaves_memory_and_open_files_as_they_are() {
    const BODY: usize = 8 << 10;
    const SHARE: f64 = 0.7;
    let budget = number("SOAK_BUDGET_MIB", 20) * MIB;
    let traffic = number("SOAK_TRAFFIC_MIB", 20) * MIB;
    let span = Duration::from_secs(number("SOAK_SECONDS", 8));
    let setup = Setup::new()
        .set("retention.budget", format!("{budget}B"))
        .set("front.max-body", "256KiB")
        // As many processes in the end as at the beginning.
        .set("code.children", 2)
        .set("code.spares", 1);
    let world = World::start(setup, &work()).await;
    let loads = |pace: Option<Duration>, stop: &Arc<AtomicBool>, taken: &Arc<Taken>| -> Vec<JoinHandle<()>> {
        let goes_on = || {
            let stop = stop.clone();
            move || !stop.load(Ordering::Relaxed)
        };
        let urls = world.urls.iter().zip(1..);
        urls.map(|(url, seed)| send(url.clone(), seed, BODY, pace, goes_on(), taken.clone()))
            .collect()
    };

    // What it takes at most, and a budget that is used up before the count begins.
    let (stop, taken, began) = (Arc::default(), Taken::new(), Instant::now());
    let flood = loads(None, &stop, &taken);
    let mut look = tokio::time::interval(LOOK);
    while began.elapsed() < span / 4 || world.daemon.metric("perseat_retention_dropped_segments_total").await == 0.0 {
        look.tick().await;
    }
    stop.store(true, Ordering::Relaxed);
    for load in flood {
        load.await.unwrap();
    }
    let most_a_second = taken.bytes() as f64 / BODY as f64 / began.elapsed().as_secs_f64();

    let pace = Duration::from_secs_f64(BUSY.len() as f64 / most_a_second / SHARE);
    let (stop, taken, began): (Arc<AtomicBool>, _, _) = (Arc::default(), Taken::new(), Instant::now());
    let steady = loads(Some(pace), &stop, &taken);
    let (mut most, mut samples) = (0, Vec::new());
    let mut look = tokio::time::interval(span / 200);
    while began.elapsed() < span || taken.bytes() < traffic {
        look.tick().await;
        if steady.iter().any(JoinHandle::is_finished) {
            let cut = world.daemon.metric("perseat_front_timeouts_total").await;
            panic!("a sender gave up after {:?}; the front cut {cut} connections", began.elapsed());
        }
        most = most.max(bytes_of(&world.daemon.data()).0);
        samples.push(resources(world.daemon.id()));
        world.provider.forget_at(ANSWERED);
    }
    stop.store(true, Ordering::Relaxed);
    for load in steady {
        load.await.unwrap();
    }
    let third = samples.len() / 3;
    let over = |part: &[(u64, u64)], of: fn(&(u64, u64)) -> u64| median(part.iter().map(of).collect());
    let (middle, end) = (&samples[third..2 * third], &samples[2 * third..]);
    let (memory, files) = (|sample: &(u64, u64)| sample.0, |sample: &(u64, u64)| sample.1);
    // What grows, and what took one step when the machine changed, end alike.
    let tenths = samples.chunks(samples.len().div_ceil(10));
    let by_tenth: Vec<u64> = tenths.map(|part| over(part, memory) / MIB).collect();
    println!(
        "at most {most_a_second:.0} events/s; then {} bytes in {:?} at {SHARE} of it, {:?} at most between two receipts; \
         the directory came to {most} of {budget}; resident memory {} → {} bytes ({by_tenth:?} MiB), open files {} → {}",
        taken.bytes(),
        began.elapsed(),
        taken.longest_gap(),
        over(middle, memory),
        over(end, memory),
        over(middle, files),
        over(end, files)
    );
    assert!(most <= budget / 10 * 11, "the directory came to {most} bytes");
    assert!(over(end, memory) <= over(middle, memory) / 10 * 11, "resident memory grows");
    assert!(over(end, files) <= over(middle, files) + 4, "open files grow");
    assert!(
        !children(world.daemon.id()).is_empty(),
        "code runs in processes that are counted, too"
    );
    assert!(world.provider.seen() > 1, "requests were answered meanwhile");
    world.release().await;
}
