//! What a person sees who came to consent: that it is done, or what went wrong and what to do.

use super::Ticket;
use crate::boot::http::{Answer, text};
use crate::boot::plane::random;
use crate::templates;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use minijinja::Environment;
use minijinja::value::Serde;
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
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::LinkExpired | Self::StateExpired | Self::Denied | Self::Incomplete | Self::NothingToConsent => StatusCode::BAD_REQUEST,
            Self::OtherBrowser => StatusCode::FORBIDDEN,
            Self::Gone => StatusCode::GONE,
            Self::ProviderDown | Self::Refused => StatusCode::BAD_GATEWAY,
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

const TEMPLATES: [(&str, &str); 2] = [
    ("page.html", include_str!("../../web/sign-in/page.html")),
    ("outcome.html", include_str!("../../web/oauth/outcome.html")),
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
        self.html(page.problem.status(), &Outcome { title, text, reference })
    }

    /// That it is done: whose account it is now, so that nobody connects theirs to somebody else's configuration unawares.
    pub(super) fn done(&self, integration: &str, whose: &str) -> Answer {
        let text = format!("{integration} is connected for {whose}. You can close this window.");
        let outcome = Outcome {
            title: "Connected",
            text: &text,
            reference: None,
        };
        self.html(StatusCode::OK, &outcome)
    }

    fn render(&self, outcome: &Outcome<'_>) -> Result<String, minijinja::Error> {
        self.0.get_template("outcome.html")?.render(Serde(outcome))
    }

    fn html(&self, status: StatusCode, outcome: &Outcome<'_>) -> Answer {
        let html = match self.render(outcome) {
            Ok(html) => html,
            Err(error) => {
                tracing::error!(%error, "a page could not be rendered");
                return text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "Internal error.");
            }
        };
        let mut answer = text(status, "text/html; charset=utf-8", html);
        let headers = answer.headers_mut();
        keep_private(headers);
        let policy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
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
        let html = Pages::new().render(&outcome).unwrap();
        assert!(!["<b>", "<script>", "<i>"].iter().any(|evil| html.contains(evil)), "{html}");
        assert!(html.contains("Reference"));
    }
}
