//! Changes of which the disk says that they failed, and that are stored all the same: they are in force without a restart.

use serde_json::{Value, json};

use crate::consent::{account, connect};
use crate::harness::api::Api;
use crate::owed::{given, plan, user};
use crate::world::{Plan, World};

const DISCONNECT: &str = "mutation ($i: ID) { disconnectUserLevelConnection(input: {id: $i}) { errors { messages } } }";
const REMOVE: &str = "mutation ($i: ID) { deleteUser(input: {id: $i}) { errors { messages } } }";

/// Makes a change that is said to have failed, and waits until it is in force. Where the disk breaks at once, it heals a while later.
async fn denied(world: &World, api: &Api<'_>, change: &str, id: &Value, and_breaks: bool) {
    let switch = if and_breaks {
        "deny-catalog-commit-and-break"
    } else {
        "deny-catalog-commit"
    };
    world.daemon.switch(switch, true).await;
    let answer = api.ask(change, json!({ "i": id })).await;
    assert!(answer["errors"].is_array(), "{answer}");
    if and_breaks {
        world.daemon.log_line(&["whether a change is stored is not known now"]);
        world.daemon.switch(switch, false).await;
    }
    world
        .daemon
        .log_line(&["a change that was said to have failed is stored", "published anew"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_given_up_is_not_used_though_that_was_said_to_have_failed() {
    for and_breaks in [false, true] {
        let world = World::start(&plan(&["ann"])).await;
        connect(&world, "ann").await;
        let first = world.send("ann", 1).await;
        assert_eq!(world.ended(&first[0]).await["status"], "succeeded");
        let api = Api::program(&world.daemon, "owner").await;
        let id = account(&api, "ann").await["id"].clone();
        denied(&world, &api, DISCONNECT, &id, and_breaks).await;
        let second = world.send("ann", 1).await;
        world.stands(&second[0], "parked").await;
        assert_eq!(world.provider.calls("/work").len(), 1);
        let is_given_back = given(&world.provider.until("/revoke", 1).await).contains("refresh-ann-1");
        assert!(is_given_back);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_users_token_is_given_back_and_nothing_is_taken_though_that_was_said_to_have_failed() {
    let world = World::start(&plan(&["ann"])).await;
    connect(&world, "ann").await;
    let hook = world.hook("ann").await;
    let api = Api::program(&world.daemon, "owner").await;
    let ann = user(&api, "ann").await;
    denied(&world, &api, REMOVE, &ann, false).await;
    let refused = world.daemon.post(&hook, &[("content-type", "application/json")], "{}").await;
    assert_eq!(refused.status, 410, "{:?}", refused.body);
    assert!(given(&world.provider.until("/revoke", 1).await).contains("refresh-ann-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_is_there_though_that_was_said_to_have_failed_is_no_renewal_that_was_cut_off() {
    let world = World::start(&Plan {
        users: &["ann"],
        ..Plan::default()
    })
    .await;
    world.daemon.switch("deny-catalog-commit", true).await;
    let sent = world.send("ann", 1).await;
    world.daemon.log_line(&["a grant cannot be written down now", "the disk failed"]);
    assert_eq!(world.ended(&sent[0]).await["status"], "succeeded");
    let calls = world.provider.calls("/token");
    let spent: Vec<&str> = calls.iter().map(|call| call.form["refresh_token"].as_str()).collect();
    assert_eq!(spent, ["refresh-ann-1"]);
}
