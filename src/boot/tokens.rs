//! What the local socket's routes do with tokens, and what they say of the organization and the audit.

use super::administration::{blocking, refusal};
use super::local::{LocalAnswer, LocalRequest, Router};
use crate::control::Desk;
use http::{Method, StatusCode};
use perseat_admin::actor::Actor;
use perseat_admin::fault::Fault;
use perseat_admin::identity::tokens::{self, NewToken};
use perseat_domain::id::TokenId;
use perseat_domain::model::ApiToken;
use perseat_store::StoreError;
use perseat_store::catalog::{Catalog, Lookup};
use perseat_store::custody::Custody;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use std::sync::Arc;

type Handler = fn(&Desk, &LocalRequest) -> Result<Value, Fault>;

/// Adds the routes.
pub(super) fn routes(desk: &Arc<Desk>, router: Router) -> Router {
    let add = |router: Router, method, path, answer: Handler| {
        let desk = Arc::clone(desk);
        router.route(method, path, move |request: LocalRequest| {
            let desk = Arc::clone(&desk);
            async move { blocking(move || answered(answer(&desk, &request))).await }
        })
    };
    let router = add(router, Method::POST, "/tokens", create);
    let router = add(router, Method::GET, "/tokens", list);
    let router = add(router, Method::POST, "/tokens/{id}/revoke", revoke);
    let router = add(router, Method::GET, "/organization", organization);
    let router = add(router, Method::GET, "/audit", audit);
    add(router, Method::GET, "/audit/verify", verify)
}

pub(super) fn answered(outcome: Result<Value, Fault>) -> LocalAnswer {
    match outcome {
        Ok(value) => (StatusCode::OK, value),
        Err(Fault::Store(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a local request failed");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string())
        }
        Err(fault) => refusal(StatusCode::UNPROCESSABLE_ENTITY, "request_refused", &fault.to_string()),
    }
}

/// Whoever may open the socket.
pub(crate) fn local() -> Actor {
    Actor::local(format!("local:{}", rustix::process::getuid().as_raw()))
}

fn create(desk: &Desk, request: &LocalRequest) -> Result<Value, Fault> {
    let new: NewToken = serde_json::from_slice(&request.body).map_err(|error| Fault::wrong(error.to_string()))?;
    let made = desk.change(&local(), "createToken", |edit| edit.create_token(&new))?;
    let mut shown = described(&made.record);
    shown["token"] = made.token.expose_secret().into();
    Ok(shown)
}

fn list(desk: &Desk, _: &LocalRequest) -> Result<Value, Fault> {
    let found = tokens::list(desk.catalog(), desk.options().local_page)?;
    Ok(json!({ "tokens": found.iter().map(described).collect::<Vec<_>>() }))
}

fn revoke(desk: &Desk, request: &LocalRequest) -> Result<Value, Fault> {
    let id: TokenId = request
        .parameters
        .first()
        .and_then(|id| id.parse().ok())
        .ok_or(Fault::Absent("token"))?;
    let revoked = desk.change(&local(), "revokeToken", |edit| edit.revoke_token(id))?;
    Ok(described(&revoked))
}

fn organization(desk: &Desk, _: &LocalRequest) -> Result<Value, Fault> {
    let organization = desk.catalog().organization()?.ok_or(Fault::Absent("organization"))?;
    Ok(json!({ "id": organization.id.global(), "name": organization.name, "ulcEnabled": organization.ulc_enabled }))
}

fn audit(desk: &Desk, request: &LocalRequest) -> Result<Value, Fault> {
    let parameters = url::form_urlencoded::parse(request.query.as_bytes());
    let after = parameters.into_iter().find(|(name, _)| name == "after");
    let after = after
        .map_or(Ok(0), |(_, after)| after.parse())
        .map_err(|_| Fault::wrong("after is a revision"))?;
    Ok(audit_after(desk.catalog(), after, desk.options().local_page)?)
}

/// At most `limit` audit entries behind a revision, as the command line shows them.
pub(crate) fn audit_after(catalog: &Catalog, after: u64, limit: usize) -> Result<Value, StoreError> {
    let entries = catalog.audit_after(after, limit)?;
    let shown = entries.iter().map(|entry| {
        let records = entry.changes.iter().map(|change| format!("{:?} {:?}", change.kind, change.key));
        json!({
            "revision": entry.revision,
            "at": entry.at,
            "by": entry.by,
            "action": entry.action,
            "count": entry.count,
            "records": records.collect::<Vec<_>>(),
        })
    });
    Ok(json!({ "entries": shown.collect::<Vec<_>>() }))
}

fn verify(desk: &Desk, _: &LocalRequest) -> Result<Value, Fault> {
    Ok(json!({ "entries": desk.catalog().verify_audit_chain()? }))
}

/// A token without what is secret of it.
pub(crate) fn described(token: &ApiToken) -> Value {
    json!({
        "id": token.id.global(),
        "name": token.name,
        "holder": format!("{:?}", token.holder),
        "prefix": token.prefix,
        "issuedAt": token.issued_at,
        "expiresAt": token.expires_at,
        "revokedAt": token.revoked_at,
    })
}

/// Makes a token in a directory that no daemon uses.
pub(crate) fn create_offline(custody: &Custody, limits: perseat_flow::definition::Limits, new: &NewToken) -> Result<Value, Fault> {
    let mut random = super::plane::random;
    let mut desk = perseat_admin::edit::Desk {
        custody,
        definitions: perseat_admin::edit::Definitions::built_in(limits),
        actor: &local(),
        at: perseat_actors::kit::Clock::now(&perseat_actors::kit::RealClock::new()),
        random: &mut random,
    };
    let made = desk.change("createToken", |edit| edit.create_token(new))?.value;
    let mut shown = described(&made.record);
    shown["token"] = made.token.expose_secret().into();
    Ok(shown)
}
