//! Passwords: what whoever is wrong learns, who is locked out, and what only our own form may send.

use crate::harness::api::Api;
use crate::harness::browser::{Browser, Shown};
use crate::users::{create, customer};
use crate::world::{APP, CLI, PASSWORD, Tokens, VERIFIER, World, refused, setup};
use http::Method;
use serde_json::json;

const PEOPLE: &str = "
kind: Organization
name: Acme
ulcEnabled: true
---
kind: Customer
name: Globex
externalId: globex
---
kind: CustomerUser
customer: globex
name: Jane
email: jane@globex.example
externalId: jane
role: marketplace_admin
";

/// The page without what differs by whoever looks: the seal, and the address they typed.
fn bare(shown: &Shown, address: &str) -> String {
    let seal = shown.form("/authorize").into_iter().find(|(name, _)| name == "seal").unwrap().1;
    shown.html.replace(&seal, "SEAL").replace(address, "ADDRESS")
}

#[tokio::test]
async fn whoever_is_refused_cannot_tell_why() {
    let world = World::start(setup().set("sign-in.failures", 3).set("sign-in.account-attempts", 100)).await;
    world.daemon.apply(PEOPLE).await;
    let wrong = world.sign_in(CLI, "ann@acme.example", "wrong password").await;
    assert_eq!(wrong.status, 403);
    let expected = bare(&wrong, "ann@acme.example");
    assert!(wrong.text().contains("is wrong, or too many were tried"), "{}", wrong.text());
    for address in ["nobody@acme.example", "jane@globex.example"] {
        let shown = world.sign_in(CLI, address, PASSWORD).await;
        assert_eq!((shown.status, bare(&shown, address)), (403, expected.clone()), "{address}");
    }
    assert_eq!(
        world.sign_in(CLI, "ANN@acme.example", PASSWORD).await.status,
        303,
        "case makes no difference"
    );
    for _ in 0..3 {
        assert_eq!(world.sign_in(CLI, "ann@acme.example", "wrong password").await.status, 403);
        assert_eq!(world.sign_in(CLI, "nobody@acme.example", "wrong password").await.status, 403);
    }
    let locked = world.sign_in(CLI, "ann@acme.example", PASSWORD).await;
    assert_eq!(
        (locked.status, bare(&locked, "ann@acme.example")),
        (403, expected),
        "the right password, while it is locked"
    );
    world.daemon.log_line(&["an address was locked", "\"accounts\":1"]);
    world.daemon.log_line(&["an address was locked", "\"accounts\":0"]);
}

#[tokio::test]
async fn a_lock_outlives_a_restart_and_ends_with_a_new_password() {
    let mut world = World::start(setup().set("sign-in.failures", 2)).await;
    for _ in 0..2 {
        world.sign_in(CLI, "ann@acme.example", "wrong password").await;
    }
    crate::harness::within("the lock", async {
        while !world.acts().await.iter().any(|act| act == "lockAccount") {}
    })
    .await;
    world.daemon.kill();
    world.daemon.restart();
    assert_eq!(world.sign_in(CLI, "ann@acme.example", PASSWORD).await.status, 403);
    let body = json!({ "user": "ann@acme.example", "customer": null });
    let made = world.daemon.local(Method::POST, "/users/link", Some(body)).await.unwrap();
    world.set_password(made["url"].as_str().unwrap(), "another long password").await;
    assert_eq!(world.sign_in(CLI, "ann@acme.example", PASSWORD).await.status, 403);
    assert_eq!(world.sign_in(CLI, "ann@acme.example", "another long password").await.status, 303);
}

#[tokio::test]
async fn a_new_password_puts_out_what_was_begun_by_the_old_one() {
    let world = World::start(setup()).await;
    let owner = Api::program(&world.daemon, "owner").await;
    let (globex, role) = customer(&owner, "Globex").await;
    let member = create(&owner, &globex, "ann@acme.example", &role("Member")).await;
    world.set_password(member["invitationUrl"].as_str().unwrap(), PASSWORD).await;
    // Somebody who knows ann's password comes to the question who goes on, three times, and as far as a code.
    let right = [("address", "ann@acme.example"), ("password", PASSWORD)];
    let mut asked = Vec::new();
    for _ in 0..3 {
        let mut browser = Browser::new(&[]);
        let page = browser.open(&world.authorize(CLI, &[])).await;
        let choice = browser.submit(&page, "/authorize", &right).await;
        assert!(
            choice.text().contains("Globex") && choice.text().contains("Acme"),
            "{}",
            choice.text()
        );
        asked.push((browser, choice));
    }
    let member = member["user"]["id"].as_str().unwrap();
    let people = owner.get("{ users { nodes { id email } } }", json!({})).await;
    let mut people = people["nodes"].as_array().unwrap().iter();
    let ann = people.find(|user| user["email"] == "ann@acme.example" && user["id"] != member);
    let ann = ann.unwrap()["id"].as_str().unwrap();
    let mut code = async |user: &str| {
        let (mut browser, choice) = asked.pop().unwrap();
        let chosen = browser.submit(&choice, "/auth/user", &[("user", user)]).await;
        chosen.parameter("code").unwrap()
    };
    let early = code(member).await;
    let body = json!({ "user": "ann@acme.example", "customer": "Globex" });
    let made = world.daemon.local(Method::POST, "/users/link", Some(body)).await.unwrap();
    world.set_password(made["url"].as_str().unwrap(), "another long password").await;
    assert_eq!(refused(&world.exchange(CLI, &early, VERIFIER).await), "invalid_grant");
    let late = code(member).await;
    assert_eq!(refused(&world.exchange(CLI, &late, VERIFIER).await), "invalid_grant");
    // Her other account has the password that it had.
    let other = code(ann).await;
    Tokens::of(&world.exchange(CLI, &other, VERIFIER).await);
    let shown = world.sign_in(CLI, "ann@acme.example", "another long password").await;
    Tokens::of(&world.exchange(CLI, &shown.parameter("code").unwrap(), VERIFIER).await);
}

#[tokio::test]
async fn only_the_page_itself_may_send_its_form() {
    let world = World::start(setup()).await;
    let mut browser = Browser::new(&[]);
    let page = browser.open(&world.authorize(CLI, &[])).await;
    let right = [("address", "ann@acme.example"), ("password", PASSWORD)];
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(policy.contains("form-action 'self' http://localhost:59400"), "{policy}");
    assert_eq!(page.headers["x-frame-options"], "DENY");
    assert_eq!(page.headers["cache-control"], "no-store");
    let set = page.headers["set-cookie"].to_str().unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");

    let cookie = browser.cookie.take();
    assert_eq!(browser.submit(&page, "/authorize", &right).await.status, 403, "without the cookie");
    browser.cookie = Some(format!("perseat-form={}", "A".repeat(32)));
    assert_eq!(
        browser.submit(&page, "/authorize", &right).await.status,
        403,
        "with another browser's cookie"
    );
    browser.cookie = cookie.clone();
    let forged = [right[0], right[1], ("seal", "99999999.AAAA")];
    assert_eq!(browser.submit(&page, "/authorize", &forged).await.status, 403, "with another seal");
    assert_eq!(
        browser
            .submit(&page, "/authorize", &[right[0], right[1], ("seal", "")])
            .await
            .status,
        403,
        "without a seal"
    );
    let mut fields = page.form("/authorize");
    fields.retain(|(name, _)| name != "address" && name != "password");
    fields.extend(right.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut body = reqwest::Url::parse("http://x/").unwrap();
    body.query_pairs_mut().extend_pairs(&fields);
    let cookie = cookie.unwrap();
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("cookie", cookie.as_str()),
            (name, value),
        ];
        let body = body.query().unwrap().to_owned();
        let answer = world.daemon.send(Method::POST, &world.url("/authorize"), &headers, body).await;
        assert_eq!(answer.status, 403, "{name}: {value}");
    }
    assert_eq!(
        browser.submit(&page, "/authorize", &right).await.status,
        303,
        "and as the page has it"
    );
}

#[tokio::test]
async fn nobody_is_sent_where_it_is_not_allowed() {
    let world = World::start(setup()).await;
    let mut browser = Browser::new(&[]);
    for (program, uri) in [
        (CLI, "http://localhost:59400/elsewhere"),
        (CLI, "https://evil.example/"),
        (CLI, crate::world::CALLBACK),
        (APP, "https://app.example.com/callback/x"),
        (APP, "http://localhost:59400/"),
    ] {
        let page = browser.open(&world.authorize(program, &[("redirect_uri", Some(uri))])).await;
        assert_eq!((page.status, page.headers.get("location")), (400, None), "{uri}");
    }
    for change in [
        ("code_challenge", None),
        ("code_challenge_method", None),
        ("code_challenge_method", Some("plain")),
    ] {
        let page = browser.open(&world.authorize(CLI, &[change])).await;
        assert_eq!(
            (page.status, page.parameter("error").as_deref()),
            (303, Some("invalid_request")),
            "{change:?}"
        );
    }
    let page = browser.open(&world.authorize(CLI, &[("code_challenge", None)])).await;
    assert_eq!(page.parameter("state").as_deref(), Some("st-1"));
    let page = browser.open(&world.authorize(CLI, &[])).await;
    let moved = [
        ("address", "ann@acme.example"),
        ("password", PASSWORD),
        ("redirect_uri", "https://evil.example/"),
    ];
    assert_eq!(
        browser.submit(&page, "/authorize", &moved).await.status,
        400,
        "nor by a changed form"
    );
    let out = browser
        .open(&world.url("/logout?client_id=perseat-cli&returnTo=https%3A%2F%2Fevil.example"))
        .await;
    assert_eq!((out.status, out.headers.get("location")), (200, None));
    let out = browser
        .open(&world.url("/logout?returnTo=https%3A%2F%2Fapp.example.com%2Fcallback"))
        .await;
    assert_eq!(out.location().as_str(), crate::world::CALLBACK);
}

#[tokio::test]
async fn attempts_of_one_client_and_for_one_account_are_limited() {
    let world = World::start(setup().set("sign-in.client-attempts", 6).set("sign-in.attempts-window", "1h")).await;
    // Setting ann's password took two of the six.
    let mut seen = Vec::new();
    for address in [
        "a@acme.example",
        "b@acme.example",
        "c@acme.example",
        "d@acme.example",
        "ann@acme.example",
    ] {
        seen.push(world.sign_in(CLI, address, PASSWORD).await.status);
    }
    assert_eq!(seen, [403, 403, 403, 403, 429]);
    let world = World::start(setup().set("sign-in.account-attempts", 1).set("sign-in.attempts-window", "1h")).await;
    assert_eq!(world.sign_in(CLI, "ann@acme.example", PASSWORD).await.status, 303);
    let again = world.sign_in(CLI, "Ann@acme.example", PASSWORD).await;
    assert_eq!((again.status, again.headers["retry-after"].to_str().unwrap()), (429, "60"));
    assert_eq!(
        world.sign_in(CLI, "bob@acme.example", PASSWORD).await.status,
        403,
        "others are not slowed down"
    );
    let huge = "x".repeat(20_000);
    let answer = world.token(&[("grant_type", &huge)]).await;
    assert_eq!(answer.status, 413);
    assert_eq!(
        refused(&world.token(&[("grant_type", "x"), ("client_id", "perseat-cli")]).await),
        "unsupported_grant_type"
    );
}

#[tokio::test]
async fn a_password_is_hashed_anew_at_the_next_sign_in_when_the_cost_has_changed() {
    let mut world = World::start(setup()).await;
    let anew = |acts: Vec<String>| acts.iter().filter(|act| *act == "hashPassword").count();
    assert_eq!(world.sign_in(CLI, "ann@acme.example", PASSWORD).await.status, 303);
    assert_eq!(anew(world.acts().await), 0);
    world.daemon.terminate();
    world.daemon.relaunch_with("--set=sign-in.hash-passes=3");
    world.daemon.until_ready();
    assert_eq!(world.sign_in(CLI, "ann@acme.example", "a wrong password").await.status, 403);
    assert_eq!(anew(world.acts().await), 0);
    for _ in 0..2 {
        assert_eq!(world.sign_in(CLI, "ann@acme.example", PASSWORD).await.status, 303);
        assert_eq!(anew(world.acts().await), 1);
    }
}
