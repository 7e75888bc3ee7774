//! A request: `METHOD target`, headers line by line, an empty line, the body. `{3}` in the target is the third endpoint's id.
//!
//! Whatever is sent, it is bound to what its URL fixes, and to a user only with that user's own configuration.

use perseat_domain::code::ErrorCode;
use perseat_domain::definition::{EndpointType, RoutingFields, RoutingPath};
use perseat_domain::id::{CustomerId, EndpointId, FlowNumber, InstanceId, IntegrationId, UserConfigId, UserId, endpoint_base};
use perseat_domain::model::{InstanceState, KeyDigest, Membership};
use perseat_domain::route::{
    FlowRoute, Gate, HashSecret, HeaderLookup, InstanceRoute, RequestBody, RequestHeaders, RouteRequest, RoutingSnapshot, SnapshotBuilder,
    UserConfigRoute, UserConfigState, decide, parse_target,
};
use perseat_domain::time::Timestamp;
use perseat_flow::payload::json;
use std::borrow::Cow;
use std::sync::OnceLock;
use uuid::Uuid;

pub(crate) fn run(data: &[u8]) {
    let world = WORLD.get_or_init(World::build);
    let Some(sent) = Sent::read(data, world) else { return };
    let (path, query) = match sent.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (sent.target.as_str(), None),
    };
    let Ok(target) = parse_target(&sent.method, path, query) else {
        return;
    };
    assert!(!target.path_fragment.contains('\0'), "NUL in a path fragment");
    let decided = |headers: &Sent, body: &Sent| {
        decide(
            &world.snapshot,
            &RouteRequest {
                endpoint: target.endpoint,
                query: target.query,
                headers,
                body,
                api_key: sent.api_key(),
                now: Timestamp(1_000_000),
            },
        )
    };
    let routed = decided(&sent, &sent);
    let bare = Sent::default();
    if !world.snapshot.needs_body(target.endpoint) {
        assert_eq!(decided(&sent, &bare).is_ok(), routed.is_ok(), "the body is not needed");
    }
    if matches!(target.endpoint, EndpointId::UserFlow(..) | EndpointId::InstanceFlow(..)) {
        let by_url = decided(&bare, &bare).map(|routed| routed.identity);
        assert_eq!(
            by_url,
            routed.as_ref().map(|routed| routed.identity).map_err(|error| *error),
            "the URL fixes everything"
        );
    }
    let Ok(routed) = routed else { return };
    let identity = routed.identity;
    assert_eq!(identity.instance, routed.instance.id);
    assert_eq!(identity.customer, routed.instance.customer);
    assert_eq!(routed.flow().number, identity.flow);
    assert_eq!(routed.instance.state, InstanceState::Enabled);
    match target.endpoint {
        EndpointId::UserFlow(config, flow) => assert_eq!((identity.user.map(|user| user.config), identity.flow), (Some(config), flow)),
        EndpointId::InstanceFlow(instance, flow) => assert_eq!((identity.instance, identity.flow, identity.user), (instance, flow, None)),
        EndpointId::Instance(instance) => assert_eq!(identity.instance, instance),
        EndpointId::Integration(integration) => assert_eq!(routed.instance.integration, integration),
    }
    assert_eq!(
        identity.user.is_some(),
        routed.instance.user_level && routed.refusal.is_none(),
        "a user exactly where there are users"
    );
    if let Some(bound) = identity.user {
        let own = world
            .configs
            .iter()
            .find(|config| config.id == bound.config)
            .expect("a known configuration");
        assert_eq!(
            (own.instance, own.user),
            (identity.instance, bound.user),
            "somebody else's configuration"
        );
    }
}

/// What was sent.
#[derive(Default)]
struct Sent {
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Sent {
    fn read(data: &[u8], world: &World) -> Option<Self> {
        let mut rest = data;
        let mut line = || {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            let line = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            line
        };
        let first = String::from_utf8_lossy(line()).into_owned();
        let (method, target) = first.split_once(' ')?;
        let mut headers = Vec::new();
        loop {
            let header = line();
            if header.is_empty() {
                break;
            }
            let colon = header.iter().position(|byte| *byte == b':').unwrap_or(header.len());
            let value = header.get(colon + 1..).unwrap_or_default();
            headers.push((
                String::from_utf8_lossy(&header[..colon]).to_lowercase(),
                value.trim_ascii().to_vec(),
            ));
        }
        Some(Self {
            method: method.to_owned(),
            target: world.named(target),
            headers,
            body: rest.to_vec(),
        })
    }

    fn api_key(&self) -> Option<KeyDigest> {
        match self.header("api-key") {
            HeaderLookup::One("right") => Some(RIGHT),
            HeaderLookup::One(_) => Some(KeyDigest([2; 32])),
            _ => None,
        }
    }
}

impl RequestHeaders for Sent {
    fn header(&self, name: &str) -> HeaderLookup<'_> {
        let mut values = self.headers.iter().filter(|(sent, _)| sent.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (None, _) => HeaderLookup::Missing,
            (Some(_), Some(_)) => HeaderLookup::Many,
            (Some((_, value)), None) => std::str::from_utf8(value).map_or(HeaderLookup::NotText, HeaderLookup::One),
        }
    }
}

impl RequestBody for Sent {
    fn text_at(&self, path: &[String]) -> Result<Option<Cow<'_, str>>, ErrorCode> {
        if self.body.is_empty() {
            return Ok(None);
        }
        let text = json::text_at(&self.body, path, 20).map_err(|_| ErrorCode::PayloadMalformed)?;
        Ok(text.map(Cow::Owned))
    }
}

static WORLD: OnceLock<World> = OnceLock::new();

const RIGHT: KeyDigest = KeyDigest([1; 32]);
const CUSTOMERS: [(CustomerId, &str); 2] = [
    (CustomerId(Uuid::from_u128(0xc1)), "acme"),
    (CustomerId(Uuid::from_u128(0xc2)), "globex"),
];
/// External id, and whose they are; the last one is the organization's.
const USERS: [(UserId, &str, Option<usize>); 5] = [
    (UserId(Uuid::from_u128(1)), "jane", Some(0)),
    (UserId(Uuid::from_u128(2)), "bob", Some(0)),
    (UserId(Uuid::from_u128(3)), "jane", Some(1)),
    (UserId(Uuid::from_u128(4)), "dora", Some(1)),
    (UserId(Uuid::from_u128(5)), "olga", None),
];

struct World {
    snapshot: RoutingSnapshot,
    configs: Vec<UserConfigRoute>,
    endpoints: Vec<EndpointId>,
}

impl World {
    /// Each kind of instance for both customers; everybody but dora has configured those that have users.
    fn build() -> Self {
        let mut all = SnapshotBuilder::new(HashSecret::new(7), true);
        for (customer, name) in CUSTOMERS {
            all.customer(customer, name);
        }
        for (user, name, of) in USERS {
            let membership = of.map_or(Membership::Organization, |of| Membership::Customer(CUSTOMERS[of].0));
            all.user(user, membership, name);
        }
        let (mut configs, mut endpoints) = (Vec::new(), Vec::new());
        for (number, (kind, user_level, routing)) in kinds().into_iter().enumerate() {
            for (place, (customer, _)) in CUSTOMERS.into_iter().enumerate() {
                let n = number as u128 * 2 + place as u128 + 1;
                let instance = instance(n, customer, number as u128, kind, user_level, routing.clone());
                endpoints.push(match kind {
                    EndpointType::FlowSpecific => EndpointId::InstanceFlow(instance.id, FlowNumber(1)),
                    EndpointType::InstanceSpecific => EndpointId::Instance(instance.id),
                    EndpointType::SharedInstance => EndpointId::Integration(instance.integration),
                });
                let id = instance.id;
                all.instance(instance);
                for (user, name, of) in USERS {
                    if user_level && name != "dora" && of == Some(place) {
                        let config = UserConfigRoute {
                            id: UserConfigId(place_of(n * 64 + user.0.as_u128())),
                            instance: id,
                            user,
                            state: UserConfigState::Complete,
                        };
                        endpoints.push(EndpointId::UserFlow(config.id, FlowNumber(2)));
                        configs.push(config);
                    }
                }
            }
        }
        for config in &configs {
            all.user_config(config);
        }
        Self {
            snapshot: all.build(1),
            configs,
            endpoints,
        }
    }

    /// The target with `{n}` replaced by the id of endpoint n.
    fn named(&self, target: &str) -> String {
        let Some((before, number, after)) = target.split_once('{').and_then(|(before, rest)| {
            let (number, after) = rest.split_once('}')?;
            Some((before, number.parse::<usize>().ok()?, after))
        }) else {
            return target.to_owned();
        };
        let id = self.endpoints.get(number).map(EndpointId::global).unwrap_or_default();
        [before, &id, after].concat()
    }
}

fn kinds() -> [(EndpointType, bool, RoutingFields); 7] {
    use EndpointType::{FlowSpecific, InstanceSpecific, SharedInstance};
    let body = |path: &[&str]| Some(RoutingPath::Body(path.iter().map(|segment| (*segment).to_owned()).collect()));
    let by_body = RoutingFields {
        flow_name: body(&["flow"]),
        customer: body(&["account", "id"]),
        user: body(&["people", "0"]),
    };
    let by_query = RoutingFields {
        flow_name: Some(RoutingPath::Query("flow".into())),
        customer: Some(RoutingPath::Query("account".into())),
        user: Some(RoutingPath::Header("x-person".into())),
    };
    [
        (FlowSpecific, false, RoutingFields::default()),
        (FlowSpecific, true, RoutingFields::default()),
        (InstanceSpecific, false, RoutingFields::default()),
        (InstanceSpecific, true, by_body.clone()),
        (SharedInstance, true, RoutingFields::default()),
        (SharedInstance, true, by_body),
        (SharedInstance, false, by_query),
    ]
}

fn instance(
    n: u128,
    customer: CustomerId,
    integration: u128,
    kind: EndpointType,
    user_level: bool,
    routing: RoutingFields,
) -> InstanceRoute {
    let flow = |number, name: &str, gate| FlowRoute {
        number: FlowNumber(number),
        name: name.to_owned(),
        gate,
        is_synchronous: false,
        reply: None,
    };
    InstanceRoute {
        id: InstanceId(place_of(n)),
        customer,
        integration: IntegrationId(Uuid::from_u128(0x1000 + integration)),
        state: if n == 3 { InstanceState::Disabled } else { InstanceState::Enabled },
        version: 1,
        config_revision: 1,
        endpoint_type: kind,
        user_level,
        routing,
        flows: [
            flow(1, "import", Gate::Open),
            flow(2, "export", Gate::Open),
            flow(3, "guarded", Gate::Keys([RIGHT].into())),
        ]
        .into(),
        single_flow: false,
    }
}

fn place_of(n: u128) -> Uuid {
    endpoint_base(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) << 16)
}
