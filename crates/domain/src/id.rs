//! Typed identifiers, their global form and the endpoint ids derived from them.
//!
//! A *global id* is the base64 text of `Type:uuid`, the form that clients see in answers and URLs.
//! Ids of instances and user configurations are version 8 UUIDs whose last 16 bits are zero; a flow's number
//! (stable within its integration) fills them to name one flow of that instance or user configuration, so one
//! routing row serves all flows.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;
use uuid::Uuid;

/// A map by ids, which this daemon makes and nobody outside chooses: the standard hasher would guard against nothing.
pub type IdMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
/// A set of ids; see [`IdMap`].
pub type IdSet<K> = HashSet<K, foldhash::fast::RandomState>;

/// Entries for which a map keeps room in any case. No key: they are some kilobytes, also where there are dozens of maps.
const KEPT_ROOM: usize = 128;

/// Gives back the room that a burst took, once a map uses an eighth of it: call it after entries were removed. It is made
/// smaller at most once for as many removals as it moves entries.
pub fn give_back<K: Eq + Hash, V>(map: &mut IdMap<K, V>) {
    if map.capacity() > 2 * KEPT_ROOM && map.len() < map.capacity() / 8 {
        map.shrink_to(KEPT_ROOM.max(2 * map.len()));
    }
}

/// Why a text is not the id that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is not base64 of `Type:uuid`, nor a plain UUID.
    #[error("expected the global id or uuid of a {expected}")]
    Malformed {
        /// The type name that was expected.
        expected: &'static str,
    },
    /// The text names another type.
    #[error("expected the id of a {expected}, found that of a {found}")]
    WrongType {
        /// The type name that was expected.
        expected: &'static str,
        /// The type name in the text.
        found: String,
    },
}

/// Longer than any type name and UUID; what is longer names nothing.
const GLOBAL_MAX: usize = 96;

/// Splits a global id into its type name and UUID. Accepts padded and unpadded base64.
#[must_use]
pub fn split_global(text: &str) -> Option<(String, Uuid)> {
    let mut buffer = [0; GLOBAL_MAX];
    let (kind, id) = decode_global(text, &mut buffer)?;
    Some((kind.to_owned(), id))
}

/// As [`split_global`], without allocating: every request goes through here.
fn decode_global<'b>(text: &str, buffer: &'b mut [u8; GLOBAL_MAX]) -> Option<(&'b str, Uuid)> {
    let length = STANDARD_NO_PAD.decode_slice(text.trim_end_matches('='), buffer).ok()?;
    let plain = std::str::from_utf8(&buffer[..length]).ok()?;
    let (kind, id) = plain.split_once(':')?;
    Some((kind, Uuid::parse_str(id).ok()?))
}

/// The base64 text of `Type:uuid`, padded as the clients send it back.
#[must_use]
pub fn join_global(kind: &str, id: Uuid) -> String {
    // Every receipt has one: a formatter took two thirds of the instructions.
    let mut hyphenated = Uuid::encode_buffer();
    let id = id.hyphenated().encode_lower(&mut hyphenated);
    STANDARD.encode([kind, ":", id].concat())
}

macro_rules! typed_id {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The type name in the global form.
            pub const KIND: &'static str = $kind;

            /// The form that clients see.
            #[must_use]
            pub fn global(&self) -> String {
                join_global(Self::KIND, self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{}", $kind, self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if let Ok(id) = Uuid::parse_str(text) {
                    return Ok(Self(id));
                }
                match split_global(text) {
                    Some((kind, id)) if kind == $kind => Ok(Self(id)),
                    Some((found, _)) => Err(IdError::WrongType { expected: $kind, found }),
                    None => Err(IdError::Malformed { expected: $kind }),
                }
            }
        }
    )*};
}

typed_id! {
    /// The B2B software company that runs Perseat.
    OrganizationId = "Organization";
    /// A company that buys from the organization.
    CustomerId = "Customer";
    /// A person: a customer's user, or one of the organization.
    UserId = "User";
    /// An integration, over all its versions.
    IntegrationId = "Integration";
    /// One integration switched on for one customer.
    InstanceId = "Instance";
    /// One user's configuration of one instance.
    UserConfigId = "UserLevelConfig";
    /// One run of one flow.
    ExecutionId = "InstanceExecutionResult";
    /// A bearer token that was made by hand.
    TokenId = "ApiToken";
    /// A file that was uploaded.
    MediaId = "Media";
    /// By what a user signs in; the number is the user's.
    AccountId = "Account";
    /// A sign-in that goes on.
    SessionId = "Session";
    /// A customer's app registration with a provider.
    RegistrationId = "AppRegistration";
    /// A mail that has to go out.
    LetterId = "Letter";
    /// A connection that more than one configuration uses.
    SharedConnectionId = "ScopedConfigVariable";
    /// What a customer or user gives to one.
    SharedValueId = "CustomerConfigVariable";
}

/// A flow's number, stable within its integration over all versions; starts at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlowNumber(pub u16);

impl fmt::Display for FlowNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const FLOW_MASK: u128 = 0xffff;

/// A version 8 UUID from random bits, with the place of the flow number left zero.
#[must_use]
pub fn endpoint_base(random: u128) -> Uuid {
    uuid::Builder::from_custom_bytes((random & !FLOW_MASK).to_be_bytes()).into_uuid()
}

fn with_flow(base: Uuid, flow: FlowNumber) -> Uuid {
    Uuid::from_u128((base.as_u128() & !FLOW_MASK) | u128::from(flow.0))
}

fn without_flow(id: Uuid) -> (Uuid, FlowNumber) {
    let bits = id.as_u128();
    let flow = FlowNumber((bits & FLOW_MASK) as u16);
    (Uuid::from_u128(bits & !FLOW_MASK), flow)
}

/// What the last segment of a trigger URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndpointId {
    /// One flow with one user's configuration.
    UserFlow(UserConfigId, FlowNumber),
    /// One flow of one instance.
    InstanceFlow(InstanceId, FlowNumber),
    /// One instance; the flow comes from the request.
    Instance(InstanceId),
    /// All instances of an integration; customer and flow come from the request.
    Integration(IntegrationId),
}

impl EndpointId {
    const USER_FLOW: &'static str = "UserLevelFlowConfig";
    const INSTANCE_FLOW: &'static str = "InstanceFlowConfig";

    /// The id as it stands in the URL.
    #[must_use]
    pub fn global(&self) -> String {
        match self {
            Self::UserFlow(config, flow) => join_global(Self::USER_FLOW, with_flow(config.0, *flow)),
            Self::InstanceFlow(instance, flow) => join_global(Self::INSTANCE_FLOW, with_flow(instance.0, *flow)),
            Self::Instance(instance) => instance.global(),
            Self::Integration(integration) => integration.global(),
        }
    }

    /// Reads the id of a trigger URL; `None` for anything that names no endpoint.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut buffer = [0; GLOBAL_MAX];
        let (kind, id) = decode_global(text, &mut buffer)?;
        let (base, flow) = without_flow(id);
        match kind {
            Self::USER_FLOW => Some(Self::UserFlow(UserConfigId(base), flow)),
            Self::INSTANCE_FLOW => Some(Self::InstanceFlow(InstanceId(base), flow)),
            InstanceId::KIND => Some(Self::Instance(InstanceId(id))),
            IntegrationId::KIND => Some(Self::Integration(IntegrationId(id))),
            _ => None,
        }
    }
}

/// One version of an integration, or the newest whichever it is: an integration's id whose last 16 bits, zero in the
/// integration's own, hold the version's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId {
    /// Of which integration.
    pub integration: IntegrationId,
    /// Which version; `None`: the newest.
    pub version: Option<u16>,
}

impl VersionId {
    /// The form that clients see.
    #[must_use]
    pub fn global(&self) -> String {
        let id = with_flow(self.integration.0, FlowNumber(self.version.unwrap_or(0)));
        IntegrationId(id).global()
    }
}

impl FromStr for VersionId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (base, FlowNumber(version)) = without_flow(text.parse::<IntegrationId>()?.0);
        Ok(Self {
            integration: IntegrationId(base),
            version: (version != 0).then_some(version),
        })
    }
}

/// What turns an integration's id into that of its system instance, and back.
const SYSTEM_INSTANCE: u128 = 0x5059_5354_454d_0000_0000_5045_5253_0000;

/// The unlisted instance by which an integration is tried out: it is not stored, and its id follows from the integration's.
#[must_use]
pub fn system_instance(integration: IntegrationId) -> InstanceId {
    InstanceId(Uuid::from_u128(integration.0.as_u128() ^ SYSTEM_INSTANCE))
}

/// The integration whose system instance this would be.
#[must_use]
pub fn integration_of_system_instance(instance: InstanceId) -> IntegrationId {
    IntegrationId(Uuid::from_u128(instance.0.as_u128() ^ SYSTEM_INSTANCE))
}

/// Number of partitions; fixed for the life of a data directory.
pub const PARTITIONS: u8 = 64;

/// The partition that an instance's entries carry, whatever the number of arbiters.
#[must_use]
pub fn partition_of(instance: InstanceId) -> u8 {
    let bits = instance.0.as_u128();
    // Fibonacci hashing over the random half; the flow number's bits are zero in an instance id.
    let folded = (bits >> 64) as u64 ^ bits as u64;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_ids_survive_their_global_form() {
        let base = endpoint_base(0x1234_5678_9abc_def0_1122_3344_5566_7788);
        for id in [
            EndpointId::UserFlow(UserConfigId(base), FlowNumber(7)),
            EndpointId::InstanceFlow(InstanceId(base), FlowNumber(65_535)),
            EndpointId::Instance(InstanceId(base)),
            EndpointId::Integration(IntegrationId(Uuid::from_u128(9))),
        ] {
            assert_eq!(EndpointId::parse(&id.global()), Some(id));
            assert_eq!(
                EndpointId::parse(id.global().trim_end_matches('=')),
                Some(id),
                "padding is optional"
            );
        }
    }

    #[test]
    fn a_map_gives_back_what_a_burst_took_and_moves_few_entries_for_it() {
        let mut map: IdMap<u32, [u64; 4]> = (0..100_000).map(|key| (key, [0; 4])).collect();
        let (mut moved, mut room) = (0, map.capacity());
        for key in 0..100_000 {
            map.remove(&key);
            give_back(&mut map);
            // What was removed may count as used: the room falls a little with each.
            if map.capacity() < room / 2 {
                room = map.capacity();
                moved += map.len();
            }
        }
        assert!(map.capacity() <= 2 * KEPT_ROOM && moved < 100_000 / 4, "{} {moved}", map.capacity());
        assert!(map.capacity() >= KEPT_ROOM, "and some room is kept");
    }

    #[test]
    fn an_id_of_another_type_is_named_in_the_error() {
        let customer = CustomerId(Uuid::from_u128(5)).global();
        let error = customer.parse::<InstanceId>().unwrap_err();
        assert_eq!(error.to_string(), "expected the id of a Instance, found that of a Customer");
    }

    #[test]
    fn endpoint_base_is_version_8_and_leaves_room_for_the_flow() {
        let base = endpoint_base(u128::MAX);
        assert_eq!(base.get_version_num(), 8);
        assert_eq!(base.as_u128() & FLOW_MASK, 0);
    }

    #[test]
    fn versions_and_system_instances_lead_back_to_their_integration() {
        let integration = IntegrationId(endpoint_base(0x1234_5678_9abc_def0_1122_3344_5566_7788));
        for version in [None, Some(1), Some(u16::MAX)] {
            let id = VersionId { integration, version };
            assert_eq!(id.global().parse(), Ok(id));
        }
        let system = system_instance(integration);
        assert_ne!(system.0, integration.0);
        assert_eq!(integration_of_system_instance(system), integration);
    }

    #[test]
    fn partitions_are_spread_over_the_whole_range() {
        let used: std::collections::BTreeSet<u8> = (0..4096u128)
            .map(|n| partition_of(InstanceId(endpoint_base(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)))))
            .collect();
        assert_eq!(used.len(), usize::from(PARTITIONS));
    }
}
