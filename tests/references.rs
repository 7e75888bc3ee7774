//! The written references equal their sources: the configuration file, its page, the metrics, the integration of both.
//!
//! `PERSEAT_REWRITE_REFERENCES=1 cargo test --test references` writes them anew; read the difference before you commit it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use perseat::config::reference;
use perseat::telemetry::metrics;

fn check(path: &str, expected: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("PERSEAT_REWRITE_REFERENCES").is_some() {
        fs::write(&file, expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    let line = found
        .lines()
        .zip(expected.lines())
        .take_while(|(found, expected)| found == expected)
        .count()
        + 1;
    assert!(
        found == expected,
        "{path}:{line} differs from its source; PERSEAT_REWRITE_REFERENCES=1 cargo test --test references writes it anew"
    );
}

#[test]
fn the_configuration_file_holds_every_key_with_its_default_and_reason() {
    check("config/perseat.toml", &reference::file());
}

#[test]
fn the_configuration_page_equals_the_keys() {
    check("docs/configuration.md", &reference::page());
}

#[test]
fn the_schema_of_manifests_equals_their_types() {
    let schema = serde_json::to_string_pretty(&perseat_admin::manifest::json_schema()).unwrap();
    check("docs/schemas/manifest.schema.json", &(schema + "\n"));
}

#[test]
fn the_published_schema_is_the_one_that_is_served() {
    check("docs/schema.graphql", &perseat::control::sdl());
}

#[test]
fn the_permissions_page_equals_the_table_that_decides() {
    check("docs/permissions.md", &perseat_admin::access::page());
}

#[test]
fn the_metrics_page_equals_the_metrics() {
    check("docs/metrics.md", &metrics::page());
}

/// Every text of the form "perseat_…" below `folder`, tests apart.
fn names_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let production = text.split("#[cfg(test)]").next().unwrap();
            found.extend(
                production
                    .split('"')
                    .skip(1)
                    .step_by(2)
                    .filter(|name| is_metric(name))
                    .map(str::to_owned),
            );
        }
    }
}

fn is_metric(text: &str) -> bool {
    text.starts_with("perseat_") && text.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
}

#[test]
fn every_metric_that_the_sources_name_is_described() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut used = BTreeSet::new();
    for folder in [
        "actors/src",
        "crates/journal/src",
        "crates/store/src",
        "crates/flow/src",
        "crates/admin/src",
        "src/indexer",
        "src/mail",
        "src/notices",
        "src/boot",
    ] {
        names_below(&root.join(folder), &mut used);
    }
    let described: BTreeSet<String> = metrics::METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    let own = [
        metrics::BUILD,
        metrics::UPTIME,
        metrics::LOG_LINES_DROPPED,
        metrics::EXECUTIONS_FINISHED,
    ];
    used.extend(own.map(str::to_owned));
    let missing: Vec<_> = used.difference(&described).collect();
    let dead: Vec<_> = described.difference(&used).collect();
    assert!(missing.is_empty(), "add these to METRICS in src/telemetry/metrics.rs: {missing:?}");
    assert!(dead.is_empty(), "nothing sets these metrics; take them out of METRICS: {dead:?}");
}
