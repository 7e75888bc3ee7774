//! What a shared connection asks of those who share it, beside what the organization gives.

use crate::definition::{Components, Inputs};
use crate::oauth::{Flow, is_oauth, shapes_requests};
use perseat_domain::definition::ActionRef;
use std::collections::BTreeSet;

/// Without these a connection of its kind says nothing.
pub const REQUIRED: [&str; 6] = ["apiKey", "username", "password", "token", "certificate", "privateKey"];

/// What a client that acts for itself is known by.
const CLIENT: [&str; 2] = ["clientId", "clientSecret"];

/// The inputs that are the holder's to give; `given` are the organization's. Beside a secret of the organization's there is nothing
/// that would say how or where that is sent, and beside its client nothing at all.
#[must_use]
pub fn asked_of_holder(components: &dyn Components, connection: &ActionRef, given: &BTreeSet<String>) -> Vec<&'static str> {
    let is_open = |name: &&str| !given.contains(*name);
    match is_oauth(connection) {
        Some(Flow::AuthorizationCode) => return Vec::new(),
        Some(Flow::ClientCredentials) if CLIENT.iter().all(is_open) => return CLIENT.to_vec(),
        Some(Flow::ClientCredentials) => return Vec::new(),
        None => {}
    }
    let (component, action) = (&connection.component, &connection.action);
    let Some(Inputs::Named(names)) = components.connection(component, action) else {
        return Vec::new();
    };
    let has_secret = given.iter().any(|name| components.is_secret(component, action, name));
    let is_asked = |name: &&str| is_open(name) && !shapes_requests(name) && (!has_secret || REQUIRED.contains(name));
    names.iter().copied().filter(is_asked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::BuiltIn;

    fn asked(action: &str, given: &[&str]) -> Vec<&'static str> {
        let connection = ActionRef {
            component: "http".into(),
            action: action.into(),
        };
        asked_of_holder(&BuiltIn, &connection, &given.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_holder_says_nothing_of_how_a_secret_of_the_organizations_is_sent() {
        assert!(asked("apiKey", &[]).contains(&"headerName") && asked("apiKey", &["headerName"]).contains(&"apiKey"));
        assert_eq!(asked("apiKey", &["apiKey"]), [] as [&str; 0]);
        assert_eq!(asked("basic", &["password"]), ["username"]);
        assert_eq!(asked("oauth2", &[]), [] as [&str; 0]);
        assert_eq!(asked("oauth2ClientCredentials", &["tokenUrl"]), ["clientId", "clientSecret"]);
        for given in [&["clientId"][..], &["clientSecret"], &["clientId", "clientSecret", "tokenUrl"]] {
            assert_eq!(asked("oauth2ClientCredentials", given), [] as [&str; 0]);
        }
    }
}
