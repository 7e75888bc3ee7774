//! A step's inputs as a request.

use super::auth;
use crate::component::{Data, IdempotencyKey, Inputs, StepError, bad};
use crate::expression::{Connection, text_of};
use crate::outbound::{self, Request};
use crate::payload::{BASE64, UTF8};
use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method};
use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use perseat_domain::usage::Through;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How an answer's body becomes data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseType {
    /// Parsed where it parses, else text.
    Json,
    /// Text.
    Text,
    /// `{data: base64, contentType, encoding}`.
    Binary,
}

/// When to try again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries {
    pub(super) max: u32,
    pub(super) delay: Duration,
    pub(super) exponential: bool,
    pub(super) on_all_errors: bool,
}

/// Everything about one HTTP step.
pub(super) struct Call {
    pub(super) request: Request,
    pub(super) timeout: Option<Duration>,
    pub(super) response_type: ResponseType,
    pub(super) full_response: bool,
    pub(super) debug: bool,
    pub(super) retries: Retries,
    pub(super) connection: Option<Arc<Connection>>,
}

impl Call {
    pub(super) fn read(action: &str, inputs: Inputs<'_>, key: &IdempotencyKey, max_headers: usize) -> Result<Self, StepError> {
        let method = method(action, inputs)?;
        let text = inputs.text("url")?;
        let mut url = Url::parse(text.trim()).map_err(|error| bad(format!("the input `url` is not an address: {error}")))?;
        for (name, value) in inputs.pairs("queryParams")? {
            url.query_pairs_mut().append_pair(&name, &text_of(&value));
        }
        if inputs.flag("ignoreSslErrors")? {
            return Err(bad(
                "`ignoreSslErrors` is not supported: give the server a certificate that the system trusts",
            ));
        }
        let mut headers = headers(inputs, max_headers)?;
        let connection = inputs.connection("connection")?;
        if let Some(connection) = &connection {
            auth::apply(connection, &mut headers, &mut url)?;
        }
        let identity = connection.as_deref().map(auth::identity).transpose()?.flatten();
        let body = body(action, inputs, &mut headers)?;
        headers
            .entry(IDEMPOTENCY_KEY)
            .or_insert(header_value("the idempotency key", &key.request(0))?);
        Ok(Self {
            request: Request {
                method,
                url,
                headers,
                body,
                identity,
                deadline: Instant::now(),
            },
            timeout: inputs.number("timeout")?.filter(|ms| *ms > 0).map(Duration::from_millis),
            response_type: response_type(inputs)?,
            full_response: inputs.flag("includeFullResponse")?,
            debug: inputs.flag("debugRequest")?,
            retries: Retries {
                max: inputs.number("maxRetries")?.map_or(0, |max| u32::try_from(max).unwrap_or(u32::MAX)),
                delay: Duration::from_millis(inputs.number("retryDelayMS")?.unwrap_or(0)),
                exponential: inputs.flag("useExponentialBackoff")?,
                on_all_errors: inputs.flag("retryOnAllErrors")?,
            },
            connection,
        })
    }

    /// Method and address without the query, for messages.
    pub(super) fn display(&self) -> String {
        let Request { method, url, .. } = &self.request;
        format!("{method} {}{}", url.origin().ascii_serialization(), url.path())
    }

    /// The credential that it carries: variable and version.
    pub(super) fn credential(&self) -> Option<(String, u64)> {
        let connection = self.connection.as_ref()?;
        Some((connection.variable.clone(), connection.version))
    }

    /// Through what it is counted.
    pub(super) fn through(&self) -> Through {
        self.connection.as_ref().map(|connection| connection.through()).unwrap_or_default()
    }
}

fn method(action: &str, inputs: Inputs<'_>) -> Result<Method, StepError> {
    Ok(match action {
        "httpGet" => Method::GET,
        "httpHead" => Method::HEAD,
        "httpOptions" => Method::OPTIONS,
        "httpDelete" => Method::DELETE,
        "httpPut" => Method::PUT,
        "httpPatch" => Method::PATCH,
        "httpRequest" => {
            let given = [inputs.text("httpMethod")?, inputs.text("method")?]
                .into_iter()
                .find(|text| !text.is_empty());
            let given = given.unwrap_or_else(|| "GET".into()).to_ascii_uppercase();
            let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&given.as_str());
            let method = Method::from_bytes(given.as_bytes()).ok().filter(|_| known);
            method.ok_or_else(|| bad(format!("the input `httpMethod` is not a method: `{given}`")))?
        }
        _ => Method::POST,
    })
}

fn header_value(what: impl fmt::Display, text: &str) -> Result<HeaderValue, StepError> {
    HeaderValue::from_str(text).map_err(|_| bad(format!("{what} holds a character that a header cannot carry")))
}

fn headers(inputs: Inputs<'_>, most: usize) -> Result<HeaderMap, StepError> {
    let pairs = inputs.pairs("headers")?;
    let texts = pairs.iter().map(|(name, value)| (name.trim(), trimmed(text_of(value))));
    outbound::headers(texts, most).map_err(|error| bad(format!("the input `headers`: {error}")))
}

fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => text.trim().into(),
        Cow::Owned(text) => text.trim().to_owned().into(),
    }
}

fn response_type(inputs: Inputs<'_>) -> Result<ResponseType, StepError> {
    let text = inputs.text("responseType")?;
    match text.to_ascii_lowercase().as_str() {
        "" | "json" => Ok(ResponseType::Json),
        "text" | "document" => Ok(ResponseType::Text),
        "arraybuffer" | "binary" | "blob" | "stream" => Ok(ResponseType::Binary),
        _ => Err(bad(format!(
            "the input `responseType` is none of json, text, arraybuffer: `{text}`"
        ))),
    }
}

fn body(action: &str, inputs: Inputs<'_>, headers: &mut HeaderMap) -> Result<Bytes, StepError> {
    let form = inputs.pairs("formData")?;
    let files = inputs.pairs("fileData")?;
    if action == "httpPostFormData" || !form.is_empty() || !files.is_empty() {
        let names = inputs.pairs("fileDataFileNames")?;
        let parts = parts(&form, &files, &names)?;
        let boundary = boundary_of(&parts);
        headers.insert(
            CONTENT_TYPE,
            header_value("the boundary", &format!("multipart/form-data; boundary={boundary}"))?,
        );
        return Ok(multipart(&boundary, &parts));
    }
    let (default_type, body) = match inputs.data("data")? {
        Data::Nothing => return Ok(Bytes::new()),
        Data::Text(text) if text.is_empty() => return Ok(Bytes::new()),
        Data::Text(text) if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() => ("application/json", text),
        Data::Text(text) => ("text/plain; charset=utf-8", text),
        Data::Json(json) => ("application/json", json),
    };
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(default_type));
    Ok(body.into())
}

/// A part of a form: its head, and what it holds.
type Part = (String, Vec<u8>);

fn parts(form: &[(String, Value)], files: &[(String, Value)], names: &[(String, Value)]) -> Result<Vec<Part>, StepError> {
    let mut parts = Vec::with_capacity(form.len() + files.len());
    for (name, value) in form {
        let head = format!("Content-Disposition: form-data; name={}", quoted(name)?);
        parts.push((head, text_of(value).into_owned().into_bytes()));
    }
    // Of several for one file the first counts.
    let names: HashMap<&str, &Value> = names.iter().rev().map(|(of, filename)| (of.as_str(), filename)).collect();
    for (name, value) in files {
        let filename = names.get(name.as_str());
        let filename = filename.map_or_else(|| name.clone(), |filename| text_of(filename).into_owned());
        let (name, filename) = (quoted(name)?, quoted(&filename)?);
        let (content_type, data) = file(value)?;
        let head = format!("Content-Disposition: form-data; name={name}; filename={filename}\r\nContent-Type: {content_type}");
        parts.push((head, data));
    }
    Ok(parts)
}

/// A boundary that stands in no part, whoever wrote it: nobody writes a text that holds its own digest. The same after a crash.
fn boundary_of(parts: &[Part]) -> String {
    let mut digest = Context::new(&SHA256);
    for (head, data) in parts {
        digest.update(head.as_bytes());
        digest.update(data);
    }
    format!("perseat-{}", URL_SAFE_NO_PAD.encode(digest.finish()))
}

fn multipart(boundary: &str, parts: &[Part]) -> Bytes {
    let mut body = Vec::new();
    for (head, data) in parts {
        body.extend_from_slice(format!("--{boundary}\r\n{head}\r\n\r\n").as_bytes());
        body.extend_from_slice(data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body.into()
}

/// A file is text, or `{data, contentType, encoding}` as binary answers and form parts have it. Where no `encoding` is given, as in a
/// script's own or in what was stored before there was one, data that can be base64 is.
fn file(value: &Value) -> Result<(String, Vec<u8>), StepError> {
    let text = |name| value.get(name).and_then(Value::as_str);
    let Some(data) = text("data") else {
        return Ok(("text/plain; charset=utf-8".into(), text_of(value).into_owned().into_bytes()));
    };
    let content_type = text("contentType").unwrap_or("application/octet-stream");
    header_value("the file's content type", content_type)?;
    let bytes = match text("encoding") {
        Some(UTF8) => data.as_bytes().to_vec(),
        Some(BASE64) => STANDARD
            .decode(data)
            .map_err(|error| bad(format!("the file's data is not base64: {error}")))?,
        Some(other) => return Err(bad(format!("the file's encoding is none of {UTF8}, {BASE64}: `{other}`"))),
        None => STANDARD.decode(data).unwrap_or_else(|_| data.as_bytes().to_vec()),
    };
    Ok((content_type.to_owned(), bytes))
}

fn quoted(name: &str) -> Result<String, StepError> {
    if name.contains(['\r', '\n']) {
        return Err(bad("the name of a form field holds a line break"));
    }
    Ok(format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Limits, parse_body};
    use serde_json::json;

    /// What a provider gets of a file that came in a form.
    fn forwarded(content: &[u8]) -> Vec<u8> {
        let head = b"--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\nContent-Type: text/plain\r\n\r\n";
        let form = [head, content, b"\r\n--B--"].concat();
        let parts = parse_body(Some("multipart/form-data; boundary=B"), &form, Limits::default()).unwrap();
        let (content_type, data) = file(&parts["f"]).unwrap();
        assert_eq!(content_type, "text/plain");
        data
    }

    #[test]
    fn a_file_is_forwarded_as_it_came() {
        for content in [
            b"d41d8cd98f00b204e9800998ecf8427e".as_slice(),
            "grüße".as_bytes(),
            b"\xff\xfe\0",
            b"",
        ] {
            assert_eq!(forwarded(content), content);
        }
    }

    #[test]
    fn data_that_does_not_say_how_it_is_encoded_is_base64_where_it_can_be() {
        for (file_value, expected) in [
            (json!({ "data": "eyJhIjo=" }), Some("{\"a\":")),
            (json!({ "data": "not base64" }), Some("not base64")),
            (json!({ "data": "eyJhIjo=", "encoding": "base64" }), Some("{\"a\":")),
            (json!({ "data": "eyJhIjo=", "encoding": "utf8" }), Some("eyJhIjo=")),
            (json!({ "data": "not base64", "encoding": "base64" }), None),
            (json!({ "data": "00", "encoding": "hex" }), None),
            (json!("text"), Some("text")),
        ] {
            let sent = file(&file_value).ok().map(|(_, data)| data);
            assert_eq!(sent.as_deref(), expected.map(str::as_bytes), "{file_value}");
        }
    }
}
