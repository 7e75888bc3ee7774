//! The written references equal their sources: the configuration file, its page, the metrics, the integration of both.
//!
//! `PERSEAT_REWRITE_REFERENCES=1 cargo test --test references` writes them anew; read the difference before you commit it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::PathBuf;

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
fn the_metrics_page_equals_the_metrics() {
    check("docs/metrics.md", &metrics::page());
}
