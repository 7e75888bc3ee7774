//! Puts a connection's credential on a request.

use crate::component::{StepError, bad};
use crate::expression::Connection;
use crate::outbound::{ClientIdentity, IdentityError, Response, is_of_the_connection};
use ::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::ActionRef;
use perseat_domain::grant::Obstacle;
use serde_json::Value;
use std::sync::Arc;
use url::Url;
use zeroize::Zeroizing;

/// The credential in the place its kind says: an OAuth 2.0 access token or a bearer token in `Authorization`, user
/// name and password as Basic, an API key in `Authorization`, in the header `headerName` or in the query parameter
/// `queryParam`. A client certificate is not part of the request: see [`identity`].
pub(super) fn apply(connection: &Connection, headers: &mut HeaderMap, url: &mut Url) -> Result<(), StepError> {
    if let Some(obstacle) = connection.obstacle {
        return Err(not_ready(connection, obstacle));
    }
    let field = |name| connection.field(name).filter(|text| !text.is_empty());
    if let Some(token) = connection.token("access_token").filter(|text| !text.is_empty()) {
        return set(headers, AUTHORIZATION, &format!("Bearer {token}"));
    }
    if let (Some(user), Some(password)) = (field("username"), connection.field("password")) {
        let pair = Zeroizing::new(format!("{user}:{password}"));
        return set(headers, AUTHORIZATION, &format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    }
    if let Some(token) = field("token") {
        return set(headers, AUTHORIZATION, &format!("Bearer {token}"));
    }
    let Some(key) = field("apiKey") else {
        if is_mutual_tls(&connection.kind) {
            return Ok(());
        }
        let variable = &connection.variable;
        return Err(StepError::fatal(
            ErrorCode::ConnectionNotReady,
            format!("the connection `{variable}` holds no token, password, API key or certificate; connect it again"),
        ));
    };
    if let Some(parameter) = field("queryParam") {
        url.query_pairs_mut().append_pair(parameter, key);
        return Ok(());
    }
    match field("headerName") {
        None => set(headers, AUTHORIZATION, &format!("{} {key}", field("prefix").unwrap_or("Bearer"))),
        Some(name) => {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("the connection's `headerName` is not the name of a header"))?;
            if is_of_the_connection(&name) {
                return Err(bad(format!(
                    "the connection's `headerName` cannot be `{name}`: that header is HTTP's own"
                )));
            }
            let prefix = field("prefix").map_or(String::new(), |prefix| format!("{prefix} "));
            set(headers, name, &format!("{prefix}{key}"))
        }
    }
}

const CERTIFICATE: &str = "certificate";
const PRIVATE_KEY: &str = "privateKey";
const AUTHORITY: &str = "caCertificate";

/// The client certificate of a connection by mutual TLS.
pub(super) fn identity(connection: &Connection) -> Result<Option<Arc<ClientIdentity>>, StepError> {
    if !is_mutual_tls(&connection.kind) {
        return Ok(None);
    }
    let identity = identity_in(|name| connection.field(name)).map_err(|error| {
        let variable = &connection.variable;
        StepError::fatal(
            ErrorCode::ConnectionNotReady,
            format!("the connection `{variable}` cannot be used: {error}"),
        )
    })?;
    Ok(Some(Arc::new(identity)))
}

/// Whether connections of this kind show a client certificate.
#[must_use]
pub fn is_mutual_tls(kind: &ActionRef) -> bool {
    kind.component == "http" && kind.action == "mutualTls"
}

/// The client certificate in these fields of a connection.
///
/// # Errors
/// See [`IdentityError`].
pub fn identity_in<'f>(field: impl Fn(&str) -> Option<&'f str>) -> Result<ClientIdentity, IdentityError> {
    let given = |name| field(name).unwrap_or_default();
    ClientIdentity::read(given(CERTIFICATE), given(PRIVATE_KEY), field(AUTHORITY))
}

/// Whether an answer to the credential says that it is no good: 401, or 403 with `invalid_token` (RFC 6750), in the header or as the
/// body's `error`. Any other 403 is about what may be done, not about who asks.
pub(super) fn is_refused(response: &Response) -> bool {
    const CODE: &str = "invalid_token";
    match response.status {
        _ if response.is_bare => false,
        StatusCode::UNAUTHORIZED => true,
        StatusCode::FORBIDDEN => {
            let challenges = response.headers.get_all(WWW_AUTHENTICATE).iter();
            let in_header = challenges.filter_map(|value| value.to_str().ok()).any(|text| text.contains(CODE));
            let body = (response.body.len() <= MAX_REFUSAL).then(|| serde_json::from_slice::<Value>(&response.body).ok());
            in_header
                || body
                    .flatten()
                    .is_some_and(|body| body.get("error").and_then(Value::as_str) == Some(CODE))
        }
        _ => false,
    }
}

/// The longest body that is looked at for `invalid_token`, in bytes. No key: a refusal is short, and a longer one is an answer.
const MAX_REFUSAL: usize = 16 << 10;

/// Why a step fails that cannot use its connection.
#[must_use]
pub fn not_ready(connection: &Connection, obstacle: Obstacle) -> StepError {
    let variable = &connection.variable;
    match obstacle {
        Obstacle::Consent => StepError::fatal(
            ErrorCode::ConnectionNotReady,
            format!("the connection `{variable}` has to be connected again"),
        ),
        Obstacle::Patience => StepError::passing(
            ErrorCode::ConnectionNotReady,
            format!("the token of the connection `{variable}` has ended and could not be renewed yet"),
        ),
        Obstacle::Moved => StepError::fatal(
            ErrorCode::ConnectionNotReady,
            format!("the connection `{variable}` is another one by now than in the version that the execution began with"),
        ),
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) -> Result<(), StepError> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| bad("the connection's credential holds a character that a header cannot carry"))?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}
