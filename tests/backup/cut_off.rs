//! Backups and restores that are cut off: what is left is refused by everything.

use crate::world::{World, begin, done, perseat, refused};
use http::Method;
use std::path::Path;

/// Everything that takes a backup, or could take this for a data directory, refuses it.
fn is_refused(world: &World, backup: &Path) {
    let keyring = world.path("keyring");
    let to = world.path("refused");
    let no_backup = "is no backup, or one that was cut off";
    let restore = ["restore", backup.to_str().unwrap(), "--keyring", keyring.to_str().unwrap()];
    refused(&perseat(&to, &restore), no_backup);
    let verify = ["verify", backup.to_str().unwrap(), "--keyring", keyring.to_str().unwrap()];
    refused(&perseat(&to, &verify), no_backup);
    // Whoever is killed before the first part came leaves an empty folder, which is no backup and no data either.
    if std::fs::read_dir(backup).is_ok_and(|mut parts| parts.next().is_some()) {
        refused(&perseat(backup, &["audit", "verify"]), "is a backup");
    }
    assert!(!to.exists(), "nothing was begun");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_was_cut_off_is_refused_by_everything() {
    let mut world = World::start(World::setup()).await;
    let data = world.daemon.data();
    world.send("ann", 1).await;
    done(&perseat(&data, &["keyring", "export", world.path("keyring").to_str().unwrap()]));
    // The daemon dies: before anything is sent, in the middle, before the manifest.
    for (round, point) in ["backup-begun", "backup-segment", "backup-ended"].into_iter().enumerate() {
        let backup = world.path(&format!("backup-{round}"));
        world.daemon.arm(point, 1).await;
        let output = perseat(&data, &["backup", backup.to_str().unwrap()]);
        world.daemon.until_killed(point).await;
        assert_eq!(output.status.code(), Some(1));
        if round > 0 {
            is_refused(&world, &backup);
        }
        world.daemon.restart();
    }
    // Whoever writes it dies.
    let backup = world.path("killed");
    world
        .daemon
        .local(Method::POST, "/faults/hold:backup-segment:1", None)
        .await
        .unwrap();
    let mut child = begin(&data, &["backup", backup.to_str().unwrap()]);
    world.daemon.log_line(&["held", "backup-segment"]);
    child.kill().unwrap();
    child.wait().unwrap();
    is_refused(&world, &backup);
    world.daemon.kill();
    world.daemon.restart();
    done(&perseat(&data, &["backup", world.path("whole").to_str().unwrap()]));
}

/// No disk has what is to stay free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_leaves_too_little_room_is_not_begun() {
    let setup = World::setup()
        .set("retention.budget", "4096TiB")
        .set("retention.ballast", "1024TiB");
    let world = World::start(setup).await;
    let backup = world.path("backup");
    refused(
        &perseat(&world.daemon.data(), &["backup", backup.to_str().unwrap()]),
        "backup_no_room",
    );
    world.daemon.log_line(&["was not handed out", "make room"]);
}
