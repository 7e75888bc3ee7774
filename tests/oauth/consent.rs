//! Consent in the browser: bound to it, good once, and never a way to anywhere else.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use url::Url;

use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::harness::daemon::Daemon;
use crate::harness::oauth::{Manner, Oauth, Stall};
use crate::world::{Plan, World};

/// Begins a consent; the parameters that the provider gets.
pub(crate) async fn begin(browser: &mut Browser, link: &str) -> BTreeMap<String, String> {
    let shown = browser.agree(link).await;
    assert_eq!(shown.status, 303, "{}", shown.html);
    assert_eq!(shown.headers["referrer-policy"], "no-referrer");
    let cookie = shown.headers["set-cookie"].to_str().unwrap();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/oauth2", "Max-Age=600"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let location = shown.location();
    assert_eq!(location.path(), "/authorize");
    location.query_pairs().into_owned().collect()
}

/// The ways back for what the provider was told.
pub(crate) fn back(parameters: &BTreeMap<String, String>, answer: &[(&str, &str)]) -> String {
    let mut url: Url = parameters["redirect_uri"].parse().unwrap();
    url.query_pairs_mut()
        .append_pair("state", &parameters["state"])
        .extend_pairs(answer);
    url.to_string()
}

const VARIABLES: &str = "{ instances { nodes { configVariables { nodes { id status authorizeUrl requiredConfigVariable { key } } } \
     userLevelConfigs { nodes { user { name } configVariables { nodes { id status authorizeUrl refreshAt grant { status reason timeline { what } forecast { kind at } notice { toldAt escalatedAt } uses { lastUsedAt lastExecution parked parkedSince } } \
     requiredConfigVariable { key } } } } } } } }";

/// The `Account` of a user as the API shows it.
pub(crate) async fn account(api: &Api<'_>, user: &str) -> Value {
    account_by(api, user, "Account").await
}

/// The same of another key.
pub(crate) async fn account_by(api: &Api<'_>, user: &str, key: &str) -> Value {
    let instances = api.get(VARIABLES, json!({})).await;
    let configs = instances["nodes"][0]["userLevelConfigs"]["nodes"].as_array().unwrap().clone();
    let of_user = configs
        .iter()
        .find(|config| config["user"]["name"].as_str().unwrap().starts_with(user));
    let variables = of_user.unwrap()["configVariables"]["nodes"].as_array().unwrap().clone();
    let found = variables.iter().find(|variable| variable["requiredConfigVariable"]["key"] == key);
    found.unwrap().clone()
}

/// Consents as the user, in a browser of their own.
pub(crate) async fn connect(world: &World, user: &str) {
    let api = Api::program(&world.daemon, "owner").await;
    let link = account(&api, user).await["authorizeUrl"].as_str().unwrap().to_owned();
    let mut browser = Browser::new(&[]);
    let asked = begin(&mut browser, &link).await;
    let code = world.provider.consent(user, asked.clone());
    let done = browser.open(&back(&asked, &[("code", &code)])).await;
    assert_eq!(done.status, 200, "{}", done.html);
}

pub(crate) fn unconnected<'a>() -> Plan<'a> {
    Plan {
        have_tokens: false,
        users: &["ann"],
        ..Plan::default()
    }
}

fn reference(daemon: &Daemon, body: &str) -> String {
    let reference = body
        .split("<code>")
        .nth(1)
        .and_then(|rest| rest.split('<').next())
        .unwrap()
        .to_owned();
    daemon.log_line(&["a consent failed", &reference]);
    reference
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_a_variable_that_became_a_connection_stands_for_no_connection() {
    let provider = Oauth::start(Manner::default()).await;
    let plan = unconnected();
    let daemon = Daemon::start(World::setup(&provider, &plan));
    let world = World { daemon, provider };
    let manifests = world
        .manifests(&plan)
        .replace("value: Account}]", "value: Account}, {type: configVar, value: Key}]");
    let key = |kind: &str| format!("    - {{key: Key, stableKey: key, x-perseat: {{required: false}}, {kind}}}\n");
    let (before, rest) = manifests.split_once("    - key: Account\n").unwrap();
    let (account_itself, after) = rest.split_once("  configPages:").unwrap();
    let api_key = "dataType: connection, connection: {key: apiKey, component: {key: http, isPublic: true, version: LATEST}}";
    let connections = format!("{before}{}    - key: Account\n{account_itself}  configPages:{after}", key(api_key));
    let texts = format!(
        "{before}{}    - {{key: Account, stableKey: account, dataType: string}}\n  configPages:{after}",
        key("dataType: string")
    );
    let uses_none = |line: &&str| !line.contains("connection: {type: configVar");
    let texts: Vec<&str> = texts.lines().filter(uses_none).collect();
    let texts = (texts.join("\n") + "\n").replace("Account: {fields: {}}", "{Account: ann, Key: text}");
    world.daemon.apply(&texts).await;
    let is_of_version = |text: &&str| text.contains("kind: Integration") || text.contains("kind: Instance");
    let connections: Vec<&str> = connections.split("---\n").filter(is_of_version).collect();
    world.daemon.apply(&connections.join("---\n")).await;

    let api = Api::program(&world.daemon, "owner").await;
    assert_eq!(account_by(&api, "ann", "Key").await["status"], "PENDING");
    let url = world.hook("ann").await;
    let answer = world.daemon.post(&url, &[], "{}").await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (409, Some("user_config_incomplete"))
    );
    connect(&world, "ann").await;
    let execution = world.send("ann", 1).await.remove(0);
    assert_eq!(world.ended(&execution).await["status"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_consents_works_and_disconnects() {
    let world = World::start(&unconnected()).await;
    let api = Api::program(&world.daemon, "owner").await;
    let before = account(&api, "ann").await;
    assert_eq!(before["status"], "PENDING");
    let mut browser = Browser::new(&[]);
    let asked = begin(&mut browser, before["authorizeUrl"].as_str().unwrap()).await;
    assert_eq!(asked["code_challenge_method"], "S256");
    assert_eq!(asked["scope"], "work");
    let code = world.provider.consent("ann", asked.clone());
    let done = browser.open(&back(&asked, &[("code", &code)])).await;
    assert_eq!(done.status, 200, "{}", done.html);
    assert!(
        done.html.contains("Connected") && done.html.contains("Work is connected for ann"),
        "{}",
        done.html
    );
    assert!(
        done.headers["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'")
    );
    assert_eq!(done.headers["cache-control"], "no-store");
    let connected = account(&api, "ann").await;
    assert_eq!(connected["status"], "ACTIVE");
    assert_eq!(connected["grant"]["timeline"], json!([{ "what": "ISSUED" }]));
    assert!(connected["refreshAt"].is_string(), "{connected}");
    world.send("ann", 1).await;
    let work = world.provider.until("/work", 1).await;
    assert_eq!((work[0].token.as_str(), work[0].status), ("access-ann-1", 200));

    let query =
        "mutation($id: ID) { disconnectUserLevelConnection(input: {id: $id}) { userLevelConfigVariable { status } errors { messages } } }";
    let gone = api.get(query, json!({ "id": connected["id"] })).await;
    assert_eq!(gone["userLevelConfigVariable"]["status"], "PENDING");
    world.provider.until("/revoke", 1).await;
    assert!(world.provider.chain("ann").is_revoked, "the provider was told");
    let audit = world.daemon.log();
    for secret in [
        "access-ann",
        "refresh-ann",
        code.as_str(),
        asked["state"].as_str(),
        crate::world::SECRET,
    ] {
        assert!(!audit.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_works_once_in_one_browser_and_for_what_it_was_made() {
    let world = World::start(&unconnected()).await;
    let api = Api::program(&world.daemon, "owner").await;
    let link = account(&api, "ann").await["authorizeUrl"].as_str().unwrap().to_owned();

    // Another browser comes back with it: a stranger's code does not become this user's account, nor the reverse.
    let mut browser = Browser::new(&[]);
    let asked = begin(&mut browser, &link).await;
    let code = world.provider.consent("mallory", asked.clone());
    let way = back(&asked, &[("code", &code)]);
    for cookie in [None, Some(format!("perseat-oauth={}", "A".repeat(43)))] {
        let mut other = Browser::new(&[]);
        other.cookie = cookie;
        let seen = other.open(&way).await;
        assert!([403, 400].contains(&seen.status), "{}", seen.status);
        reference(&world.daemon, &seen.html);
    }
    assert_eq!(browser.open(&way).await.status, 400, "what was tried elsewhere is used up");
    assert_eq!(world.provider.calls("/token").len(), 0, "no code was exchanged");

    // Replayed.
    let asked = begin(&mut browser, &link).await;
    let code = world.provider.consent("ann", asked.clone());
    let way = back(&asked, &[("code", &code)]);
    assert_eq!(browser.open(&way).await.status, 200);
    let again = browser.open(&way).await;
    assert_eq!(again.status, 400);
    assert!(again.html.contains("expired or was used already"));
    reference(&world.daemon, &again.html);
    assert_eq!(world.provider.calls("/token").len(), 1);

    // Made up, or changed.
    let callback = asked["redirect_uri"].clone();
    assert_eq!(browser.open(&format!("{callback}?state=guess&code=x")).await.status, 400);
    assert_eq!(browser.open(&callback).await.status, 400);
    let forged = link.replace("connection=account", "connection=other");
    assert_ne!(forged, link);
    assert_eq!(browser.open(&forged).await.status, 400, "a link that was changed");
    assert_eq!(account(&api, "ann").await["status"], "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_says_what_to_do_and_keeps_nothing() {
    let world = World::start(&unconnected()).await;
    let api = Api::program(&world.daemon, "owner").await;
    let link = account(&api, "ann").await["authorizeUrl"].as_str().unwrap().to_owned();
    let mut browser = Browser::new(&[]);
    for (answer, status, sentence) in [
        (&[("error", "access_denied")][..], 400, "You did not give your consent"),
        (&[("error", "temporarily_unavailable")], 502, "did not answer"),
        (&[("error", "<script>alert(1)</script>")], 502, "refused the connection"),
        (&[], 502, "refused the connection"),
        (&[("code", "never given")], 502, "refused the connection"),
    ] {
        let asked = begin(&mut browser, &link).await;
        let seen = browser.open(&back(&asked, answer)).await;
        assert_eq!(seen.status, status, "{answer:?}");
        assert!(seen.html.contains(sentence) && !seen.html.contains("<script>"), "{}", seen.html);
        reference(&world.daemon, &seen.html);
    }
    world.provider.change(|manner| manner.refuses = Some((503, None)));
    let asked = begin(&mut browser, &link).await;
    let code = world.provider.consent("ann", asked.clone());
    let seen = browser.open(&back(&asked, &[("code", &code)])).await;
    assert!(seen.status == 502 && seen.html.contains("did not answer"), "{}", seen.html);
    assert_eq!(account(&api, "ann").await["status"], "PENDING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_sent_on_only_where_the_operator_allows() {
    for (redirect, is_allowed) in [
        ("https://app.example/oauth/done?tab=1", true),
        ("https://app.example.evil.example/oauth/done", false),
        ("https://app.example/elsewhere", false),
    ] {
        let plan = Plan {
            meta: Some(redirect),
            keys: &[("oauth.redirects", "https://app.example/oauth")],
            ..unconnected()
        };
        let world = World::start(&plan).await;
        let api = Api::program(&world.daemon, "owner").await;
        let link = account(&api, "ann").await["authorizeUrl"].as_str().unwrap().to_owned();
        let mut browser = Browser::new(&[]);
        let asked = begin(&mut browser, &link).await;
        let code = world.provider.consent("ann", asked.clone());
        let seen = browser.open(&back(&asked, &[("code", &code)])).await;
        let query = |location: &Url| location.query_pairs().into_owned().collect::<BTreeMap<String, String>>();
        if is_allowed {
            let location = seen.location();
            assert!(location.as_str().starts_with(redirect), "{location}");
            assert_eq!(query(&location)["configVariable"], "Account");
        } else {
            assert_eq!((seen.status, seen.headers.get("location")), (200, None), "{redirect}");
        }
        let asked = begin(&mut browser, &link).await;
        let seen = browser.open(&back(&asked, &[("error", "access_denied")])).await;
        assert_eq!(seen.headers.contains_key("location"), is_allowed);
        if is_allowed {
            let query = query(&seen.location());
            assert_eq!(query["error"], "denied");
            world.daemon.log_line(&["a consent failed", &query["reference"]]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_given_a_link_for_what_they_may_not_connect() {
    let world = World::start(&unconnected()).await;
    let guest = Api::program(&world.daemon, "guest").await;
    assert_eq!(account(&guest, "ann").await["authorizeUrl"], Value::Null);
    let owner = Api::program(&world.daemon, "owner").await;
    let id = account(&owner, "ann").await["id"].clone();
    let query =
        "mutation($id: ID) { disconnectUserLevelConnection(input: {id: $id}) { userLevelConfigVariable { status } errors { messages } } }";
    let refused = guest.ask(query, json!({ "id": id })).await;
    let errors = &refused["data"]["disconnectUserLevelConnection"]["errors"];
    assert_eq!(errors.as_array().map(Vec::len), Some(1), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_bound_as_the_connection_says() {
    for (method, sent) in [("plain", Some("plain")), ("none", None), ("S256", Some("S256"))] {
        let plan = Plan {
            inputs: &[("pkceMethod", method)],
            ..unconnected()
        };
        let world = World::start(&plan).await;
        let api = Api::program(&world.daemon, "owner").await;
        let link = account(&api, "ann").await["authorizeUrl"].as_str().unwrap().to_owned();
        let mut browser = Browser::new(&[]);
        let asked = begin(&mut browser, &link).await;
        assert_eq!(asked.get("code_challenge_method").map(String::as_str), sent);
        let code = world.provider.consent("ann", asked.clone());
        let seen = browser.open(&back(&asked, &[("code", &code)])).await;
        assert_eq!(seen.status, 200, "{method}: {}", seen.html);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_removed_meanwhile_gets_no_token() {
    let world = World::start(&unconnected()).await;
    let api = Api::program(&world.daemon, "owner").await;
    let link = account(&api, "ann").await["authorizeUrl"].as_str().unwrap().to_owned();
    let mut browser = Browser::new(&[]);
    let asked = begin(&mut browser, &link).await;
    let configs = api
        .get("{ instances { nodes { userLevelConfigs { nodes { id } } } } }", json!({}))
        .await;
    let id = configs["nodes"][0]["userLevelConfigs"]["nodes"][0]["id"].clone();
    let removal = "mutation($id: ID!) { deleteUserLevelConfig(input: {id: $id}) { errors { messages } } }";
    api.get(removal, json!({ "id": id })).await;
    let code = world.provider.consent("ann", asked.clone());
    let seen = browser.open(&back(&asked, &[("code", &code)])).await;
    assert_eq!(seen.status, 410, "{}", seen.html);
    assert_eq!(browser.open(&link).await.status, 410);
    assert_eq!(world.provider.calls("/token").len(), 0, "no code was exchanged");
}

/// Whether the provider gave a token or not, the daemon that would have kept it is gone: nothing is connected, and a new consent is.
#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_a_kill_cuts_off_is_given_again() {
    for stall in [Stall::Before, Stall::After] {
        let mut world = World::start(&unconnected()).await;
        let api = Api::program(&world.daemon, "owner").await;
        let link = account(&api, "ann").await["authorizeUrl"].as_str().unwrap().to_owned();
        world.provider.change(|manner| manner.stalls = Some(stall));
        let mut browser = Browser::new(&[]);
        let asked = begin(&mut browser, &link).await;
        let code = world.provider.consent("ann", asked.clone());
        let way_back = back(&asked, &[("code", &code)]);
        let cut_off = tokio::spawn(async move { browser.open(&way_back).await });
        world.provider.until("/token", 1).await;
        world.daemon.kill();
        assert!(cut_off.await.is_err(), "{stall:?}: nobody was told that it went well");
        world.provider.change(|manner| manner.stalls = None);
        world.daemon.restart();
        let api = Api::program(&world.daemon, "owner").await;
        assert_eq!(account(&api, "ann").await["status"], "PENDING", "{stall:?}");
        connect(&world, "ann").await;
        world.send("ann", 1).await;
        let work = world.provider.until("/work", 1).await;
        assert_eq!(work[0].status, 200, "{stall:?}");
    }
}
