//! No execution sees another user's or customer's variables, credential or script state: random topologies and requests
//! through the whole daemon, to a provider that records who asked.
//!
//! `ISOLATION_SEED` repeats a run, `ISOLATION_CASES` says how many executions use an account at least. The oracle knows
//! the lists of the world and the places of values, nothing of the daemon. Three seeded mutants show that it has teeth.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../harness/mod.rs"]
mod harness;
mod random;
mod request;
mod world;

use futures_util::StreamExt as _;
use harness::daemon::{Daemon, Setup};
use harness::provider::{Provider, Record};
use harness::within;
use http::Method;
use perseat_admin::endpoints::Endpoint;
use random::Random;
use request::{Request, Whose};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use world::{CUSTOMERS, USERS, World};

/// Requests under way at once.
const AT_ONCE: usize = 16;
/// Requests between two changes of the configuration.
const REQUESTS: u64 = 240;
/// Changes of a world before the next daemon.
const CHANGES: u32 = 3;
/// How a fault begins by which a request reached the provider with what is somebody else's.
const ANOTHERS: &str = "it ran with what is somebody else's";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What came of some requests.
#[derive(Debug, Default)]
struct Tally {
    refused: u64,
    /// Executions that used an account.
    acted: u64,
    /// Executions whose user has none.
    without_account: u64,
    /// By flow: how many marks stayed to the end of the run that left them, and the realms that were seen.
    marks: [BTreeSet<u64>; 2],
    realms: [BTreeSet<String>; 2],
    /// Everything that does not hold.
    wrong: Vec<String>,
}

struct Place {
    daemon: Daemon,
    provider: Provider,
    world: World,
    random: Random,
    case: u64,
}

impl Place {
    async fn new(mut random: Random) -> Self {
        let provider = Provider::start().await;
        let world = World::new(&mut random);
        Self {
            daemon: Daemon::start(Setup::new().allow(&[provider.address()])),
            provider,
            world,
            random,
            case: 0,
        }
    }

    /// Applies the world, sends requests and holds what the provider got against what it may get.
    async fn round(&mut self, tally: &mut Tally) {
        self.daemon.apply(&self.world.manifests(&self.provider.url(""))).await;
        let endpoints: Vec<Endpoint> = self.daemon.endpoints("").await;
        let first = self.provider.records().len();
        let requests: Vec<Request> = (0..REQUESTS)
            .map(|_| {
                self.case += 1;
                let endpoint = &endpoints[self.random.below(endpoints.len())];
                Request::random(self.case, &self.world, endpoint, &mut self.random)
            })
            .collect();
        let daemon = &self.daemon;
        let sent = requests.iter().map(async |request| {
            let headers: Vec<_> = request
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            daemon.post(&request.url, &headers, request.body.clone()).await
        });
        let answers: Vec<_> = within("every answer", futures_util::stream::iter(sent).buffered(AT_ONCE).collect()).await;
        until_all_ended(daemon).await;
        let mut records: HashMap<u64, Vec<Record>> = HashMap::new();
        for record in self.provider.records().split_off(first) {
            records.entry(record.json()["case"].as_u64().unwrap()).or_default().push(record);
        }
        for (request, answer) in requests.iter().zip(answers) {
            let records = records.remove(&request.case).unwrap_or_default();
            let fault = match request.whose {
                None => {
                    tally.refused += 1;
                    let is_refused = (400..500).contains(&answer.status) || answer.status == 503;
                    (!is_refused || !records.is_empty()).then(|| "was to be refused".to_owned())
                }
                Some(_) if answer.status != 200 => Some("was refused".to_owned()),
                Some(whose) => {
                    let heard = request.is_synchronous.then(|| self.check_result(whose, request.case, &answer.body));
                    heard
                        .unwrap_or(Ok(()))
                        .and_then(|()| self.check(whose, request.case, &records, tally))
                        .err()
                }
            };
            tally.wrong.extend(fault.map(|fault| {
                format!(
                    "{fault}: {request:?}\n  {} {:?}\n  {records:?}",
                    answer.status,
                    String::from_utf8_lossy(&answer.body)
                )
            }));
        }
        tally.wrong.extend(records.keys().map(|case| format!("nobody sent case {case}")));
    }

    /// Whoever waited heard of their own execution: the provider repeats who asked and what for.
    fn check_result(&self, whose: Whose, case: u64, body: &[u8]) -> Result<(), String> {
        let result: Value = serde_json::from_slice(body).unwrap_or_default();
        let (heard, token) = ((&result["token"], &result["body"]["case"]), &self.world.config(whose).token);
        match heard == (&json!(token), &json!(case)) {
            true => Ok(()),
            false => Err(format!("{ANOTHERS}, says its result")),
        }
    }

    /// What the script saw, and whose account was used.
    fn check(&self, whose: Whose, case: u64, records: &[Record], tally: &mut Tally) -> Result<(), String> {
        let instance = self.world.instance(whose.kind, whose.customer).unwrap();
        let config = self.world.config(whose);
        let user = whose.user.map(|user| USERS[user]);
        let seen = json!({
            "case": case, "customer": CUSTOMERS[whose.customer], "user": user, "payloadUser": user,
            "folder": config.folder, "account": config.token, "service": instance.service, "leaks": [],
        });
        let mut expected = vec![(format!("POST /seen{}", config.folder), String::new())];
        expected.extend(config.token.clone().map(|token| (format!("POST /act{}", config.folder), token)));
        let got: Vec<_> = records.iter().map(|record| (record.target.clone(), record.token.clone())).collect();
        if got != expected {
            let is_anothers = records.iter().any(|record| self.world.is_anothers(record, config));
            let fault = if is_anothers { ANOTHERS } else { "it ran otherwise" };
            return Err(format!("{fault}: expected {expected:?}, got {got:?}"));
        }
        for record in records {
            let Value::Object(mut body) = record.json() else {
                return Err("the script's data did not arrive".to_owned());
            };
            tally.marks[whose.flow].extend(body.remove("left").and_then(|left| left.as_u64()));
            let realm = body.remove("realm").unwrap_or_default();
            tally.realms[whose.flow].insert(realm.as_str().unwrap_or_default().to_owned());
            if Value::Object(body) != seen {
                return Err(format!("expected {seen}"));
            }
        }
        match config.token {
            Some(_) => tally.acted += 1,
            None => tally.without_account += 1,
        }
        Ok(())
    }
}

/// Waits until no execution is queued or running.
async fn until_all_ended(daemon: &Daemon) {
    let all_ended = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        loop {
            look.tick().await;
            let target = "/executions?status=queued,running&limit=1";
            if daemon.local(Method::GET, target, None).await.unwrap()["executions"] == json!([]) {
                return;
            }
        }
    };
    within("the end of every execution", all_ended).await;
}

fn seed() -> Random {
    let seed = number("ISOLATION_SEED", 20_261_125);
    println!("ISOLATION_SEED={seed}");
    Random(seed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_execution_sees_its_own_user_and_nobody_else() {
    let mut random = seed();
    let cases = number("ISOLATION_CASES", 2_000);
    let mut tally = Tally::default();
    while tally.acted < cases {
        let mut place = Place::new(Random(random.below(usize::MAX) as u64)).await;
        for _ in 0..CHANGES {
            place.round(&mut tally).await;
            place.world.change(&mut place.random);
        }
        assert!(
            tally.wrong.is_empty(),
            "{} are wrong:\n{}",
            tally.wrong.len(),
            tally.wrong.join("\n")
        );
    }
    println!(
        "{} executions used an account, {} had none, {} requests were refused, marks of a run {:?}",
        tally.acted, tally.without_account, tally.refused, tally.marks
    );
    assert!(tally.without_account > 0 && tally.refused > 0);
    assert!(tally.realms.iter().all(|realms| realms.len() == 1), "{:?}", tally.realms);
    // In a realm of its own every mark stays while the run lasts; in the frozen one those on what is the run's own.
    let [frozen, own] = tally.marks.each_ref().map(|marks| (marks.first(), marks.last()));
    assert!(own.0 > frozen.1 && own.0 == own.1, "the scripts did not attack: {:?}", tally.marks);
}

/// Runs requests with a mutant switched on until one of them acts with what is somebody else's.
async fn caught(switch: &str) {
    let mut random = seed();
    for world in 0..4 {
        let mut place = Place::new(Random(random.below(usize::MAX) as u64)).await;
        place.daemon.switch(switch, true).await;
        let mut tally = Tally::default();
        place.round(&mut tally).await;
        if let Some(first) = tally.wrong.iter().find(|wrong| wrong.starts_with(ANOTHERS)) {
            println!(
                "{} of {REQUESTS} requests of world {world} were wrong; the first: {first}",
                tally.wrong.len()
            );
            return;
        }
    }
    panic!("{switch} went unnoticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_without_the_customer_is_caught() {
    caught("drop-customer-from-key").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reused_user_is_caught() {
    caught("reuse-last-user").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fall_back_to_the_instances_credential_is_caught() {
    caught("fall-back-to-instance").await;
}
