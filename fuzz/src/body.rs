//! A body: the content type in the first line, then the bytes.
//!
//! The front checks JSON without building a tree, the flow parses it into one: both must agree, or a 200 is followed
//! by an execution that cannot start.

use perseat_flow::payload::json;
use perseat_flow::payload::{Limits, PayloadError, is_json, parse_body, parse_json};
use serde_json::Value;

const LIMITS: Limits = Limits { depth: 20, parts: 50 };

/// Paths that routing fields may name.
const PATHS: [&[&str]; 6] = [&[], &["a"], &["a", "b"], &["0"], &["a", "0", "b"], &["0", "a", "1"]];

pub(crate) fn run(data: &[u8]) {
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let content_type = String::from_utf8_lossy(&data[..line]);
    let body = data.get(line + 1..).unwrap_or_default();

    let parsed = parse_body(Some(&content_type), body, LIMITS);
    if is_json(&content_type) && !body.is_empty() {
        assert_eq!(
            parsed.is_ok(),
            json::check(body, LIMITS.depth).is_ok(),
            "front and flow read {content_type}"
        );
    }
    match &parsed {
        Ok(value) => assert!(depth(value) <= LIMITS.depth.max(3), "deeper than the limit"),
        Err(PayloadError::TooManyParts(parts)) => assert_eq!(*parts, LIMITS.parts),
        Err(_) => {}
    }

    let tree = parse_json(body, LIMITS);
    assert_eq!(tree.is_ok(), json::check(body, LIMITS.depth).is_ok(), "two readers of JSON");
    for path in PATHS {
        let segments: Vec<String> = path.iter().map(|segment| (*segment).to_owned()).collect();
        let found = json::text_at(body, &segments, LIMITS.depth);
        assert_eq!(found.is_ok(), tree.is_ok(), "two readers of JSON at {path:?}");
        if let (Ok(found), Ok(tree)) = (found, &tree) {
            assert_eq!(found.is_some(), is_text(at(tree, path)), "{path:?} of {tree}");
            if let (Some(found), Some(Value::String(text))) = (found, at(tree, path)) {
                assert_eq!(&found, text, "{path:?}");
            }
        }
    }
}

fn is_text(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::String(_) | Value::Number(_)))
}

fn at<'v>(tree: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(tree, |value, segment| match value {
        Value::Object(members) => members.get(*segment),
        Value::Array(items) => segment.parse::<usize>().ok().and_then(|index| items.get(index)),
        _ => None,
    })
}

fn depth(value: &Value) -> usize {
    let inner = |deepest: Option<usize>| 1 + deepest.unwrap_or(0);
    match value {
        Value::Array(items) => inner(items.iter().map(depth).max()),
        Value::Object(members) => inner(members.values().map(depth).max()),
        _ => 0,
    }
}
