//! Who gets a child, for how long, and what becomes of the others.

use super::support::Withholding;
use super::*;
use std::collections::BTreeSet;

#[tokio::test]
async fn a_child_serves_one_customer() {
    let pool = pool_with(
        Options {
            slots: 1,
            spares: 2,
            kept: 1,
            ..options()
        },
        &[],
    )
    .await;
    let script = "module.exports = () => ({ data: 1 })";
    let mut seen = BTreeSet::new();
    for customer in [1, 2, 3, 1, 2, 3] {
        let report = pool.run(request(owner(customer, 1), script)).await;
        assert_eq!(report.outcome.unwrap(), "1");
        seen.extend(pool.children());
    }
    // A single one is kept, and at each turn that is the one of another customer.
    assert!(seen.len() >= 6, "{seen:?}");
}

/// What a terminal sends to the daemon's group, Ctrl-C say, ends no script.
#[tokio::test]
async fn a_child_is_in_a_group_of_its_own() {
    let pool = pool().await;
    for pid in pool.children() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let group = stat.rsplit(')').next().unwrap().split_whitespace().nth(2).unwrap();
        assert_eq!(group, pid.to_string());
    }
}

#[tokio::test]
async fn one_users_endless_scripts_leave_half_of_the_slots_to_others() {
    let pool = pool().await;
    let greedy = (0..8).map(|_| pool.run(request(owner(1, 1), "module.exports = () => { while (true) {} }")));
    let greedy = futures_util::future::join_all(greedy);
    let other = async {
        for _ in 0..3 {
            let report = pool.run(request(owner(1, 2), "module.exports = () => ({ data: 'quick' })")).await;
            assert_eq!(report.outcome.unwrap(), "\"quick\"");
        }
    };
    tokio::select! {
        biased;
        ended = greedy => panic!("the other user waited for them: {ended:?}"),
        () = other => {}
    }
}

#[tokio::test]
async fn scripts_that_wait_leave_their_slots_to_others() {
    let server = Withholding::start(10).await;
    let limits = Options {
        slots: 1,
        aside: 8,
        ..options()
    };
    let pool = pool_with(limits, &[&server.address]).await;
    let script = format!(
        "module.exports = async () => {{
            const all = await Promise.all([fetch('{0}'), fetch('{1}')]);
            return {{ data: (await all[0].text()).length }} }}",
        server.url("/"),
        server.url("/whole")
    );
    let all = (1..=4).map(|user| pool.run(request(owner(1, user), &script)));
    let all = futures_util::future::join_all(all);
    let opened = async {
        // All at once, and one answer of each has come.
        server.was_asked(8).await;
        let quick = pool.run(request(owner(1, 5), "module.exports = () => ({ data: 'quick' })")).await;
        assert_eq!(quick.outcome.unwrap(), "\"quick\"");
        server.open.send_replace(true);
    };
    let (ended, ()) = tokio::join!(all, opened);
    assert!(ended.iter().all(|report| report.outcome == Ok("10".into())), "{ended:?}");
    let next = pool.run(request(owner(1, 1), "module.exports = () => ({ data: 1 })")).await;
    assert_eq!(next.outcome.unwrap(), "1");
}

#[tokio::test]
async fn one_customers_scripts_that_wait_leave_slots_to_others() {
    let limits = Options {
        slots: 4,
        aside: 4,
        ..options()
    };
    let pool = pool_with(limits, &[]).await;
    let hang = "module.exports = () => new Promise((resolve) => setTimeout(resolve, 1e9))";
    let hanging = (1..=20).map(|user| pool.run(request(owner(1, user), hang)));
    let hanging = futures_util::future::join_all(hanging);
    let other = async {
        // Half of those that may step aside, and all slots but the last quarter.
        while pool.waiting() != 20 - 2 - 3 {
            tokio::task::yield_now().await;
        }
        for user in 1..=3 {
            let report = pool
                .run(request(owner(2, user), "module.exports = () => ({ data: 'quick' })"))
                .await;
            assert_eq!(report.outcome.unwrap(), "\"quick\"");
        }
        let mut late = request(owner(1, 30), "module.exports = () => ({ data: 1 })");
        late.deadline = Instant::now() + Duration::from_millis(10);
        assert_eq!(pool.run(late).await.outcome, Err(RunError::NoChild));
    };
    tokio::select! {
        biased;
        ended = hanging => panic!("the other customer waited for them: {ended:?}"),
        () = other => {}
    }
}

#[tokio::test]
async fn waiting_for_a_child_does_not_use_up_a_runs_time() {
    // Long enough for a script that is over at once, however late it is scheduled.
    let max_time = Duration::from_secs(2);
    let pool = pool_with(Options { max_time, ..options() }, &[]).await;
    let endless = || run(&pool, "module.exports = () => { for (;;); }");
    let quick = value(&pool, "module.exports = () => ({ data: 1 })");
    // The user's only child is busy twice as long as one run may take; a run is asked to stop shortly before its end.
    let begun = Instant::now();
    let (first, second, quick) = tokio::join!(endless(), endless(), quick);
    for report in [first, second] {
        assert_eq!(report.outcome, Err(RunError::TimedOut));
    }
    assert!(begun.elapsed() > max_time * 3 / 2, "one after another, each with a time of its own");
    assert_eq!(quick, json!(1));
}

/// Whether this process has given way: its nice value is raised.
fn gives_way(pid: u32) -> Option<bool> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')')
        .next()?
        .split_whitespace()
        .nth(16)?
        .parse::<i32>()
        .ok()
        .map(|nice| nice >= 10)
}

#[tokio::test]
async fn a_script_that_computes_for_long_gives_way_and_costs_its_child() {
    let pool = pool().await;
    let before = pool.children();
    assert_eq!(gives_way(before[0]), Some(false));
    let script = "module.exports = () => { const end = Date.now() + 2000; while (Date.now() < end); return { data: 1 } }";
    let slow = |pid: &u32| gives_way(*pid) == Some(true);
    let it_gives_way = async {
        loop {
            if let Some(pid) = pool.children().into_iter().find(slow) {
                return pid;
            }
            tokio::task::yield_now().await;
        }
    };
    let long = value(&pool, script);
    tokio::pin!(long);
    let slow_child = tokio::select! {
        biased;
        pid = it_gives_way => pid,
        _ = &mut long => panic!("it never gave way"),
    };
    assert_eq!(long.await, json!(1));
    assert!(!pool.children().contains(&slow_child), "it is not used again");
    // Another user's: one of its own would give way sooner, and on a busy machine might.
    let next = pool.run(request(owner(1, 2), "module.exports = () => ({ data: 2 })")).await;
    assert_eq!(next.outcome.unwrap(), "2");
    assert!(!pool.children().iter().any(slow), "the next runs are as quick as before");
}

#[tokio::test]
async fn a_script_of_a_user_whose_last_one_was_endless_rests_most_of_the_time() {
    let pool = pool().await;
    let spin = "module.exports = () => { const end = Date.now() + 500; while (Date.now() < end); return { data: 1 } }";
    let mut endless = request(owner(1, 1), "module.exports = () => { for (;;); }");
    endless.deadline = Instant::now() + Duration::from_millis(300);
    assert_eq!(pool.run(endless).await.outcome, Err(RunError::TimedOut));
    let next = pool.run(request(owner(1, 1), spin)).await;
    assert_eq!(next.outcome.unwrap(), "1");
    assert!(next.cpu < Duration::from_millis(250), "it computed for {:?} of 500 ms", next.cpu);
}

#[tokio::test]
async fn too_many_waiting_runs_are_refused() {
    let pool = pool_with(
        Options {
            slots: 1,
            in_flight: 1,
            max_waiting: 1,
            ..options()
        },
        &[],
    )
    .await;
    let slow = || {
        request(
            owner(1, 1),
            "module.exports = () => new Promise((resolve) => setTimeout(() => resolve({ data: 1 }), 50))",
        )
    };
    let ended = futures_util::future::join_all((0..4).map(|_| pool.run(slow()))).await;
    let busy = ended.iter().filter(|report| report.outcome == Err(RunError::Busy)).count();
    assert_eq!(busy, 2, "one runs, one waits");
}

#[tokio::test]
async fn what_waits_behind_a_slow_script_goes_to_a_free_child_and_runs_once() {
    let server = support::Server::start().await;
    let options = Options {
        slots: 4,
        per_user: 2,
        spares: 2,
        ..options()
    };
    let pool = pool_with(options, &[&server.address()]).await;
    let silent = format!("module.exports = async () => {{ await fetch('{}'); }}", server.url("/silent"));
    let echo = server.url("/echo");
    let echo = format!("module.exports = async () => {{ await fetch('{echo}'); return {{ data: 1 }} }}");
    let mut slow = Box::pin(run(&pool, &silent));
    let begun = async {
        while server.requests() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut slow => panic!("it waits for ever"),
        () = begun => {}
    }
    let behind = futures_util::future::join_all((0..4).map(|_| value(&pool, &echo)));
    tokio::select! {
        _ = &mut slow => panic!("it waits for ever"),
        values = behind => assert_eq!(values, [json!(1), json!(1), json!(1), json!(1)]),
    }
    drop(slow);
    assert_eq!(value(&pool, &echo).await, json!(1), "the pool goes on");
    assert_eq!(server.requests(), 1 + 4 + 1, "each ran once");
}

#[tokio::test]
async fn whatever_one_users_run_does_those_who_wait_in_its_child_end_well_and_run_once() {
    let server = support::Server::start().await;
    let silent = support::Withholding::start(1).await;
    let options = Options {
        slots: 1,
        spares: 2,
        // Whoever waits in a child stays there until it ends or sends a request.
        begin_within: Duration::from_secs(30),
        ..options()
    };
    let pool = pool_with(options, &[&server.address(), &silent.address]).await;
    let script = format!(
        "module.exports = async (context, {{ what }}) => {{
            switch (what.results) {{
                case 'computes': for (;;);
                case 'hoards': for (const all = [];;) all.push(new Array(10_000).fill(1));
                case 'sleeps': await new Promise((resolve) => setTimeout(resolve, 3_600_000)); break;
                case 'waits': await fetch('{}'); break;
                case 'sends': await fetch('{}'); break;
                case 'throws': throw new Error('no');
            }}
            return {{ data: what.results }};
        }}",
        silent.url("/"),
        server.url("/echo")
    );
    // One that has waited is not shared again: each turn has its own.
    let run = |turn: u128, user: u128, what: &str| {
        let mut request = request(owner(1, turn * 10 + user), &format!("{script}// {turn}"));
        request.results = vec![("what".into(), results(json!(what)))];
        if matches!(what, "computes" | "sleeps") {
            // They end in no other way.
            request.deadline = Instant::now() + Duration::from_millis(500);
        }
        pool.run(request)
    };
    // What waits for an answer is given up once it does, however long it takes to come to that.
    let first = async |turn, what| {
        tokio::select! {
            biased;
            report = run(turn, 9, what) => Some(report.outcome.unwrap_err()),
            () = silent.was_asked(1), if what == "waits" => None,
        }
    };
    for (turn, what) in (1..).zip(["computes", "hoards", "sleeps", "waits", "throws"]) {
        // The child knows the script as one that is over at once.
        assert_eq!(run(turn, 0, "adds").await.outcome.unwrap(), "\"adds\"");
        let others = ["adds", "sends", "adds", "adds"];
        let others = (1..).zip(others).map(|(user, does)| run(turn, user, does));
        let others = futures_util::future::join_all(others);
        let (first, others, waiting) = tokio::join!(first(turn, what), others, async { pool.waiting() });
        assert_eq!(waiting, 0, "they are all in one child");
        match (what, first) {
            ("computes" | "sleeps", Some(RunError::TimedOut))
            | ("hoards", Some(RunError::OutOfMemory))
            | ("waits", None)
            | ("throws", Some(RunError::Threw(_))) => {}
            (_, other) => panic!("one that {what}: {other:?}"),
        }
        for (report, does) in others.iter().zip(["adds", "sends", "adds", "adds"]) {
            assert_eq!(report.outcome, Ok(format!("\"{does}\"")), "beside one that {what}");
        }
    }
    let waited = silent.asked.borrow().0.len();
    assert_eq!((server.requests(), waited), (5, 1), "each was sent once");
}
