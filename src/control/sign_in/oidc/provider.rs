//! The provider: what it says about itself, and the requests to it.
//!
//! They go through the guard of flows' own calls. The provider's own host may be one that is not public, for these calls alone;
//! the other addresses that it names may not.

use super::token::{self, Expected, Keys};
use crate::boot::secret_file::{self, SecretFileError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use perseat_domain::time::Timestamp;
use perseat_flow::outbound::{OutboundClient, OutboundError, Request};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::form_urlencoded::{Serializer, byte_serialize};
use url::{Host, Url};
use zeroize::Zeroizing;

/// Which provider, and what it may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcOptions {
    /// Its address, which its tokens name; without one there is no single sign-on.
    pub issuer: Option<Url>,
    /// As what it knows this server.
    pub client_id: Option<String>,
    /// The file with the secret.
    pub client_secret: Option<PathBuf>,
    /// What people know it by.
    pub name: String,
    /// How long one request to it may take.
    pub timeout: Duration,
    /// The largest answer of its.
    pub max_answer: usize,
    /// People who wait for it at once; others wait.
    pub concurrency: usize,
    /// How long what it says about itself, and its keys, are believed.
    pub refresh: Duration,
    /// How soon its keys are read again for one that is not known.
    pub key_pause: Duration,
    /// How far clocks may differ.
    pub leeway: Duration,
}

impl Default for OidcOptions {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            issuer: None,
            client_id: None,
            client_secret: None,
            name: "single sign-on".to_owned(),
            timeout: Duration::from_secs(10),
            max_answer: 1 << 20,
            concurrency: 8,
            refresh: MINUTE * 10,
            key_pause: MINUTE,
            leeway: MINUTE,
        }
    }
}

/// Why the provider is of no use.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// It did not answer.
    #[error("the single sign-on provider did not answer: {0}")]
    Unreachable(#[from] OutboundError),
    /// It answered with a refusal.
    #[error("the single sign-on provider answered {0}")]
    Refused(u16),
    /// It does not vouch for an address.
    #[error("the single sign-on provider vouches for no address")]
    Unverified,
    /// It answered with something else than expected.
    #[error("the single sign-on provider's answer is wrong: {0}")]
    Wrong(&'static str),
}

/// What the provider says about itself.
#[derive(Clone, Debug, Deserialize)]
struct Described {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: SecretString,
}

#[derive(Default)]
struct Learned {
    described: Option<(Described, Duration)>,
    keys: Option<(Keys, Duration)>,
}

/// With what somebody leaves for the provider.
pub(super) struct Departure<'d> {
    pub(super) callback: &'d str,
    pub(super) state: &'d str,
    pub(super) nonce: &'d str,
    pub(super) challenge: &'d str,
}

/// See the module.
pub(crate) struct Provider {
    options: OidcOptions,
    issuer: Url,
    client_id: String,
    secret: SecretString,
    client: OutboundClient,
    learned: Mutex<Learned>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("issuer", &self.issuer.as_str())
            .finish_non_exhaustive()
    }
}

impl Provider {
    /// Gets ready; `None` where none is configured. Reads the secret, and connects to nothing.
    ///
    /// # Errors
    /// The secret cannot be read.
    pub(crate) fn open(options: &OidcOptions, client: OutboundClient) -> Result<Option<Self>, OidcError> {
        let (Some(issuer), Some(client_id), Some(path)) = (&options.issuer, &options.client_id, &options.client_secret) else {
            return Ok(None);
        };
        Ok(Some(Self {
            issuer: issuer.clone(),
            client_id: client_id.clone(),
            secret: secret_file::read("oidc.client-secret", path)?,
            client,
            learned: Mutex::default(),
            options: options.clone(),
        }))
    }

    pub(in crate::control::sign_in) fn name(&self) -> &str {
        &self.options.name
    }

    /// How many people wait for it at once.
    pub(in crate::control::sign_in) fn concurrency(&self) -> usize {
        self.options.concurrency
    }

    /// Whether it calls itself by this address.
    pub(super) fn is_issuer(&self, address: &str) -> bool {
        address.trim_end_matches('/') == self.base()
    }

    fn base(&self) -> &str {
        self.issuer.as_str().trim_end_matches('/')
    }

    /// Where to send somebody. `now` is the time since the start.
    pub(super) async fn address(&self, departure: &Departure<'_>, now: Duration) -> Result<String, OidcError> {
        let described = self.described(&mut *self.learned.lock().await, now).await?;
        let mut to = described.authorization_endpoint;
        to.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("scope", "openid email")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", departure.callback)
            .append_pair("state", departure.state)
            .append_pair("nonce", departure.nonce)
            .append_pair("code_challenge", departure.challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(to.into())
    }

    /// The identity token that a code is exchanged for.
    pub(super) async fn exchange(&self, code: &str, verifier: &str, callback: &str, now: Duration) -> Result<SecretString, OidcError> {
        let described = self.described(&mut *self.learned.lock().await, now).await?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", verifier),
            ("redirect_uri", callback),
        ];
        let body = Serializer::new(String::new()).extend_pairs(form).finish();
        let tokens: Tokens = self.ask(Method::POST, described.token_endpoint, body.into()).await?;
        Ok(tokens.id_token)
    }

    /// The address that an identity token vouches for.
    pub(super) async fn verified(&self, token: &SecretString, nonce: &str, now: Timestamp, uptime: Duration) -> Result<String, OidcError> {
        let token = token.expose_secret();
        let id = token::key_id(token)?;
        let mut learned = self.learned.lock().await;
        let described = self.described(&mut learned, uptime).await?;
        let is_due = learned.keys.as_ref().is_none_or(|(keys, at)| {
            let age = uptime.saturating_sub(*at);
            age >= self.options.refresh || (!keys.has(id.as_deref()) && age >= self.options.key_pause)
        });
        if is_due {
            let keys = self.ask(Method::GET, described.jwks_uri, Bytes::new()).await?;
            learned.keys = Some((Keys::of(keys), uptime));
        }
        let (keys, _) = learned.keys.as_ref().ok_or(OidcError::Wrong("it has no keys"))?;
        let expected = Expected {
            issuer: &described.issuer,
            client_id: &self.client_id,
            nonce,
            now,
            leeway: self.options.leeway,
        };
        keys.address(token, id.as_deref(), &expected)
    }

    /// What the provider says about itself, asked again now and then.
    async fn described(&self, learned: &mut Learned, now: Duration) -> Result<Described, OidcError> {
        if let Some((described, at)) = &learned.described
            && now.saturating_sub(*at) < self.options.refresh
        {
            return Ok(described.clone());
        }
        let address = format!("{}/.well-known/openid-configuration", self.base());
        let address = Url::parse(&address).map_err(|_| OidcError::Wrong("its address is none"))?;
        let described: Described = self.ask(Method::GET, address, Bytes::new()).await?;
        if !self.is_issuer(&described.issuer) {
            return Err(OidcError::Wrong("it calls itself by another address"));
        }
        let places = [&described.authorization_endpoint, &described.token_endpoint, &described.jwks_uri];
        if !places.into_iter().all(is_safe) {
            return Err(OidcError::Wrong("one of its addresses is not https"));
        }
        learned.described = Some((described.clone(), now));
        Ok(described)
    }

    /// One request. With a form the provider learns who asks.
    async fn ask<T: DeserializeOwned>(&self, method: Method, url: Url, form: Bytes) -> Result<T, OidcError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if method == Method::POST {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            headers.insert(AUTHORIZATION, self.basic()?);
        }
        let request = Request {
            method,
            url,
            headers,
            body: form,
            identity: None,
            deadline: Instant::now() + self.options.timeout,
        };
        let most = self.client.options().max_response;
        let answer = self.client.send_directly(request, most).await?;
        if !answer.status.is_success() {
            return Err(OidcError::Refused(answer.status.as_u16()));
        }
        if answer.body.len() > most {
            return Err(OidcError::Wrong("it is larger than `oidc.max-answer`"));
        }
        serde_json::from_slice(&answer.body).map_err(|_| OidcError::Wrong("it is not the JSON that the standard has"))
    }

    /// The client's name and secret, both written as in a form first (RFC 6749, 2.3.1).
    fn basic(&self) -> Result<HeaderValue, OidcError> {
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let pair = Zeroizing::new(format!("{}:{}", encoded(&self.client_id), encoded(self.secret.expose_secret())));
        let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut value = HeaderValue::from_str(&text).map_err(|_| OidcError::Wrong("its secret is no header"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Whether an address is https, or one of this machine.
pub(crate) fn is_safe(url: &Url) -> bool {
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && here)
}
