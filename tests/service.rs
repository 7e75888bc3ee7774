//! The service as systemd sees it: the unit is clean, confined, and lets the daemon's children confine themselves.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn analyze(arguments: &[&str]) -> Output {
    Command::new("systemd-analyze")
        .args(arguments)
        .output()
        .expect("systemd-analyze is needed: apt-get install systemd")
}

fn told(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Installs this build below `tree`.
fn install(tree: &Path) {
    let mut make = Command::new("make");
    make.current_dir(root())
        .arg("--silent")
        .arg("install")
        .arg(format!("BINARY={}", env!("CARGO_BIN_EXE_perseat")));
    let output = make.arg(format!("DESTDIR={}", tree.display())).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn an_installed_tree_verifies_without_a_word() {
    let tree = tempfile::tempdir().unwrap();
    install(tree.path());
    let units = tree.path().join("usr/lib/systemd/system");
    for entry in fs::read_dir("/lib/systemd/system").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "target") {
            fs::copy(&path, units.join(path.file_name().unwrap())).unwrap();
        }
    }
    for unit in ["perseat.service", "perseat.socket"] {
        let output = analyze(&["verify", &format!("--root={}", tree.path().display()), unit]);
        assert!(output.status.success() && told(&output).is_empty(), "{unit}: {}", told(&output));
    }
}

#[test]
fn installing_again_keeps_the_configuration_that_is_there() {
    let tree = tempfile::tempdir().unwrap();
    install(tree.path());
    let config = tree.path().join("etc/perseat/perseat.toml");
    assert_eq!(fs::read(&config).unwrap(), fs::read(root().join("config/perseat.toml")).unwrap());
    fs::write(&config, "[log]\nlevel = \"debug\"\n").unwrap();
    install(tree.path());
    assert_eq!(fs::read_to_string(&config).unwrap(), "[log]\nlevel = \"debug\"\n");
}

#[test]
fn the_unit_is_exposed_to_two_at_most() {
    let unit = root().join("systemd/perseat.service");
    let output = analyze(&["security", "--offline=true", "--threshold=20", unit.to_str().unwrap()]);
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn no_number_of_failed_starts_ends_the_service_for_good() {
    let unit = fs::read_to_string(root().join("systemd/perseat.service")).unwrap();
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    assert_eq!(value("Restart"), Some("on-failure"));
    assert_eq!((value("StartLimitIntervalSec"), value("StartLimitBurst")), (Some("0"), None));
}

/// The calls of a systemd filter set, the sets within it included.
fn calls_of(set: &str, calls: &mut BTreeSet<String>) {
    let output = analyze(&["syscall-filter", set]);
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    for name in text
        .lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if name.starts_with('@') {
            calls_of(name, calls);
        } else {
            calls.extend([name.to_owned()]);
        }
    }
}

#[test]
fn the_filter_has_every_call_that_a_child_makes_to_confine_itself_and_to_run() {
    let unit = fs::read_to_string(root().join("systemd/perseat.service")).unwrap();
    let filter = unit.lines().find_map(|line| line.strip_prefix("SystemCallFilter=")).unwrap();
    let mut allowed = BTreeSet::new();
    for word in filter.split(' ') {
        if word.starts_with('@') {
            calls_of(word, &mut allowed);
        } else {
            allowed.extend([word.to_owned()]);
        }
    }
    let sandbox = fs::read_to_string(root().join("crates/flow/src/js/child/sandbox.rs")).unwrap();
    // Its tests name what is refused.
    let sandbox = sandbox.split("#[cfg(test)]").next().unwrap();
    let names = sandbox.split("libc::SYS_").skip(1);
    let mut needed: BTreeSet<String> = names
        .map(|rest| {
            rest.chars()
                .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
                .collect()
        })
        .collect();
    assert!(needed.len() > 20, "the child's own list was not found: {needed:?}");
    for (means, calls) in [
        (
            "landlock::",
            &["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"][..],
        ),
        ("seccompiler::apply_filter", &["seccomp", "prctl"]),
        ("set_no_new_privs", &["prctl"]),
        ("setrlimit(", &["prlimit64"]),
    ] {
        assert!(
            sandbox.contains(means),
            "the child no longer uses {means}; bring this list up to date"
        );
        needed.extend(calls.iter().map(|call| (*call).to_owned()));
    }
    let missing: Vec<_> = needed.difference(&allowed).collect();
    assert!(
        missing.is_empty(),
        "systemd would end the child for these; add them to SystemCallFilter: {missing:?}"
    );
}

#[test]
fn who_installs_needs_no_compiler() {
    let (tree, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in ["make", "install", "sh", "test", "echo", "dirname"] {
        let place = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name));
        let program = place.iter().find(|path| path.exists()).expect("a program of every Debian");
        std::os::unix::fs::symlink(program, folder.path().join(name)).unwrap();
    }
    let install = |binary: &str| {
        let mut make = Command::new("make");
        make.current_dir(root())
            .args(["--silent", "install", &format!("BINARY={binary}")])
            .arg(format!("DESTDIR={}", tree.path().display()))
            .env("PATH", folder.path())
            .output()
            .unwrap()
    };
    let output = install(env!("CARGO_BIN_EXE_perseat"));
    assert!(output.status.success(), "{}", told(&output));
    let output = install("target/nowhere/perseat");
    assert!(
        !output.status.success() && told(&output).contains("run 'make build' first"),
        "{}",
        told(&output)
    );
}

#[test]
fn wherever_the_service_is_to_rest_its_socket_is_stopped_too() {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let stops: Vec<&str> = page.lines().filter(|line| line.contains("systemctl stop")).collect();
    assert!(stops.len() >= 3, "{stops:?}");
    for line in page
        .lines()
        .filter(|line| line.contains("systemctl stop") || line.contains("systemctl start"))
    {
        assert!(line.contains("perseat.socket perseat.service"), "{line}");
    }
    let restore = page.split("```sh").find(|block| block.contains("perseat restore ")).unwrap();
    assert!(restore.trim_start().starts_with("sudo systemctl stop"), "{restore}");
}

/// The default of a key, as the reference has it.
fn default_of(key: &str) -> String {
    let reference = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let section = reference
        .split("### ")
        .find(|section| section.starts_with(&format!("`{key}`")))
        .unwrap();
    let rest = section.split("Default `\"").nth(1).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[test]
fn the_proxy_of_the_example_lets_through_what_the_listeners_take() {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let server = page.split("```nginx").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    // What stands before the first location holds where that says nothing else.
    let limit = |part: &str| {
        let value = part.split("client_max_body_size ").nth(1)?.split(';').next()?;
        Some(value.replace('m', "MiB"))
    };
    let (every, locations) = server.split_once("location ").unwrap();
    for (port, key) in [("3000", "front.max-body"), ("3001", "api.max-body")] {
        let location = locations.split("location ").find(|location| location.contains(port)).unwrap();
        assert_eq!(limit(location).or_else(|| limit(every)), Some(default_of(key)), "{key}");
    }
}
