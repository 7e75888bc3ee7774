//! What sealing costs: seal and unseal 1 KiB and 64 KiB, and a data key from memory and from the file.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use perseat_domain::id::{CustomerId, UserId};
use perseat_domain::model::Membership;
use perseat_store::keyring::{Keyring, MasterKey, NewKey, Options, Owner};
use perseat_store::seal::{DataKey, RecordKind};
use std::hint::black_box;
use uuid::Uuid;

/// JSON-like text: it compresses about as well as webhook bodies do.
fn payload(size: usize) -> Vec<u8> {
    let lines = (0u32..).flat_map(|n| {
        let id = n.wrapping_mul(0x9e37_79b9);
        format!("{{\"id\":{id},\"name\":\"file-{id:x}.pdf\",\"path\":\"/shared/contracts\"}},").into_bytes()
    });
    lines.take(size).collect()
}

fn seal(criterion: &mut Criterion) {
    let key = DataKey::new(&[7; 32], 1);
    for size in [1024, 64 * 1024] {
        let mut group = criterion.benchmark_group(format!("seal/{} KiB", size / 1024));
        group.throughput(Throughput::Bytes(size as u64));
        let text = payload(size);
        let sealed = key.seal(RecordKind::Request, &[1; 16], &text);
        group.bench_function("seal", |bench| {
            bench.iter(|| key.seal(RecordKind::Request, black_box(&[1; 16]), black_box(&text)));
        });
        group.bench_function("unseal", |bench| {
            bench.iter(|| key.unseal(RecordKind::Request, black_box(&[1; 16]), black_box(&sealed)));
        });
        group.finish();
    }
}

fn data_key(criterion: &mut Criterion) {
    const USERS: u128 = 10_000;
    let customer = CustomerId(Uuid::from_u128(1));
    let owner = |n: u128| Owner::User(UserId(Uuid::from_u128(n % USERS)));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("keyring");
    let open = |cache_entries| Keyring::open(&path, MasterKey::new(&[7; 32]), &Options { cache_entries }).expect("opens");
    {
        let users = (0..USERS).map(|n| NewKey::User(UserId(Uuid::from_u128(n)), Membership::Customer(customer)));
        open(1)
            .create_many([NewKey::Customer(customer)].into_iter().chain(users))
            .expect("has room");
    }
    let mut group = criterion.benchmark_group("data_key");
    {
        let keyring = open(64);
        group.bench_function("warm", |bench| bench.iter(|| keyring.data_key(black_box(owner(1)))));
    }
    {
        // The customer's key stays in memory; each user's is evicted before its turn comes again.
        let keyring = open(64);
        let mut next = 0;
        let mut turn = || {
            next += 1;
            owner(next)
        };
        group.bench_function("cold", |bench| {
            bench.iter_batched(&mut turn, |owner| keyring.data_key(owner), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, seal, data_key);
criterion_main!(benches);
