//! Writes the plaintext of an accepted request straight from the request, in the form that
//! [`TriggerRequest`](perseat_domain::entry::TriggerRequest) is read back from, without building one.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use std::borrow::Cow;

/// The header that shows an API key.
pub(super) const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// Headers that may hold a credential: checked where they are ours, and never kept.
const CREDENTIALS: [HeaderName; 4] = [API_KEY, header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// The fields of a `TriggerRequest`, in its order.
#[derive(Serialize)]
pub(super) struct StoredRequest<'a> {
    pub(super) method: &'a str,
    pub(super) headers: KeptHeaders<'a>,
    pub(super) query: &'a str,
    pub(super) path_fragment: &'a str,
    pub(super) invoke_url: &'a str,
    #[serde(serialize_with = "as_bytes")]
    pub(super) body: &'a [u8],
    pub(super) debug: bool,
}

fn as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// All headers but those that may hold a credential.
#[derive(Clone, Copy)]
pub(super) struct KeptHeaders<'a>(pub(super) &'a HeaderMap);

impl KeptHeaders<'_> {
    fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().filter(|(name, _)| !CREDENTIALS.contains(name))
    }
}

/// A header as a flow sees it: bytes that are not UTF-8 are replaced.
pub(super) fn text(value: &HeaderValue) -> Cow<'_, str> {
    // Most are; finding out takes less than looking for what to replace.
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(value.as_bytes()),
    }
}

impl Serialize for KeptHeaders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.iter().count()))?;
        for (name, value) in self.iter() {
            seq.serialize_element(&(name.as_str(), text(value)))?;
        }
        seq.end()
    }
}

impl StoredRequest<'_> {
    /// The stored form.
    pub(super) fn encode(&self) -> Vec<u8> {
        let headers: usize = self
            .headers
            .0
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        let text = self.query.len() + self.path_fragment.len() + self.invoke_url.len();
        let out = Vec::with_capacity(self.body.len() + headers + text + 64);
        // Encoding owned data into memory has no failing case.
        postcard::to_extend(self, out).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::entry::TriggerRequest;

    #[test]
    fn it_reads_back_as_a_trigger_request_without_credentials() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-event", "a"),
            ("api-key", "secret"),
            ("authorization", "secret"),
            ("x-event", "b"),
            ("cookie", "secret"),
            ("proxy-authorization", "secret"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.append("x-raw", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        let stored = StoredRequest {
            method: "POST",
            headers: KeptHeaders(&headers),
            query: "a=1",
            path_fragment: "b/c",
            invoke_url: "https://hooks.example.com/trigger/x",
            body: b"{}",
            debug: true,
        };
        let read: TriggerRequest = postcard::from_bytes(&stored.encode()).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = TriggerRequest {
            method: "POST".into(),
            headers: vec![pair("x-event", "a"), pair("x-event", "b"), pair("x-raw", "caf\u{fffd}")],
            query: "a=1".into(),
            path_fragment: "b/c".into(),
            invoke_url: "https://hooks.example.com/trigger/x".into(),
            body: bytes::Bytes::from_static(b"{}"),
            debug: true,
        };
        assert_eq!(read, expected);
    }
}
