//! Invitations and forgotten passwords by e-mail.

use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::harness::post_office::{PASSWORD, PostOffice, link};
use crate::harness::within;
use crate::users::{INVITE, create, customer};
use crate::world::{CLI, World, setup};
use http::Method;
use serde_json::{Value, json};

/// Waits until the audit names an act.
async fn until(world: &World, act: &str) {
    within(act, async { while !world.acts().await.iter().any(|known| known == act) {} }).await;
}

#[tokio::test]
async fn a_new_user_gets_an_invitation_by_mail_and_embedded_users_get_none() {
    let office = PostOffice::open("tls", &["perseat", PASSWORD]);
    let setup = office
        .setup(setup())
        .set("mail.user", "perseat")
        .set("mail.password", office.password(PASSWORD));
    let mut world = World::start(setup.set("log.level", "trace")).await;
    let owner = Api::program(&world.daemon, "owner").await;
    let (globex, role) = customer(&owner, "Globex").await;
    let jane = create(&owner, &globex, "jane@globex.example", &role("Marketplace User")).await;
    assert!(jane["invitationUrl"].is_null());
    let hans = create(&owner, &globex, "hans@globex.example", &role("Admin")).await;
    assert!(hans["invitationUrl"].is_null(), "nobody but hans gets the link: {hans}");
    let letter = office.next();
    assert_eq!(letter["to"], json!(["hans@globex.example"]), "and jane gets none");
    assert_eq!(letter["subject"], "Your invitation to Acme");
    assert_eq!((&letter["tls"], &letter["signed_in"]), (&json!(true), &json!(true)));
    assert_eq!(letter["headers"]["From"], "Perseat <perseat@acme.example>");
    assert_eq!(letter["headers"]["Auto-Submitted"], "auto-generated");
    until(&world, "sendLetter").await;

    // Once more, by mail and, for whoever invites, in the answer.
    let again = owner.get(INVITE, json!({ "i": hans["user"]["id"] })).await;
    assert!(again["invitationUrl"].is_null());
    let second = link(&office.next());
    let show = "mutation ($i: ID) { inviteUser(input: {id: $i, showLink: true}) { invitationUrl errors { messages } } }";
    let shown = owner.get(show, json!({ "i": hans["user"]["id"] })).await;
    let shown = shown["invitationUrl"].as_str().unwrap().to_owned();
    world.set_password(&link(&letter), "the password of hans").await;
    let mut browser = Browser::new(&[]);
    for used in [&link(&letter), &second, &shown] {
        assert_eq!(browser.open(used).await.status, 404, "one that is used ends all");
    }
    let refused = owner.ask(show, json!({ "i": hans["user"]["id"] })).await.to_string();
    assert!(refused.contains("has a password"), "{refused}");
    owner.get(INVITE, json!({ "i": hans["user"]["id"] })).await;
    assert_eq!(office.next()["subject"], "A new password for Acme");

    let organization = owner.get("{ organizationRoles { id name } }", json!({})).await;
    let guest = organization
        .as_array()
        .unwrap()
        .iter()
        .find(|role| role["name"] == "Guest")
        .unwrap();
    let query = "mutation ($r: ID!) { createOrganizationUser(input: {email: \"gast@acme.example\", role: $r})
        { invitationUrl errors { messages } } }";
    assert!(owner.get(query, json!({ "r": guest["id"] })).await["invitationUrl"].is_null());
    assert_eq!(office.next()["to"], json!(["gast@acme.example"]));

    let audit = world.daemon.local(Method::GET, "/audit?after=0", None).await.unwrap().to_string();
    let log = world.daemon.log();
    world.daemon.terminate();
    let catalog = std::fs::read(world.daemon.data().join("catalog.redb")).unwrap();
    let catalog = String::from_utf8_lossy(&catalog);
    assert!(catalog.contains("hans@globex.example") && log.contains("a letter was sent"));
    let secret = |link: &str| link.split("token=").nth(1).unwrap().to_owned();
    for canary in [secret(&link(&letter)), secret(&second), secret(&shown), PASSWORD.to_owned()] {
        assert!(
            !log.contains(&canary) && !audit.contains(&canary) && !catalog.contains(&canary),
            "{canary} is kept"
        );
    }
}

#[tokio::test]
async fn a_letter_outlives_the_servers_trouble_and_the_daemons_death() {
    let mut office = PostOffice::open("starttls", &["--refuse", "2", "451"]);
    let setup = office.setup(setup()).set("mail.back-off", "10ms").set("mail.back-off-max", "50ms");
    let mut world = World::start(setup).await;
    let (hans, grete) = ("hans@globex.example", "grete@globex.example");
    {
        let owner = Api::program(&world.daemon, "owner").await;
        let (globex, role) = customer(&owner, "Globex").await;
        create(&owner, &globex, hans, &role("Member")).await;
        for _ in 0..2 {
            assert_eq!(office.next()["refused"], json!([hans]));
        }
        let letter = office.next();
        assert_eq!((&letter["to"], &letter["tls"]), (&json!([hans]), &json!(true)));
        world.set_password(&link(&letter), "the password of hans").await;

        // With nobody to take it the letter waits, over a kill.
        office.away();
        create(&owner, &globex, grete, &role("Member")).await;
        world.daemon.log_line(&["a letter was not sent", "\"attempts\":2", "put-off"]);
    }
    world.daemon.kill();
    office.back();
    world.daemon.restart();
    let letter = office.next();
    assert_eq!(letter["to"], json!([grete]));
    world.set_password(&link(&letter), "the password of grete").await;
    assert_eq!(world.sign_in(CLI, grete, "the password of grete").await.status, 303);
}

#[tokio::test]
async fn a_letter_that_is_refused_for_good_is_given_up_and_can_be_written_again() {
    let office = PostOffice::open("starttls", &["--refuse", "1", "550"]);
    let world = World::start(office.setup(setup()).set("mail.invitations", 2)).await;
    let owner = Api::program(&world.daemon, "owner").await;
    let (globex, role) = customer(&owner, "Globex").await;
    let hans = create(&owner, &globex, "hans@globex.example", &role("Member")).await;
    assert!(office.next()["refused"].is_array());
    until(&world, "giveUpLetter").await;
    world.daemon.log_line(&["a letter was not sent", "given-up"]);
    owner.get(INVITE, json!({ "i": hans["user"]["id"] })).await;
    let letter = office.next();
    assert_eq!(letter["to"], json!(["hans@globex.example"]));
    let third = owner.ask(INVITE, json!({ "i": hans["user"]["id"] })).await.to_string();
    assert!(
        third.contains("many letters lately"),
        "nobody's letter box is filled from here: {third}"
    );
    let (initech, _) = customer(&owner, "Initech").await;
    let other = create(&owner, &initech, "Hans@globex.example", &role("Member")).await;
    assert!(other["invitationUrl"].is_string(), "whoever is new is made all the same: {other}");
    world.set_password(&link(&letter), "the password of hans").await;
    let page = String::from_utf8(world.daemon.admin("/metrics").await.body.to_vec()).unwrap();
    assert!(page.contains("perseat_mail_letters_total{outcome=\"given-up\"} 1"), "{page}");
}

#[tokio::test]
async fn no_letter_and_no_password_goes_to_a_server_that_is_not_the_right_one() {
    let (office, other) = (PostOffice::open("starttls", &["perseat", PASSWORD]), PostOffice::open("tls", &[]));
    let known = || office.setup(setup()).set("mail.user", "perseat");
    let strange = World::start(
        known()
            .set("mail.password", office.password(PASSWORD))
            .set("mail.certificates", other.certificate()),
    );
    let wrong = World::start(known().set("mail.password", other.password("another password")));
    for (world, why) in [(strange.await, "ertificate"), (wrong.await, "535")] {
        let owner = Api::program(&world.daemon, "owner").await;
        let (globex, role) = customer(&owner, "Globex").await;
        create(&owner, &globex, "hans@globex.example", &role("Member")).await;
        let line = world.daemon.log_line(&["a letter was not sent"]);
        assert!(line.contains(why) && line.contains("put-off"), "it waits for the operator: {line}");
    }
    assert!(office.is_silent());
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_by_mail_and_nobody_learns_who_has_an_account() {
    let office = PostOffice::open("starttls", &[]);
    let world = World::start(office.setup(setup()).set("sign-in.resets", 1).set("sign-in.failures", 2)).await;
    for _ in 0..2 {
        world.sign_in(CLI, "ann@acme.example", "a wrong password").await;
    }
    let mut browser = Browser::new(&[]);
    let page = browser.open(&world.authorize(CLI, &[])).await;
    assert!(page.html.contains("href=\"/auth/forgot\""), "{}", page.html);
    let page = browser.open(&world.url("/auth/forgot")).await;
    let mut answers = Vec::new();
    for address in ["nobody@acme.example", "Ann@acme.example"] {
        let shown = browser.submit(&page, "/auth/forgot", &[("address", address)]).await;
        answers.push((shown.status, shown.html));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].0, 200);
    let letter = office.next();
    assert_eq!(letter["to"], json!(["ann@acme.example"]));
    assert_eq!(letter["subject"], "A new password for Acme");
    let again = browser.submit(&page, "/auth/forgot", &[("address", "ann@acme.example")]).await;
    assert_eq!((again.status, again.html), answers[0], "beyond sign-in.resets nobody is told");
    world.set_password(&link(&letter), "a password to remember").await;
    assert_eq!(browser.open(&link(&letter)).await.status, 404, "it works once");
    assert_eq!(
        world.sign_in(CLI, "ann@acme.example", "a password to remember").await.status,
        303,
        "and lifts the lock"
    );

    let forged = browser
        .submit(&page, "/auth/forgot", &[("address", "ann@acme.example"), ("seal", "1.x")])
        .await;
    assert_eq!(forged.status, 403);
    // The next letter is another's: ann got no second one.
    let owner = Api::program(&world.daemon, "owner").await;
    let (globex, role) = customer(&owner, "Globex").await;
    create(&owner, &globex, "hans@globex.example", &role("Member")).await;
    assert_eq!(office.next()["to"], json!(["hans@globex.example"]));
    let asked = world.acts().await.iter().filter(|act| *act == "requestReset").count();
    assert_eq!(asked, 1, "a stranger's address writes nothing");
}

#[tokio::test]
async fn strangers_addresses_take_no_letter_from_whoever_forgot_their_password() {
    let office = PostOffice::open("starttls", &[]);
    let setup = setup().set("sign-in.remembered", 4);
    // Attempts come back at once; letters do not.
    let setup = setup
        .set("sign-in.client-attempts", 1_000_000)
        .set("sign-in.account-attempts", 1_000_000);
    let world = World::start(office.setup(setup.set("sign-in.attempts-window", "1s"))).await;
    let mut browser = Browser::new(&[]);
    let page = browser.open(&world.url("/auth/forgot")).await;
    let strangers = (0..8).map(|number| format!("nobody-{number}@acme.example"));
    for address in strangers.chain(["ann@acme.example".to_owned()]) {
        let shown = browser.submit(&page, "/auth/forgot", &[("address", &address)]).await;
        assert_eq!(shown.status, 200, "{address}");
    }
    assert_eq!(office.next()["to"], json!(["ann@acme.example"]));
}

#[tokio::test]
async fn without_a_mail_server_nobody_is_promised_mail() {
    let world = World::start(setup()).await;
    let mut browser = Browser::new(&[]);
    let page = browser.open(&world.authorize(CLI, &[])).await;
    assert!(!page.html.contains("/auth/forgot"), "{}", page.html);
    assert_eq!(browser.open(&world.url("/auth/forgot")).await.status, 404);
    let fields = [("address".to_owned(), "ann@acme.example".to_owned())];
    assert_eq!(browser.post(&world.url("/auth/forgot"), &fields).await.status, 404);
    let acts: Value = world.acts().await.into();
    assert!(!acts.to_string().contains("requestReset"));
}
