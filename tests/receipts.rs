//! `perseat receipt-test`, as an operator runs it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output};

fn receipt_test(below: &Path, arguments: &[&str], faults: Option<&str>) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    command.arg("receipt-test").arg("--dir").arg(below).args(arguments);
    // A setting of the operator's own daemon must not reach the test's.
    command.env("PERSEAT_HOOKS__LISTEN", "203.0.113.1:1");
    if let Some(faults) = faults {
        command.env("FAULTS", faults);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    (output, text)
}

fn number_before(text: &str, words: &str) -> u64 {
    let before = text.split(words).next().unwrap();
    before.split_whitespace().next_back().unwrap().parse().unwrap()
}

#[test]
fn a_daemon_that_is_killed_again_and_again_keeps_every_receipt() {
    let below = tempfile::tempdir().unwrap();
    let (output, text) = receipt_test(below.path(), &["--rounds", "4", "--seed", "7"], None);
    assert!(output.status.success(), "it does not hold");
    assert!(text.contains("· seed 7, 4 rounds"), "a run can be repeated");
    assert!(text.contains("fdatasync of 4 KiB: p50"), "the disk's own times are told");
    assert_eq!(
        text.lines().filter(|line| line.starts_with("round ")).count(),
        4,
        "progress is told"
    );
    let verdict = text.lines().find(|line| line.starts_with("verdict: held")).unwrap();
    let receipts = number_before(verdict, " receipts");
    assert!(receipts > 0, "there is nothing to lose");
    assert!(number_before(verdict, " executions") >= receipts);
    assert_eq!(std::fs::read_dir(below.path()).unwrap().count(), 0, "it leaves nothing behind");
}

#[test]
fn a_daemon_that_acknowledges_before_it_has_written_fails_the_test_and_its_files_stay() {
    let below = tempfile::tempdir().unwrap();
    let faults = Some("acknowledge-early,freeze-writer");
    let (output, text) = receipt_test(below.path(), &["--rounds", "1", "--seed", "7"], faults);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("was acknowledged and is lost"), "what was lost is named");
    assert!(text.contains("verdict: NOT HELD"));
    let left: Vec<_> = std::fs::read_dir(below.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "the files are there for a look");
}

#[test]
fn a_test_in_which_nothing_was_accepted_has_not_held() {
    let below = tempfile::tempdir().unwrap();
    let (output, text) = receipt_test(below.path(), &["--rounds", "1", "--seed", "7"], Some("freeze-writer"));
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("verdict: NOT TESTED. No event was accepted"), "it says why");
}

#[test]
fn a_daemon_that_ends_by_itself_fails_the_test() {
    let below = tempfile::tempdir().unwrap();
    let faults = Some("kill:frame-synced:1");
    let (output, text) = receipt_test(below.path(), &["--rounds", "4", "--seed", "18"], faults);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("WRONG  the daemon ended by itself: signal: 9"), "its end is told");
}
