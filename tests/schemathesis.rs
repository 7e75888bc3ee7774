//! Whatever is asked of the published schema, the API answers: no failure of the server, no crash, for the most and the least
//! powerful bearer, over two customers with instances, configurations and executions whose ids the questions use; and the user of
//! one learns nothing of the other. The questions come from schemathesis, as PyPI has it, from a fixed seed.
//!
//! `SCHEMATHESIS_SECONDS=600 cargo test --test schemathesis` asks for longer, `SCHEMATHESIS_SEED` asks something else.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use harness::api::Api;
use harness::daemon::{Daemon, Setup};
use harness::manifests::{Integration, flow, people};
use harness::python;
use perseat_admin::identity::embedded::Claims;
use perseat_admin::identity::keys::SigningPair;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Asks with this bearer for a while, with these ids among others; no answer may hold what is `hidden`.
fn ask(program: &Path, url: &str, bearer: &str, folder: &Path, ids: &[String], hidden: &str) -> Child {
    std::fs::create_dir_all(folder).unwrap();
    Command::new(program)
        .arg("run")
        .arg(root().join("docs/schema.graphql"))
        .args(["--url", url, "--header", &format!("Authorization: {bearer}")])
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
        .env("KNOWN_IDS", ids.join(" "))
        .env("HIDDEN", hidden)
        .env("PYTHONPATH", crate::harness::client("schemathesis"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "127.0.0.1")
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What stands at the customer whom nobody of the other one may learn of.
const CANARY: &str = "canary-of-initech";

/// Two customers with an integration, an instance and a configuration each.
fn manifests() -> String {
    let files = Integration {
        name: "Files",
        endpoint_type: "flow_specific",
        is_user_level: true,
        keys: "",
        flows: flow("Take", "", &[]),
    };
    let mut yaml = people(&[("globex", &["jane"]), ("initech", &["milton"])]) + &files.manifest();
    for (customer, user) in [("globex", "jane"), ("initech", "milton")] {
        yaml += &files.instance(customer, &format!("https://{customer}.example"), "");
        yaml += &files.user(customer, user);
    }
    yaml.replace("initech Inc", CANARY)
        .replace("milton of initech", CANARY)
        .replace("https://initech.example", CANARY)
        .replace("/initech/milton", CANARY)
}

/// Every id that an owner can name, and the bearer of the host product's user Jane.
async fn populate(daemon: &Daemon, owner: &Api<'_>) -> (Vec<String>, String) {
    for endpoint in daemon.endpoints("").await {
        let url = daemon.hook(&endpoint.url);
        daemon.post(&url, &[("content-type", "application/json")], "{\"n\":1}").await;
    }
    let pair = SigningPair::generate().unwrap();
    let import = "mutation ($k: String!) { importOrganizationSigningKey(input: {publicKey: $k}) { errors { messages } } }";
    owner.get(import, json!({ "k": pair.public_key })).await;
    let everything = "{ organization { id } customers { nodes { id name users { nodes { id } } instances { nodes { id
        flowConfigs { nodes { id } } userLevelConfigs { nodes { id flowConfigs { nodes { id } } } } } } } }
        integrations { nodes { id flows { nodes { id } } } } executionResults { nodes { id stepResults { nodes { id } } } } }";
    let found = owner.ask(everything, json!({})).await;
    let mut ids = Vec::new();
    collect(&found["data"], &mut ids);
    assert!(ids.len() > 15, "the world is empty: {found}");
    assert!(found.to_string().contains(CANARY), "the owner does not see it either: {found}");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let claims = Claims {
        sub: "jane".into(),
        organization: found["data"]["organization"]["id"].as_str().unwrap().into(),
        customer: "globex".into(),
        iat: now - 5,
        exp: now + 3_600,
        external_id: Some("jane".into()),
        role: Some("user".into()),
        ..Claims::default()
    };
    (ids, claims.sign(pair.private_key.as_bytes()).unwrap())
}

fn collect(value: &Value, ids: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            ids.extend(members.get("id").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| collect(value, ids));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, ids)),
        _ => {}
    }
}

#[tokio::test]
async fn whatever_is_asked_is_answered() {
    let program = python::programs("schemathesis").join("schemathesis");
    let daemon = Daemon::start(Setup::new().set("api.rate", 1_000).set("api.burst", 10_000));
    daemon.apply(&manifests()).await;
    let owner = Api::program(&daemon, "owner").await;
    let (ids, jane) = populate(&daemon, &owner).await;
    let url = format!("http://{}/api", daemon.address("api"));
    let folder = tempfile::tempdir().unwrap();
    let mut asking = Vec::new();
    for (name, bearer, hidden) in [("owner", owner.bearer(), ""), ("jane", &*format!("Bearer {jane}"), CANARY)] {
        let place = folder.path().join(name);
        asking.push(ask(&program, &url, bearer, &place, &ids, hidden));
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
