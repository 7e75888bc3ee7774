//! What a trigger gave its flow: the request with who it was for, under the names of today.
//!
//! It is never stored completed, so it is put together again here. Credentials are blanked, a body that is too long to show is
//! left out.

use crate::control::Desk;
use perseat_domain::id::{CustomerId, FlowNumber, InstanceId, UserId};
use perseat_domain::model::{Customer, Instance, User};
use perseat_store::catalog::Lookup as _;
use perseat_store::executions::{ExecutionView, Named, Part, TriggerView};
use serde_json::{Map, Value, json};
use std::str::FromStr;

fn id<I: FromStr>(named: Option<&Named>) -> Option<I> {
    named?.id.parse().ok()
}

/// The display name of the execution's trigger; none once its flow is gone.
pub(super) fn name(desk: &Desk, view: &ExecutionView) -> Option<String> {
    let instance = desk.catalog().get::<Instance>(id(view.summary.instance.as_ref())?).ok()??;
    let number = FlowNumber(id(view.summary.flow.as_ref())?);
    let running = instance.deployed.as_ref().unwrap_or(&instance.config).version;
    let version = desk.catalog().integration_version(instance.integration, running).ok()??;
    version.definition.flow(number).map(|flow| flow.trigger.name.clone())
}

/// What the trigger gave.
pub(super) fn result(desk: &Desk, view: &ExecutionView) -> Option<Value> {
    let Part::Readable(request) = &view.trigger else { return None };
    let catalog = desk.catalog();
    let summary = &view.summary;
    let customer = id::<CustomerId>(summary.customer.as_ref()).and_then(|id| catalog.get::<Customer>(id).ok()?);
    let instance = id::<InstanceId>(summary.instance.as_ref()).and_then(|id| catalog.get::<Instance>(id).ok()?);
    let user = id::<UserId>(summary.user.as_ref()).and_then(|id| catalog.get::<User>(id).ok()?);
    let query: Map<String, Value> = url::form_urlencoded::parse(request.query.as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into()))
        .collect();
    let headers: Map<String, Value> = request
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    Some(json!({
        "executionId": summary.id.global(),
        "invokeUrl": request.url,
        "headers": headers,
        "queryParameters": query,
        "pathFragment": request.path_fragment,
        "body": body(request),
        "customer": customer.map(|it| json!({ "id": it.id.global(), "externalId": it.external_id, "name": it.name })),
        "instance": instance.map(|it| json!({ "id": it.id.global(), "name": it.name })),
        "flow": summary.flow.as_ref().map(|it| json!({ "name": it.name })),
        "user": user.map(|it| json!({
            "id": it.id.global(),
            "email": it.email.or(it.subject).unwrap_or_default(),
            "name": it.name,
            "externalId": it.external_id,
        })),
    }))
}

fn body(request: &TriggerView) -> Value {
    let content_type = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let content_type = content_type.map(|(_, value)| value.as_str()).unwrap_or_default();
    let text = request.body.text.as_deref().filter(|_| !request.body.is_cut);
    let data = match text {
        None => Value::Null,
        Some(text) if content_type.contains("json") => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        Some(text) => text.into(),
    };
    json!({ "data": data, "contentType": content_type })
}
