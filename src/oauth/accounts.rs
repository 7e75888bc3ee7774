//! The page on which a person chooses among the accounts that their grant reaches: after consent, and whenever they like.
//!
//! The link is signed and works for minutes, as that to a consent. The form goes where this browser alone may send it: its address is
//! signed with the digest of the browser's cookie. It shows no other form: each would begin its minutes anew.

use super::pages::{Choosable, Page, Problem};
use super::{ACCOUNTS, Door, Ticket, cookie, give_cookie, go_to, secret, told};
use crate::boot::http::Answer;
use crate::control::Desk;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderMap;
use perseat_admin::accounts::Chosen;
use perseat_admin::actor::Actor;
use perseat_admin::grants::Connection;
use perseat_flow::oauth::Redirects;
use perseat_store::seal::key_digest;
use std::fmt::Write as _;
use std::sync::Arc;

/// The parameter that says which browser may send the form.
const BROWSER: &str = "browser";

/// Where an account is chosen; whoever has it may, for some minutes.
pub(crate) fn choose_url(desk: &Desk, ticket: &Ticket) -> String {
    let parameters = ticket.parameters();
    let parameters: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    desk.api_url(&desk.signer().sign(ACCOUNTS, &parameters, desk.now()))
}

/// Where the form of this browser goes.
fn form_url(desk: &Desk, ticket: &Ticket, browser: &str) -> String {
    let (parameters, browser) = (ticket.parameters(), digest(browser));
    let mut parameters: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    parameters.push((BROWSER, &browser));
    desk.signer().sign(ACCOUNTS, &parameters, desk.now())
}

/// Which browser may send the form, where it is the address of one.
fn browser_of(signed: &[(String, String)]) -> Option<&str> {
    signed.iter().find(|(name, _)| name == BROWSER).map(|(_, browser)| browser.as_str())
}

fn digest(cookie: &str) -> String {
    key_digest(cookie).0.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Door {
    /// Shows what there is to choose from.
    pub(crate) async fn accounts(&self, desk: &Arc<Desk>, query: &str, headers: &HeaderMap) -> Answer {
        let signed = desk.signer().check(ACCOUNTS, query, desk.now()).unwrap_or_default();
        let (None, Some(ticket)) = (browser_of(&signed), Ticket::read(&signed)) else {
            return self.pages.failed(&Page::new(Problem::LinkExpired, None));
        };
        let connection = match self.connection(desk, &ticket.id).await {
            Ok(Some(connection)) => connection,
            Ok(None) => return self.pages.failed(&Page::new(Problem::Gone, None)),
            Err(page) => return self.pages.failed(&page),
        };
        let Some(reach) = connection.reach() else {
            return self.pages.failed(&Page::new(Problem::NothingToChoose, None));
        };
        let browser = cookie(headers).unwrap_or_else(secret);
        let choosable = Choosable {
            action: &form_url(desk, &ticket, &browser),
            // A browser goes nowhere from a form but where the page says.
            next: self.redirects(&connection).success.map(|url| url.origin().ascii_serialization()),
            integration: connection.title(),
            whose: connection.whose(),
            reach: &reach,
        };
        let mut answer = self.pages.choice(&choosable);
        give_cookie(&mut answer, &browser, &self.options, desk);
        answer
    }

    /// Takes the choice.
    pub(crate) async fn choose(&self, desk: &Arc<Desk>, query: &str, headers: &HeaderMap, body: &[u8]) -> Answer {
        let signed = desk.signer().check(ACCOUNTS, query, desk.now()).unwrap_or_default();
        let (Some(browser), Some(ticket)) = (browser_of(&signed), Ticket::read(&signed)) else {
            return self.pages.failed(&Page::new(Problem::LinkExpired, None));
        };
        let is_its_browser =
            cookie(headers).is_some_and(|cookie| verify_slices_are_equal(digest(&cookie).as_bytes(), browser.as_bytes()).is_ok());
        if !is_its_browser {
            return self.refused(&ticket, &Page::new(Problem::OtherBrowser, None));
        }
        let mut fields = url::form_urlencoded::parse(body).filter(|(name, _)| name == "account");
        let (Some((_, account)), None) = (fields.next(), fields.next()) else {
            return self.refused(&ticket, &Page::new(Problem::UnknownAccount, None));
        };
        let (changing, account, rules, of) = (Arc::clone(desk), account.into_owned(), self.options.rules, ticket.clone());
        let changed = tokio::task::spawn_blocking(move || {
            let actor = Actor::local(format!("oauth2:{}", of.by));
            changing.change(&actor, "oauth2.account", |edit| edit.choose_account(&of.id, &account, &rules))
        });
        let problem = match changed.await {
            Ok(Ok(Chosen::Done)) => None,
            Ok(Ok(Chosen::Unknown)) => Some(Page::new(Problem::UnknownAccount, None)),
            Ok(Ok(Chosen::Nothing)) => Some(Page::new(Problem::NothingToChoose, None)),
            Ok(Ok(Chosen::Busy)) => Some(Page::new(Problem::Busy, None)),
            Ok(Err(perseat_admin::fault::Fault::Absent(_))) => Some(Page::new(Problem::Gone, None)),
            Ok(Err(error)) => Some(Page::new(Problem::NotKept, Some(&error.to_string()))),
            Err(error) => Some(Page::new(Problem::NotKept, Some(&error.to_string()))),
        };
        if let Some(page) = problem {
            return self.refused(&ticket, &page);
        }
        tracing::info!(holder = ?ticket.id.holder, connection = %ticket.id.variable, by = %ticket.by, "an account was chosen");
        match self.connection(desk, &ticket.id).await {
            Ok(Some(connection)) => self.connected(&connection),
            Ok(None) => self.pages.failed(&Page::new(Problem::Gone, None)),
            Err(page) => self.pages.failed(&page),
        }
    }

    fn refused(&self, ticket: &Ticket, page: &Page) -> Answer {
        page.tell(ticket);
        self.pages.shown(page)
    }

    /// Where the definition wants a browser to go.
    pub(super) fn redirects(&self, connection: &Connection) -> Redirects {
        // The variable's key: its stable key may come from an earlier version and stand nowhere in this one.
        let key = &connection.name;
        let read = |configured: &perseat_admin::grants::Configured| Redirects::read(&configured.version.yaml, key, &self.options.redirects);
        connection.configured().map(read).unwrap_or_default()
    }

    /// All is done: the page that says so, or where the definition says.
    pub(super) fn connected(&self, connection: &Connection) -> Answer {
        match self.redirects(connection).success {
            Some(url) => go_to(&told(url, connection, None)),
            None => {
                let reach = connection.reach();
                let account = reach.as_ref().and_then(|reach| reach.account());
                self.pages.done(connection.title(), connection.whose(), account)
            }
        }
    }
}
