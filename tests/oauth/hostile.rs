//! What is sent back to the callback by somebody else, again, twice or otherwise than a browser does; and who may frame its pages.

use http::Method;

use crate::consent::{account, back, begin, unconnected};
use crate::harness::api::Api;
use crate::harness::browser::{Browser, Shown};
use crate::harness::post_office::{PostOffice, link};
use crate::world::{Plan, World};

async fn link_of(world: &World, user: &str) -> String {
    let api = Api::program(&world.daemon, "owner").await;
    account(&api, user).await["authorizeUrl"].as_str().unwrap().to_owned()
}

async fn status_of(world: &World, user: &str) -> String {
    let api = Api::program(&world.daemon, "owner").await;
    account(&api, user).await["status"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_another_persons_state_nor_another_persons_code_connects_anybody() {
    let plan = Plan {
        users: &["ann", "bob"],
        ..unconnected()
    };
    let world = World::start(&plan).await;
    let (ann, bob) = (link_of(&world, "ann").await, link_of(&world, "bob").await);

    // Bob lures ann to the end of his own consent: her browser has a cookie of its own, and his state is not hers.
    let (mut hers, mut his) = (Browser::new(&[]), Browser::new(&[]));
    begin(&mut hers, &ann).await;
    let lure = begin(&mut his, &bob).await;
    let code = world.provider.consent("bob", lure.clone());
    let seen = hers.open(&back(&lure, &[("code", &code)])).await;
    assert_eq!(seen.status, 403, "{}", seen.html);
    assert_eq!(his.open(&back(&lure, &[("code", &code)])).await.status, 400, "it is used up");
    assert_eq!(world.provider.calls("/token").len(), 0, "no code was exchanged");

    // A code with another state of the same browser: the provider sees that its verifier is another one's.
    let (first, second) = (begin(&mut hers, &ann).await, begin(&mut hers, &bob).await);
    let code = world.provider.consent("ann", first);
    let seen = hers.open(&back(&second, &[("code", &code)])).await;
    assert_eq!(seen.status, 502, "{}", seen.html);
    assert_eq!(
        (status_of(&world, "ann").await, status_of(&world, "bob").await),
        ("PENDING".into(), "PENDING".into())
    );

    // A code that was exchanged comes again with a state that was not.
    let asked = begin(&mut hers, &ann).await;
    let code = world.provider.consent("ann", asked.clone());
    assert_eq!(hers.open(&back(&asked, &[("code", &code)])).await.status, 200);
    let asked = begin(&mut hers, &bob).await;
    assert_eq!(hers.open(&back(&asked, &[("code", &code)])).await.status, 502);
    assert_eq!(
        (status_of(&world, "ann").await, status_of(&world, "bob").await),
        ("ACTIVE".into(), "PENDING".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callback_takes_what_a_browser_is_sent_back_with_once_and_by_get_alone() {
    let world = World::start(&unconnected()).await;
    let link = link_of(&world, "ann").await;
    let mut browser = Browser::new(&[]);
    let asked = begin(&mut browser, &link).await;
    let code = world.provider.consent("ann", asked.clone());
    let way = back(&asked, &[("code", &code)]);
    let cookie = browser.cookie.clone().unwrap();
    let (address, query) = way.split_once('?').unwrap();
    let form = [("content-type", "application/x-www-form-urlencoded"), ("cookie", cookie.as_str())];
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        for (url, body) in [(way.as_str(), ""), (address, query)] {
            let answer = world.daemon.send(method.clone(), url, &form, body.to_owned()).await;
            assert!(answer.status >= 400 && !answer.headers.contains_key("location"), "{method} {url}");
        }
    }
    for (twice, first) in [
        (format!("{way}&state=another"), false),
        (format!("{address}?state=another&{query}"), true),
        (format!("{way}&code=another"), false),
        (format!("{address}?code=another&{query}"), true),
        (format!("{way}&error=x&error=access_denied"), false),
    ] {
        let seen = browser.open(&twice).await;
        assert_eq!(seen.status, 400, "first: {first}, {}", seen.html);
        world.daemon.log_line(&["a consent failed", "a parameter comes twice"]);
    }
    for changed in [
        format!("{link}&connection=other"),
        link.replacen("connection=", "connection=other&connection=", 1),
    ] {
        assert_eq!(browser.open(&changed).await.status, 400, "{changed}");
    }
    assert_eq!(world.provider.calls("/token").len(), 0, "no code was exchanged");
    let seen = browser.open(&way).await;
    assert_eq!(seen.status, 200, "none of them spent the state: {}", seen.html);
}

/// Where the question before a consent sends its form.
const ASKED: &str = "/oauth2/authorize";

#[tokio::test(flavor = "multi_thread")]
async fn a_link_goes_on_by_a_click_alone_in_the_browser_that_was_asked_and_once() {
    let plan = Plan {
        users: &["ann", "bob"],
        ..unconnected()
    };
    let world = World::start(&plan).await;
    let link = link_of(&world, "bob").await;
    let form_url = format!("http://{}{ASKED}", world.daemon.address("api"));

    // Bob sends ann his link: her browser is sent nowhere, and she reads whose connection it is.
    let (mut hers, mut his) = (Browser::new(&[]), Browser::new(&[]));
    let question = hers.open(&link).await;
    assert_eq!(question.status, 200, "{}", question.html);
    assert!(!question.headers.contains_key("location") && !question.headers.contains_key("refresh"));
    let words = question.text();
    for name in ["Connect an account?", "Work", "bob", "globex"] {
        assert!(words.contains(name), "{name}: {words}");
    }
    kept_apart_but_for("the question", &question, "form-action 'self' https: ");

    // Without her cookie, or with his, her page's form goes nowhere; then it is used up.
    his.open(&link).await;
    for cookie in [None, his.cookie.clone()] {
        let form = hers.open(&link).await.form(ASKED);
        let mut other = Browser::new(&[]);
        other.cookie.clone_from(&cookie);
        let refused = other.post(&form_url, &form).await;
        assert_eq!(refused.status, 403, "{cookie:?}: {}", refused.html);
        kept_apart("the form of another browser", &refused);
        assert_eq!(hers.post(&form_url, &form).await.status, 400, "{cookie:?}: it is used up");
    }

    // No token, one that is made up, two of them, and one in the address.
    let form = hers.open(&link).await.form(ASKED);
    let guess = vec![("token".to_owned(), "guess".to_owned())];
    for wrong in [vec![], guess, [form.clone(), form.clone()].concat()] {
        let refused = hers.post(&form_url, &wrong).await;
        assert_eq!(refused.status, 400, "{wrong:?}: {}", refused.html);
    }
    let in_address = format!("{link}&token={}", form[0].1);
    assert_eq!(hers.open(&in_address).await.status, 400);
    assert_eq!(hers.post(&in_address, &[]).await.status, 400);

    // None of them spent it; it works once.
    let sent = hers.post(&form_url, &form).await;
    assert_eq!((sent.status, sent.location().path()), (303, "/authorize"), "{}", sent.html);
    let again = hers.post(&form_url, &form).await;
    assert_eq!(again.status, 400, "{}", again.html);
    assert_eq!(status_of(&world, "bob").await, "PENDING");
}

/// No page may stand in a frame, run a script, be kept, or tell where it came from; nor does any but a question have a form.
#[track_caller]
fn kept_apart(what: &str, shown: &Shown) {
    kept_apart_but_for(what, shown, "form-action 'none'");
}

#[track_caller]
fn kept_apart_but_for(what: &str, shown: &Shown, forms: &str) {
    let header = |name: &str| shown.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let is = |name: &str, value: &str| assert_eq!(header(name).as_deref(), Some(value), "{what}: {name}");
    is("x-content-type-options", "nosniff");
    is("referrer-policy", "no-referrer");
    is("cache-control", "no-store");
    is("x-frame-options", "DENY");
    let policy = header("content-security-policy").unwrap();
    for part in ["default-src 'none';", "frame-ancestors 'none'", "base-uri 'none'", forms] {
        assert!(policy.contains(part), "{what}: {policy}");
    }
    assert!(!policy.contains("script-src") && !policy.contains("unsafe"), "{what}: {policy}");
    assert!(!shown.html.contains("<script"), "{what}: {}", shown.html);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_of_a_consent_stands_in_a_frame() {
    let world = World::start(&unconnected()).await;
    let link = link_of(&world, "ann").await;
    let address = |path: &str| format!("http://{}{path}", world.daemon.address("api"));
    let mut browser = Browser::new(&[]);
    for (what, path) in [
        ("no link", "/oauth2/authorize"),
        ("no state", "/oauth2/callback"),
        ("no notice", "/oauth2/reconnect"),
        (
            "a notice of nothing",
            "/oauth2/reconnect?for=user&holder=00000000-0000-0000-0000-000000000001&connection=%3Cscript%3E&by=x&token=%3Cscript%3E",
        ),
    ] {
        let shown = browser.open(&address(path)).await;
        assert_eq!(shown.status, 400, "{what}: {}", shown.html);
        kept_apart(what, &shown);
    }
    for (what, answer, status) in [
        (
            "denied",
            &[("error", "access_denied"), ("error_description", "<script>alert(1)</script>")][..],
            400,
        ),
        ("refused", &[("error", "<script>alert(1)</script>")], 502),
        ("down", &[("error", "server_error")], 502),
    ] {
        let asked = begin(&mut browser, &link).await;
        let shown = browser.open(&back(&asked, answer)).await;
        assert_eq!(shown.status, status, "{what}: {}", shown.html);
        kept_apart(what, &shown);
    }
    let asked = begin(&mut browser, &link).await;
    let code = world.provider.consent("ann", asked.clone());
    let way = back(&asked, &[("code", &code)]);
    let shown = Browser::new(&[]).open(&way).await;
    assert_eq!(shown.status, 403);
    kept_apart("another browser", &shown);
    let asked = begin(&mut browser, &link).await;
    let code = world.provider.consent("ann", asked.clone());
    let shown = browser.open(&back(&asked, &[("code", &code)])).await;
    assert_eq!(shown.status, 200);
    kept_apart("done", &shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_adds_lines_links_or_markup_to_a_notice() {
    const GUS: &str = "kind: CustomerUser\ncustomer: globex\nname: \"gus\\u2028https://evil.example/\\u202E <b>x</b>\"\n\
         email: gus@globex.example\nexternalId: gus\nrole: admin\n---\n";
    let office = PostOffice::open("starttls", &[]);
    let plan = Plan {
        is_user_level: false,
        keys: &[("notices.look", "20ms"), ("oauth.fresh", "1ms")],
        more_keys: office.keys().into(),
        more: GUS,
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    world.provider.revoke("company");
    world.send("ann", 1).await;
    let letter = office.next();
    let content_type = letter["headers"]["Content-Type"].as_str().unwrap();
    assert!(content_type.starts_with("text/plain"), "{content_type}");
    let body = letter["body"].as_str().unwrap();
    assert!(body.contains("<b>x</b>"), "it is text, as it was written: {body}");
    assert!(!body.contains(['\u{2028}', '\u{202e}']), "{body:?}");
    let lines = body.lines().filter(|line| line.starts_with("http")).count();
    assert_eq!(lines, 1, "{body}");
    assert!(link(&letter).contains("/oauth2/reconnect?for=instance"), "{letter}");
    connect_company(&world, &letter).await;
}

/// The link of the letter still does what it is for.
async fn connect_company(world: &World, letter: &serde_json::Value) {
    let mut browser = Browser::new(&[]);
    let opened = browser.open(&link(letter)).await;
    assert_eq!(opened.status, 303, "{}", opened.html);
    let asked = begin(&mut browser, opened.location().as_str()).await;
    let code = world.provider.consent("company", asked.clone());
    assert_eq!(browser.open(&back(&asked, &[("code", &code)])).await.status, 200);
}
