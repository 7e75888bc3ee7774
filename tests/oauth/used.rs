//! What goes through connections that are shared is counted once, for whoever sent it, also over a SIGKILL.

use std::collections::BTreeMap;

use http::Method;
use serde_json::Value;

use crate::sharers::{PEOPLE, Plan, all_succeed, send, start};
use crate::world::World;

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
