//! What one user's script can learn of another's that ran before it in the same process, and what it is left to run with.

use super::{Options, RunError, json, options, owner, pool, pool_with, request, value};
use serde_json::Value;

const REFUSED: &str = "import is not available in code steps";

/// Runs one user's script, then another's in the same process; what the other one gives.
async fn after(first: &str, second: &str) -> Value {
    let pool = pool_with(Options { slots: 1, ..options() }, &[]).await;
    pool.run(request(owner(1, 1), first)).await.outcome.unwrap();
    let json = pool.run(request(owner(1, 2), second)).await.outcome.unwrap();
    serde_json::from_str(&json).unwrap()
}

#[tokio::test]
async fn no_script_can_be_imported_by_another() {
    let first = "const password = 'of jane'; module.exports = async () => ({ data: password.length });";
    for directive in ["", "'use fresh context';\n"] {
        let second = format!(
            "{directive}const shown = (module) => `${{Object.values(module).map(String)}}`;
            const tried = async (attempt) => {{ try {{ return shown(await attempt()) }} catch (e) {{ return e.message }} }};
            const names = ['code-0', 'code-1', './code-0', 'x/../code-0', 'code', '', '<input>', '<evalScript>', 'eval_script', 'std'];
            module.exports = async () => {{
                const said = [];
                for (const name of names) said.push(await tried(() => import(name)));
                if ((await tried(() => import('\\ud800'))).includes('jane')) said.push('by a name that is no text');
                said.push(await tried(() => import('code-0', {{ with: {{}} }})), await tried(() => import('code-0', {{ with: {{ type: 'json' }} }})));
                said.push(await tried(() => eval('import(\"code-0\")')), await tried(() => (0, eval)('import(\"code-0\")')));
                said.push(await tried(new Function('return import(\"code-0\")')));
                return {{ data: said }};
            }};"
        );
        let said = after(first, &second).await;
        let said: Vec<&str> = said.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        assert_eq!(said, vec![REFUSED; said.len()], "{directive}");
    }
}

#[tokio::test]
async fn a_script_that_imports_is_told_that_it_cannot() {
    let pool = pool().await;
    for script in [
        "import fs from 'fs';\nmodule.exports = async () => ({ data: 1 })",
        "module.exports = async () => { await import('fs') }",
    ] {
        let outcome = pool.run(request(owner(1, 1), script)).await.outcome;
        assert!(
            matches!(&outcome, Err(RunError::Threw(text)) if text.contains(REFUSED)),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn what_a_run_leaves_behind_takes_nothing_of_the_next_ones_memory() {
    let max_heap = 128 << 20;
    let pool = pool_with(
        Options {
            slots: 1,
            max_heap,
            ..options()
        },
        &[],
    )
    .await;
    // The collector looks while the buffer is in use, and then not before twice as much is: only it finds the circle.
    let first = "module.exports = async () => {
        const circle = { held: new ArrayBuffer(100 << 20) }; circle.self = circle;
        const small = []; for (let i = 0; i < 1000; i++) small.push({ i });
        return { data: circle.held.byteLength };
    };";
    let second = "module.exports = async () => ({ data: new ArrayBuffer(100 << 20).byteLength });";
    for (user, script) in [(1, first), (2, second), (1, first), (2, first)] {
        let outcome = pool.run(request(owner(1, user), script)).await.outcome;
        assert_eq!(outcome.as_deref(), Ok("104857600"), "user {user}: {script}");
    }
}

#[tokio::test]
async fn random_numbers_are_the_kernels() {
    let pool = pool_with(Options { slots: 1, ..options() }, &[]).await;
    for directive in ["", "'use fresh context';\n"] {
        let script = format!(
            "{directive}module.exports = async () => {{
                const drawn = Array.from({{ length: 1000 }}, () => Math.random());
                const [smallest, largest] = [Math.min(...drawn), Math.max(...drawn)];
                // The engine's own generator gives 52 bits.
                const halves = drawn.filter((value) => value * 2 ** 52 % 1 !== 0).length;
                return {{ data: [new Set(drawn).size, drawn.every((value) => value >= 0 && value < 1), smallest < 0.1, largest > 0.9,
                    drawn.every((value) => value * 2 ** 53 % 1 === 0), halves > 0] }};
            }};"
        );
        assert_eq!(
            value(&pool, &script).await,
            json!([1000, true, true, true, true, true]),
            "{directive}"
        );
    }
    let like_any = "const of = (name) => Object.getOwnPropertyDescriptor(Math.random, name)?.value ?? null;
        const { writable, enumerable, configurable } = Object.getOwnPropertyDescriptor(Math, 'random');
        const constructed = () => { try { new Math.random(); return true } catch (e) { return e instanceof TypeError ? false : null } };
        module.exports = async () => ({ data: [of('name'), of('length'), of('prototype'), typeof Math.random, Math.random instanceof Function,
            String(Math.random).includes('[native code]'), constructed(), enumerable, [writable, configurable]] });";
    for (directive, changeable) in [("", false), ("'use fresh context';\n", true)] {
        assert_eq!(
            value(&pool, &format!("{directive}{like_any}")).await,
            json!(["random", 0, null, "function", true, true, false, false, [changeable, changeable]]),
            "{directive}"
        );
    }
}
