//! Tokens are renewed once, when they are due, and whatever happens meanwhile is neither spent twice nor lost silently.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::consent::{account, connect};
use crate::harness::api::Api;
use crate::harness::daemon::Daemon;
use crate::harness::oauth::{Call, Manner, Oauth, Stall};
use crate::notices::{until, words};
use crate::world::{Plan, SECRET, World};

/// The refresh tokens that were spent, in order.
fn renewals(world: &World) -> Vec<String> {
    let calls = world.provider.calls("/token");
    calls
        .iter()
        .filter(|call| call.status != 0)
        .map(|call| call.form.get("refresh_token").cloned().unwrap_or_default())
        .collect()
}

fn tokens(calls: &[Call]) -> BTreeSet<&str> {
    calls.iter().map(|call| call.token.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_executions_that_meet_an_ended_token_renew_it_once() {
    let world = World::start(&Plan::default()).await;
    let (ann, bob) = tokio::join!(world.send("ann", 200), world.send("bob", 3));
    let work = world.provider.until("/work", ann.len() + bob.len()).await;
    let mut spent = renewals(&world);
    spent.sort();
    assert_eq!(spent, ["refresh-ann-1", "refresh-bob-1"], "each user's own, once");
    assert_eq!(tokens(&work), BTreeSet::from(["access-ann-2", "access-bob-2"]));
    assert!(work.iter().all(|call| call.status == 200));
    for execution in ann.iter().chain(&bob) {
        assert_eq!(world.ended(execution).await["status"], "succeeded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_share_an_instances_account_renew_it_once() {
    let plan = Plan {
        is_user_level: false,
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let (ann, bob) = tokio::join!(world.send("ann", 100), world.send("bob", 100));
    let work = world.provider.until("/work", ann.len() + bob.len()).await;
    assert_eq!(renewals(&world), ["refresh-company-1"]);
    assert_eq!(tokens(&work), BTreeSet::from(["access-company-2"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_while_its_user_is_at_work_and_never_used_after_its_end() {
    let plan = Plan {
        manner: Manner {
            lifetime: Some(json!("4")),
            // A request that has its token may be read after the next one was given.
            keeps: true,
            ..Manner::default()
        },
        users: &["ann"],
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let mut sent = 0;
    while renewals(&world).len() < 3 {
        sent += world.send("ann", 1).await.len();
        world.provider.until("/work", sent).await;
    }
    let spent = renewals(&world);
    assert_eq!(spent[..3], ["refresh-ann-1", "refresh-ann-2", "refresh-ann-3"]);
    assert!(world.provider.calls("/work").iter().all(|call| call.status == 200));
}

/// Where a renewal is cut off.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// At a point of the daemon.
    At(&'static str),
    /// While the provider, which was asked, is silent.
    While(Stall),
}

impl Cut {
    async fn off(self, world: &mut World) {
        match self {
            Self::At(point) => {
                world.daemon.arm(point, 1).await;
                world.send_last("ann").await;
                world.daemon.until_killed(point).await;
            }
            Self::While(stall) => {
                world.provider.change(|manner| manner.stalls = Some(stall));
                world.send("ann", 1).await;
                world.provider.until("/token", 1).await;
                world.daemon.kill();
                world.provider.change(|manner| manner.stalls = None);
            }
        }
        world.daemon.restart();
    }
}

/// Kills at each point of a renewal, for providers that forgive, that do not, and that have nothing to forgive.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_point_of_a_renewal_spends_no_token_twice_and_loses_none_silently() {
    let strict = Plan {
        users: &["ann"],
        ..Plan::default()
    };
    let forgiving = Plan {
        manner: Manner {
            grace: Some(Duration::from_mins(10)),
            ..Manner::default()
        },
        inputs: &[("refreshReuse", "600")],
        ..strict.clone()
    };
    let steady = Plan {
        manner: Manner {
            rotates: false,
            ..Manner::default()
        },
        inputs: &[("refreshReuse", "always")],
        ..strict.clone()
    };
    // Where it is cut off, and how often the token was spent by then.
    let cuts = [
        (Cut::At("grant-intended"), 0),
        (Cut::While(Stall::Before), 0),
        (Cut::While(Stall::After), 1),
        (Cut::At("grant-answered"), 1),
        (Cut::At("grant-stored"), 1),
    ];
    for (plan, may_repeat) in [(&strict, false), (&forgiving, true), (&steady, true)] {
        for (cut, spent_before) in cuts {
            let story = format!("{cut:?} {:?}", plan.inputs);
            let mut world = World::start(plan).await;
            cut.off(&mut world).await;
            let is_known = matches!(cut, Cut::At("grant-stored"));
            if is_known || may_repeat {
                let work = world.provider.until_like("/work", 1, |call| call.status == 200).await;
                let newest = world.provider.chain("ann").newest;
                assert_eq!(work[0].token, format!("access-ann-{newest}"), "{story}");
            } else {
                world
                    .daemon
                    .log_line(&["whether a grant still holds is not known", "renewal_interrupted"]);
                assert!(world.provider.calls("/work").is_empty(), "{story}");
            }
            let spent = spent_before + usize::from(!is_known && may_repeat);
            assert_eq!(renewals(&world), vec!["refresh-ann-1"; spent], "{story}");
            let chain = world.provider.chain("ann");
            assert!(!chain.was_reused && !chain.is_revoked, "{story}: {chain:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_given_a_moment_ago_and_is_refused_has_nothing_read_again() {
    let plan = Plan {
        keys: &[("oauth.fresh", "1h")],
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let first = world.send("ann", 1).await.remove(0);
    assert_eq!(
        world.ended(&first).await["status"],
        "succeeded",
        "with a token that was renewed for it"
    );
    world.provider.change(|manner| manner.forbids = true);
    world.daemon.switch("fail-config-readings", true).await;
    let refused = world.send("ann", 1).await.remove(0);
    let ended = world.ended(&refused).await;
    assert_eq!(
        (&ended["status"], &ended["code"]),
        (&json!("failed"), &json!("step_failed")),
        "{ended}"
    );
    assert!(!world.daemon.log().contains("cannot read"), "{}", world.daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_is_not_guessed() {
    let plan = Plan {
        manner: Manner {
            breaks: true,
            ..Manner::default()
        },
        users: &["ann"],
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    world.send("ann", 1).await;
    world
        .daemon
        .log_line(&["whether a grant still holds is not known", "connection_broken"]);
    assert_eq!(renewals(&world), ["refresh-ann-1"]);
    let forgiving = Plan {
        manner: Manner {
            breaks: true,
            grace: Some(Duration::from_mins(10)),
            ..Manner::default()
        },
        inputs: &[("refreshReuse", "600")],
        ..plan
    };
    let world = World::start(&forgiving).await;
    world.send("ann", 1).await;
    world.daemon.log_line(&["whether a grant still holds is not known"]);
    assert_eq!(renewals(&world), ["refresh-ann-1", "refresh-ann-1"], "exactly one more");
    assert!(!world.provider.chain("ann").was_reused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_be_written_down_is_kept_until_it_can() {
    let plan = Plan {
        users: &["ann"],
        ..Plan::default()
    };
    for (switch, why) in NO_WRITES {
        let world = World::start(&plan).await;
        world.provider.change(|manner| manner.stalls = Some(Stall::Meanwhile));
        let sent = world.send("ann", 1).await;
        world.provider.until("/token", 1).await;
        world.daemon.switch(switch, true).await;
        world.provider.change(|manner| manner.stalls = None);
        world.daemon.log_line(&["a grant cannot be written down now", why]);
        world.daemon.switch(switch, false).await;
        assert_eq!(world.ended(&sent[0]).await["status"], "succeeded");
        assert_eq!(renewals(&world), ["refresh-ann-1"]);
        assert_eq!(tokens(&world.provider.calls("/work")), BTreeSet::from(["access-ann-2"]));
    }
}

/// Switches that let every write of the catalog fail, and what the log says then.
const NO_WRITES: [(&str, &str); 2] = [("break-catalog", "the disk failed"), ("exhaust-catalog", "the disk is full")];

/// What a provider says of a renewal when the catalog cannot be written: that it is down, and that the grant is over.
#[tokio::test(flavor = "multi_thread")]
async fn what_loses_nothing_waits_for_no_disk_and_is_written_down_once_it_can_be() {
    for is_over in [false, true] {
        let world = World::start(&Plan::default()).await;
        let (bobs, first) = (world.hook("bob").await, world.send("bob", 1).await);
        assert_eq!(world.ended(&first[0]).await["status"], "succeeded");
        world.provider.change(|manner| {
            manner.stalls = Some(Stall::Meanwhile);
            manner.refuses = (!is_over).then_some((503, None));
            manner.complaint = is_over.then_some("invalid_grant");
        });
        let sent = world.send("ann", 3).await;
        world.provider.until("/token", 2).await;
        world.daemon.switch("break-catalog", true).await;
        world.provider.change(|manner| manner.stalls = None);
        world.daemon.log_line(&["a grant cannot be written down now", "the disk failed"]);
        for execution in &sent {
            world.stands(execution, "parked").await;
        }
        let answer = world
            .daemon
            .post(&bobs, &[("content-type", "application/json")], "{}".to_owned())
            .await;
        let second = answer.json()["executionId"].as_str().unwrap().to_owned();
        assert_eq!(world.ended(&second).await["status"], "succeeded");
        world.provider.change(|manner| *manner = Manner::default());
        world.daemon.switch("break-catalog", false).await;
        if is_over {
            let grant = until(&world, "ann", "her end is written", |grant| grant["status"] != "ACTIVE").await;
            assert_eq!((&grant["status"], &grant["reason"]), (&json!("FAILED"), &json!("invalid_grant")));
            assert!(grant["notice"].is_object() && words(&grant).last().unwrap() == "ENDED", "{grant}");
            connect(&world, "ann").await;
        }
        for execution in &sent {
            assert_eq!(world.ended(execution).await["status"], "succeeded");
        }
        let anns: Vec<String> = renewals(&world).into_iter().filter(|token| token.contains("ann")).collect();
        assert_eq!(anns, vec!["refresh-ann-1"; if is_over { 1 } else { 2 }]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_cannot_be_written_down_is_put_off_and_nothing_is_spent() {
    let plan = Plan {
        users: &["ann"],
        ..Plan::default()
    };
    for (switch, why) in NO_WRITES {
        let world = World::start(&plan).await;
        world.daemon.switch(switch, true).await;
        let sent = world.send("ann", 1).await;
        world.daemon.log_line(&["a grant cannot be written down now", why]);
        world.stands(&sent[0], "parked").await;
        assert!(world.provider.calls("/token").is_empty());
        world.daemon.switch(switch, false).await;
        assert_eq!(world.ended(&sent[0]).await["status"], "succeeded");
        assert_eq!(renewals(&world), ["refresh-ann-1"]);
    }
}

/// A provider that exchanges refresh tokens only now and then: that one was given back says nothing of its next use.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_was_once_kept_is_not_spent_again_after_a_kill() {
    let plan = Plan {
        manner: Manner {
            rotates: false,
            // It says nothing of an end: it is renewed when it is refused.
            lifetime: None,
            ..Manner::default()
        },
        users: &["ann"],
        keys: &[("oauth.fresh", "1ms")],
        ..Plan::default()
    };
    let mut world = World::start(&plan).await;
    let first = world.send("ann", 1).await;
    assert_eq!(world.ended(&first[0]).await["status"], "succeeded");
    assert_eq!(renewals(&world), ["refresh-ann-1"]);

    world.provider.change(|manner| manner.rotates = true);
    world.provider.end_access("ann");
    // Held there first, so that whoever sends is answered.
    world.daemon.switch("hold:grant-answered:1", true).await;
    let cut_off = world.send("ann", 1).await;
    world.daemon.log_line(&["held", "grant-answered"]);
    world.daemon.kill();
    world.daemon.restart();
    world.stands(&cut_off[0], "parked").await;
    let shown = account(&Api::program(&world.daemon, "owner").await, "ann").await;
    let (status, reason) = (shown["grant"]["status"].as_str(), shown["grant"]["reason"].as_str());
    assert_eq!((status, reason), (Some("UNCERTAIN"), Some("renewal_interrupted")));
    assert_eq!(renewals(&world), ["refresh-ann-1"; 2], "nothing is guessed");
    connect(&world, "ann").await;
    assert_eq!(world.ended(&cut_off[0]).await["status"], "succeeded");
    let chain = world.provider.chain("ann");
    assert!(!chain.was_reused && !chain.is_revoked, "{chain:?}");
    assert!(!world.daemon.log().contains("a grant is over"), "nobody said so");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_taken_however_they_are_given() {
    for (manner, inputs) in [
        (
            Manner {
                nested: true,
                lifetime: None,
                ..Manner::default()
            },
            &[("tokenPath", "authed_user"), ("clientAuthentication", "basic")][..],
        ),
        (
            Manner {
                form: true,
                lifetime: Some(json!("3600")),
                ..Manner::default()
            },
            &[],
        ),
        (
            Manner {
                rotates: false,
                lifetime: None,
                ..Manner::default()
            },
            &[("defaultExpiresIn", "3600"), ("tokenParams", "audience=work")],
        ),
    ] {
        let plan = Plan {
            manner,
            inputs,
            users: &["ann"],
            ..Plan::default()
        };
        let world = World::start(&plan).await;
        world.send("ann", 2).await;
        let work = world.provider.until("/work", 2).await;
        assert_eq!(tokens(&work), BTreeSet::from(["access-ann-2"]), "{inputs:?}");
        let calls = world.provider.calls("/token");
        assert_eq!(calls.len(), 1);
        let is_basic = inputs.contains(&("clientAuthentication", "basic"));
        assert_eq!(calls[0].headers.contains_key("authorization"), is_basic);
        assert_eq!(calls[0].form.contains_key("client_secret"), !is_basic);
        assert_eq!(
            calls[0].form.get("audience").map(String::as_str),
            inputs.iter().any(|(name, _)| *name == "tokenParams").then_some("work")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrations_own_token_is_had_and_renewed_without_anybody() {
    let plan = Plan {
        kind: "oauth2ClientCredentials",
        manner: Manner {
            lifetime: Some(json!(1)),
            ..Manner::default()
        },
        users: &["ann"],
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let mut sent = 0;
    while world.provider.calls("/token").len() < 3 {
        sent += world.send("ann", 1).await.len();
        world.provider.until("/work", sent).await;
    }
    assert!(
        world
            .provider
            .calls("/token")
            .iter()
            .all(|call| call.form["grant_type"] == "client_credentials")
    );
    assert!(world.provider.calls("/work").iter().all(|call| call.status == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_is_denied_access_works_as_soon_as_it_has_another_secret() {
    let plan = Plan {
        kind: "oauth2ClientCredentials",
        manner: Manner {
            stranger: "access_denied",
            ..Manner::default()
        },
        users: &["ann"],
        ..Plan::default()
    };
    let provider = Oauth::start(plan.manner.clone()).await;
    let daemon = Daemon::start(World::setup(&provider, &plan));
    let world = World { daemon, provider };
    world.daemon.apply(&world.manifests(&plan).replace(SECRET, "an-old-secret")).await;
    let waits = world.send("ann", 1).await;
    world.stands(&waits[0], "parked").await;
    world.provider.until("/token", 2).await;
    let api = Api::program(&world.daemon, "owner").await;
    let shown = account(&api, "ann").await;
    assert_eq!(
        (shown["status"].as_str(), shown["grant"]["reason"].as_str()),
        (Some("ERROR"), Some("access_denied")),
        "{shown}"
    );
    world.daemon.apply(&world.manifests(&plan)).await;
    assert_eq!(world.ended(&waits[0]).await["status"], "succeeded");
    assert_eq!(account(&api, "ann").await["status"], "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_and_no_secret_is_in_the_log_or_in_an_answer() {
    let world = World::start(&Plan::default()).await;
    let executions = world.send("ann", 1).await;
    let shown = world.ended(&executions[0]).await.to_string();
    let log = world.daemon.log();
    for secret in ["refresh-ann", "access-ann", SECRET] {
        assert!(!log.contains(secret), "{secret} is in the log");
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
}
