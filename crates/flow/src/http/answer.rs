//! An answer as the step's result.

use super::Bounds;
use super::request::{Call, ResponseType};
use crate::component::{StepError, too_large};
use crate::expression::Results;
use crate::outbound::Response;
use crate::payload::{self, BASE64, text_or_base64};
use ::http::header::CONTENT_TYPE;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use perseat_domain::code::ErrorCode;
use serde_json::{Map, Value, json};

/// The longest body that an error carries with it.
const MAX_ERROR_DATA: usize = 16 << 10;

/// The body as data, or with `includeFullResponse` `{data, status, statusText, headers}`. A status that is no
/// success is a failure unless the step asked for the full answer.
pub(super) fn read(call: &Call, response: &Response, bounds: Bounds) -> Result<Results, StepError> {
    let depth = bounds.json_depth;
    let is_error = !response.status.is_success();
    if is_error && !call.full_response {
        return Err(status_error(call, response, depth));
    }
    // Before anything is made of it: a tree takes much more than its text.
    too_large(response.body.len(), bounds.max_result)?;
    let is_json = call.response_type == ResponseType::Json && payload::json::check(&response.body, depth).is_ok();
    // A JSON body is its own stored form.
    let data = match is_json {
        true => response.body.clone(),
        false => data(call.response_type, response, depth).to_string().into(),
    };
    if !call.full_response {
        return Ok(Results::of_json(data));
    }
    let around = json!({
        "status": response.status.as_u16(),
        "statusText": response.status.canonical_reason().unwrap_or_default(),
        "headers": headers(response),
    })
    .to_string();
    let full = [br#"{"data":"#, data.as_ref(), b",", &around.as_bytes()[1..]].concat();
    Ok(Results::of_json(full.into()))
}

fn limits(depth: usize) -> payload::Limits {
    payload::Limits {
        depth,
        ..payload::Limits::default()
    }
}

fn data(kind: ResponseType, response: &Response, depth: usize) -> Value {
    match kind {
        _ if response.body.is_empty() => Value::Null,
        ResponseType::Json => payload::parse_json(&response.body, limits(depth)).unwrap_or_else(|_| text_or_base64(&response.body).into()),
        ResponseType::Text => Value::from(String::from_utf8_lossy(&response.body)),
        ResponseType::Binary => {
            let content_type = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            json!({ "data": STANDARD.encode(&response.body), "contentType": content_type, "encoding": BASE64 })
        }
    }
}

fn headers(response: &Response) -> Value {
    let mut joined: Map<String, Value> = Map::new();
    for (name, value) in &response.headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        match joined.get_mut(name.as_str()) {
            Some(Value::String(earlier)) => {
                earlier.push_str(", ");
                earlier.push_str(&text);
            }
            _ => {
                joined.insert(name.as_str().to_owned(), Value::from(text));
            }
        }
    }
    Value::Object(joined)
}

fn status_error(call: &Call, response: &Response, depth: usize) -> StepError {
    let status = response.status;
    let is_retryable = status.is_server_error() || status.as_u16() == 429;
    let data = if response.body.len() <= MAX_ERROR_DATA {
        data(ResponseType::Json, response, depth)
    } else {
        Value::Null
    };
    StepError {
        code: ErrorCode::StepFailed,
        message: format!("{} answered {status}", call.display()),
        is_retryable,
        detail: Some(Box::new(json!({ "status": status.as_u16(), "data": data }))),
    }
}
