//! The pages: templates filled in, and the headers that keep them to themselves.

use super::form;
use crate::boot::http::{Answer, text};
use crate::templates;
use http::{HeaderName, HeaderValue, StatusCode, header};
use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;
use std::fmt;
use url::Url;

/// One page with what it shows.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Page<'p> {
    /// Who are you?
    Authorize {
        fields: &'p [(&'static str, String)],
        seal: &'p str,
        address: &'p str,
        complaint: Option<&'p str>,
        can_reset: bool,
        single_sign_on: Option<&'p str>,
    },
    /// On to another server.
    Leave { to: &'p str, name: &'p str },
    /// Which of you?
    Choose {
        seal: &'p str,
        ticket: &'p str,
        users: &'p [(String, String)],
    },
    /// Choose a password.
    Password {
        seal: &'p str,
        secret: &'p str,
        name: &'p str,
        address: &'p str,
        least: usize,
        /// The telephone number, where it is asked for.
        phone: Option<&'p str>,
        complaint: Option<&'p str>,
    },
    /// Which address forgot its password?
    Forgot { seal: &'p str },
    /// Something to read.
    Message {
        title: &'p str,
        text: &'p str,
        link: Option<(&'p str, &'p str)>,
    },
}

/// Renders them.
pub(super) struct Pages {
    templates: Environment<'static>,
    is_secure: bool,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("is_secure", &self.is_secure).finish_non_exhaustive()
    }
}

macro_rules! template {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../web/sign-in/", $name)))
    };
}

const TEMPLATES: [(&str, &str); 7] = [
    template!("page.html"),
    template!("authorize.html"),
    template!("choose.html"),
    template!("password.html"),
    template!("forgot.html"),
    template!("leave.html"),
    template!("message.html"),
];

impl Pages {
    /// `address` is where the API is.
    pub(super) fn new(address: &str) -> Self {
        Self {
            templates: templates::read(&TEMPLATES),
            is_secure: address.starts_with("https://"),
        }
    }

    fn render(&self, page: &Page<'_>) -> Result<String, minijinja::Error> {
        let name = match page {
            Page::Authorize { .. } => "authorize.html",
            Page::Choose { .. } => "choose.html",
            Page::Password { .. } => "password.html",
            Page::Forgot { .. } => "forgot.html",
            Page::Leave { .. } => "leave.html",
            Page::Message { .. } => "message.html",
        };
        self.templates.get_template(name)?.render(Serde(page))
    }

    /// A page. `cookie` is set where the browser has none; `form_leads_to` is where a form of the page leads in the end.
    pub(super) fn show(&self, status: StatusCode, page: &Page<'_>, cookie: Option<&str>) -> Answer {
        self.show_form(status, page, cookie, None)
    }

    /// A page whose form leads to another origin in the end: browsers apply the policy to redirects, too.
    pub(super) fn show_form(&self, status: StatusCode, page: &Page<'_>, cookie: Option<&str>, leads_to: Option<&str>) -> Answer {
        let html = match self.render(page) {
            Ok(html) => html,
            Err(error) => {
                tracing::error!(%error, "a page could not be rendered");
                return text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "Internal error.");
            }
        };
        let mut answer = text(status, "text/html; charset=utf-8", html);
        let origin = leads_to
            .and_then(|uri| Url::parse(uri).ok())
            .map(|uri| uri.origin().ascii_serialization());
        let policy = format!(
            "default-src 'none'; style-src 'self'; form-action 'self' {}; frame-ancestors 'none'; base-uri 'none'",
            origin.unwrap_or_default()
        );
        self.guard(&mut answer, Some(&policy));
        if let Some(cookie) = cookie {
            put(&mut answer, header::SET_COOKIE, &form::set_cookie(cookie, self.is_secure));
        }
        answer
    }

    /// Sends the browser elsewhere.
    pub(super) fn go(&self, uri: &str) -> Answer {
        let mut answer = text(StatusCode::SEE_OTHER, "text/plain", "");
        self.guard(&mut answer, None);
        put(&mut answer, header::LOCATION, uri);
        answer
    }

    /// A page that says why not.
    pub(super) fn refusal(&self, status: StatusCode, sentence: &str) -> Answer {
        let title = "This did not work";
        let link = None;
        self.show(
            status,
            &Page::Message {
                title,
                text: sentence,
                link,
            },
            None,
        )
    }

    /// Something went wrong that the log knows more about.
    pub(super) fn failure(&self) -> Answer {
        self.refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The server failed. Try again; whoever runs it finds more in its log.",
        )
    }

    /// The style sheet of all pages.
    pub(super) fn style() -> Answer {
        let mut answer = text(
            StatusCode::OK,
            "text/css; charset=utf-8",
            include_str!("../../../web/sign-in/style.css"),
        );
        put(&mut answer, header::CACHE_CONTROL, "max-age=3600");
        put(&mut answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        answer
    }

    fn guard(&self, answer: &mut Answer, policy: Option<&str>) {
        if let Some(policy) = policy {
            put(answer, header::CONTENT_SECURITY_POLICY, policy);
            put(answer, header::X_FRAME_OPTIONS, "DENY");
        }
        put(answer, header::CACHE_CONTROL, "no-store");
        put(answer, header::REFERRER_POLICY, "same-origin");
        put(answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    }
}

fn put(answer: &mut Answer, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            answer.headers_mut().insert(name, value);
        }
        Err(error) => tracing::error!(%error, %name, "a header could not be written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "\"><script>alert(1)</script>";

    #[test]
    fn every_page_renders_and_escapes_what_it_shows() {
        let pages = Pages::new("https://perseat.example");
        let fields = [("state", EVIL.to_owned())];
        let users = [(EVIL.to_owned(), EVIL.to_owned())];
        let all = [
            Page::Authorize {
                fields: &fields,
                seal: EVIL,
                address: EVIL,
                complaint: Some(EVIL),
                can_reset: true,
                single_sign_on: Some(EVIL),
            },
            Page::Authorize {
                fields: &[],
                seal: "",
                address: "",
                complaint: None,
                can_reset: false,
                single_sign_on: None,
            },
            Page::Choose {
                seal: EVIL,
                ticket: EVIL,
                users: &users,
            },
            Page::Password {
                seal: EVIL,
                secret: EVIL,
                name: EVIL,
                address: EVIL,
                least: 12,
                phone: Some(EVIL),
                complaint: Some(EVIL),
            },
            Page::Forgot { seal: EVIL },
            Page::Leave { to: EVIL, name: EVIL },
            Page::Message {
                title: EVIL,
                text: EVIL,
                link: Some((EVIL, EVIL)),
            },
        ];
        for page in all {
            let html = pages.render(&page).unwrap_or_else(|error| panic!("{page:?}: {error:#}"));
            assert!(
                html.starts_with("<!doctype html>") && html.contains("<html lang=\"en\">") && html.contains("<h1>"),
                "{html}"
            );
            assert!(!html.contains("<script"), "{html}");
            for input in html.split("<input").skip(1).map(|rest| rest.split('>').next().unwrap()) {
                let is_hidden = input.contains("type=\"hidden\"");
                let id = input.split("id=\"").nth(1).and_then(|rest| rest.split('"').next());
                let has_label = id.is_some_and(|id| html.contains(&format!("for=\"{id}\"")));
                assert!(is_hidden || has_label, "an input without a label: {input}");
            }
        }
    }
}
