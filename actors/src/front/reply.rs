//! Makes answers: receipts, results, refusals.

use super::FrontShared;
use super::address::network_of;
use super::error::{retry_after, sentence, status};
use super::memory::Claim;
use super::options::FrontOptions;
use crate::admission::Overload;
use crate::waiters;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::{EndStatus, SyncResponse};
use perseat_domain::id::ExecutionId;
use perseat_domain::route::{Method, TriggerReply};
use std::net::IpAddr;
use std::time::Duration;

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

const EXECUTION_ID: HeaderName = HeaderName::from_static("prismatic-executionid");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Headers that no flow sets: those that describe the connection or the framing, and those by which one answer speaks for its
/// whole host, where people sign in.
const OURS: [HeaderName; 15] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::ALT_SVC,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("nel"),
];

/// Why a request gets no 2xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    /// The execution, where one was recorded.
    pub(super) execution: Option<ExecutionId>,
    /// Instead of the code's own sentence.
    pub(super) message: Option<String>,
    /// When to try again, instead of the code's own time.
    pub(super) retry_after: Option<Duration>,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            execution: None,
            message: None,
            retry_after: None,
        }
    }
}

impl From<Overload> for Refusal {
    fn from(overload: Overload) -> Self {
        Self {
            retry_after: Some(overload.retry_after),
            ..ErrorCode::RateLimited.into()
        }
    }
}

impl Refusal {
    pub(super) fn of(code: ErrorCode, execution: ExecutionId) -> Self {
        Self {
            execution: Some(execution),
            ..code.into()
        }
    }

    pub(super) fn body(&self) -> String {
        let sentence = self.message.as_deref().unwrap_or_else(|| sentence(self.code));
        let error = serde_json::Value::from(sentence);
        let code = self.code;
        match self.execution {
            Some(execution) => format!(r#"{{"error":{error},"code":"{code}","executionId":"{}"}}"#, execution.global()),
            None => format!(r#"{{"error":{error},"code":"{code}"}}"#),
        }
    }

    pub(super) fn answer(&self, options: &FrontOptions) -> Answer {
        let code = self.code;
        let mut answer = json(status(code), self.body().into());
        let headers = answer.headers_mut();
        if let Some(execution) = self.execution {
            set_execution(headers, execution);
        }
        if let Some(wait) = self.retry_after.or_else(|| retry_after(code, options)) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if code == ErrorCode::MethodNotAllowed {
            headers.insert(header::ALLOW, HeaderValue::from_static(Method::ALLOWED));
        }
        answer
    }
}

/// The value of a `Retry-After` header: not before the time has passed, and at least one.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// The receipt of an asynchronous call, in the form that the trigger names.
pub(super) fn receipt(execution: ExecutionId, reply: Option<&TriggerReply>, options: &FrontOptions) -> Answer {
    const BEFORE: &str = r#"{"executionId":""#;
    let id = execution.global();
    let body = Bytes::from([BEFORE, &id, r#""}"#].concat());
    let id = body.slice(BEFORE.len()..BEFORE.len() + id.len());
    let mut answer = json(StatusCode::OK, body);
    // Base64 is always a valid header value.
    if let Ok(value) = HeaderValue::from_maybe_shared(id) {
        answer.headers_mut().insert(EXECUTION_ID, value);
    }
    if let Some(reply) = reply {
        shape(&mut answer, reply, options);
    }
    answer
}

fn shape(answer: &mut Answer, reply: &TriggerReply, options: &FrontOptions) {
    if let Some(status) = reply.status.and_then(|status| StatusCode::from_u16(status).ok()) {
        *answer.status_mut() = status;
    }
    if let Some(body) = &reply.body {
        answer.headers_mut().remove(header::CONTENT_TYPE);
        *answer.body_mut() = Full::from(Bytes::copy_from_slice(body.as_bytes()));
    }
    // What is accepted has to be answered: headers past the limits are left out.
    let mut bytes = 0;
    let fits = |(name, value): &&(String, String)| {
        bytes += name.len() + value.len() + 4;
        bytes <= options.max_header_bytes
    };
    let headers = reply.headers.iter().take(options.max_headers).take_while(fits);
    say(answer.headers_mut(), headers, reply.content_type.as_deref().unwrap_or_default());
}

/// The answer to a synchronous caller.
pub(super) fn ended(front: &FrontShared, client: IpAddr, execution: ExecutionId, note: waiters::Answer) -> Answer {
    let refusal = match (note.status, note.response) {
        (EndStatus::Succeeded, Some(response)) => match result(front, client, execution, response) {
            Ok(answer) => return answer,
            Err(code) => Refusal::of(code, execution),
        },
        (EndStatus::Succeeded, None) => {
            let mut answer = Answer::default();
            set_execution(answer.headers_mut(), execution);
            return answer;
        }
        (status, _) => {
            let code = note.code.unwrap_or(match status {
                EndStatus::Cancelled => ErrorCode::Cancelled,
                EndStatus::Quarantined => ErrorCode::Quarantined,
                _ => ErrorCode::StepFailed,
            });
            Refusal {
                message: note.message,
                ..Refusal::of(code, execution)
            }
        }
    };
    refusal.answer(front.options())
}

fn result(front: &FrontShared, client: IpAddr, execution: ExecutionId, response: SyncResponse) -> Result<Answer, ErrorCode> {
    let options = front.options();
    if response.headers.len() > options.max_headers || response.header_bytes() > options.max_header_bytes {
        return Err(ErrorCode::ResultTooLarge);
    }
    let room = front.answer_memory.try_claim(network_of(client), response.body.len());
    let room = room.ok_or(ErrorCode::ResultNotSent)?;
    let body = Bytes::from_owner(Held {
        bytes: response.body,
        _room: room,
    });
    let mut answer = Response::new(Full::from(body));
    // A status that is no final answer would leave the client waiting.
    let status = StatusCode::from_u16(response.status)
        .ok()
        .filter(|status| (200..600).contains(&status.as_u16()));
    *answer.status_mut() = status.unwrap_or(StatusCode::OK);
    let headers = answer.headers_mut();
    say(headers, response.headers.iter(), &response.content_type);
    set_execution(headers, execution);
    Ok(answer)
}

/// A result with its share of `front.answer-memory`: both fall free when the last of it is written, or its connection ends.
struct Held {
    bytes: Bytes,
    _room: Claim,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Adds what a flow says, as far as it is valid and a flow's to say. A browser that shows the answer runs nothing of it and gives it no
/// origin: where people sign in may have the same host.
fn say<'a>(headers: &mut HeaderMap, said: impl Iterator<Item = &'a (String, String)>, content_type: &str) {
    for (name, value) in said {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) else {
            continue;
        };
        if name == header::CONTENT_TYPE {
            headers.insert(name, value);
        } else if !OURS.contains(&name) && name != EXECUTION_ID {
            headers.append(name, value);
        }
    }
    if !content_type.is_empty()
        && let Ok(content_type) = HeaderValue::from_str(content_type)
    {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    headers.entry(header::CONTENT_TYPE).or_insert(TEXT);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Of several policies each holds: a flow's own loosens nothing.
    headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
}

fn set_execution(headers: &mut HeaderMap, execution: ExecutionId) {
    if let Ok(value) = HeaderValue::from_str(&execution.global()) {
        headers.insert(EXECUTION_ID, value);
    }
}

fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON);
    answer
}

/// Tells the client that the connection ends with this answer.
pub(super) fn close(answer: &mut Answer) {
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}
