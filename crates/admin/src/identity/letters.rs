//! Letters: mail that has to go out to people who sign in, and the links that it takes along.
//!
//! A letter is written in the transaction of what it is about and waits in the catalog. Its link is made anew with each attempt to
//! send it and takes the place of the last attempt's, so that attempts neither heap up links nor crowd out those of others.

use crate::edit::Edit;
use crate::fault::Fault;
use perseat_domain::account::{Account, Letter, Purpose};
use perseat_domain::id::{LetterId, UserId};
use perseat_domain::model::{Customer, Membership, User};
use perseat_domain::time::Timestamp;
use perseat_store::catalog::{Accounts as _, Lookup as _};
use perseat_store::error::StoreError;
use perseat_store::seal::key_digest;
use secrecy::{ExposeSecret as _, SecretString};
use std::time::Duration;
use uuid::Uuid;

/// Letters to one user: at most one of each purpose.
const PURPOSES: usize = 2;

/// What tells a letter from those that share its room.
const OWN_BITS: u128 = u64::MAX as u128 >> 1;

/// How somebody gets their link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// By mail. Where so many letters wait already, as below.
    Mail {
        /// Letters that may wait.
        room: Room,
        /// How long a link works that is shown.
        lifetime: Duration,
    },
    /// Whoever invites gets it, to pass it on.
    Shown {
        /// How long it works.
        lifetime: Duration,
    },
}

/// How many letters may wait, so that no customer's keep others from being invited and from setting another password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// In all. The last quarter is for the organization's people and for whoever forgot their password.
    pub all: u64,
    /// Of one purpose to the people of one customer.
    pub of_customer: usize,
}

impl Room {
    /// Whether one more fits beside `waiting`.
    fn takes(self, waiting: u64, membership: Membership, by: By) -> bool {
        let is_kept_for = membership == Membership::Organization || by == By::Holder;
        waiting < if is_kept_for { self.all } else { self.all - self.all / 4 }
    }
}

/// Who wants a letter to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Whoever manages people.
    Manager,
    /// Whoever the account is of, who forgot their password.
    Holder,
}

/// A letter that is to be sent now.
#[derive(Debug)]
pub struct Addressed {
    /// To whom.
    pub user: User,
    /// The secret of its link.
    pub secret: SecretString,
    /// The organization that the user is of, or is a customer of.
    pub organization: String,
    /// The customer that they are of.
    pub customer: Option<String>,
}

/// Why nothing is written.
pub(super) fn no_room() -> Fault {
    Fault::wrong("Too many letters are waiting to be sent; try again later.")
}

impl Edit<'_, '_> {
    /// Writes to everybody of this address, so that they can set another password. Says to nobody whether there is anybody.
    /// Whoever has such a letter waiting gets no other one. An account that there is no room for keeps no other one from its letter.
    ///
    /// # Errors
    /// If the store fails, or there is no room for any letter.
    pub fn request_reset(&mut self, address: &str, accounts: usize, room: Room) -> Result<(), Fault> {
        let (mut is_short, mut waits) = (false, false);
        for account in self.mutation.accounts_of_address(address, accounts)? {
            let has_one = self.letter_to(account.user, Purpose::Reset)?.is_some();
            let has_one = has_one || self.write_letter(&account, Purpose::Reset, By::Holder, room)?;
            (is_short, waits) = (is_short || !has_one, waits || has_one);
        }
        if is_short && !waits { Err(no_room()) } else { Ok(()) }
    }

    fn letter_to(&self, user: UserId, purpose: Purpose) -> Result<Option<Letter>, StoreError> {
        let letters = self.mutation.letters_to(user, None, PURPOSES)?.items;
        Ok(letters.into_iter().find(|letter| letter.purpose == purpose))
    }

    /// Writes a letter, or lets the one that waits begin anew. Tells whether there was room for it.
    pub(super) fn write_letter(&mut self, account: &Account, purpose: Purpose, by: By, room: Room) -> Result<bool, Fault> {
        let waiting = self.letter_to(account.user, purpose)?;
        let id = match &waiting {
            Some(letter) => letter.id,
            None => match self.place_for_letter(account.user, purpose, by, room)? {
                Some(id) => id,
                None => return Ok(false),
            },
        };
        self.mutation.put(&Letter {
            id,
            user: account.user,
            purpose,
            written_at: self.at,
            attempts: 0,
            due_at: self.at,
            link: waiting.and_then(|letter| letter.link),
        })?;
        Ok(true)
    }

    /// The id of one more letter, if there is room for it. It begins as its customer's does, with a bit for its purpose: so those that
    /// share a room stand together, to be counted.
    fn place_for_letter(&mut self, user: UserId, purpose: Purpose, by: By, room: Room) -> Result<Option<LetterId>, Fault> {
        let membership = self.mutation.require::<User>(user)?.membership;
        if !room.takes(self.mutation.count::<Letter>()?, membership, by) {
            return Ok(None);
        }
        let random = self.random_id().as_u128() & OWN_BITS;
        let Membership::Customer(customer) = membership else {
            return Ok(Some(LetterId(Uuid::from_u128(random))));
        };
        let bit = if purpose == Purpose::Reset { OWN_BITS + 1 } else { 0 };
        let first = customer.0.as_u128() & !u128::from(u64::MAX) | bit;
        let from = Some(LetterId(Uuid::from_u128(first)));
        let others = self.mutation.page::<Letter>(from, room.of_customer)?.items;
        let shares_room = |letter: &&Letter| letter.id.0.as_u128() & !OWN_BITS == first;
        let has_room = others.iter().filter(shares_room).count() < room.of_customer;
        Ok(has_room.then(|| LetterId(Uuid::from_u128(first | random))))
    }

    /// What a letter says, with a new link in the place of the last attempt's. `None` where nobody is left to get it, or it was
    /// dealt with: then it is gone.
    ///
    /// # Errors
    /// If the store fails.
    pub fn address_letter(&mut self, id: LetterId, lifetime: Duration) -> Result<Option<Addressed>, Fault> {
        let Some(letter) = self.mutation.get::<Letter>(id)? else {
            return Ok(None);
        };
        let account = self.mutation.account_of(letter.user)?;
        let user = self.mutation.get::<User>(letter.user)?;
        let (Some(mut account), Some(user)) = (account, user) else {
            self.mutation.delete_letter(id)?;
            return Ok(None);
        };
        account.links.retain(|link| Some(link.digest) != letter.link);
        let secret = self.issue_link(account, letter.purpose, lifetime)?;
        self.mutation.put(&Letter {
            link: Some(key_digest(secret.expose_secret())),
            ..letter
        })?;
        let organization = self.mutation.organization()?;
        let customer = match user.membership {
            Membership::Organization => None,
            Membership::Customer(id) => self.mutation.get::<Customer>(id)?.map(|customer| customer.name),
        };
        Ok(Some(Addressed {
            user,
            secret,
            organization: organization.map(|organization| organization.name).unwrap_or_default(),
            customer,
        }))
    }

    /// A letter could not be sent: it is tried again when it is due, or given up together with its link.
    ///
    /// # Errors
    /// If the store fails.
    pub fn put_off_letter(&mut self, id: LetterId, due_at: Option<Timestamp>) -> Result<(), Fault> {
        let Some(letter) = self.mutation.get::<Letter>(id)? else {
            return Ok(());
        };
        if let Some(due_at) = due_at {
            let attempts = letter.attempts + 1;
            self.mutation.put(&Letter {
                attempts,
                due_at,
                ..letter
            })?;
            return Ok(());
        }
        if let Some(mut account) = self.mutation.account_of(letter.user)? {
            account.links.retain(|link| Some(link.digest) != letter.link);
            self.mutation.put(&account)?;
        }
        self.mutation.delete_letter(id)?;
        Ok(())
    }

    /// A letter was sent; its link stays.
    ///
    /// # Errors
    /// If the store fails.
    pub fn finish_letter(&mut self, id: LetterId) -> Result<(), Fault> {
        self.mutation.delete_letter(id)?;
        Ok(())
    }

    /// Takes back what waits for a user who has set their password meanwhile.
    pub(super) fn drop_letters(&mut self, user: UserId) -> Result<(), StoreError> {
        for letter in self.mutation.letters_to(user, None, PURPOSES)?.items {
            self.mutation.delete_letter(letter.id)?;
        }
        Ok(())
    }
}
