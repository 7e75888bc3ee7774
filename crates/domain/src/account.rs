//! How people sign in: accounts, what is outstanding for them, and the sessions that they began.

use crate::id::{AccountId, LetterId, SessionId, UserId};
use crate::model::{KeyDigest, Role};
use crate::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

/// By what a user signs in: there is one for everybody who may, and for nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Whose.
    pub user: UserId,
    /// Their e-mail address, in lower case. Several users of one address have an account each.
    pub address: String,
    /// None until they set one.
    pub password: Option<PasswordHash>,
    /// What was sent or shown to them and has not been used: the newest last.
    pub links: Vec<Link>,
    /// Until when nobody signs in by the password.
    pub locked_until: Option<Timestamp>,
    /// How many passwords were set. A record from before this field says none.
    #[serde(default, deserialize_with = "or_default")]
    pub passwords: u32,
    /// Whether they ever signed in. A record from before this field says no.
    #[serde(default, deserialize_with = "or_default")]
    pub has_signed_in: bool,
}

/// A field that was added at the end of a record: what was stored before ends in front of it.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(stored: D) -> Result<T, D::Error> {
    match T::deserialize(stored) {
        // The error's type is the deserializer's own.
        Err(error) if error.to_string() == postcard::Error::DeserializeUnexpectedEnd.to_string() => Ok(T::default()),
        read => read,
    }
}

/// Somebody who showed who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Who.
    pub user: UserId,
    /// How many passwords had been set for them by then: it counts until there is another one.
    pub passwords: u32,
}

impl From<&Account> for Proven {
    fn from(account: &Account) -> Self {
        Self {
            user: account.user,
            passwords: account.passwords,
        }
    }
}

impl Account {
    /// The account of a user has the user's number.
    #[must_use]
    pub fn id_of(user: UserId) -> AccountId {
        AccountId(user.0)
    }

    /// Whether nobody has made it theirs: a link is then no way into somebody else's account.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.password.is_none() && !self.has_signed_in
    }

    /// Whether the password is refused for now.
    #[must_use]
    pub fn is_locked(&self, now: Timestamp) -> bool {
        self.locked_until.is_some_and(|until| now < until)
    }
}

/// Argon2id of a password, with what it was made with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash {
    /// Memory in KiB.
    pub memory: u32,
    /// Passes over it.
    pub passes: u32,
    /// Random; the same for all accounts of one address, so that one computation answers for all of them.
    pub salt: [u8; 16],
    /// The result.
    pub hash: [u8; 32],
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(redacted)")
    }
}

/// An outstanding link by which a password is set, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// SHA-256 of its secret.
    pub digest: KeyDigest,
    /// Why it was made.
    pub purpose: Purpose,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// Why a link was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// The user is new, or was invited again.
    Invitation,
    /// The password was forgotten.
    Reset,
}

/// What began a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Client {
    /// The prism CLI. It keeps the refresh token of its sign-in and ignores newer ones, so that its token stays the same.
    CommandLine,
    /// A program at a configured redirect URI: each refresh replaces its token.
    Application,
}

/// A sign-in that goes on: what its tokens are held against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Who signed in.
    pub user: UserId,
    /// By what.
    pub client: Client,
    /// SHA-256 of the refresh token.
    pub digest: KeyDigest,
    /// SHA-256 of refresh tokens that were replaced, the newest last: one that comes again was stolen.
    pub spent: Vec<KeyDigest>,
    /// When they signed in.
    pub began_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// A mail that has to go out. Its link is made anew with each attempt, so that none is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its id.
    pub id: LetterId,
    /// To whom.
    pub user: UserId,
    /// What its link is for.
    pub purpose: Purpose,
    /// When it was written.
    pub written_at: Timestamp,
    /// Attempts that failed.
    pub attempts: u32,
    /// When the next attempt is due.
    pub due_at: Timestamp,
    /// SHA-256 of the link that the last attempt took along: the next one puts another in its place.
    pub link: Option<KeyDigest>,
}

impl Role {
    /// Whether it is for people who come with the host product's token: they never sign in here.
    #[must_use]
    pub fn is_embedded(self) -> bool {
        matches!(self, Self::MarketplaceAdmin | Self::MarketplaceUser)
    }
}
