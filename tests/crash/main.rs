//! SIGKILL at any moment: nothing acknowledged is lost, every execution ends, and no step that was recorded is repeated.
//!
//! Each round kills the daemon under load in a situation that is chosen beforehand: at any moment, or at a point in the
//! code that writes, changes the segment, indexes, collects or recovers. After it the journal is read without the daemon; at
//! the end every receipt, every cancellation, every request that reached the provider and every row of the index is held
//! against it.
//!
//! At each kill an execution is running. Every other turn of a situation freezes the owner: each such kill meets queued and
//! cancelled executions, too, unless the daemon came to its point only after a restart; from 120 rounds on each situation has such kills. The
//! others meet an owner at work, of which the end of the newest execution is asked for over and over. Over all of these some meet a queued execution; how
//! many meet one whose end was asked for and has not come, which takes it milliseconds, is printed by situation and not asserted.
//!
//! `CRASH_ROUNDS` says how often the daemon is killed under load, `CRASH_SEED` where the random moments begin.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../harness/mod.rs"]
mod harness;
mod load;
mod reckoning;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use harness::daemon::{Daemon, Setup};
use harness::manifests::{Integration, code, flow, people, post};
use harness::provider::{Manner, Provider, Record};
use harness::within;
use http::Method;
use load::{CONNECTIONS, LETTERS, Load, Random, post_event, targets};
use perseat::receipts::ledger::{Ledger, Story};
use perseat_domain::entry::EndStatus;
use perseat_domain::id::ExecutionId;
use reckoning::{reconcile_asked, reconcile_ends, reconcile_index, reconcile_requests};
use serde_json::json;

const CUSTOMERS: [&str; 2] = ["globex", "initech"];
const USERS: [&str; 10] = ["ann", "bob", "cem", "dan", "eva", "fay", "gus", "hal", "ida", "jon"];
/// Receipts of a round before its kill, at most; where a point is waited for, more may come.
const RECEIPTS: u64 = 40;
/// Receipts after which a daemon that did not come to a point is killed where it is, and goes on to it after a restart: the
/// journal must not drop what nobody has read.
const OFFERED: u64 = 250;
/// For so many rounds the provider does not answer the requests of a round's held executions.
const HELD_ROUNDS: u64 = 8;
/// A round begins with so many live executions at most.
const LEFT: usize = 100;
/// One restart in so many is killed at a point of the recovery.
const KILLED_STARTS: u64 = 3;
/// From so many rounds on the journal has been at its budget for long enough that a frozen owner meets each situation.
const MANY_ROUNDS: u64 = 120;
const LOOK: Duration = Duration::from_millis(5);

/// Where a kill meets the daemon, and the points in its code that are that place.
type Situation = (&'static str, &'static [&'static str]);

const ANY_MOMENT: Situation = ("at any moment", &[]);
const WRITING: Situation = ("writing", &["frame-encoded", "frame-written", "frame-synced"]);
const SEGMENT_CHANGE: Situation = ("segment change", &["segment-taken", "segment-named", "seal-written"]);
const INDEXING: Situation = ("indexing", &["history-stored", "state-stored"]);
const COLLECTION: Situation = (
    "collection",
    &[
        "entries-carried",
        "carried-indexed",
        "segment-renamed",
        "segment-released",
        "history-dropped",
    ],
);
const RECOVERY: Situation = ("recovery", &["tail-rewritten", "tail-sealed", "entry-replayed", "index-recovered"]);
/// The kill that a recovery follows which is killed, too.
const BEFORE_RECOVERY: &str = "before a recovery";
const SITUATIONS: [Situation; 6] = [ANY_MOMENT, WRITING, SEGMENT_CHANGE, INDEXING, COLLECTION, RECOVERY];

/// What an execution that has not ended can be at a kill.
type State = (&'static str, fn(&Story) -> bool);
const STATES: [State; 3] = [
    ("queued", Story::is_queued),
    ("running", Story::is_running),
    ("cancelled", |story| !story.cancelled.is_empty()),
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A budget of a few small segments, so that each round changes the segment and has the oldest dropped.
fn setup(provider: &Provider) -> Setup {
    Setup::new()
        .allow(&[provider.address()])
        .set("journal.segment", "320KiB")
        .set("front.max-body", "16KiB")
        .set("retention.budget", "12MiB")
        .set("backlog.max-bytes", "2MiB")
        .set("execution.slots", 32)
        // The one that is frozen has every execution, and stands still for as long as the disk needs for what comes meanwhile.
        .set("execution.owner-arbiters", 1)
        .set("supervision.silence-abort", "10m")
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

/// Waits until no more than so many executions are queued or running.
async fn until_live(daemon: &Daemon, most: usize) {
    let target = format!("/executions?status=queued,running&limit={}", most + 1);
    let few = async {
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            let live = daemon.local(Method::GET, &target, None).await.unwrap();
            if live["executions"].as_array().unwrap().len() <= most {
                return;
            }
        }
    };
    within("the end of executions", few).await;
}

/// What the rounds met.
#[derive(Debug, Default)]
struct Census(BTreeMap<String, u64>);

impl Census {
    fn note(&mut self, what: &str, count: u64) {
        *self.0.entry(what.to_owned()).or_default() += count;
    }

    /// What the journal says at a kill.
    fn take(&mut self, situation: &str, ledger: &Ledger) {
        let live = || ledger.stories().values().filter(|story| story.ended.is_empty());
        self.note(situation, 1);
        for (what, is) in STATES {
            self.note(&format!("{situation}: {what}"), u64::from(live().any(is)));
        }
    }

    fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    fn assert(&self, what: &str) {
        assert!(self.count(what) > 0, "no round met this: {what}\n{self:#?}");
    }

    /// Every kill in this situation met an execution in this state.
    fn assert_always(&self, situation: &str, state: &str) {
        let (kills, met) = (self.count(situation), self.count(&format!("{situation}: {state}")));
        assert_eq!(met, kills, "{situation}: {state}\n{self:#?}");
    }
}

/// One run: rounds of load and kills on one data directory.
struct Run {
    provider: Provider,
    daemon: Daemon,
    random: Random,
    receipts: Vec<ExecutionId>,
    cancelled: Vec<ExecutionId>,
    /// Whose end was asked for when it may have come.
    asked: Vec<ExecutionId>,
    ledger: Ledger,
    census: Census,
}

impl Run {
    async fn round(&mut self, round: u64) {
        let (name, points) = SITUATIONS[usize::try_from(round % SITUATIONS.len() as u64).unwrap()];
        let turn = round / SITUATIONS.len() as u64;
        let mut is_frozen = turn % 2 == 1;
        let targets = targets(&self.daemon).await;
        // What earlier rounds left must not fill the backlog.
        until_live(&self.daemon, LEFT).await;
        let seen = self.provider.seen();
        self.provider.set(Manner::HoldFrom(round.saturating_sub(HELD_ROUNDS)));
        let mut held = Vec::new();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        while held.len() < 2 {
            let target = self.random.of(&targets).clone();
            let body = json!({ "token": target.token, "hold": round, "filler": self.random.letters(LETTERS) });
            held.extend(post_event(&client, &target, &body).await.unwrap());
        }
        self.receipts.extend(&held);
        // Before the load, which may run ahead of what is run by as much as admission lets it.
        let is_held = |record: &Record| record.json()["hold"] == round;
        self.provider.until_like("both held requests", seen, 2, is_held).await;
        let mut load = Load::start(&targets, &mut self.random);
        let enough = 1 + self.random.below(RECEIPTS);
        load.until_served(enough).await;
        self.cancel(held[0]).await;
        if is_frozen {
            self.daemon.switch("freeze-owner", true).await;
            // Two connections' worth of events later the newest receipt is of one that nobody took up.
            let served = *load.served.borrow();
            load.until_served(served + 2 * CONNECTIONS).await;
            load.receive(&mut self.receipts);
            self.cancel(held[1]).await;
            self.cancel(*self.receipts.last().unwrap()).await;
        }
        match name {
            "at any moment" | "recovery" => {
                let moment = if is_frozen { 0 } else { self.random.below(RECEIPTS) };
                assert!(self.goes_on(&mut load, moment, is_frozen).await, "it ended by itself");
                self.daemon.kill();
            }
            _ => {
                let point = points[usize::try_from(turn % points.len() as u64).unwrap()];
                let times = 1 + self.random.below(if name == "writing" { 10 } else { 2 });
                self.daemon.arm(point, times).await;
                while self.goes_on(&mut load, OFFERED, is_frozen).await {
                    self.daemon.kill();
                    load.end(&mut self.receipts).await;
                    self.after_kill("on the way to a point");
                    self.daemon.restart();
                    is_frozen = false;
                    self.daemon.arm(point, times).await;
                    load = Load::start(&load::targets(&self.daemon).await, &mut self.random);
                }
                self.daemon.until_killed(point).await;
                self.census.note(point, 1);
            }
        }
        load.end(&mut self.receipts).await;
        let at = if name == "recovery" { BEFORE_RECOVERY } else { name };
        self.after_kill(&if is_frozen { frozen(at) } else { at.to_owned() });
        if name == "recovery" {
            // Twice in a row: recovery itself has to be able to begin again.
            for offset in 0..2 {
                let point = points[usize::try_from((turn + offset) % points.len() as u64).unwrap()];
                self.kill_restart(point).await;
            }
        } else if self.random.below(KILLED_STARTS) == 0 {
            let point = *self.random.of(RECOVERY.1);
            self.kill_restart(point).await;
        }
        self.daemon.restart();
    }

    /// Lets so many more receipts come; false if the daemon ends before. Unless the owner is frozen, the end of the newest execution is
    /// asked for over and over.
    async fn goes_on(&mut self, load: &mut Load, receipts: u64, is_frozen: bool) -> bool {
        let enough = *load.served.borrow() + receipts;
        let mut look = tokio::time::interval(LOOK);
        let one_or_the_other = async {
            while *load.served.borrow() < enough {
                if self.daemon.has_ended() {
                    return false;
                }
                if !is_frozen {
                    load.receive(&mut self.receipts);
                    self.ask(*self.receipts.last().unwrap()).await;
                }
                look.tick().await;
            }
            true
        };
        within("a kill at a point, or the receipts of a round", one_or_the_other).await
    }

    /// Asks for the end of an execution that may have come, of a daemon that may end meanwhile.
    async fn ask(&mut self, execution: ExecutionId) {
        let target = format!("/executions/{execution}/cancel");
        if self.daemon.local(Method::POST, &target, None).await.is_ok() {
            self.asked.push(execution);
        }
    }

    async fn cancel(&mut self, execution: ExecutionId) {
        let target = format!("/executions/{execution}/cancel");
        self.daemon.local(Method::POST, &target, None).await.unwrap();
        self.cancelled.push(execution);
    }

    /// Starts the daemon so that it is killed at a point of its recovery, if it comes there.
    async fn kill_restart(&mut self, point: &str) {
        self.daemon.relaunch(Some(&format!("kill:{point}:1")));
        if self.daemon.until_ready_or_ended() {
            self.daemon.kill();
            self.after_kill("after a start");
        } else {
            self.census.note(point, 1);
            self.after_kill("recovery");
        }
    }

    fn after_kill(&mut self, situation: &str) {
        self.ledger.read(&self.daemon.data().join("journal")).unwrap();
        self.census.take(situation, &self.ledger);
    }
}

/// A situation with an owner that is frozen.
fn frozen(situation: &str) -> String {
    format!("{situation}, frozen")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_loses_nothing_acknowledged_and_repeats_nothing_recorded() {
    let (rounds, seed) = (number("CRASH_ROUNDS", 20), number("CRASH_SEED", 20_261_123));
    println!("CRASH_ROUNDS={rounds} CRASH_SEED={seed}");
    let provider = Provider::start().await;
    let daemon = Daemon::start(setup(&provider));
    populate(&daemon, &provider).await;
    let mut run = Run {
        provider,
        daemon,
        random: Random(seed),
        receipts: Vec::new(),
        cancelled: Vec::new(),
        asked: Vec::new(),
        ledger: Ledger::default(),
        census: Census::default(),
    };
    for round in 0..rounds {
        run.round(round).await;
    }
    run.provider.set(Manner::Answer);
    until_live(&run.daemon, 0).await;
    let mut wrong = reconcile_index(&run.daemon, &run.ledger).await;
    assert!(run.daemon.terminate().success());
    run.ledger.read(&run.daemon.data().join("journal")).unwrap();
    // Once more with what the last round left, from a daemon that starts in order.
    run.daemon.restart();
    wrong.extend(reconcile_index(&run.daemon, &run.ledger).await);
    run.daemon.kill();

    let (stories, records) = (run.ledger.stories(), run.provider.records());
    let count = |is: fn(&Story) -> bool| stories.values().filter(|story| is(story)).count() as u64;
    let requests: usize = stories.values().map(|story| story.done.len().saturating_sub(1)).sum();
    let mut census = run.census;
    census.note("executions resumed", count(|story| story.started.len() > 1));
    census.note("executions carried", count(|story| story.carried > 0));
    census.note("executions cancelled", count(|story| story.end() == Some(EndStatus::Cancelled)));
    println!(
        "{} receipts, {} executions, {} entries, {} requests of which {} repeated\n{:#?}",
        run.receipts.len(),
        stories.len(),
        run.ledger.entries(),
        records.len(),
        records.len() - requests,
        census.0
    );
    wrong.extend(run.ledger.reconcile(&run.receipts));
    wrong.extend(reconcile_requests(stories, &records));
    wrong.extend(reconcile_ends(stories, &run.cancelled));
    wrong.extend(reconcile_asked(stories, &run.asked));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let turns = rounds / SITUATIONS.len() as u64;
    for (situation, points) in SITUATIONS {
        census.assert(situation);
        // As many turns as a situation has points come to each of them.
        points.iter().take(turns as usize).for_each(|point| census.assert(point));
    }
    let at_work = || SITUATIONS.iter().map(|(situation, _)| *situation).chain([BEFORE_RECOVERY]);
    for (state, _) in STATES {
        // The index may come to its point only after a restart.
        at_work().for_each(|situation| census.assert_always(&frozen(situation), state));
        if turns > 1 {
            for situation in ["at any moment, frozen", "writing, frozen", "segment change, frozen", "recovery"] {
                census.assert(&format!("{situation}: {state}"));
            }
        }
    }
    at_work().for_each(|situation| census.assert_always(situation, "running"));
    if rounds >= MANY_ROUNDS {
        at_work()
            .filter(|situation| *situation != "recovery")
            .for_each(|situation| census.assert(&frozen(situation)));
    }
    let queued: u64 = at_work().map(|situation| census.count(&format!("{situation}: queued"))).sum();
    assert!(queued > 0, "no kill of an owner at work met a queued execution\n{census:#?}");
    for what in ["resumed", "carried", "cancelled"] {
        census.assert(&format!("executions {what}"));
    }
}

/// The checker is proven where it is used: a daemon that acknowledges before it writes, in each situation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_acknowledges_before_it_has_written_is_caught_in_every_situation() {
    let held_at = [
        (ANY_MOMENT, None),
        (WRITING, Some("frame-encoded")),
        (SEGMENT_CHANGE, Some("segment-taken")),
        (INDEXING, Some("history-stored")),
        (COLLECTION, Some("segment-released")),
        (RECOVERY, None),
    ];
    for ((situation, _), point) in held_at {
        let provider = Provider::start().await;
        let mut daemon = Daemon::start(setup(&provider));
        populate(&daemon, &provider).await;
        let mut receipts = Vec::new();
        // What is acknowledged and not written may be results alone; then once more.
        let acknowledged_too_much = async {
            while !loses_a_receipt(&mut daemon, point, &mut receipts).await {
                daemon.restart();
            }
        };
        within("a receipt that the journal lacks", acknowledged_too_much).await;
        let mut ledger = Ledger::default();
        ledger.read(&daemon.data().join("journal")).unwrap();
        if situation == "recovery" {
            daemon.relaunch(Some("kill:index-recovered:1"));
            assert!(!daemon.until_ready_or_ended(), "it comes to that point");
        }
        daemon.restart();
        until_live(&daemon, 0).await;
        daemon.kill();
        ledger.read(&daemon.data().join("journal")).unwrap();
        let wrong = ledger.reconcile(&receipts);
        let lost = wrong
            .iter()
            .filter(|problem| problem.ends_with("was acknowledged and is lost"))
            .count();
        println!("{situation}: {lost} of {} receipts lost", receipts.len());
        assert!(lost > 0, "{situation}: the checker finds nothing: {wrong:?}");
    }
}

/// Has a daemon acknowledge before it writes, stops it there and kills it; whether a receipt is lost by that.
async fn loses_a_receipt(daemon: &mut Daemon, point: Option<&str>, receipts: &mut Vec<ExecutionId>) -> bool {
    const LOOKS: u32 = 100;
    daemon.switch("acknowledge-early", true).await;
    let mut load = Load::start(&targets(daemon).await, &mut Random(7));
    load.until_served(1).await;
    if let Some(point) = point {
        daemon.switch(&format!("hold:{point}:1"), true).await;
        daemon.until_said("held");
    }
    daemon.switch("freeze-writer", true).await;
    let mut look = tokio::time::interval(LOOK);
    let (mut looks, mut lacking) = (0, 0);
    // Seen twice: what was only just acknowledged may be on its way to the file.
    while looks < LOOKS && lacking < 2 {
        look.tick().await;
        looks += 1;
        load.receive(receipts);
        let known = receipts_in_journal(daemon);
        let lacks = known.is_some_and(|known| receipts.iter().any(|receipt| !known.contains(receipt)));
        lacking = if lacks { lacking + 1 } else { 0 };
    }
    daemon.kill();
    load.end(receipts).await;
    lacking >= 2
}

/// What the journal of a running daemon holds; none while a file is just being renamed.
fn receipts_in_journal(daemon: &Daemon) -> Option<HashSet<ExecutionId>> {
    let mut ledger = Ledger::default();
    ledger.read(&daemon.data().join("journal")).ok()?;
    Some(ledger.stories().keys().copied().collect())
}
