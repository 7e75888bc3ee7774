//! Who gets an account: invitations, their end, and people with several users.

use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::world::{CLI, PASSWORD, Tokens, VERIFIER, World, setup};
use serde_json::{Value, json};

const CREATE: &str =
    "mutation ($c: ID, $e: String!, $r: ID!) { createCustomerUser(input: {customer: $c, email: $e, name: \"Hans\", role: $r})
    { user { id } invitationUrl errors { field messages } } }";
pub(crate) const INVITE: &str = "mutation ($i: ID) { inviteUser(input: {id: $i}) { user { id } invitationUrl errors { field messages } } }";

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The ids of a new customer and of the customer roles by name.
pub(crate) async fn customer(owner: &Api<'_>, name: &str) -> (String, impl Fn(&str) -> String + use<>) {
    let query = "mutation ($n: String!) { createCustomer(input: {name: $n}) { customer { id } errors { messages } } }";
    let made = owner.get(query, json!({ "n": name })).await;
    let roles = owner.get("{ customerRoles { id name } }", json!({})).await;
    let role = move |name: &str| text(&roles.as_array().unwrap().iter().find(|role| role["name"] == name).unwrap()["id"]);
    (text(&made["customer"]["id"]), role)
}

/// Creates a user of a customer; what the mutation answers.
pub(crate) async fn create(owner: &Api<'_>, customer: &str, email: &str, role: &str) -> Value {
    owner.get(CREATE, json!({ "c": customer, "e": email, "r": role })).await
}

#[tokio::test]
async fn a_new_user_is_invited_once_and_embedded_users_are_not() {
    let world = World::start(setup()).await;
    let access = world.tokens(CLI).await.access;
    let owner = Api::holder_of(&world.daemon, &access);
    let (globex, role) = customer(&owner, "Globex").await;
    let (initech, _) = customer(&owner, "Initech").await;
    let hans = json!({ "c": globex, "e": "hans@globex.example", "r": role("Admin") });
    let made = owner.get(CREATE, hans).await;
    let (hans, link) = (text(&made["user"]["id"]), text(&made["invitationUrl"]));

    let mut browser = Browser::new(&[]);
    let page = browser.open(&link).await;
    assert!(page.text().contains("hans@globex.example"), "{}", page.text());
    for (password, again, complaint) in [
        ("too short", "too short", "at least 12"),
        ("long enough password", "another password", "differ"),
        ("hans@globex.example", "hans@globex.example", "is no password"),
    ] {
        let shown = browser
            .submit(&page, "/auth/password", &[("password", password), ("again", again)])
            .await;
        assert_eq!(shown.status, 422);
        assert!(shown.text().contains(complaint), "{}", shown.text());
    }
    world.set_password(&link, "the password of hans").await;
    assert_eq!(browser.open(&link).await.status, 404, "an invitation works once");
    let again = [("password", "a stolen password"), ("again", "a stolen password")];
    assert_eq!(browser.submit(&page, "/auth/password", &again).await.status, 404);
    let shown = world.sign_in(CLI, "hans@globex.example", "the password of hans").await;
    let tokens = Tokens::of(&world.exchange(CLI, &shown.parameter("code").unwrap(), VERIFIER).await);
    assert_eq!(world.who(&tokens.access).await["role"]["name"], "Admin");

    let refused = owner.ask(INVITE, json!({ "i": hans })).await.to_string();
    assert!(
        refused.contains("has a password"),
        "a link would be a way into an account in use: {refused}"
    );

    let admin = Api::holder_of(&world.daemon, &tokens.access);
    let grete = json!({ "c": globex, "e": "grete@globex.example", "r": role("Member") });
    let made = admin.get(CREATE, grete).await;
    assert!(made["invitationUrl"].is_string());
    let newer = admin.get(INVITE, json!({ "i": made["user"]["id"] })).await;
    assert_ne!(newer["invitationUrl"], made["invitationUrl"]);
    world.set_password(&text(&made["invitationUrl"]), "the password of grete").await;
    assert_eq!(
        browser.open(&text(&newer["invitationUrl"])).await.status,
        404,
        "one that is used ends the others"
    );
    let jane = json!({ "c": globex, "e": "jane@globex.example", "r": role("Marketplace User") });
    let made = admin.get(CREATE, jane).await;
    assert!(made["invitationUrl"].is_null(), "{made}");
    let refused = admin.ask(INVITE, json!({ "i": made["user"]["id"] })).await.to_string();
    assert!(refused.contains("Marketplace users have no password"), "{refused}");
    let peter = owner
        .get(CREATE, json!({ "c": initech, "e": "peter@initech.example", "r": role("Member") }))
        .await;
    let refused = admin.ask(INVITE, json!({ "i": peter["user"]["id"] })).await.to_string();
    assert!(refused.contains("no such user"), "another customer's user is absent: {refused}");

    let update = "mutation ($i: ID, $r: ID) { updateUser(input: {id: $i, role: $r}) { user { id } errors { messages } } }";
    owner.get(update, json!({ "i": hans, "r": role("Marketplace Admin") })).await;
    assert!(
        world.who(&tokens.access).await.is_null(),
        "whoever becomes an embedded user is signed out"
    );
    let shown = world.sign_in(CLI, "hans@globex.example", "the password of hans").await;
    assert_eq!(shown.status, 403);
}

#[tokio::test]
async fn an_invitation_expires() {
    let world = World::start(setup()).await;
    let access = world.tokens(CLI).await.access;
    drop(world);
    assert!(!access.is_empty());
    let daemon = crate::harness::daemon::Daemon::start(setup().set("sign-in.invitation-lifetime", "1ms"));
    let world = World { daemon };
    let link = world.owner("bob@acme.example").await;
    let shown = Browser::new(&[]).open(&link).await;
    assert_eq!(shown.status, 404);
    assert!(shown.text().contains("has expired"), "{}", shown.text());
}

#[tokio::test]
async fn an_account_of_the_same_address_is_no_way_round_the_lock() {
    let world = World::start(setup().set("sign-in.failures", 3).set("sign-in.account-attempts", 100)).await;
    let access = world.tokens(CLI).await.access;
    let owner = Api::holder_of(&world.daemon, &access);
    let (customer, role) = customer(&owner, "Globex").await;
    let made = owner
        .get(CREATE, json!({ "c": customer, "e": "ann@acme.example", "r": role("Member") }))
        .await;
    let own = "the password of an intruder";
    world.set_password(&text(&made["invitationUrl"]), own).await;
    for _ in 0..2 {
        assert_eq!(world.sign_in(CLI, "ann@acme.example", "a guess at hers").await.status, 403);
    }
    assert_eq!(world.sign_in(CLI, "ann@acme.example", own).await.status, 303);
    assert_eq!(world.sign_in(CLI, "ann@acme.example", "a third guess").await.status, 403);
    let locked = world.sign_in(CLI, "ann@acme.example", own).await;
    assert_eq!(locked.status, 403, "signing in between did not begin the count anew");
}

#[tokio::test]
async fn one_address_with_several_users_says_who_goes_on() {
    let world = World::start(setup()).await;
    let access = world.tokens(CLI).await.access;
    let owner = Api::holder_of(&world.daemon, &access);
    let mut users = Vec::new();
    for name in ["Globex", "Initech"] {
        let (customer, role) = customer(&owner, name).await;
        let made = owner
            .get(CREATE, json!({ "c": customer, "e": "Ann@acme.example", "r": role("Member") }))
            .await;
        let password = if name == "Globex" { PASSWORD } else { "another long password" };
        world.set_password(&text(&made["invitationUrl"]), password).await;
        users.push(text(&made["user"]["id"]));
    }
    let direct = world.sign_in(CLI, "ann@acme.example", "another long password").await;
    assert_eq!(direct.status, 303, "the password says who");

    let mut browser = Browser::new(&[]);
    let page = browser.open(&world.authorize(CLI, &[])).await;
    let right = [("address", "ann@acme.example"), ("password", PASSWORD)];
    let choice = browser.submit(&page, "/authorize", &right).await;
    assert!(choice.text().contains("Globex") && choice.text().contains("Acme") && !choice.text().contains("Initech"));
    let strange = browser.submit(&choice, "/auth/user", &[("user", &users[1])]).await;
    assert_eq!(strange.status, 403, "one that the password is not of");
    let page = browser.open(&world.authorize(CLI, &[])).await;
    let choice = browser.submit(&page, "/authorize", &right).await;
    let chosen = browser.submit(&choice, "/auth/user", &[("user", &users[0])]).await;
    assert_eq!(chosen.parameter("state").as_deref(), Some("st-1"));
    let tokens = Tokens::of(&world.exchange(CLI, &chosen.parameter("code").unwrap(), VERIFIER).await);
    assert_eq!(world.who(&tokens.access).await["role"]["name"], "Member");
    let twice = browser.submit(&choice, "/auth/user", &[("user", &users[0])]).await;
    assert_eq!(twice.status, 403, "a choice is made once");
}

#[tokio::test]
async fn a_new_user_may_say_their_telephone_number_and_goes_when_their_name_is_confirmed() {
    let world = World::start(setup()).await;
    let owner = Api::program(&world.daemon, "owner").await;
    let (globex, role) = customer(&owner, "Globex").await;
    let made = create(&owner, &globex, "hans@globex.example", &role("Member")).await;
    let (hans, link) = (text(&made["user"]["id"]), text(&made["invitationUrl"]));
    let mut browser = Browser::new(&[]);
    let page = browser.open(&link).await;
    let with = |phone| [("password", PASSWORD), ("again", PASSWORD), ("phone", phone)];
    let long = "1".repeat(257);
    let refused = browser.submit(&page, "/auth/password", &with(&long)).await;
    assert!(
        refused.status == 422 && refused.text().contains("Telephone number"),
        "{}",
        refused.text()
    );
    let done = browser.submit(&refused, "/auth/password", &with(" +41 44 668 18 00 ")).await;
    assert_eq!(done.status, 200, "the link is not used up by a wrong number: {}", done.html);
    let user = "query ($i: ID!) { user(id: $i) { phone } }";
    assert_eq!(owner.get(user, json!({ "i": hans })).await["phone"], "+41 44 668 18 00");
    let body = json!({ "user": "hans@globex.example", "customer": "Globex" });
    let reset = world.daemon.local(http::Method::POST, "/users/link", Some(body)).await.unwrap();
    let page = browser.open(&text(&reset["url"])).await;
    assert!(
        !page.html.contains("name=\"phone\""),
        "whoever is known is asked for a password alone"
    );

    let remove = "mutation ($i: ID, $n: String) { deleteUser(input: {id: $i, confirmName: $n}) { user { id } errors { field messages } } }";
    let refused = owner.ask(remove, json!({ "i": hans, "n": "hans" })).await.to_string();
    assert!(
        refused.contains("confirmName") && refused.contains("not the user's name"),
        "{refused}"
    );
    owner.get(remove, json!({ "i": hans, "n": "Hans" })).await;
    let gone = owner.ask(user, json!({ "i": hans })).await;
    assert!(gone["data"]["user"].is_null(), "{gone}");
}
