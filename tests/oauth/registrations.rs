//! App registrations of a customer: by whose client id and secret consents are asked for, and what moving a user costs.

use std::path::Path;

use http::Method;
use perseat::boot::administration::ApplyBody;
use perseat_admin::apply::ApplyOptions;
use perseat_admin::manifest::read_text;
use serde_json::{Value, json};

use crate::consent::{account, back, begin, connect};
use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::harness::oauth::{Manner, Oauth};
use crate::world::{Plan, World};

pub(crate) fn registration(name: &str, more: &str) -> String {
    let client = name.to_lowercase();
    format!(
        "kind: AppRegistration\ncustomer: globex\ninstance: Work\nconnection: Account\nname: {name}\nclientId: {client}\nclientSecret: secret-of-{client}\n{more}---\n"
    )
}

pub(crate) fn config(user: &str, fields: &str) -> String {
    format!("kind: UserLevelConfig\ncustomer: globex\ninstance: Work\nuser: {user}\nconfigVars:\n  Account: {{fields: {fields}}}\n---\n")
}

pub(crate) fn plan<'a>(users: &'a [&'a str], more: &'a str) -> Plan<'a> {
    Plan {
        have_tokens: false,
        users,
        more,
        // A token is worth renewing as soon as it was given.
        keys: &[("oauth.fresh", "1ms")],
        ..Plan::default()
    }
}

/// What the token endpoint was told last: client id and secret.
pub(crate) fn told(world: &World) -> (String, String) {
    let call = world.provider.calls("/token").pop().unwrap();
    (call.form["client_id"].clone(), call.form["client_secret"].clone())
}

pub(crate) fn of(client: &str) -> (String, String) {
    (client.to_owned(), format!("secret-of-{client}"))
}

/// Why manifests are refused.
pub(crate) async fn refused(world: &World, manifests: &str) -> String {
    let manifests = read_text(manifests, Path::new("manifests.yml"), &|_| None).unwrap();
    let body = ApplyBody {
        manifests,
        options: ApplyOptions::default(),
    };
    let applied = world.daemon.local(Method::POST, "/apply", Some(json!(body))).await;
    applied.unwrap_err().to_string()
}

/// Calls by user and registration.
async fn calls(world: &World) -> Vec<(String, Option<String>, u64)> {
    let report = world.daemon.local(Method::GET, "/usage?by=user,registration", None).await.unwrap();
    let row = |row: &Value| {
        let user = row["user"]["name"].as_str().unwrap().split(' ').next().unwrap().to_owned();
        (
            user,
            row["registration"]["name"].as_str().map(str::to_owned),
            row["calls"].as_u64().unwrap(),
        )
    };
    let mut rows: Vec<_> = report["rows"].as_array().unwrap().iter().map(row).collect();
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn each_users_tokens_come_by_the_registration_that_they_chose_or_a_rule_gives_them() {
    let world = World::start(&plan(&["ann", "bob"], &registration("Europe", "scopes: sign\n"))).await;
    world.daemon.apply(&config("ann", "{registration: Europe}")).await;
    let api = Api::program(&world.daemon, "owner").await;
    let link = account(&api, "ann").await["authorizeUrl"].as_str().unwrap().to_owned();
    let mut browser = Browser::new(&[]);
    let asked = begin(&mut browser, &link).await;
    assert_eq!((asked["client_id"].as_str(), asked["scope"].as_str()), ("europe", "sign"));
    let code = world.provider.consent("ann", asked.clone());
    assert_eq!(browser.open(&back(&asked, &[("code", &code)])).await.status, 200);
    assert_eq!(told(&world), of("europe"));
    connect(&world, "bob").await;
    assert_eq!(
        told(&world),
        ("the-client".to_owned(), crate::world::SECRET.to_owned()),
        "the default stays one for all"
    );

    let executions = [world.send("ann", 1).await, world.send("bob", 2).await].concat();
    for execution in &executions {
        assert_eq!(world.ended(execution).await["status"], "succeeded");
    }
    let europe = Some("Europe".to_owned());
    assert_eq!(calls(&world).await, [("ann".into(), europe.clone(), 1), ("bob".into(), None, 2)]);

    // A renewal is the same registration's.
    world.provider.end_access("ann");
    let execution = world.send("ann", 1).await.remove(0);
    assert_eq!(world.ended(&execution).await["status"], "succeeded");
    assert_eq!(told(&world), of("europe"));

    // A rule moves whoever chose none: what they allowed another registration is of no use to it.
    world.daemon.apply(&registration("Rest", "emailDomains: [GLOBEX.example]\n")).await;
    assert_eq!(account(&api, "ann").await["status"], "ACTIVE");
    assert_eq!(account(&api, "bob").await["status"], "PENDING");
    let parked = world.send("bob", 1).await.remove(0);
    world.stands(&parked, "parked").await;
    connect(&world, "bob").await;
    assert_eq!(told(&world), of("rest"));
    assert_eq!(world.ended(&parked).await["status"], "succeeded");

    // So does another choice.
    world.daemon.apply(&config("ann", "{registration: Rest}")).await;
    assert_eq!(account(&api, "ann").await["status"], "PENDING");
    let parked = world.send("ann", 1).await.remove(0);
    world.stands(&parked, "parked").await;
    connect(&world, "ann").await;
    assert_eq!(told(&world), of("rest"));
    assert_eq!(world.ended(&parked).await["status"], "succeeded");
    let rest = Some("Rest".to_owned());
    let counted = [
        ("ann".into(), europe, 3),
        ("ann".into(), rest.clone(), 1),
        ("bob".into(), None, 2),
        ("bob".into(), rest, 1),
    ];
    assert_eq!(calls(&world).await, counted, "the refused call counts, too");
    assert_eq!(world.provider.calls("/work").len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_of_nothing_is_refused_and_what_is_gone_is_replaced_by_nothing() {
    let world = World::start(&plan(&["ann"], &registration("Europe", ""))).await;
    let error = refused(&world, &config("ann", "{registration: Nowhere}")).await;
    assert!(error.contains("there is no app registration `Nowhere` for `Account`"), "{error}");
    let twice = registration("Europe", "").replace("connection: Account", "connection: Provider");
    let error = refused(&world, &twice).await;
    assert!(error.contains("`Provider` is not a connection by OAuth 2.0"), "{error}");

    world.daemon.apply(&config("ann", "{registration: Europe}")).await;
    connect(&world, "ann").await;
    let api = Api::program(&world.daemon, "owner").await;
    let found = api
        .get(
            "{ instances { nodes { id appRegistrations { id name connection clientId scopes emailDomains } } } }",
            json!({}),
        )
        .await["nodes"][0]
        .take();
    let listed = &found["appRegistrations"][0];
    assert_eq!(
        (&listed["name"], &listed["clientId"], &listed["connection"]),
        (&json!("Europe"), &json!("europe"), &json!("account"))
    );
    let exported = world.daemon.local(Method::GET, "/export", None).await.unwrap();
    assert!(exported["yaml"].as_str().unwrap().contains("kind: AppRegistration"), "{exported}");
    for text in [found.to_string(), exported.to_string(), world.daemon.log()] {
        assert!(!text.contains("secret-of-"), "{text}");
    }

    // Another name changes nothing, another client id asks for consent, and nobody falls back to the integration's.
    let update = "mutation ($i: ID!, $r: ID!, $n: String, $c: String, $s: String) { updateAppRegistration(input: {instance: $i, id: $r, name: $n, clientId: $c, clientSecret: $s}) { appRegistration { name clientId } errors { messages } } }";
    let ids = json!({ "i": found["id"], "r": listed["id"] });
    let with = |name: &str, value: &str| {
        let mut all = ids.clone();
        all[name] = value.into();
        all
    };
    world
        .daemon
        .apply(&config("ann", &format!("{{registration: {}}}", listed["id"])))
        .await;
    assert_eq!(
        api.get(update, with("n", "EU")).await["appRegistration"],
        json!({ "name": "EU", "clientId": "europe" })
    );
    assert_eq!(account(&api, "ann").await["status"], "ACTIVE");
    api.get(update, with("c", "eu")).await;
    assert_eq!(account(&api, "ann").await["status"], "PENDING");
    api.get(update, with("s", "secret-of-eu")).await;
    connect(&world, "ann").await;
    assert_eq!(told(&world), of("eu"));
    let delete = "mutation ($i: ID!, $r: ID!) { deleteAppRegistration(input: {instance: $i, id: $r}) { instance { appRegistrations { id } } errors { messages } } }";
    assert_eq!(api.get(delete, ids.clone()).await["instance"]["appRegistrations"], json!([]));
    let gone = account(&api, "ann").await;
    assert_eq!(gone["status"], "PENDING");
    let shown = Browser::new(&[]).open(gone["authorizeUrl"].as_str().unwrap()).await;
    assert!(shown.status >= 400 && shown.html.contains("<code>"), "{}", shown.html);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrations_secret_goes_where_the_integration_says_whatever_a_user_says() {
    let world = World::start(&plan(&["ann"], &registration("Europe", ""))).await;
    let stranger = Oauth::start(Manner::default()).await;
    let fields = format!(
        "{{registration: Europe, tokenUrl: \"{0}\", refreshUrl: \"{0}\", revokeUrl: \"{0}\", clientId: other}}",
        stranger.url("/token")
    );
    world.daemon.apply(&config("ann", &fields)).await;
    connect(&world, "ann").await;
    assert_eq!(told(&world), of("europe"));
    world.provider.end_access("ann");
    let execution = world.send("ann", 1).await.remove(0);
    assert_eq!(world.ended(&execution).await["status"], "succeeded");
    assert_eq!(told(&world), of("europe"));
    assert_eq!(stranger.calls("").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_has_no_more_registrations_with_a_provider_than_the_configuration_allows() {
    let both = registration("Europe", "") + &registration("Rest", "");
    let plan = Plan {
        more_keys: vec![("registrations.per-provider", 2.into())],
        ..plan(&["ann"], &both)
    };
    let world = World::start(&plan).await;
    let limit =
        "app_registration_limit: the customer has 2 app registrations with 127.0.0.1 already, and `registrations.per-provider` allows 2";
    let error = refused(&world, &registration("Asia", "")).await;
    assert!(error.contains(limit), "{error}");
    let api = Api::program(&world.daemon, "owner").await;
    let instance = api.get("{ instances { nodes { id } } }", json!({})).await["nodes"][0]["id"].take();
    let create = "mutation ($i: ID!) { createAppRegistration(input: {instance: $i, connection: \"Account\", name: \"Asia\", clientId: \"asia\"}) { appRegistration { id } errors { field messages } } }";
    let answer = api.ask(create, json!({ "i": instance })).await;
    let errors = &answer["data"]["createAppRegistration"]["errors"];
    assert_eq!(errors[0]["field"], "name");
    assert!(errors[0]["messages"][0].as_str().unwrap().contains(limit), "{answer}");
    // What is there may change.
    world.daemon.apply(&registration("Rest", "scopes: more\n")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_gives_a_registration_and_another_label_moves_the_user() {
    let more = registration("Europe", "labels: [EU]\n") + &registration("America", "labels: [us]\nemailDomains: [globex.example]\n");
    let world = World::start(&plan(&["ann", "bob"], &more)).await;
    let labelled = |labels: &str| {
        format!(
            "kind: CustomerUser\ncustomer: globex\nname: ann of globex\nemail: ann@globex.example\nexternalId: ann\nrole: marketplace_user\nlabels: {labels}\n"
        )
    };
    world.daemon.apply(&labelled("[eu, sales]")).await;
    connect(&world, "ann").await;
    assert_eq!(told(&world), of("europe"), "a label counts before an address");
    connect(&world, "bob").await;
    assert_eq!(told(&world), of("america"));

    // Another sorting of the user is another registration, which knows nothing of the old consent.
    let api = Api::program(&world.daemon, "owner").await;
    let found = api
        .get("{ customers { nodes { users { nodes { id name labels } } } } }", json!({}))
        .await["nodes"][0]["users"]["nodes"]
        .take();
    let ann = found
        .as_array()
        .unwrap()
        .iter()
        .find(|user| user["name"] == "ann of globex")
        .unwrap();
    assert_eq!(ann["labels"], json!(["eu", "sales"]));
    let label = "mutation ($i: ID!, $l: [String!]) { updateUser(input: {id: $i, labels: $l}) { user { labels } errors { messages } } }";
    let moved = api.get(label, json!({ "i": ann["id"], "l": ["US"] })).await;
    assert_eq!(moved["user"]["labels"], json!(["us"]));
    assert_eq!(account(&api, "ann").await["status"], "PENDING");
    let parked = world.send("ann", 1).await.remove(0);
    world.stands(&parked, "parked").await;
    connect(&world, "ann").await;
    assert_eq!(told(&world), of("america"));
    assert_eq!(world.ended(&parked).await["status"], "succeeded");

    // What two rules want is nobody's guess.
    api.get(label, json!({ "i": ann["id"], "l": ["us", "eu"] })).await;
    let undecided = account(&api, "ann").await;
    assert_eq!(undecided["status"], "PENDING");
    let shown = Browser::new(&[]).open(undecided["authorizeUrl"].as_str().unwrap()).await;
    assert!(shown.status >= 400 && shown.html.contains("<code>"), "{}", shown.html);
    let error = refused(&world, &registration("Rest", "labels: [eu]\n")).await;
    assert!(error.contains("`eu` is for the app registration `Europe` already"), "{error}");
    assert_eq!(account(&api, "bob").await["status"], "ACTIVE", "nobody else was moved");
}
