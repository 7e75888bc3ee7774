//! Somebody is told that a connection has to be connected again: once, in time, and not without need.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::consent::{account, back, begin, connect};
use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::harness::post_office::{PostOffice, link};
use crate::harness::provider::{Manner, Provider, Record};
use crate::harness::within;
use crate::world::{Plan, World};

pub(crate) const GUS: &str =
    "kind: CustomerUser\ncustomer: globex\nname: gus of globex\nemail: gus@globex.example\nexternalId: gus\nrole: admin\n---\n";
const SECRET: &str = "canary-secret-of-the-webhook";

pub(crate) fn mailed(office: &PostOffice) -> Plan<'static> {
    Plan {
        keys: &[
            ("notices.look", "20ms"),
            ("notices.back-off", "20ms"),
            ("notices.back-off-max", "50ms"),
            ("oauth.fresh", "1ms"),
        ],
        more_keys: office.keys().into(),
        roles: &[("ann", "member"), ("bob", "member")],
        more: GUS,
        ..Plan::default()
    }
}

/// Waits until the account of a user is so.
pub(crate) async fn until(world: &World, user: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let api = Api::program(&world.daemon, "owner").await;
    let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
    let seen = async {
        loop {
            look.tick().await;
            let shown = account(&api, user).await;
            if is_so(&shown["grant"]) {
                return shown["grant"].clone();
            }
        }
    };
    within(what, seen).await
}

/// What happened to a grant, but for tokens that it held before and that are given back beside it.
pub(crate) fn words(grant: &Value) -> Vec<String> {
    let events = grant["timeline"].as_array().unwrap().iter();
    let words = events.map(|event| event["what"].as_str().unwrap().to_owned());
    words.filter(|word| word != "GIVEN_BACK").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_told_once_by_mail_and_what_waits_runs_after_its_link() {
    let office = PostOffice::open("starttls", &["--refuse", "1", "451"]);
    let mut world = World::start(&mailed(&office)).await;
    let first = world.send("ann", 1).await.remove(0);
    assert_eq!(world.ended(&first).await["status"], "succeeded");
    world.provider.revoke("ann");
    let executions = world.send("ann", 3).await;
    for execution in &executions {
        world.stands(execution, "parked").await;
    }
    assert!(office.next()["refused"].is_array(), "it is tried again");
    let letter = office.next();
    assert_eq!(letter["to"], json!(["ann@globex.example"]));
    assert_eq!(letter["subject"], "Work has to be connected again");
    let told = until(&world, "ann", "ann is told", |grant| grant["notice"]["toldAt"].is_string()).await;
    assert_eq!(words(&told)[words(&told).len() - 2..], ["ENDED", "TOLD"], "{told}");
    assert_eq!(told["forecast"]["kind"], "OVER");
    assert_eq!(
        (&told["uses"]["parked"], &told["uses"]["lastExecution"]),
        (&json!(3), &json!(first))
    );
    assert!(
        told["uses"]["parkedSince"].is_string() && told["uses"]["lastUsedAt"].is_string(),
        "{told}"
    );

    // Over a kill, and while more fails, nobody is told again: the next letter is another's.
    world.daemon.kill();
    world.daemon.restart();
    world.send("ann", 2).await;
    world.provider.revoke("bob");
    world.send("bob", 1).await;
    assert_eq!(office.next()["to"], json!(["bob@globex.example"]));

    // The link leads to the provider, as often as it is opened, until the connection is there again.
    let url = world.daemon_url(&link(&letter));
    let mut browser = Browser::new(&[]);
    assert_eq!(browser.open(&url).await.status, 303);
    let opened = browser.open(&url).await;
    let forged = browser.open(&format!("{}x", url)).await;
    assert_eq!((opened.status, forged.status), (303, 400));
    let asked = begin(&mut browser, opened.location().as_str()).await;
    let code = world.provider.consent("ann", asked.clone());
    assert_eq!(browser.open(&back(&asked, &[("code", &code)])).await.status, 200);
    for execution in &executions {
        assert_eq!(world.ended(execution).await["status"], "succeeded");
    }
    assert_eq!(browser.open(&url).await.status, 400, "it ends with the new consent");
    let again = until(&world, "ann", "ann is connected", |grant| grant["status"] == "ACTIVE").await;
    assert!(
        again["notice"].is_null() && words(&again).last().unwrap() == "RECONNECTED",
        "{again}"
    );
    assert_eq!(
        (&again["forecast"]["kind"], &again["uses"]["parked"]),
        (&json!("RENEWS"), &json!(0))
    );

    // Another end has another notice.
    world.provider.revoke("ann");
    world.provider.end_access("ann");
    world.send("ann", 1).await;
    let second = office.next();
    assert_eq!(second["to"], json!(["ann@globex.example"]));
    assert_ne!(second["headers"]["Message-ID"], letter["headers"]["Message-ID"]);
    let log = world.daemon.log();
    let token = url.split("token=").nth(1).unwrap();
    assert!(!log.contains(token), "the link is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_not_connected_again_is_named_to_their_admin_once_without_a_link() {
    let office = PostOffice::open("starttls", &[]);
    let mut plan = mailed(&office);
    plan.more_keys.push(("notices.escalate-after", "200ms".into()));
    let mut world = World::start(&plan).await;
    world.provider.revoke("ann");
    world.send("ann", 1).await;
    assert_eq!(office.next()["to"], json!(["ann@globex.example"]));
    let letter = office.next();
    assert_eq!(letter["to"], json!(["gus@globex.example"]));
    let body = letter["body"].as_str().unwrap();
    assert!(body.contains("ann of globex's connection") && !body.contains("http"), "{body}");
    // The notice and the timeline of one answer may be read at two moments.
    let told = until(&world, "ann", "the admin is told", |grant| {
        grant["notice"]["escalatedAt"].is_string() && words(grant).last().is_some_and(|word| word == "ESCALATED")
    })
    .await;
    assert_eq!(words(&told)[words(&told).len() - 3..], ["ENDED", "TOLD", "ESCALATED"], "{told}");
    world.daemon.kill();
    world.daemon.restart();
    world.send("ann", 1).await;
    world.provider.revoke("bob");
    world.send("bob", 1).await;
    assert_eq!(office.next()["to"], json!(["bob@globex.example"]), "nobody is told of ann again");
}

/// Waits until so many notices could not be dealt with.
async fn until_failed(world: &World, count: usize) {
    let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
    let failed = async {
        while world.daemon.log().matches("a notice could not be dealt with").count() < count {
            look.tick().await;
        }
    };
    within(&format!("failure {count} of a notice"), failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_while_it_cannot_be_written_down_and_then_once() {
    let mut office = PostOffice::open("starttls", &["--refuse", "1000000", "451", "--after", "1"]);
    let mut plan = mailed(&office);
    plan.more_keys.push(("notices.escalate-after", "200ms".into()));
    let world = World::start(&plan).await;
    world.provider.revoke("ann");
    world.send("ann", 1).await;
    assert_eq!(office.next()["to"], json!(["ann@globex.example"]));
    assert_eq!(office.next()["refused"], json!(["gus@globex.example"]), "it is the admin's turn");
    world.daemon.switch("exhaust-catalog", true).await;
    // An attempt that was written down before is over then.
    until_failed(&world, 1).await;
    office.away();
    office.back();
    // One of two attempts begins and ends while letters are taken.
    let failed = world.daemon.log().matches("a notice could not be dealt with").count();
    until_failed(&world, failed + 2).await;
    world.daemon.switch("exhaust-catalog", false).await;
    assert_eq!(office.next()["to"], json!(["gus@globex.example"]));
    world.provider.revoke("bob");
    world.send("bob", 1).await;
    assert_eq!(office.next()["to"], json!(["bob@globex.example"]), "nobody is told of ann again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_instance_holds_is_told_to_the_admins_of_its_customer() {
    let office = PostOffice::open("starttls", &[]);
    let plan = Plan {
        is_user_level: false,
        ..mailed(&office)
    };
    let world = World::start(&plan).await;
    world.provider.revoke("company");
    world.send("ann", 2).await;
    world.send("bob", 2).await;
    let letter = office.next();
    assert_eq!(letter["to"], json!(["gus@globex.example"]));
    assert!(link(&letter).contains("/oauth2/reconnect?for=instance"), "{letter}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_several_admins_has_a_link_that_no_further_attempt_ends() {
    let office = PostOffice::open("starttls", &["--refuse", "1", "451", "--after", "1"]);
    let second = GUS.replace("gus", "pam");
    let more = format!("{GUS}{second}");
    let plan = Plan {
        is_user_level: false,
        more: &more,
        ..mailed(&office)
    };
    let world = World::start(&plan).await;
    world.provider.revoke("company");
    world.send("ann", 1).await;
    let first = office.next();
    assert!(office.next()["refused"].is_array(), "the second is tried again");
    let second = office.next();
    assert_ne!(first["to"], second["to"]);
    let mut browser = Browser::new(&[]);
    for letter in [&first, &second] {
        let opened = browser.open(&world.daemon_url(&link(letter))).await;
        assert_eq!(opened.status, 303, "{}", letter["to"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_organization_alone_sets_is_told_to_its_own_people() {
    const OLGA: &str = "kind: OrganizationUser\nname: olga\nemail: olga@acme.example\nrole: admin\n---\n";
    for (is_user_level, account) in [(false, "company"), (true, "ann")] {
        let office = PostOffice::open("starttls", &[]);
        let more = format!("{GUS}{OLGA}");
        let plan = Plan {
            is_user_level,
            is_org_only: true,
            more: &more,
            ..mailed(&office)
        };
        let world = World::start(&plan).await;
        world.provider.revoke(account);
        world.send("ann", 2).await;
        let letter = office.next();
        assert_eq!(letter["to"], json!(["olga@acme.example"]), "{account}");
        assert!(link(&letter).contains("/oauth2/reconnect?"), "{letter}");
    }
}

/// What a post says, if its signature fits.
#[track_caller]
fn signed(record: &Record) -> Value {
    let header = record.headers["perseat-signature"].to_str().unwrap();
    let (time, tag) = header.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let tag: Vec<u8> = (0..tag.len() / 2)
        .map(|at| u8::from_str_radix(&tag[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let text = [format!("{time}.").as_bytes(), &record.body].concat();
    hmac::verify(&key, &text, &tag).unwrap();
    record.json()
}

/// The keys of a daemon that posts there; its secret is in the folder.
fn posted(organization: &Provider, folder: &Path) -> [(&'static str, toml::Value); 2] {
    let path = folder.join("secret");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    [
        ("notices.webhook", organization.url("/notices").into()),
        ("notices.webhook-secret", path.display().to_string().into()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_users_notice_is_posted_signed_until_it_is_taken() {
    let organization = Provider::start().await;
    organization.set(Manner::FailFirst(2));
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        keys: &[
            ("notices.look", "20ms"),
            ("notices.back-off", "20ms"),
            ("notices.back-off-max", "50ms"),
            ("notices.escalate-after", "1s"),
        ],
        more_keys: posted(&organization, folder.path()).into(),
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    world.provider.revoke("ann");
    world.send("ann", 2).await;
    let records = organization.until(4).await;
    let said: Vec<Value> = records.iter().map(signed).collect();
    assert!(
        said[..3]
            .iter()
            .all(|one| one["id"] == said[0]["id"] && one["type"] == "connection.reconnect")
    );
    assert_eq!(records[0].headers["perseat-notice"], said[0]["id"].as_str().unwrap());
    let told = &said[2];
    assert_eq!(
        (
            &told["user"]["externalId"],
            &told["customer"]["externalId"],
            &told["connection"],
            &told["reason"]
        ),
        (&json!("ann"), &json!("globex"), &json!("Account"), &json!("invalid_grant"))
    );
    assert_eq!(
        (&said[3]["type"], &said[3]["reconnectUrl"]),
        (&json!("connection.reconnect.escalated"), &json!(null))
    );
    let urls: Vec<&str> = said[..3].iter().map(|one| one["reconnectUrl"].as_str().unwrap()).collect();
    let mut browser = Browser::new(&[]);
    assert_eq!(
        browser.open(urls[0]).await.status,
        400,
        "an attempt ends the link of the one before"
    );
    assert_eq!(browser.open(urls[2]).await.status, 303);
    connect(&world, "ann").await;
    assert_eq!(browser.open(urls[2]).await.status, 400);
    let log = world.daemon.log();
    let token = urls[2].split("token=").nth(1).unwrap();
    assert!(!log.contains(SECRET) && !log.contains(token), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_says_nothing_holds_up_no_post() {
    let (silent, organization) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Provider::start().await);
    let folder = tempfile::tempdir().unwrap();
    let mut more_keys = posted(&organization, folder.path()).to_vec();
    more_keys.extend([
        ("mail.host", "127.0.0.1".into()),
        ("mail.port", i64::from(silent.local_addr().unwrap().port()).into()),
        ("mail.security", "none".into()),
        ("mail.from", "Perseat <perseat@acme.example>".into()),
        // Longer than anything is waited for here: a letter is over once its connection is closed.
        ("mail.timeout", "10m".into()),
    ]);
    let plan = Plan {
        keys: &[("notices.look", "20ms")],
        more_keys,
        users: &["ann", "bob", "cat", "eve"],
        roles: &[("ann", "member"), ("bob", "member"), ("cat", "member")],
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let ends = async |user| {
        world.provider.revoke(user);
        let execution = world.send(user, 1).await.remove(0);
        world.stands(&execution, "parked").await;
    };
    ends("ann").await;
    let first = within("the first letter", silent.accept()).await.unwrap();
    // These come due together, and eve's notice last.
    for user in ["bob", "cat", "eve"] {
        ends(user).await;
    }
    drop(first);
    let second = within("the second letter", silent.accept()).await.unwrap();
    drop(second);
    let record = organization.until(1).await.remove(0);
    assert_eq!(signed(&record)["user"]["externalId"], "eve", "no other letter was waited for");
}
