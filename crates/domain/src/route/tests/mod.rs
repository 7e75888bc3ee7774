//! A small organization to route in, and requests to route.

mod changes;
mod decisions;
mod property;
mod security;

use super::*;
use crate::code::ErrorCode;
use crate::definition::{EndpointType, RoutingFields};
use crate::id::*;
use crate::identity::Identity;
use crate::model::{InstanceState, KeyDigest, Membership};
use crate::time::Timestamp;
use std::borrow::Cow;
use uuid::Uuid;

pub(super) const SECRET: u128 = 0x5ec2e7;
pub(super) const NOW: Timestamp = Timestamp(1_795_000_000_000);
pub(super) const DAY: u64 = 24 * 60 * 60 * 1000;

pub(super) fn customer(n: u128) -> CustomerId {
    CustomerId(Uuid::from_u128(0xc000 + n))
}

pub(super) fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(0x0e000 + n))
}

pub(super) fn integration(n: u128) -> IntegrationId {
    IntegrationId(Uuid::from_u128(0x1000 + n))
}

fn spread(n: u128) -> Uuid {
    endpoint_base(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) << 16)
}

pub(super) fn instance_id(n: u128) -> InstanceId {
    InstanceId(spread(n))
}

pub(super) fn config_id(n: u128) -> UserConfigId {
    UserConfigId(spread(0x10000 + n))
}

pub(super) fn key(n: u8) -> KeyDigest {
    KeyDigest([n; 32])
}

pub(super) fn flow(number: u16, name: &str, gate: Gate) -> FlowRoute {
    FlowRoute {
        number: FlowNumber(number),
        name: name.into(),
        gate,
        is_synchronous: false,
        reply: None,
    }
}

/// An enabled instance with the open flows `import` (1) and `export` (2).
pub(super) fn instance(
    n: u128,
    of: CustomerId,
    integration: IntegrationId,
    endpoint_type: EndpointType,
    user_level: bool,
) -> InstanceRoute {
    InstanceRoute {
        id: instance_id(n),
        customer: of,
        integration,
        state: InstanceState::Enabled,
        version: 1,
        config_revision: 1,
        endpoint_type,
        user_level,
        routing: RoutingFields::default(),
        flows: [flow(1, "import", Gate::Open), flow(2, "export", Gate::Open)].into(),
        single_flow: false,
    }
}

pub(super) fn config(n: u128, instance: InstanceId, user: UserId, state: UserConfigState) -> UserConfigRoute {
    UserConfigRoute {
        id: config_id(n),
        instance,
        user,
        state,
    }
}

/// A request, built up by what it sends.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) endpoint: EndpointId,
    pub(super) headers: Vec<(String, String)>,
    pub(super) query: String,
    pub(super) body: Option<serde_json::Value>,
    pub(super) key: Option<KeyDigest>,
    pub(super) now: Timestamp,
}

pub(super) fn call(endpoint: EndpointId) -> Call {
    Call {
        endpoint,
        headers: Vec::new(),
        query: String::new(),
        body: None,
        key: None,
        now: NOW,
    }
}

impl Call {
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    pub(super) fn flow(self, name: &str) -> Self {
        self.header(request::FLOW_HEADER, name)
    }

    pub(super) fn customer(self, external_id: &str) -> Self {
        self.header(request::CUSTOMER_HEADER, external_id)
    }

    pub(super) fn user(self, external_id: &str) -> Self {
        self.header(request::USER_HEADER, external_id)
    }

    pub(super) fn query(mut self, query: &str) -> Self {
        self.query = query.into();
        self
    }

    pub(super) fn body(mut self, body: serde_json::Value) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) fn key(mut self, n: u8) -> Self {
        self.key = Some(key(n));
        self
    }

    pub(super) fn decide(&self, snapshot: &RoutingSnapshot) -> Result<Routed, ErrorCode> {
        let request = RouteRequest {
            endpoint: self.endpoint,
            query: &self.query,
            headers: self,
            body: self,
            api_key: self.key,
            now: self.now,
        };
        decide(snapshot, &request).map_err(|error| error.code)
    }

    /// The identity, or the code; a refusal that is recorded counts as its code.
    pub(super) fn outcome(&self, snapshot: &RoutingSnapshot) -> Result<Identity, ErrorCode> {
        let routed = self.decide(snapshot)?;
        match routed.refusal {
            Some(code) => {
                assert_eq!(routed.identity.user, None, "a refused execution must not name a user");
                Err(code)
            }
            None => Ok(routed.identity),
        }
    }
}

impl RequestHeaders for Call {
    fn header(&self, name: &str) -> HeaderLookup<'_> {
        let mut found = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (None, _) => HeaderLookup::Missing,
            (Some((_, value)), None) => HeaderLookup::One(value),
            (Some(_), Some(_)) => HeaderLookup::Many,
        }
    }
}

impl RequestBody for Call {
    fn text_at(&self, path: &[String]) -> Result<Option<Cow<'_, str>>, ErrorCode> {
        let Some(body) = &self.body else {
            return Ok(None);
        };
        let found = path.iter().try_fold(body, |value, segment| value.get(segment));
        Ok(found.and_then(|value| match value {
            serde_json::Value::String(text) => Some(Cow::Borrowed(text.as_str())),
            serde_json::Value::Number(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }))
    }
}

pub(super) const PLAIN: InstanceOf = InstanceOf(0);
pub(super) const FLOW_ULC: InstanceOf = InstanceOf(1);
pub(super) const INSTANCE: InstanceOf = InstanceOf(2);
pub(super) const INSTANCE_ULC: InstanceOf = InstanceOf(3);
pub(super) const SHARED: InstanceOf = InstanceOf(4);
pub(super) const SHARED_ULC: InstanceOf = InstanceOf(5);

/// One of the six kinds of integration; customers 1 (`acme`) and 2 (`bolt`) have an instance of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InstanceOf(u128);

impl InstanceOf {
    pub(super) const ALL: [Self; 6] = [PLAIN, FLOW_ULC, INSTANCE, INSTANCE_ULC, SHARED, SHARED_ULC];

    pub(super) fn integration(self) -> IntegrationId {
        integration(self.0)
    }

    pub(super) fn at(self, customer: u128) -> InstanceId {
        instance_id(customer * 16 + self.0)
    }

    pub(super) fn route(self, of: u128) -> InstanceRoute {
        let types = [
            EndpointType::FlowSpecific,
            EndpointType::InstanceSpecific,
            EndpointType::SharedInstance,
        ];
        let kind = types[self.0 as usize / 2];
        instance(of * 16 + self.0, customer(of), self.integration(), kind, self.0 % 2 == 1)
    }

    /// The endpoint that requests for customer 1 use.
    pub(super) fn endpoint(self) -> EndpointId {
        match self.0 / 2 {
            0 => EndpointId::InstanceFlow(self.at(1), FlowNumber(1)),
            1 => EndpointId::Instance(self.at(1)),
            _ => EndpointId::Integration(self.integration()),
        }
    }

    /// A user's configuration for customer 1's instance: numbered by kind and user.
    pub(super) fn config(self, user: u128) -> u128 {
        self.0 * 100 + user
    }
}

/// Users of `acme`: 1 `jane` and 2 `bob` configured, 3 `carl` incomplete, 4 `dora` not configured, 5 without an
/// external id. User 11 is `jane` of `bolt`; users 21 `jane` and 22 `olga` are the organization's, 22 with a
/// configuration of her own.
pub(super) fn organization() -> SnapshotBuilder {
    let mut all = SnapshotBuilder::new(HashSecret::new(SECRET), true);
    all.customer(customer(1), "acme");
    all.customer(customer(2), "bolt");
    all.customer(customer(3), "new");
    for (n, name) in [(1, "jane"), (2, "bob"), (3, "carl"), (4, "dora")] {
        all.user(user(n), Membership::Customer(customer(1)), name);
    }
    all.user(user(11), Membership::Customer(customer(2)), "jane");
    all.user(user(21), Membership::Organization, "jane");
    all.user(user(22), Membership::Organization, "olga");
    for kind in InstanceOf::ALL {
        all.instance(kind.route(1));
        all.instance(kind.route(2));
        for (n, state) in [
            (1, UserConfigState::Complete),
            (2, UserConfigState::Complete),
            (3, UserConfigState::Incomplete),
            (5, UserConfigState::Complete),
            (22, UserConfigState::OwnedByOrganizationUser),
        ] {
            all.user_config(&config(kind.config(n), kind.at(1), user(n), state));
        }
        all.user_config(&config(kind.config(11), kind.at(2), user(11), UserConfigState::Complete));
    }
    all
}

pub(super) fn snapshot() -> RoutingSnapshot {
    organization().build(1)
}

pub(super) fn identity(kind: InstanceOf, of: u128, flow: u16, who: Option<u128>) -> Identity {
    Identity {
        customer: customer(of),
        instance: kind.at(of),
        flow: FlowNumber(flow),
        user: who.map(|n| crate::identity::BoundUser {
            user: user(n),
            config: config_id(kind.config(n)),
        }),
    }
}
