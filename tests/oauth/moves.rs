//! Grants of another registration than their connections have by now: they say so at once, and whoever has to consent again is told.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::consent::{account, back, begin, connect};
use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::harness::oauth::{Call, Manner, Oauth, Stall};
use crate::harness::post_office::{PostOffice, link};
use crate::notices::{GUS, mailed, until, words};
use crate::registrations::{config, of, plan, refused, registration, told};
use crate::sharers;
use crate::world::{Plan, World, manifests};

/// Sends one event and waits for its end.
pub(crate) async fn works(world: &World, user: &str) {
    let execution = world.send(user, 1).await.remove(0);
    assert_eq!(world.ended(&execution).await["status"], "succeeded");
}

/// The integration with another client id, and its instance.
fn version(world: &World, plan: &Plan<'_>, client: &str) -> String {
    let manifests = world.manifests(plan);
    let document = |kind: &str| manifests.split("---\n").find(|text| text.contains(kind)).unwrap();
    let integration = document("kind: Integration").replace("\"the-client\"", &format!("{client:?}"));
    format!("{integration}---\n{}---\n", document("kind: Instance"))
}

/// The same with a connection to which nobody consents.
fn acting_for_itself(version: &str) -> String {
    let itself = version.replace("{key: oauth2,", "{key: oauth2ClientCredentials,");
    assert_ne!(itself, version);
    itself
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_moved_is_told_once_and_what_waits_runs_after_the_link() {
    let office = PostOffice::open("starttls", &[]);
    let more = GUS.to_owned() + &registration("Europe", "") + &registration("Rest", "");
    let world = World::start(&Plan {
        have_tokens: false,
        more: &more,
        ..mailed(&office)
    })
    .await;
    for user in ["ann", "bob"] {
        connect(&world, user).await;
        works(&world, user).await;
    }
    let api = Api::program(&world.daemon, "owner").await;
    world.daemon.apply(&config("ann", "{registration: Europe}")).await;
    let moved = account(&api, "ann").await;
    assert_eq!(moved["status"], "PENDING");
    assert!(words(&moved["grant"]).iter().any(|word| word == "MOVED"), "{moved}");
    let parked = world.send("ann", 1).await.remove(0);
    world.stands(&parked, "parked").await;
    let letter = office.next();
    assert_eq!(letter["to"], json!(["ann@globex.example"]));
    assert!(
        letter["body"]
            .as_str()
            .unwrap()
            .contains("another registration with the other service"),
        "{letter}"
    );
    let shown = until(&world, "ann", "ann is told", |grant| grant["notice"]["toldAt"].is_string()).await;
    assert_eq!(words(&shown)[words(&shown).len() - 2..], ["MOVED", "TOLD"], "{shown}");
    assert_eq!(shown["reason"], "another_registration");

    // Another move before the new consent is no other news: the next letter is another's.
    world.daemon.apply(&config("ann", "{registration: Rest}")).await;
    world.provider.revoke("bob");
    let waiting = world.send("bob", 1).await.remove(0);
    world.stands(&waiting, "parked").await;
    let other = office.next();
    assert_eq!(other["to"], json!(["bob@globex.example"]));

    // A notice that waits for a consent stays when its user is moved.
    until(&world, "bob", "bob is told", |grant| grant["notice"]["toldAt"].is_string()).await;
    world.daemon.apply(&config("bob", "{registration: Europe}")).await;
    let shown = account(&api, "bob").await;
    assert!(
        shown["status"] == "PENDING" && shown["grant"]["notice"]["toldAt"].is_string(),
        "{shown}"
    );
    for (user, letter, execution, client) in [("ann", &letter, &parked, "rest"), ("bob", &other, &waiting, "europe")] {
        let mut browser = Browser::new(&[]);
        let opened = browser.open(&world.daemon_url(&link(letter))).await;
        assert_eq!(opened.status, 303, "{user}: {}", opened.html);
        let asked = begin(&mut browser, opened.location().as_str()).await;
        let code = world.provider.consent(user, asked.clone());
        assert_eq!(browser.open(&back(&asked, &[("code", &code)])).await.status, 200);
        assert_eq!(told(&world), of(client));
        assert_eq!(world.ended(execution).await["status"], "succeeded");
        let again = account(&api, user).await;
        assert!(again["grant"]["notice"].is_null(), "{again}");
        assert_eq!(words(&again["grant"]).last().unwrap(), "RECONNECTED", "{again}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_id_of_a_users_own_or_of_a_new_version_moves_whom_it_concerns() {
    let plan = plan(&["ann", "bob"], "");
    let world = World::start(&plan).await;
    let api = Api::program(&world.daemon, "owner").await;
    for user in ["ann", "bob"] {
        connect(&world, user).await;
        works(&world, user).await;
    }
    world.daemon.apply(&config("ann", "{clientId: ann-s-own}")).await;
    let moved = account(&api, "ann").await;
    assert_eq!(
        (moved["status"].as_str(), words(&moved["grant"]).last().unwrap().as_str()),
        (Some("PENDING"), "MOVED")
    );
    assert_eq!(account(&api, "bob").await["status"], "ACTIVE", "nobody else was moved");
    connect(&world, "ann").await;

    // Whoever has a client id of their own does not have that of the integration.
    let scopes = version(&world, &plan, "the-client").replace("value: \"work\"", "value: \"work more\"");
    world.daemon.apply(&scopes).await;
    for user in ["ann", "bob"] {
        assert_eq!(account(&api, user).await["status"], "ACTIVE", "the registration is the same");
    }
    world.daemon.apply(&version(&world, &plan, "the-next-client")).await;
    let moved = account(&api, "bob").await;
    assert_eq!(
        (moved["status"].as_str(), words(&moved["grant"]).last().unwrap().as_str()),
        (Some("PENDING"), "MOVED")
    );
    assert_eq!(account(&api, "ann").await["status"], "ACTIVE", "nobody else was moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supplied_token_that_was_spent_or_given_up_does_not_come_back_with_another_registration() {
    let plan = Plan {
        have_tokens: true,
        ..crate::owed::plan(&["ann", "bob", "cem"])
    };
    let world = World::start(&plan).await;
    let api = Api::program(&world.daemon, "owner").await;
    for user in ["ann", "bob"] {
        works(&world, user).await;
    }
    crate::owed::disconnect(&api, "bob").await;
    world.provider.until("/revoke", 1).await;
    // One that was never of use is tried with the client id that was set right.
    world.provider.change(|manner| manner.complaint = Some("invalid_client"));
    let waits = world.send("cem", 1).await.remove(0);
    world.stands(&waits, "parked").await;
    world.daemon.apply(&version(&world, &plan, "the-next-client")).await;
    let is_of_the_next = |call: &Call| call.form["client_id"] == "the-next-client";
    world.provider.until_like("/token", 1, is_of_the_next).await;
    world.provider.change(|manner| manner.complaint = None);
    works(&world, "cem").await;

    for (user, last) in [("ann", "MOVED"), ("bob", "DISCONNECTED")] {
        let shown = account(&api, user).await;
        assert_eq!(
            (shown["status"].as_str(), words(&shown["grant"]).last().unwrap().as_str()),
            (Some("PENDING"), last)
        );
        let waits = world.send(user, 1).await.remove(0);
        world.stands(&waits, "parked").await;
    }
    let given = world.provider.until("/revoke", 2).await;
    assert_eq!(crate::owed::given(&given), BTreeSet::from(["refresh-ann-2", "refresh-bob-2"]));
    let is_not_cems = |token: &String| !token.contains("cem");
    let spent = world
        .provider
        .calls("/token")
        .into_iter()
        .map(|call| call.form["refresh_token"].clone());
    let spent: Vec<String> = spent.filter(is_not_cems).collect();
    assert_eq!(spent, ["refresh-ann-1", "refresh-bob-1"]);
    assert_eq!(world.provider.calls("/work").len(), 3);
}

/// What ann's next event comes to, whose account has to be allowed once more.
async fn waits_for_another_registration(world: &World, api: &Api<'_>) -> String {
    let moved = account(api, "ann").await;
    assert_eq!(
        (moved["status"].as_str(), moved["grant"]["reason"].as_str()),
        (Some("PENDING"), Some("another_registration")),
        "{moved}"
    );
    let waits = world.send("ann", 1).await.remove(0);
    world.stands(&waits, "parked").await;
    waits
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_allowed_and_what_a_registration_has_for_itself_do_not_take_each_others_place() {
    let plan = crate::owed::plan(&["ann"]);
    let mut world = World::start(&plan).await;
    let api = Api::program(&world.daemon, "owner").await;
    connect(&world, "ann").await;
    works(&world, "ann").await;

    let of_people = version(&world, &plan, "the-client");
    let itself = acting_for_itself(&of_people);
    world.daemon.apply(&itself).await;
    let given = world.provider.until("/revoke", 1).await;
    assert_eq!(crate::owed::given(&given).into_iter().next(), Some("refresh-ann-1"));
    works(&world, "ann").await;
    assert_eq!(
        world.provider.calls("/token").pop().unwrap().form["grant_type"],
        "client_credentials"
    );

    let works_done = world.provider.calls("/work").len();
    world.daemon.apply(&of_people).await;
    let waits = waits_for_another_registration(&world, &api).await;
    assert_eq!(world.provider.calls("/work").len(), works_done, "its own token is nobody's");
    connect(&world, "ann").await;
    assert_eq!(world.ended(&waits).await["status"], "succeeded");

    // The same where nobody used it meanwhile.
    drop(api);
    world.daemon.kill();
    world.daemon.restart();
    for version in [&itself, &of_people] {
        world.daemon.apply(version).await;
    }
    waits_for_another_registration(&world, &Api::program(&world.daemon, "owner").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_renewal_brings_while_its_connection_comes_to_act_for_itself_is_given_back() {
    let plan = Plan {
        // Nobody gives up before the provider answers.
        keys: &[("owed.look", "20ms"), ("oauth.fresh", "1ms"), ("oauth.timeout", "60s")],
        ..crate::owed::plan(&["ann"])
    };
    let world = World::start(&plan).await;
    connect(&world, "ann").await;
    world.provider.end_access("ann");
    world.provider.change(|manner| manner.stalls = Some(Stall::Meanwhile));
    world.send("ann", 1).await;
    world.provider.until("/token", 2).await;
    world.daemon.apply(&acting_for_itself(&version(&world, &plan, "the-client"))).await;
    world.provider.change(|manner| manner.stalls = None);
    let calls = world.provider.until("/revoke", 2).await;
    assert_eq!(crate::owed::given(&calls), BTreeSet::from(["refresh-ann-1", "refresh-ann-2"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_chooses_among_the_registrations_that_are_there_and_is_moved_by_it() {
    let europe = registration("Europe", "");
    let plan = Plan {
        is_user_level: false,
        more: &europe,
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    works(&world, "ann").await;
    let api = Api::program(&world.daemon, "owner").await;
    let of_instance = async || -> Value {
        let query = "{ instances { nodes { id configVariables { nodes { status grant { reason } requiredConfigVariable { key } } } } } }";
        let mut instance = api.get(query, json!({})).await["nodes"][0].take();
        let variables = instance["configVariables"]["nodes"].take();
        let is_it = |variable: &&Value| variable["requiredConfigVariable"]["key"] == "Account";
        let found = variables.as_array().unwrap().iter().find(is_it).unwrap();
        json!({ "id": instance["id"], "status": found["status"], "reason": found["grant"]["reason"] })
    };
    let before = of_instance().await;
    assert_eq!(before["status"], "ACTIVE");
    let chooses = |name: &str| {
        let provider = world.provider.url("");
        format!(
            "kind: Instance\nname: Work\ncustomer: globex\nintegration: Work\nconfigVars:\n  Provider: \"{provider}\"\n  Account: {{fields: {{registration: {name}}}}}\n---\n"
        )
    };
    let nowhere = "there is no app registration `Nowhere` for `Account`";
    let error = refused(&world, &chooses("Nowhere")).await;
    assert!(error.contains(nowhere), "{error}");
    let update = "mutation ($i: ID!, $v: String) { updateInstance(input: {id: $i, configVariables: [{key: \"Account\", values: $v}]}) { instance { id } errors { field messages } } }";
    let values = json!([{ "name": "registration", "type": "value", "value": "Nowhere" }]).to_string();
    let answer = api.ask(update, json!({ "i": before["id"], "v": values })).await;
    assert!(answer["data"]["updateInstance"]["errors"].to_string().contains(nowhere), "{answer}");
    assert_eq!(of_instance().await["status"], "ACTIVE");

    // One that the same manifests bring is there.
    world.daemon.apply(&(chooses("Asia") + &registration("Asia", ""))).await;
    let after = of_instance().await;
    assert_eq!(
        (&after["status"], &after["reason"]),
        (&json!("PENDING"), &json!("another_registration"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_connection_that_is_declared_elsewhere_is_moved_and_its_token_goes_where_it_came_from() {
    let other = Oauth::start(Manner::default()).await;
    let plan = sharers::Plan {
        with_tokens: &[],
        integrations: 1,
        more_keys: vec![("outbound.allow", vec!["127.0.0.1"].into())],
        ..sharers::Plan::of("organization")
    };
    let world = sharers::start(&plan).await;
    let api = Api::program(&world.daemon, "owner").await;
    let query = "{ scopedConfigVariables(managedBy: \"org\") { nodes { id status authorizeUrl grant { reason timeline { what } } } } }";
    let shown = async || api.get(query, json!({})).await["nodes"][0].clone();
    let link = shown().await["authorizeUrl"].as_str().unwrap().to_owned();
    sharers::consent(&world, &link, "company").await;
    assert_eq!(shown().await["status"], "ACTIVE");

    let manifests = sharers::manifests(&plan, &world.provider);
    let declared = manifests
        .split("---\n")
        .find(|text| text.contains("kind: SharedConnection"))
        .unwrap();
    world.daemon.apply(&declared.replace(&world.provider.url(""), &other.url(""))).await;
    let moved = shown().await;
    assert_eq!(
        (moved["status"].as_str(), words(&moved["grant"]).last().unwrap().as_str()),
        (Some("PENDING"), "MOVED")
    );
    let give_up = "mutation($id: ID) { disconnectConnection(input: {id: $id}) { instanceConfigVariable { status } errors { messages } } }";
    let instances = api.get(sharers::CONFIGS, json!({})).await["nodes"].clone();
    let variable = sharers::account_of(&instances[0]["configVariables"]).unwrap();
    api.get(give_up, json!({ "id": variable["id"] })).await;
    let calls = world.provider.until("/revoke", 1).await;
    assert_eq!(calls[0].form["token"], "refresh-company-1");
    assert!(world.provider.chain("company").is_revoked);
    assert!(other.calls("/revoke").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_a_move_overtakes_goes_on_at_no_provider_that_knows_nothing_of_the_new_token() {
    let other = Oauth::start(Manner {
        lifetime: Some(json!(1)),
        ..Manner::default()
    })
    .await;
    let plan = sharers::Plan {
        with_tokens: &[],
        integrations: 1,
        keys: &[("oauth.fresh", "1ms")],
        more_keys: vec![("outbound.allow", vec!["127.0.0.1"].into())],
        ..sharers::Plan::of("organization")
    };
    let world = sharers::start(&plan).await;
    let api = Api::program(&world.daemon, "owner").await;
    let query = "{ scopedConfigVariables(managedBy: \"org\") { nodes { status authorizeUrl } } }";
    let shown = async || api.get(query, json!({})).await["nodes"][0].clone();
    let link = async || shown().await["authorizeUrl"].as_str().unwrap().to_owned();
    sharers::consent(&world, &link().await, "company").await;
    world.provider.end_access("company");
    world.provider.change(|manner| manner.stalls = Some(Stall::Meanwhile));
    sharers::send(&world, "ann", 1).await;
    world.provider.until("/token", 2).await;

    let manifests = sharers::manifests(&plan, &world.provider);
    let declared = manifests
        .split("---\n")
        .find(|text| text.contains("kind: SharedConnection"))
        .unwrap();
    world.daemon.apply(&declared.replace(&world.provider.url(""), &other.url(""))).await;
    let mut browser = Browser::new(&[]);
    let asked = begin(&mut browser, &link().await).await;
    let code = other.consent("firm", asked.clone());
    assert_eq!(browser.open(&back(&asked, &[("code", &code)])).await.status, 200);
    // Until it is due: half its life.
    let (consented, mut look) = (Instant::now(), tokio::time::interval(Duration::from_millis(50)));
    while consented.elapsed() < Duration::from_millis(500) {
        look.tick().await;
        assert_eq!(shown().await["status"], "ACTIVE");
    }
    world.provider.change(|manner| manner.stalls = None);
    let is_of_the_new = |call: &Call| call.form.get("refresh_token").is_some_and(|token| token == "refresh-firm-1");
    other.until_like("/token", 1, is_of_the_new).await;
    assert!(!world.provider.calls("/token").iter().any(is_of_the_new));
}

/// Ann's account is at the world's provider, and at another one in the next version.
async fn two_providers(have_tokens: bool) -> (World, Oauth, String) {
    let other = Oauth::start(Manner::default()).await;
    let plan = Plan {
        users: &["ann"],
        have_tokens,
        more_keys: vec![("outbound.allow", vec!["127.0.0.1"].into())],
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let next = manifests(
        &other,
        &Plan {
            have_tokens: false,
            ..plan
        },
    );
    let is_of_version = |text: &&str| text.contains("kind: Integration") || text.contains("kind: Instance");
    let next: Vec<&str> = next.split("---\n").filter(is_of_version).collect();
    let next = next.join("---\n");
    (world, other, next)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_goes_to_the_provider_of_the_version_before() {
    let (world, other, next) = two_providers(false).await;
    connect(&world, "ann").await;
    world.provider.change(|manner| (manner.holds, manner.forbids) = (true, true));
    let execution = world.send("ann", 1).await.remove(0);
    world.provider.until("/work", 1).await;
    world.daemon.apply(&next).await;
    let api = Api::program(&world.daemon, "owner").await;
    let link = account(&api, "ann").await["authorizeUrl"].as_str().unwrap().to_owned();
    let mut browser = Browser::new(&[]);
    let asked = begin(&mut browser, &link).await;
    let code = other.consent("again", asked.clone());
    assert_eq!(browser.open(&back(&asked, &[("code", &code)])).await.status, 200);
    world.provider.change(|manner| manner.holds = false);

    let ended = world.ended(&execution).await;
    assert_eq!(
        (ended["status"].as_str(), ended["code"].as_str()),
        (Some("failed"), Some("connection_not_ready")),
        "{ended}"
    );
    assert!(ended["message"].to_string().contains("another one by now"), "{ended}");
    let tokens: Vec<String> = world.provider.calls("/work").into_iter().map(|call| call.token).collect();
    assert_eq!(tokens, ["access-ann-1"]);
    works(&world, "ann").await;
    assert_eq!(other.calls("/work")[0].token, "access-again-1");
    assert_eq!(account(&api, "ann").await["status"], "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_goes_to_no_other_provider_than_the_browser_was_sent_to() {
    let (world, other, next) = two_providers(false).await;
    let api = Api::program(&world.daemon, "owner").await;
    let link = account(&api, "ann").await["authorizeUrl"].as_str().unwrap().to_owned();
    let mut browser = Browser::new(&[]);
    let asked = begin(&mut browser, &link).await;
    let code = world.provider.consent("ann", asked.clone());
    world.daemon.apply(&next).await;
    let shown = browser.open(&back(&asked, &[("code", &code)])).await;
    assert_eq!(shown.status, 500, "{}", shown.html);
    world.daemon.log_line(&["a consent failed", "not_kept"]);
    assert!(world.provider.calls("/token").is_empty() && other.calls("/token").is_empty());
    let link = account(&api, "ann").await["authorizeUrl"].as_str().unwrap().to_owned();
    let asked = begin(&mut browser, &link).await;
    let code = other.consent("ann", asked.clone());
    assert_eq!(browser.open(&back(&asked, &[("code", &code)])).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_with_the_version_before_ends_where_that_has_another_registration() {
    let (world, other, next) = two_providers(true).await;
    world.provider.revoke("ann");
    let execution = world.send("ann", 1).await.remove(0);
    world.stands(&execution, "parked").await;
    world.daemon.apply(&next).await;
    let ended = world.ended(&execution).await;
    assert_eq!(
        (ended["status"].as_str(), ended["code"].as_str()),
        (Some("failed"), Some("connection_not_ready")),
        "{ended}"
    );
    let later = world.send("ann", 1).await.remove(0);
    world.stands(&later, "parked").await;
    assert!(world.provider.calls("/work").is_empty() && other.calls("/work").is_empty());
    assert!(other.calls("/token").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_of_another_shared_connection_goes_where_the_version_before_named_one() {
    let plan = sharers::Plan {
        integrations: 1,
        ..sharers::Plan::of("organization")
    };
    let world = sharers::start(&plan).await;
    world.provider.revoke("company");
    let endpoints = world.daemon.endpoints("user=ann&instance=Work%201").await;
    let answer = world
        .daemon
        .post(&endpoints[0].url, &[("content-type", "application/json")], "{}")
        .await;
    let execution = answer.json()["executionId"].as_str().unwrap().to_owned();
    world.stands(&execution, "parked").await;

    let other = sharers::Plan {
        with_tokens: &["firm"],
        ..plan
    };
    let manifests = sharers::manifests(&other, &world.provider);
    let document = |kind: &str| manifests.split("---\n").find(|text| text.contains(kind)).unwrap();
    let shared = document("kind: SharedConnection").replace("name: CRM", "name: ERP");
    let next = shared + "---\n" + &sharers::integration("Work 1", false) + document("kind: Instance");
    world
        .daemon
        .apply(&next.replace("stableKey: crm", "stableKey: erp").replace("Var: crm", "Var: erp"))
        .await;
    let ended = world.ended(&execution).await;
    assert_eq!(
        (ended["status"].as_str(), ended["code"].as_str()),
        (Some("failed"), Some("connection_not_ready")),
        "{ended}"
    );
    assert!(world.provider.calls("/work").is_empty());
}
