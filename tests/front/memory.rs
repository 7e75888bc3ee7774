//! Executions that find no memory, what is large in those that do, and what counts of what they have written.

use crate::daemon::Daemon;
use crate::executions::{Running, assert_ended, start};
use crate::http::request;
use crate::set_up::{customer, user, user_config};
use serde_json::json;

/// Posts an event of so many letters; nobody waits for what comes of it.
fn flood(run: &Running, url: &str, letters: usize) {
    let body = json!({ "text": "x".repeat(letters) });
    assert_eq!(run.daemon.call(&request("POST", url).json(&body)).status, 200);
}

#[test]
fn what_finds_no_memory_leaves_its_slot_to_others() {
    let run = start(
        "front.max-body = \"256KiB\"\nexecution.memory = \"4MiB\"\nexecution.slots = 8\n\
         execution.timeout = \"10m\"\n",
    );
    // Each is below its share of the slots, and all together want more than there are, and twice the memory of their customer.
    let names: Vec<String> = (0..5).map(|n| format!("user-{n}")).collect();
    let of = |name: &String| user("globex", name) + &user_config("globex", "Runs", name);
    let other = customer("hooli") + &user("hooli", "zoe") + &crate::executions::instance_of(&run.provider, "hooli");
    run.daemon
        .add(&(names.iter().map(of).collect::<String>() + &other + &user_config("hooli", "Runs", "zoe")));
    let urls = run.daemon.endpoints();
    for name in &names {
        for _ in 0..4 {
            flood(&run, &urls.path("Runs", "globex", name, "Hang"), 250_000);
        }
    }
    run.provider.wait_for("/hang", 2);
    for _ in 0..5 {
        let url = urls.path("Runs", "hooli", "zoe", "Call");
        let asked = request("POST", &url)
            .header("prismatic-synchronous", "true")
            .json(&json!({ "text": "hello" }));
        assert_eq!(run.daemon.call(&asked).status, 200);
    }
    assert!(run.provider.seen("/hang").len() < 5, "there is no memory for more");
    run.provider.release();
    run.provider.wait_for("/hang", 20);
}

/// Builds with faults say what is large and sealed or opened by a thread on which others wait.
fn assert_light(daemon: &Daemon) {
    let log = daemon.log();
    assert!(!log.contains("sealed or opened on an arbiter"), "{log}");
}

#[test]
fn nothing_large_is_sealed_or_opened_where_others_wait() {
    let run = start("front.max-body = \"1MiB\"\n");
    assert_eq!(run.ask("globex", "jane", "Much").status, 200);
    flood(&run, &run.url("globex", "bob", "Heavy"), 500_000);
    run.provider.wait_for("/hang/heavy", 1);
    assert_light(&run.daemon);
    let Running { provider, daemon, .. } = run;
    let daemon = daemon.kill_and_restart();
    provider.wait_for("/hang/heavy", 2);
    assert_light(&daemon);
}

#[test]
fn what_a_users_steps_have_written_and_is_kept_counts_for_that_user_alone() {
    let run = start("admission.user-bytes = \"256KiB\"\nadmission.wait = \"20ms\"\n");
    let first = run.accept("globex", "jane", "Heavy");
    run.provider.wait_for("/hang/heavy", 1);
    let refused = run.daemon.call(&request("POST", &run.url("globex", "jane", "Call")));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "rate_limited"),
        "{}",
        refused.text()
    );
    assert_eq!(run.ask("globex", "bob", "Call").status, 200, "another user");
    run.provider.release();
    assert_ended("let in", &run.end(&first), "succeeded", None);
    run.daemon.until_nothing_lives();
    assert_eq!(run.ask("globex", "jane", "Call").status, 200, "there is room again");
}
