//! Group commit on a real directory: how long a call takes when 1, 32 or 256 callers append at once.
//!
//! Each caller waits for its own ticket, as a request does; the figure is the time until all of them are durable. Compare it with the plain
//! write and fdatasync of the same bytes below it: the difference is what the journal costs.

use std::{hint::black_box, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use perseat_journal::{Committed, Journal, NewEntry, Options, RealDisk};

const PAYLOAD: usize = 1024;

fn entry(payload: &Bytes) -> Vec<NewEntry> {
    vec![NewEntry {
        partition: 1,
        epoch: 1,
        payload: payload.clone(),
    }]
}

/// Appends for ever within its budget: the oldest segment goes as soon as the newest begins.
struct Log {
    journal: Journal,
    directory: tempfile::TempDir,
}

impl Log {
    #[expect(clippy::unwrap_used, reason = "a bench that cannot write has nothing to measure")]
    fn open() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let disk = RealDisk::open(directory.path()).unwrap();
        let sink = |batch: Arc<[Committed]>| {
            black_box(batch);
        };
        let options = Options {
            segment_bytes: 64 << 20,
            ..Options::for_budget(2 << 30)
        };
        let journal = Journal::open(options, Arc::new(disk), Box::new(sink)).unwrap();
        Self { journal, directory }
    }

    #[expect(clippy::unwrap_used, reason = "a bench that cannot write has nothing to measure")]
    fn commit(&self, calls: usize, payload: &Bytes) {
        let waiting: Vec<_> = (0..calls).map(|_| self.journal.append(entry(payload))).collect();
        for append in waiting {
            black_box(append.wait().unwrap());
        }
        self.journal.release(self.journal.head().segment()).unwrap();
    }
}

#[expect(clippy::unwrap_used, reason = "a bench that cannot write has nothing to measure")]
fn journal_append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal_append");
    let log = Log::open();
    let payload = Bytes::from(vec![7; PAYLOAD]);
    let plain = tempfile::tempfile_in(log.directory.path()).unwrap();
    plain.write_all_at(&vec![0; 64 << 20], 0).unwrap();
    plain.sync_all().unwrap();
    for calls in [1, 32, 256] {
        group.throughput(Throughput::Elements(calls as u64));
        group.bench_function(format!("durable/{calls}"), |bencher| bencher.iter(|| log.commit(calls, &payload)));
        let bytes = vec![7; calls * PAYLOAD];
        let mut at = 0;
        group.bench_function(format!("plain_write_and_sync/{calls}"), |bencher| {
            bencher.iter(|| {
                at = (at + bytes.len() as u64) % (32 << 20);
                plain.write_all_at(&bytes, at).unwrap();
                plain.sync_data().unwrap();
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50);
    targets = journal_append
}
criterion_main!(benches);
