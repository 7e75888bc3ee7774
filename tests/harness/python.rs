//! Programs of PyPI that tests use, each in an environment of its own.

use super::client;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The programs of a client's environment, which is made where it is not there as the client's list says.
pub(crate) fn programs(name: &str) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let (wanted, environment) = (client(name).join("requirements.txt"), client(name).join("venv"));
    let found = environment.join("requirements.txt");
    let list = std::fs::read(&wanted).unwrap();
    if std::fs::read(&found).ok().as_ref() != Some(&list) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
        run(Command::new(environment.join("bin/pip"))
            .args(["install", "--quiet", "--requirement"])
            .arg(&wanted));
        std::fs::write(&found, list).unwrap();
    }
    environment.join("bin")
}

fn run(command: &mut Command) {
    let output = command.output().expect("python3 is missing: apt-get install python3 python3-venv");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
