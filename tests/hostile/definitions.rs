//! YAML that grows when it is read.

use crate::harness::daemon::Daemon;
use crate::memory::Memory;
use crate::world::{World, setup};
use http::Method;
use perseat::boot::administration::ApplyBody;
use perseat::cli::client::ClientError;
use perseat_admin::apply::ApplyOptions;
use perseat_admin::manifest::read_text;
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Ten to the power of `levels`, written in `levels` lines.
fn alias_bomb(levels: usize) -> String {
    let mut yaml = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..levels {
        let alias = format!("*a{}", level - 1);
        writeln!(yaml, "b{level}: &a{level} [{}]", vec![alias; 10].join(", ")).unwrap();
    }
    yaml
}

/// A text of 100 KB that is used ten thousand times.
fn long_choices() -> String {
    let text = "x".repeat(100_000);
    let choices = vec!["*text"; 10_000].join(", ");
    format!("name: Bomb\ndescription: &text {text}\nrequiredConfigVars:\n- key: Choice\n  pickList: [{choices}]\n")
}

fn integration(definition: &str) -> String {
    let indented: String = definition.lines().map(|line| format!("  {line}\n")).collect();
    format!("kind: Integration\ndefinition: |\n{indented}")
}

async fn refused_by(daemon: &Daemon, manifests: &str) -> String {
    let manifests = read_text(manifests, Path::new("bomb.yml"), &|_| None).unwrap();
    let options = ApplyOptions::default();
    let body = json!(ApplyBody { manifests, options });
    match daemon.local(Method::POST, "/apply", Some(body)).await {
        Err(ClientError::Refused { status, code, message, .. }) => format!("{status} {code}: {message}"),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn definitions_that_grow_are_refused_and_not_expanded() {
    let world = World::start(setup()).await;
    let memory = Memory::of(world.daemon.pid());
    for (row, definition) in [
        ("aliases of aliases", alias_bomb(20)),
        ("aliases of a long text", long_choices()),
        ("an alias of itself", "a: &a [*a]\n".to_owned()),
        ("100,000 lists in one another", "[".repeat(100_000)),
        ("100,000 mappings in one another", "{a: ".repeat(100_000)),
    ] {
        let refusal = refused_by(&world.daemon, &integration(&definition)).await;
        assert!(
            refusal.starts_with("422") && refusal.contains("manifest_invalid"),
            "{row}: {refusal}"
        );
        assert!(
            refusal.contains("too_large") || refusal.contains("yaml_invalid"),
            "{row}: {refusal}"
        );
        assert!(refusal.len() < 2_000, "{row}: an answer of {} bytes", refusal.len());
        world.serves_others();
    }
    memory.grew_within(8 << 20, "definition.max-bytes");
}

#[tokio::test]
async fn what_is_applied_at_once_is_limited() {
    // Beside a limit of this size, the code that is only now read from the file and a connection's own buffer are little.
    let world = World::start(setup().set("local.max-body", "8MiB")).await;
    let world = world.may_grow(2 * (8 << 20), "twice local.max-body, where 64 MiB were sent");
    let large = integration(&format!("name: {}\n", "x".repeat(64 << 20)));
    let refusal = refused_by(&world.daemon, &large).await;
    assert!(refusal.starts_with("413") && refusal.contains("payload_too_large"), "{refusal}");
    world.serves_others();
}

#[test]
fn the_command_line_refuses_them_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bomb.yml");
    for text in [
        format!("definitionVersion: 7\n{}", alias_bomb(20)),
        format!("kind: Customer\n{}", alias_bomb(20)),
        format!("kind: Customer\nname: {}", "[".repeat(100_000)),
    ] {
        std::fs::write(&file, text).unwrap();
        let checked = Command::new(env!("CARGO_BIN_EXE_perseat"))
            .arg("validate")
            .arg(&file)
            .output()
            .unwrap();
        assert_eq!(checked.status.code(), Some(1), "{checked:?}");
        assert!(String::from_utf8_lossy(&checked.stdout).contains("bomb.yml:"), "{checked:?}");
    }
}
