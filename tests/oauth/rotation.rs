//! The key of a customer is rotated while a connection that the customer shares is renewed, and while a backup is taken.

use std::path::Path;
use std::process::{Command, Stdio};

use http::Method;
use perseat_domain::id::CustomerId;
use perseat_store::catalog::{Catalog, Lookup as _, Options, is_sharing_stale, is_stale};
use serde_json::json;

use crate::harness::api::Api;
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::oauth::{Manner, Oauth, first_tokens};
use crate::registrations::registration;
use crate::sharers::{Plan, all_succeed, integration, send, spent, start};
use crate::world::{self, SECRET, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_a_customer_shares_is_renewed_once_beside_each_rotation_of_the_customers_key() {
    let plan = Plan {
        manner: Manner {
            lifetime: None,
            ..Manner::default()
        },
        keys: &[
            ("oauth.fresh", "1ms"),
            ("keyring.rotation-settle", "1ms"),
            ("keyring.rotation-look", "20ms"),
        ],
        ..Plan::of("customer")
    };
    let mut world = start(&plan).await;
    for user in ["ann", "carl"] {
        all_succeed(&world, &send(&world, user, 3).await).await;
    }
    let before = spent(&world).len();
    for round in 1..=5 {
        world.provider.end_access("globex");
        let data = world.daemon.data();
        let rotation = tokio::task::spawn_blocking(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
            command
                .args(["keys", "rotate", "--customer", "globex", "--data"])
                .arg(data)
                .output()
                .unwrap()
        });
        let (anns, bobs, carls, rotated) =
            tokio::join!(send(&world, "ann", 60), send(&world, "bob", 60), send(&world, "carl", 20), rotation);
        let rotated = rotated.unwrap();
        assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
        all_succeed(&world, &[anns, bobs, carls].concat()).await;
        assert_eq!(spent(&world).len(), before + round, "{:?}", spent(&world));
    }
    assert!(!world.provider.chain("globex").was_reused);
    world.daemon.terminate();
    let data = world.daemon.data();
    let verified = Command::new(env!("CARGO_BIN_EXE_perseat"))
        .arg("verify")
        .arg(&data)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned() + &String::from_utf8_lossy(&verified.stderr);
    assert!(
        verified.status.success() && said.contains("all opened with the master key"),
        "{said}"
    );
}

/// The whole of a customer, in one: an instance's own grant, an app registration with a secret, a connection that the customer shares with
/// its grant, an API key and a file.
async fn whole() -> World {
    let europe = registration("Europe", "");
    let world = World::start(&world::Plan {
        is_user_level: false,
        more: &europe,
        more_keys: vec![
            ("keyring.rotation-batch", 1.into()),
            ("keyring.rotation-settle", "1ms".into()),
            ("keyring.rotation-look", "20ms".into()),
        ],
        ..world::Plan::default()
    })
    .await;
    world.provider.allow("globex");
    let desk = integration("Desk", false).replace("- name: Work\n", "- name: Work\n      endpointSecurityType: customer_optional\n");
    let url = |path| world.provider.url(path);
    let shared = format!(
        "kind: SharedConnection\nname: CRM\nstableKey: crm\nsharing: customer\ncomponent: http\nconnection: oauth2\nfields:\n  tokenUrl: {:?}\n  authorizeUrl: {:?}\n  clientId: the-client\n  clientSecret: {SECRET}\n---\n\
         kind: SharedConnectionValue\nconnection: crm\ncustomer: globex\ntoken: {}\n---\n",
        url("/token"),
        url("/authorize"),
        first_tokens("globex")
    );
    let instance = format!(
        "kind: Instance\nname: Desk\ncustomer: globex\nintegration: Desk\napiKeys: {{Work: [key-of-globex]}}\nconfigVars:\n  Provider: {:?}\n---\n\
         kind: UserLevelConfig\ncustomer: globex\ninstance: Desk\nuser: ann\nconfigVars: {{Folder: /ann}}\n---\n",
        url("")
    );
    world.daemon.apply(&(shared + &desk + &instance)).await;
    let owner = Api::program(&world.daemon, "owner").await;
    let found = owner.get("{ customers { nodes { id } } }", json!({})).await;
    let customer = found["nodes"][0]["id"].clone();
    let permit = "query ($o: ID!) { uploadMedia(objectId: $o, fileName: \"contract.txt\", mediaType: ATTACHMENT) { uploadUrl objectUrl } }";
    let permitted = owner.get(permit, json!({ "o": customer })).await;
    let put = permitted["uploadUrl"].as_str().unwrap();
    assert_eq!(world.daemon.send(Method::PUT, put, &[], "what was agreed").await.status, 200);
    let attach = "mutation ($c: ID!, $u: String!) { updateCustomer(input: {id: $c, addAttachment: {name: \"contract.txt\", url: $u}}) { customer { id } errors { messages } } }";
    owner.get(attach, json!({ "c": customer, "u": permitted["objectUrl"] })).await;
    drop(owner);
    world
}

/// An event of ann's to either instance comes to its provider; the API key lets her in, and another does not.
async fn both_work(daemon: &Daemon, provider: &Oauth) {
    for instance in ["Work", "Desk"] {
        let endpoints = daemon.endpoints(&format!("user=ann&instance={instance}")).await;
        let url = daemon.hook(&endpoints[0].url);
        let before = provider.calls("/work").len();
        let send = async |key: &str| {
            let headers = [("content-type", "application/json"), ("api-key", key)];
            daemon.post(&url, &headers, "{}").await.status
        };
        if instance == "Desk" {
            assert_eq!(send("another").await, 401);
        }
        assert_eq!(send("key-of-globex").await, 200);
        let calls = provider.until("/work", before + 1).await;
        assert_eq!(calls[before].status, 200, "{instance}: {:?}", calls[before]);
    }
}

fn perseat(data: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    let ran = command.args(arguments).arg("--data").arg(data).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{arguments:?}: {said}");
    said
}

/// How many sealed values open; the file does, too.
fn opened(said: &str) -> u64 {
    assert!(
        said.contains("everything fits") && said.contains("1 files as their records say") && said.contains("1 opened"),
        "{said}"
    );
    let before = said.split(" sealed connections").next().unwrap();
    before
        .rsplit(|letter: char| !letter.is_ascii_digit())
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_from_amid_a_rotation_restores_and_opens_everything_and_so_does_what_the_rotation_ends_with() {
    let mut world = whole().await;
    both_work(&world.daemon, &world.provider).await;
    let data = world.daemon.data();
    let id: CustomerId = {
        let api = Api::program(&world.daemon, "owner").await;
        let found = api.get("{ customers { nodes { id } } }", json!({})).await;
        found["nodes"][0]["id"].as_str().unwrap().parse().unwrap()
    };

    world.daemon.switch("hold:records-resealed:1", true).await;
    let begun = Command::new(env!("CARGO_BIN_EXE_perseat"))
        .args(["keys", "rotate", "--customer", "globex", "--data"])
        .arg(&data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    world.daemon.log_line(&["held", "records-resealed"]);
    let [backup, keyring, key] = ["backup", "keyring-amid", "data/master-key"].map(|name| world.daemon.folder().join(name));
    let [backup, keyring, key] = [&backup, &keyring, &key].map(|path| path.to_str().unwrap());
    perseat(&data, &["backup", backup]);
    perseat(&data, &["keyring", "export", keyring]);
    let none = world.daemon.folder().join("none");
    let amid = perseat(&none, &["verify", backup, "--keyring", keyring, "--master-key", key]);
    world.daemon.kill();
    begun.unwrap().wait().unwrap();

    world.daemon.restart();
    world.daemon.log_line(&["seals all that is in use"]);
    both_work(&world.daemon, &world.provider).await;
    world.daemon.terminate();
    let after = perseat(&data, &["verify", data.to_str().unwrap()]);
    assert!(after.contains("all opened with the master key"), "{after}");
    assert_eq!(opened(&after), opened(&amid));
    {
        let catalog = Catalog::open(&data.join("catalog.redb"), Options::default()).unwrap();
        let view = catalog.view().unwrap();
        for instance in view.instances_of_customer(id, None, 10).unwrap().items {
            assert!(
                !is_stale(&view, &instance, 2).unwrap() && is_stale(&view, &instance, 1).unwrap(),
                "{}",
                instance.name
            );
        }
        assert!(!is_sharing_stale(&view, id, 2).unwrap() && is_sharing_stale(&view, id, 1).unwrap());
    }

    // What was taken amid it opens with it, and says whose refresh tokens it may have from before: none is spent again.
    let mut said = String::new();
    let setup = Setup::new()
        .allow(&[world.provider.address()])
        .set("keyring.rotation-settle", "1ms");
    let restored = Daemon::launch_on(setup, |to| {
        std::fs::create_dir(to).unwrap();
        std::fs::copy(key, to.join("master-key")).unwrap();
        said = perseat(to, &["restore", backup, "--keyring", keyring, "--resume"]);
    });
    restored.until_ready();
    restored.log_line(&["seals all that is in use"]);
    let at_risk: Vec<&str> = said.split("refresh tokens").nth(1).unwrap().lines().collect();
    let row = |connection: &str| {
        at_risk
            .iter()
            .find(|line| line.trim_end().ends_with(connection))
            .copied()
            .unwrap_or_default()
    };
    assert!(row("Account").contains("globex Inc") && row("Account").contains("Work"), "{said}");
    assert!(
        row("CRM").contains("globex Inc") && !row("CRM").contains("Desk"),
        "the customer's, of no instance: {said}"
    );
    assert!(said.contains("2 of these may have been exchanged"), "{said}");
    world.daemon = restored;
    for instance in ["Work", "Desk"] {
        let endpoints = world.daemon.endpoints(&format!("user=ann&instance={instance}")).await;
        let url = world.daemon.hook(&endpoints[0].url);
        let headers = [("content-type", "application/json"), ("api-key", "key-of-globex")];
        let answer = world.daemon.post(&url, &headers, "{}").await;
        assert_eq!(answer.status, 200, "{instance}");
        world.stands(answer.json()["executionId"].as_str().unwrap(), "parked").await;
    }
    world.daemon.terminate();
    let again = perseat(&world.daemon.data(), &["verify", world.daemon.data().to_str().unwrap()]);
    assert_eq!(opened(&again), opened(&amid));
    assert!(
        world.provider.calls("/token").iter().all(|call| call.status == 200),
        "no refresh token was spent twice"
    );
}
