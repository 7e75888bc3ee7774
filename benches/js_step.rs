//! The code step: a 1 KiB payload through a real child and back, 64 runs in flight.
#![expect(clippy::unwrap_used, reason = "a bench that cannot set up must fail")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use perseat_domain::id::{CustomerId, ExecutionId, UserId};
use perseat_flow::component::IdempotencyKey;
use perseat_flow::expression::Results;
use perseat_flow::js::{JsPool, Options, Part, RunRequest, UserKey};
use perseat_flow::outbound::{self, Count, OutboundClient, Policy};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

const IN_FLIGHT: u64 = 64;
const SCRIPT: &str = "module.exports = async (context, stepResults) => {
  const o = stepResults.onTrigger.results.body.data;
  const items = o.items.map(i => ({ sku: i.sku, n: i.qty * 2, total: Math.round(i.qty * i.price * 100) / 100, tag: i.name.toUpperCase() }));
  return { data: { ok: true, sum: items.reduce((a, i) => a + i.total, 0) } };
};";

/// A trigger payload with a body of about 1 KiB.
fn payload() -> String {
    let item = |n: u32| json!({ "sku": format!("SKU-{n:05}"), "qty": n % 7 + 1, "price": f64::from(n) * 1.25, "name": format!("item number {n}") });
    let body = json!({ "id": 42, "items": (0..14).map(item).collect::<Vec<_>>() });
    json!({ "headers": { "content-type": "application/json" }, "body": { "data": body, "contentType": "application/json" } }).to_string()
}

fn request(script: &Arc<str>, results: &Arc<Results>, user: u64, customer: u64) -> RunRequest {
    let owner = UserKey {
        customer: CustomerId(Uuid::from_u128(customer.into())),
        user: Some(UserId(Uuid::from_u128(user.into()))),
    };
    RunRequest {
        owner,
        key: IdempotencyKey {
            execution: ExecutionId(Uuid::from_u128(1)),
            path: "0".into(),
        },
        script: Arc::clone(script),
        part: Part::Step,
        context: Arc::default(),
        config: "{}".to_owned().into(),
        results: vec![("onTrigger".into(), Arc::clone(results))],
        deadline: tokio::time::Instant::now() + Duration::from_secs(60),
        count: Count::default(),
    }
}

/// Keeps 64 runs in flight until `count` have ended.
fn drive(runtime: &Runtime, pool: &JsPool, count: u64, owner: impl Fn(u64) -> (u64, u64)) -> Duration {
    let script: Arc<str> = SCRIPT.into();
    let results = Arc::new(Results::of_json(payload().into()));
    let began = Instant::now();
    runtime.block_on(async {
        let lanes = (0..IN_FLIGHT).map(|lane| {
            let (script, results, owner) = (&script, &results, &owner);
            async move {
                let mut number = lane;
                while number < count {
                    let (user, customer) = owner(number);
                    pool.run(request(script, results, user, customer)).await.outcome.unwrap();
                    number += IN_FLIGHT;
                }
            }
        });
        futures_util::future::join_all(lanes).await;
    });
    began.elapsed()
}

fn js_step(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("js_step");
    group.throughput(Throughput::Elements(1));
    for (name, slots, users, customers) in [
        ("one child, one user", 1, 1, 1),
        ("one child, 64 users", 1, 64, 1),
        ("two children, 64 users", 2, 64, 1),
        ("two children, 64 users of 6 customers", 2, 64, 6),
    ] {
        let options = Options {
            child_command: Some(vec![env!("CARGO_BIN_EXE_perseat").into(), "js-child".into()]),
            slots,
            ..Options::default()
        };
        let outbound = OutboundClient::new(Policy::default(), outbound::Options::default()).unwrap();
        let pool = runtime.block_on(JsPool::start(outbound, options)).unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| drive(&runtime, &pool, count, |number| (number % users, number % users % customers)));
        });
    }
    group.finish();
}

criterion_group!(benches, js_step);
criterion_main!(benches);
