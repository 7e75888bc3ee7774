//! App registrations: with whose client id and secret a connection's consents are asked for.

use crate::id::{InstanceId, RegistrationId};
use crate::model::Sealed;
use serde::{Deserialize, Serialize};

/// A customer's own registration with the provider of a connection, in place of the integration's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRegistration {
    /// Its id.
    pub id: RegistrationId,
    /// The stable key of the connection that it is for.
    pub connection: String,
    /// Unique among those of the connection.
    pub name: String,
    /// What the provider calls it.
    pub client_id: String,
    /// Its secret, sealed under the customer's key; the plaintext is empty where there is none.
    pub client_secret: Sealed,
    /// What is asked for, in place of what the integration asks for.
    pub scopes: Option<String>,
    /// Users with an e-mail address of one of these domains have it where they choose none; lower case.
    pub email_domains: Vec<String>,
}

/// The record id under which its secret is sealed: instance ‖ registration.
#[must_use]
pub fn registration_record_id(instance: InstanceId, registration: RegistrationId) -> Vec<u8> {
    [instance.0.as_bytes().as_slice(), registration.0.as_bytes()].concat()
}

/// Which registration a connection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen<'r> {
    /// The integration's own: the default.
    Own,
    /// One of the customer's.
    One(&'r AppRegistration),
    /// One that is not there: then it has none.
    Missing,
}

impl<'r> Chosen<'r> {
    /// What `picked` names by id or name; where it names nothing, the one for the domain of `email`; else the integration's.
    #[must_use]
    pub fn of(all: &'r [AppRegistration], connection: &str, picked: Option<&str>, email: Option<&str>) -> Self {
        let mut own = all.iter().filter(|registration| registration.connection == connection);
        if let Some(picked) = picked.map(str::trim).filter(|picked| !picked.is_empty()) {
            let id = picked.parse::<RegistrationId>().ok();
            let found = own.find(|registration| Some(registration.id) == id || registration.name == picked);
            return found.map_or(Self::Missing, Self::One);
        }
        let domain = email
            .and_then(|email| email.rsplit_once('@'))
            .map(|(_, domain)| domain.to_lowercase());
        let found = domain.and_then(|domain| own.find(|registration| registration.email_domains.contains(&domain)));
        found.map_or(Self::Own, Self::One)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn registration(n: u128, connection: &str, name: &str, domains: &[&str]) -> AppRegistration {
        AppRegistration {
            id: RegistrationId(Uuid::from_u128(n)),
            connection: connection.into(),
            name: name.into(),
            client_id: name.into(),
            client_secret: Sealed(Vec::new()),
            scopes: None,
            email_domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        }
    }

    #[test]
    fn a_choice_counts_before_a_rule_and_nothing_is_guessed() {
        let all = [
            registration(1, "account", "Europe", &["globex.eu"]),
            registration(2, "account", "America", &["globex.com", "globex.us"]),
            registration(3, "other", "Asia", &["globex.asia"]),
        ];
        let id = all[1].id.to_string();
        let global = all[1].id.global();
        for (picked, email, expected) in [
            (None, None, Chosen::Own),
            (Some(" "), Some("ann"), Chosen::Own),
            (None, Some("ann@GLOBEX.eu"), Chosen::One(&all[0])),
            (None, Some("\"a@globex.eu\"@globex.us"), Chosen::One(&all[1])),
            (None, Some("ann@sub.globex.eu"), Chosen::Own),
            (None, Some("ann@globex.asia"), Chosen::Own),
            (Some("America"), Some("ann@globex.eu"), Chosen::One(&all[1])),
            (Some(id.as_str()), None, Chosen::One(&all[1])),
            (Some(global.as_str()), None, Chosen::One(&all[1])),
            (Some("america"), Some("ann@globex.eu"), Chosen::Missing),
            (Some("Asia"), None, Chosen::Missing),
        ] {
            assert_eq!(Chosen::of(&all, "account", picked, email), expected, "{picked:?} {email:?}");
        }
    }
}
