//! Intake to durable: seal a 1 KiB request under its user's key, append it, wait for the sync; 1 and 64 callers at once.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use perseat_actors::admission::{Admission, AdmissionOptions};
use perseat_actors::front::{DurableIntake, Intake};
use perseat_actors::kit::RealClock;
use perseat_domain::id::{CustomerId, ExecutionId, UserId};
use perseat_domain::model::Membership;
use perseat_journal::{Committed, Journal, Options, RealDisk};
use perseat_store::keyring::{self, Keyring, MasterKey, NewKey, Owner};
use perseat_store::seal::RecordKind;
use std::hint::black_box;
use std::sync::Arc;
use uuid::Uuid;

const USERS: u128 = 1_000;

struct Bench {
    intake: DurableIntake,
    _folder: tempfile::TempDir,
}

#[expect(clippy::unwrap_used, reason = "a bench that cannot write has nothing to measure")]
fn open() -> Bench {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let keyring = Keyring::open(
        &folder.path().join("keyring"),
        MasterKey::new(&[7; 32]),
        &keyring::Options::default(),
    )
    .unwrap();
    let customer = CustomerId(Uuid::from_u128(1));
    keyring.create(NewKey::Customer(customer)).unwrap();
    let users = (0..USERS).map(|user| NewKey::User(UserId(Uuid::from_u128(user)), Membership::Customer(customer)));
    keyring.create_many(users).unwrap();
    let sink = |batch: Arc<[Committed]>| drop(black_box(batch));
    let disk = RealDisk::open(folder.path().join("journal")).unwrap();
    let journal = Journal::open(Options::for_budget(2 << 30), Arc::new(disk), Box::new(sink)).unwrap();
    let admission = Admission::new(AdmissionOptions::default(), Arc::new(RealClock::new()));
    Bench {
        intake: DurableIntake {
            admission,
            keyring: Arc::new(keyring),
            journal,
            epoch: 1,
        },
        _folder: folder,
    }
}

#[expect(clippy::unwrap_used, reason = "a bench that cannot write has nothing to measure")]
fn intake(criterion: &mut Criterion) {
    let bench = open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = vec![b'x'; 1024];
    let mut group = criterion.benchmark_group("intake_to_durable");
    for callers in [1u128, 64] {
        group.throughput(Throughput::Elements(callers as u64));
        let mut next = 0u128;
        group.bench_function(format!("{callers} callers"), |bencher| {
            bencher.to_async(&runtime).iter(|| {
                next += callers;
                let appends: Vec<_> = (0..callers)
                    .map(|caller| {
                        let owner = Owner::User(UserId(Uuid::from_u128((next + caller) % USERS)));
                        let key = bench.intake.key_at_once(owner).unwrap();
                        let key = key.unwrap_or_else(|| bench.intake.key(owner).unwrap());
                        let execution = ExecutionId(Uuid::from_u128(next + caller));
                        let sealed = key.seal(RecordKind::Request, execution.0.as_bytes(), &body);
                        bench.intake.append(1, Bytes::from(sealed.0))
                    })
                    .collect();
                async move {
                    for append in appends {
                        append.await.unwrap();
                    }
                }
            });
            bench.intake.journal.release(bench.intake.journal.head().segment()).unwrap();
        });
    }
    group.finish();
}

criterion_group!(benches, intake);
criterion_main!(benches);
