//! Bodies as data, by content type; bounded in depth and in parts.

use super::{Limits, PayloadError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The `encoding` of a file whose data is its text.
pub(crate) const UTF8: &str = "utf8";
/// The `encoding` of a file whose data is base64 text.
pub(crate) const BASE64: &str = "base64";

/// A content type without its parameters, in lower case.
fn essence(content_type: &str) -> String {
    let head = content_type.split(';').next().unwrap_or_default();
    head.trim().to_ascii_lowercase()
}

/// Whether a content type says that the body is JSON: `application/json`, `text/json`, or any other with `+json` behind.
#[must_use]
pub fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let Some((kind, subtype)) = essence.split_once('/') else {
        return false;
    };
    let is = |text: &str, expected: &str| text.eq_ignore_ascii_case(expected);
    let has_suffix = subtype.len() > 5 && subtype.as_bytes()[subtype.len() - 5..].eq_ignore_ascii_case(b"+json");
    has_suffix || (is(subtype, "json") && (is(kind, "application") || is(kind, "text")))
}

const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

/// Whether a body of this content type is parsed, and not kept as it came.
#[must_use]
pub fn is_parsed(content_type: &str) -> bool {
    is_json(content_type) || [FORM, MULTIPART].contains(&essence(content_type).as_str())
}

/// The body as data: parsed JSON, an object of form fields, text, or base64 text of anything else. An empty body is
/// null.
///
/// # Errors
/// See [`PayloadError`].
pub fn parse_body(content_type: Option<&str>, body: &[u8], limits: Limits) -> Result<Value, PayloadError> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    let declared = content_type.unwrap_or_default();
    let essence = essence(declared);
    if is_json(declared) {
        return parse_json(body, limits);
    }
    match essence.as_str() {
        FORM => parse_form(body, limits),
        MULTIPART => parse_multipart(declared, body, limits),
        _ => Ok(text_or_base64(body).into()),
    }
}

/// Text as text; anything else as base64.
pub(crate) fn text_or_base64(body: &[u8]) -> Cow<'_, str> {
    encoded(body).0
}

/// The same, and which of the two it is: the `encoding` of a file, in Node's words.
fn encoded(body: &[u8]) -> (Cow<'_, str>, &'static str) {
    match std::str::from_utf8(body) {
        Ok(text) => (Cow::Borrowed(text), UTF8),
        Err(_) => (Cow::Owned(STANDARD.encode(body)), BASE64),
    }
}

/// JSON, refused before it is parsed where it nests too deep for a recursive parser.
///
/// # Errors
/// See [`PayloadError`].
pub fn parse_json(body: &[u8], limits: Limits) -> Result<Value, PayloadError> {
    if nesting(body) > limits.depth {
        return Err(PayloadError::TooDeep(limits.depth));
    }
    serde_json::from_slice(body).map_err(|error| PayloadError::Json(error.to_string()))
}

/// How deep lists and objects nest, counted without parsing.
fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0usize, 0usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Adds a field; a name that comes again makes a list.
fn add(fields: &mut Map<String, Value>, name: String, value: Value) {
    match fields.get_mut(&name) {
        None => {
            fields.insert(name, value);
        }
        Some(Value::Array(values)) => values.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
    }
}

fn parse_form(body: &[u8], limits: Limits) -> Result<Value, PayloadError> {
    let mut fields = Map::new();
    for (index, (name, value)) in form_urlencoded::parse(body).enumerate() {
        if index >= limits.parts {
            return Err(PayloadError::TooManyParts(limits.parts));
        }
        add(&mut fields, name.into_owned(), Value::from(value.into_owned()));
    }
    Ok(Value::Object(fields))
}

/// `name="value"` parameters of a header, names in lower case.
fn parameter(header: &str, name: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = tail.split_once(';')?.1;
    }
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let window = haystack.get(from..)?;
    window.windows(needle.len()).position(|at| at == needle).map(|at| at + from)
}

/// An object of the parts by name: a plain field is its text, a file is `{data, contentType, filename, encoding}`.
fn parse_multipart(content_type: &str, body: &[u8], limits: Limits) -> Result<Value, PayloadError> {
    let malformed = |what: &str| PayloadError::Multipart(what.to_owned());
    let boundary = parameter(content_type, "boundary").filter(|text| (1..=70).contains(&text.len()));
    let boundary = boundary.ok_or_else(|| malformed("the content type names no boundary"))?;
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    // The first delimiter stands at the very start or after a preamble.
    let opening = &delimiter[2..];
    let mut at = if body.starts_with(opening) {
        opening.len()
    } else {
        find(body, &delimiter, 0).ok_or_else(|| malformed("the boundary does not occur"))? + delimiter.len()
    };
    let mut fields = Map::new();
    for _ in 0..=limits.parts {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Ok(Value::Object(fields));
        }
        let line = find(rest, b"\r\n", 0).ok_or_else(|| malformed("it ends inside a boundary"))?;
        let head_from = at + line;
        let head_end = find(body, b"\r\n\r\n", head_from).ok_or_else(|| malformed("a part has no end of its headers"))?;
        let end = find(body, &delimiter, head_end + 2).ok_or_else(|| malformed("the last part has no end"))?;
        let content = body.get(head_end + 4..end).unwrap_or_default();
        let (name, value) = part(&body[head_from..head_end], content).ok_or_else(|| malformed("a part has no name"))?;
        add(&mut fields, name, value);
        at = end + delimiter.len();
    }
    Err(PayloadError::TooManyParts(limits.parts))
}

fn part(head: &[u8], content: &[u8]) -> Option<(String, Value)> {
    let head = std::str::from_utf8(head).ok()?;
    let header = |wanted: &str| {
        let found = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim())
    };
    let disposition = header("content-disposition")?;
    let name = parameter(disposition, "name")?;
    let filename = parameter(disposition, "filename");
    let content_type = header("content-type");
    let (data, encoding) = encoded(content);
    if filename.is_none() && content_type.is_none() {
        return Some((name, data.into()));
    }
    Some((
        name,
        serde_json::json!({ "data": data, "contentType": content_type, "filename": filename, "encoding": encoding }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(content_type: &str, body: &[u8]) -> Result<Value, PayloadError> {
        parse_body(Some(content_type), body, Limits::default())
    }

    #[test]
    fn content_types_that_say_json() {
        for (text, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("text/json", true),
            ("text/plain", false),
            ("application/jsonl", false),
            ("other/json", false),
            ("+json", false),
            ("application/+json", false),
            ("", false),
            ("é/é+jsön", false),
        ] {
            assert_eq!(is_json(text), expected, "{text}");
            let parsed = parse_body(Some(text), b"{", Limits::default());
            assert_eq!(parsed.is_err(), expected, "{text} is parsed as what it says");
        }
    }

    #[test]
    fn json_types_are_parsed_and_malformed_ones_refused() {
        assert_eq!(parse("application/json; charset=utf-8", b"{\"a\":[1]}"), Ok(json!({ "a": [1] })));
        assert_eq!(parse("application/vnd.api+JSON", b"3"), Ok(json!(3)));
        assert!(matches!(parse("application/json", b"{\"a\":"), Err(PayloadError::Json(_))));
    }

    #[test]
    fn json_nested_a_hundred_thousand_deep_is_refused_without_parsing() {
        let deep = "[".repeat(100_000);
        assert_eq!(parse("application/json", deep.as_bytes()), Err(PayloadError::TooDeep(100)));
        assert_eq!(
            parse("application/json", br#""[[{\"[""#),
            Ok(json!("[[{\"[")),
            "brackets in text do not count"
        );
        let allowed = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(parse("application/json", allowed.as_bytes()).is_ok());
    }

    #[test]
    fn form_fields_become_an_object_and_repeated_ones_a_list() {
        let form = parse("application/x-www-form-urlencoded", b"a=1&b=x+y&a=%C3%BC&a=3");
        assert_eq!(form, Ok(json!({ "a": ["1", "ü", "3"], "b": "x y" })));
        let many = "a=1&".repeat(1001);
        assert_eq!(
            parse("application/x-www-form-urlencoded", many.as_bytes()),
            Err(PayloadError::TooManyParts(1000))
        );
    }

    #[test]
    fn multipart_parts_become_an_object() {
        let body = b"preamble\r\n--B\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\ntext\r\n--B\r\n\
            content-disposition: form-data; name=\"f\"; filename=\"a \\\"b\\\".bin\"\r\nContent-Type: image/png\r\n\r\n\xff\x00\r\n--B--\r\n";
        let parsed = parse("multipart/form-data; boundary=\"B\"", body);
        let file = json!({ "data": "/wA=", "contentType": "image/png", "filename": "a \"b\".bin", "encoding": "base64" });
        assert_eq!(parsed, Ok(json!({ "t": "text", "f": file })));
    }

    #[test]
    fn broken_multipart_is_refused_with_what_is_wrong() {
        for (content_type, body) in [
            ("multipart/form-data", &b"--B--"[..]),
            ("multipart/form-data; boundary=B", b"nothing"),
            ("multipart/form-data; boundary=B", b"--B"),
            (
                "multipart/form-data; boundary=B",
                b"--B\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\ntext",
            ),
            (
                "multipart/form-data; boundary=B",
                b"--B\r\nContent-Disposition: form-data\r\n\r\ntext\r\n--B--",
            ),
        ] {
            assert!(matches!(parse(content_type, body), Err(PayloadError::Multipart(_))), "{body:?}");
        }
    }

    #[test]
    fn other_types_are_text_or_base64() {
        assert_eq!(parse("text/plain", b"{"), Ok(json!("{")));
        assert_eq!(parse("application/octet-stream", b"\xff"), Ok(json!("/w==")));
        assert_eq!(parse_body(None, b"x", Limits::default()), Ok(json!("x")));
        assert_eq!(parse("application/json", b""), Ok(Value::Null));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_parsers_panic(body in proptest::collection::vec(any::<u8>(), 0..400), kind in 0usize..3) {
            let kinds = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=-"];
            let _ = parse(kinds[kind], &body);
            let _ = parse(&String::from_utf8_lossy(&body), &body);
        }

        #[test]
        fn pieces_of_multipart_never_panic(pieces in proptest::collection::vec(0usize..6, 0..12)) {
            let parts = ["\r\n--B", "--B", "\r\n\r\n", "\r\n", "--", "Content-Disposition: form-data; name=\"a\""];
            let body: String = pieces.iter().map(|piece| parts[*piece]).collect();
            let _ = parse("multipart/form-data; boundary=B", body.as_bytes());
        }
    }
}
