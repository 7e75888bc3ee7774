//! Chromium shows the pages in frames of a host page that loads the real SDK: the walks in `tests/clients/embedded`.

use crate::harness::daemon::Setup;
use crate::harness::node;
use crate::screens::Office;
use crate::world::{World, by_account, files, now, plain};
use perseat_admin::identity::embedded::Claims;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

/// The walk as a process: it serves the host pages itself. Killed when dropped.
pub(crate) struct Walk {
    child: Child,
}

impl Drop for Walk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Walk {
    /// Starts it, and gives the addresses that it says.
    pub(crate) fn start(script: &str) -> (Self, Value) {
        node::modules("embedded");
        let mut node = Command::new(node::program());
        node.arg(script).current_dir(crate::harness::client("embedded"));
        node.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = node.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let addresses = serde_json::from_str(&line).unwrap_or_else(|error| panic!("the walk did not start: {error}: {line}"));
        (Self { child }, addresses)
    }

    /// Lets it walk; it must come to its end.
    pub(crate) fn go(self, world: &Value) {
        let _ = self.walked(world);
    }

    /// The same; gives what it says in the end.
    pub(crate) fn tells(self, world: &Value) -> Value {
        let said = self.walked(world);
        serde_json::from_str(said.lines().last().unwrap_or_default())
            .unwrap_or_else(|error| panic!("the walk did not say what it saw: {error}: {said}"))
    }

    fn walked(mut self, world: &Value) -> String {
        let mut input = self.child.stdin.take().unwrap();
        writeln!(input, "{world}").unwrap();
        drop(input);
        let mut said = String::new();
        self.child.stdout.as_mut().unwrap().read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the walk failed; what it saw stands above");
        said
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_sdk_shows_the_marketplace_and_a_user_configures_updates_and_removes() {
    let (walk, addresses) = Walk::start("walk.mjs");
    let world = World::start(addresses["host"].as_str().unwrap()).await;
    world.offer(&files()).await;
    world.offer(&plain()).await;
    let token = |user: &str, role: &str| world.walker("globex", user, role);
    let given = json!({
        "url": world.url(""),
        "admin": token("ada", "admin"),
        "user": token("bob", "user"),
        "other": token("carl", "user"),
    });
    tokio::task::spawn_blocking(move || walk.go(&given)).await.unwrap();

    let found = "{ instances(name: \"Files\") { nodes { configVariables { nodes { value requiredConfigVariable { key } } }
        userLevelConfigs { nodes { user { name } } } } } }";
    let found = world.api().get(found, json!({})).await;
    let instance = &found["nodes"][0];
    let values = instance["configVariables"]["nodes"].as_array().unwrap();
    let tenant = values
        .iter()
        .find(|value| value["requiredConfigVariable"]["key"] == "Tenant")
        .unwrap();
    assert_eq!(tenant["value"], "set-by-the-host", "a hidden variable has what the host page set");
    let configs = instance["userLevelConfigs"]["nodes"].as_array().unwrap();
    assert_eq!(configs.len(), 1, "bob's is removed, carl's is there: {found}");
    assert_eq!(configs[0]["user"]["name"], "carl");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_person_connects_an_account_at_a_certified_provider_and_flows_run_as_that_person() {
    let (walk, addresses) = Walk::start("consent.mjs");
    let text = |name: &str| addresses[name].as_str().unwrap();
    let provider = text("provider");
    let world = World::start_near(text("host"), &[provider.trim_start_matches("http://")]).await;
    let integrations = [
        ("Orders", "flow_specific"),
        ("Bills", "instance_specific"),
        ("Stock", "shared_instance"),
    ];
    for (name, endpoint_type) in integrations {
        world.offer(&by_account(name, endpoint_type, provider)).await;
    }
    let token = |user: &str, role: &str| world.walker("globex", user, role);
    let given = json!({
        "url": world.url(""),
        "organization": world.api().bearer().trim_start_matches("Bearer "),
        "people": { "ada": token("ada", "admin"), "bob": token("bob", "user"), "carl": token("carl", "user") },
        "anew": world.signed(&Claims { exp: now() + 3 * 3_600, ..world.claims("globex", "ada", "admin") }),
        "integrations": integrations.map(|(name, _)| name),
    });
    tokio::task::spawn_blocking(move || walk.go(&given)).await.unwrap();
    assert!(!world.daemon.log().contains("canary-of-the-client"), "a secret is in the log");
}

/// A running demo; it ends, and its daemon with it, when dropped.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let id = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demos_host_page_shows_each_of_its_people_what_is_theirs() {
    let sdk = node::modules("embedded").join("@prismatic-io/embedded/dist/index.umd.js");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_perseat"));
    demo.args(["demo", "--sdk"]).arg(sdk).stdout(Stdio::piped());
    let mut demo = Demo(demo.spawn().unwrap());
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let pages: serde_json::Map<String, Value> = lines
        .by_ref()
        .filter(|line| line.starts_with("http://localhost:"))
        .map(|line| line.split_once("  ").map(|(page, name)| (name.to_owned(), page.into())).unwrap())
        .take(3)
        .collect();
    // What it says further must find a reader.
    std::thread::spawn(move || lines.for_each(drop));
    let (walk, _) = Walk::start("demo.mjs");
    let given = json!({ "pages": pages });
    tokio::task::spawn_blocking(move || walk.go(&given)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_sdk_shows_logs_the_dashboard_and_connections() {
    let (walk, addresses) = Walk::start("screens.mjs");
    let office = Office::shown_by(addresses["host"].as_str().unwrap(), Setup::new()).await;
    let token = |user: &str, role: &str| office.world.walker("globex", user, role);
    let given = json!({
        "url": office.world.url(""),
        "admin": token("ada", "admin"),
        "user": token("bob", "user"),
    });
    tokio::task::spawn_blocking(move || walk.go(&given)).await.unwrap();
}
