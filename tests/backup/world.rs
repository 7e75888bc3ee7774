//! A daemon whose users' flows call a provider, and the commands around it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::harness::daemon::{Daemon, Setup};
use crate::harness::manifests::{Integration, flow, people, post, step};
use crate::harness::provider::{Manner, Provider};
use crate::harness::within;
use http::Method;
use perseat_admin::apply::ApplyOptions;
use perseat_admin::manifest::read_text;
use serde_json::json;

pub(crate) const CUSTOMER: &str = "globex";

/// The command line on a data directory.
pub(crate) fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    command.args(arguments).arg("--data").arg(data);
    command
}

pub(crate) fn perseat(data: &Path, arguments: &[&str]) -> Output {
    command(data, arguments).output().unwrap()
}

pub(crate) fn begin(data: &Path, arguments: &[&str]) -> Child {
    command(data, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
pub(crate) fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

/// The command fails with exit code 1 and says so.
#[track_caller]
pub(crate) fn refused(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", said(output));
    assert!(said(output).contains(why), "{}", said(output));
}

/// A file of the demo's kind: the connection is OAuth 2.0.
fn with_oauth(manifests: &str) -> String {
    manifests
        .replace("{key: bearer,", "{key: oauth2,")
        .replace(", inputs: {token: {type: value, value: null}}", "")
        .replace("    fields:\n      token: ", "    token:\n      access_token: ")
}

pub(crate) struct World {
    pub(crate) provider: Provider,
    pub(crate) daemon: Daemon,
    /// Whatever the test writes.
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn setup() -> Setup {
        Setup::new()
            .set("execution.slots", 2)
            .set("execution.user-divisor", 2)
            .set("execution.reserve-divisor", 2)
            .set("journal.segment", "1MiB")
            .set("front.max-body", "256KiB")
    }

    /// Ann and Bob and Cem of one customer; the provider does not answer.
    pub(crate) async fn start(setup: Setup) -> Self {
        let provider = Provider::start().await;
        provider.set(Manner::Hang);
        let daemon = Daemon::start(setup.allow(&[provider.address()]));
        let world = Self {
            provider,
            daemon,
            folder: tempfile::tempdir().unwrap(),
        };
        world.apply(&["ann", "bob", "cem"]).await;
        world
    }

    /// Makes the users exactly these.
    pub(crate) async fn apply(&self, users: &[&str]) {
        let send = post("Send", "/sent", "onEvent.results.body.data");
        let log = step(
            "Log",
            "log",
            "writeLog",
            "          level: {type: value, value: info}\n          message: {type: value, value: it came}\n",
        );
        let files = Integration {
            name: "Files",
            endpoint_type: "flow_specific",
            is_user_level: true,
            keys: "",
            flows: flow("Send", "", &[send]) + &flow("Pass", "", &[log]),
        };
        let mut manifests = people(&[(CUSTOMER, users)]) + &files.manifest() + &files.instance(CUSTOMER, &self.provider.url(""), "");
        manifests.extend(users.iter().map(|user| files.user(CUSTOMER, user)));
        let read = read_text(&with_oauth(&manifests), Path::new("manifests.yml"), &|_| None).unwrap();
        let options = ApplyOptions {
            prune: true,
            ..ApplyOptions::default()
        };
        let body = json!({ "manifests": read, "options": options });
        let applied = self.daemon.local(Method::POST, "/apply", Some(body)).await;
        applied.unwrap_or_else(|error| panic!("{error}\n{}", self.daemon.log()));
    }

    /// Where events of a user's flow go.
    pub(crate) async fn url(&self, user: &str, flow: &str) -> String {
        let endpoints = self.daemon.endpoints(&format!("customer={CUSTOMER}&user={user}")).await;
        let endpoint = endpoints.iter().find(|endpoint| endpoint.flow.as_deref() == Some(flow));
        self.daemon.hook(&endpoint.unwrap().url)
    }

    /// The backup is whole, keys and credentials included.
    #[track_caller]
    pub(crate) fn verifies(&self, backup: &Path, keyring: &Path) -> String {
        let key = self.daemon.data().join("master-key");
        let [backup, keyring, key] = [backup, keyring, &key].map(|path| path.to_str().unwrap());
        let said = done(&perseat(
            &self.path("none"),
            &["verify", backup, "--keyring", keyring, "--master-key", key],
        ));
        assert!(said.contains("everything fits"), "{said}");
        said
    }

    /// Posts an event for a user; gives its execution.
    pub(crate) async fn send(&self, user: &str, number: u64) -> String {
        let url = self.url(user, "Send").await;
        let headers = [("content-type", "application/json")];
        let answer = self
            .daemon
            .post(&url, &headers, json!({ "user": user, "n": number }).to_string())
            .await;
        assert_eq!(answer.status, 200, "{:?}", answer.json());
        answer.json()["executionId"].as_str().unwrap().to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A daemon on what was restored from `backup` with `keyring`; what the command said.
    pub(crate) fn restored(&self, backup: &Path, keyring: &Path, further: &[&str]) -> (Daemon, String) {
        let key = self.daemon.data().join("master-key");
        let mut answer = String::new();
        let setup = Self::setup().allow(&[self.provider.address()]);
        let daemon = Daemon::launch_on(setup, |data| {
            std::fs::create_dir(data).unwrap();
            std::fs::copy(&key, data.join("master-key")).unwrap();
            let arguments = ["restore", backup.to_str().unwrap(), "--keyring", keyring.to_str().unwrap()];
            answer = done(&perseat(data, &[&arguments, further].concat()));
            let verified = done(&perseat(data, &["verify", data.to_str().unwrap()]));
            assert!(verified.contains("everything fits"), "{verified}");
        });
        daemon.until_ready();
        (daemon, answer)
    }
}

pub(crate) async fn status(daemon: &Daemon, execution: &str) -> String {
    let shown = daemon.local(Method::GET, &format!("/executions/{execution}"), None).await.unwrap();
    shown["status"].as_str().unwrap().to_owned()
}

/// Waits until the executions have these statuses.
pub(crate) async fn until(daemon: &Daemon, expected: &[(&str, &str)]) {
    let mut look = tokio::time::interval(std::time::Duration::from_millis(10));
    let all = async {
        loop {
            look.tick().await;
            let mut found = Vec::new();
            for (execution, _) in expected {
                found.push(status(daemon, execution).await);
            }
            if found.iter().zip(expected).all(|(found, (_, expected))| found == expected) {
                return;
            }
        }
    };
    within(&format!("the end of {expected:?}"), all).await;
}
