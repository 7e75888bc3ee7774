//! A grant: what somebody allowed at a third party by OAuth 2.0, when its token is renewed, and what is known of it.
//!
//! ```text
//!            consent, account    due: intent, call, outcome
//!  PENDING ─────────► ACTIVE ◄──────────────────────────────► ERROR      anything that may pass; the old token is kept
//!     ▲                 │                                       │
//!     │ disconnected    ├── the provider says it is over ───────┴──► FAILED      consent again
//!     │                 ├── spent, and the answer is not known ────► UNCERTAIN   consent again
//!     └─────────────────┘ moved to another registration: consent again
//! ```
//!
//! A refresh token that is spent twice can cost the whole grant: many providers exchange it at each use and take a second
//! use for theft. So an [`Intent`] is durable before the call, and where its outcome is not known (a crash, a broken
//! connection) the token is spent again only where that is safe: the provider does not exchange it, or declares for how
//! long it forgives, and then exactly once. Otherwise the grant is [`Status::Uncertain`]: reported, and never as revoked.

mod account;
mod decide;
mod desk;
mod notice;
mod owed;
mod tending;
#[cfg(test)]
mod tests;
mod timeline;

pub use decide::{Forecast, Need, Next, Outcome, Renewed};
pub use desk::{Asked, Desk, Given, Read};
pub use notice::{Change, Notice, NoticeLink, Pace, Step};
pub use owed::{Debt, Party, Patience};
pub use tending::{Obstacle, Sight, Task, Tending, Wrote};
pub use timeline::{Happening, What};

use crate::id::{CustomerId, InstanceId, OrganizationId, UserConfigId, UserId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where a grant stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Nobody has consented yet, or to the registration that the connection has by now, or no account was chosen.
    #[default]
    Pending,
    /// Its token is used.
    Active,
    /// The last renewal failed in a way that may pass; it is tried again.
    Error,
    /// The provider says that it is over; somebody must consent again.
    Failed,
    /// Whether it still holds is not known; somebody must consent again.
    Uncertain,
}

/// How a token is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Renewal {
    /// Not at all: when it ends, somebody must consent again.
    None,
    /// By spending a refresh token.
    Refresh {
        /// Whether the provider gives a new refresh token at each use: that it does not is taken from a declaration alone, as
        /// one that did not so far may the next time.
        rotates: Option<bool>,
    },
    /// By asking with the registration's own credentials, as often as one likes.
    Credentials,
}

/// What is known of the stored token; the token itself is sealed beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// When it was given; [`Held::NOBODY_KNOWS`] where it was supplied by hand.
    pub issued_at: Timestamp,
    /// When it ends, if the provider said so.
    pub expires_at: Option<Timestamp>,
    /// How the next one is had.
    pub renewal: Renewal,
    /// Whether a third party has refused it since.
    pub refused: bool,
}

/// A renewal that was begun and of which no outcome is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// When the refresh token was first spent.
    pub at: Timestamp,
    /// How often it has been spent.
    pub spent: u8,
}

/// One grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Where it stands.
    pub status: Status,
    /// Raised by every token and by every end; recorded with each use.
    pub generation: u64,
    /// The stored token.
    pub held: Option<Held>,
    /// A renewal that is under way.
    pub intent: Option<Intent>,
    /// Renewals that failed since the last one that did not.
    pub failures: u32,
    /// Before this it is not renewed again.
    pub retry_at: Option<Timestamp>,
    /// Why it is not active, as a stable word or the provider's own.
    pub reason: Option<String>,
    /// What happened to it, oldest first; bounded.
    pub timeline: Vec<Happening>,
}

/// What decisions depend on besides the grant.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A token is renewed at most so long before its end, and at most half its life (`oauth.refresh-lead`).
    pub lead: Duration,
    /// For how long the provider forgives a second use of a refresh token.
    pub grace: Option<Duration>,
    /// The wait after the first failed renewal; each further one waits twice as long (`oauth.back-off`).
    pub back_off: Duration,
    /// The longest such wait (`oauth.back-off-max`).
    pub back_off_max: Duration,
    /// A token that is refused so soon after it was given is not worth renewing (`oauth.fresh`).
    pub fresh: Duration,
    /// What the timeline keeps (`oauth.timeline`).
    pub timeline: usize,
}

impl Rules {
    /// The longest wait between two attempts, also where a provider asks for more.
    pub(super) fn longest_wait(&self) -> Duration {
        self.back_off_max.saturating_mul(12)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            lead: Duration::from_mins(5),
            grace: None,
            back_off: Duration::from_secs(5),
            back_off_max: Duration::from_mins(5),
            fresh: Duration::from_mins(1),
            timeline: 32,
        }
    }
}

/// Whose grant it is: whose configuration the connection belongs to, or who shares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Holder {
    /// One instance: all its users share it.
    Instance(InstanceId),
    /// One user's configuration of one instance.
    UserConfig(UserConfigId),
    /// All customers share it.
    Organization(OrganizationId),
    /// All instances of one customer share it.
    Customer(CustomerId),
    /// All configurations of one user share it.
    User(UserId),
}

impl Holder {
    /// The holder's own id.
    #[must_use]
    pub fn uuid(self) -> uuid::Uuid {
        match self {
            Self::Instance(id) => id.0,
            Self::UserConfig(id) => id.0,
            Self::Organization(id) => id.0,
            Self::Customer(id) => id.0,
            Self::User(id) => id.0,
        }
    }

    /// Whether it is one person's own.
    #[must_use]
    pub fn is_persons_own(self) -> bool {
        matches!(self, Self::UserConfig(_) | Self::User(_))
    }

    /// Whether more than one configuration uses the connection.
    #[must_use]
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Organization(_) | Self::Customer(_) | Self::User(_))
    }
}
