//! Runs prism: installed once, configured by its environment alone.

use crate::harness::daemon::{Daemon, Setup};
use crate::harness::node;
use crate::harness::within;
use http::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The Node.js that runs prism, and prism.
pub(crate) fn installed() -> &'static (PathBuf, PathBuf) {
    static INSTALLED: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let prism = node::modules("prism").join("@prismatic-io/prism/lib/run.js");
        (node::program(), prism)
    })
}

/// Prism without arguments, run in a home of its own and with nothing of this process's environment.
pub(crate) fn command(home: &Path) -> Command {
    let (node, prism) = installed();
    let mut command = Command::new(node);
    command
        // Room for what is made while it starts: otherwise a seventh of its time is collecting that.
        .args(["--min-semi-space-size=64", "--max-semi-space-size=64"])
        // A third of a command's time is the compilation of the CLI; what was compiled once, all of it, is kept beside it.
        .arg("--no-lazy")
        .env_clear()
        .env("NODE_COMPILE_CACHE", crate::harness::client("prism").join("node_modules/.compiled"))
        .arg(prism)
        .env("HOME", home)
        .env("COLUMNS", "400")
        .current_dir(home);
    command
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) is_ok: bool,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Said {
    /// The output of a command that must succeed, without white space around it.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert!(self.is_ok, "prism failed:\n{}\n{}", self.out, self.error);
        self.out.trim()
    }

    /// What a command that must fail complained about, without the breaks between its lines.
    #[track_caller]
    pub(crate) fn refused(&self) -> String {
        assert!(!self.is_ok, "prism succeeded:\n{}", self.out);
        let said = format!("{}\n{}", self.out, self.error);
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// A daemon, and somebody who drives it with prism.
pub(crate) struct Prism {
    pub(crate) daemon: Daemon,
    home: tempfile::TempDir,
    token: String,
}

/// `perseat` with arguments, beside a running daemon; what it printed.
#[track_caller]
pub(crate) fn perseat(daemon: &Daemon, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    let output = command.args(arguments).arg("--data").arg(daemon.data()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Prism {
    /// A fresh daemon, and its first owner.
    pub(crate) fn start(setup: Setup) -> Self {
        let daemon = Daemon::start(setup);
        let token = perseat(&daemon, &["token", "create", "--role", "owner", "--organization", "Acme Software"]);
        Self {
            daemon,
            token,
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// The owner's bearer.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Runs a command as the owner.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.run_as(&self.token, arguments)
    }

    /// Runs a command with another bearer.
    pub(crate) fn run_as(&self, token: &str, arguments: &[&str]) -> Said {
        let output = command(self.home.path())
            .args(arguments)
            .env("NO_PROXY", "127.0.0.1")
            .env("PRISMATIC_URL", format!("http://{}", self.daemon.address("api")))
            .env("PRISM_ACCESS_TOKEN", token)
            .env("PRISM_SKIP_NEW_VERSION_CHECK", "true")
            .output()
            .unwrap();
        Said {
            is_ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asks the API as whoever has the bearer, without the CLI: for what is waited for, and what no command shows.
    pub(crate) async fn ask(&self, token: &str, query: &str, variables: Value) -> Value {
        let url = format!("http://{}/api", self.daemon.address("api"));
        let bearer = format!("Bearer {token}");
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        let body = json!({ "query": query, "variables": variables }).to_string();
        self.daemon.send(Method::POST, &url, &headers, body).await.json()["data"].take()
    }

    /// Waits for the end of an execution.
    pub(crate) async fn until_ended(&self, execution: &str) {
        let query = "query ($e: ID!) { executionResult(id: $e) { endedAt } }";
        within("the execution's end", async {
            let mut look = tokio::time::interval(std::time::Duration::from_millis(10));
            while self.ask(&self.token, query, json!({ "e": execution })).await["executionResult"]["endedAt"].is_null() {
                look.tick().await;
            }
        })
        .await;
    }

    /// A file in the folder that commands run in.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// The first column of the row whose `filter` (`Name=^x$`) matches.
    #[track_caller]
    pub(crate) fn find(&self, list: &[&str], filter: &str) -> String {
        let arguments = [list, &["--columns", "id", "--no-header", "--filter", filter]].concat();
        self.run(&arguments).ok().to_owned()
    }
}
