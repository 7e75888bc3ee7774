//! Hands a request to the pure routing decision: its headers, its body where a field stands in it, its API key.

use super::FrontShared;
use super::stored::{API_KEY, text};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use perseat_domain::code::ErrorCode;
use perseat_domain::model::KeyDigest;
use perseat_domain::route::{
    CUSTOMER_HEADER, FLOW_HEADER, HeaderLookup, RequestBody, RequestHeaders, RouteRequest, Routed, RoutingSnapshot, Target, USER_HEADER,
    decide,
};
use perseat_flow::payload::{Limits, is_json, json, parse_body};
use std::borrow::Cow;

/// The names that most requests are routed by, ready to be looked up: reading text as a header's name costs more than that.
static USUAL: [HeaderName; 3] = [
    HeaderName::from_static(FLOW_HEADER),
    HeaderName::from_static(CUSTOMER_HEADER),
    HeaderName::from_static(USER_HEADER),
];

struct Headers<'a>(&'a HeaderMap);

impl RequestHeaders for Headers<'_> {
    fn header(&self, name: &str) -> HeaderLookup<'_> {
        let values = match USUAL.iter().find(|usual| usual.as_str() == name) {
            Some(usual) => self.0.get_all(usual),
            None => self.0.get_all(name),
        };
        let mut values = values.iter();
        match (values.next(), values.next()) {
            (None, _) => HeaderLookup::Missing,
            (Some(_), Some(_)) => HeaderLookup::Many,
            (Some(value), None) => std::str::from_utf8(value.as_bytes()).map_or(HeaderLookup::NotText, HeaderLookup::One),
        }
    }
}

struct Body<'a> {
    bytes: &'a Bytes,
    content_type: Option<&'a str>,
    limits: Limits,
}

impl RequestBody for Body<'_> {
    fn text_at(&self, path: &[String]) -> Result<Option<Cow<'_, str>>, ErrorCode> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        if self.content_type.is_some_and(is_json) {
            let text = json::text_at(self.bytes, path, self.limits.depth).map_err(|_| ErrorCode::PayloadMalformed)?;
            return Ok(text.map(Cow::Owned));
        }
        // Forms: few, and small enough to be parsed whole.
        let form = parse_body(self.content_type, self.bytes, self.limits).map_err(|_| ErrorCode::PayloadMalformed)?;
        let text = path
            .iter()
            .try_fold(&form, |value, segment| value.get(segment))
            .and_then(|value| value.as_str());
        Ok(text.map(|text| Cow::Owned(text.to_owned())))
    }
}

/// The body's content type, with bytes that are no text replaced as they will be for the flow.
pub(super) fn content_type(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    headers.get(header::CONTENT_TYPE).map(text)
}

/// Decides where a request goes.
pub(super) fn route(
    front: &FrontShared,
    snapshot: &RoutingSnapshot,
    target: &Target<'_>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Routed, ErrorCode> {
    let content_type = content_type(headers);
    let request = RouteRequest {
        endpoint: target.endpoint,
        query: target.query,
        headers: &Headers(headers),
        body: &Body {
            bytes: body,
            content_type: content_type.as_deref(),
            limits: Limits {
                depth: front.options().json_depth,
                parts: front.options().form_parts,
            },
        },
        api_key: api_key(headers),
        now: front.parts.clock.now(),
    };
    decide(snapshot, &request).map_err(|error| error.code)
}

/// The digest of the API key that was shown. Two keys are none: which of them counts would be a guess.
fn api_key(headers: &HeaderMap) -> Option<KeyDigest> {
    let mut keys = headers.get_all(API_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return None;
    };
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
    Some(KeyDigest(bytes))
}
