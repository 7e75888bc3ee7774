//! What goes through connections that are shared is counted once, for whoever sent it, also over a SIGKILL; and what goes through
//! registrations and accounts is what the provider counted, whoever is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use http::Method;
use serde_json::{Value, json};

use crate::consent::connect;
use crate::harness::api::Api;
use crate::harness::daemon::Daemon;
use crate::harness::oauth::{Manner, Oauth};
use crate::harness::provider::Provider;
use crate::registrations::{config, plan, registration};
use crate::sharers::{PEOPLE, Plan, all_succeed, send, start};
use crate::world::{Plan as Whole, World};

/// Executions and calls.
type Counts = [u64; 2];

/// The report by one thing, by the name that `name` finds.
async fn report(world: &World, by: &str, name: impl Fn(&Value) -> String) -> BTreeMap<String, Counts> {
    let report = world.daemon.local(Method::GET, &format!("/usage?by={by}"), None).await.unwrap();
    let mut all = BTreeMap::new();
    for row in report["rows"].as_array().unwrap() {
        let counts: &mut Counts = all.entry(name(row)).or_default();
        for (count, member) in counts.iter_mut().zip(["executions", "calls"]) {
            *count += row[member].as_u64().unwrap();
        }
    }
    all
}

/// Waits until the index has seen that so many executions began.
async fn until(world: &World, executions: u64) -> BTreeMap<String, Counts> {
    let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
    let counted = async {
        loop {
            look.tick().await;
            let by_user = report(world, "user", |row| {
                row["user"]["name"].as_str().unwrap().split(' ').next().unwrap().to_owned()
            })
            .await;
            if by_user.values().map(|counts| counts[0]).sum::<u64>() >= executions {
                return by_user;
            }
        }
    };
    crate::harness::within("the usage of every execution", counted).await
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_through_shared_connections_adds_up_over_a_kill() {
    for sharing in ["organization", "customer", "user"] {
        let mut world = start(&Plan::of(sharing)).await;
        let users: Vec<&str> = PEOPLE.iter().flat_map(|(_, users)| users.iter().copied()).collect();
        let mut sent: BTreeMap<String, Counts> = BTreeMap::new();
        let mut count = |user: &str, executions: u64| {
            let counts = sent.entry(user.to_owned()).or_default();
            counts.iter_mut().for_each(|count| *count += executions);
        };
        for (place, user) in users.iter().enumerate() {
            let executions = send(&world, user, 2 + place).await;
            all_succeed(&world, &executions).await;
            count(user, executions.len() as u64);
        }
        let answered = world.provider.calls("/work").len();

        // It dies while a call of each has no answer: those are sent again, and counted once.
        world.provider.change(|manner| manner.holds = true);
        let mut held = Vec::new();
        for user in &users {
            held.extend(send(&world, user, 1).await);
            count(user, 1);
        }
        world.provider.until("/work", answered + users.len()).await;
        world.daemon.kill();
        world.provider.change(|manner| manner.holds = false);
        world.daemon.restart();
        all_succeed(&world, &held).await;
        let calls = world.provider.calls("/work");
        assert_eq!(calls.len(), answered + 2 * users.len(), "{sharing}: each of them came again");
        assert!(calls.iter().all(|call| call.status == 200));

        let all: u64 = sent.values().map(|counts| counts[0]).sum();
        assert_eq!(until(&world, all).await, sent, "{sharing}");
        assert_eq!(all, (calls.len() - users.len()) as u64, "what the provider answered");
        let by_connection = report(&world, "connection", |row| {
            row["connection"].as_str().unwrap_or_default().to_owned()
        })
        .await;
        let through: Vec<&String> = by_connection
            .iter()
            .filter(|(_, counts)| counts[1] > 0)
            .map(|(name, _)| name)
            .collect();
        assert_eq!(
            by_connection.values().map(|counts| counts[1]).sum::<u64>(),
            all,
            "{sharing}: {by_connection:?}"
        );
        assert!(
            !through.iter().any(|name| name.is_empty()),
            "{sharing}: no call was without its connection: {by_connection:?}"
        );
    }
}

/// Executions, calls, bytes sent and received.
type Sums = [u64; 4];

/// Whom a user's calls go through: the registration and the account.
const WAYS: [(&str, &str, &str); 4] = [
    ("ann", "Europe", "one"),
    ("bob", "Europe", "two"),
    ("cem", "Rest", "one"),
    ("dora", "Rest", "three"),
];

/// The counts at the end of a row, behind its name.
fn row_of(fields: &[&str]) -> Option<(String, Sums)> {
    let (name, counts) = fields.split_at_checked(fields.len().checked_sub(4)?)?;
    let counts: Vec<u64> = counts.iter().map(|count| count.parse().ok()).collect::<Option<_>>()?;
    Some((name.join(" "), counts.try_into().ok()?))
}

fn sums(row: &Value, names: [&str; 4]) -> Sums {
    // The API has them as text where they may not fit into a number.
    names.map(|name| row[name].as_u64().or_else(|| row[name].as_str()?.parse().ok()).unwrap())
}

/// The report by one thing, as everybody tells it who is asked.
async fn told_by_all(world: &World, by: &str) -> [BTreeMap<String, Sums>; 4] {
    let report = world.daemon.local(Method::GET, &format!("/usage?by={by}"), None).await.unwrap();
    let rows = report["rows"].as_array().unwrap().iter();
    let name = |row: &Value| row[by]["name"].as_str().or(row[by].as_str()).unwrap_or_default().to_owned();
    let local = rows
        .map(|row| (name(row), sums(row, ["executions", "calls", "sent", "received"])))
        .collect();

    let data = world.daemon.data();
    let perseat = async |form: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
        command.args(["usage", "--by", by, "--data"]).arg(&data).args(form);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = perseat(&["--csv"]).await;
    // What is named has its id before it.
    let table = text.lines().skip(1).map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        row_of(&fields[fields.len() - 5..]).unwrap_or_else(|| panic!("no row: {line}"))
    });
    let csv = table.collect();
    let text = perseat(&[]).await;
    let rows = text.lines().skip(1).filter(|line| !line.starts_with("kept since "));
    let shown = rows.map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        row_of(&fields).unwrap_or_else(|| panic!("no row: {line}"))
    });
    let terminal = shown.collect();

    let api = Api::program(&world.daemon, "owner").await;
    let field = match by {
        "account" => "account".to_owned(),
        _ => format!("{by}Name"),
    };
    let query = format!(
        "{{ usage(by: [{}]) {{ rows {{ {field} executions calls sent received }} }} }}",
        by.to_uppercase()
    );
    let answer = api.get(&query, json!({})).await;
    let rows = answer["rows"].as_array().unwrap().iter();
    let name = |row: &Value| row[&field].as_str().unwrap_or_default().to_owned();
    let api = rows
        .map(|row| (name(row), sums(row, ["executions", "calls", "sent", "received"])))
        .collect();
    [local, csv, terminal, api]
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_by_registration_and_account_is_what_the_provider_counted_in_every_answer() {
    let (provider, files) = (Oauth::start(Manner::default()).await, Provider::start().await);
    let more = registration("Europe", "") + &registration("Rest", "emailDomains: [globex.example]\n");
    let (target, users) = (files.url("/files"), WAYS.map(|(user, ..)| user));
    let whole = Whole {
        inputs: &[("accountsUrl", "PROVIDER/userinfo"), ("accountsPath", "accounts")],
        target: &target,
        ..plan(&users, &more)
    };
    let setup = World::setup(&provider, &whole).allow(&[provider.address(), files.address()]);
    let mut world = World {
        daemon: Daemon::start(setup),
        provider,
    };
    world.daemon.apply(&world.manifests(&whole)).await;
    for (user, registration, account) in WAYS {
        let listed = json!({ "accounts": [{ "id": account, "name": account }] }).to_string();
        world.provider.change(|manner| {
            manner.accounts.insert(user.to_owned(), (200, listed));
        });
        if registration == "Europe" {
            world.daemon.apply(&config(user, "{registration: Europe}")).await;
        }
        connect(&world, user).await;
    }
    let mut sent = BTreeMap::new();
    for (place, user) in users.into_iter().enumerate() {
        let executions = world.send(user, 4 + 2 * place).await;
        sent.insert(user, executions.len() as u64);
        all_succeed(&world, &executions).await;
    }
    world.daemon.kill();
    world.daemon.restart();
    let more = world.send("ann", 1).await;
    all_succeed(&world, &more).await;
    *sent.get_mut("ann").unwrap() += 1;

    // What accounts are counted as is their own name of them here.
    let accounts = "{ instances { nodes { userLevelConfigs { nodes { user { externalId } configVariables { nodes { grant { account { id countedAs } } } } } } } } }";
    let api = Api::program(&world.daemon, "owner").await;
    let found = api.get(accounts, json!({})).await;
    let mut counted_as = BTreeMap::new();
    for config in found["nodes"][0]["userLevelConfigs"]["nodes"].as_array().unwrap() {
        for variable in config["configVariables"]["nodes"].as_array().unwrap() {
            let account = &variable["grant"]["account"];
            if let (Some(id), Some(name)) = (account["id"].as_str(), account["countedAs"].as_str()) {
                counted_as.insert(id.to_owned(), name.to_owned());
            }
        }
    }
    assert_eq!(counted_as.len(), 3, "{found}");

    let mut counted: BTreeMap<&str, Sums> = BTreeMap::new();
    for record in files.records_at("/files") {
        let user = record.token.split('-').nth(1).unwrap();
        let (user, ..) = WAYS.into_iter().find(|(known, ..)| *known == user).unwrap();
        let answer = json!({ "target": record.target, "token": record.token, "body": record.json() }).to_string();
        let one = [0, 1, record.body.len() as u64, answer.len() as u64];
        let sums = counted.entry(user).or_default();
        (0..4).for_each(|which| sums[which] += one[which]);
    }
    let bytes: BTreeSet<u64> = counted.values().map(|sums| sums[3]).collect();
    assert_eq!(bytes.len(), WAYS.len(), "each has its own count: {counted:?}");
    for (by, name) in [("registration", 0), ("account", 1), ("user", 2)] {
        let mut expected: BTreeMap<String, Sums> = BTreeMap::new();
        for (user, registration, account) in WAYS {
            let name = [registration.to_owned(), counted_as[account].clone(), format!("{user} of globex")][name].clone();
            let sums = expected.entry(name).or_default();
            sums[0] += sent[user];
            (1..4).for_each(|which| sums[which] += counted[user][which]);
        }
        for (told, who) in told_by_all(&world, by).await.into_iter().zip(["local", "CSV", "terminal", "API"]) {
            assert_eq!(told, expected, "by {by}, {who}");
        }
    }
}
