//! Looking people up at 10,000 and at 1,000,000 users: exact and by a beginning, of one customer and of all.
//!
//! Each pair of figures should be about the same. `LOOKUP_USERS=50000` takes another size for the second. A search for a
//! part of a name looks at no more records than the scan limit; its figure grows with the limit, not with the users.

#![allow(clippy::unwrap_used, reason = "a bench without a catalog has nothing to measure")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use perseat_admin::actor::Actor;
use perseat_admin::query::{Listed, Order, PageRequest, ReadLimits, Reader, UserField, UserFilter, UsersOf};
use perseat_domain::id::{CustomerId, OrganizationId, UserId};
use perseat_domain::model::{Customer, Membership, Organization, Profile, Role, User};
use perseat_domain::time::Timestamp;
use perseat_store::catalog::{Catalog, Change, Options};
use perseat_store::error::StoreError;
use std::hint::black_box;
use uuid::Uuid;

/// Users of one customer among them.
const CUSTOMERS: usize = 100;
/// Records that one search looks at, as by default.
const SCAN: usize = 10_000;
/// Records of one transaction of the load.
const BATCH: usize = 50_000;

/// Spread over all ids, in order, as a load is fastest.
fn id(n: usize, of: usize) -> Uuid {
    Uuid::from_u128((u128::MAX / (of as u128 + 1)) * (n as u128 + 1))
}

fn customer(n: usize) -> CustomerId {
    CustomerId(id(n, CUSTOMERS))
}

/// A name that is not in the order of ids.
fn name(n: usize) -> String {
    let mixed = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{mixed:016x} Person {n}")
}

fn fill(folder: &std::path::Path, users: usize) -> Catalog {
    let catalog = Catalog::open(&folder.join("catalog.redb"), Options::default()).unwrap();
    let change = Change {
        by: "bench",
        at: Timestamp(1),
        action: "fill",
    };
    catalog
        .mutate(change, |tx| {
            tx.put(&Organization {
                id: OrganizationId(Uuid::from_u128(1)),
                name: "Acme".to_owned(),
                ulc_enabled: true,
                signing_keys: vec![],
            })?;
            for n in 0..CUSTOMERS {
                tx.put(&Customer {
                    id: customer(n),
                    name: format!("Customer {n}"),
                    external_id: Some(format!("c-{n}")),
                    description: String::new(),
                    labels: vec![],
                })?;
            }
            Ok::<_, StoreError>(())
        })
        .unwrap();
    for first in (0..users).step_by(BATCH) {
        catalog
            .mutate(change, |tx| {
                for n in first..users.min(first + BATCH) {
                    tx.put(&User {
                        id: UserId(id(n, users)),
                        membership: Membership::Customer(customer(n % CUSTOMERS)),
                        email: Some(format!("{}@customer{}.example", name(n).replace(' ', "."), n % CUSTOMERS)),
                        name: name(n),
                        external_id: Some(format!("u-{n}")),
                        subject: None,
                        subject_seen_at: None,
                        labels: Vec::new(),
                        role: Role::Member,
                        profile: Profile::default(),
                    })?;
                }
                Ok::<_, StoreError>(())
            })
            .unwrap();
    }
    catalog
}

fn find(catalog: &Catalog, of: UsersOf, filter: &UserFilter) -> Listed<User> {
    let actor = Actor::local("bench");
    let reader = Reader::new(catalog, &actor, ReadLimits::default()).unwrap();
    let request = PageRequest {
        after: None,
        first: Some(10),
    };
    reader.users(of, filter, &request).unwrap()
}

fn lookups(criterion: &mut Criterion) {
    let large = std::env::var("LOOKUP_USERS").map_or(1_000_000, |text| text.parse().unwrap());
    let mut group = criterion.benchmark_group("lookups");
    for users in [10_000, large] {
        let folder = tempfile::tempdir().unwrap();
        let catalog = fill(folder.path(), users);
        let own = |n: usize| UsersOf::Membership(Membership::Customer(customer(n % CUSTOMERS)));
        let email = |n: usize| format!("{}@customer{}.example", name(n).replace(' ', "."), n % CUSTOMERS);
        let everybody = |_: usize| UsersOf::Everybody;
        // A thousand different people, so that the pages of all are read, as in use.
        let mut next = (0..).map(|n: usize| (n % 1_000) * (users / 1_000));
        let filter = UserFilter::default;
        type Ask<'a> = (&'a str, &'a dyn Fn(usize) -> (UsersOf, UserFilter), usize);
        let asks: [Ask<'_>; 8] = [
            (
                "one customer, external id",
                &|n| {
                    let external_id = Some(format!("u-{n}"));
                    (own(n), UserFilter { external_id, ..filter() })
                },
                1,
            ),
            (
                "one customer, e-mail",
                &|n| {
                    let email = Some(email(n));
                    (own(n), UserFilter { email, ..filter() })
                },
                1,
            ),
            (
                "everybody, e-mail",
                &|n| {
                    let email = Some(email(n));
                    (everybody(n), UserFilter { email, ..filter() })
                },
                1,
            ),
            (
                "everybody, name",
                &|n| {
                    let name = Some(name(n));
                    (everybody(n), UserFilter { name, ..filter() })
                },
                1,
            ),
            (
                "everybody, e-mail beginning",
                &|n| {
                    let email_starts = Some(email(n)[..14].to_owned());
                    (everybody(n), UserFilter { email_starts, ..filter() })
                },
                1,
            ),
            (
                "one customer, name beginning",
                &|n| {
                    let name_starts = Some(name(n)[..14].to_owned());
                    (own(n), UserFilter { name_starts, ..filter() })
                },
                1,
            ),
            (
                "everybody, first page by name",
                &|n| {
                    let order = vec![Order {
                        field: UserField::Name,
                        descending: true,
                    }];
                    (everybody(n), UserFilter { order, ..filter() })
                },
                10,
            ),
            (
                "everybody, part of a name that nobody has",
                &|n| {
                    let name_contains = Some("nobody".to_owned());
                    (everybody(n), UserFilter { name_contains, ..filter() })
                },
                0,
            ),
        ];
        for (what, ask, found) in asks {
            group.sample_size(if found == 0 { 10 } else { 60 });
            group.bench_with_input(BenchmarkId::new(what, users), &catalog, |bench, catalog| {
                bench.iter(|| {
                    let (of, filter) = ask(next.next().unwrap());
                    let listed = black_box(find(catalog, of, &filter));
                    assert_eq!(listed.items.len(), found, "{what}");
                    // A search that ended at the scan limit says where it goes on.
                    assert!(found > 0 || users <= SCAN || (listed.has_next && listed.end.is_some()), "{what}");
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, lookups);
criterion_main!(benches);
