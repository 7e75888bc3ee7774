//! Sign-in by a single sign-on provider (OpenID Connect): it says who somebody is, and the accounts here say what they may do.
//!
//! Nobody is created. Somebody whose verified address belongs to nobody here is told so.

mod provider;
mod token;

pub use provider::{OidcError, OidcOptions};

pub(crate) use provider::{Provider, is_safe};

use super::page::Page;
use super::request::{Asked, Challenge, Wrong, one, pairs};
use super::trouble::Trouble;
use super::{Asking, SignIn, choice, form, lock};
use crate::boot::http::Answer;
use crate::control::limits::client_key;
use http::StatusCode;
use perseat_admin::identity::accounts;
use perseat_domain::account::Proven;
use provider::Departure;

/// Where people leave for the provider.
pub(super) const LEAVE: &str = "/auth/oidc";
/// Where the provider sends people back to.
pub(super) const CALLBACK: &str = "/auth/oidc/callback";

/// Somebody who was sent to the provider.
pub(super) struct Started {
    asked: Asked,
    nonce: String,
    verifier: String,
    cookie: String,
}

impl SignIn {
    fn provider(&self) -> Result<&Provider, Trouble> {
        self.memory.provider.as_ref().ok_or(Trouble::Nothing)
    }

    /// Sends somebody to the provider, for a program that sent them here. A page does, not a redirect: of a form's redirects
    /// browsers follow those alone whose origin the form's page has named.
    pub(super) async fn leave(&self, asking: &Asking) -> Result<Answer, Trouble> {
        let provider = self.provider()?;
        let fields = pairs(&asking.body);
        let asked = self.asked(&fields)?;
        self.check_form(asking, "authorize", &fields)?;
        self.take_attempt(asking, None)?;
        let (state, nonce, verifier) = (choice::secret(), choice::secret(), choice::secret());
        let departure = Departure {
            callback: &self.desk.api_url(CALLBACK),
            state: &state,
            nonce: &nonce,
            challenge: &Challenge::of(&verifier).0,
        };
        let to = provider.address(&departure, self.desk.uptime()).await?;
        let started = Started {
            asked,
            nonce,
            verifier,
            cookie: form::cookie(&asking.headers).unwrap_or_default().to_owned(),
        };
        let now = self.desk.uptime();
        let (whose, until) = (client_key(asking.client), now + self.options().form_lifetime);
        lock(&self.memory.started).put(&state, whose, started, until, now);
        let page = Page::Leave {
            to: &to,
            name: provider.name(),
        };
        Ok(self.memory.pages.show(StatusCode::OK, &page, None))
    }

    /// Somebody comes back.
    pub(super) async fn come_back(&self, asking: &Asking) -> Result<Answer, Trouble> {
        let provider = self.provider()?;
        let query = pairs(asking.query.as_bytes());
        let state = one(&query, "state").ok().flatten().unwrap_or_default();
        let started = lock(&self.memory.started).take(state, self.desk.uptime());
        // The browser that left, and no other: nobody can be signed in as somebody else by a link.
        let started = started.filter(|started| form::cookie(&asking.headers) == Some(started.cookie.as_str()));
        let started = started.ok_or(Trouble::StrangeForm)?;
        // Who answers, where the provider says so (RFC 9207).
        let is_its = one(&query, "iss").is_ok_and(|issuer| issuer.is_none_or(|issuer| provider.is_issuer(issuer)));
        let Some(code) = one(&query, "code").ok().flatten().filter(|_| is_its) else {
            return Err(Trouble::Request(Wrong::There {
                redirect_uri: started.asked.redirect_uri,
                state: started.asked.state,
                error: "access_denied",
                description: "the single sign-on provider did not let them in",
            }));
        };
        let (callback, uptime) = (self.desk.api_url(CALLBACK), self.desk.uptime());
        let token = provider.exchange(code, &started.verifier, &callback, uptime).await?;
        let address = provider.verified(&token, &started.nonce, self.desk.now(), uptime).await?;
        let (this, asking, asked) = (self.clone(), asking.clone(), started.asked);
        let found = self.runtime.spawn_blocking(move || {
            let users = this.users_of(&address)?;
            if users.is_empty() {
                Err(Trouble::Stranger)
            } else {
                this.signed_in(&asking, asked, &users)
            }
        });
        found.await.unwrap_or_else(|_| Ok(self.memory.pages.failure()))
    }

    /// Who signs in by this address.
    fn users_of(&self, address: &str) -> Result<Vec<Proven>, Trouble> {
        let known = accounts::of_address(self.desk.catalog(), address, self.options().accounts)?;
        let users = known.iter().map(Proven::from);
        Ok(users
            .filter(|proven| accounts::person(self.desk.catalog(), proven.user).is_ok())
            .collect())
    }
}
