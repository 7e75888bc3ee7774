//! Fills an empty catalog, and says which requests reach its users.

use super::flows::{FLOW, FOLDER};
use perseat_domain::definition::EndpointType;
use perseat_domain::id::{
    CustomerId, EndpointId, FlowNumber, InstanceId, IntegrationId, OrganizationId, UserConfigId, UserId, endpoint_base,
};
use perseat_domain::model::{
    ConfigValue, Customer, Instance, InstanceConfig, InstanceState, Integration, IntegrationSettings, IntegrationVersion, Membership,
    Organization, Profile, Release, Role, User, UserConfig,
};
use perseat_domain::route::{CUSTOMER_HEADER, FLOW_HEADER, USER_HEADER};
use perseat_domain::time::Timestamp;
use perseat_flow::component::BuiltIn;
use perseat_flow::definition::{Limits, Previous, parse};
use perseat_store::StoreError;
use perseat_store::catalog::{Change, Mutation};
use perseat_store::custody::Custody;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use uuid::Uuid;

/// The order of the requests and the ids, the same in every run.
const SEED: u64 = 0x5eed_0f8e_4c4b_3a29;

/// SplitMix64: enough for ids that need only differ.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    /// So many different ids, in order.
    fn ids(&mut self, count: usize, make: impl Fn(u128) -> Uuid) -> Vec<Uuid> {
        let mut ids: Vec<Uuid> = (0..count).map(|_| make(self.wide())).collect();
        ids.sort_unstable();
        ids
    }
}

/// What the requests name.
pub(super) struct Requests {
    integration: IntegrationId,
    instances: Vec<Uuid>,
    configs: Vec<Uuid>,
    flow: FlowNumber,
    order: Vec<u32>,
}

impl Requests {
    /// One request a line, each user once: the path, then headers, separated by tabs.
    pub(super) fn write(&self, endpoint: EndpointType, out: &mut impl Write) -> io::Result<()> {
        for user in self.order.iter().map(|user| *user as usize) {
            let group = self.group(user);
            match endpoint {
                EndpointType::FlowSpecific => {
                    let id = EndpointId::UserFlow(UserConfigId(self.configs[user]), self.flow);
                    writeln!(out, "/trigger/{}", id.global())?;
                }
                EndpointType::InstanceSpecific => {
                    let id = EndpointId::Instance(InstanceId(self.instances[group]));
                    let user = user_name(user);
                    writeln!(out, "/trigger/{}\t{FLOW_HEADER}: {FLOW}\t{USER_HEADER}: {user}", id.global())?;
                }
                EndpointType::SharedInstance => {
                    let (id, customer) = (EndpointId::Integration(self.integration), customer_name(group));
                    let user = user_name(user);
                    let path = id.global();
                    writeln!(
                        out,
                        "/trigger/{path}\t{FLOW_HEADER}: {FLOW}\t{CUSTOMER_HEADER}: {customer}\t{USER_HEADER}: {user}"
                    )?;
                }
            }
        }
        Ok(())
    }

    /// The customer and instance that a user belongs to: neighbours share one, so that every table grows at its end.
    fn group(&self, user: usize) -> usize {
        user * self.instances.len() / self.configs.len()
    }
}

fn customer_name(group: usize) -> String {
    format!("customer-{group:07}")
}

fn user_name(user: usize) -> String {
    format!("user-{user:08}")
}

/// Writes everything in one transaction.
pub(super) fn fill(custody: &Custody, yaml: &str, users: usize, instances: usize) -> anyhow::Result<Requests> {
    let parsed = parse(yaml, &BuiltIn, &Previous::default(), &Limits::default());
    let parsed = parsed.map_err(|problems| anyhow::anyhow!("the fixture's integration is wrong: {problems:?}"))?;
    let mut numbers = Numbers(SEED);
    let version_4 = |bits: u128| uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
    let integration = Integration {
        id: IntegrationId(endpoint_base(numbers.wide())),
        name: parsed.definition.name.clone(),
        latest_version: 1,
        flow_numbers: parsed.flow_numbers,
        withdrawn: BTreeSet::new(),
        settings: IntegrationSettings::default(),
        test_values: BTreeMap::new(),
    };
    let version = IntegrationVersion {
        integration: integration.id,
        version: 1,
        yaml: yaml.to_owned(),
        organization_keys: BTreeMap::new(),
        connection_secrets: BTreeMap::new(),
        is_draft: false,
        release: Some(Release::default()),
        definition: parsed.definition,
    };
    let flow = version.definition.flow_named(FLOW).map_or(FlowNumber(1), |flow| flow.number);
    let organization = OrganizationId(version_4(numbers.wide()));
    let people = People {
        customers: numbers.ids(instances, version_4),
        users: numbers.ids(users, version_4),
    };
    let mut requests = Requests {
        integration: integration.id,
        instances: numbers.ids(instances, endpoint_base),
        configs: numbers.ids(users, endpoint_base),
        flow,
        order: (0..u32::try_from(users)?).collect(),
    };
    let change = Change {
        by: "bench-fixture",
        at: Timestamp(0),
        action: "bench-fixture",
    };
    custody.mutate(change, |mutation| {
        mutation.put(&Organization {
            id: organization,
            name: "Bench".to_owned(),
            ulc_enabled: true,
            signing_keys: Vec::new(),
        })?;
        mutation.put(&integration)?;
        mutation.put(&version)?;
        people.write(&requests, mutation)?;
        Ok::<_, StoreError>(())
    })?;
    for last in (1..requests.order.len()).rev() {
        let other = usize::try_from(numbers.next() % (last as u64 + 1))?;
        requests.order.swap(last, other);
    }
    Ok(requests)
}

struct People {
    customers: Vec<Uuid>,
    users: Vec<Uuid>,
}

impl People {
    fn write(&self, requests: &Requests, mutation: &mut Mutation<'_>) -> Result<(), StoreError> {
        for (group, id) in self.customers.iter().enumerate() {
            mutation.put(&Customer {
                id: CustomerId(*id),
                name: customer_name(group),
                external_id: Some(customer_name(group)),
                description: String::new(),
                labels: Vec::new(),
            })?;
        }
        for (group, id) in requests.instances.iter().enumerate() {
            let config = InstanceConfig {
                version: 1,
                ..InstanceConfig::default()
            };
            mutation.put(&Instance {
                id: InstanceId(*id),
                name: "Bench".to_owned(),
                description: String::new(),
                labels: Vec::new(),
                customer: CustomerId(self.customers[group]),
                integration: requests.integration,
                state: InstanceState::Enabled,
                deployed: Some(config.clone()),
                config,
                config_revision: 1,
                deployed_at: None,
                registrations: Vec::new(),
            })?;
        }
        for (user, id) in self.users.iter().enumerate() {
            mutation.put(&User {
                id: UserId(*id),
                membership: Membership::Customer(CustomerId(self.customers[requests.group(user)])),
                email: None,
                name: user_name(user),
                external_id: Some(user_name(user)),
                subject: None,
                subject_seen_at: None,
                labels: Vec::new(),
                role: Role::MarketplaceUser,
                profile: Profile::default(),
            })?;
        }
        for (user, id) in requests.configs.iter().enumerate() {
            let folder = ConfigValue::Plain(format!("/{}", user_name(user)));
            mutation.put(&UserConfig {
                id: UserConfigId(*id),
                instance: InstanceId(requests.instances[requests.group(user)]),
                user: UserId(self.users[user]),
                values: [(FOLDER.to_owned(), folder)].into(),
                config_revision: 1,
                removed_at: None,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench_fixture::{Endpoint, Flow, flows};
    use perseat_domain::code::ErrorCode;
    use perseat_domain::route::{HashSecret, HeaderLookup, RequestBody, RequestHeaders, RouteRequest, decide};
    use perseat_store::catalog::{Catalog, Options};
    use perseat_store::keyring::{self, Keyring, MasterKey};
    use std::borrow::Cow;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    struct Headers<'a>(BTreeMap<&'a str, &'a str>);

    impl RequestHeaders for Headers<'_> {
        fn header(&self, name: &str) -> HeaderLookup<'_> {
            self.0.get(name).map_or(HeaderLookup::Missing, |value| HeaderLookup::One(value))
        }
    }

    struct NoBody;

    impl RequestBody for NoBody {
        fn text_at(&self, _: &[String]) -> Result<Option<Cow<'_, str>>, ErrorCode> {
            Ok(None)
        }
    }

    fn custody(folder: &std::path::Path) -> Custody {
        let catalog = Catalog::open(&folder.join("catalog.redb"), Options::default()).unwrap();
        let keyring = Keyring::open(&folder.join("keyring"), MasterKey::new(&[1; 32]), &keyring::Options::default()).unwrap();
        Custody::resume(Arc::new(catalog), Arc::new(keyring)).unwrap()
    }

    #[test]
    fn every_line_reaches_another_user_and_all_are_reached() {
        for endpoint in [Endpoint::FlowSpecific, Endpoint::InstanceSpecific, Endpoint::Shared] {
            let folder = tempfile::tempdir().unwrap();
            let custody = custody(folder.path());
            let requests = fill(&custody, &flows::integration(Flow::Ack, endpoint, None), 20, 3).unwrap();
            let mut lines = Vec::new();
            requests.write(endpoint.endpoint_type(), &mut lines).unwrap();
            let snapshot = perseat_admin::routing::snapshot(custody.catalog(), HashSecret::new(1)).unwrap();
            let (mut users, mut instances) = (BTreeSet::new(), BTreeSet::new());
            for line in String::from_utf8(lines).unwrap().lines() {
                let mut parts = line.split('\t');
                let id = parts.next().unwrap().strip_prefix("/trigger/").unwrap();
                let headers = Headers(parts.map(|header| header.split_once(": ").unwrap()).collect());
                let request = RouteRequest {
                    endpoint: EndpointId::parse(id).unwrap(),
                    query: "",
                    headers: &headers,
                    body: &NoBody,
                    api_key: None,
                    now: Timestamp(1),
                };
                let identity = decide(&snapshot, &request).unwrap().identity;
                users.insert(identity.user.unwrap().user);
                instances.insert(identity.instance);
            }
            assert_eq!((users.len(), instances.len()), (20, 3), "{endpoint:?}");
        }
    }
}
