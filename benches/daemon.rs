//! The whole daemon over loopback: 64 keep-alive callers post 1 KiB to 1,000 users' URLs and wait for their receipts.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CALLERS: usize = 64;
const DAEMON: &str = env!("CARGO_BIN_EXE_perseat");

struct Daemon {
    process: Child,
    urls: Arc<Vec<String>>,
    _folder: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(clippy::unwrap_used, reason = "a bench without a daemon has nothing to measure")]
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[expect(clippy::unwrap_used, reason = "a bench without a daemon has nothing to measure")]
fn start(flow: &str, runtime: &tokio::runtime::Runtime, client: &reqwest::Client) -> Daemon {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (hooks, admin) = (free_address(), free_address());
    let directory = folder.path().join("fixture");
    let fixture = [
        "--flow",
        flow,
        "--users",
        "1000",
        "--instances",
        "10",
        "--endpoint",
        "flow-specific",
        "--listen",
        &hooks,
        "--admin",
        &admin,
    ];
    assert!(
        Command::new(DAEMON)
            .arg("bench-fixture")
            .arg(&directory)
            .args(fixture)
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let config: &Path = &directory.join("perseat.toml");
    let process = Command::new(DAEMON)
        .arg("serve")
        .arg("--config")
        .arg(config)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let urls = std::fs::read_to_string(directory.join("urls.txt")).unwrap();
    let urls = urls
        .lines()
        .filter_map(|line| line.split('\t').next())
        .map(|path| format!("http://{hooks}{path}"))
        .collect();
    let daemon = Daemon {
        process,
        urls: Arc::new(urls),
        _folder: folder,
    };
    let ready = format!("http://{admin}/readyz");
    while !runtime.block_on(async { client.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) }) {
        std::thread::yield_now();
    }
    daemon
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

#[expect(clippy::unwrap_used, reason = "a bench without a daemon has nothing to measure")]
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
        let daemon = start(flow, &runtime, &client);
        group.bench_function(flow, |bencher| {
            bencher
                .to_async(&runtime)
                .iter_custom(|requests| load(client.clone(), daemon.urls.clone(), requests));
        });
    }
    group.finish();
}

criterion_group!(benches, daemon);
criterion_main!(benches);
