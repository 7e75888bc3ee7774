//! Accounts of people who sign in: who has one, invitations, passwords, lock-out.
//!
//! Whoever has an e-mail address and a role that is not embedded has an account; [`Edit::put_user`](crate::edit::Edit) sees to
//! it. A password comes only through a link that was made for its user: single-use, expiring, and kept as a digest.

use super::IdentityError;
use super::letters::{By, Delivery, no_room};
use crate::actor::{Actor, Who};
use crate::edit::Edit;
use crate::fault::Fault;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perseat_domain::account::{Account, Link, PasswordHash, Purpose};
use perseat_domain::id::UserId;
use perseat_domain::model::{Membership, Role, User};
use perseat_domain::time::Timestamp;
use perseat_store::catalog::{Accounts as _, Catalog, Lookup as _};
use perseat_store::error::StoreError;
use perseat_store::seal::key_digest;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

/// The most outstanding links of one account; past it the oldest ends.
const MAX_LINKS: usize = 4;

/// The first person of an installation, or another owner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewOwner {
    /// Their e-mail address.
    pub email: String,
    /// Their name; the address where there is none.
    pub name: Option<String>,
    /// The name of the organization, where there is none yet.
    pub organization: String,
}

impl Edit<'_, '_> {
    /// Gives a user the account that they should have, or takes it with its sessions from one who should have none.
    pub(crate) fn keep_account(&mut self, user: &User) -> Result<(), StoreError> {
        let address = user.email.as_deref().filter(|_| !user.role.is_embedded()).map(str::to_lowercase);
        let before = self.mutation.account_of(user.id)?;
        let record = match (address, before) {
            (None, None) => return Ok(()),
            (None, Some(_)) => {
                self.mutation.delete_account(user.id)?;
                return Ok(());
            }
            (Some(address), Some(account)) if account.address == address => return Ok(()),
            // What was sent to the old address is not for whoever reads it now.
            (Some(address), Some(account)) => Account {
                address,
                links: Vec::new(),
                ..account
            },
            (Some(address), None) => Account {
                user: user.id,
                address,
                password: None,
                links: Vec::new(),
                locked_until: None,
                passwords: 0,
                has_signed_in: false,
            },
        };
        self.mutation.put(&record)?;
        Ok(())
    }

    /// Invites a person to set a password: the secret of the link, where it is for whoever invites, or no letter has room.
    ///
    /// # Errors
    /// A refusal; see [`Fault`]. Embedded users have no password, and the link of whoever has one, or has signed in without, is
    /// shown to nobody: it would be a way into somebody else's account. They get a letter by which they set another one.
    pub fn invite_user(&mut self, id: UserId, delivery: Delivery) -> Result<Option<SecretString>, Fault> {
        let user = self.user_to_manage(id)?;
        self.check_grant(user.membership, user.role)?;
        let account = self.account_to_open(&user)?;
        if matches!(delivery, Delivery::Shown { .. }) && !account.is_new() {
            return Err(Fault::field(
                "id",
                "This person has a password, or has signed in without one. Whoever runs the server gives a link for another one by `perseat user link`.",
            ));
        }
        match delivery {
            Delivery::Shown { lifetime } => self.issue_link(account, Purpose::Invitation, lifetime).map(Some),
            Delivery::Mail { room, lifetime } => {
                let is_new = account.is_new();
                let purpose = if is_new { Purpose::Invitation } else { Purpose::Reset };
                match (self.write_letter(&account, purpose, By::Manager, room)?, is_new) {
                    (true, _) => Ok(None),
                    (false, true) => self.issue_link(account, Purpose::Invitation, lifetime).map(Some),
                    (false, false) => Err(no_room()),
                }
            }
        }
    }

    /// A person whom whoever acts may manage.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn user(&self, id: UserId) -> Result<User, Fault> {
        self.user_to_manage(id)
    }

    /// Makes the first owner, or shows an owner a new link.
    ///
    /// # Errors
    /// A refusal; see [`Fault`]. Only whoever administers the machine may.
    pub fn create_owner(&mut self, new: &NewOwner, lifetime: Duration) -> Result<(User, SecretString), Fault> {
        if !matches!(self.actor.who, Who::Local(_)) {
            return Err(Fault::Denied(crate::access::Operation::ManageOrganizationUsers));
        }
        if self.mutation.organization()?.is_none() {
            self.found_organization(&new.organization)?;
        }
        let user = match self.mutation.user_by_email(Membership::Organization, &new.email)? {
            Some(user) if user.role == Role::Owner => user,
            Some(_) => return Err(Fault::field("email", "This user exists and is no owner; change their role first.")),
            None => self.create_user(&crate::command::CreateUser {
                membership: Membership::Organization,
                email: new.email.clone(),
                name: new.name.clone(),
                external_id: None,
                phone: None,
                role: Role::Owner,
                labels: Vec::new(),
            })?,
        };
        let account = self.account_to_open(&user)?;
        let link = self.issue_link(account, Purpose::Invitation, lifetime)?;
        Ok((user, link))
    }

    /// A link for whoever administers the machine to pass on: for a person who has none or lost their password.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn link_for(&mut self, customer: Option<&str>, user: &str, lifetime: Duration) -> Result<(User, SecretString), Fault> {
        if !matches!(self.actor.who, Who::Local(_)) {
            return Err(Fault::Denied(crate::access::Operation::ManageOrganizationUsers));
        }
        let membership = match customer {
            None => Membership::Organization,
            Some(name) => Membership::Customer(self.customer_named(name)?.id),
        };
        let user = self.user_named(membership, user)?;
        let account = self.account_to_open(&user)?;
        let link = self.issue_link(account, Purpose::Reset, lifetime)?;
        Ok((user, link))
    }

    /// The account of a user, made where it is missing.
    fn account_to_open(&mut self, user: &User) -> Result<Account, Fault> {
        if user.role.is_embedded() {
            return Err(Fault::field(
                "id",
                "Marketplace users have no password: they come with the host product's token.",
            ));
        }
        self.keep_account(user)?;
        let account = self.mutation.account_of(user.id)?;
        account.ok_or_else(|| Fault::field("email", "The user has no e-mail address to sign in with."))
    }

    /// Makes a link; its secret is shown or sent once and not kept.
    ///
    /// # Errors
    /// If the store fails.
    pub fn issue_link(&mut self, account: Account, purpose: Purpose, lifetime: Duration) -> Result<SecretString, Fault> {
        let secret = [account.user.0, self.random_id(), self.random_id(), self.random_id()]
            .map(Uuid::into_bytes)
            .concat();
        let secret = SecretString::from(URL_SAFE_NO_PAD.encode(&secret));
        let at = self.at;
        let mut links: Vec<Link> = account.links.iter().filter(|link| at < link.expires_at).cloned().collect();
        let surplus = (links.len() + 1).saturating_sub(MAX_LINKS);
        links.drain(..surplus);
        links.push(Link {
            digest: key_digest(secret.expose_secret()),
            purpose,
            expires_at: at.after(lifetime),
        });
        self.mutation.put(&Account { links, ..account })?;
        Ok(secret)
    }

    /// Sets the password of the link's user. The link, all others of theirs, letters that wait and their sessions end, and whoever
    /// signed in before begins none any more; a lock is lifted.
    ///
    /// # Errors
    /// [`Fault::Absent`] where the link was used, has expired or is none.
    pub fn set_password(&mut self, secret: &SecretString, password: PasswordHash) -> Result<User, Fault> {
        let user = linked_user(secret).ok_or(Fault::Absent("link"))?;
        let account = self.mutation.account_of(user)?.ok_or(Fault::Absent("link"))?;
        if open_link(&account, secret, self.at).is_none() {
            return Err(Fault::Absent("link"));
        }
        let user = self.existing::<User>(account.user)?;
        self.mutation.end_sessions(account.user)?;
        self.drop_letters(account.user)?;
        self.mutation.put(&Account {
            password: Some(password),
            links: Vec::new(),
            locked_until: None,
            passwords: account.passwords.wrapping_add(1),
            ..account
        })?;
        Ok(user)
    }

    /// Keeps the same password under another hash, unless it was changed meanwhile.
    ///
    /// # Errors
    /// If the store fails.
    pub fn keep_password(&mut self, user: UserId, before: &PasswordHash, after: PasswordHash) -> Result<(), Fault> {
        let account = self.mutation.account_of(user)?;
        let Some(account) = account.filter(|account| account.password.as_ref() == Some(before)) else {
            return Ok(());
        };
        self.mutation.put(&Account {
            password: Some(after),
            ..account
        })?;
        Ok(())
    }

    /// Locks at most `most` accounts of an address for a while: too many wrong passwords were tried.
    ///
    /// # Errors
    /// If the store fails.
    pub fn lock_accounts(&mut self, address: &str, most: usize, until: Timestamp) -> Result<usize, Fault> {
        let accounts = self.mutation.accounts_of_address(address, most)?;
        for account in &accounts {
            self.mutation.put(&Account {
                locked_until: Some(until),
                ..account.clone()
            })?;
        }
        Ok(accounts.len())
    }
}

/// Whose link it is; `None` for a text that is none.
fn linked_user(secret: &SecretString) -> Option<UserId> {
    let bytes = URL_SAFE_NO_PAD.decode(secret.expose_secret()).ok()?;
    Uuid::from_slice(bytes.get(..16)?).ok().map(UserId)
}

/// The link of the account that has this secret and works.
fn open_link<'a>(account: &'a Account, secret: &SecretString, now: Timestamp) -> Option<&'a Link> {
    let digest = key_digest(secret.expose_secret());
    let mut links = account.links.iter();
    links.find(|link| now < link.expires_at && bool::from(link.digest.0.ct_eq(&digest.0)))
}

/// Who holds a link that works.
#[derive(Debug)]
pub struct Holder {
    /// The user.
    pub user: User,
    /// Their account.
    pub account: Account,
    /// What the link is for.
    pub purpose: Purpose,
}

/// For whom a link works.
///
/// # Errors
/// If the catalog cannot be read.
pub fn holder(catalog: &Catalog, secret: &SecretString, now: Timestamp) -> Result<Option<Holder>, StoreError> {
    let Some(id) = linked_user(secret) else { return Ok(None) };
    let view = catalog.view()?;
    let (Some(user), Some(account)) = (view.get::<User>(id)?, view.account_of(id)?) else {
        return Ok(None);
    };
    let purpose = open_link(&account, secret, now).map(|link| link.purpose);
    Ok(purpose.map(|purpose| Holder { user, account, purpose }))
}

/// At most `most` accounts of an address.
///
/// # Errors
/// If the catalog cannot be read.
pub fn of_address(catalog: &Catalog, address: &str, most: usize) -> Result<Vec<Account>, StoreError> {
    catalog.accounts_of_address(address, most)
}

/// Who signed in, with what they may do today. Embedded users never do.
///
/// # Errors
/// They are gone, or embedded.
pub fn person(catalog: &Catalog, id: UserId) -> Result<(User, Actor), IdentityError> {
    let user = catalog.get::<User>(id)?;
    let user = user.filter(|user| !user.role.is_embedded());
    let user = user.ok_or(IdentityError::Refused("The user was deleted, or may not sign in."))?;
    let actor = Actor::person(&user);
    Ok((user, actor))
}

/// The salt for a new password: that of the address's other accounts, so that one hash answers for all; else `fresh`.
#[must_use]
pub fn salt(accounts: Vec<Account>, fresh: [u8; 16]) -> [u8; 16] {
    accounts
        .into_iter()
        .find_map(|account| account.password)
        .map_or(fresh, |kept| kept.salt)
}
