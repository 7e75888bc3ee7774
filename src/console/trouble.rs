//! Why a fragment is not what was asked for, and the page that says so.

use super::Console;
use super::form::sentence;
use crate::boot::http::Answer;
use http::StatusCode;
use perseat_admin::fault::Fault;
use perseat_store::executions::OutlineError;
use perseat_store::index::IndexError;
use serde::Serialize;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Whoever asks does not come with a token of the host product.
    #[error("the embedded pages are for embedded users")]
    NotEmbedded,
    /// No such path.
    #[error("there is nothing here")]
    Nowhere,
    /// What a user would configure is not switched on, or not theirs; the two cannot be told apart.
    #[error("this is not switched on")]
    NotSwitchedOn,
    /// A query or a command was refused.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Executions could not be read.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl From<OutlineError> for Trouble {
    fn from(error: OutlineError) -> Self {
        match error {
            OutlineError::Index(error) => Self::Index(error),
            OutlineError::Spent(spent) => Self::Fault(Fault::Spent(spent)),
        }
    }
}

/// Something to read.
#[derive(Debug, Serialize)]
pub(super) struct Message<'m> {
    pub(super) title: &'m str,
    pub(super) text: &'m str,
    /// For the translations of the host page.
    pub(super) phrase: &'m str,
    /// Where it goes on.
    pub(super) links: Vec<Link>,
}

/// A link within the pages.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Link {
    pub(super) href: String,
    pub(super) label: &'static str,
    pub(super) phrase: &'static str,
}

impl Link {
    pub(super) fn to_marketplace() -> Self {
        Self {
            href: super::route::View::Marketplace.path(),
            label: "All integrations",
            phrase: "detail.backToMarketplaceLink",
        }
    }
}

impl Console {
    /// The page that says what is wrong.
    pub(super) fn explain(&self, trouble: &Trouble) -> Answer {
        let own;
        let (status, title, text, phrase) = match trouble {
            Trouble::NotEmbedded => (
                StatusCode::FORBIDDEN,
                "Not for you",
                "These pages are for users who come from your product.",
                "perseat.notEmbedded",
            ),
            Trouble::Nowhere => (
                StatusCode::NOT_FOUND,
                "Not Found",
                "The page you requested was not found.",
                "app.marketplace-not-found__text",
            ),
            Trouble::NotSwitchedOn => (
                StatusCode::NOT_FOUND,
                "Not switched on",
                "This integration is not switched on for you. Ask your admin to switch this on.",
                "perseat.askAdmin",
            ),
            Trouble::Fault(Fault::Absent("execution")) => (
                StatusCode::NOT_FOUND,
                "Not Found",
                "There is no such execution any more, or it is not for you.",
                "perseat.noExecution",
            ),
            Trouble::Fault(Fault::Absent(_)) => (
                StatusCode::NOT_FOUND,
                "Not Found",
                "There is no such integration, or it is not for you.",
                "perseat.absent",
            ),
            Trouble::Fault(Fault::Denied(_)) => (
                StatusCode::FORBIDDEN,
                "Not allowed",
                "Your role does not allow this. Ask your admin.",
                "perseat.denied",
            ),
            Trouble::Fault(Fault::Stale) => (
                StatusCode::CONFLICT,
                "Changed meanwhile",
                "Somebody changed this while you had it open. Open it again.",
                "perseat.stale",
            ),
            Trouble::Fault(Fault::Spent(_)) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "This did not work",
                "This page asks for too much at once.",
                "perseat.failed",
            ),
            Trouble::Fault(fault @ Fault::Wrong(_)) => {
                own = sentence(&fault.to_string());
                (StatusCode::UNPROCESSABLE_ENTITY, "This did not work", own.as_str(), "")
            }
            Trouble::Fault(Fault::Store(error)) => failed(error),
            Trouble::Index(error) => failed(error),
        };
        let message = Message {
            title,
            text,
            phrase,
            links: vec![Link::to_marketplace()],
        };
        self.pages.fragment(status, "message.html", &message)
    }
}

/// What is said where the server is at fault; why stands in the log.
fn failed(error: &(dyn std::error::Error + 'static)) -> (StatusCode, &'static str, &'static str, &'static str) {
    tracing::error!(error, "a request of the embedded pages failed");
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        "This did not work",
        "The server failed. Try again in a moment.",
        "perseat.failed",
    )
}
