//! The HTTP replies that steps define: the webhook trigger's and that of `stopExecution`.

use super::StepError;
use super::inputs::{Inputs, bad};
use super::perform::too_large;
use crate::expression::{Scope, text_of};
use bytes::Bytes;
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::Step;
use perseat_domain::entry::SyncResponse;
use serde_json::Value;

/// What a webhook trigger's inputs ask for; what is `None` stays as it is without them: 200 and the execution id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookReply {
    /// The HTTP status.
    pub status: Option<u16>,
    /// The content type.
    pub content_type: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Bytes>,
}

impl WebhookReply {
    /// This reply, and `fallback` where it says nothing.
    #[must_use]
    pub fn over(self, mut fallback: SyncResponse) -> SyncResponse {
        fallback.status = self.status.unwrap_or(fallback.status);
        fallback.headers.extend(self.headers);
        if let Some(body) = self.body {
            fallback.body = body;
        }
        if let Some(content_type) = self.content_type {
            fallback.content_type = content_type;
        }
        fallback
    }
}

/// The reply that a webhook trigger defines for its caller; `None` if it defines none.
///
/// # Errors
/// If an input does not resolve or is not what its name says.
pub fn webhook_reply(trigger: &Step, scope: &Scope) -> Result<Option<WebhookReply>, StepError> {
    let inputs = Inputs::new(trigger, scope);
    let content_type = Some(inputs.text("contentType")?).filter(|text| !text.is_empty());
    let body = Some(inputs.text("body")?).filter(|text| !text.is_empty());
    let reply = WebhookReply {
        status: status(inputs)?,
        content_type: content_type.map(|text| header_text("contentType", text)).transpose()?,
        headers: headers(inputs)?,
        body: body.map(Bytes::from),
    };
    Ok((reply != WebhookReply::default()).then_some(reply))
}

/// The answer to a caller who waits: the reply that a trigger defines, and `results` where it says nothing. It has `most` bytes at most.
///
/// # Errors
/// `expression_invalid` if the reply cannot be made, `result_too_large`.
pub fn webhook_answer(trigger: &Step, scope: &Scope, results: SyncResponse, most: usize) -> Result<SyncResponse, StepError> {
    let reply = webhook_reply(trigger, scope).map_err(|error| {
        let message = format!("the reply of the trigger \"{}\" cannot be made: {error}", trigger.name);
        StepError::fatal(ErrorCode::ExpressionInvalid, message)
    })?;
    let answer = reply.unwrap_or_default().over(results);
    too_large(answer.bytes(), most)?;
    Ok(answer)
}

/// The answer of `stop-execution/stopExecution`.
pub(super) fn stop(inputs: Inputs<'_>) -> Result<SyncResponse, StepError> {
    let body = inputs.value("jsonBody")?;
    let content_type = Some(inputs.text("contentType")?).filter(|text| !text.is_empty());
    Ok(SyncResponse {
        status: status(inputs)?.unwrap_or(200),
        content_type: header_text("contentType", content_type.unwrap_or_else(|| "application/json".into()))?,
        headers: headers(inputs)?,
        body: if body == Value::Null {
            Bytes::new()
        } else {
            text_of(&body).into_owned().into()
        },
    })
}

fn status(inputs: Inputs<'_>) -> Result<Option<u16>, StepError> {
    let Some(number) = inputs.number("statusCode")? else {
        return Ok(None);
    };
    let valid = u16::try_from(number).ok().filter(|status| (200..=599).contains(status));
    valid
        .map(Some)
        .ok_or_else(|| bad(format!("the input `statusCode` is not an HTTP status: {number}")))
}

fn headers(inputs: Inputs<'_>) -> Result<Vec<(String, String)>, StepError> {
    let mut headers = Vec::new();
    for (name, value) in inputs.pairs("headers")? {
        let lower = name.to_ascii_lowercase();
        // The server frames the message; a step must not contradict it.
        let framing = ["content-length", "transfer-encoding", "connection", "content-type"].contains(&lower.as_str());
        if ::http::HeaderName::from_bytes(lower.as_bytes()).is_err() || framing {
            return Err(bad(format!("the header `{name}` cannot be set by a step")));
        }
        headers.push((lower, header_text("headers", text_of(&value).into_owned())?));
    }
    Ok(headers)
}

fn header_text(input: &str, text: String) -> Result<String, StepError> {
    match ::http::HeaderValue::from_str(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(bad(format!("the input `{input}` holds a character that a header cannot carry"))),
    }
}
