//! From the `Authorization` header to an actor. Fails closed.

use super::Desk;
use http::{HeaderMap, StatusCode, header};
use perseat_admin::actor::Actor;
use perseat_admin::identity::embedded::{self, Sight};
use perseat_admin::identity::{IdentityError, sessions, tokens};

/// Why nobody was recognised.
#[derive(Debug)]
pub(super) struct Unknown {
    pub(super) status: StatusCode,
    pub(super) message: &'static str,
}

impl From<IdentityError> for Unknown {
    fn from(error: IdentityError) -> Self {
        let (status, message) = match &error {
            IdentityError::Refused(message) => (StatusCode::UNAUTHORIZED, *message),
            IdentityError::Conflict(message) => (StatusCode::CONFLICT, *message),
            IdentityError::Store(error) => {
                tracing::error!(error = error as &dyn std::error::Error, "a bearer could not be checked");
                (StatusCode::INTERNAL_SERVER_ERROR, "The bearer could not be checked.")
            }
        };
        Self { status, message }
    }
}

/// What a request brings; it is not looked at yet.
pub(super) fn of(headers: &HeaderMap) -> Result<&str, Unknown> {
    let missing = || Unknown::from(IdentityError::Refused("Authentication is required."));
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(missing());
    };
    let (scheme, bearer) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing());
    }
    Ok(bearer.trim())
}

/// Who holds this bearer. Blocks on the disk.
pub(super) fn recognise(desk: &Desk, bearer: &str) -> Result<Actor, Unknown> {
    let now = desk.now();
    if bearer.starts_with(tokens::PREFIX) {
        return Ok(tokens::recognise(desk.catalog(), bearer, now)?);
    }
    if bearer.starts_with(sessions::ACCESS_PREFIX) {
        return Ok(sessions::recognise(desk.custody(), bearer, now)?);
    }
    match embedded::recognise(desk.catalog(), bearer, now)? {
        Sight::Known(actor) => Ok(actor),
        Sight::New(verified) => Ok(desk.write_down(&verified)?),
    }
}
