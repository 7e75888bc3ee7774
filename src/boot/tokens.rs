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
use perseat_store::catalog::{Catalog, Lookup, SegmentHash};
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
        Err(fault) => {
            let code = fault.code().unwrap_or("request_refused");
            refusal(StatusCode::UNPROCESSABLE_ENTITY, code, &fault.to_string())
        }
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

fn list(desk: &Desk, request: &LocalRequest) -> Result<Value, Fault> {
    let after = parameter(request, "after").map(|after| after.parse()).transpose();
    let after: Option<TokenId> = after.map_err(|_| Fault::wrong("after is a token"))?;
    let page = tokens::list(desk.catalog(), after, desk.options().local_page)?;
    Ok(json!({
        "tokens": page.items.iter().map(described).collect::<Vec<_>>(),
        "next": page.next.map(|next| next.global()),
    }))
}

fn parameter(request: &LocalRequest, name: &str) -> Option<String> {
    let mut parameters = url::form_urlencoded::parse(request.query.as_bytes());
    parameters.find(|(given, _)| given == name).map(|(_, value)| value.into_owned())
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
    Ok(json!({
        "id": organization.id.global(),
        "name": organization.name,
        "ulcEnabled": organization.ulc_enabled,
        "apiUrl": desk.api_url(""),
    }))
}

fn audit(desk: &Desk, request: &LocalRequest) -> Result<Value, Fault> {
    let after = parameter(request, "after")
        .map_or(Ok(0), |after| after.parse())
        .map_err(|_| Fault::wrong("after is a revision"))?;
    Ok(audit_after(desk.custody(), after, desk.options().local_page)?)
}

/// At most `limit` audit entries behind a revision, as the command line shows them, and behind which there are more.
pub(crate) fn audit_after(custody: &Custody, after: u64, limit: usize) -> Result<Value, StoreError> {
    let mut entries = custody.catalog().audit_after(after, limit.saturating_add(1))?;
    let is_more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| is_more).map(|entry| entry.revision);
    let shown = entries.iter().map(|entry| {
        let records = entry.changes.iter().map(|change| format!("{:?} {:?}", change.kind, change.key));
        let details = custody.details_of(entry)?;
        let details = details.map_or(Ok(Value::Null), |text| serde_json::from_str(&text));
        let segments = entry.segments.iter().map(|segment| described_segment(entry.revision, segment));
        Ok(json!({
            "revision": entry.revision,
            "at": entry.at,
            "by": entry.by,
            "action": entry.action,
            "count": entry.count,
            "records": records.collect::<Vec<_>>(),
            "details": details.unwrap_or_default(),
            "segments": segments.collect::<Vec<_>>(),
        }))
    });
    Ok(json!({ "entries": shown.collect::<Result<Vec<_>, StoreError>>()?, "next": next }))
}

fn described_segment(revision: u64, segment: &SegmentHash) -> Value {
    let hash: String = segment.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "revision": revision, "number": segment.number, "hash": hash })
}

fn verify(desk: &Desk, request: &LocalRequest) -> Result<Value, Fault> {
    let from = parameter(request, "segments")
        .map_or(Ok(u32::MAX), |from| from.parse())
        .map_err(|_| Fault::wrong("segments is the number of the first segment"))?;
    Ok(audit_verified(desk.catalog(), from)?)
}

/// How many entries the intact chain has, and what it says of journal segments from `from` on.
///
/// # Errors
/// If the chain is broken.
pub(crate) fn audit_verified(catalog: &Catalog, from: u32) -> Result<Value, StoreError> {
    let entries = catalog.verify_audit_chain()?;
    let segments = catalog.view()?.segment_hashes(from)?;
    let segments = segments.iter().map(|(revision, segment)| described_segment(*revision, segment));
    Ok(json!({ "entries": entries, "segments": segments.collect::<Vec<_>>() }))
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
