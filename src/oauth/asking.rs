//! The question before a consent: whose connection it is.
//!
//! A link is good for whoever holds it, so nothing begins before a person says yes: the page names the connection's holder, and its
//! form carries a token that works once, in the browser that was shown the page.

use super::pages::{Page, Problem, Question};
use super::states::Pending;
use super::{AUTHORIZE, CALLBACK, Door, Ticket, cookie, give_cookie, go_to, random_bytes, secret};
use crate::boot::http::Answer;
use crate::control::Desk;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderMap;
use perseat_admin::accounts::customer_name;
use perseat_admin::grants::Connection;
use perseat_flow::oauth::{Pkce, authorize_url};
use perseat_store::catalog::GrantId;
use std::sync::Arc;
use url::Url;

/// The field of the form that says which page it was.
const TOKEN: &str = "token";

/// Where the browser is sent to consent.
fn provider_url(desk: &Desk, connection: &Connection, state: &str, pkce: &Pkce) -> Result<Url, Page> {
    let provider = connection
        .provider()
        .map_err(|error| Page::new(Problem::Incomplete, Some(&error.to_string())))?;
    authorize_url(&provider, &desk.api_url(CALLBACK), state, pkce).ok_or_else(|| Page::new(Problem::NothingToConsent, None))
}

impl Door {
    /// Asks whether the person at this browser wants to connect an account there.
    pub(crate) async fn authorize(&self, desk: &Arc<Desk>, query: &str, headers: &HeaderMap) -> Answer {
        let asked = self.ask(desk, query, headers).await;
        asked.unwrap_or_else(|page| self.pages.failed(&page))
    }

    /// Sends the browser that said yes to the provider.
    pub(crate) async fn agreed(&self, desk: &Arc<Desk>, headers: &HeaderMap, body: &[u8]) -> Answer {
        let sent = self.go_on(desk, headers, body).await;
        sent.unwrap_or_else(|page| self.pages.failed(&page))
    }

    async fn ask(&self, desk: &Arc<Desk>, query: &str, headers: &HeaderMap) -> Result<Answer, Page> {
        let signed = desk.signer().check(AUTHORIZE, query, desk.now());
        let ticket = signed.and_then(|all| Ticket::read(&all));
        let ticket = ticket.ok_or_else(|| Page::new(Problem::LinkExpired, None))?;
        let connection = self.there(desk, &ticket.id).await?;
        let (token, pkce) = (secret(), Pkce::new(&random_bytes()));
        let (registration, redirects) = (connection.registration(), self.redirects(&connection));
        let next = [
            Some(provider_url(desk, &connection, "", &pkce)?),
            redirects.success,
            redirects.failure,
        ];
        let reading = Arc::clone(desk);
        let named = tokio::task::spawn_blocking(move || {
            let customer = customer_name(reading.catalog(), &connection);
            customer.map(|customer| (connection, customer))
        });
        let (connection, customer) = match named.await {
            Ok(Ok(named)) => named,
            Ok(Err(error)) => return Err(Page::new(Problem::NotKept, Some(&error.to_string()))),
            Err(error) => return Err(Page::new(Problem::NotKept, Some(&error.to_string()))),
        };
        let question = Question {
            token: &token,
            integration: connection.title(),
            whose: connection.whose(),
            customer: customer.as_deref().filter(|customer| *customer != connection.whose()),
            next: next.into_iter().flatten().map(|url| url.origin().ascii_serialization()).collect(),
        };
        let mut answer = self.pages.question(&question);
        let browser = cookie(headers).unwrap_or_else(secret);
        give_cookie(&mut answer, &browser, &self.options, desk);
        let until = desk.now().after(self.options.state_lifetime);
        let pending = Pending {
            ticket,
            registration,
            pkce,
            browser,
            until,
        };
        self.questions.add(&token, pending, desk.now());
        Ok(answer)
    }

    async fn go_on(&self, desk: &Arc<Desk>, headers: &HeaderMap, body: &[u8]) -> Result<Answer, Page> {
        let mut tokens = url::form_urlencoded::parse(body).filter(|(name, _)| name == TOKEN);
        let (Some((_, token)), None) = (tokens.next(), tokens.next()) else {
            return Err(Page::new(Problem::StateExpired, Some("no token, or more than one")));
        };
        let pending = self.questions.take(&token, desk.now());
        let pending = pending.ok_or_else(|| Page::new(Problem::StateExpired, None))?;
        let is_its_browser =
            cookie(headers).is_some_and(|cookie| verify_slices_are_equal(cookie.as_bytes(), pending.browser.as_bytes()).is_ok());
        if !is_its_browser {
            return Err(Page::new(Problem::OtherBrowser, None));
        }
        let connection = self.there(desk, &pending.ticket.id).await?;
        let state = secret();
        let mut answer = go_to(&provider_url(desk, &connection, &state, &pending.pkce)?);
        give_cookie(&mut answer, &pending.browser, &self.options, desk);
        let until = desk.now().after(self.options.state_lifetime);
        let pending = Pending {
            registration: connection.registration(),
            until,
            ..pending
        };
        self.states.add(&state, pending, desk.now());
        Ok(answer)
    }

    async fn there(&self, desk: &Arc<Desk>, id: &GrantId) -> Result<Connection, Page> {
        let found = self.connection(desk, id).await?;
        found.ok_or_else(|| Page::new(Problem::Gone, None))
    }
}
