//! Whatever is asked of the published schema, the API answers: no failure of the server, no crash, for the most and the least
//! powerful bearer. The questions come from schemathesis, as PyPI has it, from a fixed seed.
//!
//! `SCHEMATHESIS_SECONDS=600 cargo test --test schemathesis` asks for longer, `SCHEMATHESIS_SEED` asks something else.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use harness::daemon::{Daemon, Setup};
use harness::python;
use http::Method;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Asks with this bearer for a while.
fn ask(program: &Path, url: &str, bearer: &str, folder: &Path) -> Child {
    std::fs::create_dir_all(folder).unwrap();
    Command::new(program)
        .arg("run")
        .arg(root().join("docs/schema.graphql"))
        .args(["--url", url, "--header", &format!("Authorization: Bearer {bearer}")])
        .args([
            "--checks",
            "answers_are_no_failures_of_the_server",
            "--phases",
            "fuzzing",
            "--no-color",
        ])
        .args([
            "--max-time",
            &setting("SCHEMATHESIS_SECONDS", "45"),
            "--seed",
            &setting("SCHEMATHESIS_SEED", "20261125"),
        ])
        .env("SCHEMATHESIS_HOOKS", "checks")
        .env("PYTHONPATH", python::client("schemathesis"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "127.0.0.1")
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

const MANIFESTS: &str = "
kind: Organization
name: Acme
ulcEnabled: true
---
kind: Customer
name: Globex
externalId: globex
---
kind: CustomerUser
customer: globex
name: Jane
externalId: jane
role: marketplace_user
";

#[tokio::test]
async fn whatever_is_asked_is_answered() {
    let program = python::programs("schemathesis").join("schemathesis");
    let daemon = Daemon::start(Setup::new().set("api.rate", 1_000).set("api.burst", 10_000));
    daemon.apply(MANIFESTS).await;
    let url = format!("http://{}/api", daemon.address("api"));
    let folder = tempfile::tempdir().unwrap();
    let mut asking = Vec::new();
    for body in [
        json!({ "name": "owner", "role": "owner", "organization": "" }),
        json!({ "name": "jane", "customer": "globex", "user": "jane", "organization": "" }),
    ] {
        let made = daemon.local(Method::POST, "/tokens", Some(body.clone())).await.unwrap();
        let place = folder.path().join(body["name"].as_str().unwrap());
        asking.push(ask(&program, &url, made["token"].as_str().unwrap(), &place));
    }
    for child in asking {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        println!("{}", said.lines().filter(|line| line.contains("generated")).collect::<String>());
    }
    assert_eq!(daemon.admin("/healthz").await.status, 200);
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}
