//! Many requests of one script at once.

use super::support::Withholding;
use super::*;
use perseat_domain::rate::Rate;
use perseat_domain::usage::Through;
use perseat_flow::outbound::{AnswerMemory, Governor, GovernorOptions, Looking, Meter, Names};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use tokio::sync::watch;

const ANSWER: usize = 200 << 10;
const HALF: usize = 512 << 10;

async fn pool_at(server: &Withholding, memory: &AnswerMemory, fetches_in_flight: usize) -> JsPool {
    pool_through(|outbound| outbound.sharing(memory.clone()), server, fetches_in_flight).await
}

async fn pool_through(governed: impl FnOnce(OutboundClient) -> OutboundClient, server: &Withholding, fetches_in_flight: usize) -> JsPool {
    let policy = Policy::new(vec![server.address.parse().unwrap()], Vec::new());
    let outbound = OutboundClient::new(policy, outbound::Options::default()).unwrap();
    let options = Options {
        fetches_in_flight,
        ..options()
    };
    JsPool::start(governed(outbound), options).await.unwrap()
}

/// Sends so many requests and waits for none before the next; how many were answered, and what the others failed with.
fn flood(server: &Withholding, count: usize) -> String {
    let url = server.url("/");
    format!(
        "module.exports = async () => {{
            const all = await Promise.allSettled([...Array({count}).keys()].map(async (n) => (await (await fetch('{url}' + n)).text()).length));
            const failed = all.filter((one) => one.status === 'rejected').map((one) => one.reason.message);
            return {{ data: [all.filter((one) => one.value === {ANSWER}).length, failed] }} }}"
    )
}

/// Sends so many requests and ends.
fn waiting_for_none(server: &Withholding, count: usize) -> String {
    let url = server.url("/");
    format!("module.exports = async () => {{ for (let n = 0; n < {count}; n++) fetch('{url}' + n); return {{ data: 1 }} }}")
}

#[tokio::test]
async fn a_scripts_requests_are_sent_so_many_at_once_and_in_order() {
    let server = Withholding::start(ANSWER).await;
    let pool = pool_at(&server, &AnswerMemory::new(256 << 20), 3).await;
    let script = flood(&server, 12);
    let (ended, ()) = tokio::join!(value(&pool, &script), async {
        server.was_asked(3).await;
        server.open.send_replace(true);
    });
    assert_eq!(ended, json!([12, []]));
    let (paths, most) = server.asked.borrow().clone();
    assert_eq!((paths.len(), most), (12, 3), "{paths:?}");
    let first: BTreeSet<&str> = paths.iter().take(3).map(String::as_str).collect();
    assert_eq!(first, BTreeSet::from(["/0", "/1", "/2"]));
}

#[tokio::test]
async fn a_script_that_hoards_answers_fills_its_half_of_the_memory_and_others_go_on() {
    let server = Withholding::start(ANSWER).await;
    let memory = AnswerMemory::new(2 * HALF);
    let pool = pool_at(&server, &memory, 16).await;
    let script = flood(&server, 100);
    let whole = format!(
        "module.exports = async () => ({{ data: (await (await fetch('{}')).text()).length }})",
        server.url("/whole")
    );
    let (ended, ()) = tokio::join!(value(&pool, &script), async {
        server.was_asked(100).await;
        assert!(memory.held() <= HALF, "{}", memory.held());
        let other = pool.run(request(owner(2, 1), &whole)).await;
        assert_eq!(other.outcome, Ok(ANSWER.to_string()));
        server.open.send_replace(true);
    });
    let (answered, failed) = (ended[0].as_u64().unwrap(), ended[1].as_array().unwrap());
    assert!(
        answered > 0 && !failed.is_empty() && answered as usize + failed.len() == 100,
        "{ended}"
    );
    assert!(
        failed
            .iter()
            .all(|error| error.as_str().unwrap().contains("`outbound.answer-memory`")),
        "{ended}"
    );
    assert_eq!(memory.held(), 0);
    assert_eq!(value(&pool, &whole).await, json!(ANSWER));
}

#[tokio::test]
async fn what_a_script_does_not_wait_for_is_sent_all_the_same() {
    let server = Withholding::start(ANSWER).await;
    let pool = pool_at(&server, &AnswerMemory::new(256 << 20), 16).await;
    let meter = Meter::default();
    let request = RunRequest {
        count: meter.through(Through::default()),
        ..request(owner(1, 1), &waiting_for_none(&server, 40))
    };
    let mut run = pin!(pool.run(request));
    tokio::select! {
        ended = &mut run => panic!("24 were not sent: {ended:?}"),
        () = server.was_asked(16) => {}
    }
    server.open.send_replace(true);
    let ended = run.await;
    let calls: u64 = meter.take().iter().map(|(_, amount)| amount.calls).sum();
    assert_eq!((ended.outcome, calls), (Ok("1".to_owned()), 40));
    server.was_asked(40).await;
    let (paths, most) = server.asked.borrow().clone();
    assert_eq!((paths.len(), most), (40, 16));
}

/// A name server that answers once it is opened: each name is this machine's.
#[derive(Debug, Default)]
struct Slow {
    open: watch::Sender<bool>,
}

impl Names for Slow {
    fn lookup<'a>(&'a self, _: &'a str) -> Looking<'a> {
        Box::pin(async move {
            let open = self.open.subscribe().wait_for(|open| *open).await.map(|open| *open);
            open.map(|_| vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]).map_err(io::Error::other)
        })
    }
}

#[tokio::test]
async fn a_run_ends_when_a_connection_has_what_its_script_did_not_wait_for_answered_or_not() {
    for init in ["{}", "{ method: 'POST', body: 'x' }"] {
        let server = Withholding::start(ANSWER).await;
        let names = Arc::new(Slow::default());
        let policy = Policy::new(vec![server.address.parse().unwrap()], Vec::new());
        let looked_up = Arc::clone(&names) as Arc<dyn Names>;
        // No time is over before the test's is.
        let max_time = Duration::from_hours(1);
        let limits = outbound::Options {
            max_time,
            ..outbound::Options::default()
        };
        let outbound = OutboundClient::with_names(policy, limits, looked_up).unwrap();
        let pool = JsPool::start(outbound, Options { max_time, ..options() }).await.unwrap();
        let url = server.url("/").replace("127.0.0.1", "slow.example");
        let script = format!("module.exports = async () => {{ fetch('{url}', {init}); return {{ data: 1 }} }}");
        let request = RunRequest {
            deadline: Instant::now() + max_time,
            ..request(owner(1, 1), &script)
        };
        let mut run = pin!(pool.run(request));
        tokio::select! {
            biased;
            ended = &mut run => panic!("nothing was sent: {ended:?}"),
            // It runs in the same process, after the other script.
            other = value(&pool, "module.exports = () => ({ data: 2 })") => assert_eq!(other, json!(2)),
        }
        names.open.send_replace(true);
        assert_eq!(run.await.outcome, Ok("1".to_owned()));
        server.was_asked(1).await;
    }
}

#[tokio::test]
async fn what_a_script_does_not_wait_for_waits_for_its_turn_as_long_as_the_run_has_time() {
    let server = Withholding::start(ANSWER).await;
    let rate = Rate {
        count: 1,
        per: Duration::from_secs(1),
    };
    let rated = GovernorOptions {
        hosts: vec![(server.address.clone(), rate)],
        ..GovernorOptions::default()
    };
    let governor = Governor::new(rated, &[], None).unwrap();
    let pool = pool_through(|outbound| outbound.governed(governor), &server, 2).await;
    let meter = Meter::default();
    let request = RunRequest {
        count: meter.through(Through::default()),
        ..request(owner(1, 1), &waiting_for_none(&server, 3))
    };
    server.open.send_replace(true);
    let ended = pool.run(request).await;
    let calls: u64 = meter.take().iter().map(|(_, amount)| amount.calls).sum();
    assert_eq!((ended.outcome, calls), (Ok("1".to_owned()), 3));
}

#[tokio::test]
async fn what_a_script_does_not_wait_for_is_not_sent_once_nobody_waits_for_the_script() {
    let server = Withholding::start(ANSWER).await;
    let pool = pool_at(&server, &AnswerMemory::new(256 << 20), 1).await;
    let script = waiting_for_none(&server, 3);
    tokio::select! {
        _ = pool.run(request(owner(1, 1), &script)) => panic!("two were not sent"),
        () = server.was_asked(1) => {}
    }
    server.open.send_replace(true);
    let other = format!(
        "module.exports = async () => ({{ data: (await fetch('{}')).status }})",
        server.url("/other")
    );
    assert_eq!(value(&pool, &other).await, json!(200));
    assert_eq!(server.asked.borrow().0, ["/0", "/other"]);
}
