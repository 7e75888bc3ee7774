//! The whole daemon over loopback: 64 keep-alive callers post 1 KiB to 1,000 users' URLs and wait for their receipts.

#![allow(clippy::unwrap_used, reason = "a bench without a daemon has nothing to measure")]

mod fixture;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fixture::Fixture;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CALLERS: usize = 64;

fn urls(fixture: &Fixture) -> Arc<Vec<String>> {
    let requests = fixture.requests();
    let paths = requests.lines().filter_map(|line| line.split('\t').next());
    Arc::new(paths.map(|path| format!("http://{}{path}", fixture.hooks)).collect())
}

async fn load(client: reqwest::Client, urls: Arc<Vec<String>>, requests: u64) -> Duration {
    let body = format!(r#"{{"items":[],"pad":"{}"}}"#, "x".repeat(1000));
    let begun = Instant::now();
    let callers = (0..CALLERS).map(|caller| {
        let (client, urls, body) = (client.clone(), urls.clone(), body.clone());
        tokio::spawn(async move {
            for n in (caller as u64..requests).step_by(CALLERS) {
                let url = &urls[n as usize % urls.len()];
                let sent = client
                    .post(url)
                    .header("content-type", "application/json")
                    .body(body.clone())
                    .send()
                    .await;
                assert!(sent.is_ok_and(|answer| answer.status().is_success()), "a request was refused");
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        assert!(caller.await.is_ok(), "a caller failed");
    }
    begun.elapsed()
}

fn daemon(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut group = criterion.benchmark_group("daemon_over_loopback");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    for flow in ["ack", "code"] {
        let fixture = Fixture::write(flow, "flow-specific", 1_000, 10, &[]);
        let _daemon = runtime.block_on(fixture.serve(&client, &[]));
        let urls = urls(&fixture);
        group.bench_function(flow, |bencher| {
            bencher
                .to_async(&runtime)
                .iter_custom(|requests| load(client.clone(), urls.clone(), requests));
        });
    }
    group.finish();
}

criterion_group!(benches, daemon);
criterion_main!(benches);
