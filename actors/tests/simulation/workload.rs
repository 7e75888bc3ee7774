//! What a seed asks for: who there is, what their flows look like, what happens to them from outside.

use crate::chance::Chance;
use perseat_domain::budget::Limits as Budget;
use perseat_domain::definition::{ActionRef, Branch, EndpointSecurity, Flow, Step, StepErrorPolicy};
use perseat_domain::execution::{Nature, Plan};
use perseat_domain::fair::FairOptions;
use perseat_domain::id::{CustomerId, FlowNumber, InstanceId, UserConfigId, UserId};
use perseat_domain::identity::{BoundUser, Identity};
use perseat_domain::owner::{Shares, UserKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The connections that steps use, each an account of the user's.
pub(crate) const CONNECTIONS: [&str; 2] = ["crm", "mail"];

/// What becomes of a user's account at a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) user: UserKey,
    pub(crate) connection: &'static str,
    /// Its credential is missing from now on, or is back.
    pub(crate) is_missing: bool,
}

/// How often something goes wrong: once in so many times; 0 is never.
#[derive(Debug)]
pub(crate) struct Faults {
    /// The process dies when an entry just became durable.
    pub(crate) crash: usize,
    /// And always at this one, so that over the seeds every place is hit.
    pub(crate) crash_at: u64,
    /// Crashes at most.
    pub(crate) crashes_max: usize,
    /// A user's or instance's actor dies while it handles a message.
    pub(crate) death: usize,
    /// Deaths of actors at most.
    pub(crate) deaths_max: usize,
    /// A mailbox is full.
    pub(crate) busy: usize,
    /// An execution panics when it performs a step.
    pub(crate) panic: usize,
    /// A sync takes so long that actors which died meanwhile are back before it ends.
    pub(crate) stall: usize,
    /// A live execution is carried.
    pub(crate) carry: usize,
    /// A user's configuration is gone.
    pub(crate) removed: usize,
    /// The wall clock jumps.
    pub(crate) jump: usize,
    /// Jumps at most.
    pub(crate) jumps_max: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    /// A webhook of this identity.
    Trigger(Identity),
    /// The end of the execution that was accepted as this one is asked for.
    Cancel(usize),
}

#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) flows: Vec<Flow>,
    pub(crate) plans: Vec<Arc<Plan>>,
    pub(crate) requests: Vec<(Duration, Request)>,
    pub(crate) accounts: Vec<(Duration, Account)>,
    /// Whether credentials that are missing are worth another try by themselves.
    pub(crate) is_passing: bool,
    pub(crate) fair: FairOptions,
    pub(crate) budget: Budget,
    /// What running executions share, of which each takes up to three: a user's part is a quarter of it.
    pub(crate) memory: usize,
    pub(crate) faults: Faults,
    /// Bytes of accepted entries kept in memory.
    pub(crate) cache_bytes: usize,
    /// Bytes of results in one entry.
    pub(crate) entry_bytes: usize,
    /// What has begun may hold so much before nothing more begins.
    pub(crate) shares: Shares,
}

impl Workload {
    pub(crate) fn new(seed: u64, chance: &mut Chance) -> Self {
        let flows: Vec<Flow> = (0..chance.between(1, 3)).map(|number| flow(number as u16, chance)).collect();
        let people = people(chance);
        let is_rush = chance.one_in(2);
        let span = if is_rush { 50 } else { 5_000 };
        let mut requests = Vec::new();
        for _ in 0..chance.between(2, 12) {
            let number = FlowNumber(chance.below(flows.len()) as u16);
            let identity = Identity {
                flow: number,
                ..people[chance.below(people.len())]
            };
            requests.push((chance.millis(0, span), Request::Trigger(identity)));
        }
        for _ in 0..chance.below(4) {
            let which = chance.below(requests.len());
            requests.push((chance.millis(0, 2 * span), Request::Cancel(which)));
        }
        let is_calm = chance.one_in(4);
        let mut often = |cases: &[usize]| if is_calm { 0 } else { cases[chance.below(cases.len())] };
        let faults = Faults {
            crash: often(&[0, 0, 12, 30]),
            crash_at: seed % 64,
            crashes_max: 6,
            death: often(&[0, 0, 20, 60]),
            deaths_max: 8,
            busy: often(&[0, 0, 6, 30]),
            panic: often(&[0, 0, 4, 30]),
            stall: often(&[0, 0, 8, 40]),
            carry: often(&[0, 3, 20]),
            removed: often(&[0, 0, 0, 8]),
            jump: often(&[0, 0, 8, 40]),
            jumps_max: 6,
        };
        let slots = chance.between(1, 6) as u32;
        Self {
            plans: flows.iter().map(|flow| Arc::new(Plan::compile(flow, &nature_of))).collect(),
            flows,
            requests,
            accounts: if chance.one_in(2) {
                accounts(&people, 2 * span, chance)
            } else {
                Vec::new()
            },
            is_passing: chance.one_in(2),
            fair: FairOptions {
                slots,
                user_divisor: chance.between(1, 4) as u32,
                ..FairOptions::default()
            },
            budget: Budget {
                user: chance.between(2, 16) as u64,
                total: chance.between(4, 32) as u64,
                ..Budget::default()
            },
            memory: [4, 8, 12, 1 << 20][chance.below(4)],
            faults,
            cache_bytes: [0, 300, 1 << 20][chance.below(3)],
            entry_bytes: [1, 40, 1 << 20][chance.below(3)],
            shares: [(u64::MAX, u64::MAX), (1, 2), (300, 600), (1_000, 1_000)].map(|(user, customer)| Shares { user, customer })
                [chance.below(12).saturating_sub(8)],
        }
    }
}

/// Some accounts are missing for a while, some from some time on for ever.
fn accounts(people: &[Identity], span: usize, chance: &mut Chance) -> Vec<(Duration, Account)> {
    let mut accounts = Vec::new();
    for identity in people {
        for connection in CONNECTIONS {
            if !chance.one_in(3) {
                continue;
            }
            let begins = if chance.one_in(2) { Duration::ZERO } else { chance.millis(0, span) };
            let mut push = |at, is_missing| {
                let user = UserKey::of(identity);
                accounts.push((
                    at,
                    Account {
                        user,
                        connection,
                        is_missing,
                    },
                ));
            };
            push(begins, true);
            if !chance.one_in(4) {
                let longest = [400, 20_000, 1_000_000][chance.below(3)];
                push(begins + chance.millis(1, longest), false);
            }
        }
    }
    accounts
}

fn nature_of(action: &ActionRef) -> Nature {
    Nature {
        is_outbound: action.action == "out",
        is_stop: false,
    }
}

/// One or two customers with an instance or two each and a few users; some instances have no users of their own.
fn people(chance: &mut Chance) -> Vec<Identity> {
    let mut people = Vec::new();
    for customer in 1..=chance.between(1, 2) as u128 {
        for instance in 1..=chance.between(1, 2) as u128 {
            let base = Identity {
                customer: CustomerId(Uuid::from_u128(customer)),
                instance: InstanceId(Uuid::from_u128(customer << 8 | instance)),
                flow: FlowNumber(0),
                user: None,
            };
            if chance.one_in(5) {
                people.push(base);
                continue;
            }
            people.extend((1..=chance.between(1, 3) as u128).map(|user| Identity {
                user: Some(BoundUser {
                    user: UserId(Uuid::from_u128(customer << 16 | user)),
                    config: UserConfigId(Uuid::from_u128(customer << 24 | instance << 16 | user)),
                }),
                ..base
            }));
        }
    }
    people
}

fn flow(number: u16, chance: &mut Chance) -> Flow {
    Flow {
        number: FlowNumber(number),
        name: format!("flow {number}"),
        stable_key: format!("flow-{number}"),
        description: String::new(),
        is_synchronous: false,
        security: EndpointSecurity::Unsecured,
        organization_api_keys: Vec::new(),
        trigger: step("trigger", StepErrorPolicy::Fail),
        steps: steps(chance, 2, 4),
        missing: Vec::new(),
    }
}

fn step(action: &str, on_error: StepErrorPolicy) -> Step {
    Step {
        name: action.to_owned(),
        reference: action.to_owned(),
        action: ActionRef {
            component: "test".into(),
            action: action.to_owned(),
        },
        inputs: BTreeMap::new(),
        on_error,
        branches: Vec::new(),
        body: Vec::new(),
    }
}

fn steps(chance: &mut Chance, depth: usize, most: usize) -> Vec<Step> {
    (0..chance.below(most + 1))
        .map(|_| {
            let policy = policy(chance);
            if depth == 0 || !chance.one_in(4) {
                let mut step = step(if chance.one_in(3) { "pure" } else { "out" }, policy);
                if step.action.action == "out" && chance.one_in(2) {
                    step.action.component = CONNECTIONS[chance.below(CONNECTIONS.len())].into();
                }
                return step;
            }
            let branches = (0..chance.between(1, 3)).map(|number| Branch {
                name: format!("branch {number}"),
                steps: steps(chance, depth - 1, 2),
            });
            Step {
                branches: branches.collect(),
                ..step("pure", policy)
            }
        })
        .collect()
}

fn policy(chance: &mut Chance) -> StepErrorPolicy {
    match chance.below(6) {
        0 | 1 => StepErrorPolicy::Fail,
        2 => StepErrorPolicy::Ignore,
        _ => StepErrorPolicy::Retry {
            max_attempts: chance.below(6) as u8,
            delay_seconds: [0, 1, 7, 60][chance.below(4)],
            exponential: chance.one_in(2),
            ignore_final: chance.one_in(2),
        },
    }
}
