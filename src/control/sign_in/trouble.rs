//! Why somebody is not answered as they asked, and the page that says so.

use super::SignIn;
use super::oidc::OidcError;
use super::page::Page;
use super::request::{Wrong, with};
use crate::boot::http::Answer;
use http::{HeaderValue, StatusCode, header};
use perseat_admin::fault::Fault;
use perseat_admin::identity::passwords::HashError;
use perseat_store::StoreError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The program's request is wrong.
    #[error("a program sent somebody with a wrong request")]
    Request(Wrong),
    /// The form was not shown here, to this browser, lately.
    #[error("a form came from elsewhere, or too late")]
    StrangeForm,
    /// A field is missing or given twice.
    #[error("a form is incomplete")]
    Incomplete,
    /// The form names a user who was not offered.
    #[error("a form names a user who was not offered")]
    NotOffered,
    /// A limit is reached.
    #[error("too many attempts")]
    TooMany,
    /// A link was used, has expired or is none.
    #[error("a link does not work")]
    DeadLink,
    /// The provider vouches for somebody who is not known here.
    #[error("single sign-on names nobody who is known here")]
    Stranger,
    /// The provider is of no use.
    #[error(transparent)]
    Provider(OidcError),
    /// There is no such page.
    #[error("there is no such page")]
    Nothing,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A password could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// A change failed.
    #[error(transparent)]
    Change(Box<Fault>),
}

impl From<OidcError> for Trouble {
    fn from(error: OidcError) -> Self {
        match error {
            OidcError::Unverified => Self::Stranger,
            error => Self::Provider(error),
        }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Store(error) => Self::Store(error),
            Fault::Absent(_) => Self::DeadLink,
            fault => Self::Change(Box::new(fault)),
        }
    }
}

impl SignIn {
    /// The page, or where the program learns of it.
    pub(super) fn explain(&self, trouble: &Trouble) -> Answer {
        let pages = &self.memory.pages;
        match trouble {
            Trouble::Request(Wrong::Here(sentence)) => pages.refusal(StatusCode::BAD_REQUEST, sentence),
            Trouble::Request(Wrong::There {
                redirect_uri,
                state,
                error,
                description,
            }) => {
                let told = [
                    ("error", Some(*error)),
                    ("error_description", Some(*description)),
                    ("state", state.as_deref()),
                ];
                pages.go(&with(redirect_uri, &told))
            }
            Trouble::StrangeForm => pages.refusal(
                StatusCode::FORBIDDEN,
                "The page was open for too long, or its form came from elsewhere. Go back, load the page again and repeat.",
            ),
            Trouble::Incomplete => pages.refusal(StatusCode::BAD_REQUEST, "The form is incomplete."),
            Trouble::NotOffered => pages.refusal(StatusCode::FORBIDDEN, "This user is none of yours."),
            Trouble::TooMany => {
                let sentence = "Too many attempts. Wait a minute before you try again.";
                let mut answer = pages.refusal(StatusCode::TOO_MANY_REQUESTS, sentence);
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
                answer
            }
            Trouble::DeadLink => {
                let page = Page::Message {
                    title: "This link does not work",
                    text: "It was used already, has expired, or another one took its place. Ask whoever invited you for a new one.",
                    link: None,
                };
                pages.show(StatusCode::NOT_FOUND, &page, None)
            }
            Trouble::Stranger => {
                tracing::info!("{trouble}");
                let sentence = "You are signed in there, but it vouches for no address that belongs to somebody here. Ask whoever runs this \
                                server to add you.";
                pages.refusal(StatusCode::FORBIDDEN, sentence)
            }
            Trouble::Provider(error) => {
                tracing::warn!(error = error as &dyn std::error::Error, "single sign-on failed");
                pages.refusal(StatusCode::BAD_GATEWAY, "Single sign-on did not work. Try again in a while.")
            }
            Trouble::Nothing => pages.refusal(StatusCode::NOT_FOUND, "There is nothing here."),
            Trouble::Store(_) | Trouble::Hash(_) | Trouble::Change(_) => {
                tracing::error!(error = trouble as &dyn std::error::Error, "a request of the sign-in pages failed");
                pages.failure()
            }
        }
    }
}
