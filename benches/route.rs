//! Routing with 1,000 and 1,000,000 configured users: building the snapshot, publishing one change, deciding.
//!
//! A decision must not cost more with a million users than with a thousand, but for the caches of the processor.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::{EndpointType, RoutingFields};
use perseat_domain::id::{CustomerId, EndpointId, FlowNumber, InstanceId, IntegrationId, UserConfigId, UserId, endpoint_base};
use perseat_domain::model::{InstanceState, Membership};
use perseat_domain::route::{
    FlowRoute, Gate, HashSecret, HeaderLookup, InstanceRoute, RequestBody, RequestHeaders, RouteChange, RouteRequest, RoutingSnapshot,
    SnapshotBuilder, UserConfigRoute, UserConfigState, decide, parse_target,
};
use perseat_domain::time::Timestamp;
use std::borrow::Cow;
use std::hint::black_box;
use uuid::Uuid;

const USERS_PER_CUSTOMER: u64 = 100;

fn bits(kind: u64, n: u64) -> Uuid {
    // SplitMix64: the ids must be as random as real ones.
    let word = |n: u64| {
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    endpoint_base((u128::from(word(kind << 48 | n)) << 64) | u128::from(word(kind << 56 | n)))
}

fn customer(n: u64) -> CustomerId {
    CustomerId(bits(1, n))
}

fn instance(n: u64) -> InstanceId {
    InstanceId(bits(2, n))
}

fn config(n: u64) -> UserConfigRoute {
    UserConfigRoute {
        id: UserConfigId(bits(3, n)),
        instance: instance(n / USERS_PER_CUSTOMER),
        user: UserId(bits(4, n)),
        state: UserConfigState::Complete,
    }
}

fn organization(users: u64) -> SnapshotBuilder {
    let mut all = SnapshotBuilder::new(HashSecret::new(7), true);
    for n in 0..users / USERS_PER_CUSTOMER {
        all.customer(customer(n), &format!("customer-{n}"));
        all.instance(InstanceRoute {
            id: instance(n),
            customer: customer(n),
            integration: IntegrationId(Uuid::from_u128(5)),
            state: InstanceState::Enabled,
            version: 1,
            config_revision: 1,
            endpoint_type: EndpointType::SharedInstance,
            user_level: true,
            routing: RoutingFields::default(),
            flows: [FlowRoute {
                number: FlowNumber(1),
                name: "import".into(),
                gate: Gate::Open,
                is_synchronous: false,
                reply: None,
            }]
            .into(),
            single_flow: true,
        });
    }
    for n in 0..users {
        let config = config(n);
        all.user(
            config.user,
            Membership::Customer(customer(n / USERS_PER_CUSTOMER)),
            &format!("user-{n}"),
        );
        all.user_config(&config);
    }
    all
}

struct Sent {
    customer: String,
    user: String,
}

impl RequestHeaders for Sent {
    fn header(&self, name: &str) -> HeaderLookup<'_> {
        match name {
            "perseat-customer-external-id" => HeaderLookup::One(&self.customer),
            "perseat-user-external-id" => HeaderLookup::One(&self.user),
            _ => HeaderLookup::Missing,
        }
    }
}

impl RequestBody for Sent {
    fn text_at(&self, _: &[String]) -> Result<Option<Cow<'_, str>>, ErrorCode> {
        Ok(None)
    }
}

fn decides(snapshot: &RoutingSnapshot, endpoint: EndpointId, sent: &Sent) -> bool {
    let request = RouteRequest {
        endpoint,
        query: "",
        headers: sent,
        body: sent,
        api_key: None,
        now: Timestamp(1),
    };
    decide(snapshot, &request).is_ok()
}

fn route(c: &mut Criterion) {
    for users in [1_000_u64, 1_000_000] {
        let snapshot = organization(users).build(1);
        let mut group = c.benchmark_group("route");
        group.throughput(Throughput::Elements(1));
        let mut next = 0_u64;
        let mut any_user = move || {
            next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (next >> 33) % users
        };
        let nothing = Sent {
            customer: String::new(),
            user: String::new(),
        };
        group.bench_function(BenchmarkId::new("by_url", users), |b| {
            let path = |n| format!("/trigger/{}", EndpointId::UserFlow(config(n).id, FlowNumber(1)).global());
            b.iter_batched(
                || path(any_user()),
                |path| {
                    let target = parse_target("POST", &path, None).map(|target| target.endpoint);
                    assert!(target.is_ok_and(|endpoint| decides(&snapshot, endpoint, &nothing)));
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("by_external_ids", users), |b| {
            let sent = |n: u64| Sent {
                customer: format!("customer-{}", n / USERS_PER_CUSTOMER),
                user: format!("user-{n}"),
            };
            let shared = EndpointId::Integration(IntegrationId(Uuid::from_u128(5)));
            b.iter_batched(
                || sent(any_user()),
                |sent| assert!(decides(&snapshot, shared, &sent)),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("publish_one_user", users), |b| {
            let change = |n| {
                RouteChange::UserConfig(UserConfigRoute {
                    state: UserConfigState::Incomplete,
                    ..config(n)
                })
            };
            b.iter_batched(
                || change(any_user()),
                |change| black_box(snapshot.with_changes([change], 2)),
                BatchSize::SmallInput,
            );
        });
        group.finish();
        let mut group = c.benchmark_group("route_build");
        group.sample_size(10).throughput(Throughput::Elements(users));
        group.bench_function(BenchmarkId::from_parameter(users), |b| {
            b.iter_batched(|| organization(users), |all| black_box(all.build(1)), BatchSize::PerIteration);
        });
        group.finish();
    }
}

criterion_group!(benches, route);
criterion_main!(benches);
