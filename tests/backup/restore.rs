//! From a backup to a daemon that goes on.

use crate::harness::daemon::{Daemon, Setup};
use crate::harness::provider::Manner;
use crate::world::{World, done, perseat, refused, said, status, until};
use http::Method;

/// The requests that the provider got from one user, by number: idempotency keys in order of arrival.
fn keys_of(world: &World, user: &str, number: u64) -> Vec<String> {
    let records = world.provider.records();
    let of_it = records
        .into_iter()
        .filter(|record| record.json()["user"] == user && record.json()["n"] == number);
    of_it.map(|record| record.key).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_daemon_waits_then_ends_what_had_not_ended_and_knows_nothing_of_who_was_deleted() {
    let mut world = World::start(World::setup()).await;
    let data = world.daemon.data();
    // One of each runs, the rest waits.
    let ann = [world.send("ann", 1).await, world.send("ann", 2).await];
    let cem = [world.send("cem", 1).await, world.send("cem", 2).await];
    world.provider.until(2).await;
    let bob = world.send("bob", 1).await;
    let (backup, keyring, old_keyring) = (world.path("backup"), world.path("keyring"), world.path("old-keyring"));
    let taken = done(&perseat(&data, &["backup", backup.to_str().unwrap(), "--progress"]));
    assert!(
        taken.contains("configuration of revision 1") && taken.contains("100 % of"),
        "{taken}"
    );
    refused(&perseat(&data, &["backup", backup.to_str().unwrap()]), "is not empty");
    for entry in std::fs::read_dir(&backup).unwrap() {
        assert_ne!(entry.unwrap().file_name(), "keyring", "keys are not in a backup");
    }

    let export = |to: &std::path::Path| done(&perseat(&data, &["keyring", "export", to.to_str().unwrap()]));
    export(&old_keyring);
    export(&keyring);
    world.apply(&["ann", "bob"]).await;
    export(&keyring);
    assert_eq!(
        std::fs::read(&keyring).unwrap(),
        std::fs::read(data.join("keyring")).unwrap(),
        "the newest takes the place of its predecessor"
    );
    world.send("ann", 3).await;
    // What ended after the backup, and reached the provider.
    world.provider.set(Manner::Answer);
    until(&world.daemon, &[(&ann[0], "succeeded"), (&bob, "succeeded")]).await;
    world.provider.set(Manner::Hang);
    let verified = world.verifies(&backup, &keyring);
    assert!(verified.contains("deleted after the backup"), "{verified}");
    world.verifies(&backup, &old_keyring);
    refused(&perseat(&data, &["verify", data.to_str().unwrap()]), "is in use by process");
    world.daemon.kill();
    let verified = done(&perseat(&data, &["verify", data.to_str().unwrap()]));
    assert!(
        verified.contains("everything fits") && verified.contains("2 sealed connections, API keys and tokens of grants open"),
        "{verified}"
    );

    let (mut daemon, restored) = world.restored(&backup, &keyring, &[]);
    let taken_out = restored.split("taken out").nth(1).unwrap();
    assert!(
        taken_out.contains("\n  user ") && !restored.contains("cem of globex"),
        "of who was deleted an id is left: {restored}"
    );
    let connections = restored.split("refresh tokens").nth(1).unwrap();
    assert!(
        connections.contains("ann of globex") && connections.contains("Account"),
        "{restored}"
    );
    assert!(!connections.contains("cem of globex"), "{restored}");

    // Paused: nothing is taken, nothing runs, what would run can be looked at.
    let endpoints = daemon.endpoints("user=ann&customer=globex").await;
    let answer = daemon.post(&endpoints[0].url, &[("content-type", "application/json")], "{}").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("paused")));
    let ready = daemon.admin("/readyz").await;
    assert!(
        ready.status == 503 && ready.json()["reasons"][0]["part"] == "restore",
        "{:?}",
        ready.json()
    );
    assert_eq!(status(&daemon, &ann[0]).await, "running");
    assert_eq!(status(&daemon, &bob).await, "queued");
    let exported = done(&perseat(&daemon.data(), &["export"]));
    assert!(exported.contains("ann of globex") && !exported.contains("cem"), "{exported}");
    let gone = daemon.local(Method::GET, &format!("/executions/{}", cem[1]), None).await.unwrap();
    assert!(!gone.to_string().contains("\"n\":2"), "their payload is unreadable: {gone}");
    assert_eq!(keys_of(&world, "ann", 1).len(), 1, "nothing ran");
    assert_eq!(keys_of(&world, "bob", 1).len(), 1);

    world.provider.set(Manner::Answer);
    done(&perseat(&daemon.data(), &["resume"]));
    until(&daemon, &[(&ann[0], "succeeded"), (&ann[1], "succeeded"), (&bob, "succeeded")]).await;
    let removed = [(cem[0].as_str(), "failed"), (cem[1].as_str(), "failed")];
    until(&daemon, &removed).await;
    for user in ["ann", "bob"] {
        assert_eq!(keys_of(&world, user, 1).len(), 2, "what ended after the backup is done again");
    }
    for (user, number) in [("ann", 1), ("ann", 2), ("bob", 1)] {
        let mut keys = keys_of(&world, user, number);
        keys.dedup();
        assert_eq!(
            keys.len(),
            1,
            "{user} {number}: once, or again with the key that the provider knows"
        );
    }
    assert_eq!(keys_of(&world, "cem", 2).len(), 0, "nothing runs for who was deleted");
    let answer = daemon.post(&endpoints[0].url, &[("content-type", "application/json")], "{}").await;
    assert_eq!(answer.status, 200, "it goes on");
    let again = done(&perseat(&daemon.data(), &["resume"]));
    assert!(again.contains("was not paused"), "{again}");
    daemon.terminate();
    let verified = done(&perseat(&daemon.data(), &["verify", daemon.data().to_str().unwrap()]));
    assert!(verified.contains("everything fits"), "{verified}");
    drop(daemon);

    // With the copy from before, they are back: that is what an old copy undoes.
    let (daemon, restored) = world.restored(&backup, &old_keyring, &["--resume"]);
    assert!(!restored.contains("user cem"), "{restored}");
    until(&daemon, &[(&cem[1], "succeeded")]).await;
}

#[test]
fn a_directory_at_rest_is_backed_up_and_restored_with_its_epoch_raised() {
    let mut daemon = Daemon::start(Setup::new());
    daemon.terminate();
    let (data, folder) = (daemon.data(), tempfile::tempdir().unwrap());
    let [backup, keyring, to] = ["backup", "keyring", "restored"].map(|name| folder.path().join(name));
    // A history file whose making was cut off before anything was indexed is made by the next start: no finding.
    let begun = data.join("history/000000.redb");
    let whole = std::fs::read(&begun).unwrap_or_default();
    std::fs::write(&begun, "").unwrap();
    let verified = done(&perseat(&data, &["verify", data.to_str().unwrap()]));
    assert!(
        verified.contains("0 live executions as their entries say, up to nothing"),
        "{verified}"
    );
    std::fs::write(&begun, whole).unwrap();
    done(&perseat(&data, &["token", "create", "--role", "owner"]));
    done(&perseat(&data, &["backup", backup.to_str().unwrap(), "--history"]));
    done(&perseat(&data, &["keyring", "export", keyring.to_str().unwrap()]));
    let restore = ["restore", backup.to_str().unwrap(), "--keyring", keyring.to_str().unwrap()];
    refused(&perseat(&data, &restore), "is not empty");
    refused(&perseat(&backup, &["audit", "verify"]), "is a backup");
    refused(&perseat(&to, &restore), "there is no master key");
    let key = data.join("master-key");
    let with_key = [&restore[..], &["--master-key", key.to_str().unwrap()]].concat();
    let none = [&with_key[..], &["--keep-token", "00000000-0000-0000-0000-000000000007"]].concat();
    refused(&perseat(&to, &none), "there is no bearer token");
    let said = done(&perseat(&to, &with_key));
    assert!(said.contains("epoch 2") && said.contains("no master key yet"), "{said}");
    std::fs::copy(data.join("master-key"), to.join("master-key")).unwrap();
    assert!(
        done(&perseat(&to, &["audit", "verify"])).contains("2 entries"),
        "the restore revoked the token"
    );

    // A second backup of what was restored is of its epoch.
    let second = folder.path().join("second");
    done(&perseat(&to, &["backup", second.to_str().unwrap()]));
    let third = folder.path().join("third");
    let said = done(&perseat(
        &third,
        &[
            "restore",
            second.to_str().unwrap(),
            "--keyring",
            keyring.to_str().unwrap(),
            "--master-key",
            key.to_str().unwrap(),
        ],
    ));
    assert!(said.contains("epoch 3"), "{said}");

    // A keyring of another directory, and one that had grown less, are told.
    let mut other = Daemon::start(Setup::new());
    other.terminate();
    let foreign = other.data().join("keyring");
    let fourth = folder.path().join("fourth");
    refused(
        &perseat(
            &fourth,
            &["restore", backup.to_str().unwrap(), "--keyring", foreign.to_str().unwrap()],
        ),
        "belongs to another data directory",
    );
    assert!(!fourth.exists() || std::fs::read_dir(&fourth).unwrap().next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyring_that_is_older_is_refused_though_it_has_as_many_slots() {
    let world = World::start(World::setup()).await;
    let data = world.daemon.data();
    let [old, new, backup] = ["old", "new", "backup"].map(|name| world.path(name));
    let export = |to: &std::path::Path| done(&perseat(&data, &["keyring", "export", to.to_str().unwrap()]));
    export(&old);
    world.apply(&["ann", "bob"]).await;
    world.apply(&["ann", "bob", "dan"]).await;
    done(&perseat(&data, &["backup", backup.to_str().unwrap()]));
    export(&new);
    let [before, after] = [&old, &new].map(|path| perseat_store::keyring::mark(path).unwrap());
    assert_eq!((before.id, before.slots), (after.id, after.slots), "dan's key is where cem's was");
    world.verifies(&backup, &new);
    let to = world.path("to");
    let key = data.join("master-key");
    let [from, keyring, key] = [&backup, &old, &key].map(|path| path.to_str().unwrap());
    let restore = ["restore", from, "--keyring", keyring, "--master-key", key];
    refused(&perseat(&to, &restore), "this keyring is older than the backup");
    assert!(
        !to.exists() || std::fs::read_dir(&to).unwrap().next().is_none(),
        "nothing was begun"
    );
    let verify = ["verify", backup.to_str().unwrap(), "--keyring", old.to_str().unwrap()];
    refused(&perseat(&to, &verify), "keyring: it is older than the backup");
    let restored = done(&perseat(&to, &[&restore[..], &["--older-keyring"]].concat()));
    assert!(
        restored.contains("taken out") && restored.contains("\n  user "),
        "who came in between is taken out: {restored}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_key_is_damaged_is_not_taken_for_deleted() {
    const HEADER: usize = 4096;
    const SLOT: usize = 128;
    let world = World::start(World::setup()).await;
    let data = world.daemon.data();
    let [backup, keyring, damaged, to] = ["backup", "keyring", "damaged", "to"].map(|name| world.path(name));
    done(&perseat(&data, &["backup", backup.to_str().unwrap()]));
    done(&perseat(&data, &["keyring", "export", keyring.to_str().unwrap()]));
    let key = data.join("master-key");
    let options = ["--keyring", damaged.to_str().unwrap(), "--master-key", key.to_str().unwrap()];
    let restore = [&["restore", backup.to_str().unwrap()], &options[..]].concat();
    let whole = std::fs::read(&keyring).unwrap();
    let keys = perseat_store::keyring::Inspected::read(&keyring).unwrap().keys;
    let mut of_users = Vec::new();
    for slot in 0..(whole.len() - HEADER) / SLOT {
        let mut bytes = whole.clone();
        bytes[HEADER + slot * SLOT + SLOT / 2] ^= 1;
        std::fs::write(&damaged, &bytes).unwrap();
        if perseat_store::keyring::Inspected::read(&damaged).unwrap().keys == keys {
            continue;
        }
        refused(
            &perseat(&to, &[&["verify", backup.to_str().unwrap()], &options[..]].concat()),
            "keyring: ",
        );
        let answer = perseat(&to, &restore);
        refused(&answer, "damaged");
        if said(&answer).contains("that of user ") {
            of_users.push(bytes);
        }
    }
    assert_eq!(of_users.len(), 3, "each user's key by itself");
    std::fs::write(&damaged, &of_users[0]).unwrap();
    let taken_out = done(&perseat(&to, &[&restore[..], &["--without-damaged-keys"]].concat()));
    assert!(taken_out.contains("taken out"), "{taken_out}");
}
