//! Giving a token back (RFC 7009): all that it takes, apart from whom it was given to, who may be gone by then.

use super::accounts::reach_of;
use super::call::{OauthClient, Whose};
use super::provider::{ClientAuthentication, Provider};
use super::read_token;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use perseat_domain::grant::Party;
use perseat_domain::reach::Reach;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::time::Duration;
use url::Url;
use zeroize::{Zeroize as _, Zeroizing};

use crate::outbound::{OutboundError, Response, Turn, retry_after, wall};

/// A token with what its provider has to be told. Holds secrets: never printed, wiped when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    url: String,
    client_id: String,
    client_secret: String,
    is_basic: bool,
    headers: Vec<(String, String)>,
    token: String,
    hint: String,
    /// Whose it is, as far as the provider said so.
    #[serde(default)]
    subject: Option<Subject>,
    /// The accounts that it reaches, where the provider lists them.
    #[serde(default)]
    reach: Option<Reach>,
    /// Who allowed it.
    #[serde(default)]
    party: Option<Party>,
}

/// The host at which tokens are given back, and the client that they were given to.
pub type Place = (String, String);

impl Provider {
    /// Where tokens of this registration are given back; none where they are not.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        Some((host(self.revoke_url.as_ref()?), self.client_id.clone()))
    }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

/// The issuer of a token and the person at it.
type Subject = (Value, Value);

impl fmt::Debug for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owed").field("hint", &self.hint).finish_non_exhaustive()
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.client_secret.zeroize();
        self.token.zeroize();
        self.headers.iter_mut().for_each(|(_, value)| value.zeroize());
    }
}

/// How giving a token back went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenBack {
    /// The provider took it.
    Done,
    /// It may later.
    Later {
        /// Why not now.
        reason: String,
        /// For how long the provider wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// It will not.
    Refused(String),
}

impl Owed {
    /// What is to be given back of a stored token: the refresh token, with which a provider takes back the others, or the access token
    /// where there is none. `None` where the provider has no address for it, or there is no token.
    #[must_use]
    pub fn of(provider: &Provider, stored: &Value, party: Party) -> Option<Self> {
        let url = provider.revoke_url.as_ref()?;
        let token = read_token("application/json", stored.to_string().as_bytes(), &[]).ok()?;
        let (text, hint) = match token.refresh_token() {
            Some(refresh) => (refresh, "refresh_token"),
            None => (token.access_token(), "access_token"),
        };
        Some(Self {
            url: url.to_string(),
            client_id: provider.client_id.clone(),
            client_secret: provider.client_secret.as_str().to_owned(),
            is_basic: provider.authentication == ClientAuthentication::Basic,
            headers: provider.headers.clone(),
            token: text.to_owned(),
            hint: hint.to_owned(),
            subject: subject(stored),
            reach: reach_of(stored),
            party: Some(party),
        })
    }

    /// Whether giving it back may end another grant of whoever allowed it: many providers end all that somebody allowed a client. Not
    /// where that was given to another client or at another provider, or is known to be of another account.
    #[must_use]
    pub fn may_end(&self, provider: &Provider, stored: &Value) -> bool {
        let is_apart = |(before, after): (&Reach, Reach)| before.is_apart_from(&after);
        let is_of_another = is_another(self.subject.as_ref(), subject(stored).as_ref());
        let reaches_others = self.reach.as_ref().zip(reach_of(stored)).is_some_and(is_apart);
        provider.place() == Some(self.place()) && !is_of_another && !reaches_others
    }

    /// Who allowed it; none where it was not written down.
    #[must_use]
    pub fn party(&self) -> Option<Party> {
        self.party
    }

    /// The host that is told, and the client that it was given to.
    #[must_use]
    pub fn place(&self) -> Place {
        (self.host(), self.client_id.clone())
    }

    /// The host that is told.
    #[must_use]
    pub fn host(&self) -> String {
        Url::parse(&self.url).map(|url| host(&url)).unwrap_or_default()
    }

    /// As it is sealed.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(serde_json::to_vec(self).unwrap_or_default())
    }

    /// The reverse of [`Owed::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl OauthClient {
    /// The turn of a token that is given back, once it has come.
    ///
    /// # Errors
    /// If that would take longer than requests for tokens may wait, or there is no address.
    pub async fn turn_of(&self, owed: &Owed, grant: &[u8]) -> Result<Turn, GivenBack> {
        let whose = Whose {
            customer: owed.party.and_then(|party| party.customer),
            grant,
        };
        let Ok(url) = Url::parse(&owed.url) else {
            return Err(GivenBack::Refused("address_invalid".into()));
        };
        let turn = self.turn_to_give_back(whose.through(&owed.client_id), &url).await;
        turn.map_err(|error| unheard(&error))
    }

    /// Tells a provider that a token was given up.
    pub async fn give_back(&self, owed: &Owed, mut turn: Turn) -> GivenBack {
        let Ok(url) = Url::parse(&owed.url) else {
            return GivenBack::Refused("address_invalid".into());
        };
        let authentication = match owed.is_basic {
            true => ClientAuthentication::Basic,
            false => ClientAuthentication::Body,
        };
        let client = (owed.client_id.as_str(), owed.client_secret.as_str(), authentication);
        let form = vec![("token", owed.token.as_str()), ("token_type_hint", owed.hint.as_str())];
        match self.send(self.form(&url, client, &owed.headers, form)).await {
            Ok(response) => {
                turn.heard(response.status, &response.headers).await;
                heard(&response)
            }
            Err(error) => unheard(&error),
        }
    }
}

fn heard(response: &Response) -> GivenBack {
    let status = response.status;
    let reason = format!("http_{}", status.as_u16());
    let may_pass = status.is_server_error() || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
    if status.is_success() {
        GivenBack::Done
    } else if may_pass {
        let retry_after = retry_after(&response.headers, wall());
        GivenBack::Later { reason, retry_after }
    } else {
        GivenBack::Refused(reason)
    }
}

/// Telling it twice does no harm, so that everything is tried again but what never leaves.
fn unheard(error: &OutboundError) -> GivenBack {
    let later = |reason: &str| GivenBack::Later {
        reason: reason.into(),
        retry_after: None,
    };
    match error {
        OutboundError::Refused { .. } => GivenBack::Refused("outbound_refused".into()),
        OutboundError::NotHttp(_) | OutboundError::TooManyRedirects(_) => GivenBack::Refused("address_invalid".into()),
        OutboundError::Held { wait, .. } => GivenBack::Later {
            reason: "rate_limited".into(),
            retry_after: *wait,
        },
        OutboundError::Unreached { .. } | OutboundError::ConnectTimedOut(_) | OutboundError::Uncertified { .. } => {
            later("provider_unreachable")
        }
        OutboundError::Failed { .. } => later("connection_broken"),
        OutboundError::TimedOut(_) => later("timeout"),
        OutboundError::TooLarge { .. } | OutboundError::NoRoom { .. } => later("answer_too_large"),
    }
}

/// Whether two stored tokens are known to be of different people at the provider: both say whose they are (`id_token`), and say otherwise.
/// Nothing is checked: it is what the provider's own token endpoint said.
#[must_use]
pub fn is_of_somebody_else(before: &Value, after: &Value) -> bool {
    is_another(subject(before).as_ref(), subject(after).as_ref())
}

fn is_another(before: Option<&Subject>, after: Option<&Subject>) -> bool {
    matches!((before, after), (Some(before), Some(after)) if before != after)
}

fn subject(token: &Value) -> Option<Subject> {
    let payload = token.get("id_token")?.as_str()?.split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    Some((claims.get("iss")?.clone(), claims.get("sub")?.clone()))
}

/// Whether a stored token is still the one that was supplied: its refresh token, or where it has none its access token, is the same.
#[must_use]
pub fn is_as_supplied(stored: &Value, supplied: &Value) -> bool {
    let read = |value: &Value| read_token("application/json", value.to_string().as_bytes(), &[]).ok();
    let (Some(stored), Some(supplied)) = (read(stored), read(supplied)) else {
        return false;
    };
    match (stored.refresh_token(), supplied.refresh_token()) {
        (Some(stored), Some(supplied)) => stored == supplied,
        (None, None) => stored.access_token() == supplied.access_token(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Flow;
    use super::super::accounts::put_reach;
    use super::*;
    use http::HeaderMap;
    use http::header::{DATE, RETRY_AFTER};
    use perseat_domain::reach::ProviderAccount;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn provider(more: &[(&str, &str)]) -> Provider {
        let inputs = [
            ("authorizeUrl", "https://provider.example/authorize"),
            ("tokenUrl", "https://provider.example/token"),
            ("revokeUrl", "https://tokens.example/revoke"),
            ("clientId", "id"),
            ("clientSecret", "secret"),
        ];
        let fields: BTreeMap<String, String> = inputs
            .iter()
            .chain(more)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Provider::read(Flow::AuthorizationCode, &fields).unwrap()
    }

    #[test]
    fn the_refresh_token_is_owed_where_there_is_one_and_nothing_where_nobody_takes_it() {
        let both = json!({ "access_token": "A", "refresh_token": "R", "scope": "work" });
        let owed = Owed::of(&provider(&[]), &both, Party::default()).unwrap();
        assert_eq!(
            (owed.token.as_str(), owed.hint.as_str(), owed.host().as_str()),
            ("R", "refresh_token", "tokens.example")
        );
        assert!(Owed::from_bytes(&owed.to_bytes()).unwrap() == owed);
        assert!(!format!("{owed:?}").contains("secret"));
        let access = Owed::of(&provider(&[]), &json!({ "accessToken": "A" }), Party::default()).unwrap();
        assert_eq!((access.token.as_str(), access.hint.as_str()), ("A", "access_token"));
        assert!(Owed::of(&provider(&[("revokeUrl", "")]), &both, Party::default()).is_none());
        assert!(Owed::of(&provider(&[]), &json!({}), Party::default()).is_none());
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_was_refused_is_not() {
        let answered = |status: u16, after: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert(RETRY_AFTER, after.parse().unwrap());
                headers.insert(DATE, "Tue, 14 Nov 2023 22:14:13 GMT".parse().unwrap());
            }
            heard(&Response::new(StatusCode::from_u16(status).unwrap(), headers, bytes::Bytes::new()))
        };
        assert_eq!((answered(200, None), answered(204, None)), (GivenBack::Done, GivenBack::Done));
        for status in [408, 429, 500, 503] {
            let retry_after = Some(Duration::from_secs(7));
            for after in ["7", "Tue, 14 Nov 2023 22:14:20 GMT"] {
                let reason = format!("http_{status}");
                assert_eq!(answered(status, Some(after)), GivenBack::Later { reason, retry_after }, "{after}");
            }
        }
        for status in [302, 400, 401, 404] {
            assert_eq!(answered(status, None), GivenBack::Refused(format!("http_{status}")));
        }
    }

    #[test]
    fn only_what_both_tokens_say_makes_them_somebody_elses() {
        let of = |claims: Value| json!({ "id_token": format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string())) });
        let ann = of(json!({ "iss": "p", "sub": "ann", "exp": 1 }));
        assert!(is_of_somebody_else(&ann, &of(json!({ "iss": "p", "sub": "bob" }))));
        assert!(!is_of_somebody_else(&ann, &of(json!({ "iss": "p", "sub": "ann", "exp": 2 }))));
        for unknown in [json!({}), of(json!({ "iss": "p" })), json!({ "id_token": "nonsense" })] {
            assert!(!is_of_somebody_else(&ann, &unknown) && !is_of_somebody_else(&unknown, &ann));
        }
    }

    #[test]
    fn a_token_may_end_another_grant_of_its_client_unless_that_is_known_to_be_of_another_account() {
        let of = |sub: &str| {
            let claims = URL_SAFE_NO_PAD.encode(json!({ "iss": "p", "sub": sub }).to_string());
            json!({ "access_token": "A", "id_token": format!("e30.{claims}.x") })
        };
        let at = |account: &str| {
            let mut token = json!({ "access_token": "A" });
            let account = ProviderAccount {
                id: account.to_owned(),
                name: account.to_owned(),
                base_url: None,
                is_default: false,
                counted_as: account.to_owned(),
            };
            let reach = Reach {
                accounts: vec![account],
                chosen: None,
            };
            put_reach(&mut token, &reach);
            token
        };
        let unknown = json!({ "access_token": "A" });
        let kept = |token: &Value| Owed::from_bytes(&Owed::of(&provider(&[]), token, Party::default()).unwrap().to_bytes()).unwrap();
        for (before, after, may_end) in [
            (&unknown, &unknown, true),
            (&of("ann"), &unknown, true),
            (&of("ann"), &of("ann"), true),
            (&of("ann"), &of("bob"), false),
            (&at("globex"), &unknown, true),
            (&at("globex"), &at("globex"), true),
            (&at("globex"), &at("initech"), false),
        ] {
            assert_eq!(kept(before).may_end(&provider(&[]), after), may_end, "{before} {after}");
        }
        for another in [
            ("clientId", "another"),
            ("revokeUrl", "https://elsewhere.example/revoke"),
            ("revokeUrl", ""),
        ] {
            assert!(!kept(&unknown).may_end(&provider(&[another]), &unknown), "{another:?}");
        }
    }

    #[test]
    fn a_supplied_token_is_known_by_its_refresh_token() {
        let supplied = json!({ "access_token": "A1", "refresh_token": "R1" });
        assert!(is_as_supplied(&json!({ "access_token": "A2", "refresh_token": "R1" }), &supplied));
        assert!(!is_as_supplied(&json!({ "access_token": "A2", "refresh_token": "R2" }), &supplied));
        assert!(is_as_supplied(&json!({ "access_token": "A1" }), &json!({ "accessToken": "A1" })));
        assert!(!is_as_supplied(&json!({ "access_token": "A1" }), &json!({})));
    }
}
