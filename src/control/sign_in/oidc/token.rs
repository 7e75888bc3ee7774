//! Identity tokens: whose signature, for whom, of which sign-in, of what time, and whose address. Every doubt refuses.

use super::OidcError;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use perseat_domain::time::Timestamp;
use serde::Deserialize;
use std::collections::HashSet;
use std::time::Duration;

/// The longest token. No key of the configuration: providers send a few KiB, and the answer that it stands in has a limit of its own.
const MAX_TOKEN: usize = 16_384;

/// A key set as it is sent. Keys of kinds that are not known are none of ours.
#[derive(Deserialize)]
pub(super) struct KeySet {
    keys: Vec<serde_json::Value>,
}

/// The provider's keys.
pub(super) struct Keys(Vec<(Option<String>, DecodingKey)>);

/// What a token has to say.
pub(super) struct Expected<'e> {
    pub(super) issuer: &'e str,
    pub(super) client_id: &'e str,
    pub(super) nonce: &'e str,
    pub(super) now: Timestamp,
    pub(super) leeway: Duration,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Deserialize)]
struct Claims {
    iss: String,
    aud: OneOrMany,
    azp: Option<String>,
    exp: u64,
    iat: u64,
    nbf: Option<u64>,
    nonce: Option<String>,
    email: Option<String>,
    #[serde(default)]
    email_verified: serde_json::Value,
}

/// Which key a token says it is signed with.
pub(super) fn key_id(token: &str) -> Result<Option<String>, OidcError> {
    if token.len() > MAX_TOKEN {
        return Err(OidcError::Wrong("the identity token is too long"));
    }
    let header = decode_header(token).map_err(|_| OidcError::Wrong("the identity token is none"))?;
    match header.alg {
        Algorithm::RS256 => Ok(header.kid),
        _ => Err(OidcError::Wrong("the identity token is not signed with RS256")),
    }
}

impl Keys {
    pub(super) fn of(set: KeySet) -> Self {
        let keys = set.keys.into_iter().filter_map(|key| {
            let key: Jwk = serde_json::from_value(key).ok()?;
            let is_for_signatures = key.common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
            let decoding = DecodingKey::from_jwk(&key).ok().filter(|_| is_for_signatures)?;
            Some((key.common.key_id, decoding))
        });
        Self(keys.collect())
    }

    pub(super) fn has(&self, id: Option<&str>) -> bool {
        self.fitting(id).next().is_some()
    }

    /// The keys of this id; without one, all.
    fn fitting<'k>(&'k self, id: Option<&'k str>) -> impl Iterator<Item = &'k DecodingKey> {
        let fits = move |known: &Option<String>| id.is_none() || known.as_deref() == id;
        self.0.iter().filter(move |(known, _)| fits(known)).map(|(_, key)| key)
    }

    /// The verified address.
    pub(super) fn address(&self, token: &str, id: Option<&str>, expected: &Expected<'_>) -> Result<String, OidcError> {
        let mut validation = Validation::new(Algorithm::RS256);
        // What a token says is judged below, by the time that was passed in.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims = HashSet::new();
        let mut keys = self.fitting(id);
        let claims = keys.find_map(|key| decode::<Claims>(token, key, &validation).ok());
        let claims = claims.ok_or(OidcError::Wrong("the identity token is not signed by it"))?.claims;
        judged(claims, expected)
    }
}

fn judged(claims: Claims, expected: &Expected<'_>) -> Result<String, OidcError> {
    let wrong = |sentence| Err(OidcError::Wrong(sentence));
    if claims.iss != expected.issuer {
        return wrong("the identity token is another's");
    }
    let for_us = match &claims.aud {
        OneOrMany::One(audience) => audience == expected.client_id,
        OneOrMany::Many(audiences) => {
            let has_us = audiences.iter().any(|audience| audience == expected.client_id);
            has_us && (audiences.len() == 1 || claims.azp.as_deref() == Some(expected.client_id))
        }
    };
    if !for_us || claims.azp.as_deref().is_some_and(|party| party != expected.client_id) {
        return wrong("the identity token is for somebody else");
    }
    let (second, leeway) = (expected.now.0 / 1_000, expected.leeway.as_secs());
    if claims.exp.saturating_add(leeway) <= second {
        return wrong("the identity token has expired");
    }
    if claims.iat.max(claims.nbf.unwrap_or_default()) > second.saturating_add(leeway) {
        return wrong("the identity token begins later than now");
    }
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return wrong("the identity token is of another sign-in");
    }
    // Some providers write it as text.
    let is_verified = claims.email_verified == true || claims.email_verified == "true";
    let address = claims.email.filter(|address| is_verified && !address.trim().is_empty());
    address.ok_or(OidcError::Unverified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const SECOND: u64 = 1_800_000_000;

    /// What becomes of a token with this change, at a second.
    fn judge(change: &Value, second: u64) -> Result<String, String> {
        let mut claims = json!({
            "iss": "https://login.example", "aud": "perseat", "iat": SECOND, "exp": SECOND + 300, "nonce": "n",
            "email": "Ann@acme.example", "email_verified": true,
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let claims: Claims = serde_json::from_value(claims).map_err(|error| error.to_string())?;
        let expected = Expected {
            issuer: "https://login.example",
            client_id: "perseat",
            nonce: "n",
            now: Timestamp(second * 1_000),
            leeway: Duration::from_secs(60),
        };
        judged(claims, &expected).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_is_believed_in_its_time_and_for_whom_it_is() {
        let ann = Ok("Ann@acme.example".to_owned());
        assert_eq!(judge(&json!({}), SECOND), ann);
        assert_eq!(judge(&json!({}), SECOND + 359), ann);
        assert!(judge(&json!({}), SECOND + 360).unwrap_err().contains("expired"));
        assert_eq!(judge(&json!({}), SECOND - 60), ann);
        assert!(judge(&json!({}), SECOND - 61).unwrap_err().contains("later than now"));
        assert!(
            judge(&json!({ "nbf": SECOND + 61 }), SECOND)
                .unwrap_err()
                .contains("later than now")
        );
        assert_eq!(judge(&json!({ "aud": ["perseat"] }), SECOND), ann);
        assert_eq!(judge(&json!({ "aud": ["perseat", "other"], "azp": "perseat" }), SECOND), ann);
        assert_eq!(judge(&json!({ "email_verified": "true" }), SECOND), ann);
    }

    #[test]
    fn every_doubt_refuses() {
        for (change, why) in [
            (json!({ "iss": "https://login.example/" }), "another's"),
            (json!({ "aud": "other" }), "somebody else"),
            (json!({ "aud": [] }), "somebody else"),
            (json!({ "aud": ["perseat", "other"] }), "somebody else"),
            (json!({ "azp": "other" }), "somebody else"),
            (json!({ "nonce": null }), "another sign-in"),
            (json!({ "nonce": "" }), "another sign-in"),
            (json!({ "email": null }), "no address"),
            (json!({ "email": " " }), "no address"),
            (json!({ "email_verified": null }), "no address"),
            (json!({ "email_verified": 1 }), "no address"),
            (json!({ "email_verified": "false" }), "no address"),
            (json!({ "exp": null }), "invalid type"),
        ] {
            let refused = judge(&change, SECOND).unwrap_err();
            assert!(refused.contains(why), "{change}: {refused}");
        }
    }

    #[test]
    fn a_token_without_a_signature_or_with_another_kind_of_one_is_none() {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        for alg in ["none", "HS256", "RS384", "ES256"] {
            let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg, "kid": "one" }).to_string());
            assert!(key_id(&format!("{header}.e30.")).is_err(), "{alg}");
        }
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "RS256", "kid": "one" }).to_string());
        assert_eq!(key_id(&format!("{header}.e30.")).unwrap().as_deref(), Some("one"));
        let long = "x".repeat(MAX_TOKEN);
        assert!(key_id(&format!("{header}.{long}.")).is_err());
    }
}
