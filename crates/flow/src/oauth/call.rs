//! Calls to a provider's token and revocation endpoints.

use super::Limits;
use super::answer::{self, AnswerError, Token};
use super::authorize::Pkce;
use super::provider::{ClientAuthentication, Flow, MOST_HEADERS, PkceMethod, Provider};
use crate::outbound::{OutboundClient, OutboundError, Request, Response, TokenCaller, Turn, retry_after, wall};
use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::{Serializer, byte_serialize};
use perseat_domain::grant::{Outcome, Renewal, Renewed};
use perseat_domain::id::CustomerId;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

/// Codes that end a grant, whoever says them.
const TERMINAL: &[&str] = &[
    "invalid_grant",
    "access_denied",
    "consent_required",
    "interaction_required",
    "login_required",
    "invalid_refresh_token",
    "bad_refresh_token",
    "expired_token",
    "token_expired",
    "token_revoked",
    "account_inactive",
];

/// How a call to the token endpoint went.
#[derive(Clone, Debug)]
pub enum Exchange {
    /// There is a token.
    Token(Token),
    /// There is none.
    Not(Outcome),
}

impl Exchange {
    /// What it means to the grant that is renewed, and the token. `before` is what was stored.
    #[must_use]
    pub fn outcome(&self, provider: &Provider, before: Option<&Value>) -> Outcome {
        match self {
            Self::Not(outcome) => outcome.clone(),
            Self::Token(token) => Outcome::Token(Renewed {
                lifetime: token.lifetime().or(provider.default_lifetime),
                renewal: renewal(provider, token, before),
            }),
        }
    }
}

fn renewal(provider: &Provider, token: &Token, before: Option<&Value>) -> Renewal {
    let old = before.and_then(|before| before.get("refresh_token")).and_then(Value::as_str);
    match (provider.flow, token.refresh_token(), old) {
        (Flow::ClientCredentials, ..) => Renewal::Credentials,
        _ if provider.reuses_always() && (token.refresh_token().is_some() || old.is_some()) => Renewal::Refresh { rotates: Some(false) },
        (Flow::AuthorizationCode, None, None) => Renewal::None,
        // What is still good after this use may be exchanged at the next: only a declaration says that it never is.
        (Flow::AuthorizationCode, new, old) => Renewal::Refresh {
            rotates: new.zip(old).is_some_and(|(new, old)| new != old).then_some(true),
        },
    }
}

/// Whose token it is; the client that asks is the registration's.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// The customer; none where it is all customers'.
    pub customer: Option<CustomerId>,
    /// Names the grant.
    pub grant: &'a [u8],
}

impl<'a> Whose<'a> {
    pub(super) fn through(self, client: &'a str) -> TokenCaller<'a> {
        let Self { customer, grant } = self;
        TokenCaller { customer, client, grant }
    }
}

/// Talks to providers. Cheap to clone; bound to the runtime of its [`OutboundClient`].
#[derive(Clone, Debug)]
pub struct OauthClient {
    outbound: OutboundClient,
    limits: Limits,
}

type Form<'f> = Vec<(&'f str, &'f str)>;

impl OauthClient {
    /// A client that goes out through `outbound`.
    #[must_use]
    pub fn new(outbound: OutboundClient, limits: Limits) -> Self {
        Self { outbound, limits }
    }

    /// The turn of a renewal, once it has come. Whoever waits for it has spent nothing.
    ///
    /// # Errors
    /// If that would take longer than `within` or than requests for tokens may wait: what that means to the grant.
    pub async fn turn(&self, provider: &Provider, whose: Whose<'_>, within: Option<Duration>) -> Result<Turn, Outcome> {
        let url = provider.refresh_url.as_ref().filter(|_| provider.flow == Flow::AuthorizationCode);
        self.turn_at(provider, url.unwrap_or(&provider.token_url), whose, within).await
    }

    async fn turn_at(&self, provider: &Provider, url: &Url, whose: Whose<'_>, within: Option<Duration>) -> Result<Turn, Outcome> {
        let caller = whose.through(&provider.client_id);
        let turn = self.outbound.token_turn(caller, url, within).await;
        turn.map_err(|error| unanswered(&error))
    }

    /// Exchanges the code that a browser came back with, once its turn has come.
    pub async fn exchange(&self, provider: &Provider, code: &str, redirect: &str, pkce: &Pkce, whose: Whose<'_>) -> Exchange {
        let turn = match self.turn_at(provider, &provider.token_url, whose, None).await {
            Ok(turn) => turn,
            Err(outcome) => return Exchange::Not(outcome),
        };
        let mut form = vec![("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect)];
        if provider.pkce != PkceMethod::None {
            form.push(("code_verifier", pkce.verifier()));
        }
        let request = self.request(provider, &provider.token_url, with_parameters(provider, form));
        self.ask(provider, request, turn).await
    }

    /// Spends a refresh token. A request that could not be answered `within` so long, or the usual limit if that is shorter, is
    /// given up.
    pub async fn refresh(&self, provider: &Provider, refresh_token: &str, within: Option<Duration>, turn: Turn) -> Exchange {
        let form = vec![("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        let url = provider.refresh_url.as_ref().unwrap_or(&provider.token_url);
        let request = self.request(provider, url, with_parameters(provider, form));
        let deadline = within.map(|within| Instant::now() + within);
        let deadline = deadline.map_or(request.deadline, |deadline| deadline.min(request.deadline));
        self.ask(provider, Request { deadline, ..request }, turn).await
    }

    /// Asks for a token with the registration's own credentials.
    pub async fn own_token(&self, provider: &Provider, turn: Turn) -> Exchange {
        let mut form = vec![("grant_type", "client_credentials")];
        if !provider.scopes.is_empty() {
            form.push(("scope", provider.scopes.as_str()));
        }
        let request = self.request(provider, &provider.token_url, with_parameters(provider, form));
        self.ask(provider, request, turn).await
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Sends what is no form of a client's.
    pub(super) async fn send(&self, request: Request) -> Result<Response, OutboundError> {
        self.outbound.send_directly(request, self.limits.max_answer).await
    }

    /// The turn of a token that is given back.
    pub(super) async fn turn_to_give_back(&self, caller: TokenCaller<'_>, url: &Url) -> Result<Turn, OutboundError> {
        self.outbound.token_turn(caller, url, None).await
    }

    async fn ask(&self, provider: &Provider, request: Request, mut turn: Turn) -> Exchange {
        match self.send(request).await {
            Ok(response) => {
                turn.heard(response.status, &response.headers).await;
                self.read(provider, &response)
            }
            Err(error) => Exchange::Not(unanswered(&error)),
        }
    }

    fn request<'f>(&self, provider: &'f Provider, url: &Url, form: Form<'f>) -> Request {
        let client = (
            provider.client_id.as_str(),
            provider.client_secret.as_str(),
            provider.authentication,
        );
        self.form(url, client, &provider.headers, form)
    }

    /// A form of a client's: its id, its secret, and how it proves itself.
    pub(super) fn form<'f>(
        &self,
        url: &Url,
        (id, secret, authentication): (&'f str, &'f str, ClientAuthentication),
        more_headers: &[(String, String)],
        mut form: Form<'f>,
    ) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        // A token that is owed may have been written down with more.
        for (name, value) in more_headers.iter().take(MOST_HEADERS) {
            if let (Ok(name), Ok(mut value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        match authentication {
            ClientAuthentication::Basic => {
                let pair = Zeroizing::new(format!("{}:{}", encoded(id), encoded(secret)));
                if let Ok(mut value) = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair.as_bytes()))) {
                    value.set_sensitive(true);
                    headers.insert(AUTHORIZATION, value);
                }
            }
            ClientAuthentication::Body => {
                form.push(("client_id", id));
                if !secret.is_empty() {
                    form.push(("client_secret", secret));
                }
            }
        }
        Request {
            method: Method::POST,
            url: url.clone(),
            headers,
            body: Serializer::new(String::new()).extend_pairs(form).finish().into(),
            identity: None,
            deadline: Instant::now() + self.limits.timeout,
        }
    }

    fn read(&self, provider: &Provider, response: &Response) -> Exchange {
        let status = response.status;
        if response.body.len() > self.limits.max_answer {
            return Exchange::Not(unreadable(status, "answer_too_large"));
        }
        let content_type = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let answer = answer::read(content_type.unwrap_or_default(), &response.body, &provider.token_path);
        match answer {
            Ok(token) if status.is_success() => Exchange::Token(token),
            Err(AnswerError::Code(code)) if status.is_success() || status.is_client_error() => {
                let is_over = TERMINAL.contains(&code.as_str()) || provider.terminal.contains(&code);
                Exchange::Not(if is_over && status != StatusCode::TOO_MANY_REQUESTS {
                    Outcome::Over(code)
                } else {
                    passing(code, response)
                })
            }
            Err(AnswerError::NoToken) if status.is_success() => Exchange::Not(unreadable(status, "answer_without_token")),
            _ => Exchange::Not(passing(format!("http_{}", status.as_u16()), response)),
        }
    }
}

/// The form with what the provider wants besides.
fn with_parameters<'f>(provider: &'f Provider, mut form: Form<'f>) -> Form<'f> {
    let parameters = provider.token_parameters.iter();
    form.extend(parameters.map(|(name, value)| (name.as_str(), value.as_str())));
    form
}

fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

pub(super) fn passing(reason: String, response: &Response) -> Outcome {
    Outcome::Passing {
        reason,
        retry_after: retry_after(&response.headers, wall()),
    }
}

/// An answer that cannot be used: with a success the refresh token was spent, and what took its place is not known.
fn unreadable(status: StatusCode, reason: &str) -> Outcome {
    if status.is_success() {
        return Outcome::Unknown(reason.into());
    }
    Outcome::Passing {
        reason: reason.into(),
        retry_after: None,
    }
}

/// No answer: what was never sent was not spent.
fn unanswered(error: &OutboundError) -> Outcome {
    let passing = |reason: &str| Outcome::Passing {
        reason: reason.into(),
        retry_after: None,
    };
    match error {
        OutboundError::Refused { .. } => passing("outbound_refused"),
        OutboundError::NotHttp(_) | OutboundError::TooManyRedirects(_) => passing("address_invalid"),
        OutboundError::Held { wait, .. } => Outcome::Passing {
            reason: "rate_limited".into(),
            retry_after: *wait,
        },
        OutboundError::Unreached { .. } | OutboundError::ConnectTimedOut(_) | OutboundError::Uncertified { .. } => {
            passing("provider_unreachable")
        }
        OutboundError::Failed { .. } => Outcome::Unknown("connection_broken".into()),
        OutboundError::TimedOut(_) => Outcome::Unknown("timeout".into()),
        OutboundError::TooLarge { .. } | OutboundError::NoRoom { .. } => Outcome::Unknown("answer_too_large".into()),
    }
}
