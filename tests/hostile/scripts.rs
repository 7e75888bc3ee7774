//! Scripts that do not end, eat memory, or reach for the machine.

use crate::client::Answer;
use crate::harness::manifests::{code, flow};
use crate::harness::processes::children;
use crate::harness::within;
use crate::memory::{Memory, Nursery};
use crate::world::{OPEN, World, post, setup};
use serde_json::json;
use std::fs;
use std::time::Duration;

const SYNCHRONOUS: &str = "prismatic-synchronous: true\r\n";

fn scripts(scripts: &[(&str, &str)]) -> Vec<String> {
    scripts
        .iter()
        .map(|(name, script)| flow(name, OPEN, &[code("Run", script)]))
        .collect()
}

impl World {
    async fn run(&self, flow: &str) -> Answer {
        self.send(post(&self.path_of(flow).await, SYNCHRONOUS, "{}"))
    }
}

/// The child that runs scripts goes on, or another one took its place.
async fn runs_scripts(world: &World) {
    let answer = world.run("Good").await;
    assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
}

const GOOD: &str = "module.exports = async () => ({ data: { one: 1 } })";

#[tokio::test]
async fn scripts_that_do_not_end_are_killed_at_their_deadline() {
    // Long enough for a script that is over at once, in a child that has just begun.
    let setup = setup().set("code.wall", "2s").set("code.cpu", "2s");
    let world = World::with(
        setup,
        scripts(&[
            ("Good", GOOD),
            // A loop inside the engine, which its interrupt handler never sees.
            ("Deaf", "module.exports = () => ({ data: (new Array(1_000_000_000) + '').length })"),
            ("Spin", "module.exports = () => { for (;;) { try { for (;;) {} } catch {} } }"),
            (
                "Jobs",
                "module.exports = () => new Promise(() => { (function again() { Promise.resolve().then(again) })() })",
            ),
            ("Regex", "module.exports = () => ({ data: /(a*)*b/.test('a'.repeat(40)) })"),
        ]),
    )
    .await;
    for name in ["Deaf", "Spin", "Jobs", "Regex"] {
        let answer = world.run(name).await;
        assert_eq!(answer.failure(), (504, "step_timeout".to_owned()), "{name}");
        world.serves_others();
        runs_scripts(&world).await;
    }
}

#[tokio::test]
async fn memory_bombs_fail_alone_within_the_engines_heap() {
    let (setup, memory) = (setup().set("code.memory", "32MiB"), 32 << 20);
    let world = World::with(
        setup,
        scripts(&[
            ("Good", GOOD),
            ("Objects", "module.exports = () => { const all = []; for (;;) all.push(new Array(10000).fill('x'.repeat(100))) }"),
            ("Text", "module.exports = () => { let text = 'x'; for (;;) text += text }"),
            ("Buffer", "module.exports = () => ({ data: new ArrayBuffer(4_000_000_000).byteLength })"),
            ("Stack", "const f = () => f() + 1; module.exports = () => ({ data: f() })"),
            ("Logs", "module.exports = async ({ logger }) => { for (let i = 0; i < 1e5; i++) logger.info('x'.repeat(1000)); return { data: 1 } }"),
        ]),
    )
    .await
    .may_grow(memory, "code.memory");
    runs_scripts(&world).await;
    let daemon = Memory::of(world.daemon.pid());
    let nursery = Nursery::watch(world.daemon.pid());
    for name in ["Objects", "Text", "Buffer", "Stack"] {
        let answer = world.run(name).await;
        assert_eq!(answer.failure(), (400, "script_failed".to_owned()), "{name}");
        world.serves_others();
        runs_scripts(&world).await;
    }
    assert_eq!(world.run("Logs").await.status, 200, "log lines beyond the limit are left out");
    nursery.grew_within(2 * memory, "twice code.memory");
    daemon.grew_within(memory, "code.memory; nothing of a bomb reaches the daemon");
}

/// The children, once all of them are confined: one that has just begun does so itself, before it reads what it is to run.
async fn confined(daemon: u32) -> Vec<u32> {
    let is_confined = |process: &u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        status.contains("\nSeccomp:\t2\n") && status.contains("\nNoNewPrivs:\t1\n")
    };
    let mut look = tokio::time::interval(Duration::from_millis(20));
    loop {
        look.tick().await;
        let processes = children(daemon);
        if processes.iter().all(is_confined) {
            return processes;
        }
    }
}

#[tokio::test]
async fn a_script_has_no_way_to_a_process_or_a_file() {
    // Every name under which some runtime has them, as a global, as a module, and by way of the engine's own.
    let script = "
const modules = ['fs', 'node:fs', 'child_process', 'node:child_process', 'os', 'std', 'qjs:os', 'qjs:std', 'process', 'net', '/etc/passwd', './x.js', 'file:///etc/passwd'];
const globals = ['require', 'process', 'std', 'os', 'Deno', 'Bun', 'scriptArgs', 'load', 'print', 'Worker', 'WebAssembly', 'XMLHttpRequest', 'WebSocket', 'open', 'system', 'exec', 'fork', 'spawn'];
module.exports = async () => {
  const found = globals.filter((name) => { try { return (0, eval)(`typeof ${name}`) !== 'undefined' } catch { return false } });
  for (const name of modules) { try { await import(name); found.push(name) } catch {} }
  for (const name of globals) { try { if (new Function(`return typeof ${name}`)() !== 'undefined') found.push(name) } catch {} }
  return { data: { found } };
};";
    let world = World::with(setup(), scripts(&[("Good", GOOD), ("Reach", script)])).await;
    let answer = world.run("Reach").await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "found": [] })));
    runs_scripts(&world).await;
    // And were there a way, the kernel would not let the child go it.
    let processes = within("every child confines itself", confined(world.daemon.pid())).await;
    assert!(!processes.is_empty());
    for process in processes {
        let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap();
        let limits = read("limits");
        assert_eq!(read("environ"), "", "no environment");
        for limit in ["Max processes", "Max file size", "Max core file size"] {
            let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
            assert!(line[limit.len()..].trim_start().starts_with('0'), "{line}");
        }
    }
    world.serves_others();
}
