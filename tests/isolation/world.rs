//! A random topology: who has which instance, who configured it, with what, and where its requests name them.

use super::random::Random;
use super::request::Whose;
use crate::harness::manifests::{code, flow, step};
use crate::harness::provider::Record;
use std::fmt::Write as _;

pub(crate) const CUSTOMERS: [&str; 3] = ["globex", "initech", "hooli"];
/// Each customer has some of them: the same external id is another person at another customer.
pub(crate) const USERS: [&str; 4] = ["ann", "bob", "cem", "dan"];
/// A member of the organization.
pub(crate) const OUTSIDER: &str = "olga";
/// Scripts of the first share a frozen realm; those of the second have a realm of their own, and the flow asks for a key.
pub(crate) const FLOWS: [&str; 2] = ["Locked", "Fresh"];
/// Endpoint type, and whether users have configurations of their own.
pub(crate) const KINDS: [(&str, bool); 6] = [
    ("flow_specific", true),
    ("flow_specific", false),
    ("instance_specific", true),
    ("instance_specific", false),
    ("shared_instance", true),
    ("shared_instance", false),
];
/// Flow, customer and user, as a request names them: the header of each, if the integration names no field.
pub(crate) const ROLES: [&str; 3] = ["perseat-flow-name", "perseat-customer-external-id", "perseat-user-external-id"];
const FIELDS: [&str; 3] = ["flowNameField", "externalCustomerIdField", "externalCustomerUserIdField"];
const SCRIPT: &str = include_str!("look.js");

/// Where a routing value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Header,
    OtherHeader,
    Query,
    Body,
}

pub(crate) const PLACES: [Place; 4] = [Place::Header, Place::OtherHeader, Place::Query, Place::Body];

/// What one configuration holds.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) folder: String,
    /// A user may have left their account out.
    pub(crate) token: Option<String>,
}

/// An instance of a customer.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) is_enabled: bool,
    /// The customer's own account, beside the users'.
    pub(crate) service: Option<String>,
    /// The customer's configuration, where users have none.
    pub(crate) own: Option<Config>,
    pub(crate) users: [Option<Config>; USERS.len()],
}

#[derive(Debug)]
pub(crate) struct World {
    round: u32,
    /// By kind and customer.
    instances: Vec<[Option<Instance>; CUSTOMERS.len()]>,
    /// By kind: where each role's value stands.
    places: Vec<[Place; 3]>,
}

impl World {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut place = |kind: usize| if kind < 2 { Place::Header } else { random.of(&PLACES) };
        let places = (0..KINDS.len()).map(|kind| [0; 3].map(|_: i32| place(kind))).collect();
        let mut world = Self {
            round: 0,
            instances: KINDS.map(|_| [const { None }; CUSTOMERS.len()]).into(),
            places,
        };
        world.change(random);
        world
    }

    /// More instances and users, other folders and accounts, instances switched on and off.
    pub(crate) fn change(&mut self, random: &mut Random) {
        self.round += 1;
        let round = self.round;
        for (kind, instances) in self.instances.iter_mut().enumerate() {
            let is_user_level = KINDS[kind].1;
            for (customer, slot) in CUSTOMERS.iter().zip(instances) {
                if slot.is_none() && random.chance(20) {
                    continue;
                }
                let config = |user: &str, has_token: bool| Config {
                    folder: format!("/{customer}/{user}/{kind}/{round}"),
                    token: has_token.then(|| format!("token-of-{customer}-{user}-{kind}-{round}")),
                };
                let before = slot.take();
                let old_users = before.map_or([const { None }; USERS.len()], |instance| instance.users);
                let mut users = old_users.into_iter().zip(USERS).map(|(old, user)| match old {
                    // What is configured stays so; what it holds may change.
                    Some(old) if random.chance(40) => Some(old),
                    Some(old) => Some(config(user, old.token.is_some())),
                    None => (is_user_level && random.chance(70)).then(|| config(user, random.chance(80))),
                });
                *slot = Some(Instance {
                    users: std::array::from_fn(|_| users.next().flatten()),
                    is_enabled: random.chance(90),
                    service: is_user_level.then(|| format!("service-of-{customer}-{kind}-{round}")),
                    own: (!is_user_level).then(|| config("all", true)),
                });
            }
        }
    }

    pub(crate) fn instance(&self, kind: usize, customer: usize) -> Option<&Instance> {
        self.instances[kind][customer].as_ref()
    }

    /// What an execution of whom runs with.
    pub(crate) fn config(&self, whose: Whose) -> &Config {
        let instance = self.instance(whose.kind, whose.customer).unwrap();
        match whose.user {
            Some(user) => instance.users[user].as_ref().unwrap(),
            None => instance.own.as_ref().unwrap(),
        }
    }

    /// Whether a record names a folder, or came with a token, that is in this world and not of this configuration.
    pub(crate) fn is_anothers(&self, record: &Record, own: &Config) -> bool {
        let instances = || self.instances.iter().flatten().flatten();
        let configs = instances().flat_map(|instance| instance.own.iter().chain(instance.users.iter().flatten()));
        let mut others = configs.filter(|config| config.folder != own.folder);
        let mut services = instances().filter_map(|instance| instance.service.as_ref());
        others.any(|other| record.target.ends_with(&other.folder) || other.token.as_ref() == Some(&record.token))
            || services.any(|service| *service == record.token)
    }

    pub(crate) fn place(&self, kind: usize, role: usize) -> Place {
        self.places[kind][role]
    }

    /// The manifests; flows post to `provider`.
    pub(crate) fn manifests(&self, provider: &str) -> String {
        let mut yaml = "kind: Organization\nname: Northwind\nulcEnabled: true\n".to_owned();
        write!(
            yaml,
            "---\nkind: OrganizationUser\nname: Olga\nexternalId: {OUTSIDER}\nrole: integrator\n"
        )
        .unwrap();
        for customer in CUSTOMERS {
            write!(yaml, "---\nkind: Customer\nname: {customer} Inc\nexternalId: {customer}\n").unwrap();
            for user in USERS {
                write!(yaml, "---\nkind: CustomerUser\ncustomer: {customer}\nname: {user} of {customer}\nemail: {user}@{customer}.example\nexternalId: {user}\nrole: marketplace_user\n").unwrap();
            }
        }
        for kind in 0..KINDS.len() {
            yaml += &self.integration(kind);
            for (n, customer) in CUSTOMERS.iter().enumerate() {
                if let Some(instance) = &self.instances[kind][n] {
                    yaml += &manifest(instance, kind, customer, provider);
                }
            }
        }
        yaml
    }

    fn integration(&self, kind: usize) -> String {
        let (endpoint, is_user_level) = KINDS[kind];
        let mut fields = String::new();
        for (role, field) in FIELDS.iter().enumerate() {
            let path = match self.places[kind][role] {
                Place::Header => continue,
                Place::OtherHeader => format!("headers.x-{role}"),
                Place::Query => format!("queryParameters.q{role}"),
                Place::Body => format!("body.data.of.b{role}"),
            };
            let is_used = match role {
                0 => true,
                1 => endpoint == "shared_instance",
                _ => is_user_level,
            };
            if is_used {
                writeln!(fields, "{field}: {{type: reference, value: payload.results.{path}}}").unwrap();
            }
        }
        let bearer = "dataType: connection, connection: {key: bearer, component: {key: http, isPublic: true, version: LATEST}}, inputs: {token: {type: value, value: null}}";
        let service = if is_user_level {
            (
                format!("  - {{key: Service, stableKey: service, {bearer}}}\n"),
                ", {type: configVar, value: Service}",
            )
        } else {
            (String::new(), "")
        };
        let definition = format!(
            "definitionVersion: 7\nname: {name}\nendpointType: {endpoint}\n{fields}requiredConfigVars:\n\
             \x20 - {{key: Provider, stableKey: provider, dataType: string}}\n{}\
             \x20 - {{key: Folder, stableKey: folder, dataType: string}}\n\
             \x20 - {{key: Account, stableKey: account, x-perseat: {{required: false}}, {bearer}}}\n\
             configPages:\n\
             \x20 - {{name: Company, elements: [{{type: configVar, value: Provider}}{}]}}\n\
             \x20 - {{name: Account, userLevelConfigured: {is_user_level}, elements: [{{type: configVar, value: Folder}}, {{type: configVar, value: Account}}]}}\n\
             flows:\n{}{}",
            service.0,
            service.1,
            flow(FLOWS[0], "    endpointSecurityType: unsecured\n", &steps(SCRIPT)),
            flow(
                FLOWS[1],
                "    endpointSecurityType: customer_required\n",
                &steps(&format!("'use fresh context';\n{SCRIPT}"))
            ),
            name = name(kind),
        );
        let indented: String = definition.lines().map(|line| format!("  {line}\n")).collect();
        format!("---\nkind: Integration\ndefinition: |\n{indented}")
    }
}

pub(crate) fn name(kind: usize) -> String {
    format!("Kind{kind}")
}

/// The key of a customer's second flow.
pub(crate) fn api_key(customer: &str) -> String {
    format!("key-of-{customer}")
}

/// Looks around, reports what it saw without a credential, then uses the account.
fn steps(script: &str) -> Vec<String> {
    let post = |name: &str, path: &str, more: &str| {
        let url = format!("          url: {{type: template, value: \"{{{{#Provider}}}}/{path}{{{{#Folder}}}}\"}}\n");
        step(
            name,
            "http",
            "httpPost",
            &format!("{url}{more}          data: {{type: reference, value: look.results}}\n"),
        )
    };
    vec![
        code("Look", script),
        post("Seen", "seen", ""),
        post("Act", "act", "          connection: {type: configVar, value: Account}\n"),
    ]
}

fn manifest(instance: &Instance, kind: usize, customer: &str, provider: &str) -> String {
    let name = name(kind);
    let state = if instance.is_enabled { "enabled" } else { "disabled" };
    let mut yaml = format!(
        "---\nkind: Instance\nname: {name}\ncustomer: {customer}\nintegration: {name}\nstate: {state}\napiKeys: {{{}: [{}]}}\nconfigVars:\n  Provider: \"{provider}\"\n",
        FLOWS[1],
        api_key(customer)
    );
    if let Some(service) = &instance.service {
        write!(yaml, "  Service:\n    fields:\n      token: {service}\n").unwrap();
    }
    if let Some(own) = &instance.own {
        yaml += &values(own);
    }
    for (user, config) in USERS.iter().zip(&instance.users) {
        if let Some(config) = config {
            write!(
                yaml,
                "---\nkind: UserLevelConfig\ncustomer: {customer}\ninstance: {name}\nuser: {user}\nconfigVars:\n{}",
                values(config)
            )
            .unwrap();
        }
    }
    yaml
}

fn values(config: &Config) -> String {
    let mut yaml = format!("  Folder: {}\n", config.folder);
    if let Some(token) = &config.token {
        write!(yaml, "  Account:\n    fields:\n      token: {token}\n").unwrap();
    }
    yaml
}
