//! The secret of a registration: in no file, in no answer, and used all the same.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::consent::{connect, unconnected};
use crate::harness::api::Api;
use crate::harness::oauth::Manner;
use crate::world::{Plan, SECRET, World};

/// The output of a command on the daemon's directory, which must succeed.
fn perseat(data: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    let output = command.args(arguments).arg("--data").arg(data).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The files at or below `path` that hold `text`.
fn holding(path: &Path, text: &str) -> Vec<String> {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        return entries.flat_map(|entry| holding(&entry.unwrap().path(), text)).collect();
    }
    let is_holding = path.is_file() && holds(&fs::read(path).unwrap(), text);
    is_holding.then(|| path.display().to_string()).into_iter().collect()
}

/// Sends events until the provider has renewed twice more; every call for a token names the registration's secret.
async fn renews(world: &World, sent: &mut usize) {
    let before = world.provider.calls("/token").len();
    while world.provider.calls("/token").len() < before + 2 {
        *sent += world.send("ann", 1).await.len();
        let work = world.provider.until("/work", *sent).await;
        assert!(work.iter().all(|call| call.status == 200));
    }
    let calls = world.provider.calls("/token");
    assert!(calls.iter().all(|call| call.status == 200 && call.form["client_secret"] == SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_of_a_definition_is_sealed_kept_and_used_and_nowhere_to_be_read() {
    let plan = Plan {
        manner: Manner {
            lifetime: Some(json!(1)),
            ..Manner::default()
        },
        ..unconnected()
    };
    let world = World::start(&plan).await;
    connect(&world, "ann").await;
    let mut sent = 0;
    renews(&world, &mut sent).await;

    let api = Api::program(&world.daemon, "owner").await;
    let shown = api.get("{ integrations { nodes { definition versionNumber } } }", json!({})).await;
    let definition = shown["nodes"][0]["definition"].as_str().unwrap();
    assert!(
        definition.contains("clientSecret: {type: value, value: \"removed\"}"),
        "{definition}"
    );
    assert!(!shown.to_string().contains(SECRET), "{shown}");

    // What says that it was taken out is the secret that was there; a new version goes on with it.
    let changed = world
        .manifests(&plan)
        .replace(SECRET, "removed")
        .replace("\"work\"", "\"work more\"");
    world.daemon.apply(&changed).await;
    let shown = api.get("{ integrations { nodes { definition versionNumber } } }", json!({})).await;
    assert_eq!(shown["nodes"][0]["versionNumber"], 2, "{shown}");
    renews(&world, &mut sent).await;
    let fork =
        "mutation ($i: ID!) { forkIntegration(input: {parent: $i, name: \"Fork\"}) { integration { definition } errors { messages } } }";
    let ids = api.get("{ integrations { nodes { id } } }", json!({})).await;
    let forked = api.get(fork, json!({ "i": ids["nodes"][0]["id"] })).await;
    assert!(forked["errors"].as_array().is_none_or(Vec::is_empty), "{forked}");
    let stranger = changed.replace("name: Work\n  endpointType", "name: Strange\n  endpointType");
    let import = "mutation ($d: String!) { importIntegration(input: {definition: $d}) { integration { id } errors { messages } } }";
    let text = stranger.split("definition: |\n").nth(1).unwrap().split("---").next().unwrap();
    let text: String = text
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line)))
        .collect();
    let refused = api.ask(import, json!({ "d": text })).await.to_string();
    assert!(
        refused.contains("`clientSecret` of the connection `Account` was taken out"),
        "{refused}"
    );

    // Whoever manages integrations cannot have it sent elsewhere.
    let text = text.replace("name: Strange", "name: Work");
    for (address, other) in [
        (world.provider.url("/token"), "https://elsewhere.example/token"),
        (world.provider.url("/revoke"), "https://elsewhere.example/revoke"),
    ] {
        let elsewhere = text.replace(&format!("{address:?}"), &format!("{other:?}"));
        assert_ne!(elsewhere, text);
        let refused = api.ask(import, json!({ "d": elsewhere })).await;
        let errors = refused["data"]["importIntegration"]["errors"].to_string();
        assert!(
            errors.contains("`clientSecret` would be sent there") && errors.contains("`clientSecret` anew"),
            "{refused}"
        );
        assert!(!refused.to_string().contains(SECRET), "{refused}");
    }
    renews(&world, &mut sent).await;
    let anew = text
        .replace(
            &format!("{:?}", world.provider.url("/revoke")),
            "\"https://elsewhere.example/revoke\"",
        )
        .replace("\"removed\"", "\"another-secret\"");
    let taken = api.get(import, json!({ "d": anew })).await;
    assert!(taken["integration"]["id"].is_string(), "{taken}");

    let data = world.daemon.data();
    let exported = perseat(&data, &["export"]);
    assert!(
        exported.contains("WORK_ACCOUNT_CLIENTSECRET") && !exported.contains(SECRET),
        "{exported}"
    );
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    perseat(&data, &["backup", backup.to_str().unwrap()]);
    for place in [data.as_path(), &backup] {
        assert_eq!(holding(place, SECRET), Vec::<String>::new());
        // What is not secret stands there to be read.
        assert!(
            holding(place, "the-client").iter().any(|file| file.ends_with("catalog.redb")),
            "{}",
            place.display()
        );
    }
}
