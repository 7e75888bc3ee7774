//! Who acts: a person, a program with a token, or the machine's own administrator.

use crate::access::{Operation, Side, allows};
use crate::fault::Fault;
use perseat_domain::id::{CustomerId, TokenId, UserId};
use perseat_domain::model::{Membership, Role, User};
use std::fmt;

/// Who it is, as the audit names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// Whoever may open the local socket or the data directory, or a part of Perseat itself.
    Local(String),
    /// A person.
    User(UserId),
    /// A program that holds a token.
    Token(TokenId),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(name) => f.write_str(name),
            Self::User(id) => write!(f, "user:{id}"),
            Self::Token(id) => write!(f, "token:{id}"),
        }
    }
}

/// Who acts, with what they may do. Made where an identity was proved, and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Who.
    pub who: Who,
    /// To whom they belong: what they see ends there.
    pub membership: Membership,
    /// What they may do.
    pub role: Role,
}

impl Actor {
    /// Somebody whom the operating system let in: everything is allowed.
    #[must_use]
    pub fn local(name: impl Into<String>) -> Self {
        Self {
            who: Who::Local(name.into()),
            membership: Membership::Organization,
            role: Role::Owner,
        }
    }

    /// A person with the role they have today.
    #[must_use]
    pub fn person(user: &User) -> Self {
        Self {
            who: Who::User(user.id),
            membership: user.membership,
            role: user.role,
        }
    }

    /// The person, if it is one.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        match self.who {
            Who::User(id) => Some(id),
            Who::Local(_) | Who::Token(_) => None,
        }
    }

    /// The customer beyond which nothing is visible; `None` for the organization's people.
    #[must_use]
    pub fn customer(&self) -> Option<CustomerId> {
        match self.membership {
            Membership::Organization => None,
            Membership::Customer(customer) => Some(customer),
        }
    }

    /// Whether the role allows it, somewhere.
    #[must_use]
    pub fn may(&self, operation: Operation) -> bool {
        allows(side(self.membership), self.role, operation)
    }

    /// Whether the role allows it for this customer.
    #[must_use]
    pub fn may_for(&self, operation: Operation, customer: CustomerId) -> bool {
        #[cfg(feature = "faults")]
        if crate::mutants::drops_customer() {
            return self.may(operation);
        }
        self.may(operation) && self.customer().is_none_or(|own| own == customer)
    }

    /// # Errors
    /// [`Fault::Denied`] if the role does not allow it.
    pub fn check(&self, operation: Operation) -> Result<(), Fault> {
        if self.may(operation) {
            Ok(())
        } else {
            Err(Fault::Denied(operation))
        }
    }
}

/// The side that a membership is on.
#[must_use]
pub fn side(membership: Membership) -> Side {
    match membership {
        Membership::Organization => Side::Organization,
        Membership::Customer(_) => Side::Customer,
    }
}
