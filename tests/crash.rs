//! SIGKILL at any moment: nothing acknowledged is lost, every execution ends, and no step that was recorded is repeated.
//!
//! `CRASH_ROUNDS` says how often the daemon is killed, `CRASH_SEED` where the random moments begin. The journal is then
//! read without the daemon, and every receipt and every request that reached the provider is held against it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use harness::daemon::{Daemon, Setup};
use harness::manifests::{Integration, code, flow, people, post, token};
use harness::provider::{Provider, Record};
use harness::within;
use http::Method;
use perseat_domain::entry::{EndStatus, Entry, StepStatus};
use perseat_domain::id::ExecutionId;
use perseat_journal::inspect;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

const CUSTOMERS: [&str; 2] = ["globex", "initech"];
const USERS: [&str; 10] = ["ann", "bob", "cem", "dan", "eva", "fay", "gus", "hal", "ida", "jon"];
const CONNECTIONS: u64 = 6;
/// Receipts of a round before its kill, at most.
const RECEIPTS: u64 = 60;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// SplitMix64: a schedule of kills that a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Small segments, so that many are filled; nothing is dropped, so that the journal tells everything.
fn setup(provider: &Provider) -> Setup {
    Setup::new()
        .allow(&[provider.address()])
        .set("journal.segment", "512KiB")
        .set("front.max-body", "64KiB")
}

/// Twenty users with two flows each: code and one request, code and two requests.
async fn populate(daemon: &Daemon, provider: &Provider) {
    let work = code(
        "Work",
        "module.exports = async (context, { onEvent }) => ({ data: onEvent.results.body.data });",
    );
    let flows = [
        flow("Once", "", &[work.clone(), post("First", "/first", "work.results")]),
        flow(
            "Twice",
            "",
            &[
                work,
                post("First", "/first", "work.results"),
                post("Second", "/second", "work.results"),
            ],
        ),
    ];
    let files = Integration {
        name: "Files",
        endpoint_type: "flow_specific",
        is_user_level: true,
        keys: "",
        flows: flows.concat(),
    };
    let mut manifests = people(&CUSTOMERS.map(|customer| (customer, &USERS[..]))) + &files.manifest();
    for customer in CUSTOMERS {
        manifests += &files.instance(customer, &provider.url(""), "");
        manifests.extend(USERS.map(|user| files.user(customer, user)));
    }
    daemon.apply(&manifests).await;
}

/// A URL and whose it is.
#[derive(Clone, Debug)]
struct Target {
    url: String,
    token: String,
}

async fn targets(daemon: &Daemon) -> Vec<Target> {
    let found = daemon.endpoints("").await;
    let target = |endpoint: perseat_admin::endpoints::Endpoint| Target {
        url: daemon.hook(&endpoint.url),
        token: token(&endpoint.customer.unwrap(), &endpoint.user.unwrap()),
    };
    found.into_iter().map(target).collect()
}

/// Posts over one connection until it breaks; each 2xx is a receipt.
async fn load(targets: Arc<Vec<Target>>, mut random: Random, receipts: mpsc::UnboundedSender<ExecutionId>, served: watch::Sender<u64>) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    loop {
        let target = &targets[usize::try_from(random.below(targets.len() as u64)).unwrap()];
        let body = json!({ "token": target.token, "filler": "x".repeat(usize::try_from(random.below(4_000)).unwrap()) });
        let sent = client
            .post(&target.url)
            .header("content-type", "application/json")
            .body(body.to_string());
        let Ok(response) = sent.send().await else { return };
        let status = response.status();
        if status.is_success() {
            let Ok(body) = response.bytes().await else { return };
            let body: Value = serde_json::from_slice(&body).unwrap();
            let id = ExecutionId::from_str(body["executionId"].as_str().unwrap()).unwrap();
            receipts.send(id).unwrap();
            served.send_modify(|count| *count += 1);
        } else {
            assert_eq!(status.as_u16(), 429, "only a full queue may refuse");
        }
    }
}

/// What the journal says of one execution.
#[derive(Debug, Default)]
struct Story {
    accepted: u64,
    /// Where each activation began.
    started: Vec<u64>,
    /// Where each step's result stands.
    done: BTreeMap<String, Vec<u64>>,
    ended: Vec<EndStatus>,
}

impl Story {
    /// How often the request of `path` may have been sent: once for each activation that found it not done and that had,
    /// or could come to have, the step before it done.
    fn most_requests(&self, path: &str) -> usize {
        let before = path
            .parse::<u32>()
            .ok()
            .and_then(|index| index.checked_sub(1))
            .map(|index| index.to_string());
        let done = self.done.get(path).map_or(u64::MAX, |at| at[0]);
        let ready = before.and_then(|before| self.done.get(&before)).map_or(0, |at| at[0]);
        let ends = self.started.iter().skip(1).copied().chain([u64::MAX]);
        self.started
            .iter()
            .zip(ends)
            .filter(|(start, end)| **start < done && ready < *end)
            .count()
    }
}

fn stories(journal: &Path) -> (HashMap<ExecutionId, Story>, usize) {
    let (mut stories, mut at) = (HashMap::<_, Story>::new(), 0);
    let segments = inspect::segments(journal).unwrap();
    for segment in &segments {
        for committed in inspect::entries(segment.as_ref().unwrap()) {
            at += 1;
            let entry = Entry::decode(&committed.unwrap().payload).unwrap();
            let story = stories.entry(entry.execution()).or_default();
            match entry {
                Entry::Accepted(_) => story.accepted += 1,
                Entry::Started(_) => story.started.push(at),
                Entry::StepsDone(done) => {
                    for step in done.steps {
                        assert_eq!(step.status, StepStatus::Ok, "{step:?}");
                        story.done.entry(step.path).or_default().push(at);
                    }
                }
                Entry::Ended(ended) => story.ended.push(ended.status),
                other => panic!("nothing was cancelled or carried: {other:?}"),
            }
        }
    }
    (stories, segments.len())
}

/// Everything that does not hold.
fn reconcile(receipts: &[ExecutionId], stories: &HashMap<ExecutionId, Story>, records: &[Record]) -> Vec<String> {
    let mut wrong = Vec::new();
    for receipt in receipts {
        if !stories.contains_key(receipt) {
            wrong.push(format!("{receipt} was acknowledged and is lost"));
        }
    }
    for (id, story) in stories {
        if story.accepted != 1 || story.ended != [EndStatus::Succeeded] || story.done.values().any(|at| at.len() != 1) {
            wrong.push(format!(
                "{id} was not accepted once, each step recorded once, and ended once: {story:?}"
            ));
        }
    }
    let mut requests: HashMap<(ExecutionId, &str), usize> = HashMap::new();
    for record in records {
        let (step, ordinal) = record.key.rsplit_once(':').unwrap();
        let (execution, path) = step.split_once(':').unwrap();
        *requests.entry((ExecutionId::from_str(execution).unwrap(), path)).or_default() += 1;
        if ordinal != "0" || record.json()["token"] != record.token.as_str() {
            wrong.push(format!("a request with the wrong ordinal or token: {record:?}"));
        }
    }
    for (id, story) in stories {
        // The step after the trigger is code; those after it are requests.
        for path in story.done.keys().skip(1) {
            let sent = requests.remove(&(*id, path.as_str())).unwrap_or_default();
            if sent == 0 || sent > story.most_requests(path) {
                wrong.push(format!("{id} sent the request of step {path} {sent} times: {story:?}"));
            }
        }
    }
    wrong.extend(
        requests
            .keys()
            .map(|key| format!("the journal knows nothing of the request {key:?}")),
    );
    wrong
}

/// Waits until no execution is queued or running.
async fn until_all_ended(daemon: &Daemon) {
    let all_ended = async {
        let mut look = tokio::time::interval(Duration::from_millis(50));
        loop {
            look.tick().await;
            let live = daemon
                .local(Method::GET, "/executions?status=queued,running&limit=1", None)
                .await
                .unwrap();
            if live["executions"] == json!([]) {
                return;
            }
        }
    };
    within("the end of every execution", all_ended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_loses_nothing_acknowledged_and_repeats_nothing_recorded() {
    let (rounds, seed) = (number("CRASH_ROUNDS", 10), number("CRASH_SEED", 20_261_123));
    println!("CRASH_ROUNDS={rounds} CRASH_SEED={seed}");
    let mut random = Random(seed);
    let provider = Provider::start().await;
    let mut daemon = Daemon::start(setup(&provider));
    populate(&daemon, &provider).await;
    let (send, mut receive) = mpsc::unbounded_channel();
    for _ in 0..rounds {
        let targets = Arc::new(targets(&daemon).await);
        let served = watch::Sender::new(0);
        let loads: Vec<_> = (0..CONNECTIONS)
            .map(|_| tokio::spawn(load(targets.clone(), Random(random.below(u64::MAX)), send.clone(), served.clone())))
            .collect();
        let enough = 1 + random.below(RECEIPTS);
        within("the receipts of a round", served.subscribe().wait_for(|served| *served >= enough))
            .await
            .unwrap();
        daemon.kill();
        for load in loads {
            load.await.unwrap();
        }
        daemon.restart();
    }
    drop(send);
    until_all_ended(&daemon).await;
    assert!(daemon.terminate().success());

    let mut receipts = Vec::new();
    while let Some(receipt) = receive.recv().await {
        receipts.push(receipt);
    }
    let records = provider.records();
    let (stories, segments) = stories(&daemon.data().join("journal"));
    let resumed = stories.values().filter(|story| story.started.len() > 1).count();
    let requests: usize = stories.values().map(|story| story.done.len() - 1).sum();
    println!(
        "{} receipts, {} executions, {resumed} resumed, {} of {} requests repeated, {segments} segments",
        receipts.len(),
        stories.len(),
        records.len() - requests,
        records.len()
    );
    let wrong = reconcile(&receipts, &stories, &records);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(resumed > 0, "no kill met a running execution: the test has lost its bite");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_acknowledges_before_it_has_written_is_caught() {
    let provider = Provider::start().await;
    let mut daemon = Daemon::start(setup(&provider));
    populate(&daemon, &provider).await;
    let target = targets(&daemon).await.swap_remove(0);
    daemon.switch("acknowledge-early", true).await;
    daemon.switch("freeze-writer", true).await;
    let answer = within("the early answer", daemon.post(&target.url, &[], "{}")).await;
    assert_eq!(answer.status, 200);
    daemon.kill();
    daemon.restart();
    until_all_ended(&daemon).await;
    assert!(daemon.terminate().success());

    let receipt = ExecutionId::from_str(answer.json()["executionId"].as_str().unwrap()).unwrap();
    let (stories, _) = stories(&daemon.data().join("journal"));
    let wrong = reconcile(&[receipt], &stories, &provider.records());
    assert_eq!(wrong, [format!("{receipt} was acknowledged and is lost")]);
}

#[test]
fn the_reconciliation_finds_a_repeated_step_and_an_execution_without_end() {
    let id = ExecutionId(Uuid::from_u128(1));
    let record = |ordinal| Record {
        target: "POST /first".to_owned(),
        token: "t".to_owned(),
        key: format!("{id}:2:{ordinal}"),
        headers: http::HeaderMap::new(),
        body: json!({ "token": "t" }).to_string().into(),
    };
    let story = |started: &[u64], ended: &[EndStatus]| {
        let done = BTreeMap::from([("1".to_owned(), vec![3]), ("2".to_owned(), vec![5])]);
        let story = Story {
            accepted: 1,
            started: started.to_vec(),
            done,
            ended: ended.to_vec(),
        };
        HashMap::from([(id, story)])
    };
    let wrong = |story: &HashMap<_, _>, records: &[Record]| reconcile(&[id], story, records).len();
    let ended = [EndStatus::Succeeded];
    let twice = [record(0), record(0)];
    assert_eq!(wrong(&story(&[2], &ended), &twice[..1]), 0);
    assert_eq!(
        wrong(&story(&[2, 4], &ended), &twice),
        0,
        "it was not recorded when the second activation began"
    );
    assert_eq!(wrong(&story(&[2, 6], &ended), &twice), 1, "it was recorded");
    assert_eq!(wrong(&story(&[1, 2], &ended), &twice), 1, "the first activation never came to it");
    assert_eq!(wrong(&story(&[2], &ended), &[]), 1, "it was recorded and never sent");
    assert_eq!(wrong(&story(&[2], &[]), &twice[..1]), 1, "it never ended");
    assert_eq!(wrong(&story(&[2], &ended), &[record(1)]), 1, "it is the only request of its step");
    assert_eq!(wrong(&HashMap::new(), &[]), 1, "it is lost");
}
