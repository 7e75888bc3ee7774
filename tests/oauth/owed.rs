//! Tokens that are given up are given back to their provider (RFC 7009): whatever gives them up, however often the daemon dies, and
//! whoever is gone by then.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use perseat_store::catalog::{Catalog, Options};
use perseat_store::custody::Custody;
use perseat_store::folder::Directory;
use perseat_store::keyring::{self, Keyring, MasterKey};
use serde_json::{Value, json};

use crate::consent::{account, account_by, back, begin, connect};
use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::harness::oauth::{Call, Stall};
use crate::registrations::{config, registration};
use crate::sharers;
use crate::world::{Plan, World};

pub(crate) fn plan<'a>(users: &'a [&'a str]) -> Plan<'a> {
    Plan {
        have_tokens: false,
        users,
        keys: &[("owed.look", "20ms"), ("oauth.fresh", "1ms")],
        ..Plan::default()
    }
}

pub(crate) fn given(calls: &[Call]) -> BTreeSet<&str> {
    calls.iter().map(|call| call.form["token"].as_str()).collect()
}

/// The id of whatever a query names, by a member of it.
async fn id_of(api: &Api<'_>, nodes: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let found = api.get(nodes, json!({})).await;
    let nodes = found["nodes"].as_array().unwrap().clone();
    nodes.iter().find(|node| is_it(node)).unwrap()["id"].clone()
}

/// What happened to a grant, tokens that were given back included.
fn happened(account: &Value) -> Vec<&str> {
    let events = account["grant"]["timeline"].as_array().unwrap().iter();
    events.map(|event| event["what"].as_str().unwrap()).collect()
}

pub(crate) async fn config_of(api: &Api<'_>, user: &str) -> Value {
    let found = api
        .get(
            "{ instances { nodes { userLevelConfigs { nodes { id user { name } } } } } }",
            json!({}),
        )
        .await;
    let nodes = found["nodes"][0]["userLevelConfigs"]["nodes"].as_array().unwrap().clone();
    let is_it = |node: &&Value| node["user"]["name"].as_str().unwrap().starts_with(user);
    nodes.iter().find(is_it).unwrap()["id"].clone()
}

pub(crate) async fn user(api: &Api<'_>, name: &str) -> Value {
    id_of(api, "{ users { nodes { id externalId } } }", |node| node["externalId"] == name).await
}

pub(crate) async fn delete(api: &Api<'_>, what: &str, id: &Value) {
    let query = format!("mutation ($i: ID) {{ delete{what}(input: {{id: $i}}) {{ errors {{ messages }} }} }}");
    api.get(&query, json!({ "i": id })).await;
}

pub(crate) async fn disconnect(api: &Api<'_>, user: &str) {
    let id = account(api, user).await["id"].clone();
    let query = "mutation ($i: ID) { disconnectUserLevelConnection(input: {id: $i}) { errors { messages } } }";
    api.get(query, json!({ "i": id })).await;
}

/// Waits until the grant of a user tells how giving a token back went.
async fn told(api: &Api<'_>, user: &str) -> Value {
    let mut look = tokio::time::interval(std::time::Duration::from_millis(10));
    let told = async {
        loop {
            look.tick().await;
            let shown = account(api, user).await;
            let has = |word: &str| shown["grant"]["timeline"].to_string().contains(word);
            if has("GIVEN_BACK") {
                return shown;
            }
        }
    };
    crate::harness::within("the end of giving a token back", told).await
}

/// What still waits in a data directory, or a backup of one; each with whether it opens with this keyring.
pub(crate) fn waiting(catalog: &std::path::Path, keyring: &std::path::Path, master: &std::path::Path) -> Vec<bool> {
    let folder = tempfile::tempdir().unwrap();
    let [at, keys] = ["catalog.redb", "keyring"].map(|name| folder.path().join(name));
    std::fs::copy(catalog, &at).unwrap();
    std::fs::copy(keyring, &keys).unwrap();
    let digits = std::fs::read_to_string(master).unwrap();
    let byte = |index: usize| u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).unwrap();
    let master = MasterKey::new(&std::array::from_fn(byte));
    let keyring = Keyring::open(&keys, master, &keyring::Options::default()).unwrap();
    let within = Arc::new(Directory::new(folder.path()));
    let (catalog, _) = Catalog::open_copy(within, "catalog.redb", Options::default(), &keyring).unwrap();
    let custody = Custody::resume(catalog.into(), keyring.into()).unwrap();
    let owed = custody.catalog().owed(None, 100).unwrap();
    owed.iter()
        .map(|(id, owed)| custody.open_owed(*id, owed).unwrap().is_some())
        .collect()
}

fn perseat(world: &World, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    let ran = command.args(arguments).arg("--data").arg(world.daemon.data()).output().unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_removes_a_users_connection_gives_its_token_back_once() {
    let mut world = World::start(&plan(&["ann", "bob", "cem", "dora"])).await;
    for user in ["ann", "bob", "cem", "dora"] {
        connect(&world, user).await;
    }
    let api = Api::program(&world.daemon, "owner").await;
    delete(&api, "UserLevelConfig", &config_of(&api, "ann").await).await;
    let calls = world.provider.until("/revoke", 1).await;
    assert_eq!(given(&calls), BTreeSet::from(["refresh-ann-1"]));
    assert_eq!(calls[0].form["token_type_hint"], "refresh_token");
    assert_eq!(
        (calls[0].form["client_id"].as_str(), calls[0].form["client_secret"].as_str()),
        ("the-client", crate::world::SECRET)
    );
    delete(&api, "User", &user(&api, "bob").await).await;
    world.provider.until("/revoke", 2).await;
    for user in ["cem", "dora"] {
        assert!(!world.provider.chain(user).is_revoked, "nobody else's");
    }
    let customer = id_of(&api, "{ customers { nodes { id externalId } } }", |node| {
        node["externalId"] == "globex"
    })
    .await;
    delete(&api, "Customer", &customer).await;
    let calls = world.provider.until("/revoke", 4).await;
    let all = BTreeSet::from(["refresh-ann-1", "refresh-bob-1", "refresh-cem-1", "refresh-dora-1"]);
    assert_eq!((given(&calls), calls.len()), (all, 4), "each once");
    let log = world.daemon.log();
    for secret in ["refresh-", crate::world::SECRET] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    drop(api);
    world.daemon.terminate();
    let data = world.daemon.data();
    let verified = Command::new(env!("CARGO_BIN_EXE_perseat"))
        .arg("verify")
        .arg(&data)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && !said.contains("keys of nobody"), "{said}");
    assert!(waiting(&data.join("catalog.redb"), &data.join("keyring"), &data.join("master-key")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_gives_back_its_own_token_and_its_users() {
    let world = World::start(&plan(&["ann"])).await;
    connect(&world, "ann").await;
    let api = Api::program(&world.daemon, "owner").await;
    let instance = id_of(&api, "{ instances { nodes { id } } }", |_| true).await;
    delete(&api, "Instance", &instance).await;
    assert_eq!(given(&world.provider.until("/revoke", 1).await), BTreeSet::from(["refresh-ann-1"]));

    // What a person supplied for the instance stays good until a renewal exchanged it: whoever supplied it has it, too.
    for is_used in [false, true] {
        let world = World::start(&Plan {
            is_user_level: false,
            have_tokens: true,
            ..plan(&["ann"])
        })
        .await;
        if is_used {
            let execution = world.send("ann", 1).await.remove(0);
            assert_eq!(world.ended(&execution).await["status"], "succeeded");
        }
        let api = Api::program(&world.daemon, "owner").await;
        let instance = id_of(&api, "{ instances { nodes { id } } }", |_| true).await;
        delete(&api, "Instance", &instance).await;
        if is_used {
            assert_eq!(
                given(&world.provider.until("/revoke", 1).await),
                BTreeSet::from(["refresh-company-2"])
            );
        } else {
            let mut daemon = world.daemon;
            daemon.terminate();
            let data = daemon.data();
            assert!(waiting(&data.join("catalog.redb"), &data.join("keyring"), &data.join("master-key")).is_empty());
            assert!(!world.provider.chain("company").is_revoked);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_connection_that_the_version_that_runs_does_not_have_is_given_back() {
    let plan = plan(&["ann"]);
    let world = World::start(&plan).await;
    connect(&world, "ann").await;
    let manifests = world.manifests(&plan);
    let next: Vec<String> = manifests
        .split("---\n")
        .filter(|text| text.contains("kind: Integration") || text.contains("kind: Instance"))
        .map(|text| text.replace("stableKey: account", "stableKey: another").replace("Account", "Other"))
        .collect();
    world.daemon.apply(&next.join("---\n")).await;
    let api = Api::program(&world.daemon, "owner").await;
    assert_eq!(
        account_by(&api, "ann", "Other").await["status"],
        "PENDING",
        "the connection is another one"
    );
    delete(&api, "UserLevelConfig", &config_of(&api, "ann").await).await;
    let calls = world.provider.until("/revoke", 1).await;
    assert_eq!(given(&calls), BTreeSet::from(["refresh-ann-1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_does_not_wait_for_the_provider_and_no_kill_forgets_what_it_has_to_be_told() {
    let mut world = World::start(&plan(&["ann", "bob"])).await;
    for user in ["ann", "bob"] {
        connect(&world, user).await;
    }
    world.provider.change(|manner| manner.revokes = Some((503, None)));
    let api = Api::program(&world.daemon, "owner").await;
    let ann = user(&api, "ann").await;
    delete(&api, "User", &ann).await;
    drop(api);
    world.provider.until("/revoke", 2).await;
    world.daemon.kill();
    let data = world.daemon.data();
    let [catalog, keyring, master] = ["catalog.redb", "keyring", "master-key"].map(|name| data.join(name));
    assert_eq!(
        waiting(&catalog, &keyring, &master),
        [true],
        "the user is gone, what is owed is not"
    );

    // A copy from in between, as a backup is one.
    let backup = world.daemon.folder().join("backup");
    world.daemon.restart();
    world.provider.until("/revoke", 3).await;
    perseat(&world, &["backup", backup.to_str().unwrap()]);
    let before = world.daemon.folder().join("before");
    perseat(&world, &["keyring", "export", before.to_str().unwrap()]);

    world.provider.change(|manner| manner.revokes = None);
    let done = world.provider.until_like("/revoke", 1, |call| call.status == 200).await;
    assert_eq!(given(&done), BTreeSet::from(["refresh-ann-1"]));
    world.daemon.until_said("a token was given back");
    assert!(world.daemon.metric("perseat_tokens_given_back_total").await >= 2.0);
    // Of another user, who comes after it in the same queue: once it is told of, the first is settled.
    let api = Api::program(&world.daemon, "owner").await;
    disconnect(&api, "bob").await;
    told(&api, "bob").await;
    drop(api);
    let after = world.daemon.folder().join("after");
    perseat(&world, &["keyring", "export", after.to_str().unwrap()]);
    let copy = backup.join("catalog.redb");
    assert_eq!(waiting(&copy, &before, &master), [true], "an older copy of the keyring undoes it");
    assert_eq!(
        waiting(&copy, &after, &master),
        [false],
        "the keyring from after does not open what waited"
    );
    world.daemon.terminate();
    assert!(waiting(&catalog, &keyring, &master).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_refuses_or_does_not_take_for_long_is_told_and_forgotten() {
    let mut world = World::start(&Plan {
        more_keys: vec![("owed.attempts", 3.into())],
        ..plan(&["ann", "bob", "cem"])
    })
    .await;
    for user in ["ann", "bob", "cem"] {
        connect(&world, user).await;
    }
    let api = Api::program(&world.daemon, "owner").await;
    world.provider.change(|manner| manner.revokes = Some((400, None)));
    disconnect(&api, "ann").await;
    let shown = told(&api, "ann").await;
    assert_eq!(happened(&shown), ["ISSUED", "DISCONNECTED", "NOT_GIVEN_BACK"]);
    assert_eq!(world.provider.calls("/revoke").len(), 1, "it is not asked again");
    world.provider.change(|manner| manner.revokes = Some((429, None)));
    disconnect(&api, "bob").await;
    let shown = told(&api, "bob").await;
    assert_eq!(happened(&shown), ["ISSUED", "DISCONNECTED", "NOT_GIVEN_BACK"]);
    assert_eq!(world.provider.calls("/revoke").len(), 1 + 3, "as often as it says");
    world.provider.change(|manner| manner.revokes = None);
    disconnect(&api, "cem").await;
    let shown = told(&api, "cem").await;
    assert_eq!(happened(&shown), ["ISSUED", "DISCONNECTED", "GIVEN_BACK"]);
    // A new consent comes after a disconnect, whatever was told in between.
    drop(api);
    connect(&world, "cem").await;
    let api = Api::program(&world.daemon, "owner").await;
    assert_eq!(happened(&account(&api, "cem").await).last(), Some(&"RECONNECTED"));
    drop(api);
    world.daemon.terminate();
    let catalog = Catalog::open(&world.daemon.data().join("catalog.redb"), Options::default()).unwrap();
    let audit = catalog.audit_after(0, 10_000).unwrap();
    let noted = audit.iter().filter(|entry| entry.action == "oauth2.notGivenBack").count();
    assert_eq!(noted, 2, "for support, who has no timeline of what is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_renewal_brings_for_a_connection_that_was_given_up_meanwhile_is_given_back() {
    let more = registration("Europe", "");
    let mut world = World::start(&Plan {
        more: &more,
        ..plan(&["ann", "bob", "cem"])
    })
    .await;
    for user in ["ann", "bob", "cem"] {
        connect(&world, user).await;
    }
    world.provider.change(|manner| manner.stalls = Some(Stall::Meanwhile));
    for (count, user) in ["ann", "bob", "cem"].into_iter().enumerate() {
        world.provider.end_access(user);
        world.send(user, 1).await;
        let is_renewal = |call: &Call| call.form.contains_key("refresh_token");
        world.provider.until_like("/token", count + 1, is_renewal).await;
    }
    let api = Api::program(&world.daemon, "owner").await;
    disconnect(&api, "ann").await;
    delete(&api, "User", &user(&api, "bob").await).await;
    world.daemon.apply(&config("cem", "{registration: Europe}")).await;
    // What they held before.
    world.provider.until("/revoke", 3).await;
    world.provider.change(|manner| manner.stalls = None);
    let calls = world.provider.until("/revoke", 6).await;
    let all = ["ann", "bob", "cem"].map(|user| [format!("refresh-{user}-1"), format!("refresh-{user}-2")]);
    assert_eq!(given(&calls), all.as_flattened().iter().map(String::as_str).collect());
    let cems: Vec<&Call> = calls.iter().filter(|call| call.form["token"].contains("cem")).collect();
    assert!(
        cems.iter().all(|call| call.form["client_id"] == "the-client"),
        "by whom it was given to: {cems:?}"
    );
    drop(api);
    world.daemon.terminate();
    let data = world.daemon.data();
    assert_eq!(
        waiting(&data.join("catalog.redb"), &data.join("keyring"), &data.join("master-key")),
        Vec::<bool>::new()
    );
}

/// Consents for ann as this person, whose token reaches one account.
async fn consent_as(world: &World, api: &Api<'_>, (person, at): (&str, &str)) {
    let listed = json!({ "accounts": [{ "id": at, "name": at }] }).to_string();
    world.provider.change(|manner| {
        manner.accounts.insert(person.to_owned(), (200, listed));
    });
    let link = account(api, "ann").await["authorizeUrl"].as_str().unwrap().to_owned();
    let mut browser = Browser::new(&[]);
    let asked = begin(&mut browser, &link).await;
    let code = world.provider.consent(person, asked.clone());
    let done = browser.open(&back(&asked, &[("code", &code)])).await;
    assert_eq!(done.status, 200, "{}", done.html);
}

const LISTING: &[(&str, &str)] = &[("accountsUrl", "PROVIDER/userinfo"), ("accountsPath", "accounts")];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_renewal_brings_while_somebody_consents_to_another_account_is_given_back() {
    let world = World::start(&Plan {
        inputs: LISTING,
        ..plan(&["ann"])
    })
    .await;
    let api = Api::program(&world.daemon, "owner").await;
    consent_as(&world, &api, ("ann", "globex")).await;
    world.provider.change(|manner| manner.stalls = Some(Stall::Meanwhile));
    world.provider.end_access("ann");
    let execution = world.send("ann", 1).await.remove(0);
    let is_renewal = |call: &Call| call.form.contains_key("refresh_token");
    world.provider.until_like("/token", 1, is_renewal).await;
    consent_as(&world, &api, ("eve", "initech")).await;
    world.provider.until("/revoke", 1).await;
    world.provider.change(|manner| manner.stalls = None);
    let calls = world.provider.until("/revoke", 2).await;
    assert_eq!(given(&calls), BTreeSet::from(["refresh-ann-1", "refresh-ann-2"]));
    assert_eq!(world.ended(&execution).await["status"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_to_another_account_gives_the_first_ones_token_back_and_one_to_the_same_does_not() {
    let world = World::start(&Plan {
        inputs: LISTING,
        ..plan(&["ann"])
    })
    .await;
    let api = Api::program(&world.daemon, "owner").await;
    for consent in [("ann", "globex"), ("ann", "globex"), ("eve", "initech")] {
        consent_as(&world, &api, consent).await;
    }
    let calls = world.provider.until("/revoke", 1).await;
    assert_eq!((given(&calls), calls.len()), (BTreeSet::from(["refresh-ann-2"]), 1));
    let shown = told(&api, "ann").await;
    assert_eq!(shown["status"], "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_consent_is_not_ended_by_giving_back_what_was_given_up_before() {
    let mut world = World::start(&plan(&["ann"])).await;
    connect(&world, "ann").await;
    world.provider.change(|manner| manner.revokes = Some((503, None)));
    let api = Api::program(&world.daemon, "owner").await;
    disconnect(&api, "ann").await;
    world.provider.until("/revoke", 1).await;
    drop(api);
    connect(&world, "ann").await;
    let api = Api::program(&world.daemon, "owner").await;
    world.provider.change(|manner| manner.revokes = None);
    let shown = told(&api, "ann").await;
    assert_eq!(shown["status"], "ACTIVE");
    assert_eq!(happened(&shown), ["ISSUED", "DISCONNECTED", "RECONNECTED", "NOT_GIVEN_BACK"]);
    drop(api);
    let execution = world.send("ann", 1).await.remove(0);
    assert_eq!(world.ended(&execution).await["status"], "succeeded");
    world.daemon.terminate();
    let data = world.daemon.data();
    assert!(waiting(&data.join("catalog.redb"), &data.join("keyring"), &data.join("master-key")).is_empty());
    let calls = world.provider.calls("/revoke");
    assert!(calls.iter().all(|call| call.status == 503), "it took none back: {calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_several_configurations_share_is_given_back_with_its_last_holder() {
    let world = sharers::start(&sharers::Plan {
        keys: &[("owed.look", "20ms")],
        ..sharers::Plan::of("user")
    })
    .await;
    for user in ["ann", "bob"] {
        sharers::all_succeed(&world, &sharers::send(&world, user, 2).await).await;
    }
    let api = Api::program(&world.daemon, "owner").await;
    let all = "{ instances { nodes { userLevelConfigs { nodes { id user { externalId } } } } } }";
    let found = api.get(all, json!({})).await;
    let instances = found["nodes"].as_array().unwrap().clone();
    let configs = instances
        .iter()
        .flat_map(|instance| instance["userLevelConfigs"]["nodes"].as_array().unwrap().clone());
    let of_ann: Vec<Value> = configs.filter(|config| config["user"]["externalId"] == "ann").collect();
    assert!(of_ann.len() > 1);
    for config in &of_ann {
        delete(&api, "UserLevelConfig", &config["id"]).await;
    }
    delete(&api, "User", &user(&api, "bob").await).await;
    let calls = world.provider.until("/revoke", 1).await;
    assert_eq!(
        given(&calls),
        BTreeSet::from(["refresh-bob-2"]),
        "ann may configure another instance with hers"
    );
    delete(&api, "User", &user(&api, "ann").await).await;
    let calls = world.provider.until("/revoke", 2).await;
    assert_eq!(
        (given(&calls), calls.len()),
        (BTreeSet::from(["refresh-ann-2", "refresh-bob-2"]), 2)
    );
}
