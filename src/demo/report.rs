//! The table, what is wrong with it, and what to try next.

use std::collections::BTreeSet;
use std::path::Path;

use perseat_domain::definition::EndpointType;
use serde_json::Value;

use super::Shown;
use super::provider::Provider;
use super::rows::{Expected, Outcome, Row};
use crate::cli::print::say;
use crate::cli::table::Table;
use crate::daemon_process::DaemonProcess;

/// Prints the table and every difference from what was expected; tells whether there was none.
pub(super) fn print(rows: &[Row], outcomes: &[Outcome], provider: &Provider) -> bool {
    let shown: Vec<Shown<'_>> = rows.iter().zip(outcomes).collect();
    let head = [
        "#",
        "endpoint",
        "routed by",
        "customer",
        "user",
        "flow",
        "HTTP",
        "execution",
        "token seen",
        "results.user",
        "as expected",
    ];
    let mut table = Table::new(&head);
    for (number, (row, outcome)) in shown.iter().enumerate() {
        let record = outcome.record.as_ref();
        table.row([
            (number + 1).to_string(),
            endpoint(row.endpoint).to_owned(),
            row.routed_by.to_owned(),
            row.customer.to_owned(),
            row.user.clone(),
            row.flow.to_owned(),
            http(outcome),
            outcome.execution.map(|id| id.to_string()).unwrap_or_default(),
            record.and_then(|record| record.account.clone()).unwrap_or_default(),
            record.map(|record| user(&record.body["user"])).unwrap_or_default(),
            if outcome.problems.is_empty() { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    say!("{table}");
    let problems = problems(&shown, provider);
    problems.iter().for_each(|problem| say!("✗ {problem}"));
    let good = outcomes.iter().filter(|outcome| outcome.problems.is_empty()).count();
    say!("{good} of {} rows are as expected", rows.len());
    problems.is_empty()
}

fn problems(shown: &[Shown<'_>], provider: &Provider) -> Vec<String> {
    let rows = shown.iter().enumerate();
    let mut problems: Vec<String> = rows
        .flat_map(|(number, (_, outcome))| outcome.problems.iter().map(move |problem| format!("row {}: {problem}", number + 1)))
        .collect();
    let records = provider.records();
    let expected = shown
        .iter()
        .filter(|(row, _)| matches!(row.expected, Expected::Runs { .. }))
        .count();
    if records.len() != expected {
        problems.push(format!("the provider saw {} requests, expected {expected}", records.len()));
    }
    let keys: BTreeSet<_> = records.iter().map(|record| &record.idempotency_key).collect();
    if keys.len() != records.len() {
        problems.push(format!(
            "{} requests came with {} different idempotency keys",
            records.len(),
            keys.len()
        ));
    }
    problems
}

fn endpoint(endpoint: EndpointType) -> &'static str {
    match endpoint {
        EndpointType::FlowSpecific => "flow-specific",
        EndpointType::InstanceSpecific => "instance-specific",
        EndpointType::SharedInstance => "shared",
    }
}

fn http(outcome: &Outcome) -> String {
    match (outcome.status, &outcome.code) {
        (Some(status), Some(code)) => format!("{status} {code}"),
        (Some(status), None) => status.to_string(),
        (None, _) => String::new(),
    }
}

fn user(user: &Value) -> String {
    match (user["name"].as_str(), user["email"].as_str()) {
        (Some(name), Some(email)) => format!("{name} <{email}>"),
        _ => user.to_string(),
    }
}

/// Prints what a reader can try while the daemon goes on serving.
pub(super) fn print_next(rows: &[Row], daemon: &DaemonProcess, directory: &Path, pages: &[(&str, String)]) {
    let config = daemon.config().display();
    // After `cargo run` nothing of that name is on the PATH.
    let perseat = std::env::current_exe().map_or_else(|_| "perseat".to_owned(), |path| quoted(&path));
    say!("\nThe daemon goes on serving; Ctrl-C ends it. Try:\n");
    say!("# in a browser: a host product that shows the marketplace to its people");
    for (name, page) in pages {
        say!("{page}  {name}");
    }
    say!("");
    for (title, by) in [
        ("Jane's own URL", "URL"),
        ("the instance's URL, Jane in a header", "headers"),
        ("the instance's URL, Jane in the query", "query"),
        ("one URL for all customers, customer and user in the body", "body"),
    ] {
        let is_it =
            |row: &&Row| row.routed_by == by && row.user == "jane" && (by != "body" || row.endpoint == EndpointType::SharedInstance);
        if let Some(row) = rows.iter().find(is_it) {
            say!("# {title}\n{}\n", row.webhook.curl());
        }
    }
    say!("# what ran, and one run in full (take an id of the list)");
    say!("{perseat} executions list --config {config}\n{perseat} executions show --config {config} EXECUTION\n");
    say!("# all URLs; all manifests, with the names of the secrets they need");
    say!("{perseat} endpoints --config {config}\n{perseat} export --config {config}\n");
    say!("# the manifests that were applied: {}", directory.join("manifests").display());
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.chars().all(|letter| letter.is_alphanumeric() || "/._-+@".contains(letter));
    if is_plain {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_where_a_shell_would_take_it_apart() {
        assert_eq!(quoted(Path::new("/a/target/release/perseat")), "/a/target/release/perseat");
        assert_eq!(quoted(Path::new("/my files/perseat")), "'/my files/perseat'");
        assert_eq!(quoted(Path::new("/it's/perseat")), r"'/it'\''s/perseat'");
    }
}
