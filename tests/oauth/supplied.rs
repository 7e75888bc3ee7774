//! Tokens that a configuration supplies: what was spent or given up does not come back, and what somebody allowed since is theirs.

use std::path::Path;

use http::Method;
use perseat::boot::administration::ApplyBody;
use perseat_admin::apply::ApplyOptions;
use perseat_admin::manifest::read_text;
use serde_json::json;

use crate::consent::{account, connect};
use crate::harness::api::Api;
use crate::harness::oauth::first_tokens;
use crate::moves::works;
use crate::sharers;
use crate::world::{Plan, World};

fn plan<'a>(users: &'a [&'a str]) -> Plan<'a> {
    Plan {
        have_tokens: true,
        ..crate::owed::plan(users)
    }
}

/// The refresh tokens of this account that were spent.
fn spent(world: &World, account: &str) -> Vec<String> {
    let calls = world.provider.calls("/token").into_iter();
    let tokens = calls.filter_map(|call| call.form.get("refresh_token").cloned());
    tokens.filter(|token| token.contains(account)).collect()
}

async fn waits(world: &World, user: &str) {
    let execution = world.send(user, 1).await.remove(0);
    world.stands(&execution, "parked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_spent_or_given_up_stays_so_where_another_member_of_it_changes() {
    let plan = plan(&["ann", "bob"]);
    let world = World::start(&plan).await;
    let first = world.manifests(&plan);
    let api = Api::program(&world.daemon, "owner").await;
    works(&world, "ann").await;
    works(&world, "bob").await;
    crate::owed::disconnect(&api, "bob").await;
    let longer = first.replace("expires_in: \"3600\"", "expires_in: \"7200\"");
    assert_ne!(longer, first);
    world.daemon.apply(&longer).await;
    works(&world, "ann").await;
    waits(&world, "bob").await;
    for user in ["ann", "bob"] {
        assert_eq!(spent(&world, user), [format!("refresh-{user}-1")]);
    }
    assert_eq!(account(&api, "ann").await["status"], "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_spent_does_not_come_back_with_an_earlier_configuration() {
    let plan = plan(&["ann"]);
    let world = World::start(&plan).await;
    let first = world.manifests(&plan);
    works(&world, "ann").await;
    world.provider.allow("another");
    let second = first.replace(&first_tokens("ann"), &first_tokens("another"));
    assert_ne!(second, first);
    world.daemon.apply(&second).await;
    works(&world, "ann").await;
    assert_eq!(spent(&world, "another"), ["refresh-another-1"]);
    world.daemon.apply(&first).await;
    waits(&world, "ann").await;
    assert_eq!(spent(&world, "ann"), ["refresh-ann-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_outlives_the_token_that_is_supplied_again() {
    let plan = plan(&["ann"]);
    let world = World::start(&plan).await;
    let first = world.manifests(&plan);
    works(&world, "ann").await;
    let without = first.replace(&format!("\n    token: {}", first_tokens("ann")), " {fields: {}}");
    assert_ne!(without, first);
    world.daemon.apply(&without).await;
    connect(&world, "ann").await;
    works(&world, "ann").await;
    let before = spent(&world, "ann");
    world.daemon.apply(&first).await;
    works(&world, "ann").await;
    assert_eq!(spent(&world, "ann"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_allowed_stays_where_the_token_before_it_is_pruned() {
    let plan = sharers::Plan {
        keys: &[("owed.look", "20ms")],
        ..sharers::Plan::of("customer")
    };
    let world = sharers::start(&plan).await;
    sharers::all_succeed(&world, &sharers::send(&world, "ann", 1).await).await;
    let api = Api::program(&world.daemon, "owner").await;
    let customers = api.get("{ customers { nodes { id externalId } } }", json!({})).await;
    let customers = customers["nodes"].as_array().unwrap();
    let globex = customers.iter().find(|one| one["externalId"] == "globex").unwrap()["id"].clone();
    let query = "query($customer: ID!) { customerConfigVariables(customer: $customer) { nodes { status authorizeUrl } } }";
    let shown = api.get(query, json!({ "customer": globex })).await;
    sharers::consent(&world, shown["nodes"][0]["authorizeUrl"].as_str().unwrap(), "other").await;
    sharers::all_succeed(&world, &sharers::send(&world, "ann", 1).await).await;

    let without = sharers::Plan {
        with_tokens: &["initech"],
        ..plan
    };
    let manifests = sharers::manifests(&without, &world.provider);
    let body = ApplyBody {
        manifests: read_text(&manifests, Path::new("manifests.yml"), &|_| None).unwrap(),
        options: ApplyOptions {
            prune: true,
            ..ApplyOptions::default()
        },
    };
    world.daemon.local(Method::POST, "/apply", Some(json!(body))).await.unwrap();
    sharers::all_succeed(&world, &sharers::send(&world, "ann", 1).await).await;
    let given = world.provider.calls("/revoke");
    assert!(given.iter().all(|call| !call.form["token"].contains("other")), "{given:?}");
}
