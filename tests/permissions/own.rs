//! What everybody may do about themselves, and what nobody may.

use crate::is_allowed;
use crate::walk::may;
use crate::world::{ROLES, World};
use serde_json::json;

/// Somebody who would be more powerful: an owner, or a customer's admin.
fn powerful(customer: Option<&str>) -> String {
    let place: u128 = if customer.is_some() { 5 } else { 0 };
    perseat_domain::id::join_global("Role", uuid::Uuid::from_u128(0x5045_5253_4541_8000_8000_524f_4c45_0000 + place))
}

#[tokio::test]
async fn everybody_changes_their_own_profile_and_not_what_others_decide_about_them() {
    let world = World::start().await;
    let mut refused = 0;
    for (column, (role, customer)) in ROLES.into_iter().enumerate() {
        let me = world
            .ask(column, "{ authenticatedUser { id role { id } externalId } }", json!({}))
            .await;
        let me = &me["data"]["authenticatedUser"];
        let picture = world.picture(column, me["id"].as_str().unwrap()).await;
        let profile = "mutation ($i: ID!, $u: String) { updateUser(input: {id: $i, name: \"Myself\", phone: \"7\", avatarUrl: $u}) {
            user { name phone avatarUrl } errors { messages } } }";
        let changed = world.ask(column, profile, json!({ "i": me["id"], "u": picture })).await;
        let user = &changed["data"]["updateUser"]["user"];
        assert_eq!(
            *user,
            json!({ "name": "Myself", "phone": "7", "avatarUrl": picture }),
            "{role} of {customer:?}: {changed}"
        );

        let manages = match customer {
            Some(_) => may("Manage customer users", column),
            None => may("Manage organization users", column),
        };
        if manages {
            continue;
        }
        let power = "mutation ($i: ID!, $v: ID!) { updateUser(input: {id: $i, role: $v}) { user { id } errors { messages } } }";
        let name = "mutation ($i: ID!, $v: String!) { updateUser(input: {id: $i, externalId: $v}) { user { id } errors { messages } } }";
        for (query, value) in [(power, powerful(customer)), (name, "somebody-else".to_owned())] {
            let answer = world.ask(column, query, json!({ "i": me["id"], "v": value })).await;
            assert!(!is_allowed(&answer), "{role} of {customer:?}: {query}: {answer}");
            assert!(answer.to_string().contains("does not allow"), "{answer}");
            refused += 1;
        }
        let after = world
            .ask(column, "{ authenticatedUser { id role { id } externalId } }", json!({}))
            .await;
        assert_eq!(after["data"]["authenticatedUser"], *me);
    }
    assert_eq!(
        refused, 12,
        "integrators, guests, third parties; members, marketplace admins and users"
    );
}

#[tokio::test]
async fn a_configuration_is_made_changed_and_removed_by_whose_it_is_and_made_for_others_by_the_organization_alone() {
    let world = World::start().await;
    let place = &world.places[0];
    let create = "mutation ($i: ID!, $u: ID) { createUserLevelConfig(input: {instance: $i, user: $u}) { userLevelConfig { id user { name } } errors { messages } } }";
    let update = "mutation ($i: ID!) { updateUserLevelConfig(input: {id: $i, configVariables: [{key: \"Folder\", value: \"/mine\"}]}) {
        userLevelConfig { configVariables { nodes { value } } } errors { messages } } }";
    let remove = "mutation ($i: ID!) { deleteUserLevelConfig(input: {id: $i}) { userLevelConfig { id } errors { messages } } }";
    for (column, (role, customer)) in ROLES.into_iter().enumerate() {
        let who = format!("{role} of {customer:?}");
        let for_another = world.ask(column, create, json!({ "i": place.instance, "u": place.user })).await;
        let is_ours = customer.is_none() && may("Manage user configurations", column);
        assert_eq!(is_allowed(&for_another), is_ours, "{who}: {for_another}");

        let made = world.ask(column, create, json!({ "i": place.instance, "u": null })).await;
        let is_mine = may("Configure one's own user level configuration", column);
        assert_eq!(is_allowed(&made), is_mine, "{who}: {made}");
        if !is_mine {
            continue;
        }
        let mine = &made["data"]["createUserLevelConfig"]["userLevelConfig"];
        assert_eq!(mine["user"]["name"], role, "{made}");
        let changed = world.ask(column, update, json!({ "i": mine["id"] })).await;
        assert!(changed.to_string().contains("/mine"), "{who}: {changed}");
        let gone = world.ask(column, remove, json!({ "i": mine["id"] })).await;
        assert_eq!(
            gone["data"]["deleteUserLevelConfig"]["userLevelConfig"]["id"], mine["id"],
            "{who}: {gone}"
        );
        let after = world
            .ask(
                column,
                "query ($i: ID!) { userLevelConfig(id: $i) { id } }",
                json!({ "i": mine["id"] }),
            )
            .await;
        assert!(after["data"].is_null(), "{who}: {after}");
    }
}
