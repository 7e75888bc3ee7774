//! A start that finds its directory taken.

use std::io::Write as _;

use crate::harness::gate::Gate;
use crate::harness::within;
use crate::world::{World, begin, command, done, perseat, refused};
use rustix::process::Signal;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_a_command_that_has_its_directory_and_not_for_another_daemon() {
    let mut world = World::start(World::setup()).await;
    let data = world.daemon.data();
    let [backup, keyring, gate] = ["backup", "keyring", "gate"].map(|name| world.path(name));
    done(&perseat(&data, &["keyring", "export", keyring.to_str().unwrap()]));
    let holder = format!("is in use by process {}", world.daemon.pid());
    let mut second = tokio::process::Command::from(command(&data, &["serve"]));
    let second = within("the end of a second daemon", second.kill_on_drop(true).output()).await;
    refused(&second.unwrap(), &holder);
    world.daemon.kill();

    let gate = Gate::new(gate);
    let path = gate.path().to_str().unwrap();
    let child = begin(&data, &["backup", backup.to_str().unwrap(), "--master-key", path]);
    let mut writer = gate.reached().await;
    world.daemon.relaunch(None);
    let holder = format!("is in use by process {}", child.id());
    world.daemon.log_line(&["the start waits for the data directory", &holder]);
    // Neither the command nor the start that waits for it ends by a reload.
    refused(&perseat(&data, &["reload"]), "is a command, no daemon");
    world.daemon.signal(Signal::HUP);
    world.daemon.log_line(&["the configuration is read again once it has"]);
    writer.write_all(&std::fs::read(data.join("master-key")).unwrap()).unwrap();
    drop(writer);
    done(&child.wait_with_output().unwrap());
    world.daemon.until_ready();
    world.verifies(&backup, &keyring);
    done(&perseat(&data, &["reload"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_a_restore_and_not_for_one_that_was_cut_off() {
    let mut world = World::start(World::setup()).await;
    let data = world.daemon.data();
    let [backup, keyring, key] = ["backup", "keyring", "key"].map(|name| world.path(name));
    let [backup_name, keyring_name, key_name] = [&backup, &keyring, &key].map(|path| path.to_str().unwrap());
    done(&perseat(&data, &["keyring", "export", keyring_name]));
    done(&perseat(&data, &["backup", backup_name]));
    std::fs::copy(data.join("master-key"), &key).unwrap();
    world.daemon.kill();
    std::fs::remove_dir_all(&data).unwrap();

    std::fs::remove_file(backup.join("catalog.redb")).unwrap();
    let gate = Gate::new(backup.join("catalog.redb"));
    let mut child = begin(
        &data,
        &["restore", backup_name, "--keyring", keyring_name, "--master-key", key_name],
    );
    let writer = gate.reached().await;
    world.daemon.relaunch(None);
    let holder = format!("is in use by process {}", child.id());
    world.daemon.log_line(&["the start waits for the data directory", &holder]);
    assert!(world.daemon.terminate().success());
    world.daemon.log_line(&["stopped before it was ready"]);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(writer);
    refused(&perseat(&data, &["serve"]), "was cut off; empty the directory");
}
