//! What happens where a step fails.

use crate::executions::{assert_ended, start};
use serde_json::json;

#[test]
fn a_failing_step_is_ignored_or_tried_again_as_its_policy_says() {
    let run = start("");
    let ignored = run.accept("globex", "jane", "Ignore");
    assert_ended("ignored", &run.end(&ignored), "succeeded", None);
    let steps = run.daemon.execution(&ignored)["steps"].clone();
    assert_eq!(
        (&steps[0]["status"], &steps[1]["status"]),
        (&json!("Ignored"), &json!("Ok")),
        "{steps}"
    );
    assert_eq!(run.provider.seen("/echo/after-ignore").len(), 1);

    let retried = run.accept("globex", "jane", "Retry");
    assert_ended("retried", &run.end(&retried), "succeeded", None);
    let steps = run.daemon.execution(&retried)["steps"].clone();
    assert_eq!(
        (&steps[0]["name"], &steps[0]["status"], &steps[0]["tries"]),
        (&json!("Send"), &json!("Ok"), &json!(3)),
        "{steps}"
    );
    assert_eq!(
        (run.provider.seen("/flaky/2").len(), run.provider.seen("/echo/after-retry").len()),
        (3, 1)
    );

    let retried = run.accept("globex", "jane", "Fetch");
    assert_ended("a script whose request did not get through", &run.end(&retried), "succeeded", None);
    let shown = run.daemon.execution(&retried);
    let steps = shown["steps"].clone();
    assert_eq!((&steps[0]["status"], &steps[0]["tries"]), (&json!("Ok"), &json!(3)), "{steps}");
    let parts = shown["logs"].as_array().unwrap().iter();
    let lines: Vec<(&str, &str)> = parts
        .flat_map(|part| part.as_array().unwrap())
        .map(|line| (line["level"].as_str().unwrap(), line["message"].as_str().unwrap()))
        .collect();
    let is_said = |at: usize| lines[at] == ("info", "sending");
    let is_told = |at: usize| lines[at].0 == "warn" && lines[at].1.starts_with("failed, and is tried again in ");
    assert!(
        lines.len() == 5 && [0, 2, 4].into_iter().all(is_said) && [1, 3].into_iter().all(is_told),
        "each try, and why it failed: {lines:?}"
    );
    let keys: Vec<String> = run.provider.seen("/closing/2").into_iter().map(|seen| seen.key).collect();
    assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");

    let given_up = run.accept("globex", "jane", "Give Up");
    let (status, code, failed) = run.end(&given_up);
    assert_eq!((status.as_str(), code, failed), ("failed", json!("step_failed"), json!("Send")));
    assert_eq!(
        (
            run.provider.seen("/fail/given-up").len(),
            run.provider.seen("/echo/after-give-up").len()
        ),
        (2, 0)
    );
}
