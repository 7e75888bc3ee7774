//! Connections that more than one configuration uses: declared once, named by their stable key.
//!
//! What is declared says who shares the connection. Whose grant an execution gets follows from that and from the execution's own
//! identity alone, in one place: [`SharedConnection::holder`].

use crate::definition::ActionRef;
use crate::grant::Holder;
use crate::id::{CustomerId, OrganizationId, SharedConnectionId, SharedValueId, UserId};
use crate::model::ConfigValue;
use serde::{Deserialize, Serialize};

/// Who shares a connection, and who connects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sharing {
    /// All customers have the one that the organization connects.
    Organization,
    /// Each customer has one, and the organization connects it.
    CustomerByOrganization,
    /// Each customer has one, and its admin connects it.
    Customer,
    /// Each user has one, for all integrations, and connects it.
    User,
}

impl Sharing {
    /// Whether grants of this holder are of a connection that is shared so.
    #[must_use]
    pub fn fits(self, holder: Holder) -> bool {
        match self {
            Self::Organization => matches!(holder, Holder::Organization(_)),
            Self::CustomerByOrganization | Self::Customer => matches!(holder, Holder::Customer(_)),
            Self::User => matches!(holder, Holder::User(_)),
        }
    }

    /// Whether it stands on user-level pages; else on those of instances.
    #[must_use]
    pub fn is_user_level(self) -> bool {
        self == Self::User
    }
}

/// A shared connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedConnection {
    /// Its id.
    pub id: SharedConnectionId,
    /// By what integrations name it; unique, and never another one.
    pub stable_key: String,
    /// What people call it.
    pub key: String,
    /// Plain text.
    pub description: String,
    /// Who shares it.
    pub sharing: Sharing,
    /// Component and connection key.
    pub connection: ActionRef,
    /// What the organization gives, sealed by its key.
    pub value: Option<ConfigValue>,
}

impl SharedConnection {
    /// Whose grant an execution of this customer and user gets. None where it must have none: a variable on the wrong level of
    /// pages, or no user.
    #[must_use]
    pub fn holder(&self, organization: OrganizationId, customer: CustomerId, user: Option<UserId>, is_user_level: bool) -> Option<Holder> {
        match (self.sharing, is_user_level) {
            (Sharing::Organization, false) => Some(Holder::Organization(organization)),
            (Sharing::CustomerByOrganization | Sharing::Customer, false) => Some(Holder::Customer(customer)),
            (Sharing::User, true) => user.map(Holder::User),
            (Sharing::Organization | Sharing::CustomerByOrganization | Sharing::Customer, true) | (Sharing::User, false) => None,
        }
    }
}

/// What one customer or user gives to a shared connection, beside what the organization gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedValue {
    /// Its id.
    pub id: SharedValueId,
    /// To which connection.
    pub connection: SharedConnectionId,
    /// Who.
    pub holder: Holder,
    /// Sealed by the holder's key.
    pub value: ConfigValue,
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn whose_grant_it_is_follows_from_the_declaration_and_the_identity_alone() {
        let id = |number| Uuid::from_u128(number);
        let (organization, customer, user) = (OrganizationId(id(1)), CustomerId(id(2)), UserId(id(3)));
        let of = |sharing, user, is_user_level| {
            let connection = SharedConnection {
                id: SharedConnectionId(id(4)),
                stable_key: "crm".into(),
                key: "CRM".into(),
                description: String::new(),
                sharing,
                connection: ActionRef {
                    component: "http".into(),
                    action: "oauth2".into(),
                },
                value: None,
            };
            let holder = connection.holder(organization, customer, user, is_user_level);
            assert!(holder.is_none_or(|holder| sharing.fits(holder)));
            holder
        };
        let all = [
            Sharing::Organization,
            Sharing::CustomerByOrganization,
            Sharing::Customer,
            Sharing::User,
        ];
        let whole = all.map(|sharing| of(sharing, Some(user), false));
        assert_eq!(
            whole,
            [
                Some(Holder::Organization(organization)),
                Some(Holder::Customer(customer)),
                Some(Holder::Customer(customer)),
                None
            ]
        );
        let own = all.map(|sharing| of(sharing, Some(user), true));
        assert_eq!(own, [None, None, None, Some(Holder::User(user))]);
        assert_eq!(of(Sharing::User, None, true), None, "nobody's");
        let holders = [Holder::Organization(organization), Holder::Customer(customer), Holder::User(user)];
        for (at, holder) in holders.into_iter().enumerate() {
            let fitting = all.map(|sharing| sharing.fits(holder));
            assert_eq!(fitting, [at == 0, at == 1, at == 1, at == 2]);
        }
    }
}
