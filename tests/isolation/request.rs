//! Requests, hostile ones included, and on whose behalf each may run: told from the lists of the world alone.

use super::random::Random;
use super::world::{CUSTOMERS, FLOWS, KINDS, OUTSIDER, PLACES, Place, ROLES, USERS, World, api_key, name};
use perseat_admin::endpoints::Endpoint;
use serde_json::{Map, json};

/// What a request may call somebody who does not exist.
const NOBODY: [&str; 8] = ["", " ", "ANN", "ann ann", "ann,bob", "%61nn", "__proto__", "eve"];
/// What no caller may say about itself.
const CLAIMS: [(&str, &str); 6] = [
    ("authorization", "Bearer token-of-globex-ann-0-1"),
    ("x-perseat-user", "bob"),
    ("prismatic-executionid", "0"),
    ("idempotency-key", "of-another-execution"),
    ("cookie", "user=bob; customer=initech"),
    ("x-forwarded-host", "initech.example"),
];

/// On whose behalf an execution runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) kind: usize,
    pub(crate) customer: usize,
    pub(crate) user: Option<usize>,
    pub(crate) flow: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) case: u64,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// None: it is refused.
    pub(crate) whose: Option<Whose>,
    /// Its caller waits for the result.
    pub(crate) is_synchronous: bool,
}

fn index(all: &[&str], name: &str) -> Option<usize> {
    all.iter().position(|other| *other == name)
}

impl Request {
    /// A request to `endpoint` that names what it should, and much else.
    pub(crate) fn random(case: u64, world: &World, endpoint: &Endpoint, random: &mut Random) -> Self {
        let kind = (0..KINDS.len()).find(|kind| name(*kind) == endpoint.integration).unwrap();
        let meant = [random.of(&FLOWS), random.of(&CUSTOMERS), random.of(&USERS)];
        let mut said: [Vec<(Place, &str)>; 3] = Default::default();
        for role in 0..3 {
            let place = world.place(kind, role);
            let other = |random: &mut Random| match role {
                _ if random.chance(20) => random.of(&NOBODY),
                0 => random.of(&FLOWS),
                1 => random.of(&CUSTOMERS),
                _ if random.chance(10) => OUTSIDER,
                _ => random.of(&USERS),
            };
            match random.below(20) {
                0 => {}
                1 => said[role].push((place, other(random))),
                2 => said[role].extend([(place, meant[role]), (place, other(random))]),
                _ => said[role].push((place, meant[role])),
            }
            // Elsewhere it names somebody else.
            for elsewhere in PLACES {
                if elsewhere != place && random.chance(40) {
                    said[role].push((elsewhere, other(random)));
                }
            }
        }
        let fixed = endpoint.customer.as_deref();
        let key = match random.below(10) {
            0 => None,
            1 => Some(api_key(random.of(&CUSTOMERS))),
            2 => Some("key".to_owned()),
            _ => Some(api_key(fixed.unwrap_or(meant[1]))),
        };
        let whose = expected(world, endpoint, kind, &said, key.as_deref());
        let (mut headers, mut query, mut of) = (Vec::new(), url::form_urlencoded::Serializer::new(String::new()), Map::new());
        for (role, values) in said.iter().enumerate() {
            for (place, value) in values {
                match place {
                    Place::Header => headers.push((ROLES[role].to_owned(), (*value).to_owned())),
                    Place::OtherHeader => headers.push((format!("x-{role}"), (*value).to_owned())),
                    Place::Query => drop(query.append_pair(&format!("q{role}"), value)),
                    // Of two members of one name the later one counts.
                    Place::Body => drop(of.insert(format!("b{role}"), json!(value))),
                }
            }
        }
        headers.extend(key.map(|key| ("api-key".to_owned(), key)));
        if random.chance(30) {
            let (name, value) = random.of(&CLAIMS);
            headers.push((name.to_owned(), value.to_owned()));
        }
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        // The result is the provider's answer, which who has no account does not get.
        let is_synchronous = case.is_multiple_of(2) && whose.is_none_or(|whose| world.config(whose).token.is_some());
        headers.extend(is_synchronous.then(|| ("prismatic-synchronous".to_owned(), "true".to_owned())));
        let body = json!({
            "case": case, "of": of,
            "__proto__": { "customer": "initech", "mark": "sent" },
            "constructor": { "prototype": { "mark": "sent" } },
            "user": { "externalId": "bob" }, "configVars": { "Account": "sent" },
        });
        let fragment = random.of(&["", "", "/bob", "/..%2f..%2ftrigger%2fother", "/initech%2Fann"]);
        Self {
            case,
            url: format!("{}{fragment}?{}", endpoint.url, query.finish()),
            headers,
            body: body.to_string(),
            whose,
            is_synchronous,
        }
    }
}

/// The value of a role that counts: the one in its place, if it is unambiguous.
fn value<'a>(world: &World, kind: usize, said: &'a [Vec<(Place, &'a str)>; 3], role: usize) -> Option<&'a str> {
    let place = world.place(kind, role);
    let mut found = said[role].iter().filter(|(other, _)| *other == place).map(|(_, value)| *value);
    let value = match place {
        Place::Header | Place::OtherHeader => found.next().map(str::trim),
        Place::Query => found.next(),
        Place::Body => return found.next_back().filter(|value| !value.is_empty()),
    };
    value.filter(|value| !value.is_empty() && found.next().is_none())
}

fn expected(world: &World, endpoint: &Endpoint, kind: usize, said: &[Vec<(Place, &str)>; 3], key: Option<&str>) -> Option<Whose> {
    let named = |fixed: &Option<String>, role: usize| match fixed {
        Some(fixed) => Some(fixed.clone()),
        None => value(world, kind, said, role).map(str::to_owned),
    };
    let flow = index(&FLOWS, &named(&endpoint.flow, 0)?)?;
    let customer = index(&CUSTOMERS, &named(&endpoint.customer, 1)?)?;
    let instance = world.instance(kind, customer).filter(|instance| instance.is_enabled)?;
    if flow == 1 && key != Some(&api_key(CUSTOMERS[customer])) {
        return None;
    }
    let user = if KINDS[kind].1 {
        let user = index(&USERS, &named(&endpoint.user, 2)?)?;
        Some(instance.users[user].as_ref().map(|_| user)?)
    } else {
        None
    };
    Some(Whose {
        kind,
        customer,
        user,
        flow,
    })
}
