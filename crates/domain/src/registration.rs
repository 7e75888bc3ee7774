//! App registrations: with whose client id and secret a connection's consents are asked for.

use crate::id::{InstanceId, RegistrationId};
use crate::model::{Sealed, User};
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
    /// Users with one of these labels have it where they choose none; lower case.
    pub labels: Vec<String>,
}

impl AppRegistration {
    /// Whether it may be another one for some of its connection's users once it is `after`: another client id, or other users.
    #[must_use]
    pub fn moves_to(&self, after: &Self) -> bool {
        // A name counts, too: a connection may choose by it.
        (&self.connection, &self.name, &self.client_id) != (&after.connection, &after.name, &after.client_id)
            || self.email_domains != after.email_domains
            || self.labels != after.labels
    }
}

/// The record id under which its secret is sealed: instance ‖ registration.
#[must_use]
pub fn registration_record_id(instance: InstanceId, registration: RegistrationId) -> Vec<u8> {
    [instance.0.as_bytes().as_slice(), registration.0.as_bytes()].concat()
}

/// What rules look at of whoever holds a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits<'u> {
    /// The e-mail address.
    pub email: Option<&'u str>,
    /// The labels.
    pub labels: &'u [String],
}

impl<'u> Traits<'u> {
    /// Of a user. An instance has none.
    #[must_use]
    pub fn of(user: &'u User) -> Self {
        Self {
            email: user.email.as_deref(),
            labels: &user.labels,
        }
    }
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
    /// What `picked` names by id or name; where it names nothing, the one for a label, then the one for the domain of the
    /// e-mail address; else the integration's. Labels of two registrations leave the choice to the user: it is missing.
    #[must_use]
    pub fn of(all: &'r [AppRegistration], connection: &str, picked: Option<&str>, traits: Traits<'_>) -> Self {
        let mut own = all.iter().filter(|registration| registration.connection == connection);
        if let Some(picked) = picked.map(str::trim).filter(|picked| !picked.is_empty()) {
            let id = picked.parse::<RegistrationId>().ok();
            let found = own.find(|registration| Some(registration.id) == id || registration.name == picked);
            return found.map_or(Self::Missing, Self::One);
        }
        let mut labelled = own
            .clone()
            .filter(|registration| registration.labels.iter().any(|label| traits.labels.contains(label)));
        match (labelled.next(), labelled.next()) {
            (Some(_), Some(_)) => return Self::Missing,
            (Some(found), None) => return Self::One(found),
            (None, _) => {}
        }
        let domain = traits
            .email
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
            labels: Vec::new(),
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
            let traits = Traits { email, labels: &[] };
            assert_eq!(Chosen::of(&all, "account", picked, traits), expected, "{picked:?} {email:?}");
        }
    }

    #[test]
    fn another_secret_or_scope_moves_nobody() {
        let before = registration(1, "account", "Europe", &["globex.eu"]);
        let with = |change: fn(&mut AppRegistration)| {
            let mut after = before.clone();
            change(&mut after);
            before.moves_to(&after)
        };
        assert!(!with(|after| after.client_secret = Sealed(vec![1])));
        assert!(!with(|after| after.scopes = Some("more".into())));
        assert!(with(|after| after.client_id = "other".into()));
        assert!(with(|after| after.name = "EU".into()));
        assert!(with(|after| after.email_domains.clear()));
        assert!(with(|after| after.labels.push("eu".into())));
    }

    #[test]
    fn a_label_counts_before_a_domain_and_two_of_them_decide_nothing() {
        let mut all = [
            registration(1, "account", "Europe", &["globex.eu"]),
            registration(2, "account", "America", &["globex.com"]),
            registration(3, "other", "Asia", &[]),
        ];
        for (registration, labels) in all.iter_mut().zip([&["eu", "uk"][..], &["us"], &["asia"]]) {
            registration.labels = labels.iter().map(|label| (*label).to_owned()).collect();
        }
        for (picked, labels, expected) in [
            (None, &[][..], Chosen::One(&all[0])),
            (None, &["us"], Chosen::One(&all[1])),
            (None, &["sales", "us"], Chosen::One(&all[1])),
            (None, &["eu", "uk"], Chosen::One(&all[0])),
            (None, &["asia"], Chosen::One(&all[0])),
            (None, &["eu", "us"], Chosen::Missing),
            (Some("America"), &["eu", "us"], Chosen::One(&all[1])),
        ] {
            let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
            let traits = Traits {
                email: Some("ann@globex.eu"),
                labels: &labels,
            };
            assert_eq!(Chosen::of(&all, "account", picked, traits), expected, "{picked:?} {labels:?}");
        }
    }
}
