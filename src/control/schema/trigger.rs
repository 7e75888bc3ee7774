//! What a trigger gave its flow: the request with who it was for, under the names of today.
//!
//! It is never stored completed, so it is put together again here. Credentials are blanked, a body that is too long to show is
//! left out.

use super::scalars::iso;
use crate::control::Desk;
use perseat_admin::query::Sight;
use perseat_domain::definition::EndpointType;
use perseat_domain::id::{CustomerId, EndpointId, FlowNumber, InstanceId, UserId};
use perseat_domain::model::{Customer, Instance, Integration, IntegrationVersion, User};
use perseat_flow::payload::is_json;
use perseat_store::catalog::Lookup as _;
use perseat_store::executions::{ExecutionSummary, Named, TriggerView};
use serde_json::{Map, Value, json};
use std::str::FromStr;
use std::sync::Arc;

fn id<I: FromStr>(named: Option<&Named>) -> Option<I> {
    named?.id.parse().ok()
}

/// The display name of the execution's trigger; none once its flow is gone.
pub(super) fn name(desk: &Desk, summary: &ExecutionSummary) -> Option<String> {
    let instance = desk.catalog().get::<Instance>(id(summary.instance.as_ref())?).ok()??;
    let number = FlowNumber(id(summary.flow.as_ref())?);
    let running = instance.deployed.as_ref().unwrap_or(&instance.config).version;
    let version = desk.catalog().integration_version(instance.integration, running).ok()??;
    version.definition.flow(number).map(|flow| flow.trigger.name.clone())
}

/// What the trigger gave; without the URLs of a person whose URLs are not to be known.
pub(super) fn result(desk: &Desk, summary: &ExecutionSummary, request: &TriggerView, sight: Sight) -> Value {
    let catalog = desk.catalog();
    let customer = id::<CustomerId>(summary.customer.as_ref()).and_then(|id| catalog.get::<Customer>(id).ok()?);
    let instance = id::<InstanceId>(summary.instance.as_ref()).and_then(|id| catalog.get::<Instance>(id).ok()?);
    let user = id::<UserId>(summary.user.as_ref()).and_then(|id| catalog.get::<User>(id).ok()?);
    let ran = instance.as_ref().and_then(|instance| ran(desk, instance));
    let has_urls = sight == Sight::Whole;
    let urls = match (has_urls, &instance, &ran) {
        (true, Some(instance), Some((integration, version))) => Some(urls(desk, instance, integration, version, user.as_ref())),
        _ => None,
    };
    let query: Map<String, Value> = url::form_urlencoded::parse(request.query.as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into()))
        .collect();
    let headers: Map<String, Value> = request
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    let (body, raw_body) = bodies(request);
    json!({
        "executionId": summary.id.global(),
        "invokeUrl": has_urls.then_some(&request.url),
        "webhookUrls": urls,
        "headers": headers,
        "queryParameters": query,
        "pathFragment": request.path_fragment,
        "body": body,
        "rawBody": raw_body,
        "startedAt": iso(summary.started_at.unwrap_or(summary.accepted_at)),
        "customer": customer.map(|it| json!({ "id": it.id.global(), "externalId": it.external_id, "name": it.name })),
        "instance": instance.map(|it| json!({ "id": it.id.global(), "name": it.name })),
        "integration": ran.map(|(it, version)| json!({
            "id": it.id.global(),
            "name": it.name,
            "versionSequenceId": version.version.to_string(),
            "externalVersion": "",
        })),
        "flow": summary.flow.as_ref().map(|it| json!({ "name": it.name })),
        "user": user.map(|it| json!({
            "id": it.id.global(),
            "email": it.email.or(it.subject).unwrap_or_default(),
            "name": it.name,
            "externalId": it.external_id,
        })),
    })
}

/// What the instance runs today.
fn ran(desk: &Desk, instance: &Instance) -> Option<(Integration, Arc<IntegrationVersion>)> {
    let integration = desk.catalog().get::<Integration>(instance.integration).ok()??;
    let running = instance.deployed.as_ref().unwrap_or(&instance.config).version;
    let version = desk.catalog().integration_version(instance.integration, running).ok()??;
    Some((integration, version))
}

/// Where events of each flow come in, for whom the execution ran.
fn urls(
    desk: &Desk,
    instance: &Instance,
    integration: &Integration,
    version: &IntegrationVersion,
    user: Option<&User>,
) -> Map<String, Value> {
    let config = user.and_then(|user| desk.catalog().user_config_of(instance.id, user.id).ok()?);
    let definition = &version.definition;
    let endpoint = |flow: FlowNumber| match (definition.endpoint_type, &config) {
        (EndpointType::FlowSpecific, Some(config)) => EndpointId::UserFlow(config.id, flow),
        (EndpointType::FlowSpecific, None) => EndpointId::InstanceFlow(instance.id, flow),
        (EndpointType::InstanceSpecific, _) => EndpointId::Instance(instance.id),
        (EndpointType::SharedInstance, _) => EndpointId::Integration(integration.id),
    };
    let flows = definition.flows.iter();
    flows
        .map(|flow| (flow.name.clone(), desk.hook_url(endpoint(flow.number)).into()))
        .collect()
}

/// The body as data, and as it came.
fn bodies(request: &TriggerView) -> (Value, Value) {
    let content_type = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let content_type = content_type.map(|(_, value)| value.as_str());
    let bytes = request.body.bytes;
    let shown = |data: Value| json!({ "data": data, "contentType": content_type });
    let not_shown = match &request.body.text {
        Some(_) if request.body.is_cut => format!("{bytes} bytes are more than `history.shown-bytes` shows"),
        None if bytes > 0 => format!("{bytes} bytes that are no text"),
        Some(text) if bytes > 0 => {
            let data = match content_type {
                Some(content_type) if is_json(content_type) => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str())),
                _ => Value::from(text.as_str()),
            };
            return (shown(data), shown(Value::from(text.as_str())));
        }
        _ => return (shown(Value::Null), shown(Value::Null)),
    };
    // Null alone would be taken for what the sender sent.
    let hidden = json!({ "data": null, "contentType": content_type, "notShown": not_shown });
    (hidden.clone(), hidden)
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_store::executions::BodyView;

    fn shown(content_type: &str, bytes: usize, text: Option<&str>, is_cut: bool) -> (Value, Value) {
        bodies(&TriggerView {
            method: "POST".into(),
            url: String::new(),
            query: String::new(),
            path_fragment: String::new(),
            headers: vec![("Content-Type".into(), content_type.into())],
            body: BodyView {
                bytes,
                text: text.map(str::to_owned),
                is_cut,
            },
        })
    }

    #[test]
    fn a_body_that_is_not_shown_says_so() {
        let of = |data: Value, content_type: &str| json!({ "data": data, "contentType": content_type });
        let json_type = "application/json";
        let both = |data: Value, raw: Value, content_type: &str| (of(data, content_type), of(raw, content_type));
        let text = "{\"a\": 1}";
        assert_eq!(
            shown(json_type, 8, Some(text), false),
            both(json!({ "a": 1 }), json!(text), json_type)
        );
        assert_eq!(shown("text/plain", 1, Some("x"), false), both(json!("x"), json!("x"), "text/plain"));
        assert_eq!(shown(json_type, 0, Some(""), false), both(Value::Null, Value::Null, json_type));
        for (hidden, raw) in [shown(json_type, 70_000, Some("{"), true), shown("image/png", 9, None, false)] {
            assert_eq!(hidden["data"], Value::Null);
            assert!(hidden["notShown"].as_str().is_some_and(|text| text.contains("bytes")), "{hidden}");
            assert_eq!(raw, hidden);
        }
    }
}
