//! Bearer tokens that were made by hand: shown once, kept as digests, found by their digest.

use super::IdentityError;
use crate::actor::{Actor, Who};
use crate::edit::Edit;
use crate::fault::Fault;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perseat_domain::id::{TokenId, UserId};
use perseat_domain::model::{ApiToken, Customer, Membership, Role, TokenHolder, User};
use perseat_domain::time::Timestamp;
use perseat_store::catalog::{Catalog, Lookup, Page};
use perseat_store::error::StoreError;
use perseat_store::seal::key_digest;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

/// What every token begins with.
pub const PREFIX: &str = "pst_";
/// Characters of a token that are kept.
const SHOWN: usize = 12;

/// A token to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// The role of a program; `None` for a person's.
    pub role: Option<Role>,
    /// The customer's external id or name, for one of a customer.
    pub customer: Option<String>,
    /// The user's external id or e-mail address, for one that acts as them.
    pub user: Option<String>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// The name of the organization, made by the first token of a new data directory.
    pub organization: String,
}

/// A token that was made.
#[derive(Debug)]
pub struct MadeToken {
    /// What is kept of it.
    pub record: ApiToken,
    /// The token itself, shown once.
    pub token: SecretString,
}

impl Edit<'_, '_> {
    /// Makes a token. Only for whoever administers the machine: the API has no command for it.
    ///
    /// # Errors
    /// The customer or user is not there, or the role is none of theirs.
    pub fn create_token(&mut self, new: &NewToken) -> Result<MadeToken, Fault> {
        if self.mutation.organization()?.is_none() {
            self.found_organization(&new.organization)?;
        }
        let membership = match &new.customer {
            None => Membership::Organization,
            Some(name) => Membership::Customer(self.customer_named(name)?.id),
        };
        let holder = match (&new.user, new.role) {
            (Some(_), Some(_)) => return Err(Fault::wrong("a token has the role of its user, or a role of its own: give one")),
            (Some(name), None) => TokenHolder::User(self.user_named(membership, name)?.id),
            (None, Some(role)) => {
                let side = crate::actor::side(membership);
                if !crate::access::ROLES.contains(&(side, role)) {
                    return Err(Fault::field(
                        "role",
                        "this role belongs to the other side; give or leave out the customer",
                    ));
                }
                TokenHolder::Program { membership, role }
            }
            (None, None) => return Err(Fault::wrong("give the token a role or a user")),
        };
        let secret = [
            self.random_id().into_bytes(),
            self.random_id().into_bytes(),
            self.random_id().into_bytes(),
        ]
        .concat();
        let token = SecretString::from(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&secret)));
        let record = ApiToken {
            id: TokenId(self.random_id()),
            name: new.name.clone(),
            holder,
            digest: key_digest(token.expose_secret()),
            prefix: token.expose_secret()[..SHOWN].to_owned(),
            issued_at: self.at,
            expires_at: new.expires_at,
            revoked_at: None,
        };
        self.mutation.put(&record)?;
        Ok(MadeToken { record, token })
    }

    /// Ends a token.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn revoke_token(&mut self, id: TokenId) -> Result<ApiToken, Fault> {
        let token = self.existing::<ApiToken>(id)?;
        let revoked = ApiToken {
            revoked_at: token.revoked_at.or(Some(self.at)),
            ..token
        };
        self.mutation.put(&revoked)?;
        Ok(revoked)
    }

    pub(super) fn customer_named(&self, name: &str) -> Result<Customer, Fault> {
        let found = match self.mutation.customer_by_external_id(name)? {
            Some(customer) => Some(customer),
            None => self.mutation.customer_by_name(name)?,
        };
        found.ok_or_else(|| Fault::field("customer", format!("there is no customer `{name}`")))
    }

    pub(super) fn user_named(&self, membership: Membership, name: &str) -> Result<User, Fault> {
        let found = match self.mutation.user_by_external_id(membership, name)? {
            Some(user) => Some(user),
            None => self.mutation.user_by_email(membership, name)?,
        };
        found.ok_or_else(|| Fault::field("user", format!("there is no user `{name}`")))
    }
}

/// A page of tokens, at most `limit`, of which the newest come first.
///
/// # Errors
/// If the catalog cannot be read.
pub fn list(catalog: &Catalog, after: Option<TokenId>, limit: usize) -> Result<Page<ApiToken, TokenId>, StoreError> {
    let mut page = catalog.page::<ApiToken>(after, limit)?;
    page.items.sort_by_key(|token| std::cmp::Reverse(token.issued_at));
    Ok(page)
}

/// Who shows this token.
///
/// # Errors
/// It is none, or has ended.
pub fn recognise(catalog: &Catalog, token: &str, now: Timestamp) -> Result<Actor, IdentityError> {
    const UNKNOWN: &str = "The token is not known, was revoked or has expired.";
    let found = catalog
        .token_by_digest(&key_digest(token))?
        .ok_or(IdentityError::Refused(UNKNOWN))?;
    if found.revoked_at.is_some() || found.expires_at.is_some_and(|at| at <= now) {
        return Err(IdentityError::Refused(UNKNOWN));
    }
    match found.holder {
        TokenHolder::Program { membership, role } => Ok(Actor {
            who: Who::Token(found.id),
            membership,
            role,
        }),
        TokenHolder::User(id) => person(catalog, id),
    }
}

fn person(catalog: &Catalog, id: UserId) -> Result<Actor, IdentityError> {
    let user = catalog.get::<User>(id)?;
    Ok(Actor::person(&user.ok_or(IdentityError::Refused("The token's user was deleted."))?))
}
