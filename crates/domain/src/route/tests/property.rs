//! Whatever the topology and the request: an identity is exactly what the URL and the values of the request say.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Ids and names come from ranges so small that everything collides with everything.
const CUSTOMERS: u128 = 3;
const USERS: u128 = 6;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
struct World {
    ulc: bool,
    /// External ids of customers.
    customers: Vec<Option<usize>>,
    /// Membership (customer, or the organization) and external id of users.
    users: Vec<(Option<u128>, Option<usize>)>,
    instances: Vec<InstanceRoute>,
    configs: Vec<UserConfigRoute>,
}

fn gates() -> impl Strategy<Value = Gate> {
    prop_oneof![2 => Just(Gate::Open), 1 => vec(0..3u8, 0..3).prop_map(|keys| Gate::Keys(keys.into_iter().map(key).collect()))]
}

fn instances() -> impl Strategy<Value = InstanceRoute> {
    let kinds = [
        EndpointType::FlowSpecific,
        EndpointType::InstanceSpecific,
        EndpointType::SharedInstance,
    ];
    let states = [
        InstanceState::Enabled,
        InstanceState::Enabled,
        InstanceState::Enabled,
        InstanceState::Disabled,
        InstanceState::NotDeployed,
    ];
    (
        0..CUSTOMERS,
        0..3usize,
        any::<bool>(),
        0..5usize,
        1..4u32,
        gates(),
        gates(),
        any::<bool>(),
    )
        .prop_map(move |(of, kind, user_level, state, version, import, export, single)| {
            let mut flows = vec![flow(1, NAMES[0], import), flow(2, NAMES[1], export)];
            flows.truncate(if single { 1 } else { 2 });
            InstanceRoute {
                state: states[state],
                version,
                single_flow: single,
                flows,
                ..instance(
                    0,
                    customer(of),
                    integration(kind as u128 * 2 + u128::from(user_level)),
                    kinds[kind],
                    user_level,
                )
            }
        })
}

fn worlds() -> impl Strategy<Value = World> {
    let name = || proptest::option::of(0..NAMES.len());
    let users = vec((proptest::option::weighted(0.8, 0..CUSTOMERS), name()), USERS as usize);
    let configs = vec((0..8usize, 0..USERS, 0..5u8), 0..16);
    (
        any::<bool>(),
        vec(name(), CUSTOMERS as usize),
        users,
        vec(instances(), 1..8),
        configs,
    )
        .prop_map(|(ulc, customers, users, mut instances, rows)| {
            for (n, instance) in instances.iter_mut().enumerate() {
                instance.id = instance_id(n as u128);
            }
            let mut world = World {
                ulc,
                customers: unique(customers),
                users,
                instances,
                configs: Vec::new(),
            };
            world.name_users_once();
            for (n, (at, who, state)) in rows.into_iter().enumerate() {
                world.configure(n as u128, at, who, state);
            }
            world
        })
}

fn unique(names: Vec<Option<usize>>) -> Vec<Option<usize>> {
    let mut seen = Vec::new();
    let mut fresh = |name: usize| (!seen.contains(&name)).then(|| seen.push(name)).map(|()| name);
    names.into_iter().map(|name| name.and_then(&mut fresh)).collect()
}

impl World {
    /// External ids are unique within a membership.
    fn name_users_once(&mut self) {
        let mut seen = Vec::new();
        for entry in &mut self.users {
            if entry.1.is_some() && seen.contains(entry) {
                entry.1 = None;
            }
            seen.push(*entry);
        }
    }

    /// A user has at most one live configuration of an instance; others were removed.
    fn configure(&mut self, n: u128, at: usize, who: u128, state: u8) {
        let instance = self.instances[at % self.instances.len()].id;
        let taken = self
            .configs
            .iter()
            .any(|other| other.instance == instance && other.user == user(who) && is_live(other));
        let state = match state {
            _ if taken => UserConfigState::Removed(Timestamp(NOW.0 - DAY)),
            0 => UserConfigState::Removed(Timestamp(NOW.0 - 100 * DAY)),
            1 => UserConfigState::Incomplete,
            _ if self.users[who as usize].0.is_none() => UserConfigState::OwnedByOrganizationUser,
            _ => UserConfigState::Complete,
        };
        self.configs.push(config(n, instance, user(who), state));
    }

    fn membership(&self, n: usize) -> Membership {
        self.users[n]
            .0
            .map_or(Membership::Organization, |of| Membership::Customer(customer(of)))
    }

    fn build(&self) -> RoutingSnapshot {
        let mut all = SnapshotBuilder::new(HashSecret::new(SECRET), self.ulc);
        for (n, name) in self.customers.iter().enumerate() {
            name.iter().for_each(|name| all.customer(customer(n as u128), NAMES[*name]));
        }
        for (n, (_, name)) in self.users.iter().enumerate() {
            name.iter()
                .for_each(|name| all.user(user(n as u128), self.membership(n), NAMES[*name]));
        }
        self.instances.iter().for_each(|instance| all.instance(instance.clone()));
        self.configs.iter().for_each(|config| all.user_config(config));
        all.build(1)
    }

    /// The same world, reached by changes to an empty one.
    fn grow(&self) -> RoutingSnapshot {
        let mut grown = SnapshotBuilder::new(HashSecret::new(SECRET), !self.ulc).build(0);
        let owned = |name: &Option<usize>| name.map(|name| NAMES[name].to_owned());
        let customers = self.customers.iter().enumerate().map(|(n, name)| RouteChange::CustomerExternalId {
            customer: customer(n as u128),
            before: None,
            after: owned(name),
        });
        let users = self.users.iter().enumerate().map(|(n, (_, name))| RouteChange::UserExternalId {
            user: user(n as u128),
            membership: self.membership(n),
            before: None,
            after: owned(name),
        });
        let instances = self
            .instances
            .iter()
            .map(|instance| RouteChange::Instance(Box::new(instance.clone())));
        let configs = self.configs.iter().map(|config| RouteChange::UserConfig(*config));
        grown = grown.with_changes([RouteChange::UlcEnabled(self.ulc)], 1);
        grown = grown.with_changes(customers.chain(users), 1);
        grown = grown.with_changes(instances, 1);
        configs.fold(grown, |grown, change| grown.with_changes([change], 1))
    }
}

fn is_live(config: &UserConfigRoute) -> bool {
    !matches!(config.state, UserConfigState::Removed(_))
}

fn calls() -> impl Strategy<Value = Call> {
    let endpoint = (0..4u8, 0..18u128, 1..4u16).prop_map(|(kind, n, flow)| match kind {
        0 => EndpointId::UserFlow(config_id(n), FlowNumber(flow)),
        1 => EndpointId::InstanceFlow(instance_id(n % 9), FlowNumber(flow)),
        2 => EndpointId::Instance(instance_id(n % 9)),
        _ => EndpointId::Integration(integration(n % 7)),
    });
    let name = || proptest::option::weighted(0.9, 0..NAMES.len());
    (endpoint, name(), name(), name(), proptest::option::of(0..3u8)).prop_map(|(endpoint, flow, of, who, shown)| {
        let mut made = call(endpoint);
        made = flow.into_iter().fold(made, |call, name| call.flow(NAMES[name]));
        made = of.into_iter().fold(made, |call, name| call.customer(NAMES[name]));
        made = who.into_iter().fold(made, |call, name| call.user(NAMES[name]));
        shown.into_iter().fold(made, Call::key)
    })
}

/// Everything that an identity claims, checked against the plain lists of the world.
fn verify(world: &World, call: &Call, routed: &Routed) {
    let Identity {
        customer: of,
        instance,
        flow,
        user: bound,
    } = routed.identity;
    let truth = world.instances.iter().find(|other| other.id == instance).unwrap();
    assert_eq!(truth.customer, of);
    assert_eq!(truth.state, InstanceState::Enabled);
    let named = truth.flows.iter().find(|other| other.number == flow).unwrap();
    assert!(named.gate.lets_pass(call.key.as_ref()), "the flow's own key");
    assert_eq!(routed.flow().number, flow);
    let sent = |name: &str| {
        call.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    };
    let mut url_names_user = None;
    match call.endpoint {
        EndpointId::UserFlow(config, number) => {
            let row = world.configs.iter().find(|row| row.id == config).unwrap();
            assert_eq!((row.instance, number), (instance, flow));
            url_names_user = Some((row.user, row.id));
        }
        EndpointId::InstanceFlow(id, number) => assert_eq!((id, number), (instance, flow)),
        EndpointId::Instance(id) => assert_eq!(id, instance),
        EndpointId::Integration(id) => {
            assert_eq!(truth.integration, id);
            let name = NAMES.iter().position(|name| Some(*name) == sent(request::CUSTOMER_HEADER));
            let owner = world.customers.iter().position(|other| other.is_some() && *other == name).unwrap();
            assert_eq!(customer(owner as u128), of, "the customer is the one that was named");
        }
    }
    let Some(bound) = bound else {
        assert!(!truth.user_level || routed.refusal.is_some(), "a user-level flow runs for a user");
        return;
    };
    assert_eq!(routed.refusal, None);
    let row = world.configs.iter().find(|row| row.id == bound.config).unwrap();
    assert_eq!(
        (row.user, row.instance, row.state),
        (bound.user, instance, UserConfigState::Complete)
    );
    if let Some(fixed) = url_names_user {
        assert_eq!((bound.user, bound.config), fixed, "the user is the URL's");
        return;
    }
    let n = (0..USERS as usize).find(|n| user(*n as u128) == bound.user).unwrap();
    assert_eq!(world.membership(n), Membership::Customer(of), "the user is one of the customer's");
    let name = world.users[n].1.map(|name| NAMES[name]);
    assert_eq!(name, sent(request::USER_HEADER), "the user is the one that was named");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(640))]

    /// 640 worlds of 40 requests: 25,600 decisions, each by a built and by a grown snapshot.
    #[test]
    fn an_identity_is_what_the_url_and_the_request_say(world in worlds(), requests in vec(calls(), 40)) {
        let (built, grown) = (world.build(), world.grow());
        for request in &requests {
            let routed = request.decide(&built);
            if let Ok(routed) = &routed {
                verify(&world, request, routed);
            }
            prop_assert_eq!(&routed, &request.decide(&grown), "{:?}", request);
        }
    }
}

#[test]
fn worlds_and_requests_meet_every_outcome() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let world = worlds().new_tree(&mut runner).unwrap().current().build();
        for request in vec(calls(), 40).new_tree(&mut runner).unwrap().current() {
            met.insert(match request.decide(&world) {
                Ok(routed) => (routed.identity.user.is_some(), routed.refusal),
                Err(code) => (false, Some(code)),
            });
        }
    }
    // Both kinds of identity and thirteen codes: the property above is not about empty worlds.
    assert!(met.contains(&(true, None)) && met.contains(&(false, None)), "{met:?}");
    assert!(met.contains(&(false, Some(ErrorCode::OrganizationUserNotAllowed))), "{met:?}");
    assert!(met.len() >= 14, "{met:?}");
}
