//! What a person sees who came to consent: that it is done, or what went wrong and what to do.

use super::Ticket;
use crate::boot::http::{Answer, text};
use crate::boot::plane::random;
use crate::templates;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use minijinja::Environment;
use minijinja::value::Serde;
use perseat_domain::reach::{ProviderAccount, Reach};
use serde::Serialize;
use std::fmt;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The signed link is old, or none.
    LinkExpired,
    /// The state is unknown, used or old.
    StateExpired,
    /// The state belongs to another browser.
    OtherBrowser,
    /// The configuration was removed.
    Gone,
    /// The connection's inputs name no provider.
    Incomplete,
    /// The registration acts for itself.
    NothingToConsent,
    /// The person said no.
    Denied,
    /// The provider does not answer.
    ProviderDown,
    /// The provider refused what it was asked.
    Refused,
    /// It could not be written down.
    NotKept,
    /// The provider does not list accounts now.
    AccountsDown,
    /// Its list is none that can be used.
    AccountsUnreadable,
    /// It lists too many.
    TooManyAccounts,
    /// It lists none.
    NoAccount,
    /// There are no accounts to choose from.
    NothingToChoose,
    /// What was chosen is not among them.
    UnknownAccount,
    /// The token is being renewed.
    Busy,
}

impl Problem {
    /// A stable word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::LinkExpired => "link_expired",
            Self::StateExpired => "state_expired",
            Self::OtherBrowser => "other_browser",
            Self::Gone => "connection_gone",
            Self::Incomplete => "connection_incomplete",
            Self::NothingToConsent => "nothing_to_consent",
            Self::Denied => "denied",
            Self::ProviderDown => "provider_down",
            Self::Refused => "provider_refused",
            Self::NotKept => "not_kept",
            Self::AccountsDown => "accounts_down",
            Self::AccountsUnreadable => "accounts_unreadable",
            Self::TooManyAccounts => "too_many_accounts",
            Self::NoAccount => "no_account",
            Self::NothingToChoose => "nothing_to_choose",
            Self::UnknownAccount => "unknown_account",
            Self::Busy => "renewal_under_way",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::LinkExpired
            | Self::StateExpired
            | Self::Denied
            | Self::Incomplete
            | Self::NothingToConsent
            | Self::NothingToChoose
            | Self::UnknownAccount => StatusCode::BAD_REQUEST,
            Self::Busy => StatusCode::CONFLICT,
            Self::OtherBrowser => StatusCode::FORBIDDEN,
            Self::Gone => StatusCode::GONE,
            Self::ProviderDown
            | Self::Refused
            | Self::AccountsDown
            | Self::AccountsUnreadable
            | Self::TooManyAccounts
            | Self::NoAccount => StatusCode::BAD_GATEWAY,
            Self::NotKept => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What happened, and what to do.
    fn sentences(self) -> (&'static str, &'static str) {
        match self {
            Self::LinkExpired | Self::StateExpired => (
                "This link has expired or was used already",
                "Go back to where you came from and choose Connect again.",
            ),
            Self::OtherBrowser => (
                "The connection was begun in another browser",
                "Choose Connect again, and stay in the same browser until it is done.",
            ),
            Self::Gone => (
                "What you wanted to connect does not exist any more",
                "Open your integrations again, or ask whoever administers them.",
            ),
            Self::Incomplete | Self::NothingToConsent => (
                "This connection is not set up",
                "Ask whoever administers the integration, and give them the reference below.",
            ),
            Self::Denied => (
                "You did not give your consent",
                "Nothing was connected. Choose Connect again if that was a mistake.",
            ),
            Self::ProviderDown => (
                "The other service did not answer",
                "Nothing was connected. Wait some minutes, then choose Connect again.",
            ),
            Self::Refused => (
                "The other service refused the connection",
                "Choose Connect again. If it happens again, give the reference below to whoever administers the integration.",
            ),
            Self::AccountsDown => (
                "The other service does not say which accounts you have",
                "Nothing was connected. Wait some minutes, then choose Connect again.",
            ),
            Self::AccountsUnreadable => (
                "What the other service says of your accounts cannot be used",
                "Nothing was connected. Give the reference below to whoever administers the integration.",
            ),
            Self::TooManyAccounts => (
                "You have too many accounts at the other service",
                "Nothing was connected. Give the reference below to whoever administers the integration.",
            ),
            Self::NoAccount => (
                "You have no account at the other service",
                "Nothing was connected. Choose Connect again as somebody who has one.",
            ),
            Self::NothingToChoose => (
                "There are no accounts to choose from",
                "Go back to where you came from and choose Connect.",
            ),
            Self::UnknownAccount => (
                "This account is not one of yours",
                "Nothing was changed. Go back and choose one of the list.",
            ),
            Self::Busy => (
                "The connection is being renewed",
                "Nothing was changed. Wait a moment, then choose the account again.",
            ),
            Self::NotKept => (
                "The connection could not be saved",
                "Choose Connect again. If it happens again, give the reference below to whoever administers the integration.",
            ),
        }
    }
}

/// A problem with the reference that finds it in the log.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) problem: Problem,
    pub(super) reference: String,
    reason: Option<String>,
}

impl Page {
    /// `reason` is for the log alone; at most a line of it is kept.
    pub(super) fn new(problem: Problem, reason: Option<&str>) -> Self {
        let reason = reason.map(|reason| reason.chars().filter(|letter| !letter.is_control()).take(200).collect());
        Self {
            problem,
            reference: format!("{:012x}", random() & 0xffff_ffff_ffff),
            reason,
        }
    }

    /// The line that support finds.
    pub(super) fn tell(&self, ticket: &Ticket) {
        let (holder, connection, by) = (ticket.id.holder, &ticket.id.variable, &ticket.by);
        let (problem, reference, reason) = (self.problem.word(), &self.reference, self.reason.as_deref().unwrap_or_default());
        tracing::warn!(%reference, problem, reason, ?holder, %connection, %by, "a consent failed");
    }
}

/// Renders them.
pub(super) struct Pages(Environment<'static>);

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

/// What the template shows.
#[derive(Serialize)]
struct Outcome<'p> {
    title: &'p str,
    text: &'p str,
    reference: Option<&'p str>,
}

/// Whether somebody wants to connect an account.
#[derive(Serialize)]
pub(super) struct Question<'p> {
    /// What the form is known by.
    pub(super) token: &'p str,
    pub(super) integration: &'p str,
    pub(super) whose: &'p str,
    /// The customer, unless all of them share it or it is named already.
    pub(super) customer: Option<&'p str>,
    /// The origins to which the browser is sent after that.
    #[serde(skip)]
    pub(super) next: Vec<String>,
}

/// What there is to choose from.
pub(super) struct Choosable<'p> {
    /// Where the form goes.
    pub(super) action: &'p str,
    /// The origin to which the browser is sent after that, where it leaves this one.
    pub(super) next: Option<String>,
    pub(super) integration: &'p str,
    pub(super) whose: &'p str,
    pub(super) reach: &'p Reach,
}

#[derive(Serialize)]
struct Choice<'p> {
    action: &'p str,
    text: &'p str,
    accounts: Vec<Account<'p>>,
}

#[derive(Serialize)]
struct Account<'p> {
    id: &'p str,
    name: &'p str,
    is_chosen: bool,
}

const TEMPLATES: [(&str, &str); 4] = [
    ("accounts.html", include_str!("../../web/oauth/accounts.html")),
    ("page.html", include_str!("../../web/sign-in/page.html")),
    ("outcome.html", include_str!("../../web/oauth/outcome.html")),
    ("question.html", include_str!("../../web/oauth/question.html")),
];

impl Pages {
    pub(super) fn new() -> Self {
        Self(templates::read(&TEMPLATES))
    }

    /// The page of a problem that no known consent had; it is told here.
    pub(super) fn failed(&self, page: &Page) -> Answer {
        let (problem, reference, reason) = (page.problem.word(), &page.reference, page.reason.as_deref().unwrap_or_default());
        tracing::warn!(%reference, problem, reason, "a consent failed");
        self.shown(page)
    }

    /// The page of a problem that was told.
    pub(super) fn shown(&self, page: &Page) -> Answer {
        let (title, text) = page.problem.sentences();
        let reference = Some(page.reference.as_str());
        let outcome = Outcome { title, text, reference };
        self.html(page.problem.status(), "'none'", self.render("outcome.html", &outcome))
    }

    /// That it is done: whose account it is now, so that nobody connects theirs to somebody else's configuration unawares.
    pub(super) fn done(&self, integration: &str, whose: &str, account: Option<&ProviderAccount>) -> Answer {
        let within = account
            .map(|account| format!(", with the account {}", account.name))
            .unwrap_or_default();
        let text = format!("{integration} is connected for {whose}{within}. You can close this window.");
        let outcome = Outcome {
            title: "Connected",
            text: &text,
            reference: None,
        };
        self.html(StatusCode::OK, "'none'", self.render("outcome.html", &outcome))
    }

    /// The page that asks whether an account is to be connected. Browsers hold all redirects after a form to the page's policy, and
    /// providers send people on among origins of their own: over TLS they may.
    pub(super) fn question(&self, question: &Question<'_>) -> Answer {
        let targets = format!("'self' https: {}", question.next.join(" "));
        self.html(StatusCode::OK, &targets, self.render("question.html", question))
    }

    /// The page with the accounts.
    pub(super) fn choice(&self, choosable: &Choosable<'_>) -> Answer {
        let (integration, whose) = (choosable.integration, choosable.whose);
        let chosen = choosable.reach.account().map(|account| account.id.as_str());
        let accounts = choosable.reach.accounts.iter().map(|account| Account {
            id: &account.id,
            name: &account.name,
            is_chosen: chosen == Some(account.id.as_str()),
        });
        let choice = Choice {
            action: choosable.action,
            text: &format!("{integration} can use more than one account for {whose}. It uses the one that you choose."),
            accounts: accounts.collect(),
        };
        let targets = choosable
            .next
            .iter()
            .fold("'self'".to_owned(), |targets, origin| format!("{targets} {origin}"));
        self.html(StatusCode::OK, &targets, self.render("accounts.html", &choice))
    }

    fn render(&self, template: &str, page: &impl Serialize) -> Result<String, minijinja::Error> {
        self.0.get_template(template)?.render(Serde(page))
    }

    /// `targets` is where forms of the page may go.
    fn html(&self, status: StatusCode, targets: &str, html: Result<String, minijinja::Error>) -> Answer {
        let html = match html {
            Ok(html) => html,
            Err(error) => {
                tracing::error!(%error, "a page could not be rendered");
                return text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "Internal error.");
            }
        };
        let mut answer = text(status, "text/html; charset=utf-8", html);
        let headers = answer.headers_mut();
        keep_private(headers);
        let policy = format!("default-src 'none'; style-src 'self'; base-uri 'none'; form-action {targets}; frame-ancestors 'none'");
        let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer
    }
}

/// A state or a code in an address is for nobody else.
pub(super) fn keep_private(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_renders_and_escapes_what_it_shows() {
        let outcome = Outcome {
            title: "<b>",
            text: "<script>alert(1)</script>",
            reference: Some("\"><i>"),
        };
        let html = Pages::new().render("outcome.html", &outcome).unwrap();
        assert!(!["<b>", "<script>", "<i>"].iter().any(|evil| html.contains(evil)), "{html}");
        assert!(html.contains("Reference"));
    }
}
