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
    let bytes = request.body.bytes;
    let not_shown = match &request.body.text {
        Some(_) if request.body.is_cut => format!("{bytes} bytes are more than `history.shown-bytes` shows"),
        None if bytes > 0 => format!("{bytes} bytes that are no text"),
        None => return json!({ "data": null, "contentType": content_type }),
        Some(text) if content_type.contains("json") => {
            let data = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()));
            return json!({ "data": data, "contentType": content_type });
        }
        Some(text) => return json!({ "data": text, "contentType": content_type }),
    };
    // Null alone would be taken for what the sender sent.
    json!({ "data": null, "contentType": content_type, "notShown": not_shown })
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_store::executions::BodyView;

    fn shown(content_type: &str, bytes: usize, text: Option<&str>, is_cut: bool) -> Value {
        body(&TriggerView {
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
        assert_eq!(shown(json_type, 7, Some("{\"a\":1}"), false), of(json!({ "a": 1 }), json_type));
        assert_eq!(shown("text/plain", 1, Some("x"), false), of(json!("x"), "text/plain"));
        assert_eq!(shown(json_type, 0, None, false), of(Value::Null, json_type));
        for hidden in [shown(json_type, 70_000, Some("{"), true), shown("image/png", 9, None, false)] {
            assert_eq!(hidden["data"], Value::Null);
            assert!(hidden["notShown"].as_str().is_some_and(|text| text.contains("bytes")), "{hidden}");
        }
    }
}
