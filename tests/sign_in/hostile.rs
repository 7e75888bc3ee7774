//! Where sign-in sends nobody, who may frame its pages, and text that would like to be a script.

use crate::harness::api::Api;
use crate::harness::browser::{Browser, Shown};
use crate::users::customer;
use crate::world::{APP, CALLBACK, CLI, PASSWORD, World, setup};
use http::Method;
use serde_json::json;

#[tokio::test]
async fn no_spelling_of_an_address_sends_anybody_elsewhere() {
    let world = World::start(setup()).await;
    let mut browser = Browser::new(&[]);
    let elsewhere = [
        "//evil.example/",
        "\\\\evil.example/",
        "/\\evil.example/",
        "https:evil.example/",
        "https:\\\\evil.example\\",
        "https:/\t/evil.example/",
        "https://app.example.com@evil.example/callback",
        "https://app.example.com:x@evil.example/callback",
        "https://mallory@app.example.com/callback",
        "https://app.example.com\\@evil.example/callback",
        "https://app.example.com%2f@evil.example/callback",
        "https://app.example.com.evil.example/callback",
        "https://app.example.com/callback/../evil",
        "https://app.example.com/callback/..%2fevil",
        "https://app.example.com/callback%00",
        "https://app.example.com/callback#@evil.example",
        "https://app.example.com/callback?next=https://evil.example",
        "https://app.example.com:8443/callback",
        "http://app.example.com/callback",
        "HTTPS://APP.EXAMPLE.COM/callback",
        " https://app.example.com/callback",
        "http://localhost:59400@evil.example/",
        "http://localhost:59400\\@evil.example/",
        "http://localhost.evil.example:59400/",
        "http://127.0.0.1.evil.example:59400/",
        "http://localhost%2eevil.example:59400/",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\nscript:alert(1)",
        "javascript://app.example.com/callback%0aalert(1)",
        "data:text/html,x",
        "https%3A%2F%2Fapp.example.com%2Fcallback",
        "",
    ];
    for uri in elsewhere {
        for program in [CLI, APP] {
            let page = browser.open(&world.authorize(program, &[("redirect_uri", Some(uri))])).await;
            assert_eq!((page.status, page.headers.get("location")), (400, None), "{uri:?}");
            assert!(uri.is_empty() || !page.html.contains(uri), "{uri:?}: {}", page.html);
        }
        let mut out = reqwest::Url::parse(&world.url("/logout")).unwrap();
        out.query_pairs_mut()
            .append_pair("client_id", APP.client)
            .append_pair("returnTo", uri);
        let page = browser.open(out.as_str()).await;
        assert_eq!((page.status, page.headers.get("location")), (200, None), "{uri:?}");
    }
    for twice in [
        format!("{}&redirect_uri=https%3A%2F%2Fevil.example", world.authorize(APP, &[])),
        world
            .authorize(APP, &[])
            .replacen('?', "?redirect_uri=https%3A%2F%2Fevil.example&", 1),
    ] {
        let page = browser.open(&twice).await;
        assert_eq!((page.status, page.headers.get("location")), (400, None), "{twice}");
    }
    assert_eq!(browser.open(&world.authorize(APP, &[])).await.status, 200, "{CALLBACK} is allowed");
}

#[track_caller]
fn kept_apart(what: &str, shown: &Shown) {
    let header = |name: &str| shown.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let is = |name: &str, value: &str| assert_eq!(header(name).as_deref(), Some(value), "{what}: {name}: {}", shown.html);
    is("x-frame-options", "DENY");
    is("x-content-type-options", "nosniff");
    is("cache-control", "no-store");
    let policy = header("content-security-policy").unwrap();
    for part in ["default-src 'none';", "frame-ancestors 'none';", "base-uri 'none'"] {
        assert!(policy.contains(part), "{what}: {policy}");
    }
    assert!(!policy.contains("script-src") && !policy.contains("unsafe"), "{what}: {policy}");
    assert!(
        !shown.html.contains("<script") && !shown.html.contains("<img"),
        "{what}: {}",
        shown.html
    );
}

#[tokio::test]
async fn no_page_of_a_sign_in_stands_in_a_frame() {
    let world = World::start(setup()).await;
    let link = world.owner("bob@acme.example").await;
    let mut browser = Browser::new(&[]);
    let nowhere = world.authorize(CLI, &[("redirect_uri", Some("https://evil.example"))]);
    for (what, url, status) in [
        ("sign in", world.authorize(CLI, &[]), 200),
        ("wrong request", nowhere, 400),
        ("choose a password", link.clone(), 200),
        ("dead link", world.url("/auth/password?token=%22%3E%3Cscript%3E"), 404),
        ("signed out", world.url("/logout"), 200),
        ("no such page", world.url("/auth/%22%3E%3Cscript%3E"), 404),
        ("no provider", world.url("/auth/oidc/callback?state=x&code=y"), 404),
    ] {
        let shown = browser.open(&url).await;
        assert_eq!(shown.status, status, "{what}: {}", shown.html);
        kept_apart(what, &shown);
    }
    let page = browser.open(&world.authorize(CLI, &[])).await;
    let wrong = [("address", "ann@acme.example"), ("password", "wrong")];
    let strange = [("address", "ann@acme.example"), ("password", PASSWORD), ("seal", "")];
    for (what, fields) in [("wrong password", &wrong[..]), ("strange form", &strange[..])] {
        let shown = browser.submit(&page, "/authorize", fields).await;
        assert_eq!(shown.status, 403, "{what}: {}", shown.html);
        kept_apart(what, &shown);
    }
}

fn evil(name: &str) -> String {
    format!("{name}'\"><img src=x onerror=alert(1)><script>alert(1)</script>")
}

#[tokio::test]
async fn no_name_or_word_of_a_request_becomes_markup_at_sign_in() {
    let world = World::start(setup()).await;
    let access = world.tokens(CLI).await.access;
    let owner = Api::holder_of(&world.daemon, &access);
    let (globex, role) = customer(&owner, &evil("customer")).await;
    let create = "mutation ($c: ID, $n: String, $r: ID!) { createCustomerUser(input: {customer: $c, email: \"ann@acme.example\", name: $n, role: $r})
        { user { id } invitationUrl errors { messages } } }";
    let made = owner
        .get(create, json!({ "c": globex, "n": evil("user"), "r": role("Member") }))
        .await;
    let link = made["invitationUrl"].as_str().unwrap();
    let mut browser = Browser::new(&[]);
    let invited = browser.open(link).await;
    let refused = browser
        .submit(&invited, "/auth/password", &[("password", "short"), ("again", "short")])
        .await;
    assert_eq!(refused.status, 422, "{}", refused.html);
    world.set_password(link, PASSWORD).await;

    let (state, address) = (evil("state"), evil("address"));
    let page = browser
        .open(&world.authorize(CLI, &[("state", Some(&state)), ("scope", Some(&evil("scope")))]))
        .await;
    assert_eq!(page.status, 200, "{}", page.html);
    let typed = browser
        .submit(&page, "/authorize", &[("address", &address), ("password", "x")])
        .await;
    let right = [("address", "ann@acme.example"), ("password", PASSWORD)];
    let choice = browser.submit(&page, "/authorize", &right).await;
    for (what, shown, named) in [
        ("invitation", &invited, &["user"][..]),
        ("refused password", &refused, &["user"]),
        ("sign in", &page, &["state"]),
        ("refused sign-in", &typed, &["state", "address"]),
        ("choice", &choice, &["customer"]),
    ] {
        kept_apart(what, shown);
        for name in named {
            let escaped = format!("{name}&#x27;&quot;&gt;&lt;img");
            assert!(shown.html.contains(&escaped), "{what}: {name} is shown as text: {}", shown.html);
        }
    }
    // Where it does go on, the state is a value of the address and nothing else.
    let user = made["user"]["id"].as_str().unwrap();
    let gone = browser.submit(&choice, "/auth/user", &[("user", user)]).await;
    assert_eq!((gone.status, gone.parameter("state")), (303, Some(state)), "{}", gone.html);
    assert!(gone.location().as_str().starts_with(CLI.redirect_uri), "{}", gone.location());
    let get = world
        .daemon
        .send(Method::GET, &world.url("/oauth/token?grant_type=%3Cscript%3E"), &[], "")
        .await;
    assert!(!String::from_utf8_lossy(&get.body).contains("<script"), "{:?}", get.body);
}
