//! OAuth 2.0 as a client: where to send the browser, how to exchange, renew and revoke tokens.
//!
//! A provider is data ([`Provider`]): addresses and names from the connection's inputs, and what is peculiar to it beside
//! them. Answers are read tolerantly, within limits, and every call goes through the [outbound guard](crate::outbound)
//! without following redirects: a form with a client secret goes nowhere that was not named. Nothing here stores,
//! waits or decides what an outcome means; that is `perseat_domain::grant`.

mod accounts;
mod answer;
mod authorize;
mod call;
mod owed;
mod provider;
mod redirects;
#[cfg(test)]
mod tests;

pub use crate::outbound::Turn;
pub use accounts::{AccountsError, put_reach, reach_of, take_reach};
pub use answer::{AnswerError, Token, read as read_token};
pub use authorize::{Pkce, authorize_url};
pub use call::{Exchange, OauthClient, Whose};
pub use owed::{GivenBack, Owed, Place, is_as_supplied, is_of_somebody_else};
pub use provider::{
    ClientAuthentication, Flow, Provider, ProviderError, REGISTRATION, chosen, fill_from_definition, is_destination, is_oauth, register,
    registration, shapes_requests, token_host, unregister,
};
pub use redirects::Redirects;

use std::time::Duration;

/// Limits of calls to token endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest call (`oauth.timeout`).
    pub timeout: Duration,
    /// The largest answer that is read (`oauth.max-answer`).
    pub max_answer: usize,
    /// Accounts that one grant may reach (`accounts.per-grant`).
    pub accounts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            max_answer: 64 * 1024,
            accounts: 100,
        }
    }
}
