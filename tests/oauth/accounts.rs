//! Accounts at a provider: a grant that reaches several is used in the one that was chosen, and in another one without a new consent.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use crate::consent::{back, begin, connect};
use crate::harness::api::Api;
use crate::harness::browser::{Browser, Shown};
use crate::world::{Plan, World};

/// As Docusign's `/oauth/userinfo` is declared.
const LISTED: [(&str, &str); 6] = [
    ("accountsUrl", "PROVIDER/userinfo"),
    ("accountsPath", "accounts"),
    ("accountIdField", "account_id"),
    ("accountNameField", "account_name"),
    ("accountBaseUrlField", "base_uri"),
    ("accountDefaultField", "is_default"),
];
const BY_DEFAULT: [(&str, &str); 7] = [
    LISTED[0],
    LISTED[1],
    LISTED[2],
    LISTED[3],
    LISTED[4],
    LISTED[5],
    ("accountChoice", "default"),
];
/// A name that would be markup.
const EVIL: &str = "<script>alert(\"canary-1\")</script>&amp;";

fn plan<'a>(users: &'a [&'a str], inputs: &'a [(&'a str, &'a str)]) -> Plan<'a> {
    Plan {
        have_tokens: false,
        users,
        inputs,
        target: "{{#Account.account.baseUrl}}/{{#Account.account.id}}",
        keys: &[("oauth.fresh", "1ms")],
        more_keys: vec![("accounts.per-grant", 3.into())],
        ..Plan::default()
    }
}

/// Accounts as the provider lists them, by id and name; the second is its default.
fn listed(world: &World, accounts: &[(&str, &str)]) -> Value {
    let account = |(place, (id, name)): (usize, &(&str, &str))| json!({ "account_id": id, "account_name": name, "base_uri": world.provider.url("/work"), "is_default": place == 1 });
    json!({ "sub": "somebody", "accounts": accounts.iter().enumerate().map(account).collect::<Vec<_>>() })
}

fn reaches(world: &World, user: &str, accounts: &[(&str, &str)]) {
    let answer = listed(world, accounts).to_string();
    let user = user.to_owned();
    world.provider.change(|manner| {
        manner.accounts.insert(user, (200, answer));
    });
}

const GRANT: &str = "{ instances { nodes { userLevelConfigs { nodes { user { name } configVariables { nodes { status authorizeUrl
    requiredConfigVariable { key } grant { status reason accountUrl account { id name baseUrl countedAs } timeline { what } } } } } } } } }";

/// The `Account` of a user.
async fn account(api: &Api<'_>, user: &str) -> Value {
    let found = api.get(GRANT, json!({})).await;
    let configs = found["nodes"][0]["userLevelConfigs"]["nodes"].as_array().unwrap().clone();
    let config = configs
        .iter()
        .find(|config| config["user"]["name"].as_str().unwrap().starts_with(user));
    let variables = config.unwrap()["configVariables"]["nodes"].as_array().unwrap().clone();
    let is_it = |variable: &&Value| variable["requiredConfigVariable"]["key"] == "Account";
    variables.iter().find(is_it).unwrap().clone()
}

fn happened(account: &Value) -> Vec<&str> {
    let all = account["grant"]["timeline"].as_array().unwrap().iter();
    all.map(|event| event["what"].as_str().unwrap()).collect()
}

/// Consents in a browser of their own, which is shown what comes back from the callback.
async fn consents(world: &World, user: &str) -> (Browser, Shown) {
    let api = Api::program(&world.daemon, "owner").await;
    let link = account(&api, user).await["authorizeUrl"].as_str().unwrap().to_owned();
    let mut browser = Browser::new(&[]);
    let asked = begin(&mut browser, &link).await;
    let code = world.provider.consent(user, asked.clone());
    let shown = browser.open(&back(&asked, &[("code", &code)])).await;
    (browser, shown)
}

/// Where the form of a page goes.
fn action(page: &Shown) -> String {
    assert_eq!(page.status, 200, "{}", page.html);
    let action = page.html.split("action=\"").nth(1).unwrap().split('"').next().unwrap();
    action.replace("&#x2f;", "/").replace("&amp;", "&")
}

async fn choose(world: &World, browser: &mut Browser, page: &Shown, id: &str) -> Shown {
    let url = world.daemon_url(&format!("http://perseat{}", action(page)));
    browser.post(&url, &[("account".to_owned(), id.to_owned())]).await
}

/// Goes to where another account is chosen, and chooses.
async fn switch(world: &World, user: &str, id: &str) -> Shown {
    let api = Api::program(&world.daemon, "owner").await;
    let link = account(&api, user).await["grant"]["accountUrl"].as_str().unwrap().to_owned();
    let mut browser = Browser::new(&[]);
    let page = browser.open(&link).await;
    choose(world, &mut browser, &page, id).await
}

/// Sends so many events, which all succeed.
async fn works(world: &World, user: &str, count: usize) {
    for execution in world.send(user, count).await {
        assert_eq!(world.ended(&execution).await["status"], "succeeded");
    }
}

/// Calls that the provider answered, by account.
fn counted(world: &World) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for call in world.provider.calls("/work/") {
        let id = call.target.rsplit('/').next().unwrap().to_owned();
        *counted.entry(id).or_default() += 1;
    }
    counted
}

/// Calls and executions of the report.
async fn reported(world: &World, by: &str) -> Vec<(Option<String>, Option<String>, u64, u64)> {
    let report = world.daemon.local(Method::GET, &format!("/usage?by={by}"), None).await.unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let row = |row: &Value| {
        let user = text(&row["user"]["name"]).map(|name| name.split(' ').next().unwrap().to_owned());
        (
            user,
            text(&row["account"]),
            row["calls"].as_u64().unwrap(),
            row["executions"].as_u64().unwrap(),
        )
    };
    let mut rows: Vec<_> = report["rows"].as_array().unwrap().iter().map(row).collect();
    rows.sort();
    rows
}

/// Whether a file below holds one of these texts.
fn holds(folder: &std::path::Path, texts: &[&str]) -> Option<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| entry.path()).find_map(|path| {
        if path.is_dir() {
            return holds(&path, texts);
        }
        let bytes = path.is_file().then(|| std::fs::read(&path).unwrap())?;
        let is_in = |text: &&&str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        texts.iter().find(is_in).map(|text| format!("{} holds {text}", path.display()))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_chooses_an_account_after_consent_and_another_one_without_a_new_one() {
    let mut world = World::start(&plan(&["ann", "bob"], &LISTED)).await;
    reaches(&world, "ann", &[("acme-canary", EVIL), ("beta-canary", "Beta canary")]);
    reaches(&world, "bob", &[("acme-canary", EVIL)]);
    let api = Api::program(&world.daemon, "owner").await;

    // Nothing is guessed: until one is chosen the grant is pending, and what needs it waits.
    let (mut browser, shown) = consents(&world, "ann").await;
    let page = browser.open(shown.location().as_str()).await;
    let waiting = account(&api, "ann").await;
    assert_eq!(
        (&waiting["status"], &waiting["grant"]["reason"]),
        (&json!("PENDING"), &json!("account_not_chosen"))
    );
    assert_eq!(waiting["grant"]["account"], Value::Null);
    let parked = world.send("ann", 1).await.remove(0);
    world.stands(&parked, "parked").await;
    assert_eq!(counted(&world), BTreeMap::new());

    // A hostile name is text.
    assert!(
        !page.html.contains("<script") && page.html.contains("&lt;script&gt;alert(") && page.html.contains("Beta canary"),
        "{}",
        page.html
    );
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'") && policy.contains("form-action 'self';") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert_eq!(page.headers["cache-control"], "no-store");
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    let done = choose(&world, &mut browser, &page, "acme-canary").await;
    assert_eq!(done.status, 200, "{}", done.html);
    assert!(
        done.text().contains("Work is connected for ann") && !done.html.contains("<script"),
        "{}",
        done.html
    );
    assert_eq!(world.ended(&parked).await["status"], "succeeded");
    let chosen = account(&api, "ann").await;
    assert_eq!(
        (&chosen["status"], &chosen["grant"]["account"]["name"]),
        (&json!("ACTIVE"), &json!(EVIL))
    );
    assert_eq!(happened(&chosen), ["ISSUED", "ACCOUNT_CHOSEN"]);

    // The only one is taken without asking, and there is nothing to switch to.
    let (_, shown) = consents(&world, "bob").await;
    assert!(shown.status == 200 && shown.text().contains("with the account"), "{}", shown.html);
    let only = account(&api, "bob").await;
    assert_eq!((&only["status"], &only["grant"]["accountUrl"]), (&json!("ACTIVE"), &Value::Null));
    assert_eq!(happened(&only), ["ISSUED", "ACCOUNT_CHOSEN"]);
    let acme = only["grant"]["account"]["countedAs"].as_str().unwrap().to_owned();
    assert_eq!(chosen["grant"]["account"]["countedAs"], acme, "one account is counted as one");

    works(&world, "ann", 2).await;
    works(&world, "bob", 4).await;
    let consented = world.provider.calls("/token").len();
    let done = switch(&world, "ann", "beta-canary").await;
    assert!(
        done.status == 200 && done.text().contains("with the account Beta canary"),
        "{}",
        done.html
    );
    works(&world, "ann", 3).await;
    assert_eq!(world.provider.calls("/token").len(), consented, "no new consent and no new token");
    assert_eq!(world.provider.calls("/userinfo").len(), 2, "it is listed with a consent alone");
    let switched = account(&api, "ann").await;
    assert_eq!(happened(&switched), ["ISSUED", "ACCOUNT_CHOSEN", "ACCOUNT_SWITCHED"]);
    let beta = switched["grant"]["account"]["countedAs"].as_str().unwrap().to_owned();

    // It outlives a restart and a renewal.
    world.daemon.kill();
    world.daemon.restart();
    world.provider.end_access("ann");
    works(&world, "ann", 1).await;
    assert_eq!(world.provider.calls("/token").len(), consented + 1);
    let api = Api::program(&world.daemon, "owner").await;
    assert_eq!(account(&api, "ann").await["grant"]["account"]["id"], "beta-canary");

    // Usage by account is what the provider counted: the refused call is one, too.
    let calls = counted(&world);
    assert_eq!((calls["acme-canary"], calls["beta-canary"]), (7, 5));
    let named = |user: Option<&str>, account: &str, calls: u64, executions: u64| {
        (user.map(str::to_owned), Some(account.to_owned()), calls, executions)
    };
    let mut by_account = [named(None, &acme, 7, 7), named(None, &beta, 5, 4)];
    by_account.sort();
    assert_eq!(reported(&world, "account").await, by_account);
    let mut by_both = [
        named(Some("ann"), &acme, 3, 3),
        named(Some("ann"), &beta, 5, 4),
        named(Some("bob"), &acme, 4, 4),
    ];
    by_both.sort();
    assert_eq!(reported(&world, "user,account").await, by_both);

    // What an account is called stands nowhere in the clear, so that it is gone with the key of whoever chose it.
    let hidden = ["acme-canary", "beta-canary", "Beta canary", "canary-1"];
    assert_eq!(holds(&world.daemon.data(), &hidden), None);
    let log = world.daemon.log();
    assert!(hidden.iter().all(|text| !log.contains(text)), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_providers_default_is_taken_where_the_connection_says_so_and_a_choice_outlives_a_reconnect() {
    let world = World::start(&plan(&["ann"], &BY_DEFAULT)).await;
    let all = [("a-1", "First"), ("b-2", "Second"), ("c-3", "Third")];
    reaches(&world, "ann", &all);
    let api = Api::program(&world.daemon, "owner").await;
    let (_, shown) = consents(&world, "ann").await;
    assert!(
        shown.status == 200 && shown.text().contains("with the account Second"),
        "{}",
        shown.html
    );
    assert_eq!(switch(&world, "ann", "c-3").await.status, 200);
    let (_, shown) = consents(&world, "ann").await;
    assert!(
        shown.text().contains("with the account Third"),
        "what was chosen stays: {}",
        shown.html
    );
    let kept = account(&api, "ann").await;
    assert_eq!(
        (&kept["status"], &kept["grant"]["account"]["id"]),
        (&json!("ACTIVE"), &json!("c-3"))
    );
    assert_eq!(happened(&kept), ["ISSUED", "ACCOUNT_CHOSEN", "ACCOUNT_SWITCHED", "ISSUED"]);
    // What is not reached any more is not used.
    reaches(&world, "ann", &all[..2]);
    let (_, shown) = consents(&world, "ann").await;
    assert!(shown.text().contains("with the account Second"), "{}", shown.html);
    works(&world, "ann", 1).await;
    assert_eq!(counted(&world), BTreeMap::from([("b-2".to_owned(), 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_cannot_be_listed_connect_nothing_and_take_nothing_away() {
    let world = World::start(&plan(&["ann"], &LISTED)).await;
    let api = Api::program(&world.daemon, "owner").await;
    let too_many = listed(&world, &[("a", "A"), ("b", "B"), ("c", "C"), ("d", "D")]).to_string();
    let huge = format!("{{\"accounts\": [], \"filler\": \"{}\"}}", "x".repeat(70_000));
    let wrong: [(u16, &str, &str, &str); 8] = [
        (503, "{}", "accounts_down", "does not say which accounts"),
        (429, "{}", "accounts_down", "does not say which accounts"),
        (403, "{}", "accounts_unreadable", "cannot be used"),
        (200, "<html>", "accounts_unreadable", "cannot be used"),
        (
            200,
            "{\"accounts\": [{\"account_name\": \"no id\"}]}",
            "accounts_unreadable",
            "cannot be used",
        ),
        (200, &huge, "accounts_unreadable", "cannot be used"),
        (200, &too_many, "too_many_accounts", "too many accounts"),
        (200, "{\"accounts\": []}", "no_account", "no account"),
    ];
    for is_connected in [false, true] {
        for (status, answer, code, sentence) in wrong {
            world.provider.change(|manner| {
                manner.accounts.insert("ann".to_owned(), (status, answer.to_owned()));
            });
            let (_, shown) = consents(&world, "ann").await;
            assert!(shown.status == 502 && shown.text().contains(sentence), "{code}: {}", shown.html);
            let reference = shown.html.split("<code>").nth(1).unwrap().split('<').next().unwrap();
            world.daemon.log_line(&["a consent failed", code, reference]);
            let stands = account(&api, "ann").await;
            assert_eq!(stands["status"], if is_connected { "ACTIVE" } else { "PENDING" }, "{code}");
        }
        reaches(&world, "ann", &[("a-1", "First")]);
        assert_eq!(consents(&world, "ann").await.1.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_chooses_for_another_or_what_is_not_listed() {
    let world = World::start(&plan(&["ann", "bob"], &LISTED)).await;
    let api = Api::program(&world.daemon, "owner").await;
    for user in ["ann", "bob"] {
        reaches(&world, user, &[("a-1", "First"), ("b-2", "Second")]);
    }
    let (mut hers, shown) = consents(&world, "ann").await;
    let link = shown.location();
    let page = hers.open(link.as_str()).await;
    let (mut his, shown) = consents(&world, "bob").await;
    let his_page = his.open(shown.location().as_str()).await;

    // The form of one browser is of no use to another, with or without a cookie of its own.
    for cookie in [None, his.cookie.clone(), Some(format!("perseat-oauth={}", "A".repeat(43)))] {
        let mut other = Browser::new(&[]);
        other.cookie = cookie;
        assert_eq!(choose(&world, &mut other, &page, "a-1").await.status, 403);
    }
    // Nor is the link, sent as a form, or made up for somebody else's connection.
    let sent = hers.post(link.as_str(), &[("account".to_owned(), "a-1".to_owned())]).await;
    assert_eq!(sent.status, 400);
    let holder = |url: &str| url.split("holder=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let (his_holder, her_holder) = (holder(&action(&his_page)), holder(link.as_str()));
    assert_ne!(his_holder, her_holder);
    assert_eq!(hers.open(&link.as_str().replace(&her_holder, &his_holder)).await.status, 400);
    let forged = world.daemon_url(&format!("http://perseat{}", action(&page).replace(&her_holder, &his_holder)));
    assert_eq!(hers.post(&forged, &[("account".to_owned(), "a-1".to_owned())]).await.status, 400);
    // The form shows no form, whose time would begin anew.
    let form = world.daemon_url(&format!("http://perseat{}", action(&page)));
    assert_eq!(hers.open(&form).await.status, 400);
    assert_eq!(hers.open(link.as_str()).await.status, 200, "as the link goes on to do");
    // Only what is listed can be chosen, and one alone.
    for fields in [vec!["z-9"], vec![], vec!["a-1", "b-2"]] {
        let fields: Vec<_> = fields.iter().map(|id| ("account".to_owned(), (*id).to_owned())).collect();
        let refused = hers.post(&form, &fields).await;
        assert!(
            refused.status == 400 && refused.html.contains("<code>"),
            "{fields:?}: {}",
            refused.html
        );
    }
    let guest = Api::program(&world.daemon, "guest").await;
    for user in ["ann", "bob"] {
        let stands = account(&api, user).await;
        assert_eq!(
            (&stands["status"], happened(&stands)),
            (&json!("PENDING"), vec!["ISSUED"]),
            "{user}"
        );
        assert!(stands["grant"]["accountUrl"].is_string());
        assert_eq!(account(&guest, user).await["grant"]["accountUrl"], Value::Null, "who may only look");
    }
    assert_eq!(choose(&world, &mut hers, &page, "b-2").await.status, 200);
    assert_eq!(account(&api, "bob").await["status"], "PENDING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supplied_token_whose_account_nobody_chose_is_not_used() {
    let with_tokens = Plan {
        have_tokens: true,
        ..plan(&["ann"], &LISTED)
    };
    let world = World::start(&with_tokens).await;
    reaches(&world, "ann", &[("a-1", "First")]);
    let parked = world.send("ann", 1).await.remove(0);
    world.stands(&parked, "parked").await;
    connect(&world, "ann").await;
    assert_eq!(world.ended(&parked).await["status"], "succeeded");
    assert_eq!(counted(&world), BTreeMap::from([("a-1".to_owned(), 1)]));
}
