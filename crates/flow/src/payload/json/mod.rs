//! Checks that bytes are JSON, and finds single values in them, without building a tree.
//!
//! Accepts exactly what parsing into a tree would accept, so that what was accepted here cannot turn out malformed when the
//! execution starts. Of a repeated key the last one counts.

mod index;
mod scan;

pub(crate) use index::Index;

use scan::Scanner;
use serde_json::Number;
use std::borrow::Cow;

/// Why text is not taken as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotJson {
    /// It is none, or holds a number that is out of range.
    Malformed,
    /// Its lists and objects nest too deeply.
    TooDeep,
}

/// Checks a whole body.
///
/// # Errors
/// If parsing it into a tree would fail, or its lists and objects nest deeper than `depth`.
pub fn check(body: &[u8], depth: usize) -> Result<(), NotJson> {
    checked(body, depth).map(drop)
}

/// Checks a whole body, and counts its values: lists, objects and what is in them.
///
/// # Errors
/// As [`check`].
pub fn values(body: &[u8], depth: usize) -> Result<usize, NotJson> {
    checked(body, depth).map(count)
}

/// How many values there are in text that has been [checked](check): lists, objects and what is in them.
pub(crate) fn count(text: &str) -> usize {
    let mut scanner = Scanner::new(text.as_bytes());
    let _ = scanner.value(usize::MAX);
    scanner.values()
}

/// Checks a whole body and gives the string or number at a path into it.
///
/// # Errors
/// As [`check`].
pub fn text_at(body: &[u8], path: &[String], depth: usize) -> Result<Option<String>, NotJson> {
    checked(body, depth)?;
    Ok(value_at(body, path, None).and_then(|value| match value.as_bytes().first()? {
        b'"' => serde_json::from_str(value).ok(),
        b'-' | b'0'..=b'9' => serde_json::from_str::<Number>(value).ok().map(|number| number.to_string()),
        _ => None,
    }))
}

fn checked(body: &[u8], depth: usize) -> Result<&str, NotJson> {
    // Checked once as a whole, not string by string.
    let text = std::str::from_utf8(body).map_err(|_| NotJson::Malformed)?;
    let mut scanner = Scanner::new(body);
    scanner.value(depth)?;
    scanner.end()?;
    Ok(text)
}

/// The text of the value at a path into text that has been [checked](check); `None` where the path leads nowhere. The segment
/// at the place `any_case` is compared without regard to case where no key is the same.
pub(crate) fn value_at<'t>(text: &'t [u8], path: &[String], any_case: Option<usize>) -> Option<&'t str> {
    let mut value = text;
    for (place, segment) in path.iter().enumerate() {
        let mut inside = Scanner::new(value);
        value = if inside.enter(b'{') {
            member(inside, segment, any_case == Some(place))?
        } else if inside.enter(b'[') {
            item(inside, segment.parse().ok()?)?
        } else {
            return None;
        };
    }
    if path.is_empty() {
        value = Scanner::new(text).value(usize::MAX).ok()?;
    }
    std::str::from_utf8(value).ok()
}

/// The members of an object that has been [checked](check), one by one: each key, and where it begins.
pub(crate) fn members(object: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, usize)> {
    let mut inside = Scanner::new(object);
    let is_object = inside.enter(b'{');
    let mut is_first = true;
    std::iter::from_fn(move || {
        if !is_first {
            inside.value(usize::MAX).ok()?;
        }
        if !is_object || !inside.another(b'}', is_first).ok()? {
            return None;
        }
        is_first = false;
        let place = inside.place();
        let key = inside.key().ok()?;
        Some((inside.text(key), place))
    })
}

fn member<'t>(mut object: Scanner<'t>, wanted: &str, in_any_case: bool) -> Option<&'t [u8]> {
    let (mut same, mut similar) = (None, None);
    let is_similar = |key: &str, similar: &Option<(Cow<'_, str>, _)>| match similar {
        None => key.eq_ignore_ascii_case(wanted),
        // The first such key, the last time it comes.
        Some((first, _)) => *first == key,
    };
    let mut is_first = true;
    while object.another(b'}', is_first).ok()? {
        is_first = false;
        let key = object.key().ok()?;
        let key = object.text(key);
        let value = object.value(usize::MAX).ok()?;
        if key == wanted {
            same = Some(value);
        } else if in_any_case && is_similar(&key, &similar) {
            similar = Some((key, value));
        }
    }
    same.or(similar.map(|(_, value)| value))
}

fn item(mut list: Scanner<'_>, wanted: usize) -> Option<&[u8]> {
    let mut place = 0;
    while list.another(b']', place == 0).ok()? {
        let value = list.value(usize::MAX).ok()?;
        if place == wanted {
            return Some(value);
        }
        place += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_lead_to_strings_and_numbers_only() {
        let body = br#"{"a":{"b":[1,"two",2.5,{"c":"x"}],"n":null,"t":true},"d":"first","d":"last","0":"zero","k\u0041":"esc"}"#;
        for (path, expected) in [
            ("a.b.0", Some("1")),
            ("a.b.1", Some("two")),
            ("a.b.2", Some("2.5")),
            ("a.b.3.c", Some("x")),
            ("a.b.4", None),
            ("a.n", None),
            ("a.t", None),
            ("a.b", None),
            ("d", Some("last")),
            ("d.x", None),
            ("0", Some("zero")),
            ("kA", Some("esc")),
            ("nothing", None),
        ] {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            assert_eq!(text_at(body, &path, 10), Ok(expected.map(str::to_owned)), "{path:?}");
        }
    }

    #[test]
    fn one_segment_may_be_in_any_case() {
        let body = r#"{"headers":{"x-a":1,"X-A":2,"X-B":0,"x-B":5,"X-B":3},"Body":4}"#;
        for (path, expected) in [
            ("headers.x-a", Some("1")),
            ("headers.X-a", Some("1")),
            ("headers.X-A", Some("2")),
            ("headers.x-b", Some("3")),
            ("headers.x-c", None),
            ("body", None),
        ] {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            assert_eq!(value_at(body.as_bytes(), &path, Some(1)), expected, "{path:?}");
        }
    }

    #[test]
    fn what_a_tree_would_refuse_is_refused() {
        for body in [
            &b"{\"a\":"[..],
            b"{\"a\":1}x",
            b"\"\\ud800\"",
            b"\"\xff\"",
            b"{\"\xff\":1}",
            b"1e999",
            b"[1,]",
            b"",
            b"\xef\xbb\xbf{}",
            b"nul",
        ] {
            assert_eq!(check(body, 10), Err(NotJson::Malformed), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn depth_is_bounded_also_along_a_path() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
        let path = vec!["0".to_owned(); 10];
        assert_eq!(check(&nested(10), 10), Ok(()));
        assert_eq!(check(&nested(11), 10), Err(NotJson::TooDeep));
        assert_eq!(text_at(&nested(10), &path, 10), Ok(Some("1".to_owned())));
        assert_eq!(text_at(&nested(11), &path, 10), Err(NotJson::TooDeep));
        assert_eq!(check(&b"[".repeat(1 << 20), 100), Err(NotJson::TooDeep));
    }

    #[test]
    fn it_goes_as_deep_as_a_tree() {
        for depth in [100, 126, 127, 128, 129] {
            for (opening, closing) in [("[", "]"), ("{\"a\":", "}")] {
                let body = format!("{}1{}", opening.repeat(depth), closing.repeat(depth));
                let tree: Result<serde_json::Value, _> = serde_json::from_str(&body);
                assert_eq!(check(body.as_bytes(), usize::MAX).is_ok(), tree.is_ok(), "{depth}");
            }
        }
    }

    /// JSON that is mostly right, with white space, escapes and repeated keys.
    fn json() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("-0".to_owned()),
            "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,4})?",
            r#""[ab\u{e9}]{0,3}(\\n|\\u00[46]1|\\ud83d\\ude00|\\ud83d)?[ab ]{0,9}""#,
        ];
        scalar.prop_recursive(4, 24, 4, |inner| {
            let member = (r#""(a|b|\\u0061|A)""#, inner.clone()).prop_map(|(key, value)| format!("{key} :{value}"));
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
                prop::collection::vec(member, 0..4).prop_map(|members| format!("{{ {}}}", members.join(",\n"))),
            ]
        })
    }

    /// With a feature of `serde_json` an object with this key is the value that its text says, however deep: a body of 256 KiB would
    /// end the process.
    #[test]
    fn no_key_makes_an_object_something_else() {
        let body = r#"{"$serde_json::private::RawValue":"[1]","$serde_json::private::Number":"1"}"#;
        let tree: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(tree.as_object().map(serde_json::Map::len), Some(2));
        assert_eq!(tree.to_string(), body);
    }

    /// The value in a tree.
    fn in_tree<'v>(tree: &'v serde_json::Value, path: &[String]) -> Option<&'v serde_json::Value> {
        path.iter().try_fold(tree, |value, segment| match value {
            serde_json::Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
            value => value.get(segment),
        })
    }

    proptest! {
        #[test]
        fn it_accepts_and_finds_what_a_tree_has(body in json(), cut in 0_usize..200, path in prop::collection::vec("a|b|A|0|1|2", 0..4)) {
            let tree: Result<serde_json::Value, _> = serde_json::from_str(&body);
            prop_assert_eq!(check(body.as_bytes(), 100).is_ok(), tree.is_ok());
            if let Ok(tree) = tree {
                let text = body.as_bytes();
                let found = value_at(text, &path, None).map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
                prop_assert_eq!(found.as_ref(), in_tree(&tree, &path));
                let is_object = text.trim_ascii_start().starts_with(b"{");
                let known = if is_object { Index::of_object(members(text)) } else { Index::default() };
                for index in [&Index::default(), &known] {
                    for any_case in [None, Some(1), Some(0), None] {
                        prop_assert_eq!(index.value_at(text, &path, any_case), value_at(text, &path, any_case));
                    }
                }
            }
            let cut = &body.as_bytes()[..cut.min(body.len())];
            prop_assert_eq!(check(cut, 100).is_ok(), serde_json::from_slice::<serde_json::Value>(cut).is_ok());
        }

        #[test]
        fn it_accepts_exactly_what_parsing_into_a_tree_accepts(body in r#"[\[\]{}:,"a\\u0-9eE.\-+ntrflsd ]{0,24}"#) {
            let tree: Result<serde_json::Value, _> = serde_json::from_str(&body);
            prop_assert_eq!(check(body.as_bytes(), 100).is_ok(), tree.is_ok());
        }
    }
}
