//! What people are sent by mail, and what waits to be given back: links of letters, and tokens that a provider does not take.

use serde_json::json;

use crate::consent::{account, back, begin};
use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::harness::post_office::{PostOffice, link};
use crate::pages::{Visitor, disconnect};
use crate::planting::Seen;
use crate::world::World;

/// The secret of a link.
fn token(link: &str) -> String {
    let url: url::Url = link.parse().unwrap();
    let found = url.query_pairs().find(|(name, _)| name == "token");
    found.unwrap_or_else(|| panic!("no token in {link}")).1.into_owned()
}

/// Somebody asks for another password, whose letter is opened and not used.
pub(crate) async fn forgotten(seen: &mut Seen, world: &World, office: &PostOffice, address: &str) {
    let mut browser = Browser::new(&[]);
    let url = format!("http://{}/auth/forgot", world.daemon.address("api"));
    let page = browser.open(&url).await;
    let asked = browser.submit(&page, "/auth/forgot", &[("address", address)]).await;
    assert_eq!(asked.status, 200, "{}", asked.html);
    seen.page("forgotten", &asked);
    let letter = office.next();
    assert_eq!(letter["to"], json!([address]));
    let url = link(&letter);
    let secret = token(&url);
    let form = browser.open(&url).await;
    assert_eq!(form.status, 200, "{}", form.html);
    // The form hands the link's secret on.
    seen.answer("form of a forgotten password", form.html.replace(&secret, ""));
    seen.known("link of a forgotten password", &secret);
}

/// A member's grant ends, of which they are told by mail; they open the link and come back with a consent.
pub(crate) async fn told_by_mail(seen: &mut Seen, world: &World, office: &PostOffice, owner: &Api<'_>) {
    let listed = json!([{ "id": "lea-works", "name": "Lea" }]).to_string();
    world.provider.change(|manner| {
        manner.accounts.insert("lea".to_owned(), (200, listed));
    });
    let first = account(owner, "lea").await["authorizeUrl"].as_str().unwrap().to_owned();
    let mut browser = Browser::new(&[]);
    let mut consent = async |seen: &mut Seen, link: &str, which: &str| {
        let asked = begin(&mut browser, link).await;
        let code = world.provider.consent("lea", asked.clone());
        seen.known(&format!("{which} code of a member"), &code);
        seen.known(&format!("{which} state of a member"), &asked["state"]);
        let done = browser.open(&back(&asked, &[("code", &code)])).await;
        assert_eq!(done.status, 200, "{}", done.html);
        seen.page("a member's consent", &done);
    };
    consent(seen, &first, "first").await;
    world.provider.revoke("lea");
    world.provider.end_access("lea");
    let endpoints = world.daemon.endpoints("user=lea").await;
    let hook = endpoints.iter().find(|endpoint| endpoint.flow.as_deref() == Some("Work")).unwrap();
    let sent = world
        .daemon
        .post(&hook.url, &[("content-type", "application/json")], "{\"text\":\"work\"}")
        .await;
    let execution = sent.json()["executionId"].as_str().unwrap().to_owned();
    world.stands(&execution, "parked").await;
    let letter = office.next();
    assert_eq!(letter["to"], json!(["lea@globex.example"]));
    let url = link(&letter);
    seen.known("link of a notice by mail", &token(&url));
    let opened = Browser::new(&[]).open(&url).await;
    assert_eq!(opened.status, 303, "{}", opened.html);
    seen.page("a notice's link", &opened);
    consent(seen, opened.location().as_str(), "second").await;
    assert_eq!(world.ended(&execution).await["status"], "succeeded");
    for number in 1..=world.provider.chain("lea").newest {
        for kind in ["access", "refresh"] {
            seen.known(&format!("{kind} token {number} of lea"), &format!("{kind}-lea-{number}"));
        }
    }
}

/// One token is given up that its provider refuses, and another one that waits until the end.
pub(crate) async fn given_up(seen: &Seen, world: &World, admin: Visitor<'_>, user: Visitor<'_>, instance: &str) {
    world.provider.change(|manner| manner.revokes = Some((400, None)));
    disconnect(seen, admin, instance, "disconnect?connection=company").await;
    world.provider.until_like("/revoke", 1, |call| call.status == 400).await;
    world.daemon.log_line(&["is not taken back and may still be valid", "company"]);
    world.provider.change(|manner| manner.revokes = Some((503, None)));
    disconnect(seen, user, instance, "mine/disconnect?connection=account").await;
    let calls = world.provider.until_like("/revoke", 2, |call| call.status == 503).await;
    assert!(calls.iter().all(|call| call.form["token"].starts_with("refresh-ann-")), "{calls:?}");
}
