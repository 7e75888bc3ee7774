//! Who makes a call, and what it counts for.

use crate::expression::Connection;
use ::http::HeaderMap;
use aws_lc_rs::digest::{SHA256, digest};
use perseat_domain::id::CustomerId;
use perseat_domain::rate::{Call, ScopeId, Sender};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// On whose behalf a call is made, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Who takes turns.
    pub sender: Sender,
    /// The connection whose credential it carries.
    pub connection: Option<&'a Connection>,
}

impl Caller<'_> {
    /// What a call to `host` counts for.
    pub(in crate::outbound) fn call(self, host: &str) -> Call {
        let customer = self.sender.customer.0.as_bytes().as_slice();
        let client = self.connection.and_then(|connection| connection.field("clientId"));
        let client = client.filter(|id| !id.is_empty()).map(str::as_bytes);
        let account = match self.connection {
            Some(connection) => scope(&[b"account", host.as_bytes(), &connection.account, client.unwrap_or_default()]),
            None => {
                let user = self.sender.user.map(|user| *user.0.as_bytes()).unwrap_or_default();
                scope(&[b"sender", host.as_bytes(), customer, &user])
            }
        };
        Call {
            sender: self.sender,
            account,
            tenant: scope(&[b"customer", host.as_bytes(), customer, client.unwrap_or_default()]),
            client: client.map(|client| scope(&[b"registration", host.as_bytes(), client])),
            host: host_scope(host),
            goes_first: false,
        }
    }
}

/// Whose token is asked for, renewed or given back.
#[derive(Clone, Copy, Debug)]
pub struct TokenCaller<'a> {
    /// The customer; none where it is all customers'.
    pub customer: Option<CustomerId>,
    /// The registration's client id.
    pub client: &'a str,
    /// Names the grant.
    pub grant: &'a [u8],
}

impl TokenCaller<'_> {
    /// What a request to `host` counts for: the grant at that endpoint, apart from what it is used for, and what it has in common
    /// with other calls.
    pub(in crate::outbound) fn call(self, host: &str) -> Call {
        let customer = self.customer.unwrap_or(CustomerId(uuid::Uuid::nil()));
        let (host_name, client) = (host.as_bytes(), self.client.as_bytes());
        Call {
            sender: Sender { customer, user: None },
            account: scope(&[b"token", host_name, self.grant, client]),
            tenant: scope(&[b"customer", host_name, customer.0.as_bytes(), client]),
            client: Some(scope(&[b"registration", host_name, client])),
            host: host_scope(host),
            goes_first: true,
        }
    }
}

/// The scope of a whole host.
pub(super) fn host_scope(host: &str) -> ScopeId {
    scope(&[b"host", host.as_bytes()])
}

/// The same after a restart. Each part with its length, so that no two lists are one.
fn scope(parts: &[&[u8]]) -> ScopeId {
    KNOWN.with_borrow_mut(|known| {
        known.text.clear();
        for part in parts {
            known.text.extend_from_slice(&(part.len() as u64).to_le_bytes());
            known.text.extend_from_slice(part);
        }
        known.scope()
    })
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// The most scopes that a thread knows, and the longest text of one, in bytes. No keys: together they bound what that takes, and
/// a scope that is not known is digested.
const MOST: usize = 1_024;
const LONGEST: usize = 256;

/// Scopes by what they are digested from: a thread calls the same hosts for the same customers again and again.
#[derive(Default)]
struct Known {
    scopes: HashMap<Box<[u8]>, ScopeId>,
    /// What the one that is looked for is digested from.
    text: Vec<u8>,
}

impl Known {
    fn scope(&mut self) -> ScopeId {
        if let Some(known) = self.scopes.get(self.text.as_slice()) {
            return *known;
        }
        let scope = digested(&self.text);
        if self.text.len() > LONGEST {
            self.text = Vec::new();
            return scope;
        }
        if self.scopes.len() >= MOST {
            self.scopes.clear();
        }
        self.scopes.insert(self.text.as_slice().into(), scope);
        scope
    }
}

fn digested(text: &[u8]) -> ScopeId {
    let digest = digest(&SHA256, text);
    let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
    ScopeId(u128::from_be_bytes(first))
}

/// The connection whose credential a script's request carries: the only one there is, or the first with a secret in it.
pub(crate) fn connection_of<'c>(connections: &'c [Arc<Connection>], url: &str, headers: &HeaderMap) -> Option<&'c Arc<Connection>> {
    if let [only] = connections {
        return Some(only);
    }
    let carries =
        |secret: &str| url.contains(secret) || headers.values().any(|value| value.to_str().is_ok_and(|text| text.contains(secret)));
    let is_used = |connection: &Connection| {
        let fields = ["token", "apiKey", "password"]
            .into_iter()
            .filter_map(|name| connection.field(name));
        let token = connection.token("access_token");
        fields.chain(token).any(|secret| secret.len() >= SHORTEST && carries(secret))
    };
    connections.iter().find(|connection| is_used(connection))
}

/// The shortest secret that is looked for. No key: a shorter one stands in other texts by chance.
const SHORTEST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_the_same_before_and_after_it_is_known_and_when_others_took_its_place() {
        let long = "x".repeat(LONGEST);
        let scopes = || [host_scope("crm.example:8443"), host_scope(&long), scope(&[b"a", b"bc"])];
        // They stand in files, so these values stay.
        let expected = [
            0x880e_2d71_863e_6b35_9ade_8cb9_677b_0086,
            0xfc16_0d90_698b_ac22_c115_42f9_b4e3_29f0,
            0x9a8a_cca1_b6c6_c0be_fd3f_bc75_6aed_625d,
        ]
        .map(ScopeId);
        assert_eq!([scopes(), scopes()], [expected; 2]);
        for number in 0..=MOST {
            assert_eq!(host_scope(&number.to_string()), host_scope(&number.to_string()));
            assert!(KNOWN.with_borrow(|known| known.scopes.len()) <= MOST);
        }
        assert_eq!(scopes(), expected);
        let is_known = |part: &[u8]| KNOWN.with_borrow(|known| known.scopes.keys().any(|text| text.ends_with(part)));
        assert!(is_known(b"crm.example:8443") && !is_known(b"xx"));
        assert_ne!(scope(&[b"ab", b"c"]), scope(&[b"a", b"bc"]));
    }
}
