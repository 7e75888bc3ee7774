//! What the kit costs: a message to a neighbour, a question, a message across threads, the first use of a user, and
//! the decisions that every event passes (a fair turn, a place within the budget).
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use actix::{Actor, Context, Handler, Message};
use criterion::async_executor::AsyncExecutor;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use perseat_actors::admission::{Admission, AdmissionOptions};
use perseat_actors::kit::{
    ArbiterOptions, Arbiters, Birth, ChildExited, Mailbox, Nursery, NurseryOptions, Obituary, RealClock, Reply, start_here, start_on,
};
use perseat_domain::budget::Claim;
use perseat_domain::fair::{Cost, FairOptions, FairQueue, Work};
use perseat_domain::id::{CustomerId, FlowNumber, InstanceId, UserId};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(30);

/// Adds up; the state of a user actor is larger, its path is this one.
struct Adder(u64);

impl Actor for Adder {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Add(u64, Option<Reply<u64>>);

impl Handler<Add> for Adder {
    type Result = ();

    fn handle(&mut self, Add(number, reply): Add, _: &mut Context<Self>) {
        self.0 += number;
        if let Some(reply) = reply {
            reply.send(self.0);
        }
    }
}

impl Handler<ChildExited<u64>> for Adder {
    type Result = ();

    fn handle(&mut self, _: ChildExited<u64>, _: &mut Context<Self>) {}
}

/// Runs futures on a thread of actors.
struct Here<'a>(&'a actix_rt::SystemRunner);

impl AsyncExecutor for Here<'_> {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}

async fn ask(adder: &Mailbox<Adder>) -> u64 {
    adder.ask(LONG, |reply| Add(1, Some(reply))).await.unwrap()
}

fn hops(criterion: &mut Criterion) {
    let system = actix_rt::System::new();
    let mut group = criterion.benchmark_group("actors");
    let neighbour = system.block_on(async { start_here(1_024, Obituary::none(), |_| Adder(0)) });
    group.bench_function("ask, same arbiter", |bencher| {
        bencher.to_async(Here(&system)).iter(|| ask(&neighbour));
    });
    group.throughput(criterion::Throughput::Elements(256));
    group.bench_function("tell, same arbiter, 256 at once", |bencher| {
        bencher.to_async(Here(&system)).iter(async || {
            (0..255).for_each(|_| neighbour.tell(Add(1, None)).unwrap());
            ask(&neighbour).await
        });
    });
    let arbiters = Arbiters::start(ArbiterOptions { owners: 1, fronts: 1 }).unwrap();
    let far = start_on(arbiters.owner_of(0), 1_024, Obituary::none(), |_| Adder(0)).unwrap();
    group.throughput(criterion::Throughput::Elements(64));
    group.bench_function("ask, other thread, 64 in flight", |bencher| {
        bencher
            .to_async(Here(&system))
            .iter(|| futures_util::future::join_all((0..64).map(|_| ask(&far))));
    });
    group.finish();
}

fn activation(criterion: &mut Criterion) {
    let system = actix_rt::System::new();
    let parent = system.block_on(async { start_here(1_024, Obituary::none(), |_| Adder(0)) });
    let users = Cell::new(0_u64);
    let empty = || Nursery::<u64, Mailbox<Adder>>::new(NurseryOptions::default(), Arc::new(RealClock::new()), 1);
    criterion.bench_function("actors/first use of a user through the nursery, answer included", |bencher| {
        bencher.to_async(Here(&system)).iter_batched(
            empty,
            async |mut nursery| {
                users.set(users.get() + 1);
                let start = |birth: Birth<u64>| start_here(64, birth.obituary(&parent), |_| Adder(0));
                let user = nursery.ensure(&users.get(), start).unwrap().clone();
                ask(&user).await
            },
            BatchSize::SmallInput,
        );
    });
}

/// An execution of one of 1,000 flows.
#[derive(Clone, Copy, Debug)]
struct OfFlow(u64);

impl Work<u64> for OfFlow {
    type Flow = u64;

    fn flow(&self, _: &u64) -> u64 {
        self.0
    }
}

fn decisions(criterion: &mut Criterion) {
    let mut queue: FairQueue<u64, u64, OfFlow> = FairQueue::new(FairOptions::default());
    // 10,000 users of 100 customers wait, so that every turn is taken among many.
    (0..10_000).for_each(|user| queue.ready(user, user % 100, OfFlow(user % 1_000)));
    let cost = Cost {
        slot: Duration::from_millis(5),
        cpu: Duration::from_millis(1),
    };
    criterion.bench_function("fair/ready, grant and end among 10,000 users", |bencher| {
        bencher.iter(|| {
            let grant = queue.grant().unwrap();
            queue.ready(grant.user, grant.user % 100, grant.work);
            queue.ended(black_box(grant), cost);
        });
    });

    let admission = Admission::new(AdmissionOptions::default(), Arc::new(RealClock::new()));
    let claim_of = |user: u128| Claim {
        customer: Some(CustomerId(Uuid::from_u128(user % 100))),
        flow: Some((InstanceId(Uuid::from_u128(user % 1_000)), FlowNumber(1))),
        user: Some(UserId(Uuid::from_u128(user))),
        bytes: 500,
    };
    (0..10_000).for_each(|user| admission.restore(&claim_of(user)));
    let users = Cell::new(0_u128);
    criterion.bench_function("admission/claim and release of one event", |bencher| {
        bencher.iter(|| {
            users.set((users.get() + 7_919) % 10_000);
            let claim = claim_of(users.get());
            admission.admit_own(claim).unwrap().keep();
            admission.ended(&claim);
        });
    });
}

criterion_group!(benches, hops, activation, decisions);
criterion_main!(benches);
