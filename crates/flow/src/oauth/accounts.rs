//! The accounts that a grant reaches: how a provider lists them, as data of the connection, and where they are kept.
//!
//! They are asked for once, with the token that a consent gave, and kept beside that token, sealed with it: a renewal carries them
//! along, and whoever switches to another account needs no new consent.

use super::call::OauthClient;
use super::provider::{Inputs, ProviderError};
use super::{Limits, Provider};
use crate::outbound::{OutboundError, Request, Response};
use ::http::header::{ACCEPT, AUTHORIZATION};
use ::http::{HeaderMap, HeaderValue, Method};
use bytes::Bytes;
use perseat_domain::reach::{ProviderAccount, Reach};
use serde_json::Value;
use std::collections::BTreeSet;
use tokio::time::Instant;
use url::Url;

/// The member of a stored token in which they are; no answer of a provider gets one of this name.
pub(super) const MEMBER: &str = "perseat.accounts";
/// The longest id, name and address, in bytes.
const LONGEST: usize = 512;

/// Where they are listed, and how.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    url: Url,
    /// Where in the answer the list stands; empty where the answer is the list.
    list: Vec<String>,
    id: Vec<String>,
    name: Vec<String>,
    base_url: Vec<String>,
    default: Vec<String>,
    takes_default: bool,
}

/// Why there are none to choose from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountsError {
    /// The provider did not answer, or says that it cannot now.
    #[error("accounts_down: {0}")]
    Down(String),
    /// The answer is none that can be used.
    #[error("accounts_unreadable: {0}")]
    Unreadable(String),
    /// More than may be.
    #[error("too_many_accounts: {0}, and `accounts.per-grant` allows {1}")]
    TooMany(usize, usize),
    /// It reaches none.
    #[error("no_account")]
    None,
}

impl Listing {
    pub(super) fn read(inputs: &Inputs<'_>) -> Result<Option<Self>, ProviderError> {
        let Some(url) = inputs.url("accountsUrl")? else { return Ok(None) };
        let path = |name: &'static str, default: &str| {
            let text = inputs.text(name).unwrap_or(default);
            text.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        let takes_default = match inputs.text("accountChoice") {
            None | Some("ask") => false,
            Some("default") => true,
            Some(_) => {
                return Err(ProviderError::Invalid {
                    input: "accountChoice",
                    expected: "ask or default",
                });
            }
        };
        Ok(Some(Self {
            url,
            list: path("accountsPath", ""),
            id: path("accountIdField", "id"),
            name: path("accountNameField", "name"),
            base_url: path("accountBaseUrlField", ""),
            default: path("accountDefaultField", ""),
            takes_default,
        }))
    }

    /// The accounts of an answer.
    fn accounts(&self, body: &[u8], most: usize) -> Result<Vec<ProviderAccount>, AccountsError> {
        let unreadable = |what: &str| AccountsError::Unreadable(what.to_owned());
        let answer: Value = serde_json::from_slice(body).map_err(|_| unreadable("no JSON"))?;
        let list = at(&answer, &self.list)
            .and_then(Value::as_array)
            .ok_or_else(|| unreadable("no list"))?;
        if list.len() > most {
            return Err(AccountsError::TooMany(list.len(), most));
        }
        let mut seen = BTreeSet::new();
        let mut accounts = Vec::with_capacity(list.len());
        for entry in list {
            let account = self
                .account(entry)
                .ok_or_else(|| unreadable("an entry without an id, or with an address that is none"))?;
            if seen.insert(account.id.clone()) {
                accounts.push(account);
            }
        }
        if accounts.is_empty() {
            Err(AccountsError::None)
        } else {
            Ok(accounts)
        }
    }

    fn account(&self, entry: &Value) -> Option<ProviderAccount> {
        let id = text(at(entry, &self.id)?)?;
        let name = at(entry, &self.name)
            .and_then(text)
            .map(|name| shown(&name))
            .filter(|name| !name.is_empty());
        let base_url = match self.base_url.as_slice() {
            [] => None,
            path => at(entry, path).filter(|value| !value.is_null()),
        };
        let base_url = match base_url {
            None => None,
            Some(value) => Some(text(value).filter(|text| is_address(text))?),
        };
        let is_default = !self.default.is_empty() && at(entry, &self.default).is_some_and(is_true);
        Some(ProviderAccount {
            name: name.unwrap_or_else(|| shown(&id)),
            id,
            base_url,
            is_default,
            counted_as: String::new(),
        })
    }
}

fn at<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, name| value.get(name))
}

/// Text or a whole number, of a length that is kept.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control)).then_some(text)
}

/// A name as people see it: without characters that turn what stands around them.
fn shown(name: &str) -> String {
    let turns = |letter: char| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    name.chars().filter(|letter| !turns(*letter)).collect()
}

fn is_address(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty() && url.password().is_none()
    })
}

fn is_true(value: &Value) -> bool {
    value
        .as_bool()
        .unwrap_or_else(|| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("true")))
}

impl Provider {
    /// Whether its grants reach accounts of which one has to be chosen.
    #[must_use]
    pub fn lists_accounts(&self) -> bool {
        self.accounts.is_some()
    }

    /// Whether the account that the provider calls its default is taken without asking.
    #[must_use]
    pub fn takes_default_account(&self) -> bool {
        self.accounts.as_ref().is_some_and(|listing| listing.takes_default)
    }
}

impl OauthClient {
    /// The accounts that a token reaches, at least one.
    ///
    /// # Errors
    /// Why there are none to choose from.
    pub async fn accounts(&self, provider: &Provider, access_token: &str) -> Result<Vec<ProviderAccount>, AccountsError> {
        let Some(listing) = &provider.accounts else {
            return Err(AccountsError::None);
        };
        let Limits {
            timeout,
            max_answer,
            accounts: most,
        } = self.limits();
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut bearer = HeaderValue::from_str(&format!("Bearer {access_token}"))
            .map_err(|_| AccountsError::Unreadable("the token is no header".into()))?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        let request = Request {
            method: Method::GET,
            url: listing.url.clone(),
            headers,
            body: Bytes::new(),
            identity: None,
            deadline: Instant::now() + timeout,
        };
        match self.send(request).await {
            Ok(response) if response.status.is_success() && response.body.len() > max_answer => {
                Err(AccountsError::Unreadable("the answer is too large".into()))
            }
            Ok(response) if response.status.is_success() => listing.accounts(&response.body, most),
            Ok(response) => Err(refused(&response)),
            Err(error @ (OutboundError::NotHttp(_) | OutboundError::TooManyRedirects(_) | OutboundError::TooLarge { .. })) => {
                Err(AccountsError::Unreadable(error.to_string()))
            }
            Err(error) => Err(AccountsError::Down(error.to_string())),
        }
    }
}

fn refused(response: &Response) -> AccountsError {
    let status = response.status;
    let reason = format!("http_{}", status.as_u16());
    if status.is_server_error() || status.as_u16() == 429 {
        AccountsError::Down(reason)
    } else {
        AccountsError::Unreadable(reason)
    }
}

/// What a stored token reaches; none where its provider lists nothing.
#[must_use]
pub fn reach_of(token: &Value) -> Option<Reach> {
    serde_json::from_value(token.get(MEMBER)?.clone()).ok()
}

/// Keeps it with a token.
pub fn put_reach(token: &mut Value, reach: &Reach) {
    if let (Some(members), Ok(reach)) = (token.as_object_mut(), serde_json::to_value(reach)) {
        members.insert(MEMBER.to_owned(), reach);
    }
}

/// Takes it out of a token that a step gets.
pub fn take_reach(token: &mut Value) -> Option<Reach> {
    let reach = reach_of(token);
    if let Some(members) = token.as_object_mut() {
        members.remove(MEMBER);
    }
    reach
}

#[cfg(test)]
mod tests {
    use super::super::Flow;
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn provider(more: &[(&str, &str)]) -> Result<Provider, ProviderError> {
        let all = [
            ("authorizeUrl", "https://provider.example/authorize"),
            ("tokenUrl", "https://provider.example/token"),
            ("clientId", "id"),
        ];
        let fields: BTreeMap<String, String> = all
            .iter()
            .chain(more)
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        Provider::read(Flow::AuthorizationCode, &fields)
    }

    /// As Docusign's `/oauth/userinfo`.
    fn listing() -> Listing {
        let inputs = [
            ("accountsUrl", "https://provider.example/oauth/userinfo"),
            ("accountsPath", "accounts"),
            ("accountIdField", "account_id"),
            ("accountNameField", "account_name"),
            ("accountBaseUrlField", "base_uri"),
            ("accountDefaultField", "is_default"),
        ];
        provider(&inputs).unwrap().accounts.unwrap()
    }

    fn read(answer: &Value) -> Result<Vec<ProviderAccount>, AccountsError> {
        listing().accounts(answer.to_string().as_bytes(), 3)
    }

    #[test]
    fn accounts_are_read_as_the_connection_says() {
        let answer = json!({ "sub": "u", "accounts": [
            { "account_id": "a-1", "account_name": "Acme \u{202e}gpj", "base_uri": "https://eu.example", "is_default": "true" },
            { "account_id": 7, "is_default": false, "base_uri": null },
            { "account_id": "a-1", "account_name": "the same once more" },
        ] });
        let found = read(&answer).unwrap();
        let seen: Vec<_> = found
            .iter()
            .map(|it| (it.id.as_str(), it.name.as_str(), it.base_url.as_deref(), it.is_default))
            .collect();
        assert_eq!(
            seen,
            [("a-1", "Acme gpj", Some("https://eu.example"), true), ("7", "7", None, false)]
        );
        let whole = provider(&[("accountsUrl", "https://provider.example/tenants")])
            .unwrap()
            .accounts
            .unwrap();
        let found = whole.accounts(br#"[{"id": "x", "name": "X"}]"#, 1).unwrap();
        assert_eq!((found[0].id.as_str(), found[0].name.as_str()), ("x", "X"));
    }

    #[test]
    fn what_cannot_be_chosen_from_is_refused_whole() {
        let entry = |id: &str| json!({ "account_id": id });
        let four = ["a", "b", "c", "d"].map(entry);
        let too_many = json!({ "accounts": four });
        assert_eq!(read(&too_many), Err(AccountsError::TooMany(4, 3)));
        assert_eq!(read(&json!({ "accounts": [] })), Err(AccountsError::None));
        for answer in [
            json!({ "accounts": { "account_id": "a" } }),
            json!({ "other": [] }),
            json!([entry("a")]),
            json!({ "accounts": [entry("a"), { "account_name": "no id" }] }),
            json!({ "accounts": [entry("")] }),
            json!({ "accounts": [entry("a\u{0}b")] }),
            json!({ "accounts": [entry(&"x".repeat(LONGEST + 1))] }),
            json!({ "accounts": [{ "account_id": "a", "base_uri": "javascript:alert(1)" }] }),
            json!({ "accounts": [{ "account_id": "a", "base_uri": "https://u:p@evil.example" }] }),
            json!("<html>"),
        ] {
            assert!(matches!(read(&answer), Err(AccountsError::Unreadable(_))), "{answer}");
        }
        assert!(matches!(listing().accounts(b"<html>", 3), Err(AccountsError::Unreadable(_))));
        let wrong = provider(&[("accountsUrl", "https://x.example"), ("accountChoice", "guess")]);
        assert!(matches!(
            wrong,
            Err(ProviderError::Invalid {
                input: "accountChoice",
                ..
            })
        ));
    }

    #[test]
    fn what_is_kept_with_a_token_is_nothing_of_a_providers_and_leaves_with_nobody() {
        let answer = format!(r#"{{"access_token":"T","{MEMBER}":"evil"}}"#);
        let token = super::super::read_token("application/json", answer.as_bytes(), &[]).unwrap();
        let mut stored = token.stored(None);
        assert_eq!((reach_of(&stored), stored.get(MEMBER)), (None, None));
        let reach = Reach {
            accounts: read(&json!({ "accounts": [{ "account_id": "a" }] })).unwrap(),
            chosen: Some("a".into()),
        };
        put_reach(&mut stored, &reach);
        let renewed = super::super::read_token("application/json", br#"{"access_token":"T2"}"#, &[]).unwrap();
        let mut stored = renewed.stored(Some(&stored));
        assert_eq!(take_reach(&mut stored), Some(reach), "a renewal carries it along");
        assert_eq!(stored, json!({ "access_token": "T2" }));
    }
}
