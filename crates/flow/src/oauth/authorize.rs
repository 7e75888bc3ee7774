//! The address that a browser is sent to.

use super::provider::{PkceMethod, Provider};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use url::Url;
use zeroize::Zeroizing;

/// What binds a code to whoever asked for it (RFC 7636).
#[derive(Clone)]
pub struct Pkce {
    verifier: Zeroizing<String>,
}

impl fmt::Debug for Pkce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pkce(redacted)")
    }
}

impl Pkce {
    /// A verifier of these random bytes.
    #[must_use]
    pub fn new(random: &[u8; 32]) -> Self {
        Self {
            verifier: Zeroizing::new(URL_SAFE_NO_PAD.encode(random)),
        }
    }

    pub(super) fn verifier(&self) -> &str {
        &self.verifier
    }

    fn challenge(&self, method: PkceMethod) -> Option<(String, &'static str)> {
        match method {
            PkceMethod::None => None,
            PkceMethod::Plain => Some((self.verifier.to_string(), "plain")),
            PkceMethod::S256 => Some((URL_SAFE_NO_PAD.encode(digest(&SHA256, self.verifier.as_bytes())), "S256")),
        }
    }
}

/// Where the browser goes to consent; `None` where nobody has to.
#[must_use]
pub fn authorize_url(provider: &Provider, redirect: &str, state: &str, pkce: &Pkce) -> Option<Url> {
    let mut url = provider.authorize_url.clone()?;
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("response_type", "code");
        query.append_pair("client_id", &provider.client_id);
        query.append_pair("redirect_uri", redirect);
        if !provider.scopes.is_empty() {
            query.append_pair("scope", &provider.scopes);
        }
        query.append_pair("state", state);
        if let Some((challenge, method)) = pkce.challenge(provider.pkce) {
            query.append_pair("code_challenge", &challenge);
            query.append_pair("code_challenge_method", method);
        }
        for (name, value) in &provider.authorize_parameters {
            query.append_pair(name, value);
        }
    }
    Some(url)
}
