//! Executions whose credential cannot be used wait for it: theirs alone, in order, over restarts, and not for ever.

use std::time::Duration;

use http::Method;
use perseat_domain::id::ExecutionId;
use serde_json::json;

use crate::consent::{account, connect};
use crate::harness::api::Api;
use crate::harness::daemon::Daemon;
use crate::harness::manifests::code;
use crate::harness::oauth::{Call, Manner, Oauth, Stall};
use crate::world::{Plan, World};

/// One after another, so that they are accepted in this order.
async fn in_order(world: &World, user: &str, count: usize) -> Vec<String> {
    let mut sent = Vec::new();
    for _ in 0..count {
        sent.extend(world.send(user, 1).await);
    }
    sent
}

/// The executions that came through to the third party, in this order.
pub(crate) fn worked(world: &World) -> Vec<String> {
    let calls = world.provider.calls("/work").into_iter().filter(|call| call.status == 200);
    let execution = |call: Call| {
        let key = call.headers["idempotency-key"].to_str().unwrap().to_owned();
        let id: ExecutionId = key.split(':').next().unwrap().parse().unwrap();
        id.global()
    };
    calls.map(execution).collect()
}

async fn listed(world: &World, status: &str) -> usize {
    let target = format!("/executions?status={status}");
    let list = world.daemon.local(Method::GET, &target, None).await.unwrap();
    list["executions"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_grant_parks_only_that_users_executions_which_run_in_order_after_a_new_consent() {
    let plan = Plan {
        keys: &[("execution.slots", "1")],
        ..Plan::default()
    };
    let mut world = World::start(&plan).await;
    world.provider.revoke("ann");
    let anns = in_order(&world, "ann", 8).await;
    let bobs = in_order(&world, "bob", 3).await;
    for execution in &bobs {
        assert_eq!(world.ended(execution).await["status"], "succeeded", "another user goes on");
    }
    for execution in &anns {
        let shown = world.stands(execution, "parked").await;
        assert_eq!(shown["waitsFor"], "account");
        assert!(shown["parkedSince"].is_number(), "{shown}");
    }
    assert_eq!((listed(&world, "parked").await, listed(&world, "running").await), (8, 0));
    assert!(world.daemon.metric("perseat_executions_parked").await >= 8.0);
    {
        let api = Api::program(&world.daemon, "owner").await;
        let ann = account(&api, "ann").await;
        assert_eq!(
            (ann["status"].as_str(), ann["grant"]["reason"].as_str()),
            (Some("FAILED"), Some("invalid_grant"))
        );
        assert_eq!(account(&api, "bob").await["status"], "ACTIVE");
    }
    assert_eq!(world.provider.calls("/token").len(), 2, "one renewal of each user");

    // A parked execution is cancelled, and those that are left survive a kill.
    let cancel = format!("/executions/{}/cancel", anns[3]);
    world.daemon.local(Method::POST, &cancel, None).await.unwrap();
    assert_eq!(world.ended(&anns[3]).await["status"], "cancelled");
    world.daemon.kill();
    world.daemon.restart();
    let late = in_order(&world, "ann", 2).await;
    for execution in anns.iter().filter(|one| **one != anns[3]).chain(&late) {
        let shown = world.stands(execution, "parked").await;
        assert_eq!(shown["activation"], 1, "what still waits was not begun again");
    }
    let before = worked(&world);
    connect(&world, "ann").await;
    let left: Vec<String> = anns.iter().filter(|one| **one != anns[3]).chain(&late).cloned().collect();
    for execution in &left {
        assert_eq!(world.ended(execution).await["status"], "succeeded");
    }
    assert_eq!(worked(&world)[before.len()..], left, "in the order in which they were accepted");
    assert_eq!(world.daemon.metric("perseat_executions_parked").await, 0.0);
}

/// All are let in before the first of their results is there; together they would hold more than everybody may.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_whose_large_results_wait_for_a_credential_holds_its_users_share_and_closes_intake_for_nobody() {
    const BURST: usize = 30;
    const RESULT: usize = 400_000;
    let plan = Plan {
        keys: &[
            ("admission.total-bytes", "4MiB"),
            ("admission.customer-bytes", "2MiB"),
            ("admission.user-bytes", "1MiB"),
            ("front.max-body", "256KiB"),
            ("execution.slots", "2"),
        ],
        ..Plan::default()
    };
    let provider = Oauth::start(plan.manner.clone()).await;
    let daemon = Daemon::start(World::setup(&provider, &plan));
    let world = World { daemon, provider };
    // Of many different characters, as results are compressed.
    let script = format!(
        "module.exports = async () => ({{ data: Array.from({{ length: {RESULT} }}, () => String.fromCharCode(40 + 80 * Math.random())).join('') }})"
    );
    let large: String = code("Large", &script).lines().map(|line| format!("  {line}\n")).collect();
    let manifests = world.manifests(&plan);
    let step = "        - name: Post\n";
    assert!(manifests.contains(step));
    world.daemon.apply(&manifests.replace(step, &format!("{large}{step}"))).await;
    world.provider.revoke("ann");
    let anns = world.send("ann", BURST).await;
    let mut look = tokio::time::interval(Duration::from_millis(20));
    while listed(&world, "parked").await < 3 {
        look.tick().await;
    }
    for execution in world.send("bob", 3).await {
        assert_eq!(world.ended(&execution).await["status"], "succeeded", "there is room for others");
    }
    while listed(&world, "running").await > 0 {
        look.tick().await;
    }
    let parked = listed(&world, "parked").await;
    assert!(parked * RESULT / 2 < 2 << 20, "{parked} wait with what they gave");
    assert_eq!(parked + listed(&world, "queued").await, BURST);
    assert!(
        world.daemon.metric("perseat_executions_apart").await > 0.0,
        "and an operator sees why the rest does not begin"
    );
    connect(&world, "ann").await;
    for execution in &anns {
        assert_eq!(world.ended(execution).await["status"], "succeeded");
    }
    assert_eq!(world.daemon.metric("perseat_executions_apart").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_reaches_the_provider_in_order_however_often_it_is_tried() {
    let plan = Plan {
        keys: &[("execution.slots", "1")],
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    world.provider.revoke("ann");
    let anns = in_order(&world, "ann", 12).await;
    for execution in &anns {
        world.stands(execution, "parked").await;
    }
    // Each change of the instance has what waits there tried.
    let api = Api::program(&world.daemon, "owner").await;
    let instances = api.get("{ instances { nodes { id } } }", json!({})).await;
    let update = "mutation ($i: ID!, $d: String) { updateInstance(input: {id: $i, description: $d}) { errors { messages } } }";
    let changes = |of: &'static str| {
        let (api, instance) = (&api, &instances["nodes"][0]["id"]);
        async move {
            for number in 0..3 {
                let description = format!("{of} {number}");
                api.get(update, json!({ "i": instance, "d": description })).await;
            }
        }
    };
    changes("before").await;
    tokio::join!(changes("meanwhile"), connect(&world, "ann"), changes("and others"));
    for execution in &anns {
        assert_eq!(world.ended(execution).await["status"], "succeeded");
    }
    assert_eq!(worked(&world), anns, "in the order in which they were accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_has_only_that_users_executions_tried() {
    let users = ["ann", "bob", "cyd"];
    let plan = Plan {
        users: &users,
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let mut parked = Vec::new();
    for user in users {
        world.provider.revoke(user);
        let execution = world.send(user, 1).await.remove(0);
        world.stands(&execution, "parked").await;
        parked.push(execution);
    }
    // Whatever is taken up says so.
    world.daemon.switch("fail-entry-readings", true).await;
    connect(&world, "ann").await;
    let id = |execution: &str| execution.parse::<ExecutionId>().unwrap().to_string();
    world.daemon.log_line(&["an execution cannot be taken up now", &id(&parked[0])]);
    world.daemon.switch("fail-entry-readings", false).await;
    assert_eq!(world.ended(&parked[0]).await["status"], "succeeded");
    let log = world.daemon.log();
    for other in &parked[1..] {
        let is_tried = |line: &str| line.contains("cannot be taken up now") && line.contains(&id(other));
        assert!(!log.lines().any(is_tried), "{log}");
        assert_eq!(world.stands(other, "parked").await["activation"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_parks_and_nobody_has_to_consent_again() {
    let world = World::start(&Plan::default()).await;
    world.provider.change(|manner| manner.refuses = Some((503, None)));
    let (anns, bobs) = (world.send("ann", 5).await, world.send("bob", 5).await);
    for execution in anns.iter().chain(&bobs) {
        world.stands(execution, "parked").await;
    }
    // Renewals go on beside what waits.
    world.provider.until("/token", 12).await;
    let api = Api::program(&world.daemon, "owner").await;
    for user in ["ann", "bob"] {
        let shown = account(&api, user).await;
        assert_eq!(
            (shown["status"].as_str(), shown["grant"]["reason"].as_str()),
            (Some("ERROR"), Some("http_503")),
            "{shown}"
        );
    }
    world.provider.change(|manner| manner.refuses = None);
    for execution in anns.iter().chain(&bobs) {
        assert_eq!(world.ended(execution).await["status"], "succeeded");
    }
    for user in ["ann", "bob"] {
        let shown = account(&api, user).await;
        assert_eq!(shown["status"], "ACTIVE");
        let log = world.daemon.log();
        assert!(!log.contains("a grant is over"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_wants_to_be_left_alone_is_and_then_the_token_is_spent_once() {
    let plan = Plan {
        users: &["ann"],
        // What it asks for is more than the daemon would wait by itself, and less than twelve times its longest wait.
        keys: &[("oauth.back-off", "10ms"), ("oauth.back-off-max", "500ms")],
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    world.provider.change(|manner| manner.refuses = Some((429, Some(5))));
    let executions = world.send("ann", 5).await;
    world.provider.until("/token", 1).await;
    // However late the account is looked at: the next renewal has no answer before.
    world.provider.change(|manner| {
        manner.refuses = None;
        manner.stalls = Some(Stall::Meanwhile);
    });
    for execution in &executions {
        world.stands(execution, "parked").await;
    }
    {
        let api = Api::program(&world.daemon, "owner").await;
        let shown = account(&api, "ann").await;
        assert_eq!(
            (shown["status"].as_str(), shown["grant"]["reason"].as_str()),
            (Some("ERROR"), Some("http_429")),
            "{shown}"
        );
    }
    world.provider.change(|manner| manner.stalls = None);
    for execution in &executions {
        assert_eq!(world.ended(execution).await["status"], "succeeded");
    }
    let calls = world.provider.calls("/token");
    let told: Vec<(u16, &str)> = calls
        .iter()
        .map(|call| (call.status, call.form["refresh_token"].as_str()))
        .collect();
    assert_eq!(
        told,
        [(429, "refresh-ann-1"), (200, "refresh-ann-1")],
        "one that was refused, and one"
    );
    assert!(calls[1].at - calls[0].at >= Duration::from_secs(5), "it was left alone");
    let api = Api::program(&world.daemon, "owner").await;
    assert_eq!(account(&api, "ann").await["status"], "ACTIVE");
    assert!(!world.daemon.log().contains("a grant is over"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_longer_than_the_limit_not_even_over_a_restart() {
    let plan = Plan {
        users: &["ann"],
        ..Plan::default()
    };
    let mut world = World::start(&plan).await;
    world.provider.revoke("ann");
    let mut executions = world.send("ann", 3).await;
    for execution in &executions {
        world.stands(execution, "parked").await;
    }
    // A limit that is over by then, counted from when they were parked; counted from the start it never is.
    world.daemon.kill();
    world.daemon.restart_with(&[("execution.park-limit", "1ms")]);
    executions.extend(world.send("ann", 1).await);
    for execution in &executions {
        let ended = world.ended(execution).await;
        assert_eq!(
            (ended["status"].as_str(), ended["code"].as_str()),
            (Some("failed"), Some("parked_too_long"))
        );
    }
    assert_eq!(listed(&world, "parked").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_ends_with_its_user_and_counts_until_then() {
    let plan = Plan {
        keys: &[("admission.user", "4")],
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    world.provider.revoke("ann");
    // At four fifths of its limit a user's events are refused; what is parked counts.
    let executions = world.send("ann", 3).await;
    for execution in &executions {
        world.stands(execution, "parked").await;
    }
    let url = world.hook("ann").await;
    let refused = world.daemon.post(&url, &[], "{}").await;
    assert_eq!(refused.status, 429, "{:?}", refused.body);
    let api = Api::program(&world.daemon, "owner").await;
    let configs = api
        .get(
            "{ instances { nodes { userLevelConfigs { nodes { id user { name } } } } } }",
            json!({}),
        )
        .await;
    let all = configs["nodes"][0]["userLevelConfigs"]["nodes"].as_array().unwrap();
    let of_ann = all
        .iter()
        .find(|config| config["user"]["name"].as_str().unwrap().starts_with("ann"));
    let removal = "mutation($id: ID!) { deleteUserLevelConfig(input: {id: $id}) { errors { messages } } }";
    api.get(removal, json!({ "id": of_ann.unwrap()["id"] })).await;
    for execution in &executions {
        let ended = world.ended(execution).await;
        assert_eq!(
            (ended["status"].as_str(), ended["code"].as_str()),
            (Some("failed"), Some("user_removed"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_renewed_once_and_the_request_repeated_once() {
    for refusal in [401, 403] {
        let plan = Plan {
            manner: Manner {
                // It says nothing of an end: nobody knows that it is over before it is refused.
                lifetime: None,
                ..Manner::default()
            },
            users: &["ann"],
            keys: &[("oauth.fresh", "1ms")],
            ..Plan::default()
        };
        let world = World::start(&plan).await;
        let first = world.send("ann", 1).await;
        world.ended(&first[0]).await;
        assert_eq!(world.provider.calls("/token").len(), 1);
        world.provider.change(|manner| manner.refusal = refusal);
        world.provider.end_access("ann");
        let executions = world.send("ann", 200).await;
        for execution in &executions {
            assert_eq!(world.ended(execution).await["status"], "succeeded");
        }
        assert_eq!(world.provider.calls("/token").len(), 2, "one renewal, whoever was refused");
        let refused = world.provider.calls("/work").into_iter().filter(|call| call.status == refusal);
        for call in refused {
            let key = &call.headers["idempotency-key"];
            let calls = world.provider.calls("/work");
            let of_key: Vec<u16> = calls
                .iter()
                .filter(|other| other.headers["idempotency-key"] == key)
                .map(|other| other.status)
                .collect();
            assert_eq!(of_key, [refusal, 200], "refused, then repeated once with the same key");
        }
        assert!(!world.provider.chain("ann").was_reused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_party_that_refuses_a_fresh_token_does_not_cost_the_grant() {
    let plan = Plan {
        users: &["ann"],
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    world.provider.change(|manner| manner.forbids = true);
    for execution in world.send("ann", 3).await {
        let ended = world.ended(&execution).await;
        assert_eq!(
            (ended["status"].as_str(), ended["code"].as_str()),
            (Some("failed"), Some("step_failed"))
        );
        assert!(ended["message"].to_string().contains("401"), "{ended}");
    }
    assert_eq!(
        world.provider.calls("/token").len(),
        1,
        "the token was renewed before its first use alone"
    );
    let api = Api::program(&world.daemon, "owner").await;
    assert_eq!(account(&api, "ann").await["status"], "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_grant_is_found_out_by_its_token_and_what_was_refused_goes_on_after_consent() {
    let plan = Plan {
        manner: Manner {
            lifetime: None,
            ..Manner::default()
        },
        users: &["ann"],
        keys: &[("oauth.fresh", "1ms")],
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let first = world.send("ann", 1).await;
    world.ended(&first[0]).await;
    world.provider.revoke("ann");
    let executions = world.send("ann", 5).await;
    for execution in &executions {
        world.stands(execution, "parked").await;
    }
    assert_eq!(world.provider.calls("/token").len(), 2, "asked once whether it is over");
    connect(&world, "ann").await;
    for execution in &executions {
        assert_eq!(world.ended(execution).await["status"], "succeeded");
    }
}

/// The seeds of one run; `PARK_SEED` runs one alone.
fn seeds() -> Vec<u64> {
    match std::env::var("PARK_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => vec![0, 3, 9, 29, 40, 52],
    }
}

/// Kills the daemon at points that the seed chooses: in the first renewal, in the one that finds out about a revocation, while
/// executions are parked, and right after the new consent.
#[tokio::test(flavor = "multi_thread")]
async fn kills_by_seed_lose_no_parked_execution_and_spend_no_token_twice() {
    for seed in seeds() {
        let mut rest = seed;
        let mut choose = |count: u64| {
            let chosen = rest % count;
            rest /= count;
            chosen
        };
        let points = ["grant-intended", "grant-answered", "grant-stored"];
        let forgives = choose(2) == 0;
        let (first, second, parked) = (points[choose(3) as usize], points[choose(3) as usize], choose(4) as usize);
        let plan = Plan {
            manner: Manner {
                lifetime: None,
                grace: forgives.then_some(Duration::from_mins(10)),
                ..Manner::default()
            },
            inputs: if forgives { &[("refreshReuse", "600")] } else { &[] },
            users: &["ann"],
            keys: &[("oauth.fresh", "1ms")],
            ..Plan::default()
        };
        let story = format!("seed {seed}: forgives {forgives}, {first}, {second}, {parked}");
        let mut world = World::start(&plan).await;
        world.daemon.arm(first, 1).await;
        // One alone meets the point, and its answer perhaps: others would still be on their way to a daemon that is gone.
        world.send_last("ann").await;
        world.daemon.until_killed(first).await;
        world.daemon.restart();
        world.send("ann", 3).await;
        let mut all = world.executions(4).await;
        if forgives || first == "grant-stored" {
            // It goes on until the grant is revoked, which its refused token makes known.
            for execution in &all {
                assert_eq!(world.ended(execution).await["status"], "succeeded", "{story}");
            }
            world.provider.revoke("ann");
            world.daemon.arm(second, 1).await;
            world.send_last("ann").await;
            world.daemon.until_killed(second).await;
            world.daemon.restart();
            world.send("ann", 3).await;
            all = world.executions(8).await;
        }
        let waiting = &all[all.len() - 4..];
        for execution in &waiting[..parked] {
            world.stands(execution, "parked").await;
        }
        world.daemon.kill();
        world.daemon.restart();
        connect(&world, "ann").await;
        world.daemon.kill();
        world.daemon.restart();
        for execution in &all {
            let ended = world.ended(execution).await;
            assert_eq!(ended["status"], "succeeded", "{story}: {ended}");
        }
        let chain = world.provider.chain("ann");
        assert!(!chain.was_reused && !chain.is_revoked, "{story}: {chain:?}");
    }
}
