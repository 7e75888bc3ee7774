//! Code steps through real child processes.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

mod fetches;
mod isolation;
#[path = "../support/mod.rs"]
mod support;
mod turns;

use perseat_domain::id::{CustomerId, ExecutionId, UserId};
use perseat_flow::component::IdempotencyKey;
use perseat_flow::expression::Results;
use perseat_flow::js::{JsPool, Options, Part, RunError, RunReport, RunRequest, UserKey};
use perseat_flow::outbound::{self, Count, OutboundClient, Policy};
use perseat_flow::payload::{FlowContext, FlowNames, UserInfo};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

fn options() -> Options {
    Options {
        child_command: Some(vec![env!("CARGO_BIN_EXE_perseat-js-child").into()]),
        slots: 2,
        per_user: 1,
        spares: 1,
        max_heap: 32 << 20,
        ..Options::default()
    }
}

async fn pool_with(options: Options, allow: &[&str]) -> JsPool {
    let policy = Policy::new(allow.iter().map(|rule| rule.parse().unwrap()).collect(), Vec::new());
    let outbound = OutboundClient::new(policy, outbound::Options::default()).unwrap();
    JsPool::start(outbound, options).await.unwrap()
}

async fn pool() -> JsPool {
    pool_with(options(), &[]).await
}

fn owner(customer: u128, user: u128) -> UserKey {
    UserKey {
        customer: CustomerId(Uuid::from_u128(customer)),
        user: Some(UserId(Uuid::from_u128(user))),
    }
}

fn context() -> FlowContext {
    let mut names = FlowNames::default();
    "Acme".clone_into(&mut names.customer.name);
    names.user.insert(UserInfo::default()).external_id = Some("jane".into());
    FlowContext::new(String::new(), String::new(), String::new(), Arc::new(names))
}

fn results(value: Value) -> Arc<Results> {
    Arc::new(Results::of_value(value))
}

fn request(owner: UserKey, script: &str) -> RunRequest {
    RunRequest {
        owner,
        key: IdempotencyKey {
            execution: ExecutionId(Uuid::from_u128(7)),
            path: "0".into(),
        },
        script: Arc::from(script),
        part: Part::Step,
        context: Arc::new(context()),
        config: json!({ "Folder": "/in" }).to_string().into(),
        results: vec![("onTrigger".into(), results(json!({ "body": { "data": { "n": 20 } } })))],
        deadline: Instant::now() + Duration::from_secs(60),
        count: Count::default(),
    }
}

async fn run(pool: &JsPool, script: &str) -> RunReport {
    pool.run(request(owner(1, 1), script)).await
}

async fn value(pool: &JsPool, script: &str) -> Value {
    let outcome = run(pool, script).await.outcome;
    let json = outcome.unwrap_or_else(|error| panic!("{error}\nof\n{script}"));
    serde_json::from_str(&json).unwrap()
}

async fn error(pool: &JsPool, script: &str) -> RunError {
    run(pool, script).await.outcome.expect_err(script)
}

#[tokio::test]
async fn a_script_gets_results_and_context_and_gives_data() {
    let pool = pool().await;
    let script = "module.exports = async ({ configVars, customer, user }, stepResults) => ({ data: {
        n: stepResults.onTrigger.results.body.data.n + 1, folder: configVars.Folder, who: [customer.name, user.externalId] } });";
    let expected = json!({ "n": 21, "folder": "/in", "who": ["Acme", "jane"] });
    assert_eq!(value(&pool, script).await, expected);
}

#[tokio::test]
async fn every_way_to_export_the_function_works() {
    let pool = pool().await;
    for script in [
        "module.exports = async () => ({ data: 1 })",
        "exports.default = function () { return { data: 1 } }",
        "\"use strict\";\nObject.defineProperty(exports, '__esModule', { value: true });\nexports.default = async () => ({ data: 1 });",
        "const one = 1;\nexport default async function main() { return { data: one }; }",
        "'use fresh context';\nglobalThis.one = 1;\nmodule.exports = async () => ({ data: one });",
    ] {
        assert_eq!(value(&pool, script).await, json!(1), "{script}");
    }
    assert_eq!(value(&pool, "module.exports = () => {}").await, Value::Null);
}

#[tokio::test]
async fn a_script_that_throws_fails_with_its_message() {
    let pool = pool().await;
    let RunError::Threw(text) = error(&pool, "module.exports = async () => { throw new RangeError('too far') }").await else {
        panic!()
    };
    assert!(text.starts_with("RangeError: too far"), "{text}");
    let RunError::Threw(text) = error(&pool, "module.exports = {").await else {
        panic!()
    };
    assert!(text.contains("SyntaxError"), "{text}");
    let RunError::Threw(text) = error(&pool, "module.exports = 5").await else {
        panic!()
    };
    assert!(text.contains("module.exports = async"), "{text}");
    assert_eq!(error(&pool, "module.exports = () => new Promise(() => {})").await, RunError::Stuck);
    assert_eq!(
        value(&pool, "module.exports = () => ({ data: 1 })").await,
        json!(1),
        "the pool goes on"
    );
}

#[tokio::test]
async fn what_a_script_throws_is_cut_between_characters_before_it_leaves_its_process() {
    let options = Options {
        max_frame: 1 << 20,
        ..options()
    };
    let most = options.max_thrown;
    let pool = pool_with(options, &[]).await;
    let RunError::Threw(text) = error(&pool, "module.exports = () => { throw 'x' + '\u{e4}'.repeat(2_000_000) }").await else {
        panic!()
    };
    assert_eq!((text.len(), text.starts_with("x\u{e4}")), (most - 1, true));
}

#[tokio::test]
async fn half_an_emoji_crosses_as_a_replacement_character() {
    let server = support::Server::start().await;
    let pool = pool_with(options(), &[&server.address()]).await;
    let sent = format!(
        "fetch('{}?' + cut, {{ method: 'POST', headers: {{ 'x-api-key': cut }}, body: cut }})",
        server.url("/echo")
    );
    for pragma in ["", "'use fresh context';"] {
        let script = |body: &str| {
            format!("{pragma} const cut = 'so \\u{{1F600}}'.slice(0, 4); module.exports = async ({{ logger }}) => {{ {body} }}")
        };
        // What looks like half of one is none.
        let whole = r#"{ [cut]: [cut + '\ud83d', '\\' + cut + '"', '\u{1F600}', '\\ud83d', cut.slice(3)] }"#;
        let report = run(&pool, &script(&format!("logger.info(cut); return {{ data: {whole} }}"))).await;
        let data: Value = serde_json::from_str(&report.outcome.unwrap()).unwrap();
        let expected = json!({ "so \u{FFFD}": ["so \u{FFFD}\u{FFFD}", "\\so \u{FFFD}\"", "\u{1F600}", "\\ud83d", "\u{FFFD}"] });
        assert_eq!(data, expected, "{pragma}");
        assert_eq!(report.logs[0].message, "so \u{FFFD}", "{pragma}");
        let RunError::Threw(text) = error(&pool, &script("throw new Error(cut)")).await else {
            panic!()
        };
        assert!(text.starts_with("Error: so \u{FFFD}\n"), "{text}");
        let echo = value(&pool, &script(&format!("return {{ data: await (await {sent}).json() }}"))).await;
        let came = [&echo["body"], &echo["apiKey"], &echo["uri"]];
        assert_eq!(
            came,
            [&json!("so \u{FFFD}"), &json!("so \u{FFFD}"), &json!("/echo?so%20%EF%BF%BD")],
            "{pragma}"
        );
    }
}

#[tokio::test]
async fn loggers_and_console_become_bounded_log_lines() {
    let pool = pool_with(
        Options {
            max_log_lines: 4,
            ..options()
        },
        &[],
    )
    .await;
    let script = "module.exports = async ({ logger }) => { console.log('a', 1, { b: [2] }); logger.error(new Error('bad').message); logger.metric('m');
        for (let i = 0; i < 1000; i++) logger.debug(i); return { data: null } }";
    let report = run(&pool, script).await;
    let lines: Vec<(&str, &str)> = report.logs.iter().map(|line| (line.level, line.message.as_str())).collect();
    assert_eq!(
        &lines[..4],
        &[("info", "a 1 {\"b\":[2]}"), ("error", "bad"), ("metric", "m"), ("debug", "0")]
    );
    assert_eq!(lines.len(), 5);
    assert!(lines[4].1.contains("left out"));
}

#[tokio::test]
async fn a_promise_that_is_rejected_and_that_nothing_handles_is_logged() {
    let pool = pool().await;
    let script = "const sleep = () => new Promise((resolve) => setTimeout(resolve, 1));
        module.exports = async () => { Promise.reject(new TypeError('first')); (async () => { await sleep(); throw 'third' })(); Promise.reject();
        const late = Promise.reject(new Error('handled')); await sleep(); late.catch(() => {}); await sleep(); return { data: 1 } }";
    let report = run(&pool, script).await;
    assert_eq!(report.outcome, Ok("1".to_owned()));
    let lines: Vec<(&str, &str)> = report.logs.iter().map(|line| (line.level, line.message.as_str())).collect();
    let said = ["first", "undefined", "third"].map(|reason| format!("nothing waits for a promise that was rejected: {reason}"));
    assert_eq!(lines, said.each_ref().map(|line| ("warn", line.as_str())));
}

#[tokio::test]
async fn timers_run_in_order_and_can_be_cleared() {
    let pool = pool().await;
    let script = "module.exports = () => new Promise((resolve) => { const seen = []; const never = setTimeout(() => seen.push('never'), 1);
        setTimeout((x) => { seen.push(x); resolve({ data: seen }) }, 1000, 'second'); setTimeout(() => seen.push('first'), 2); clearTimeout(never); })";
    assert_eq!(value(&pool, script).await, json!(["first", "second"]));
}

#[tokio::test]
async fn nothing_survives_a_run() {
    let pool = pool_with(Options { slots: 1, ..options() }, &[]).await;
    for attempt in [
        "globalThis.leak = 1",
        "Object.prototype.leak = 1",
        "Array.prototype.push = 1",
        "Promise.prototype.then = 1",
        "Object.defineProperty(JSON, 'leak', { value: 1 })",
        "console.log.constructor.prototype.leak = 1",
        "Object.setPrototypeOf(Array.prototype, { leak: 1 })",
        "import.meta.leak = 1",
        "(function* () {}).constructor.prototype.leak = 1",
        "[][Symbol.iterator]().__proto__.leak = 1",
        "Object.getPrototypeOf(async function () {}).leak = 1",
        "(new Error()).constructor.leak = 1",
        "leak = 1",
        "this.leak = 1",
        "Array.prototype.map.leak = 1",
        "({}).hasOwnProperty.call = 1",
        "Promise.prototype.then.leak = 1",
        "(() => {}).bind.leak = 1",
        "Object.defineProperty([].push, 'name', { value: 'leak' })",
    ] {
        let script = format!(
            "module.exports = async () => {{ try {{ {attempt}; return {{ data: 'changed' }} }} catch (e) {{ return {{ data: 'refused' }} }} }}"
        );
        assert_eq!(value(&pool, &script).await, json!("refused"), "{attempt}");
    }
    // What is remembered without an exception must be gone too.
    for (write, read) in [
        ("(0, eval)('var leak = 1')", "typeof leak"),
        ("(0, eval)('let leak = 1')", "typeof leak"),
        ("new Function('globalThis.leak = 1')()", "typeof leak"),
        ("require.leak = 1", "typeof require.leak"),
        ("fetch.leak = setTimeout.leak = 1", "typeof (fetch.leak ?? setTimeout.leak)"),
        ("console.leak = exports.leak = 1", "typeof (console.leak ?? exports.leak)"),
        ("/(.)/.exec('a')", "RegExp.$1 === undefined ? 'undefined' : 'leak'"),
        ("Error.stackTraceLimit = 77", "Error.stackTraceLimit === 77 ? 'leak' : 'undefined'"),
        (
            "Error.prepareStackTrace = () => 'leak'",
            "new Error('x').stack === 'leak' ? 'leak' : 'undefined'",
        ),
        ("setTimeout(() => { console.log('leak') }, 1)", "'undefined'"),
    ] {
        let write = format!("module.exports = async () => {{ try {{ {write} }} catch {{}} return {{ data: 0 }} }}");
        assert_eq!(value(&pool, &write).await, json!(0), "{write}");
        let report = run(&pool, &format!("module.exports = async () => ({{ data: {read} }})")).await;
        assert_eq!(report.outcome.unwrap(), "\"undefined\"", "{write}");
        assert!(report.logs.is_empty(), "{write}");
    }
    assert_eq!(
        value(
            &pool,
            "module.exports = () => ({ data: [typeof WeakRef, typeof FinalizationRegistry] })"
        )
        .await,
        json!(["undefined", "undefined"])
    );
}

/// Whatever a script reaches by reading, from what it has not made itself.
#[tokio::test]
async fn nothing_that_runs_share_can_be_changed() {
    let pool = pool().await;
    let script = "module.exports = async () => {
        const seen = new Set(), open = [], left = [];
        const visit = (path, value) => {
            if (value === null || (typeof value !== 'object' && typeof value !== 'function') || seen.has(value)) return;
            seen.add(value);
            left.push([path, value]);
        };
        visit('globalThis', globalThis);
        const made = [[], {}, () => {}, function () {}, async () => {}, function* () {}, async function* () {}, class {}, /x/, new Date(), new Map(),
            new Map().entries(), new Set(), new Set().values(), [].values(), ''[Symbol.iterator](), 'a'.matchAll(/a/g), new Error('x'),
            new TypeError('x'), Promise.resolve(), new Proxy({}, {}), new Uint8Array(1), Symbol.iterator,
            1n, 1, '', true, [].values().map((x) => x)];
        made.forEach((value, n) => visit(`made ${n}`, Object.getPrototypeOf(Object(value))));
        while (left.length > 0) {
            const [path, value] = left.pop();
            if (!Object.isFrozen(value)) open.push(path);
            visit(`${path}.__proto__`, Object.getPrototypeOf(value));
            for (const key of Reflect.ownKeys(value)) {
                const property = Object.getOwnPropertyDescriptor(value, key);
                for (const part of ['value', 'get', 'set']) visit(`${path}.${String(key)}`, property[part]);
                try { visit(`${path}.${String(key)}`, value[key]) } catch {}
            }
        }
        return { data: { open, enough: seen.size > 500 } };
    }";
    assert_eq!(value(&pool, script).await, json!({ "open": [], "enough": true }));
}

#[tokio::test]
async fn module_variables_start_anew_in_every_run() {
    let pool = pool_with(Options { slots: 1, ..options() }, &[]).await;
    let script = "let count = 0; class C { static n = 0 } function f() {} const seen = f.seen; f.seen = 1;
        const tag = (s) => s; const site = tag`x`; module.exports = async () => ({ data: [++count, ++C.n, seen ?? null] })";
    for user in [1, 2, 1] {
        let report = pool.run(request(owner(1, user), script)).await;
        assert_eq!(report.outcome.unwrap(), "[1,1,null]");
    }
}

#[tokio::test]
async fn a_script_cannot_close_the_function_it_is_wrapped_in() {
    let pool = pool().await;
    for script in [
        "}); globalThis.leak = 1; (() => {",
        "}) && ((s) => () => {})({}) && (() => {",
        "a<!--b;{\n}});evil();(()=>{",
    ] {
        let RunError::Threw(text) = error(&pool, script).await else {
            panic!("{script}")
        };
        assert!(text.contains("SyntaxError"), "{text}");
    }
}

#[tokio::test]
async fn code_that_overrides_inherited_properties_works() {
    let pool = pool().await;
    let script = "class Mine extends Error { constructor(m) { super(m); this.name = 'Mine'; this.toString = () => 'mine' } }
        function Old() {} Old.prototype = Object.create(Array.prototype); Old.prototype.constructor = Old; Old.prototype.push = () => 'own';
        const o = {}; o.hasOwnProperty = 1; o.toString = () => 'o'; const e = new Mine('x');
        module.exports = async () => ({ data: [e.name, String(e), new Old().push(), o.hasOwnProperty, `${o}`, [1, 2].map((x) => x * 2), e instanceof Error] })";
    assert_eq!(value(&pool, script).await, json!(["Mine", "mine", "own", 1, "o", [2, 4], true]));
}

#[tokio::test]
async fn an_uninterruptible_script_is_killed_at_its_deadline_and_the_next_runs() {
    let pool = pool_with(Options { slots: 1, ..options() }, &[]).await;
    let before = pool.children();
    let mut stuck = request(
        owner(1, 1),
        "module.exports = () => ({ data: (new Array(1_000_000_000) + '').length })",
    );
    stuck.deadline = Instant::now() + Duration::from_millis(200);
    let waiting: Vec<_> = (0..3)
        .map(|_| request(owner(1, 1), "module.exports = () => ({ data: 'next' })"))
        .collect();
    let (stuck, next) = tokio::join!(pool.run(stuck), async {
        let mut ended = Vec::new();
        for report in futures_util::future::join_all(waiting.into_iter().map(|request| pool.run(request))).await {
            ended.push(report.outcome.unwrap());
        }
        ended
    });
    assert_eq!(stuck.outcome, Err(RunError::TimedOut));
    assert_eq!(
        next,
        vec!["\"next\""; 3],
        "only the running script fails; those behind it are sent again"
    );
    assert!(
        pool.children().iter().all(|pid| before.first() != Some(pid)),
        "the child was replaced"
    );
}

#[tokio::test]
async fn endless_scripts_stop_and_leave_the_pool_usable() {
    let pool = pool().await;
    for script in [
        "module.exports = () => { while (true) { try { while (true) {} } catch {} } }",
        "module.exports = () => new Promise(() => { (function again() { Promise.resolve().then(again) })() })",
        "module.exports = () => ({ data: /(a*)*b/.test('a'.repeat(40)) })",
    ] {
        let mut endless = request(owner(1, 1), script);
        endless.deadline = Instant::now() + Duration::from_millis(150);
        assert_eq!(pool.run(endless).await.outcome, Err(RunError::TimedOut), "{script}");
    }
    let left = "module.exports = async () => { (function again() { Promise.resolve().then(again) })(); return { data: 1 } }";
    assert_eq!(
        value(&pool, left).await,
        json!(1),
        "what a script leaves running does not change its result"
    );
    assert_eq!(value(&pool, "module.exports = () => ({ data: 2 })").await, json!(2));
}

#[tokio::test]
async fn memory_and_stack_bombs_fail_the_run_alone() {
    let pool = pool().await;
    let bomb = "module.exports = () => { const all = []; while (true) all.push(new Array(10000).fill('x'.repeat(100))) }";
    assert_eq!(error(&pool, bomb).await, RunError::OutOfMemory);
    let deep = "const f = () => f() + 1; module.exports = () => ({ data: f() })";
    assert!(
        matches!(error(&pool, deep).await, RunError::Threw(text) if text.contains("stack")),
        "a deep recursion"
    );
    assert_eq!(value(&pool, "module.exports = () => ({ data: 3 })").await, json!(3));
}

#[tokio::test]
async fn the_cpu_limit_stops_what_the_wall_clock_would_allow() {
    let pool = pool_with(
        Options {
            max_cpu: Duration::from_millis(100),
            ..options()
        },
        &[],
    )
    .await;
    assert_eq!(error(&pool, "module.exports = () => { while (true) {} }").await, RunError::OutOfCpu);
}

#[tokio::test]
async fn a_run_reports_the_cpu_time_it_took() {
    let pool = pool().await;
    let busy = run(
        &pool,
        "module.exports = () => { let n = 0; for (let i = 0; i < 300000; i++) n += i; return { data: n } }",
    )
    .await;
    let idle = run(
        &pool,
        "module.exports = () => new Promise((resolve) => setTimeout(() => resolve({ data: 1 }), 20))",
    )
    .await;
    assert!(busy.cpu > idle.cpu && idle.cpu > Duration::ZERO, "{:?} {:?}", busy.cpu, idle.cpu);
}

#[tokio::test]
async fn a_result_over_its_limit_is_refused() {
    let pool = pool_with(
        Options {
            max_result: 100,
            ..options()
        },
        &[],
    )
    .await;
    assert_eq!(
        error(&pool, "module.exports = () => ({ data: 'x'.repeat(101) })").await,
        RunError::ResultTooLarge
    );
    let small = pool_with(
        Options {
            max_frame: 8192,
            ..options()
        },
        &[],
    )
    .await;
    let mut large = request(owner(1, 1), "module.exports = () => ({})");
    large.results = vec![("a".into(), results("1".repeat(8192).into()))];
    assert_eq!(small.run(large).await.outcome, Err(RunError::InputTooLarge));
}

#[tokio::test]
async fn a_child_has_no_rights_left() {
    let pool = pool().await;
    let pids = pool.children();
    assert!(!pids.is_empty());
    for pid in pids {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
                .map(str::to_owned)
        };
        assert_eq!(field("Seccomp:").as_deref(), Some("2"));
        assert_eq!(field("NoNewPrivs:").as_deref(), Some("1"));
        assert_eq!(
            std::fs::read(format!("/proc/{pid}/environ")).unwrap(),
            b"",
            "its environment is empty"
        );
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        for limit in ["Max processes", "Max file size", "Max core file size"] {
            let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
            assert_eq!(line[limit.len()..].split_whitespace().next(), Some("0"), "{limit}");
        }
    }
}

#[tokio::test]
async fn fetch_goes_through_the_guard_with_idempotency_keys() {
    let server = support::Server::start().await;
    let pool = pool_with(options(), &[&server.address()]).await;
    let url = server.url("/echo");
    let script = format!(
        "module.exports = async () => {{
            const a = await fetch('{url}', {{ method: 'POST', headers: {{ 'Content-Type': 'application/json' }}, body: JSON.stringify({{ n: 1 }}) }});
            const [b, c] = await Promise.all([fetch('{url}'), fetch('{url}', {{ headers: [['Idempotency-Key', 'own']] }})]);
            return {{ data: [a.status, a.ok, a.headers.get('X-Test'), (await a.json()).body, (await b.json()).key, (await c.json()).key] }} }}"
    );
    let key = format!("{}:0", ExecutionId(Uuid::from_u128(7)));
    assert_eq!(
        value(&pool, &script).await,
        json!([200, true, "yes", "{\"n\":1}", format!("{key}:1"), "own"])
    );
    let refused = "module.exports = async () => { try { await fetch('http://127.0.0.1:1/') } catch (e) { return { data: e.message } } }";
    assert!(value(&pool, refused).await.as_str().unwrap().contains("outbound.allow"));
    let talkative = format!(
        "module.exports = async () => {{
            const headers = [...Array(40000).keys()].map((n) => ['x-' + n, 'v']);
            try {{ await fetch('{url}', {{ headers }}) }} catch (e) {{ return {{ data: e.message }} }} }}"
    );
    assert!(value(&pool, &talkative).await.as_str().unwrap().contains("outbound.max-headers"));
    let many = format!("module.exports = async () => {{ for (let i = 0; i < 5; i++) await fetch('{url}'); return {{ data: 1 }} }}");
    let few = pool_with(
        Options {
            max_fetches: 2,
            ..options()
        },
        &[&server.address()],
    )
    .await;
    assert!(matches!(error(&few, &many).await, RunError::Threw(text) if text.contains("fetch too often")));
}

#[tokio::test]
async fn a_program_that_is_no_child_is_refused_at_start() {
    let outbound = OutboundClient::new(Policy::default(), outbound::Options::default()).unwrap();
    let wrong = Options {
        child_command: Some(vec!["/bin/true".into()]),
        ..Options::default()
    };
    assert!(JsPool::start(outbound.clone(), wrong).await.is_err());
    let missing = Options {
        child_command: Some(vec!["/nonexistent".into()]),
        ..Options::default()
    };
    assert!(JsPool::start(outbound, missing).await.is_err());
}
