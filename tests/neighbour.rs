//! One user's flood delays only that user: while it hangs on HTTP or spins in code, everybody else's executions end.
//! How fast is measured by `benches/neighbour.rs`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use harness::daemon::{Daemon, Setup};
use harness::manifests::{Integration, code, flow, people, post, step, token};
use harness::provider::{Manner, Provider};
use harness::within;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const CUSTOMERS: [&str; 2] = ["globex", "initech"];
const OTHERS: [&str; 10] = ["ann", "bob", "cem", "dan", "eva", "fay", "gus", "hal", "ida", "jon"];
const HOG: &str = "zoe";
/// More than all slots.
const FLOOD: usize = 1_500;
const EACH: usize = 10;

fn manifests(provider: &Provider, hanging: &Provider) -> String {
    let work = code(
        "Work",
        "module.exports = async (context, { onEvent }) => ({ data: onEvent.results.body.data });",
    );
    let hang = format!("          url: {{type: value, value: \"{}\"}}\n", hanging.url("/hang"));
    let flows = [
        flow("Work", "", &[work, post("Send", "/work", "work.results")]),
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
    let users: Vec<&str> = OTHERS.into_iter().chain([HOG]).collect();
    let mut yaml = people(&CUSTOMERS.map(|customer| (customer, users.as_slice()))) + &files.manifest();
    for customer in CUSTOMERS {
        yaml += &files.instance(customer, &provider.url(""), "");
        yaml.extend(users.iter().map(|user| files.user(customer, user)));
    }
    yaml
}

async fn live_of(daemon: &Daemon, customer: &str, user: &str) -> Value {
    let target = format!("/executions?status=queued,running&limit=1&customer={customer}&user={user}");
    daemon.local(Method::GET, &target, None).await.unwrap()["executions"].clone()
}

/// Floods with `flow` of one user, then gives everybody else work.
async fn others_end_while(flow: &str) {
    let (provider, hanging) = (Provider::start().await, Provider::start().await);
    hanging.set(Manner::Hang);
    let setup = Setup::new()
        .allow(&[provider.address(), hanging.address()])
        .set("code.wall", "2s")
        .set("code.cpu", "2s");
    let daemon = Daemon::start(setup);
    daemon.apply(&manifests(&provider, &hanging)).await;
    let endpoints = daemon.endpoints("").await;
    let of = |user: &str, flow: &str| {
        let is_it = |one: &&perseat_admin::endpoints::Endpoint| one.user.as_deref() == Some(user) && one.flow.as_deref() == Some(flow);
        endpoints.iter().filter(is_it).map(|one| one.url.clone()).collect::<Vec<_>>()
    };
    let hog = of(HOG, flow).swap_remove(0);
    let is_accepted = async |url: &str| daemon.post(url, &[], "{}").await.status == 200;
    let flooded = (0..FLOOD).map(|_| is_accepted(&hog));
    let flooded: Vec<bool> = within("the flood", futures_util::future::join_all(flooded)).await;
    assert!(flooded.iter().all(|accepted| *accepted), "the flood is within the user's limit");

    let mut expected = BTreeMap::new();
    for user in OTHERS {
        for (url, customer) in of(user, "Work").iter().zip(CUSTOMERS) {
            for _ in 0..EACH {
                assert!(is_accepted(url).await, "{user} of {customer} is refused");
            }
            expected.insert(token(customer, user), EACH);
        }
    }
    provider.until(CUSTOMERS.len() * OTHERS.len() * EACH).await;
    let mut done = BTreeMap::new();
    for record in provider.records() {
        *done.entry(record.token).or_insert(0) += 1;
    }
    assert_eq!(done, expected);
    for customer in CUSTOMERS {
        for user in OTHERS {
            let all_ended = async {
                let mut look = tokio::time::interval(Duration::from_millis(20));
                while live_of(&daemon, customer, user).await != json!([]) {
                    look.tick().await;
                }
            };
            within("the end of the others' executions", all_ended).await;
        }
    }
    let left = daemon.metric("perseat_executions_live").await;
    assert!(left > FLOOD as f64 / 2.0, "the flood is still there: {left} of {FLOOD}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_else_ends_while_one_users_calls_hang() {
    others_end_while("Hang").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_else_ends_while_one_users_code_spins() {
    others_end_while("Spin").await;
}
