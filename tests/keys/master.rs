//! Another master key for a daemon that takes events, and that dies on the way.

use std::path::Path;
use std::process::{Command, Output};

use http::Method;
use perseat_store::keyring::{MasterKey, fits};

use crate::harness::daemon::{Daemon, Setup};
use crate::harness::manifests::{Integration, flow, people, post, token};
use crate::harness::provider::Provider;

/// Every place at which the process may die; at most two keys are wrapped anew in this world.
const POINTS: [(&str, u64); 7] = [
    ("master-key-drawn", 1),
    ("key-rewrapped", 2),
    ("keyring-written", 1),
    ("keyring-exchanged", 1),
    ("keyring-overwritten", 1),
    ("master-key-exchanged", 1),
    ("master-key-overwritten", 1),
];

pub(crate) fn perseat(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    command.args(arguments).arg("--data").arg(data).output().unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
pub(crate) fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

struct World {
    provider: Provider,
    daemon: Daemon,
    url: String,
    events: usize,
}

impl World {
    async fn start(setup: Setup) -> Self {
        let provider = Provider::start().await;
        let daemon = Daemon::start(setup.allow(&[provider.address()]));
        let files = Integration {
            name: "Files",
            endpoint_type: "flow_specific",
            is_user_level: true,
            keys: "",
            flows: flow("Send", "", &[post("Send", "/sent", "onEvent.results.body.data")]),
        };
        let manifests = people(&[("globex", &["ann"])])
            + &files.manifest()
            + &files.instance("globex", &provider.url(""), "")
            + &files.user("globex", "ann");
        daemon.apply(&manifests).await;
        let url = daemon.endpoints("user=ann").await.remove(0).url;
        Self {
            provider,
            daemon,
            url,
            events: 0,
        }
    }

    /// An event of ann's comes through with her token.
    async fn works(&mut self) {
        let answer = self.daemon.post(&self.url, &[], format!("{{\"number\":{}}}", self.events)).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        self.events += 1;
        let records = self.provider.until(self.events).await;
        assert!(records.iter().all(|record| record.token == token("globex", "ann")));
    }

    fn key(&self) -> String {
        std::fs::read_to_string(self.daemon.data().join("master-key")).unwrap()
    }

    /// The keyring is under the key that is there, which is not this one, and nothing is left of the way to it.
    #[track_caller]
    fn is_under_another_than(&self, old: &str) {
        let now = self.key();
        assert_ne!(now, old);
        let under = |key: &str| fits(&self.daemon.data().join("keyring"), &master(key)).unwrap();
        assert!(under(&now) && !under(old));
        self.has_nothing_left();
    }

    #[track_caller]
    fn has_nothing_left(&self) {
        let names = std::fs::read_dir(self.daemon.data()).unwrap();
        let names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        let left = |name: &String| name.starts_with("keyring.") || name.starts_with("master-key.");
        assert!(!names.iter().any(left), "{names:?}");
    }

    async fn acts(&self) -> Vec<String> {
        let audit = self.daemon.local(Method::GET, "/audit?after=0", None).await.unwrap();
        let entries = audit["entries"].as_array().unwrap().iter();
        let acts = entries.map(|entry| entry["action"].as_str().unwrap().to_owned());
        acts.filter(|act| act.ends_with("MasterKeyRotation")).collect()
    }

    fn rotate(&self) -> Output {
        perseat(&self.daemon.data(), &["keys", "rotate", "master"])
    }
}

pub(crate) fn master(digits: &str) -> MasterKey {
    let digits = digits.trim();
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
    MasterKey::new(&std::array::from_fn(byte))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_is_replaced_beside_events_and_the_old_one_opens_nothing() {
    let mut world = World::start(Setup::new()).await;
    world.works().await;
    let old = world.key();
    let said = done(&world.rotate());
    assert!(said.contains("2 keys are wrapped by the new master key"), "{said}");
    world.is_under_another_than(&old);
    assert_eq!(world.acts().await, ["beginMasterKeyRotation", "finishMasterKeyRotation"]);
    world.works().await;
    let first = world.key();
    // Once more, and over a restart; what is exported opens with the newest key alone.
    done(&world.rotate());
    world.is_under_another_than(&first);
    let copy = world.daemon.folder().join("copy");
    done(&perseat(&world.daemon.data(), &["keyring", "export", copy.to_str().unwrap()]));
    assert!(fits(&copy, &master(&world.key())).unwrap() && !fits(&copy, &master(&first)).unwrap());
    world.daemon.terminate();
    let verified = done(&perseat(&world.daemon.data(), &["verify", world.daemon.data().to_str().unwrap()]));
    assert!(verified.contains("all opened with the master key"), "{verified}");
    world.daemon.restart();
    world.works().await;
    let log = world.daemon.log();
    assert!(![&old, &first, &world.key()].iter().any(|key| log.contains(key.trim())), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_dies_on_the_way_to_another_master_key_starts_with_the_one_that_fits_and_a_rerun_finishes() {
    let mut world = World::start(Setup::new()).await;
    for (point, most) in POINTS {
        for times in 1..=most {
            let old = world.key();
            world.daemon.arm(point, times).await;
            let killed = world.rotate();
            assert!(!killed.status.success(), "{point}: {}", said(&killed));
            world.daemon.until_killed(point).await;
            world.daemon.restart();
            world.has_nothing_left();
            world.works().await;
            // Either nothing happened, or it is finished.
            let is_through = matches!(
                point,
                "keyring-exchanged" | "keyring-overwritten" | "master-key-exchanged" | "master-key-overwritten"
            );
            assert_eq!(world.key() != old, is_through, "{point}");
            let acts = world.acts().await;
            assert_eq!(acts.last().unwrap().starts_with("finish"), is_through, "{point}: {acts:?}");
            let between = world.key();
            done(&world.rotate());
            world.is_under_another_than(&between);
            world.works().await;
        }
    }
    world.daemon.terminate();
    done(&perseat(&world.daemon.data(), &["verify", world.daemon.data().to_str().unwrap()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_that_somebody_configured_is_theirs_to_replace_and_the_daemon_goes_on_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("configured");
    let put = |text: &str| {
        std::fs::write(&home, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&home, mode).unwrap();
    };
    let old = "07".repeat(32);
    put(&old);
    let mut world = World::start(Setup::new().set("keys.master-key", home.display().to_string())).await;
    let config = world.daemon.folder().join("perseat.toml");
    let rotate = ["keys", "rotate", "master", "--config", config.to_str().unwrap()];
    let said_of = done(&perseat(&world.daemon.data(), &rotate));
    assert!(said_of.contains("put that key where the daemon looks for it"), "{said_of}");
    let next = world.daemon.data().join("master-key.next");
    let again = perseat(&world.daemon.data(), &rotate);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("rotation_unfinished"), "{}", said(&again));
    // Also where others may read it by now: it is the key in force all the same.
    let in_force = std::fs::read(&next).unwrap();
    std::fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let again = perseat(&world.daemon.data(), &rotate);
    assert!(said(&again).contains("rotation_unfinished"), "{}", said(&again));
    assert_eq!(std::fs::read(&next).unwrap(), in_force);
    world.daemon.kill();
    world.daemon.relaunch(None);
    assert!(!world.daemon.until_ready_or_ended() && world.daemon.log().contains("master-key.next"));
    std::fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    world.daemon.restart();
    world.works().await;
    world.daemon.kill();
    world.daemon.restart();
    world.daemon.log_line(&["holds an older one"]);
    world.works().await;
    world.daemon.terminate();
    // The old one is taken away first.
    std::fs::remove_file(&home).unwrap();
    world.daemon.restart();
    world.works().await;
    world.daemon.terminate();
    put(&std::fs::read_to_string(&next).unwrap());
    world.daemon.restart();
    assert!(!next.exists());
    world.works().await;
    world.daemon.terminate();
    put(&old);
    world.daemon.relaunch(None);
    assert!(!world.daemon.until_ready_or_ended(), "the old key opens nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_master_key_is_a_credential_is_told_where_the_unit_has_it_from() {
    let folder = tempfile::tempdir().unwrap();
    let credential = folder.path().join("master-key");
    std::fs::write(&credential, "07".repeat(32)).unwrap();
    let setup = Setup::new().env("CREDENTIALS_DIRECTORY", folder.path().display().to_string());
    let mut world = World::start(setup).await;
    let home = "/etc/credstore/perseat.master-key";
    let rotated = done(&world.rotate());
    assert!(rotated.contains(home), "{rotated}");
    let again = said(&world.rotate());
    assert!(again.contains("rotation_unfinished") && again.contains(home), "{again}");
    world.daemon.terminate();
    world.daemon.restart();
    world.daemon.log_line(&["holds an older one", home]);
    world.daemon.terminate();
    // Without the credential, too, and for commands that are passed none.
    std::fs::remove_file(&credential).unwrap();
    let data = world.daemon.data();
    let verified = done(&perseat(&data, &["verify", data.to_str().unwrap()]));
    assert!(verified.contains("all opened with the master key"), "{verified}");
    world.daemon.restart();
    world.works().await;
}
