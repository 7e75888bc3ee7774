//! Tokens: what a code or a refresh token is exchanged for, and their end.

use super::grant::{Grant, Shown};
use super::request::{APPLICATION, COMMAND_LINE, one, pairs};
use super::{Asking, SignIn, lock};
use crate::boot::http::{Answer, json};
use crate::control::limits::client_key;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use perseat_admin::actor::Actor;
use perseat_admin::fault::Fault;
use perseat_admin::identity::sessions::{self, Presented};
use perseat_admin::identity::{IdentityError, accounts};
use perseat_domain::account::{Client, Session};
use perseat_store::catalog::Lookup as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

/// Why there is no token: OAuth's word, and a sentence.
struct Refused(StatusCode, &'static str, &'static str);

impl Refused {
    fn request(sentence: &'static str) -> Self {
        Self(StatusCode::BAD_REQUEST, "invalid_request", sentence)
    }

    fn grant() -> Self {
        Self(
            StatusCode::BAD_REQUEST,
            "invalid_grant",
            "The grant is wrong, was used, or has expired.",
        )
    }

    fn failure(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a token could not be made");
        Self(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "The server failed.")
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Stale | Fault::Absent(_) => Self::grant(),
            fault => Self::failure(&fault),
        }
    }
}

impl From<IdentityError> for Refused {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Store(error) => Self::failure(&error),
            IdentityError::Refused(_) | IdentityError::Conflict(_) => Self::grant(),
        }
    }
}

/// The body of `/auth/refresh` and `/auth/revoke`.
#[derive(Default, Deserialize)]
struct Presenting {
    refresh_token: Option<SecretString>,
    tenant_id: Option<String>,
}

fn told(outcome: Result<Value, Refused>) -> Answer {
    let (status, body) = match outcome {
        Ok(body) => (StatusCode::OK, body),
        Err(Refused(status, error, sentence)) => (status, json!({ "error": error, "error_description": sentence })),
    };
    let mut answer = json(status, &body);
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}

impl SignIn {
    /// `POST /oauth/token`.
    pub(super) fn token(&self, asking: &Asking) -> Answer {
        told(self.exchange(asking))
    }

    fn may_ask(&self, asking: &Asking) -> Result<(), Refused> {
        let has_left = self.memory.tokens.take(&client_key(asking.client), self.desk.uptime());
        let refused = Refused(StatusCode::TOO_MANY_REQUESTS, "slow_down", "Too many requests.");
        if has_left { Ok(()) } else { Err(refused) }
    }

    fn exchange(&self, asking: &Asking) -> Result<Value, Refused> {
        self.may_ask(asking)?;
        let fields = pairs(&asking.body);
        let get = |name: &str| one(&fields, name).map_err(|()| Refused::request("A parameter is given twice."));
        let client = match get("client_id")? {
            Some(COMMAND_LINE) => Client::CommandLine,
            Some(APPLICATION) => Client::Application,
            _ => return Err(Refused(StatusCode::BAD_REQUEST, "invalid_client", "The client is not known.")),
        };
        match get("grant_type")? {
            Some("authorization_code") => {
                let code = get("code")?.ok_or_else(|| Refused::request("code is missing."))?;
                let grant = self.grant(code)?;
                let fits = grant.client == client
                    && get("redirect_uri")? == Some(grant.redirect_uri.as_str())
                    && get("code_verifier")?.is_some_and(|verifier| grant.challenge.fits(verifier));
                if !fits {
                    tracing::warn!(client = %asking.client, "a code came with the wrong verifier or address, and is of no more use");
                    return Err(Refused::grant());
                }
                self.begin(code, &grant)
            }
            Some("refresh_token") => {
                let token = get("refresh_token")?.ok_or_else(|| Refused::request("refresh_token is missing."))?;
                let token = SecretString::from(token.to_owned());
                self.refresh(asking, &token, Some(client), get("tenant_id")?)
            }
            _ => Err(Refused(
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "grant_type must be authorization_code or refresh_token.",
            )),
        }
    }

    /// What the code stands for. A code that comes again ends what it was exchanged for: somebody else has it, too.
    fn grant(&self, code: &str) -> Result<Grant, Refused> {
        let shown = lock(&self.memory.codes).show(code, self.desk.uptime());
        match shown {
            Shown::Fresh(grant) => Ok(grant),
            Shown::Unknown => Err(Refused::grant()),
            Shown::Again(session) => {
                tracing::warn!("a code was shown again: what it was exchanged for ends");
                if let Some(session) = session {
                    self.end("endReplayedSession", session)?;
                }
                Err(Refused::grant())
            }
        }
    }

    /// Begins a session.
    fn begin(&self, code: &str, grant: &Grant) -> Result<Value, Refused> {
        let (_, actor) = accounts::person(self.desk.catalog(), grant.proven.user)?;
        let options = self.options();
        let (session, token) = self.desk.change(&actor, "signIn", |edit| {
            edit.begin_session(grant.proven, grant.client, options.session_lifetime, options.sessions)
        })?;
        if !lock(&self.memory.codes).used(code, session.id, self.desk.uptime()) {
            self.end("endReplayedSession", session.id)?;
            return Err(Refused::grant());
        }
        self.answer_with(&session, Some(&token))
    }

    /// `POST /auth/refresh`.
    pub(super) fn refresh_by_json(&self, asking: &Asking) -> Answer {
        let refreshed = || {
            self.may_ask(asking)?;
            let body: Presenting = serde_json::from_slice(&asking.body).map_err(|_| Refused::request("Expected JSON."))?;
            let token = body.refresh_token.ok_or_else(|| Refused::request("refresh_token is missing."))?;
            self.refresh(asking, &token, None, body.tenant_id.as_deref())
        };
        told(refreshed())
    }

    fn refresh(&self, asking: &Asking, token: &SecretString, client: Option<Client>, tenant: Option<&str>) -> Result<Value, Refused> {
        let (session, actor) = match sessions::presented(self.desk.catalog(), token, self.desk.now())? {
            Presented::Current(session, actor) => (session, actor),
            Presented::Unknown => return Err(Refused::grant()),
            Presented::Spent(session) => {
                tracing::warn!(client = %asking.client, user = %session.user, "a replaced refresh token was shown: the session ends");
                self.end("endReplayedSession", session.id)?;
                return Err(Refused::grant());
            }
        };
        if client.is_some_and(|client| client != session.client) {
            return Err(Refused::grant());
        }
        let organization = self.desk.catalog().organization().map_err(|error| Refused::failure(&error))?;
        if tenant.is_some_and(|tenant| organization.is_none_or(|organization| organization.id.to_string() != tenant)) {
            return Err(Refused(StatusCode::FORBIDDEN, "access_denied", "There is no such tenant here."));
        }
        if session.client == Client::CommandLine {
            return self.answer_with(&session, None);
        }
        let token = self.desk.change(&actor, "refreshSession", |edit| edit.rotate_session(&session))?;
        self.answer_with(&session, Some(&token))
    }

    fn answer_with(&self, session: &Session, refresh_token: Option<&SecretString>) -> Result<Value, Refused> {
        let (now, lifetime) = (self.desk.now(), self.options().access_lifetime);
        let access = sessions::access_token(self.desk.custody(), session, &self.desk.api_url(""), now, lifetime);
        let access = access.map_err(|error| Refused::failure(&error))?;
        let mut answer = json!({
            "access_token": access.expose_secret(),
            "token_type": "Bearer",
            "expires_in": lifetime.as_secs(),
            "scope": "offline_access",
        });
        if let Some(token) = refresh_token {
            answer["refresh_token"] = token.expose_secret().into();
        }
        Ok(answer)
    }

    fn end(&self, action: &str, session: perseat_domain::id::SessionId) -> Result<(), Refused> {
        let by = Actor::local("local:sign-in");
        self.desk.change(&by, action, |edit| edit.end_session(session))?;
        Ok(())
    }

    /// `POST /auth/revoke`: ends the session of a refresh token, or of the bearer. What is none is ended already.
    pub(super) fn revoke(&self, asking: &Asking) -> Answer {
        told(self.revoked(asking).map(|()| json!({})))
    }

    fn revoked(&self, asking: &Asking) -> Result<(), Refused> {
        self.may_ask(asking)?;
        let body: Presenting = match asking.body.is_empty() {
            true => Presenting::default(),
            false => serde_json::from_slice(&asking.body).map_err(|_| Refused::request("Expected JSON."))?,
        };
        let now = self.desk.now();
        if let Some(token) = body.refresh_token {
            match sessions::presented(self.desk.catalog(), &token, now)? {
                Presented::Current(session, ..) | Presented::Spent(session) => self.end("signOut", session.id)?,
                Presented::Unknown => {}
            }
        }
        if let Some(token) = bearer(&asking.headers) {
            match sessions::session(self.desk.custody(), token, now) {
                Ok(session) => self.end("signOut", session.id)?,
                Err(IdentityError::Store(error)) => return Err(Refused::failure(&error)),
                Err(_) => {}
            }
        }
        Ok(())
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
