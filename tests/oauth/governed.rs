//! Limits of providers as they concern registrations and requests for tokens.

use std::time::Duration;

use crate::consent::{account, connect};
use crate::harness::api::Api;
use crate::harness::oauth::Call;
use crate::notices::until;
use crate::registrations::{config, of, plan, registration, told};
use crate::world::{Plan, World};

/// Clocks differ by less than this.
const SLACK: Duration = Duration::from_millis(20);

/// One registration by a rule, and one that is chosen.
fn two() -> String {
    registration("Europe", "") + &registration("Rest", "emailDomains: [globex.example]\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_a_provider_refuses_slows_no_other_one_there() {
    let more = two();
    let world = World::start(&Plan {
        keys: &[("governor.evidence", "2"), ("governor.max-wait", "500ms")],
        ..plan(&["ann", "bob", "cem", "dora"], &more)
    })
    .await;
    world.daemon.apply(&config("dora", "{registration: Europe}")).await;
    for (user, client) in [("ann", "rest"), ("bob", "rest"), ("cem", "rest"), ("dora", "europe")] {
        connect(&world, user).await;
        assert_eq!(told(&world), of(client), "{user}");
    }
    world.provider.change(|manner| {
        manner.limited.extend(["ann", "bob"].map(|user| (user.to_owned(), 3_000)));
    });
    for (user, code) in [("ann", "step_failed"), ("bob", "step_failed"), ("cem", "outbound_rate_limited")] {
        let execution = world.send(user, 1).await.remove(0);
        assert_eq!(world.ended(&execution).await["code"], code, "{user}");
    }
    let execution = world.send("dora", 1).await.remove(0);
    assert_eq!(world.ended(&execution).await["status"], "succeeded");
    let tokens: Vec<String> = world.provider.calls("/work").into_iter().map(|call| call.token).collect();
    assert_eq!(tokens, ["access-ann-1", "access-bob-1", "access-dora-1"]);

    // Whoever moves to another registration does not take along what the old one was refused.
    world.provider.change(|manner| manner.limited.clear());
    world.daemon.apply(&config("ann", "{registration: Europe}")).await;
    connect(&world, "ann").await;
    let execution = world.send("ann", 1).await.remove(0);
    assert_eq!(world.ended(&execution).await["status"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_is_left_alone_for_as_long_as_it_asks_by_renewals_and_consents_and_after_a_crash() {
    let mut world = World::start(&plan(&["ann"], "")).await;
    connect(&world, "ann").await;
    world.provider.change(|manner| manner.refuses = Some((429, Some(3))));
    world.provider.end_access("ann");
    let execution = world.send("ann", 1).await.remove(0);
    let refused = |call: &Call| call.status == 429;
    let asked = world.provider.until_like("/token", 1, refused).await[0].at;
    until(&world, "ann", "the refusal is written down", |grant| grant["reason"] == "http_429").await;
    world.daemon.kill();
    world.provider.change(|manner| manner.refuses = None);
    world.daemon.restart();
    connect(&world, "ann").await;
    assert_eq!(world.ended(&execution).await["status"], "succeeded");
    let calls = world.provider.calls("/token");
    let later: Vec<&Call> = calls.iter().skip_while(|call| !refused(call)).skip(1).collect();
    assert!(!later.is_empty());
    for call in later {
        assert!(call.at.duration_since(asked) + SLACK >= Duration::from_secs(3), "{call:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_would_wait_too_long_is_put_off_as_in_an_outage() {
    let world = World::start(&Plan {
        keys: &[("governor.token-wait", "50ms"), ("oauth.fresh", "1ms")],
        ..plan(&["ann"], "")
    })
    .await;
    connect(&world, "ann").await;
    world.provider.change(|manner| manner.refuses = Some((429, Some(600))));
    world.provider.end_access("ann");
    world.send("ann", 1).await;
    let grant = until(&world, "ann", "the renewal is put off", |grant| grant["reason"] == "rate_limited").await;
    assert_eq!(grant["status"], "ERROR");
    let refused = world.provider.calls("/token").into_iter().filter(|call| call.status == 429).count();
    assert_eq!(refused, 1, "it is not asked again before it said");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_goes_before_the_calls_that_wait_and_all_go_on() {
    let world = World::start(&Plan {
        // A renewal has its turn, is written down, and then calls: what a slow disk takes for that is little beside such a span.
        keys: &[("governor.rate", "1/1s"), ("oauth.fresh", "1ms")],
        ..plan(&["ann", "bob"], "")
    })
    .await;
    for user in ["ann", "bob"] {
        connect(&world, user).await;
    }
    let flood = world.send("ann", 7).await;
    world.provider.until("/work", 1).await;
    world.provider.end_access("bob");
    let bobs = world.send("bob", 2).await;
    for execution in bobs.iter().chain(&flood) {
        assert_eq!(world.ended(execution).await["status"], "succeeded");
    }
    let calls = world.provider.calls("/");
    let refused = calls.iter().position(|call| call.status == 401).unwrap();
    let is_renewal = |call: &Call| call.form.contains_key("refresh_token");
    let renewed = calls.iter().position(is_renewal).unwrap();
    // None has to; each second that something is late lets one more go before it.
    assert!(renewed - refused <= 3, "{} calls came between", renewed - refused - 1);
    assert_eq!(calls.iter().filter(|call| is_renewal(call)).count(), 1);
    // Five of seven, as long as nothing is late; none, if it went behind what waits.
    let left = calls[renewed..].iter().filter(|call| call.token.starts_with("access-ann-")).count();
    assert!(left > 1, "{left} of the flood still waited");
    let api = Api::program(&world.daemon, "owner").await;
    assert_eq!(account(&api, "bob").await["status"], "ACTIVE");
}
