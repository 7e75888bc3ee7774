//! Runs of one engine after each other.

use super::*;
use crate::js::frame::{self, Fetched, Incoming};
use std::collections::VecDeque;
use std::io::Write as _;
use std::os::unix::net::UnixStream;

fn run(number: u64) -> Run<'static> {
    Run {
        run: number,
        script: 1,
        max_ms: 60_000,
        max_cpu_ms: 60_000,
        gives_way_us: 60_000_000,
        rests: false,
        max_log_lines: 10,
        max_log_bytes: 1_000,
        max_thrown: 1_000,
        max_fetches: 1,
        max_timers: 1,
        max_result: 1_000,
        is_source: false,
        context: r#"{"customer":{"id":"1"}}"#,
        config: r#"{"Folder":"a"}"#,
        results: vec![("order", "[1,2,3]"), ("unread", "[4]")],
    }
}

struct Child {
    engine: Engine,
    link: Link,
    parent: UnixStream,
    bridge: Bridge,
    runs: u64,
}

impl Child {
    fn new(max_heap: usize) -> Self {
        let (socket, parent) = UnixStream::pair().unwrap();
        let link = Link {
            socket,
            incoming: Incoming::new(1 << 20),
            out: Vec::new(),
            runs: VecDeque::new(),
            cpu_limit: 0,
        };
        let bridge = Bridge::default();
        let engine = Engine::new(max_heap, bridge.clone()).unwrap();
        Self {
            engine,
            link,
            parent,
            bridge,
            runs: 0,
        }
    }

    /// Runs a script; its result, and the objects that there are then.
    fn run(&mut self, script: u32) -> (String, i64) {
        self.runs += 1;
        let run = Run { script, ..run(self.runs) };
        let outcome = self.engine.run(&run, &mut self.link).unwrap();
        self.bridge.take();
        (outcome.result.unwrap(), self.engine.runtime.memory_usage().obj_count)
    }

    /// Answers the first request of a run.
    fn answer(&mut self, run: u64, body: &str) {
        let answer = Ok(Fetched {
            status: 200,
            headers: Vec::new(),
            body,
        });
        let mut out = Vec::new();
        frame::push(&mut out, &ToChild::Fetched { run, call: 0, answer });
        self.parent.write_all(&out).unwrap();
    }
}

/// What refers to itself is found by a search of the whole realm alone, which costs as much as several runs.
#[test]
fn what_a_run_was_given_goes_with_it_and_needs_no_search() {
    let mut child = Child::new(64 << 20);
    child.engine.add(
        1,
        "module.exports = async (context, { order }) => { console.log('a'); return { data: order.results.length }; };",
    );
    let objects: Vec<i64> = (0..20)
        .map(|_| {
            let (result, objects) = child.run(1);
            assert_eq!(result, "3");
            objects
        })
        .collect();
    // The first one compiled the script.
    assert_eq!(objects[1], objects[19], "{objects:?}");
}

#[test]
fn small_runs_search_nothing_however_large_the_scripts_and_what_was_used_before() {
    let mut child = Child::new(16 << 20);
    let functions: String = (0..4_000)
        .map(|n| format!("function f{n}(a) {{ return a * {n} + 'text {n}' }}\n"))
        .collect();
    child
        .engine
        .add(1, &format!("{functions}module.exports = async () => ({{ data: 1 }});"));
    child
        .engine
        .add(2, "module.exports = async () => { const a = {}; a.a = a; return { data: 2 }; };");
    child.engine.add(
        3,
        "module.exports = async () => { const a = { held: new ArrayBuffer(12 << 20) }; a.a = a; for (let i = 0; i < 100; i++) [i]; return { data: 3 }; };",
    );
    child.run(1);
    assert!(child.engine.kept > 2 * child.engine.left_over, "{}", child.engine.kept);
    for script in [2, 3, 2] {
        child.run(script);
    }
    // The circles of the last run are left, and no more of the one before.
    assert!(allocated(&child.engine.runtime) < 12 << 20);
    let objects: Vec<i64> = (0..10).map(|_| child.run(2).1).collect();
    assert!(objects.is_sorted_by(|a, b| a < b), "{objects:?}");
}

#[test]
fn a_late_answer_to_one_run_is_not_taken_for_the_next_ones() {
    let mut child = Child::new(16 << 20);
    child.engine.add(
        1,
        "module.exports = async () => { fetch('https://example.com'); return { data: 1 }; };",
    );
    child.engine.add(
        2,
        "module.exports = async () => ({ data: await (await fetch('https://example.com')).text() });",
    );
    child.run(1);
    child.answer(1, "the first one's");
    child.answer(2, "the second one's");
    assert_eq!(child.run(2).0, r#""the second one's""#);
}
