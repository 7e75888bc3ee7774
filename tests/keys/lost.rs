//! A data directory of which one file is gone: nothing is begun anew in its place.

use crate::harness::daemon::{Daemon, Setup};
use crate::harness::manifests::{Integration, code, flow, people};
use crate::master::{done, perseat, said};

/// A daemon that has stopped, with keys of an organization, a customer and a user.
async fn stopped() -> Daemon {
    let mut daemon = Daemon::start(Setup::new());
    daemon.apply(&people(&[("globex", &["ann"])])).await;
    daemon.terminate();
    daemon
}

/// Without the file, or with an empty one in its place, the daemon says what is missing; with the file it starts.
#[track_caller]
fn asks_for(daemon: &mut Daemon, name: &str, words: &str, is_empty: bool) {
    let (path, kept) = (daemon.data().join(name), daemon.folder().join("kept"));
    std::fs::rename(&path, &kept).unwrap();
    if is_empty {
        std::fs::write(&path, "").unwrap();
    }
    daemon.relaunch(None);
    assert!(!daemon.until_ready_or_ended(), "it started without {name}");
    let log = daemon.log();
    assert!(log.contains(words), "{log}");
    std::fs::rename(&kept, &path).unwrap();
    daemon.restart();
    daemon.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_lost_its_keyring_or_its_catalog_does_not_start_with_an_empty_one() {
    let mut daemon = stopped().await;
    asks_for(&mut daemon, "keyring", "put the keyring back", false);
    asks_for(&mut daemon, "keyring", "put the keyring back", true);
    asks_for(&mut daemon, "catalog.redb", "put the catalog back", false);
    asks_for(&mut daemon, "catalog.redb", "put the catalog back", true);
    let verified = done(&perseat(&daemon.data(), &["verify", daemon.data().to_str().unwrap()]));
    assert!(verified.contains("all opened with the master key"), "{verified}");
}

/// Else its live executions would be ended, and their events gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_lost_its_journal_does_not_begin_another_one() {
    let mut daemon = Daemon::start(Setup::new());
    let files = Integration {
        name: "Files",
        endpoint_type: "flow_specific",
        is_user_level: true,
        keys: "",
        flows: flow("Store", "", &[code("Work", "module.exports = async () => ({ data: 1 });")]),
    };
    let manifests = [
        people(&[("globex", &["ann"])]),
        files.manifest(),
        files.instance("globex", "http://provider.example", ""),
        files.user("globex", "ann"),
    ];
    daemon.apply(&manifests.concat()).await;
    let url = daemon.endpoints("").await.swap_remove(0).url;
    assert_eq!(daemon.post(&url, &[], "{}").await.status, 200);
    daemon.terminate();
    // The folder is not there, or there is nothing in it: a volume that is not mounted.
    for is_there in [false, true] {
        let (path, kept) = (daemon.data().join("journal"), daemon.folder().join("kept"));
        std::fs::rename(&path, &kept).unwrap();
        if is_there {
            std::fs::create_dir(&path).unwrap();
        }
        daemon.relaunch(None);
        assert!(!daemon.until_ready_or_ended(), "it started without its journal");
        let log = daemon.log();
        assert!(
            log.contains("put the journal back") && log.contains("but what was written came to segment"),
            "{log}"
        );
        // The folder that it has looked into, with its lock.
        let left: Vec<_> = std::fs::read_dir(&path).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().contains(".seg")), "{left:?}");
        std::fs::remove_dir_all(&path).unwrap();
        std::fs::rename(&kept, &path).unwrap();
    }
    daemon.restart();
    assert_eq!(daemon.post(&url, &[], "{}").await.status, 200);
    // Where it is gone for good all that it is the only source of goes with it.
    daemon.terminate();
    for name in ["journal", "state.redb", "history"] {
        std::fs::rename(daemon.data().join(name), daemon.folder().join(name)).unwrap();
    }
    daemon.restart();
    assert_eq!(daemon.post(&url, &[], "{}").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_takes_the_place_of_an_earlier_copy_of_the_same_keyring_alone() {
    let daemon = stopped().await;
    let export = |from: &Daemon, name: &str| {
        let file = daemon.folder().join(name);
        perseat(&from.data(), &["keyring", "export", file.to_str().unwrap()])
    };
    let put = |name: &str, bytes: &[u8]| std::fs::write(daemon.folder().join(name), bytes).unwrap();
    let read = |name: &str| std::fs::read(daemon.folder().join(name)).unwrap();
    done(&export(&stopped().await, "foreign"));
    done(&export(&daemon, "earlier"));
    put("text", b"somebody's notes");
    put("empty", b"");
    for name in ["foreign", "text"] {
        let before = read(name);
        let refused = export(&daemon, name);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            said(&refused).contains("is not an earlier copy of this keyring"),
            "{}",
            said(&refused)
        );
        assert_eq!(read(name), before);
    }
    for name in ["earlier", "empty"] {
        done(&export(&daemon, name));
        assert_eq!(read(name), std::fs::read(daemon.data().join("keyring")).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_onto_the_keyring_of_a_daemon_is_refused_whether_it_runs_or_not() {
    let mut daemon = Daemon::start(Setup::new());
    daemon.apply(&people(&[("globex", &["ann"])])).await;
    let data = daemon.data();
    let (keyring, draft) = (data.join("keyring"), data.join("keyring.new"));
    // What a rotation of the master key is writing.
    std::fs::write(&draft, "a draft").unwrap();
    let before = std::fs::read(&keyring).unwrap();
    let is_refused = || {
        let refused = perseat(&data, &["keyring", "export", keyring.to_str().unwrap()]);
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        assert!(said(&refused).contains("is the keyring of a daemon"), "{}", said(&refused));
        assert_eq!(std::fs::read(&keyring).unwrap(), before);
        assert_eq!(std::fs::read(&draft).unwrap(), b"a draft");
    };
    is_refused();
    let backup = daemon.folder().join("backup");
    done(&perseat(&data, &["backup", backup.to_str().unwrap()]));
    daemon.terminate();
    is_refused();
    daemon.restart();
}
