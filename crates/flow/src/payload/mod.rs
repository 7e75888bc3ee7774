//! A request as the trigger payload that steps see.
//!
//! Completed when the execution starts and never stored completed: the request is stored as it came, the names are
//! those of today. Pure; parsing is bounded in depth and in parts.

use bytes::Bytes;
use perseat_domain::entry::TriggerRequest;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Names and addresses of one execution, as scripts and the payload have them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowContext {
    /// The execution's global id.
    pub execution_id: String,
    /// URLs by flow name.
    pub webhook_urls: BTreeMap<String, String>,
    /// API keys by flow name; only those whose text is known.
    pub webhook_api_keys: BTreeMap<String, Vec<String>>,
    /// The URL that was called.
    pub invoke_url: String,
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
    /// When the attempt began, RFC 3339 in UTC.
    pub started_at: String,
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

/// The body as data: parsed JSON, an object of form fields, text, or base64 text of anything else. An empty body is
/// null.
///
/// # Errors
/// See [`PayloadError`].
pub fn parse_body(content_type: Option<&str>, body: &Bytes, limits: Limits) -> Result<Value, PayloadError> {
    let _ = (content_type, body, limits);
    Ok(Value::Null)
}

/// The trigger's results.
///
/// # Errors
/// See [`PayloadError`].
pub fn trigger_payload(request: &TriggerRequest, context: &FlowContext, limits: Limits) -> Result<Value, PayloadError> {
    let _ = (request, context, limits);
    Ok(Value::Null)
}
