//! The next version of a customer's key, for a daemon that takes events and that dies on the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use perseat_domain::id::CustomerId;
use perseat_domain::model::{ConfigValue, Customer, Instance, Sealed, connection_record_id};
use perseat_store::catalog::{Catalog, Lookup as _, Options};
use perseat_store::keyring::{Keyring, Owner};
use perseat_store::seal::{RecordKind, version_of};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::manifests::{Integration, flow, people, post, token};
use crate::harness::provider::Provider;
use crate::harness::within;
use crate::master::{done, master, perseat, said};

/// Every place at which the process may die, and how often this world comes there.
const POINTS: [(&str, u64); 7] = [
    ("key-version-noted", 1),
    ("key-version-made", 1),
    ("user-keys-written", 2),
    ("user-keys-wrapped", 2),
    ("records-resealed", 1),
    ("key-version-marked", 1),
    ("key-version-destroyed", 1),
];
/// What ends the wait for an older version.
pub(crate) const DESTROYED: &str = "an older version of a customer's key was destroyed";

/// Two customers with the same: an integration whose connection is each user's own, and one whose connection is the customer's.
pub(crate) struct World {
    pub(crate) provider: Provider,
    pub(crate) daemon: Daemon,
    /// By customer and user; the customer's own is `everybody`.
    pub(crate) urls: BTreeMap<(&'static str, &'static str), String>,
    sent: usize,
}

pub(crate) fn setup() -> Setup {
    Setup::new()
        .set("keyring.rotation-batch", 1_i64)
        .set("keyring.rotation-settle", "1ms")
        .set("keyring.rotation-look", "20ms")
}

/// Few executions push out those before them.
pub(crate) fn setup_in_little_room() -> Setup {
    setup()
        .set("retention.budget", "20MiB")
        .set("journal.segment", "1MiB")
        .set("front.max-body", "256KiB")
        // Whoever pushes out is not refused where the machine is slow.
        .set("admission.wait", "20s")
}

impl World {
    pub(crate) async fn start(setup: Setup) -> Self {
        let provider = Provider::start().await;
        let daemon = Daemon::start(setup.allow(&[provider.address()]));
        let own = Integration {
            name: "Files",
            endpoint_type: "flow_specific",
            is_user_level: true,
            keys: "",
            flows: flow("Send", "", &[post("Send", "/sent", "onEvent.results.body.data")]),
        };
        let common = Integration {
            name: "Desk",
            is_user_level: false,
            ..own.clone()
        };
        let mut manifests = people(&[("globex", &["ann", "bob"]), ("initech", &["zoe"])]) + &own.manifest() + &common.manifest();
        for (customer, users) in [("globex", &["ann", "bob"][..]), ("initech", &["zoe"])] {
            manifests += &(own.instance(customer, &provider.url(""), "") + &common.instance(customer, &provider.url(""), ""));
            manifests.extend(users.iter().map(|user| own.user(customer, user)));
        }
        daemon.apply(&manifests).await;
        let mut urls = BTreeMap::new();
        for (customer, user) in [("globex", "ann"), ("globex", "bob"), ("initech", "zoe")] {
            let query = format!("customer={customer}&user={user}");
            let found = daemon.endpoints(&query).await.into_iter().find(|endpoint| endpoint.user.is_some());
            urls.insert((customer, user), found.unwrap().url);
        }
        for customer in ["globex", "initech"] {
            let found = daemon.endpoints(&format!("customer={customer}")).await;
            let of_customer = found
                .into_iter()
                .find(|endpoint| endpoint.user.is_none() && endpoint.instance.as_deref() == Some("Desk"));
            urls.insert((customer, "everybody"), of_customer.unwrap().url);
        }
        Self {
            provider,
            daemon,
            urls,
            sent: 0,
        }
    }

    /// An event comes through with the right token.
    pub(crate) async fn works(&mut self, customer: &'static str, user: &'static str) {
        let before = self.provider.records_of(&token(customer, user)).len();
        let url = self.daemon.hook(&self.urls[&(customer, user)]);
        let answer = self.daemon.post(&url, &[], format!("{{\"number\":{}}}", self.sent)).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        self.sent += 1;
        let mine = token(customer, user);
        self.provider
            .until_like("an event", 0, before + 1, |record| record.token == mine)
            .await;
    }

    async fn all_work(&mut self) {
        for (customer, user) in self.urls.keys().copied().collect::<Vec<_>>() {
            self.works(customer, user).await;
        }
    }

    pub(crate) fn rotate(&self, customer: &str) -> Output {
        perseat(&self.daemon.data(), &["keys", "rotate", "--customer", customer])
    }

    pub(crate) async fn id(&self, customer: &str) -> String {
        let found = Api::program(&self.daemon, "owner")
            .await
            .get("{ customers { nodes { id externalId } } }", json!({}))
            .await;
        let nodes = found["nodes"].as_array().unwrap().clone();
        let node = nodes.into_iter().find(|node| node["externalId"] == customer).unwrap();
        let id: CustomerId = node["id"].as_str().unwrap().parse().unwrap();
        id.to_string()
    }

    /// Until the customer's key has one version.
    pub(crate) async fn until_alone(&self, customer: &str) {
        let target = format!("/keys/customers/{}", self.id(customer).await);
        let alone = async {
            let mut look = tokio::time::interval(Duration::from_millis(10));
            loop {
                look.tick().await;
                let shown = self.daemon.local(Method::GET, &target, None).await.unwrap();
                if shown["stage"] == "idle" || (shown["stage"] == "done" && shown["older"] == json!([])) {
                    return;
                }
            }
        };
        within("the end of the older version", alone).await;
    }

    /// Until executions of a user of another customer have pushed out what needs the customer's older version; how many.
    pub(crate) async fn until_pushed_out(&self, customer: &str) -> usize {
        let target = format!("/keys/customers/{}", self.id(customer).await);
        let shown = || async { self.daemon.local(Method::GET, &target, None).await.unwrap() };
        let url = self.daemon.hook(&self.urls[&("globex", "ann")]);
        // Text that does not compress to nothing.
        let mut state = 1_u32;
        let mut letter = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'0' + u8::try_from((state >> 24) % 40).unwrap())
        };
        let filler: String = std::iter::repeat_with(&mut letter)
            .take(200_000)
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let mut rounds = 0;
        while shown().await["older"] != json!([]) {
            let answer = self
                .daemon
                .post(&url, &[], json!({ "n": rounds, "filler": filler }).to_string())
                .await;
            assert_eq!(answer.status, 200);
            rounds += 1;
            assert!(rounds < 1_000, "the older version stays");
        }
        rounds
    }

    async fn acts(&self) -> Vec<String> {
        let audit = self.daemon.local(Method::GET, "/audit?after=0", None).await.unwrap();
        let entries = audit["entries"].as_array().unwrap().iter();
        let acts = entries.map(|entry| entry["action"].as_str().unwrap().to_owned());
        acts.filter(|act| act.contains("Customer") && (act.contains("Key") || act.starts_with("reseal")))
            .collect()
    }

    fn keyring(&self) -> PathBuf {
        self.daemon.data().join("keyring")
    }

    fn master_key(&self) -> String {
        std::fs::read_to_string(self.daemon.data().join("master-key")).unwrap()
    }

    /// A keyring file, opened for looking.
    fn look(&self, path: &Path) -> Keyring {
        Keyring::look(path, master(&self.master_key()), &Default::default()).unwrap()
    }

    fn verified(&self) -> String {
        let data = self.daemon.data();
        done(&perseat(&data, &["verify", data.to_str().unwrap()]))
    }

    pub(crate) fn export(&self, name: &str) -> PathBuf {
        let copy = self.daemon.folder().join(name);
        done(&perseat(&self.daemon.data(), &["keyring", "export", copy.to_str().unwrap()]));
        copy
    }

    pub(crate) fn back_up(&self, name: &str) -> PathBuf {
        let path = self.daemon.folder().join(name);
        done(&perseat(&self.daemon.data(), &["backup", path.to_str().unwrap()]));
        path
    }
}

/// A connection in the catalog of a daemon that does not run.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    customer: CustomerId,
    id: Vec<u8>,
    sealed: Sealed,
}

/// The connections of instances, by customer.
fn stored(data: &Path) -> BTreeMap<String, Vec<Stored>> {
    let catalog = Catalog::open(&data.join("catalog.redb"), Options::default()).unwrap();
    let view = catalog.view().unwrap();
    let mut found: BTreeMap<String, Vec<Stored>> = BTreeMap::new();
    view.for_each(|instance: Instance| {
        let customer = view.require::<Customer>(instance.customer)?.external_id.unwrap();
        for (name, value) in &instance.config.values {
            if let ConfigValue::Connection { sealed, .. } = value {
                found.entry(customer.clone()).or_default().push(Stored {
                    customer: instance.customer,
                    id: connection_record_id(instance.id.0, name),
                    sealed: sealed.clone(),
                });
            }
        }
        Ok::<_, perseat_store::error::StoreError>(())
    })
    .unwrap();
    found
}

fn opens(keyring: &Keyring, stored: &Stored) -> bool {
    let key = keyring.data_key(Owner::Customer(stored.customer)).unwrap();
    key.unseal(RecordKind::Connection, &stored.id, &stored.sealed).is_ok()
}

fn has(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return has(&path, text);
        }
        path.is_file()
            && std::fs::read(&path)
                .unwrap()
                .windows(text.len())
                .any(|bytes| bytes == text.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_key_is_rotated_beside_events_and_an_older_copy_of_it_opens_nothing_that_is_live() {
    let mut world = World::start(setup()).await;
    world.all_work().await;
    let backup = world.back_up("before");
    world.daemon.terminate();
    let before = stored(&world.daemon.data());
    let old = world.daemon.folder().join("old-keyring");
    std::fs::copy(world.keyring(), &old).unwrap();
    world.daemon.restart();

    let stop = Arc::new(AtomicBool::new(false));
    let senders = world.urls.values().map(|url| {
        let (url, stop) = (world.daemon.hook(url), stop.clone());
        tokio::spawn(async move {
            let client = reqwest::Client::new();
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                let answer = client.post(&url).body(json!({ "n": sent }).to_string()).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                sent += 1;
            }
            sent
        })
    });
    let senders: Vec<_> = senders.collect();
    world.provider.until(world.sent + 20).await;
    let data = world.daemon.data();
    let rotated = tokio::task::spawn_blocking(move || perseat(&data, &["keys", "rotate", "--customer", "globex"]));
    let said_of = done(&rotated.await.unwrap());
    assert!(
        said_of.contains("version 2 of the customer's key seals all that is in use"),
        "{said_of}"
    );
    assert!(said_of.contains("version 1 stays until no execution is left"), "{said_of}");
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        world.sent += sender.await.unwrap();
    }
    let records = world.provider.until(world.sent).await;
    assert_eq!(records.len(), world.sent, "each event once");
    let failed = world.daemon.local(Method::GET, "/executions?status=failed", None).await.unwrap();
    assert_eq!(failed["executions"], json!([]));
    let acts = world.acts().await;
    assert_eq!(acts[0], "beginCustomerKeyRotation");
    assert!(acts[1..].iter().all(|act| act == "resealCustomer") && acts.len() > 1, "{acts:?}");
    assert!(!world.daemon.log().contains(DESTROYED), "the journal still holds what it sealed");
    let newest = world.export("newest");
    world.daemon.terminate();

    let after = stored(&world.daemon.data());
    assert_eq!(after["initech"], before["initech"], "nobody else's bytes change");
    let (old, now) = (world.look(&old), world.look(&world.keyring()));
    for (was, is) in before["globex"].iter().zip(&after["globex"]) {
        assert_eq!((version_of(&was.sealed), version_of(&is.sealed)), (Some(1), Some(2)));
        assert!(opens(&old, was) && !opens(&old, is));
        assert!(
            opens(&now, was) && opens(&now, is),
            "the older version still opens what the journal holds"
        );
    }
    assert!(world.verified().contains("all opened with the master key"));
    for secret in [token("globex", "everybody"), token("globex", "ann")] {
        assert!(!has(&world.daemon.data(), &secret), "{secret}");
    }
    world.daemon.restart();
    world.all_work().await;

    // A backup from before, with the newest keyring: the version that is still there opens it, and it is sealed anew.
    let key = world.daemon.data().join("master-key");
    let restored = Daemon::launch_on(setup().allow(&[world.provider.address()]), |data| {
        std::fs::create_dir(data).unwrap();
        std::fs::copy(&key, data.join("master-key")).unwrap();
        let [backup, newest] = [&backup, &newest].map(|path| path.to_str().unwrap());
        done(&perseat(data, &["restore", backup, "--keyring", newest]));
        done(&perseat(data, &["verify", data.to_str().unwrap()]));
    });
    restored.until_ready();
    restored.log_line(&["seals all that is in use"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_dies_on_the_way_to_another_version_goes_on_at_its_start() {
    let mut world = World::start(setup()).await;
    for (point, most) in POINTS {
        for times in 1..=most {
            world.works("globex", "ann").await;
            world.daemon.arm(point, times).await;
            let child = begin(&world.daemon.data(), "globex");
            world.daemon.until_killed(point).await;
            // It may have been told that all is done before the older version went.
            let _ = child.wait_with_output().unwrap();
            world.daemon.restart();
            world.works("globex", "bob").await;
            world.until_alone("globex").await;
            let acts = world.acts().await;
            let is_through = point != "key-version-noted";
            assert_eq!(acts.last().unwrap() == "destroyCustomerKeyVersion", is_through, "{point}: {acts:?}");
            done(&world.rotate("globex"));
            world.until_alone("globex").await;
            world.works("globex", "ann").await;
        }
    }
    world.all_work().await;
    world.daemon.terminate();
    assert!(world.verified().contains("all opened with the master key"));
}

fn begin(data: &Path, customer: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_perseat"))
        .args(["keys", "rotate", "--customer", customer, "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_goes_with_the_last_execution_that_it_sealed_and_a_backup_from_before_is_closed_then() {
    let mut world = World::start(setup_in_little_room()).await;
    world.works("initech", "zoe").await;
    let backup = world.back_up("before");
    let verify = |world: &World, keyring: &Path| {
        let key = world.daemon.data().join("master-key");
        let [backup, keyring, key] = [&backup, keyring, &key].map(|path| path.to_str().unwrap());
        let none = world.daemon.folder().join("none");
        perseat(&none, &["verify", backup, "--keyring", keyring, "--master-key", key])
    };
    done(&verify(&world, &world.export("first")));

    // The customer's executions were all of users, under keys of theirs: nothing in the journal needs the older version.
    done(&world.rotate("initech"));
    world.until_alone("initech").await;
    world.daemon.log_line(&[DESTROYED]);
    world.works("initech", "zoe").await;
    world.works("initech", "everybody").await;
    let closed = verify(&world, &world.export("second"));
    assert_eq!(closed.status.code(), Some(1));
    assert!(
        said(&closed).contains("does not open: sealed under key version 1"),
        "{}",
        said(&closed)
    );
    assert!(!said(&closed).contains("globex"), "{}", said(&closed));

    // By now there is an execution of the customer's own.
    assert!(done(&world.rotate("initech")).contains("version 2 stays until"));
    world.works("initech", "everybody").await;
    let rounds = world.until_pushed_out("initech").await;
    assert!(rounds > 20, "it went after {rounds} events, with its execution still there");
    world.works("initech", "everybody").await;
    world.works("initech", "zoe").await;
    world.daemon.terminate();
    assert!(world.verified().contains("all opened with the master key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_interrupted_holds_up_no_end() {
    let mut world = World::start(setup().set("drain.deadline", "1s").set("drain.thread-timeout", "100ms")).await;
    world.works("globex", "everybody").await;
    world.daemon.switch("hold:records-resealed:1", true).await;
    let child = begin(&world.daemon.data(), "globex");
    world.daemon.log_line(&["held", "records-resealed"]);
    world.daemon.signal(Signal::TERM);
    within("its end", async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while !world.daemon.has_ended() {
            look.tick().await;
        }
    })
    .await;
    assert!(!child.wait_with_output().unwrap().status.success());
    // It goes on with the rotation.
    world.daemon.restart();
    world
        .daemon
        .log_line(&["the newest version of a customer's key seals all that is in use"]);
    world.works("globex", "everybody").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_nobody_beside_another_or_of_too_many_versions_is_refused_and_a_deleted_customer_ends_it() {
    let mut world = World::start(setup().set("keyring.versions", 1_i64)).await;
    world.works("globex", "everybody").await;
    let refused = |output: &Output, code: &str| {
        assert_eq!(output.status.code(), Some(1), "{}", said(output));
        assert!(said(output).contains(&format!("({code})")), "{}", said(output));
    };
    refused(&world.rotate("nobody"), "customer_not_found");
    done(&world.rotate("globex Inc"));
    refused(&world.rotate("globex"), "key_versions_exhausted");

    world.daemon.switch("hold:records-resealed:1", true).await;
    let child = begin(&world.daemon.data(), "initech");
    world.daemon.log_line(&["held", "records-resealed"]);
    refused(&world.rotate("globex"), "rotation_under_way");
    let id = world.id("initech").await;
    let owner = Api::program(&world.daemon, "owner").await;
    let customers = owner.get("{ customers { nodes { id externalId } } }", json!({})).await;
    let customers = customers["nodes"].as_array().unwrap().clone();
    let initech: &Value = customers.iter().find(|node| node["externalId"] == "initech").unwrap();
    let delete = "mutation ($c: ID!) { deleteCustomer(input: {id: $c}) { customer { id } errors { messages } } }";
    let deleted = owner.ask(delete, json!({ "c": initech["id"] })).await;
    assert_eq!(deleted["data"]["deleteCustomer"]["errors"], json!([]), "{deleted}");
    refused(&child.wait_with_output().unwrap(), "customer_not_found");
    world.daemon.kill();
    let now = world.look(&world.keyring());
    assert!(!now.contains(Owner::Customer(id.parse().unwrap())) && now.rotating().len() == 1);
    world.daemon.restart();
    world.works("globex", "everybody").await;
}
