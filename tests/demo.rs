//! `perseat demo --once`, as a newcomer runs it: from any folder, with nothing set up.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    // A setting of the caller's own daemon must not reach the demo's.
    command.current_dir(folder.path()).env("PERSEAT_HOOKS__LISTEN", "203.0.113.1:1");
    let output = command.args(["demo", "--once"]).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

/// The rows of the table, as lists of words.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let is_row = |line: &&str| line.split(' ').next().is_some_and(|number| number.parse::<u32>().is_ok()) && !line.contains(" of ");
    text.lines().filter(is_row).map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn every_webhook_reaches_the_provider_with_its_own_users_token_or_is_refused() {
    let (output, text) = demo(&[]);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let rows = rows(&text);
    assert!(rows.iter().all(|row| row.last() == Some(&"yes")), "{text}");
    let with = |words: &[&str]| rows.iter().filter(|row| words.iter().all(|word| row.contains(word))).count();
    for customer in ["globex", "initech"] {
        for user in ["jane", "bob"] {
            let account = format!("{customer}/{user}");
            let routed = ["instance-specific", "shared"].map(|endpoint| ["headers", "query", "body"].map(|by| (endpoint, by)));
            for (endpoint, by) in routed.into_iter().flatten().chain([("flow-specific", "URL")]) {
                // The row of Bob's header on Jane's URL is one more.
                let extra = usize::from(by == "URL" && account == "globex/jane");
                assert_eq!(
                    with(&[endpoint, by, &account, "200"]),
                    2 + extra,
                    "{endpoint} by {by} for {account}\n{text}"
                );
            }
        }
        assert_eq!(
            with(&["instance-specific", customer, "-", "null", "200"]),
            2,
            "without users\n{text}"
        );
    }
    for (status, code) in [
        ("404", "user_not_found"),
        ("403", "organization_user_not_allowed"),
        ("409", "user_not_configured"),
        ("401", "api_key_invalid"),
    ] {
        assert!(with(&[status, code]) >= 2, "{status} {code}\n{text}");
    }
    assert_eq!(rows.len(), 87, "the figure that the README gives\n{text}");
    assert!(include_str!("../README.md").contains("87 rows"));
    assert_eq!(
        with(&["jane,", "bob", "header", "globex/jane"]),
        1,
        "what the URL fixes stays\n{text}"
    );
}

#[test]
fn a_provider_that_sees_another_users_token_fails_the_demo() {
    let (output, text) = demo(&["--swap-tokens"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(r#"token of: expected "globex/jane", found "globex/bob""#), "{text}");
    let rows = rows(&text);
    let wrong = rows.iter().filter(|row| row.last() == Some(&"NO"));
    assert_eq!(wrong.count(), 29, "the rows of the two users and no others\n{text}");
}
