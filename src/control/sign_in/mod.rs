//! Sign-in of people: `/authorize` with a code and PKCE, the tokens that a code is exchanged for, passwords and their links.
//!
//! Pages are forms that work without scripts. What is under way (failures, codes) is kept in memory, bounded, and lost with a
//! restart: then somebody signs in again. What was decided (accounts, sessions, locks) is in the catalog.

mod authorize;
mod choice;
mod failures;
mod forgot;
mod form;
mod grant;
mod kept;
mod oidc;
mod options;
mod page;
mod password;
mod request;
mod tokens;
mod trouble;

pub use oidc::{OidcError, OidcOptions};
pub use options::SignInOptions;

pub(crate) use oidc::{Provider, is_safe};

use super::Desk;
use super::limits::Rates;
use crate::boot::http::Answer;
use bytes::Bytes;
use choice::Choice;
use failures::Failures;
use form::Seals;
use grant::Codes;
use http::{HeaderMap, Method, Request, StatusCode};
use kept::Kept;
use oidc::Started;
use page::{Page, Pages};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use trouble::Trouble;

/// See the module.
#[derive(Clone)]
pub(super) struct SignIn {
    desk: Arc<Desk>,
    memory: Arc<Memory>,
    runtime: Handle,
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignIn").finish_non_exhaustive()
    }
}

/// What is under way.
struct Memory {
    pages: Pages,
    seals: Seals,
    /// Passwords that are hashed at once.
    hashes: Semaphore,
    /// Other requests that run at once.
    permits: Semaphore,
    /// Attempts by client address, and by the address that was typed.
    by_client: Rates,
    by_account: Rates,
    /// Letters for forgotten passwords by the address of an account.
    resets: Rates,
    /// Requests for tokens by client address.
    tokens: Rates,
    failures: Mutex<Failures>,
    codes: Mutex<Codes>,
    choices: Mutex<Kept<Choice>>,
    /// Sign-in by a provider, where there is any: who it is, who waits for it, and who went there.
    provider: Option<Provider>,
    providing: Semaphore,
    started: Mutex<Kept<Started>>,
}

/// Lets nobody wait for one who panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request, as the pages see it.
#[derive(Clone)]
struct Asking {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
    client: IpAddr,
}

impl SignIn {
    pub(super) fn new(desk: Arc<Desk>, provider: Option<Provider>, runtime: Handle) -> Self {
        let (options, api) = (desk.sign_in(), desk.options());
        let window = options.attempts_window.as_secs_f64().max(1.0);
        let rates = |attempts: u32| Rates::new(f64::from(attempts) / window, attempts.into(), options.remembered);
        let memory = Memory {
            pages: Pages::new(&desk.api_url("")),
            seals: Seals::new(&super::desk::secret(), options.form_lifetime),
            hashes: Semaphore::new(options.hashes),
            permits: Semaphore::new(api.concurrency),
            by_client: rates(options.client_attempts),
            by_account: rates(options.account_attempts),
            resets: Rates::new(
                f64::from(options.resets) / options.resets_window.as_secs_f64().max(1.0),
                options.resets.into(),
                options.remembered,
            ),
            tokens: Rates::new(api.rate.into(), api.burst.into(), api.remembered),
            failures: Mutex::new(Failures::new(options.failures, options.lock, options.remembered)),
            codes: Mutex::new(Codes::new(options.pending, options.code_lifetime, options.access_lifetime)),
            choices: Mutex::new(Kept::new(options.pending)),
            providing: Semaphore::new(provider.as_ref().map_or(1, Provider::concurrency)),
            provider,
            started: Mutex::new(Kept::new(options.pending)),
        };
        Self {
            memory: Arc::new(memory),
            desk,
            runtime,
        }
    }

    /// Whether this path is one of ours.
    pub(super) fn takes(path: &str) -> bool {
        matches!(path, "/authorize" | "/oauth/token" | "/logout") || path.starts_with("/auth/")
    }

    fn options(&self) -> &SignInOptions {
        self.desk.sign_in()
    }

    /// Answers a request to one of the paths.
    pub(super) async fn answer(self, request: Request<Bytes>) -> Answer {
        let (head, body) = request.into_parts();
        let asking = Asking {
            client: self.desk.client_of(&head),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            method: head.method,
            headers: head.headers,
            body,
        };
        if asking.body.len() > self.options().max_form {
            return self.memory.pages.refusal(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large.");
        }
        let hashes = asking.method == Method::POST && matches!(asking.path.as_str(), "/authorize" | "/auth/password");
        let waits = matches!(asking.path.as_str(), oidc::LEAVE | oidc::CALLBACK);
        let permits = match (hashes, waits) {
            (true, _) => &self.memory.hashes,
            (_, true) => &self.memory.providing,
            _ => &self.memory.permits,
        };
        let Ok(_permit) = permits.acquire().await else {
            return self
                .memory
                .pages
                .refusal(StatusCode::SERVICE_UNAVAILABLE, "The daemon is stopping.");
        };
        let (this, runtime) = (self.clone(), self.runtime.clone());
        let answered = if waits {
            runtime.spawn(async move { this.visit(&asking).await }).await
        } else {
            runtime.spawn_blocking(move || this.route(&asking)).await
        };
        answered.unwrap_or_else(|_| self.memory.pages.failure())
    }

    /// What waits for the provider.
    async fn visit(&self, asking: &Asking) -> Answer {
        self.page(match asking.method {
            Method::POST if asking.path == oidc::LEAVE => self.leave(asking).await,
            Method::GET if asking.path == oidc::CALLBACK => self.come_back(asking).await,
            _ => Err(Trouble::Nothing),
        })
    }

    fn route(&self, asking: &Asking) -> Answer {
        match (&asking.method, asking.path.as_str()) {
            (&Method::GET, "/auth/meta") => self.meta(),
            (&Method::GET, "/auth/sign-in.css") => Pages::style(),
            (&Method::GET, "/authorize") => self.page(self.show_authorize(asking)),
            (&Method::POST, "/authorize") => self.page(self.authorize(asking)),
            (&Method::POST, "/auth/user") => self.page(self.choose(asking)),
            (&Method::POST, "/oauth/token") => self.token(asking),
            (&Method::POST, "/auth/refresh") => self.refresh_by_json(asking),
            (&Method::POST, "/auth/revoke") => self.revoke(asking),
            (&Method::GET, "/auth/password") => self.page(self.show_password(asking)),
            (&Method::POST, "/auth/password") => self.page(self.set_password(asking)),
            (&Method::GET, "/auth/forgot") => self.page(self.show_forgot(asking)),
            (&Method::POST, "/auth/forgot") => self.page(self.forgot(asking)),
            (&Method::GET, "/logout") => self.logout(asking),
            (_, "/authorize" | "/oauth/token" | "/logout") => {
                self.memory.pages.refusal(StatusCode::METHOD_NOT_ALLOWED, "Not by this method.")
            }
            _ => self.memory.pages.refusal(StatusCode::NOT_FOUND, "There is nothing here."),
        }
    }

    fn page(&self, outcome: Result<Answer, Trouble>) -> Answer {
        outcome.unwrap_or_else(|trouble| self.explain(&trouble))
    }

    /// Where the prism CLI finds what it needs.
    fn meta(&self) -> Answer {
        let address = self.desk.api_url("");
        let domain = address.split_once("://").map_or(address.as_str(), |(_, domain)| domain);
        crate::boot::http::json(
            StatusCode::OK,
            &serde_json::json!({ "domain": domain, "clientId": request::COMMAND_LINE, "audience": address }),
        )
    }

    /// There is no session of the browser to end: it goes where it may, or is told so.
    fn logout(&self, asking: &Asking) -> Answer {
        let back = request::pairs(asking.query.as_bytes())
            .into_iter()
            .find(|(name, _)| name == "returnTo");
        match back.filter(|(_, uri)| request::may_return(uri, &self.options().redirect_uris)) {
            Some((_, uri)) => self.memory.pages.go(&uri),
            None => self.memory.pages.show(
                StatusCode::OK,
                &Page::Message {
                    title: "Signed out",
                    text: "You are signed out of this browser. Programs stay signed in until `prism me:token:revoke`.",
                    link: None,
                },
                None,
            ),
        }
    }
}
