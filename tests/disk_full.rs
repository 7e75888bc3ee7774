//! The disk-full table of `docs/operations.md`, row by row, through a running daemon that is never restarted.
//!
//! A switch lets the disk below one store refuse whatever would make a file larger, as a full file system does.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::daemon::{Answer, Daemon, Setup};
use harness::manifests::{Integration, code, flow, people, post};
use harness::provider::{Manner, Provider};
use harness::within;
use http::Method;
use perseat::cli::client::ClientError;
use serde_json::{Value, json};

const USERS: [&str; 4] = ["ann", "bob", "cem", "dan"];

/// Segments of 512 KiB, so that a few large bodies fill one; short pauses, so that recovery is soon.
fn setup(provider: &Provider) -> Setup {
    Setup::new()
        .allow(&[provider.address()])
        .set("journal.segment", "512KiB")
        .set("journal.retry-interval", "50ms")
        .set("front.max-body", "128KiB")
        .set("retention.ballast", "1MiB")
        .set("index.retry-interval", "50ms")
}

/// Four users with two flows each: one that asks the provider, one that does nothing.
struct World {
    daemon: Daemon,
    provider: Provider,
    asking: Vec<String>,
    idle: Vec<String>,
}

impl World {
    async fn start(change: impl FnOnce(Setup) -> Setup) -> Self {
        let provider = Provider::start().await;
        let daemon = Daemon::start(change(setup(&provider)));
        let nothing = code("Nothing", "module.exports = async () => ({ data: null });");
        let files = Integration {
            name: "Files",
            endpoint_type: "flow_specific",
            is_user_level: true,
            keys: "",
            flows: flow("Ask", "", &[post("Post", "/ask", "onEvent.results.body.data")]) + &flow("Idle", "", &[nothing]),
        };
        let mut manifests = people(&[("globex", &USERS)]) + &files.manifest();
        manifests += &files.instance("globex", &provider.url(""), "");
        manifests.extend(USERS.map(|user| files.user("globex", user)));
        daemon.apply(&manifests).await;
        let (mut asking, mut idle) = (Vec::new(), Vec::new());
        for endpoint in daemon.endpoints("").await {
            let of_flow = if endpoint.flow.as_deref() == Some("Ask") {
                &mut asking
            } else {
                &mut idle
            };
            of_flow.push(endpoint.url);
        }
        assert_eq!((asking.len(), idle.len()), (USERS.len(), USERS.len()));
        Self {
            daemon,
            provider,
            asking,
            idle,
        }
    }

    async fn post(&self, url: &str, bytes: usize) -> Answer {
        let body = json!({ "filler": filler(bytes) }).to_string();
        self.daemon.post(url, &[("content-type", "application/json")], body).await
    }

    /// Posts to `url` until it is refused; gives the refusal and how many were accepted before it.
    async fn until_refused(&self, url: &str, bytes: usize) -> (Answer, usize) {
        let refused = async {
            let mut accepted = 0;
            loop {
                let answer = self.post(url, bytes).await;
                if answer.status != 200 {
                    return (answer, accepted);
                }
                accepted += 1;
            }
        };
        within("a refusal", refused).await
    }

    /// Posts to `url` until it is accepted again.
    async fn until_accepted(&self, url: &str) {
        self.until("an event to be accepted again", async || self.post(url, 10).await.status == 200)
            .await;
    }

    /// Waits until no execution is queued or running.
    async fn until_all_ended(&self) {
        let none_is_live = async || {
            let target = "/executions?status=queued,running&limit=1";
            let live = self.daemon.local(Method::GET, target, None).await.unwrap();
            live["executions"] == json!([])
        };
        self.until("the end of every execution", none_is_live).await;
    }

    /// Looks again and again until it is so.
    async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let looking = async {
            let mut look = tokio::time::interval(Duration::from_millis(20));
            while !is_so().await {
                look.tick().await;
            }
        };
        within(what, looking).await;
    }

    /// The numbers of the history files.
    fn history(&self) -> Vec<u32> {
        let files = std::fs::read_dir(self.daemon.data().join("history")).unwrap();
        let mut numbers: Vec<u32> = files
            .filter_map(|file| file.unwrap().path().file_stem()?.to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers
    }

    fn ballast_is_there(&self) -> bool {
        self.daemon.data().join("ballast").exists()
    }

    async fn try_apply(&self, manifests: &str) -> Result<Value, ClientError> {
        let read = perseat_admin::manifest::read_text(manifests, std::path::Path::new("m.yml"), &|_| None);
        let body = perseat::boot::administration::ApplyBody {
            manifests: read.unwrap(),
            options: perseat_admin::apply::ApplyOptions::default(),
        };
        self.daemon.local(Method::POST, "/apply", Some(json!(body))).await
    }

    async fn catalog_names(&self, text: &str) -> bool {
        let export = self.daemon.local(Method::GET, "/export", None).await.unwrap();
        export["yaml"].as_str().unwrap().contains(text)
    }
}

/// Text that does not become much smaller by compression.
fn filler(bytes: usize) -> String {
    let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-";
    let mut state = 1_u64;
    let letter = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(letters[(state >> 58) as usize])
    };
    (0..bytes).map(letter).collect()
}

fn code_of(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

/// A mutation that needs more room than the catalog's file has left.
fn crowd() -> String {
    let names: Vec<String> = (0..6_000).map(|n| format!("u{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    people(&[("crowd", &names)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_the_next_segment_new_events_get_503_and_running_executions_end_in_the_reserve() {
    let world = World::start(|setup| setup).await;
    world.provider.set(Manner::Hang);
    for url in &world.asking {
        assert_eq!(world.post(url, 10).await.status, 200);
    }
    world.provider.until(USERS.len()).await;
    world.daemon.switch("fill-journal", true).await;
    let (refused, accepted) = world.until_refused(&world.idle[0], 60_000).await;
    assert_eq!(code_of(&refused), (503, "storage_full".to_owned()));
    assert!(refused.headers.contains_key("retry-after"));
    let executions = USERS.len() + accepted;
    world
        .until("the readiness to say so", async || {
            let page = world.daemon.admin("/readyz").await;
            page.status == 503 && String::from_utf8_lossy(&page.body).contains("room for another segment")
        })
        .await;

    // The disk is still full: what runs ends in the reserve, and nothing new comes in between.
    world.provider.set(Manner::Answer);
    world.until_all_ended().await;
    let ended = world
        .daemon
        .local(Method::GET, "/executions?status=succeeded&limit=100", None)
        .await
        .unwrap();
    assert_eq!(ended["executions"].as_array().unwrap().len(), executions);
    assert_eq!(code_of(&world.post(&world.idle[1], 10).await), (503, "storage_full".to_owned()));
    assert_eq!(world.daemon.metric("perseat_journal_failed_segments_total").await, 0.0);

    world.daemon.switch("fill-journal", false).await;
    world.until_accepted(&world.idle[0]).await;
    world.until_all_ended().await;
    world
        .until("readiness", async || world.daemon.admin("/readyz").await.status == 200)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_state_holds_indexing_up_gives_history_away_and_closes_admission_at_the_lag() {
    let world = World::start(|setup| setup.set("index.max-lag", 1_000)).await;
    // Some history first: 32 large events are one file of it.
    while world.history().len() < 3 {
        for url in &world.idle {
            assert_eq!(world.post(url, 60_000).await.status, 200);
        }
        world.until_all_ended().await;
    }
    let before = world.history();
    assert!(world.ballast_is_there());

    world.provider.set(Manner::Hang);
    world.daemon.switch("fill-state", true).await;
    let refused = async {
        let posts = world.asking.iter().map(|url| world.until_refused(url, 10));
        futures_util::future::join_all(posts).await
    };
    let refused = refused.await;
    let accepted = AtomicUsize::new(refused.iter().map(|(_, accepted)| accepted).sum());
    for (refused, _) in &refused {
        assert_eq!(code_of(refused), (503, "index_lag".to_owned()));
    }
    world
        .until("a failed commit", async || {
            world.daemon.metric("perseat_index_failures_total").await > 0.0
        })
        .await;
    world
        .until("the lag to be said", async || {
            // History that went made room for some of it: as much comes again.
            let (refused, more) = world.until_refused(&world.asking[0], 10).await;
            assert_eq!(code_of(&refused), (503, "index_lag".to_owned()));
            accepted.fetch_add(more, Ordering::Relaxed);
            // Admission stays closed until half of what it may lag.
            world.daemon.metric("perseat_index_lag_entries").await > 500.0
        })
        .await;
    world
        .until("the oldest history to go", async || !world.history().contains(&before[0]))
        .await;
    assert!(!world.history().is_empty(), "the newest history stays");
    world.daemon.log_line(&["indexing is held up"]);
    // What was accepted is visible although it is not indexed.
    let target = "/executions?status=queued,running&limit=1";
    let live = world.daemon.local(Method::GET, target, None).await.unwrap();
    assert_eq!(live["executions"].as_array().unwrap().len(), 1);

    world.daemon.switch("fill-state", false).await;
    world.until_accepted(&world.idle[0]).await;
    world
        .until("the index to catch up", async || {
            world.daemon.metric("perseat_index_lag_entries").await == 0.0
        })
        .await;
    let backlog = world.daemon.metric("perseat_backlog_executions").await;
    let accepted = accepted.into_inner();
    assert!(
        backlog >= accepted as f64,
        "{accepted} were accepted and hang, and {backlog} are known"
    );
    world.until("the ballast to be back", async || world.ballast_is_there()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_a_full_state_holds_up_starts_with_all_it_accepted_on_the_disk_that_is_full_still() {
    let mut world = World::start(|setup| setup.set("index.max-lag", 1_000)).await;
    assert_eq!(world.post(&world.idle[0], 10).await.status, 200);
    world
        .until("a commit", async || world.daemon.metric("perseat_index_commits_total").await > 0.0)
        .await;
    world.until_all_ended().await;
    world.provider.set(Manner::Hang);
    world.daemon.switch("fill-state", true).await;
    let posts = world.asking.iter().map(|url| world.until_refused(url, 10));
    let refused = futures_util::future::join_all(posts).await;
    let accepted: usize = refused.iter().map(|(_, accepted)| accepted).sum();
    world.daemon.log_line(&["indexing is held up"]);
    world.daemon.kill();

    world.daemon.relaunch(Some("fill-state"));
    world.daemon.until_ready();
    world.daemon.log_line(&["indexing is held up"]);
    assert_eq!(world.daemon.metric("perseat_executions_live").await, accepted as f64);
    world
        .until("the lag to be said", async || {
            world.daemon.metric("perseat_index_lag_entries").await > 0.0
        })
        .await;

    world.daemon.switch("fill-state", false).await;
    world
        .until("the index to catch up", async || {
            world.daemon.metric("perseat_index_lag_entries").await == 0.0
        })
        .await;
    world.provider.set(Manner::Answer);
    world.until_all_ended().await;
    world.until_accepted(&world.idle[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_catalog_fails_mutations_whole_while_webhooks_go_on() {
    let world = World::start(|setup| setup).await;
    world.daemon.switch("fill-catalog", true).await;
    let refused = world.try_apply(&crowd()).await.unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused { code, .. } if code == "storage_full"),
        "{refused:?}"
    );
    assert!(!world.catalog_names("crowd").await, "nothing of the mutation is there");
    for url in world.asking.iter().chain(&world.idle) {
        assert_eq!(world.post(url, 10).await.status, 200);
    }
    world.until_all_ended().await;
    assert_eq!(world.provider.records().len(), USERS.len());

    world.daemon.switch("fill-catalog", false).await;
    world.try_apply(&crowd()).await.unwrap();
    assert!(world.catalog_names("u5999@crowd.example").await, "all of it is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ballast_goes_first_so_that_a_mutation_can_commit_and_comes_back() {
    let world = World::start(|setup| setup).await;
    assert!(world.ballast_is_there());
    let switched = world.daemon.local(Method::POST, "/faults/fill-catalog?until-ballast", None).await;
    switched.unwrap();
    world.try_apply(&crowd()).await.unwrap();
    assert!(world.daemon.log().contains("the ballast file was given up"));
    world.daemon.switch("fill-catalog", false).await;
    assert!(world.catalog_names("u5999@crowd.example").await);
    world.until("the ballast to be back", async || world.ballast_is_there()).await;
}
