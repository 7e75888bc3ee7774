//! A request as the trigger payload that steps see.
//!
//! Completed when the execution starts and never stored completed: the request is stored as it came, the names are
//! those of today. Pure; parsing is bounded in depth and in parts.

mod body;
pub mod json;

use crate::expression::Results;
use crate::js::exact_json;
pub(crate) use body::{BASE64, UTF8, text_or_base64};
pub use body::{is_json, is_parsed, parse_body, parse_json};
use perseat_domain::entry::TriggerRequest;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use zeroize::Zeroizing;

/// The API keys that senders to each flow may show, by flow name; flows without any are left out. Zeroed when dropped, never
/// shown by `Debug`; shared, not copied.
#[derive(Default, PartialEq, Eq)]
pub struct ApiKeys(BTreeMap<String, Vec<Zeroizing<String>>>);

impl ApiKeys {
    /// These keys.
    #[must_use]
    pub const fn new(keys: BTreeMap<String, Vec<Zeroizing<String>>>) -> Self {
        Self(keys)
    }

    /// Every key.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.values().flatten().map(|key| key.as_str())
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Serialize for ApiKeys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn texts(keys: &[Zeroizing<String>]) -> Vec<&str> {
            keys.iter().map(|key| key.as_str()).collect()
        }
        serializer.collect_map(self.0.iter().map(|(flow, keys)| (flow, texts(keys))))
    }
}

/// Names and addresses of one execution, as scripts and the payload have them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowContext {
    /// The execution's global id.
    pub execution_id: String,
    /// The URL that was called.
    pub invoke_url: String,
    /// When the attempt began, RFC 3339 in UTC.
    pub started_at: String,
    /// What it shares with every other execution of its user and flow.
    #[serde(flatten)]
    pub names: Arc<FlowNames>,
    /// See [`FlowContext::json`].
    #[serde(skip)]
    pub written: Written,
}

/// The part of a [`FlowContext`] that is the same for each execution of a user's flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowNames {
    /// URLs by flow name.
    pub webhook_urls: Arc<BTreeMap<String, String>>,
    /// The API keys that senders to each flow may show.
    pub webhook_api_keys: Arc<ApiKeys>,
    /// The customer.
    pub customer: CustomerInfo,
    /// The instance.
    pub instance: InstanceInfo,
    /// The user; `null` without ULC.
    pub user: Option<UserInfo>,
    /// The integration.
    pub integration: IntegrationInfo,
    /// The flow.
    pub flow: FlowInfo,
    /// See [`FlowContext::json`].
    #[serde(skip)]
    pub written: Written,
}

/// JSON, once it was asked for.
#[derive(Clone, Default)]
pub struct Written(OnceLock<Zeroizing<String>>);

impl PartialEq for Written {
    /// It follows from the rest.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Written {}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It holds API keys.
        f.write_str("Written")
    }
}

/// What of a [`FlowContext`] differs from execution to execution.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Own<'c> {
    execution_id: &'c str,
    invoke_url: &'c str,
    started_at: &'c str,
}

impl FlowContext {
    /// The context of one execution.
    #[must_use]
    pub fn new(execution_id: String, invoke_url: String, started_at: String, names: Arc<FlowNames>) -> Self {
        Self {
            execution_id,
            invoke_url,
            started_at,
            names,
            written: Written::default(),
        }
    }

    /// The context as scripts get it: a JSON object, made once.
    #[must_use]
    pub fn json(&self) -> &str {
        self.written.0.get_or_init(|| {
            let own = Own {
                execution_id: &self.execution_id,
                invoke_url: &self.invoke_url,
                started_at: &self.started_at,
            };
            // Names and addresses of plain text always serialize.
            let own = exact_json(&own).unwrap_or_default();
            let names = self.names.written.0.get_or_init(|| exact_json(&*self.names).unwrap_or_default());
            let mut json = Zeroizing::new(String::with_capacity(own.len() + names.len()));
            json.push_str(own.trim_end_matches('}'));
            json.push(',');
            json.push_str(names.trim_start_matches('{'));
            json
        })
    }
}

/// The customer in a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomerInfo {
    /// Global id.
    pub id: String,
    /// The organization's own id for it.
    pub external_id: Option<String>,
    /// The name.
    pub name: String,
}

/// The instance in a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InstanceInfo {
    /// Global id.
    pub id: String,
    /// The name.
    pub name: String,
}

/// The user in a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserInfo {
    /// Global id.
    pub id: String,
    /// The address, or the subject id where there is none.
    pub email: String,
    /// The name.
    pub name: String,
    /// The host product's id.
    pub external_id: Option<String>,
}

/// The integration in a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IntegrationInfo {
    /// Global id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The version that runs.
    pub version_sequence_id: String,
    /// The version's own name.
    pub external_version: String,
}

/// The flow in a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowInfo {
    /// Its id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The key that survives renames.
    pub stable_id: String,
}

/// Limits of parsing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Lists and objects within one another.
    pub depth: usize,
    /// Parts of a form.
    pub parts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 100, parts: 1000 }
    }
}

/// Why a body is not what its content type says: the sentence of `payload_malformed`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Not JSON.
    #[error("the body is not valid JSON: {0}")]
    Json(String),
    /// Too deep.
    #[error("the body is nested deeper than {0} levels")]
    TooDeep(usize),
    /// Not multipart.
    #[error("the body is not valid multipart: {0}")]
    Multipart(String),
    /// Too many parts.
    #[error("the body has more than {0} parts")]
    TooManyParts(usize),
}

/// The trigger's results, written as JSON: of most requests only a script reads them. A JSON body goes in as it came.
///
/// # Errors
/// See [`PayloadError`].
pub fn trigger_payload(request: &TriggerRequest, context: &FlowContext, limits: Limits) -> Result<Results, PayloadError> {
    let content_type = header(request, "content-type");
    let names = context.json().trim_start_matches('{');
    let mut out = Vec::with_capacity(3 * request.body.len() + names.len() + 1024);
    let raw = (!request.body.is_empty()).then(|| text_or_base64(&request.body));
    let head = Head {
        headers: Joined(&request.headers),
        query_parameters: query(request),
        path_fragment: &request.path_fragment,
        global_debug: request.debug,
    };
    push(&mut out, &head);
    // The object goes on where the head ended it.
    out.pop();
    let raw_body = out.len() + 1;
    out.extend_from_slice(b",\"rawBody\":{\"contentType\":");
    push(&mut out, &content_type);
    out.extend_from_slice(b",\"data\":");
    match raw {
        Some(text) => push_text(&mut out, &text),
        None => out.extend_from_slice(b"null"),
    }
    let body = out.len() + 2;
    out.extend_from_slice(b"},\"body\":{\"contentType\":");
    push(&mut out, &content_type);
    out.extend_from_slice(b",\"data\":");
    if content_type.is_some_and(is_json) && json::check(&request.body, limits.depth).is_ok() {
        out.extend_from_slice(&request.body);
    } else {
        push(&mut out, &parse_body(content_type, &request.body, limits)?);
    }
    // The names bring the object's end with them.
    out.extend_from_slice(b"},");
    let behind = out.len() - 1;
    out.extend_from_slice(names.as_bytes());
    // Kept as long as the execution runs.
    if out.capacity() > out.len() + out.len() / 2 {
        out.shrink_to_fit();
    }
    // Whoever asks for a header does not look through the bodies.
    Ok(Results::of_json(out.into()).with_index(|text| {
        let head = json::members(text).take_while(|(_, place)| *place < raw_body);
        let bodies = [("rawBody".into(), raw_body), ("body".into(), body)];
        let names = json::members(context.json().as_bytes()).map(|(key, place)| (key, behind + place));
        json::Index::of_object(head.chain(bodies).chain(names))
    }))
}

/// What the payload of a body takes at most, nearly: the body, and what it comes to as a JSON string twice. Where that is no more than
/// `unless` in any case, the body is not looked at.
#[must_use]
pub fn payload_bytes(body: &[u8], unless: usize) -> usize {
    let most = body.len().saturating_mul(1 + 2 * ESCAPED);
    if most <= unless {
        return most;
    }
    let escaped = body.iter().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        0..0x20 => ESCAPED,
        _ => 1,
    });
    body.len() + 2 * escaped.sum::<usize>()
}

/// The longest that a byte becomes in a JSON string.
const ESCAPED: usize = 6;

/// What the payload begins with.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'r> {
    headers: Joined<'r>,
    query_parameters: Map<String, Value>,
    path_fragment: &'r str,
    global_debug: bool,
}

/// Headers by name; one that came again is joined by a comma, as HTTP defines.
struct Joined<'r>(&'r [(String, String)]);

impl Serialize for Joined<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut joined: Vec<(&str, Cow<'_, str>)> = Vec::with_capacity(self.0.len());
        for (name, value) in self.0 {
            match joined.iter_mut().find(|(earlier, _)| earlier == name) {
                Some((_, values)) => values.to_mut().extend([", ", value]),
                None => joined.push((name, Cow::Borrowed(value))),
            }
        }
        serializer.collect_map(joined)
    }
}

/// Appends JSON; what has text for keys always serializes.
fn push(out: &mut Vec<u8>, value: &impl Serialize) {
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.extend_from_slice(b"null");
    }
}

/// Appends text as a JSON string. Of a JSON body every fifth byte is a quote: copying what stands between them piece by piece
/// costs more than looking at each byte.
fn push_text(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + text.len() / 4 + 2);
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(*b"\\n"),
            b'\r' => out.extend(*b"\\r"),
            b'\t' => out.extend(*b"\\t"),
            0..0x20 => out.extend(format!("\\u{byte:04x}").bytes()),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The first header of this name.
fn header<'r>(request: &'r TriggerRequest, wanted: &str) -> Option<&'r str> {
    let found = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    found.map(|(_, value)| value.as_str())
}

/// Query parameters by name; of one that came again, the last.
fn query(request: &TriggerRequest) -> Map<String, Value> {
    let pairs = form_urlencoded::parse(request.query.as_bytes());
    pairs
        .map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_payload_has_every_part_of_the_request_and_the_names() {
        let request = TriggerRequest {
            method: "POST".into(),
            headers: vec![
                ("content-type".into(), "application/json".into()),
                ("x-a".into(), "1".into()),
                ("x-a".into(), "2".into()),
            ],
            query: "q=1&r=a%20b&q=2".into(),
            path_fragment: "orders/7".into(),
            invoke_url: "https://hooks.example/trigger/x".into(),
            body: Bytes::from_static(b"{\"n\": 1}"),
            debug: true,
        };
        let names = FlowNames {
            customer: CustomerInfo {
                id: "Q3U=".into(),
                external_id: Some("acme".into()),
                name: "Acme".into(),
            },
            ..FlowNames::default()
        };
        let url = "https://hooks.example/trigger/x?a=\"}}".to_owned();
        let context = FlowContext::new("RXg=".into(), url, "2026-01-01T00:00:00Z".into(), Arc::new(names));
        let written: Value = serde_json::from_str(context.json()).unwrap();
        assert_eq!(written, serde_json::to_value(&context).unwrap(), "joined from its two parts");
        let payload = trigger_payload(&request, &context, Limits::default()).unwrap().value();
        assert_eq!(payload["headers"], json!({ "content-type": "application/json", "x-a": "1, 2" }));
        assert_eq!(payload["queryParameters"], json!({ "q": "2", "r": "a b" }));
        assert_eq!(payload["body"], json!({ "data": { "n": 1 }, "contentType": "application/json" }));
        assert_eq!(
            payload["rawBody"],
            json!({ "data": "{\"n\": 1}", "contentType": "application/json" })
        );
        assert_eq!(payload["pathFragment"], "orders/7");
        assert_eq!(payload["customer"], json!({ "id": "Q3U=", "externalId": "acme", "name": "Acme" }));
        assert_eq!(payload["user"], Value::Null, "without ULC there is no user");
        assert_eq!(payload["globalDebug"], true);
        for name in [
            "webhookUrls",
            "webhookApiKeys",
            "invokeUrl",
            "executionId",
            "instance",
            "integration",
            "flow",
            "startedAt",
        ] {
            assert!(payload.get(name).is_some(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn text_is_read_back_as_it_was(text in r#"[\x00-\x7f"\\\u{7f}-\u{10ffff}]{0,40}"#) {
            let mut json = Vec::new();
            push_text(&mut json, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn api_keys_are_part_of_the_payload_and_never_of_debug_output() {
        let keys = BTreeMap::from([("Import".to_owned(), vec![Zeroizing::new("key-0001".to_owned())])]);
        let names = FlowNames {
            webhook_api_keys: Arc::new(ApiKeys::new(keys)),
            ..FlowNames::default()
        };
        let context = FlowContext::new(String::new(), String::new(), String::new(), Arc::new(names));
        assert!(context.json().contains("key-0001"));
        assert_eq!(
            serde_json::to_value(&context).unwrap()["webhookApiKeys"],
            json!({ "Import": ["key-0001"] })
        );
        assert!(!format!("{context:?}").contains("key-0001"));
    }

    #[test]
    fn a_request_without_body_has_null_data() {
        let request = TriggerRequest {
            method: "GET".into(),
            headers: Vec::new(),
            query: String::new(),
            path_fragment: String::new(),
            invoke_url: String::new(),
            body: Bytes::new(),
            debug: false,
        };
        let payload = trigger_payload(&request, &FlowContext::default(), Limits::default())
            .unwrap()
            .value();
        assert_eq!(payload["body"], json!({ "data": null, "contentType": null }));
        assert_eq!(payload["rawBody"], json!({ "data": null, "contentType": null }));
    }
}
