//! What `/authorize` is asked for: read strictly, because it comes from anywhere.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perseat_domain::account::Client;
use subtle::ConstantTimeEq as _;
use url::{Host, Url};

/// The client id of the prism CLI.
pub(super) const COMMAND_LINE: &str = "perseat-cli";
/// The client id of programs at configured redirect URIs.
pub(super) const APPLICATION: &str = "perseat-app";
/// The longest `state`.
const MAX_STATE: usize = 1_024;

/// A code challenge (RFC 7636): the verifier's SHA-256. `plain`, the verifier itself, proves nothing to whoever saw the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge(pub(super) String);

impl Challenge {
    /// Whether this is the verifier that the challenge was made from.
    pub(super) fn fits(&self, verifier: &str) -> bool {
        let given = Self::of(verifier);
        is_verifier(verifier) && bool::from(self.0.as_bytes().ct_eq(given.0.as_bytes()))
    }

    /// The challenge that is made from a verifier.
    pub(super) fn of(verifier: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())))
    }
}

/// Characters of a challenge: 32 bytes.
const CHALLENGE: usize = 43;

fn is_verifier(text: &str) -> bool {
    let letter = |letter: u8| letter.is_ascii_alphanumeric() || b"-._~".contains(&letter);
    (43..=128).contains(&text.len()) && text.bytes().all(letter)
}

/// A request that may be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) client: Client,
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) challenge: Challenge,
}

/// Why it may not.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Nobody is sent anywhere: this page says why.
    Here(&'static str),
    /// The program is told.
    There {
        redirect_uri: String,
        state: Option<String>,
        error: &'static str,
        description: &'static str,
    },
}

/// Names and values of a query or a form.
pub(super) fn pairs(text: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

/// The one value of a name; `None` if there is none, an error if there are several.
pub(super) fn one<'a>(pairs: &'a [(String, String)], name: &str) -> Result<Option<&'a str>, ()> {
    let mut values = pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
    match (values.next(), values.next()) {
        (value, None) => Ok(value.filter(|value| !value.is_empty())),
        _ => Err(()),
    }
}

impl Asked {
    /// Reads a request.
    pub(super) fn read(pairs: &[(String, String)], allowed: &[String]) -> Result<Self, Wrong> {
        const REPEATED: Wrong = Wrong::Here("A parameter of the request is given twice.");
        let get = |name: &str| one(pairs, name).map_err(|()| REPEATED);
        let client = match get("client_id")? {
            Some(COMMAND_LINE) => Client::CommandLine,
            Some(APPLICATION) => Client::Application,
            _ => return Err(Wrong::Here("The program that sent you here is not known to this server.")),
        };
        let redirect_uri = get("redirect_uri")?.filter(|uri| may_redirect(client, uri, allowed));
        let redirect_uri = redirect_uri
            .ok_or(Wrong::Here(
                "The program that sent you here wants you sent to an address that is not allowed.",
            ))?
            .to_owned();
        let state = get("state")?.map(str::to_owned);
        let wrong = |error, description| Wrong::There {
            redirect_uri: redirect_uri.clone(),
            state: state.clone().filter(|state| state.len() <= MAX_STATE),
            error,
            description,
        };
        if state.as_ref().is_some_and(|state| state.len() > MAX_STATE) {
            return Err(wrong("invalid_request", "state is too long"));
        }
        if get("response_type")? != Some("code") {
            return Err(wrong("unsupported_response_type", "response_type must be code"));
        }
        if get("code_challenge_method")? != Some("S256") {
            return Err(wrong("invalid_request", "code_challenge_method must be S256 (PKCE)"));
        }
        let challenge = get("code_challenge")?.filter(|text| is_verifier(text) && text.len() == CHALLENGE);
        let challenge = challenge.ok_or_else(|| wrong("invalid_request", "code_challenge is missing or malformed (PKCE)"))?;
        let challenge = Challenge(challenge.to_owned());
        Ok(Self {
            client,
            redirect_uri,
            state,
            challenge,
        })
    }

    /// The request again, as fields of a form.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let client = match self.client {
            Client::CommandLine => COMMAND_LINE,
            Client::Application => APPLICATION,
        };
        let mut fields = vec![
            ("client_id", client.to_owned()),
            ("redirect_uri", self.redirect_uri.clone()),
            ("response_type", "code".to_owned()),
            ("code_challenge", self.challenge.0.clone()),
            ("code_challenge_method", "S256".to_owned()),
        ];
        fields.extend(self.state.clone().map(|state| ("state", state)));
        fields
    }

    /// Where the program gets its code.
    pub(super) fn answer(&self, code: &str) -> String {
        with(&self.redirect_uri, &[("code", Some(code)), ("state", self.state.as_deref())])
    }
}

/// The address with parameters.
pub(super) fn with(uri: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let Ok(mut uri) = Url::parse(uri) else { return uri.to_owned() };
    let given = parameters.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    uri.query_pairs_mut().extend_pairs(given);
    uri.into()
}

/// Whether a client may be sent to this address.
fn may_redirect(client: Client, uri: &str, allowed: &[String]) -> bool {
    match client {
        Client::CommandLine => is_loopback(uri),
        Client::Application => allowed.iter().any(|one| one == uri),
    }
}

/// Whether somebody who signs out may be sent to this address.
pub(super) fn may_return(uri: &str, allowed: &[String]) -> bool {
    is_loopback(uri) || allowed.iter().any(|one| one == uri)
}

/// Whether an address is the root of a port of the reader's own machine.
fn is_loopback(uri: &str) -> bool {
    let Ok(url) = Url::parse(uri) else { return false };
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    url.scheme() == "http" && here && url.port().is_some() && url.path() == "/" && bare
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: &str = "https://app.example.com/callback?x=1";

    fn asked(change: &[(&str, Option<&str>)]) -> Result<Asked, Wrong> {
        let verifier = "a".repeat(43);
        let mut given = vec![
            ("response_type", "code"),
            ("client_id", COMMAND_LINE),
            ("redirect_uri", "http://localhost:59400/"),
            ("code_challenge", &verifier),
            ("code_challenge_method", "S256"),
            ("state", "a b&c"),
        ];
        for (name, value) in change {
            given.retain(|(known, _)| known != name);
            given.extend(value.map(|value| (*name, value)));
        }
        let pairs: Vec<_> = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Asked::read(&pairs, &[ALLOWED.to_owned()])
    }

    #[test]
    fn nobody_is_sent_to_an_address_that_is_not_allowed() {
        for uri in ["http://localhost:59400/", "http://127.0.0.1:1/", "http://[::1]:59450/"] {
            assert!(asked(&[("redirect_uri", Some(uri))]).is_ok(), "{uri}");
        }
        for uri in [
            "https://localhost:59400/",
            "http://localhost/",
            "http://localhost:59400/evil",
            "http://localhost:59400/?x=1",
            "http://localhost:59400/#x",
            "http://user@localhost:59400/",
            "http://localhost.evil.example:59400/",
            "http://10.0.0.1:59400/",
            "http://evil.example:59400/",
            "javascript:alert(1)",
            "nonsense",
            ALLOWED,
        ] {
            assert!(matches!(asked(&[("redirect_uri", Some(uri))]), Err(Wrong::Here(_))), "{uri}");
        }
        assert!(matches!(asked(&[("redirect_uri", None)]), Err(Wrong::Here(_))));
        assert!(matches!(asked(&[("client_id", Some("other"))]), Err(Wrong::Here(_))));
        let app = |uri| asked(&[("client_id", Some(APPLICATION)), ("redirect_uri", Some(uri))]);
        assert!(app(ALLOWED).is_ok());
        for uri in [
            "https://app.example.com/callback",
            "https://app.example.com/callback?x=1&y=2",
            "http://localhost:59400/",
        ] {
            assert!(matches!(app(uri), Err(Wrong::Here(_))), "{uri}");
        }
    }

    #[test]
    fn what_else_is_wrong_is_told_to_the_program_with_its_state() {
        let short = "a".repeat(42);
        let long = "a".repeat(44);
        for (change, expected) in [
            (("response_type", Some("token")), "unsupported_response_type"),
            (("code_challenge", None), "invalid_request"),
            (("code_challenge", Some(short.as_str())), "invalid_request"),
            (("code_challenge", Some(long.as_str())), "invalid_request"),
            (("code_challenge_method", Some("s256")), "invalid_request"),
            (("code_challenge_method", Some("plain")), "invalid_request"),
            (("code_challenge_method", None), "invalid_request"),
        ] {
            let Err(Wrong::There { error, state, .. }) = asked(&[change]) else {
                panic!("{change:?} is accepted")
            };
            assert_eq!((error, state.as_deref()), (expected, Some("a b&c")), "{change:?}");
        }
    }

    #[test]
    fn the_form_and_the_answer_repeat_the_request() {
        let request = asked(&[]).unwrap();
        let fields: Vec<_> = request.fields().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!(Asked::read(&fields, &[]), Ok(request.clone()));
        assert_eq!(request.answer("c-_1"), "http://localhost:59400/?code=c-_1&state=a+b%26c");
        let mut twice = fields;
        twice.push(("client_id".to_owned(), COMMAND_LINE.to_owned()));
        assert!(matches!(Asked::read(&twice, &[]), Err(Wrong::Here(_))));
    }

    #[test]
    fn a_verifier_fits_the_challenge_that_was_made_from_it() {
        // The example of RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = Challenge("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned());
        assert!(challenge.fits(verifier) && !challenge.fits(&verifier.to_lowercase()) && !challenge.fits(&challenge.0));
        assert!(!Challenge::of("").fits(""), "a verifier has at least 43 characters");
    }
}
