//! A provider, read from a connection's inputs.

use super::accounts::Listing;
use aws_lc_rs::digest::{SHA256, digest};
use perseat_domain::definition::{ActionRef, ConfigVar, Input};
use perseat_domain::model::{ConnectionValue, KeyDigest};
use perseat_domain::registration::{AppRegistration, Chosen, Traits};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use url::Url;
use zeroize::Zeroizing;

/// Which grant of OAuth 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// A person consents in their browser.
    AuthorizationCode,
    /// The registration acts for itself.
    ClientCredentials,
}

/// How a code is bound to whoever asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PkceMethod {
    None,
    Plain,
    S256,
}

/// How the registration proves itself at the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `client_id` and `client_secret` in the form.
    Body,
    /// HTTP Basic.
    Basic,
}

/// One provider with one registration. Holds a secret: never printed.
#[derive(Clone)]
pub struct Provider {
    /// Which grant.
    pub flow: Flow,
    pub(super) authorize_url: Option<Url>,
    pub(super) token_url: Url,
    pub(super) refresh_url: Option<Url>,
    pub(super) revoke_url: Option<Url>,
    pub(super) client_id: String,
    pub(super) client_secret: Zeroizing<String>,
    /// Joined as this provider wants them.
    pub(super) scopes: String,
    pub(super) pkce: PkceMethod,
    pub(super) authentication: ClientAuthentication,
    /// Where in its answer the token stands; empty to look for it.
    pub(super) token_path: Vec<String>,
    /// The life of a token whose answer does not say.
    pub(super) default_lifetime: Option<Duration>,
    pub(super) reuse: Reuse,
    pub(super) authorize_parameters: Vec<(String, String)>,
    pub(super) token_parameters: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    /// Codes of its own that mean the end of a grant.
    pub(super) terminal: Vec<String>,
    /// Where it lists the accounts that a grant reaches.
    pub(super) accounts: Option<Listing>,
}

/// What becomes of a refresh token that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    /// Nothing is declared.
    Unknown,
    /// It stays valid.
    Always,
    /// A second use is forgiven for so long.
    Within(Duration),
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("flow", &self.flow)
            .field("token_host", &self.token_url.host_str())
            .finish_non_exhaustive()
    }
}

/// Why a connection's inputs name no provider. Names inputs, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// An input that is needed.
    #[error("the connection's input `{0}` is missing")]
    Missing(&'static str),
    /// An input that cannot be used.
    #[error("the connection's input `{input}` must be {expected}")]
    Invalid {
        /// Which.
        input: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

/// Whether connections of this kind are OAuth 2.0, and which grant.
#[must_use]
pub fn is_oauth(kind: &ActionRef) -> Option<Flow> {
    match (kind.component.as_str(), kind.action.as_str()) {
        ("http", "oauth2") => Some(Flow::AuthorizationCode),
        ("http", "oauth2ClientCredentials") => Some(Flow::ClientCredentials),
        _ => None,
    }
}

/// Which registration a connection's inputs name: a grant is of no use to another one. One that acts for itself is another than the same one
/// on behalf of people.
#[must_use]
pub fn registration(flow: Flow, fields: &BTreeMap<String, String>) -> KeyDigest {
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let acts_for = match flow {
        Flow::AuthorizationCode => "",
        Flow::ClientCredentials => "\nitself",
    };
    let text = format!("{}\n{}{acts_for}", field("tokenUrl"), field("clientId"));
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    KeyDigest(bytes)
}

/// Whether an input names where a connection's secrets are sent. The browser of whoever consents goes to `authorizeUrl`, and no
/// secret with it.
#[must_use]
pub fn is_destination(input: &str) -> bool {
    let letters = input.chars().filter(|letter| letter.is_alphanumeric());
    let name: String = letters.flat_map(char::to_lowercase).collect();
    let words = ["url", "uri", "host", "hostname", "endpoint", "server", "domain", "address"];
    name != "authorizeurl" && words.iter().any(|word| name.ends_with(word))
}

/// Whether an input shapes the requests that carry a connection's secrets. Whoever does not own the secrets does not give it.
#[must_use]
pub fn shapes_requests(input: &str) -> bool {
    is_destination(input) || matches!(input, "headers" | "tokenParams")
}

/// Headers that a connection gives its calls for tokens. No key: more than a few have no use.
pub(super) const MOST_HEADERS: usize = 64;
/// Where a consent is asked for: a browser is sent there from our own host, so a configuration says it only where the
/// definition does not.
const AUTHORIZE_URL: &str = "authorizeUrl";

/// Inputs that the definition gives literally count where the configuration gives none; its `authorizeUrl` counts always. The
/// definition does not hold those that are secret: they are `secrets`, by name. What the definition keeps secret goes where
/// the definition says and as it says, whatever the configuration says.
pub fn fill_from_definition(value: &mut ConnectionValue, variable: &ConfigVar, secrets: &BTreeMap<String, Zeroizing<String>>) {
    let is_sent = secrets.keys().any(|name| !value.fields.contains_key(name));
    // What is not literal is nobody else's to say either: a version that was stored long ago may hold such.
    let is_open = |input: &Input| matches!(input, Input::Value(text) if text.as_deref().unwrap_or_default().is_empty());
    let says_where = |(name, input): (&String, &Input)| is_destination(name) && !is_open(input);
    if is_sent && variable.inputs.iter().any(says_where) {
        value.fields.retain(|name, _| !shapes_requests(name));
    }
    for (name, input) in &variable.inputs {
        if let Input::Value(Some(text)) = input {
            let text = secrets.get(name).map_or(text.as_str(), |secret| secret);
            if name == AUTHORIZE_URL && !text.trim().is_empty() {
                value.fields.insert(name.clone(), text.to_owned());
            } else {
                value.fields.entry(name.clone()).or_insert_with(|| text.to_owned());
            }
        }
    }
}

/// The input by which a configuration chooses one of the customer's app registrations, by name or id.
pub const REGISTRATION: &str = "registration";

/// Which of the app registrations a connection has that was filled from its definition.
#[must_use]
pub fn chosen<'r>(registrations: &'r [AppRegistration], variable: &ConfigVar, value: &ConnectionValue, traits: Traits<'_>) -> Chosen<'r> {
    let picked = value.fields.get(REGISTRATION).map(String::as_str);
    Chosen::of(registrations, &variable.stable_key, picked, traits)
}

/// The host that a definition has a connection's tokens from, where it says so.
#[must_use]
pub fn token_host(variable: &ConfigVar) -> Option<String> {
    match variable.inputs.get("tokenUrl") {
        Some(Input::Value(Some(text))) => Url::parse(text.trim()).ok()?.host_str().map(str::to_owned),
        _ => None,
    }
}

/// Puts an app registration in the place of the integration's own. Its secret goes where the definition says and as it says, whatever
/// the configuration says: what the definition does not give of that is taken out. `secrets` are the definition's, as for
/// [`fill_from_definition`].
pub fn register(
    value: &mut ConnectionValue,
    variable: &ConfigVar,
    secrets: &BTreeMap<String, Zeroizing<String>>,
    registration: &AppRegistration,
    secret: &str,
) {
    value.fields.retain(|name, _| !shapes_requests(name));
    for (name, input) in &variable.inputs {
        if let Input::Value(Some(text)) = input
            && shapes_requests(name)
        {
            let text = secrets.get(name).map_or(text.as_str(), |secret| secret);
            value.fields.insert(name.clone(), text.to_owned());
        }
    }
    value.fields.insert("clientId".to_owned(), registration.client_id.clone());
    value.fields.insert("clientSecret".to_owned(), secret.to_owned());
    if let Some(scopes) = &registration.scopes {
        value.fields.insert("scopes".to_owned(), scopes.clone());
    }
}

/// Takes the registration away: what chooses one that is not there has none, and least of all another one.
pub fn unregister(value: &mut ConnectionValue) {
    for name in ["clientId", "clientSecret"] {
        value.fields.remove(name);
    }
}

/// The inputs that both kinds of connection take.
pub(super) struct Inputs<'a>(&'a BTreeMap<String, String>);

impl Inputs<'_> {
    pub(super) fn text(&self, name: &'static str) -> Option<&str> {
        self.0.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    pub(super) fn url(&self, name: &'static str) -> Result<Option<Url>, ProviderError> {
        let invalid = ProviderError::Invalid {
            input: name,
            expected: "an http or https address",
        };
        match self.text(name).map(Url::parse) {
            None => Ok(None),
            Some(Ok(url)) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Some(url)),
            Some(_) => Err(invalid),
        }
    }

    fn seconds(&self, name: &'static str) -> Result<Option<Duration>, ProviderError> {
        let invalid = ProviderError::Invalid {
            input: name,
            expected: "a number of seconds",
        };
        self.text(name)
            .map(|text| text.parse().map(Duration::from_secs).map_err(|_| invalid))
            .transpose()
    }

    fn pairs(&self, name: &'static str) -> Vec<(String, String)> {
        let text = self.text(name).unwrap_or_default();
        form_urlencoded::parse(text.as_bytes()).into_owned().collect()
    }

    /// `{"name": "value"}` or `[{"key": …, "value": …}]`, as lists of pairs are written.
    fn headers(&self) -> Result<Vec<(String, String)>, ProviderError> {
        let Some(text) = self.text("headers") else { return Ok(Vec::new()) };
        let invalid = ProviderError::Invalid {
            input: "headers",
            expected: "a JSON list of at most 64 pairs",
        };
        #[derive(serde::Deserialize)]
        struct Pair {
            key: String,
            value: String,
        }
        let pairs: Vec<(String, String)> = match serde_json::from_str::<BTreeMap<String, String>>(text) {
            Ok(map) => map.into_iter().collect(),
            Err(_) => {
                let pairs: Vec<Pair> = serde_json::from_str(text).map_err(|_| invalid.clone())?;
                pairs.into_iter().map(|pair| (pair.key, pair.value)).collect()
            }
        };
        if pairs.len() > MOST_HEADERS { Err(invalid) } else { Ok(pairs) }
    }

    fn words(&self, name: &'static str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }
}

impl Provider {
    /// Reads the inputs of a connection.
    ///
    /// # Errors
    /// If something is missing or cannot be used.
    pub fn read(flow: Flow, fields: &BTreeMap<String, String>) -> Result<Self, ProviderError> {
        let inputs = Inputs(fields);
        let needed = |name: &'static str| inputs.text(name).ok_or(ProviderError::Missing(name));
        let authorize_url = inputs.url("authorizeUrl")?;
        if flow == Flow::AuthorizationCode && authorize_url.is_none() {
            return Err(ProviderError::Missing("authorizeUrl"));
        }
        let reuse = match inputs.text("refreshReuse") {
            None => Reuse::Unknown,
            Some("always") => Reuse::Always,
            Some(_) => inputs.seconds("refreshReuse")?.map_or(Reuse::Unknown, Reuse::Within),
        };
        let separator = fields.get("scopeSeparator").map_or(" ", String::as_str);
        let scopes: Vec<&str> = inputs.text("scopes").unwrap_or_default().split_whitespace().collect();
        let word = |name: &'static str, known: &[&'static str], expected: &'static str| match inputs.text(name) {
            None => Ok(None),
            Some(text) => known
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .map(|word| Some(*word))
                .ok_or(ProviderError::Invalid { input: name, expected }),
        };
        let pkce = match word("pkceMethod", &["none", "plain", "S256"], "none, plain or S256")? {
            Some("none") => PkceMethod::None,
            Some("plain") => PkceMethod::Plain,
            _ => PkceMethod::S256,
        };
        let authentication = match word("clientAuthentication", &["body", "basic"], "body or basic")? {
            Some("basic") => ClientAuthentication::Basic,
            _ => ClientAuthentication::Body,
        };
        let client_secret = inputs.text("clientSecret").unwrap_or_default();
        if flow == Flow::ClientCredentials && client_secret.is_empty() {
            return Err(ProviderError::Missing("clientSecret"));
        }
        Ok(Self {
            flow,
            authorize_url,
            token_url: inputs.url("tokenUrl")?.ok_or(ProviderError::Missing("tokenUrl"))?,
            refresh_url: inputs.url("refreshUrl")?,
            revoke_url: inputs.url("revokeUrl")?,
            client_id: needed("clientId")?.to_owned(),
            client_secret: Zeroizing::new(client_secret.to_owned()),
            scopes: scopes.join(separator),
            pkce,
            authentication,
            token_path: inputs
                .text("tokenPath")
                .map(|path| path.split('.').map(str::to_owned).collect())
                .unwrap_or_default(),
            default_lifetime: inputs.seconds("defaultExpiresIn")?,
            reuse,
            authorize_parameters: inputs.pairs("authorizeParams"),
            token_parameters: inputs.pairs("tokenParams"),
            headers: inputs.headers()?,
            terminal: inputs.words("terminalErrors"),
            accounts: match flow {
                Flow::AuthorizationCode => Listing::read(&inputs)?,
                Flow::ClientCredentials => None,
            },
        })
    }

    /// For how long a second use of a refresh token is forgiven.
    #[must_use]
    pub fn grace(&self) -> Option<Duration> {
        match self.reuse {
            Reuse::Within(grace) => Some(grace),
            Reuse::Unknown | Reuse::Always => None,
        }
    }

    /// Whether the provider declares that a refresh token stays valid when it is used.
    #[must_use]
    pub fn reuses_always(&self) -> bool {
        self.reuse == Reuse::Always
    }

    /// Whether tokens can be given back.
    #[must_use]
    pub fn can_revoke(&self) -> bool {
        self.revoke_url.is_some()
    }

    /// The host of the token endpoint, for messages.
    #[must_use]
    pub fn host(&self) -> &str {
        self.token_url.host_str().unwrap_or_default()
    }
}
