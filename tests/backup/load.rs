//! Backups while events pour in, segments go, and whoever receives the backup is slow.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::harness::daemon::Setup;
use crate::harness::within;
use crate::world::{World, begin, done, perseat, said};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

const MIB: u64 = 1 << 20;
const BUDGET: u64 = 20 * MIB;
const PINNED: u64 = 4 * MIB;
const BODY: usize = 200 << 10;

fn setup() -> Setup {
    World::setup()
        .set("retention.budget", format!("{BUDGET}B"))
        .set("backup.pinned-bytes", format!("{PINNED}B"))
        .set("backup.read-ahead", "256KiB")
        .set("admission.wait", "60s")
}

/// What the directory's files take.
fn taken(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let sizes = entries.map(|entry| {
        let entry = entry.unwrap();
        // A file may go while this looks.
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => taken(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        }
    });
    sizes.sum()
}

/// Senders that must hear of a receipt every time.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    async fn start(world: &World) -> Self {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = Vec::new();
        for user in ["bob", "cem"] {
            let (url, stop, sent) = (world.url(user, "Pass").await, stop.clone(), sent.clone());
            tasks.push(tokio::spawn(async move {
                let client = reqwest::Client::builder().no_proxy().build().unwrap();
                let mut noise = 7u64;
                while !stop.load(Ordering::Relaxed) {
                    let body: Vec<u8> = (0..BODY)
                        .map(|_| {
                            noise = noise
                                .wrapping_mul(6_364_136_223_846_793_005)
                                .wrapping_add(1_442_695_040_888_963_407);
                            (noise >> 56) as u8
                        })
                        .collect();
                    let answer = client.post(&url).header("content-type", "application/octet-stream").body(body);
                    let answer = answer.send().await.unwrap();
                    let status = answer.status();
                    assert_eq!(status, 200, "intake stopped: {}", answer.text().await.unwrap());
                    sent.fetch_add(BODY as u64, Ordering::Relaxed);
                }
            }));
        }
        Self { stop, sent, tasks }
    }

    /// Waits until so many bytes more were sent; the most that the directory came to meanwhile.
    async fn until(&self, bytes: u64, directory: &Path) -> u64 {
        let mut sent = self.sent.load(Ordering::Relaxed);
        let goal = sent + bytes;
        let (mut look, mut most) = (tokio::time::interval(std::time::Duration::from_millis(5)), 0);
        let go_on = || self.tasks.iter().all(|task| !task.is_finished());
        while sent < goal && go_on() {
            // Patience is for the next event: how long all of them take says how fast the disk is.
            within("the traffic's next event", async {
                while self.sent.load(Ordering::Relaxed) == sent && go_on() {
                    look.tick().await;
                    most = most.max(taken(directory));
                }
            })
            .await;
            sent = self.sent.load(Ordering::Relaxed);
        }
        most
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_under_load_are_whole_and_close_nothing() {
    // However little of the processor the backup gets, there is room for what it has not copied.
    let world = World::start(setup().set("backup.pinned-bytes", "256MiB")).await;
    let data = world.daemon.data();
    // Two that hang are carried from segment to segment.
    let held = [world.send("ann", 1).await, world.send("ann", 2).await];
    world.provider.until(1).await;
    let keyring = world.path("keyring");
    done(&perseat(&data, &["keyring", "export", keyring.to_str().unwrap()]));
    let load = Load::start(&world).await;
    load.until(2 * BUDGET, &data).await;
    for number in 0..3 {
        let backup = world.path(&format!("backup-{number}"));
        let child = begin(&data, &["backup", backup.to_str().unwrap()]);
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
            .await
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        world.verifies(&backup, &keyring);
        load.until(BUDGET / 4, &data).await;
    }
    let dropped = world.daemon.metric("perseat_retention_dropped_segments_total").await;
    assert!(dropped >= 20.0, "the collector worked: {dropped}");
    assert_eq!(world.daemon.metric("perseat_front_refused_total").await, 0.0);
    assert_eq!(world.daemon.admin("/readyz").await.status, 200);
    load.end().await;
    let (daemon, _) = world.restored(&world.path("backup-2"), &keyring, &[]);
    let statuses = [
        crate::world::status(&daemon, &held[0]).await,
        crate::world::status(&daemon, &held[1]).await,
    ];
    assert_eq!(statuses, ["running", "queued"], "what was carried is in it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_loses_its_backup_and_closes_nothing() {
    // However slow the traffic is, that is what ends the backup.
    let world = World::start(setup().set("backup.reader-timeout", "10m")).await;
    let data = world.daemon.data();
    let load = Load::start(&world).await;
    load.until(2 * BUDGET, &data).await;
    load.end().await;
    let mut reader = UnixStream::connect(data.join("perseat.sock")).await.unwrap();
    reader
        .write_all(b"GET /backup?history=true HTTP/1.1\r\nhost: perseat\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut begun = [0; 4096];
    within("the beginning of the backup", reader.read_exact(&mut begun)).await.unwrap();
    let busy = perseat(&data, &["backup", world.path("second").to_str().unwrap()]);
    assert!(said(&busy).contains("backup_running"), "{}", said(&busy));
    // Nothing is read while several budgets pass.
    let load = Load::start(&world).await;
    let most = load.until(3 * BUDGET, &data).await;
    assert!(most <= BUDGET / 10 * 11 + PINNED, "the directory came to {most} bytes");
    world.daemon.log_line(&["segments that a backup had not copied yet are given up"]);
    load.end().await;
    assert_eq!(world.daemon.metric("perseat_front_refused_total").await, 0.0);
    let mut rest = Vec::new();
    within("the end of the backup", reader.read_to_end(&mut rest)).await.unwrap();
    let end = String::from_utf8_lossy(&rest[rest.len().saturating_sub(600)..]).into_owned();
    assert!(end.contains("backup_overtaken"), "{end}");
    done(&perseat(&data, &["backup", world.path("third").to_str().unwrap()]));
}
