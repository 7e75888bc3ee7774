//! The usage report adds up to the executions that were sent and the calls that the provider counted, also after a SIGKILL.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use harness::api::Api;
use harness::daemon::{Daemon, Setup};
use harness::manifests::{Integration, code, flow, people, post, step, token};
use harness::provider::{Manner, Provider, Record};
use harness::within;
use http::Method;
use perseat_domain::usage::Day;
use serde_json::{Value, json};

const PEOPLE: [(&str, &str); 3] = [("globex", "ann"), ("globex", "bob"), ("initech", "cem")];
const FLOWS: [&str; 6] = ["Send", "Retry", "Script", "Open", "Quiet", "Held"];

/// Executions, calls, bytes sent and received.
type Counts = [u64; 4];
/// Customer, user and connection; empty where a call used none.
type Key = (String, String, String);

struct World {
    provider: Provider,
    daemon: Daemon,
    urls: BTreeMap<(&'static str, &'static str), String>,
    /// By user: the executions that were sent, in all and those that call through the account and without it.
    sent: BTreeMap<&'static str, [u64; 3]>,
    began: Day,
}

fn today() -> Day {
    jiff::Zoned::now()
        .with_time_zone(jiff::tz::TimeZone::UTC)
        .date()
        .to_string()
        .parse()
        .unwrap()
}

fn flows() -> String {
    let data = "onEvent.results.body.data";
    let retry = post("Retry", "/flaky", data).replace(
        "        inputs:\n",
        "        inputs:\n          maxRetries: {type: value, value: 5}\n          retryDelayMS: {type: value, value: 1}\n",
    );
    let open = step(
        "Open",
        "http",
        "httpGet",
        "          url: {type: template, value: \"{{#Provider}}/open{{#Folder}}\"}\n",
    );
    let script = "module.exports = async ({ configVars }, { onEvent }) => {
      const headers = { authorization: `Bearer ${configVars['Account'].fields.token}` };
      const url = configVars['Provider'];
      await fetch(`${url}/script`, { method: 'POST', headers, body: JSON.stringify({ text: 'äöü' }) });
      await Promise.all([1, 2].map(n => fetch(`${url}/script/${n}`, { headers })));
      try { await fetch('http://127.0.0.1:1/nobody', { headers }); } catch (error) {}
      return { data: null };
    };";
    let quiet = step(
        "Log",
        "log",
        "writeLog",
        "          level: {type: value, value: info}\n          message: {type: value, value: it came}\n",
    );
    [
        flow("Send", "", &[post("First", "/first", data), post("Second", "/second", data)]),
        flow("Retry", "", &[retry]),
        flow("Script", "", &[code("Fetch", script), post("After", "/after", data)]),
        flow("Open", "", &[open]),
        flow("Quiet", "", &[quiet]),
        flow("Held", "", &[post("Before", "/before", data), post("Held", "/held", data)]),
    ]
    .concat()
}

impl World {
    async fn start() -> Self {
        let provider = Provider::start().await;
        let unreachable = "127.0.0.1:1".parse().unwrap();
        let daemon = Daemon::start(Setup::new().allow(&[provider.address(), unreachable]));
        let files = Integration {
            name: "Files",
            endpoint_type: "flow_specific",
            is_user_level: true,
            keys: "",
            flows: flows(),
        };
        let mut manifests = people(&[("globex", &["ann", "bob"]), ("initech", &["cem"])]) + &files.manifest();
        for customer in ["globex", "initech"] {
            manifests += &files.instance(customer, &provider.url(""), "");
        }
        manifests.extend(PEOPLE.iter().map(|(customer, user)| files.user(customer, user)));
        daemon.apply(&manifests).await;
        let endpoints = daemon.endpoints("").await;
        let url = |user: &str, flow: &str| {
            let found = endpoints
                .iter()
                .find(|it| it.user.as_deref() == Some(user) && it.flow.as_deref() == Some(flow));
            found.unwrap().url.clone()
        };
        let all = PEOPLE.iter().flat_map(|(_, user)| FLOWS.map(|flow| (*user, flow)));
        let urls = all.map(|(user, flow)| ((user, flow), url(user, flow))).collect();
        Self {
            provider,
            daemon,
            urls,
            sent: BTreeMap::new(),
            began: today(),
        }
    }

    async fn send(&mut self, flow: &'static str, events: u64) {
        let posts = PEOPLE.iter().flat_map(|(_, user)| {
            let url = &self.urls[&(*user, flow)];
            let daemon = &self.daemon;
            (0..events).map(move |number| async move {
                let body = json!({ "number": number }).to_string();
                let answer = daemon.post(url, &[("content-type", "application/json")], body).await;
                assert_eq!(answer.status, 200);
            })
        });
        join_all(posts).await;
        for (_, user) in PEOPLE {
            let sent = self.sent.entry(user).or_default();
            sent[0] += events;
            match flow {
                "Quiet" => {}
                "Open" => sent[2] += events,
                _ => sent[1] += events,
            }
        }
    }

    async fn until_all_ended(&self) {
        let all_ended = async {
            let mut look = tokio::time::interval(Duration::from_millis(20));
            loop {
                look.tick().await;
                let live = self
                    .daemon
                    .local(Method::GET, "/executions?status=queued,running&limit=1", None)
                    .await;
                if live.unwrap()["executions"] == json!([]) {
                    return;
                }
            }
        };
        within("the end of every execution", all_ended).await;
    }

    /// What the provider counted: each request, but those that it never answered.
    fn counted(&self, is_answered: impl Fn(&Record) -> bool) -> BTreeMap<Key, Counts> {
        let mut counted: BTreeMap<Key, Counts> = BTreeMap::new();
        for record in self.provider.records().iter().filter(|record| is_answered(record)) {
            let is_theirs = |(customer, user): &(&str, &str)| {
                record.token == token(customer, user) || record.path() == format!("/open/{customer}/{user}")
            };
            let (customer, user) = PEOPLE.into_iter().find(is_theirs).unwrap();
            let connection = if record.token.is_empty() { "" } else { "account" };
            let answer = json!({ "target": record.target, "token": record.token, "body": record.json() }).to_string();
            let counts = counted.entry((customer.into(), user.into(), connection.into())).or_default();
            counts[1] += 1;
            counts[2] += record.body.len() as u64;
            counts[3] += answer.len() as u64;
        }
        for (customer, user) in PEOPLE {
            for (connection, which) in [("account", 1), ("", 2)] {
                let executions = self.sent[user][which];
                if executions > 0 {
                    counted.get_mut(&(customer.into(), user.into(), connection.into())).unwrap()[0] = executions;
                }
            }
        }
        counted
    }

    async fn report(&self, query: &str) -> Vec<Value> {
        let report = self.daemon.local(Method::GET, &format!("/usage?{query}"), None).await.unwrap();
        report["rows"].as_array().unwrap().clone()
    }

    /// Holds what the report says, however it is added up, to what the provider counted.
    async fn check(&self, is_answered: impl Fn(&Record) -> bool) {
        let expected = self.counted(is_answered);
        let reported = self.report("by=customer,user,connection").await;
        let reported: BTreeMap<Key, Counts> = reported.iter().map(|row| (key(row), counts(row))).collect();
        assert_eq!(reported, expected);

        let mut by_user: BTreeMap<&str, Counts> = BTreeMap::new();
        for (_, user) in PEOPLE {
            by_user.entry(user).or_default()[0] = self.sent[user][0];
        }
        for ((_, user, _), counts) in &expected {
            let sums = by_user.get_mut(user.as_str()).unwrap();
            (1..4).for_each(|which| sums[which] += counts[which]);
        }
        for (user, expected) in by_user {
            let rows = self.report("by=user").await;
            let row = rows.iter().find(|row| row["user"]["name"].as_str().unwrap().starts_with(user));
            assert_eq!(counts(row.unwrap()), expected, "{user}");
        }
        let days = self.report("by=day").await;
        let sum = |which: usize| days.iter().map(|row| counts(row)[which]).sum::<u64>();
        let calls: u64 = expected.values().map(|counts| counts[1]).sum();
        assert_eq!((sum(0), sum(1)), (self.sent.values().map(|sent| sent[0]).sum(), calls));
        // A test may run over midnight.
        let (began, now) = (self.began.to_string(), today().to_string());
        let named: BTreeSet<&str> = days.iter().map(|row| row["day"].as_str().unwrap()).collect();
        assert!(named.is_subset(&BTreeSet::from([began.as_str(), now.as_str()])), "{named:?}");
        assert_eq!(self.report("by=day&to=2020-01-01").await, Vec::<Value>::new());
    }
}

fn key(row: &Value) -> Key {
    let name = row["user"]["name"].as_str().unwrap();
    let (user, _) = name.split_once(' ').unwrap();
    let customer = row["customer"]["name"].as_str().unwrap();
    (customer.to_owned(), user.to_owned(), row["connection"].as_str().unwrap().to_owned())
}

fn counts(row: &Value) -> Counts {
    ["executions", "calls", "sent", "received"].map(|field| row[field].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_adds_up_to_what_the_provider_counted_over_a_crash() {
    let mut world = World::start().await;
    world.provider.set_at("/flaky", Manner::FailFirst(4));
    for (flow, events) in [("Send", 5), ("Script", 3), ("Open", 4), ("Quiet", 6), ("Retry", 1)] {
        world.send(flow, events).await;
    }
    world.until_all_ended().await;
    let flaky = world.provider.records_at("/flaky").len();
    assert!(flaky > PEOPLE.len(), "some are sent again: {flaky}");
    world.check(|_| true).await;

    // It dies while a call of each user has no answer: those are sent again, and counted once.
    world.provider.set_at("/held", Manner::Hang);
    world.send("Held", 1).await;
    let held: Vec<String> = world
        .provider
        .until_at("/held", PEOPLE.len())
        .await
        .into_iter()
        .map(|it| it.key)
        .collect();
    world.daemon.kill();
    world.provider.set_at("/held", Manner::Answer);
    world.daemon.restart();
    world.until_all_ended().await;
    let again = world.provider.records_at("/held");
    assert_eq!(again.len(), 2 * held.len(), "each of them came again");
    let seen = std::sync::Mutex::new(BTreeSet::new());
    let was_answered = |record: &Record| !(held.contains(&record.key) && seen.lock().unwrap().insert(record.key.clone()));
    world.check(was_answered).await;

    // After a clean restart it says the same, and more is added to it.
    world.daemon.terminate();
    world.daemon.restart();
    world.send("Send", 2).await;
    world.until_all_ended().await;
    seen.lock().unwrap().clear();
    let was_answered = |record: &Record| !(held.contains(&record.key) && seen.lock().unwrap().insert(record.key.clone()));
    world.check(was_answered).await;

    seen.lock().unwrap().clear();
    let was_answered = |record: &Record| !(held.contains(&record.key) && seen.lock().unwrap().insert(record.key.clone()));
    asked_in_other_ways(&world, &world.counted(was_answered)).await;
}

/// The table, the terminal and the API say what the provider counted, each row of it.
async fn asked_in_other_ways(world: &World, expected: &BTreeMap<Key, Counts>) {
    let perseat = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
        let output = command.args(arguments).arg("--data").arg(world.daemon.data()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let table = perseat(&["usage", "--by", "connection,user,customer", "--csv"]);
    let mut lines = table.split_terminator("\r\n");
    let titles = "customer_id,customer,user_id,user,connection,executions,calls,sent_bytes,received_bytes";
    assert_eq!(lines.next(), Some(titles));
    let person = |name: &str| name.split_once(' ').unwrap().0.to_owned();
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let counts: Vec<u64> = fields[5..].iter().map(|count| count.parse().unwrap()).collect();
        let key = (fields[1].to_owned(), person(fields[3]), fields[4].to_owned());
        (key, Counts::try_from(counts).unwrap())
    };
    assert_eq!(lines.map(of_line).collect::<BTreeMap<Key, Counts>>(), *expected);

    let shown = perseat(&["usage", "--by", "customer"]);
    for customer in ["globex", "initech"] {
        let own = expected.iter().filter(|((name, ..), _)| name.starts_with(customer));
        let calls: u64 = own.map(|(_, counts)| counts[1]).sum();
        let is_it = |line: &str| line.starts_with(customer) && line.contains(&format!(" {calls} "));
        assert!(shown.lines().any(is_it), "{calls} of {customer}: {shown}");
    }

    let api = Api::program(&world.daemon, "owner").await;
    let query = "{ usage(by: [CUSTOMER, USER, CONNECTION]) { rows { customerName userName connection executions calls sent received } } }";
    let answer = api.get(query, json!({})).await;
    let of_row = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        ((text("customerName"), person(&text("userName")), text("connection")), counts(row))
    };
    let said = answer["rows"].as_array().unwrap().iter().map(of_row);
    assert_eq!(said.collect::<BTreeMap<Key, Counts>>(), *expected);
    // Of one customer it is what is said of that one among all.
    let found = api.get("{ customers(externalId: \"globex\") { nodes { id } } }", json!({})).await;
    let query = "query ($c: ID) { usage(customer: $c, by: [CUSTOMER, USER, CONNECTION]) { rows { customerName userName connection executions calls sent received } } }";
    let answer = api.get(query, json!({ "c": found["nodes"][0]["id"] })).await;
    let own = expected.iter().filter(|((customer, ..), _)| customer == "globex");
    let own: BTreeMap<Key, Counts> = own.map(|(key, counts)| (key.clone(), *counts)).collect();
    let said = answer["rows"].as_array().unwrap().iter().map(of_row);
    assert_eq!(said.collect::<BTreeMap<Key, Counts>>(), own);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_removed_user_a_number_is_left_and_of_a_wrong_question_a_sentence() {
    let mut world = World::start().await;
    world.send("Send", 1).await;
    world.until_all_ended().await;
    let rows = world.report("customer=initech&by=user").await;
    let id = rows[0]["user"]["id"].clone();
    let api = Api::program(&world.daemon, "owner").await;
    let delete = "mutation ($i: ID!) { deleteUser(input: {id: $i}) { errors { messages } } }";
    api.get(delete, json!({ "i": id })).await;
    let left = world.report("customer=initech&by=user").await;
    assert_eq!(left[0]["user"], json!({ "id": id, "name": null }));
    assert_eq!(counts(&left[0]), counts(&rows[0]));
    for (query, expected) in [
        ("from=yesterday", "no day such as 2026-01-31"),
        ("by=mood", "usage is added up by day"),
        ("customer=nobody", "there is no customer"),
        ("what=else", "there is no parameter"),
    ] {
        let refused = world.daemon.local(Method::GET, &format!("/usage?{query}"), None).await.unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
    }
}
