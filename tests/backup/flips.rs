//! One byte that changed, anywhere in a backup, is found.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::provider::Manner;
use crate::world::{World, done, perseat, refused, until};
use perseat::verify::{Report, Subject, verify};
use perseat_journal::disk::Random;
use perseat_store::keyring::MasterKey;

fn verified(backup: &Path, keyring: &Path, key: &[u8; 32]) -> anyhow::Result<Report> {
    verify(&mut Subject {
        directory: backup,
        keyring: Some(keyring),
        master_key: Some(MasterKey::new(key)),
        catalog: perseat_store::catalog::Options::default(),
        keys: perseat_store::keyring::Options::default(),
    })
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn flip(path: &Path, at: usize, bit: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_anywhere_in_a_backup_is_found() {
    const FLIPS: u64 = 48;
    let seed = std::env::var("FLIP_SEED").map_or(7, |text| text.parse().unwrap());
    let mut world = World::start(World::setup()).await;
    world.provider.set(Manner::Answer);
    let sent = [world.send("ann", 1).await, world.send("bob", 1).await];
    until(&world.daemon, &[(&sent[0], "succeeded"), (&sent[1], "succeeded")]).await;
    let (data, backup, keyring) = (world.daemon.data(), world.path("backup"), world.path("keyring"));
    done(&perseat(&data, &["backup", backup.to_str().unwrap(), "--history"]));
    done(&perseat(&data, &["keyring", "export", keyring.to_str().unwrap()]));
    world.verifies(&backup, &keyring);
    let digits = fs::read_to_string(data.join("master-key")).unwrap();
    let key: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect();
    let key: [u8; 32] = key.try_into().unwrap();
    let (files, mut random) = (files(&backup), Random::new(seed));
    assert_eq!(files.len(), 4, "{files:?}");
    for number in 0..FLIPS {
        let path = &files[random.below(files.len() as u64) as usize];
        let at = random.below(fs::metadata(path).unwrap().len()) as usize;
        let bit = random.below(8) as u8;
        flip(path, at, bit);
        let name = path.strip_prefix(&backup).unwrap().display().to_string();
        let place = format!("seed {seed}, flip {number}: bit {bit} of byte {at} of {name}");
        match verified(&backup, &keyring, &key) {
            Ok(report) => assert!(
                report.findings.listed().iter().any(|finding| finding.starts_with(&name)),
                "{place}: {report}"
            ),
            Err(error) => assert!(error.to_string().contains(&name), "{place}: {error}"),
        }
        if number == 0 {
            let to = world.path("refused");
            let master = world.daemon.data().join("master-key");
            let [backup, keyring, master] = [&backup, &keyring, &master].map(|path| path.to_str().unwrap());
            let restore = ["restore", backup, "--keyring", keyring, "--master-key", master];
            refused(&perseat(&to, &restore), "damaged");
        }
        flip(path, at, bit);
    }
    world.verifies(&backup, &keyring);

    // In a directory at rest, where what is not used has no checksum: a key, a frame, a row of history.
    world.daemon.terminate();
    let check = || perseat(&data, &["verify", data.to_str().unwrap()]);
    done(&check());
    let segment = crate::flips::files(&data.join("journal"))
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "seg") && fs::read(path).unwrap()[8192..8196] != [0; 4])
        .unwrap();
    for (path, at, said) in [
        (data.join("keyring"), 4096 + 60, "does not read"),
        (segment, 8192 + 100, "journal: "),
        (data.join("keyring"), 4096 + 128 + 60, "does not read"),
    ] {
        flip(&path, at, 3);
        refused(&check(), said);
        flip(&path, at, 3);
    }
    fs::remove_file(data.join("keyring")).unwrap();
    refused(&check(), "keyring: the file is missing");
}
