//! What becomes of executions whose actor dies, and of an end that cannot be written.

use crate::daemon::Daemon;
use crate::executions::{ONE_SLOT, OPEN, Running, assert_ended, start};
use crate::http::{PATIENCE, request};
use crate::set_up::{code, customer, instance_with, integration, organization};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

/// Ends those who ask again, also where the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_ran_when_its_actor_died_goes_on_once_and_ends_at_the_third_death() {
    for switch in ["fail-users", "fail-instances"] {
        let run = start("supervision.back-off = \"10ms\"\n");
        let id = run.accept("globex", "jane", "Three");
        run.provider.wait_for("/hang/two", 1);
        run.daemon.switch(switch);
        let twos = run.provider.wait_for("/hang/two", 2);
        assert_eq!(twos[0].key, twos[1].key, "{switch}");
        run.provider.release();
        assert_ended(switch, &run.end(&id), "succeeded", None);
        let sent = ["/echo/one", "/hang/two", "/echo/last"].map(|path| run.provider.seen(path).len());
        assert_eq!(sent, [1, 2, 1], "{switch}: nothing ran beside its successor");

        let run = start("supervision.back-off = \"10ms\"\n");
        let id = run.accept("globex", "jane", "Three");
        for death in 1..=3 {
            run.provider.wait_for("/hang/two", death);
            run.daemon.switch(switch);
        }
        assert_ended(switch, &run.end(&id), "quarantined", Some("quarantined"));
        assert_eq!(run.ask("globex", "jane", "Call").status, 200, "{switch}: its user goes on");
    }
}

#[test]
fn what_was_through_when_its_actor_died_is_not_run_again() {
    for switch in ["fail-users", "fail-instances"] {
        let run = start(&format!("{ONE_SLOT}supervision.back-off = \"10ms\"\n"));
        std::thread::scope(|scope| {
            let caller = scope.spawn(|| run.ask("globex", "jane", "Held"));
            run.provider.wait_for("/hang/held", 1);
            // Its caller hears of the end, and the journal's writer stops before it writes it.
            run.daemon.switch("acknowledge-early");
            run.daemon.switch("freeze-writer");
            run.provider.release();
            assert_eq!(caller.join().unwrap().status, 200, "{switch}");
        });
        run.daemon.switch(switch);
        run.daemon.log_line(&["actor may start again"]);
        run.daemon.switch_off("acknowledge-early");
        run.daemon.switch_off("freeze-writer");
        // It would go before the next of its user, in the only slot.
        assert_eq!(run.ask("globex", "jane", "Call").status, 200, "{switch}");
        assert_eq!(run.provider.seen("/hang/held").len(), 1, "{switch}");
    }
}

#[test]
fn whoever_waits_for_an_answer_that_cannot_be_made_is_refused_and_gets_none_of_the_results() {
    let daemon = Daemon::start("");
    let told = code("Tell", "module.exports = async () => ({ data: 'told to jane' });");
    let flows = integration("Replies", "flow_specific").plain().flow("Reply", true, OPEN, &[told]);
    // No status is called like a folder.
    let reply = "inputs: {statusCode: {type: configVar, value: Folder}}";
    let variables = "Provider: http://127.0.0.1:9, Folder: /, Account: {fields: {token: a-token-4711}}";
    let manifest = flows.manifest().replacen("inputs: {}", reply, 1);
    daemon.set_up(&(organization(false) + &customer("globex") + &manifest + &instance_with("globex", "Replies", "", variables)));
    let answer = daemon.call(&request("POST", &daemon.endpoints().path("Replies", "globex", "", "Reply")));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "expression_invalid"),
        "{}",
        answer.text()
    );
    assert!(!answer.text().contains("told to jane"), "{}", answer.text());
    let ended = daemon.ended(&answer.execution());
    assert_eq!(ended["failedStep"], json!(null), "{ended}");
    assert_eq!((&ended["status"], &ended["code"]), (&json!("failed"), &json!("expression_invalid")));
}

#[test]
fn an_end_for_which_there_is_no_room_is_written_once_there_is() {
    const ROOM: usize = 8;
    let run = start(&format!("journal.queue-entries = {ROOM}\nexecution.full-retry = \"10ms\"\n"));
    let id = run.accept("globex", "jane", "Held");
    run.provider.wait_for("/hang/held", 1);
    run.daemon.switch("freeze-writer");
    let url = run.url("globex", "bob", "Call");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (answered, answers) = channel();
        // The writer may take once more before it stops: whoever is refused asks again, until what waits for it is full for good.
        for _ in 0..=ROOM {
            let (run, url, answered, is_over) = (&run, &url, answered.clone(), &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let _ = answered.send(run.daemon.call(&request("POST", url).json(&json!({}))).status);
                }
            });
        }
        let _over = Over(&is_over);
        let refused = answers.iter().filter(|status| *status == 429).take(20 * ROOM);
        assert_eq!(refused.count(), 20 * ROOM);
        run.provider.release();
        run.daemon.log_line(&["no room to record the end"]);
        run.daemon.switch_off("freeze-writer");
    });
    assert_ended("tried again", &run.end(&id), "succeeded", None);
    assert_eq!(run.provider.seen("/hang/held").len(), 1);
}

#[test]
fn a_caller_who_waits_while_the_daemon_dies_gets_no_answer_and_the_execution_ends() {
    let Running { provider, daemon, urls } = start("");
    let url = urls.path("Runs", "globex", "jane", "Hang");
    let mut caller = TcpStream::connect(daemon.hooks).unwrap();
    caller.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers = "host: perseat\r\nprismatic-synchronous: true\r\ncontent-type: application/json\r\ncontent-length: 2";
    write!(caller, "POST {url} HTTP/1.1\r\n{headers}\r\n\r\n{{}}").unwrap();
    provider.wait_for("/hang", 1);
    let running = daemon.local(&request("GET", "/executions?status=running")).json();
    let id = running["executions"][0]["id"].as_str().unwrap().to_owned();
    let daemon = daemon.kill_and_restart();
    let mut answer = Vec::new();
    // Closed or reset.
    let _ = caller.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    provider.wait_for("/hang", 2);
    provider.release();
    assert_eq!(daemon.ended(&id)["status"], "succeeded");
}

/// With segments of 1 MiB one append takes half of that, so that a result and the answer with it need two.
#[test]
fn what_one_append_does_not_take_is_written_by_two_and_an_endless_message_is_cut() {
    let run = start("journal.segment = \"1MiB\"\nfront.max-body = \"256KiB\"\nexecution.max-step-result = \"384KiB\"\n");
    let answer = run.ask("globex", "jane", "Much");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().len() >= 390_000, "{}", answer.text());
    let id = run.accept("globex", "jane", "Scream");
    assert_ended("an endless message", &run.end(&id), "failed", Some("script_failed"));
    let message = run.daemon.execution(&id)["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("step \"Scream\" failed: ") && message.ends_with("(cut)"),
        "{message}"
    );
    assert_eq!(run.ask("globex", "jane", "Call").status, 200, "its slot is free");
}

/// The result is durable when the daemon dies, and with the segments that it starts with again no append takes it once more.
#[test]
fn an_answer_that_lower_limits_do_not_take_any_more_ends_its_execution_all_the_same() {
    let mut run = start("journal.segment = \"2MiB\"\nfront.max-body = \"256KiB\"\nexecution.max-step-result = \"896KiB\"\n");
    let answered = run.ask("globex", "jane", "More");
    assert_eq!(answered.status, 200, "{}", answered.text());
    // The event's frame, that of its start, and that of the result without the end.
    run.daemon.switch("kill:frame-synced:3");
    let mut caller = TcpStream::connect(run.daemon.hooks).unwrap();
    let url = run.url("globex", "jane", "More");
    write!(caller, "POST {url} HTTP/1.1\r\nhost: perseat\r\ncontent-length: 0\r\n\r\n").unwrap();
    run.daemon.until_ended();
    let lower = [("journal.segment", "1MiB"), ("execution.max-step-result", "384KiB")];
    run.daemon.process.restart_with(&lower);
    let all = run.daemon.local(&request("GET", "/executions")).json();
    let [last, _] = &all["executions"].as_array().unwrap()[..] else {
        panic!("{all}")
    };
    let id = last["id"].as_str().unwrap();
    assert_ended("an answer that nothing takes", &run.end(id), "failed", Some("result_too_large"));
    let ended = run.daemon.execution(id);
    assert_eq!(ended["steps"][0]["status"], "Ok", "its step was through before: {ended}");
}
