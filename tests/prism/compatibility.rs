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

/// The sources of these tests.
fn sources() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/prism");
    let files = fs::read_dir(folder).unwrap();
    files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

/// What stands between the braces of a function.
fn body<'s>(sources: &'s str, function: &str) -> Option<&'s str> {
    let begin = sources.find(&format!("fn {function}("))?;
    let end = sources[begin..].find("\n}\n")?;
    Some(&sources[begin..begin + end])
}

/// What the project leaves out on purpose, and for now.
fn is_excluded(command: &str) -> bool {
    let groups = ["alerts:", "on-prem-resources:", "workflows:"];
    let commands = [
        "components:delete",
        "components:publish",
        "integrations:convert",
        "integrations:flows:listen",
        "integrations:flows:test",
        "login:switch",
    ];
    groups.iter().any(|group| command.starts_with(group)) || commands.contains(&command) || MAKE_CODE.contains(&command)
}

/// Those of them that make and pack code on one's own machine: what they make has no place here, and nobody is asked.
const MAKE_CODE: [&str; 6] = [
    "components:dev:run",
    "components:dev:test",
    "components:init",
    "components:init:component",
    "components:signature",
    "integrations:init",
];

#[test]
fn of_all_that_is_not_excluded_the_page_says_how_much_works() {
    let rows = rows();
    let wanted = rows.iter().filter(|row| !is_excluded(row[0].trim_matches('`')));
    let (works, others): (Vec<_>, Vec<_>) = wanted.partition(|row| matches!(row[1].as_str(), "works" | "local"));
    let nothing: Vec<_> = others.iter().filter(|row| row[1] == "no").collect();
    assert_eq!(nothing.len(), 1, "{nothing:?}");
    let share = works.len() as f64 / (works.len() + others.len()) as f64;
    println!("{} of {} work: {share:.3}", works.len(), works.len() + others.len());
    assert!(share >= 0.95, "{others:?}");
    let said = format!("{} of the {} commands", works.len(), works.len() + others.len());
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compatibility.md")).unwrap();
    assert!(page.contains(&said), "the page says another number than {said}");
    // What is excluded says so, or makes code that has no place here.
    let sources = sources();
    let asks = body(&sources, "commands_that_are_excluded_say_so").unwrap();
    for [command, word, _] in rows.iter().filter(|row| is_excluded(row[0].trim_matches('`'))) {
        let name = command.trim_matches('`');
        // One that works all the same is shown by the test that its row names.
        if word == "works" {
            continue;
        }
        assert_eq!(word, "no", "{name} is excluded");
        let is_asked = crate::organization::EXCLUDED.iter().any(|command| command[0] == name) || asks.contains(&format!("\"{name}\""));
        assert!(is_asked || MAKE_CODE.contains(&name), "no test asks {name}");
    }
}

#[test]
fn every_command_that_is_said_to_work_names_a_test_that_runs_it() {
    let sources = sources();
    for [command, word, remark] in rows() {
        match word.as_str() {
            "works" | "partly" => {
                let test = remark.split('`').nth(1).unwrap_or_default();
                let body = body(&sources, test).unwrap_or_else(|| panic!("{command} names no test: {remark}"));
                let name = command.trim_matches('`');
                assert!(body.contains(&format!("\"{name}\"")), "{test} does not run {command}");
                let is_explained = remark.contains(';');
                assert!(word == "works" || is_explained, "{command} does not say what is missing");
            }
            "no" | "local" => assert!(!remark.is_empty(), "{command} says nothing about what is missing"),
            other => panic!("{command}: {other} is none of the words"),
        }
    }
}
