//! Templates filled in, and the headers that keep what they show to those who may see it.

use super::route::ASSETS;
use crate::boot::http::{Answer, text};
use crate::templates;
use http::{HeaderName, HeaderValue, StatusCode, header};
use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;
use serde_json::json;
use std::fmt;

/// Renders them.
pub(super) struct Pages {
    templates: Environment<'static>,
    /// Origins of pages that may show these in a frame.
    origins: String,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("origins", &self.origins).finish_non_exhaustive()
    }
}

macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../../web/embedded/", $name)))
    };
}

const TEMPLATES: [(&str, &str); 29] = [
    file!("shell.html"),
    file!("marketplace.html"),
    file!("integration.html"),
    file!("wizard.html"),
    file!("field.html"),
    file!("connection.html"),
    file!("offered.html"),
    file!("control.html"),
    file!("lack.html"),
    file!("load.html"),
    file!("remove.html"),
    file!("message.html"),
    file!("told.html"),
    file!("tabs.html"),
    file!("filters.html"),
    file!("subject.html"),
    file!("result.html"),
    file!("standing.html"),
    file!("forecast.html"),
    file!("happened.html"),
    file!("connect.html"),
    file!("disconnect.html"),
    file!("account.html"),
    file!("choose.html"),
    file!("logs.html"),
    file!("executions.html"),
    file!("execution.html"),
    file!("dashboard.html"),
    file!("connections.html"),
];

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
/// What pages load, with its type.
const FILES: [((&str, &str), &str); 5] = [
    (file!("style.css"), STYLE),
    (file!("embedded.js"), SCRIPT),
    (file!("host.js"), SCRIPT),
    (file!("phrases.js"), SCRIPT),
    (file!("wizard.js"), SCRIPT),
];

impl Pages {
    /// `origins` are those of pages that may show these in a frame; no other page can.
    pub(super) fn new(origins: &[String]) -> Self {
        Self {
            templates: templates::read(&TEMPLATES),
            origins: origins.join(" "),
        }
    }

    /// What stands in a frame: it has no data and no bearer yet. `start` is the fragment that it asks for with its bearer.
    pub(super) fn shell(&self, start: Option<&str>, theme: &str) -> Answer {
        let page = json!({ "start": start, "theme": theme, "origins": self.origins });
        let mut answer = self.rendered(StatusCode::OK, "shell.html", &page);
        let ancestors = if self.origins.is_empty() { "'none'" } else { &self.origins };
        // Form fields and scripts go nowhere but to this server, and only by the scripts of this server.
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'none'; \
             base-uri 'none'; frame-ancestors {ancestors}; require-trusted-types-for 'script'; trusted-types perseat"
        );
        put(&mut answer, header::CONTENT_SECURITY_POLICY, &policy);
        // The page is the same for everybody, and says nothing.
        put(&mut answer, header::CACHE_CONTROL, "no-cache");
        answer
    }

    /// Part of a page, for whoever asked with a bearer. It is nothing by itself.
    pub(super) fn fragment(&self, status: StatusCode, name: &str, model: &impl Serialize) -> Answer {
        let mut answer = self.rendered(status, name, model);
        put(
            &mut answer,
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; sandbox",
        );
        put(&mut answer, header::CACHE_CONTROL, "no-store");
        answer
    }

    fn rendered(&self, status: StatusCode, name: &str, model: &impl Serialize) -> Answer {
        let html = match self.render(name, model) {
            Ok(html) => html,
            Err(error) => {
                tracing::error!(%error, name, "a page could not be rendered");
                return text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "Internal error.");
            }
        };
        let mut answer = text(status, "text/html; charset=utf-8", html);
        put(&mut answer, header::REFERRER_POLICY, "no-referrer");
        put(&mut answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        answer
    }

    fn render(&self, name: &str, model: &impl Serialize) -> Result<String, minijinja::Error> {
        self.templates.get_template(name)?.render(Serde(model))
    }

    /// The style sheet, or a script.
    pub(super) fn asset(path: &str) -> Option<Answer> {
        let wanted = path.strip_prefix(ASSETS)?;
        let ((_, content), content_type) = FILES.into_iter().find(|((name, _), _)| *name == wanted)?;
        let mut answer = text(StatusCode::OK, content_type, content);
        put(&mut answer, header::CACHE_CONTROL, "max-age=300");
        put(&mut answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        Some(answer)
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

    #[test]
    fn every_template_can_be_read() {
        let pages = Pages::new(&[]);
        for (name, _) in TEMPLATES {
            assert!(pages.templates.get_template(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_shell_says_who_may_frame_it_and_nothing_else_is_allowed() {
        let policy = |origins: &[&str]| {
            let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
            let shell = Pages::new(&origins).shell(Some("/embedded/view/\"><script>"), "light");
            shell.headers()["content-security-policy"].to_str().unwrap().to_owned()
        };
        assert!(policy(&[]).contains("frame-ancestors 'none';"));
        let two = policy(&["https://a.example", "https://b.example"]);
        assert!(two.contains("frame-ancestors https://a.example https://b.example;"), "{two}");
        for part in ["default-src 'none'", "script-src 'self';", "form-action 'none'", "base-uri 'none'"] {
            assert!(two.contains(part), "{part}");
        }
        assert!(!two.contains("unsafe"));
    }

    #[test]
    fn what_pages_load_is_there_and_nothing_else() {
        for ((name, _), _) in FILES {
            assert!(Pages::asset(&format!("{ASSETS}{name}")).is_some(), "{name}");
        }
        assert!(Pages::asset(&format!("{ASSETS}shell.html")).is_none());
        assert!(Pages::asset(&format!("{ASSETS}../embedded/style.css")).is_none());
    }
}
