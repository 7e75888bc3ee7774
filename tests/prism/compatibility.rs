//! The list of commands in the documentation is that of the installed CLI, and what it promises is tested.

use crate::cli::installed;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The rows of the table: command, word, remark.
fn rows() -> Vec<[String; 3]> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/compatibility.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = |row: &str| {
        let cells: Vec<String> = row.trim_matches('|').splitn(3, " | ").map(|cell| cell.trim().to_owned()).collect();
        <[String; 3]>::try_from(cells).unwrap()
    };
    rows.map(cells).collect()
}

#[test]
fn every_command_of_the_installed_cli_has_a_row() {
    let manifest = installed().1.parent().unwrap().parent().unwrap().join("oclif.manifest.json");
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let commands: BTreeSet<String> = manifest["commands"].as_object().unwrap().keys().cloned().collect();
    let listed: BTreeSet<String> = rows().iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    assert!(commands.len() > 80, "the CLI lists few commands: {commands:?}");
    assert_eq!(listed, commands);
}

/// What the project leaves out on purpose, and for now.
fn is_excluded(command: &str) -> bool {
    let groups = ["alerts:", "on-prem-resources:", "workflows:"];
    let commands = [
        "components:delete",
        "components:dev:run",
        "components:dev:test",
        "components:init",
        "components:init:component",
        "components:publish",
        "components:signature",
        "integrations:convert",
        "integrations:flows:listen",
        "integrations:flows:test",
        "integrations:init",
        "login:switch",
    ];
    groups.iter().any(|group| command.starts_with(group)) || commands.contains(&command)
}

#[test]
fn of_all_that_is_not_excluded_nearly_everything_works() {
    let rows = rows();
    let wanted = rows.iter().filter(|row| !is_excluded(row[0].trim_matches('`')));
    let (works, others): (Vec<_>, Vec<_>) = wanted.partition(|row| matches!(row[1].as_str(), "works" | "local"));
    let share = works.len() as f64 / (works.len() + others.len()) as f64;
    println!("{} of {} work: {share:.3}", works.len(), works.len() + others.len());
    assert!(share >= 0.95, "{others:?}");
    // What is excluded says so, or makes code that has no place here.
    let asked: Vec<&str> = crate::organization::EXCLUDED.iter().map(|command| command[0]).collect();
    let of_code = ["components:", "integrations:init", "integrations:flows:", "login:switch"];
    for [command, word, _] in rows.iter().filter(|row| is_excluded(row[0].trim_matches('`'))) {
        let name = command.trim_matches('`');
        // One that works all the same is shown by the test that its row names.
        if word == "works" {
            continue;
        }
        assert_eq!(word, "no", "{name} is excluded");
        let is_known = asked.contains(&name) || of_code.iter().any(|start| name.starts_with(start));
        assert!(is_known, "no test asks {name}");
    }
}

#[test]
fn every_command_that_is_said_to_work_names_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/prism");
    let sources: String = fs::read_dir(folder)
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    for [command, word, remark] in rows() {
        match word.as_str() {
            "works" | "partly" => {
                let test = remark.split('`').nth(1).unwrap_or_default();
                assert!(sources.contains(&format!("fn {test}(")), "{command} names no test: {remark}");
                let name = command.trim_matches('`');
                assert!(sources.contains(&format!("\"{name}\"")), "no test runs {command}");
            }
            "no" | "local" => assert!(!remark.is_empty(), "{command} says nothing about what is missing"),
            other => panic!("{command}: {other} is none of the words"),
        }
    }
}
