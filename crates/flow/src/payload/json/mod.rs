//! Checks that bytes are JSON, and reads one value out of them, without building a tree.
//!
//! Accepts exactly what parsing into a tree would accept: strings are decoded and numbers read, so that what was
//! accepted here cannot turn out malformed when the execution starts. Of a repeated key the last one counts.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Not JSON, or nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

/// Checks a whole body.
///
/// # Errors
/// If parsing it into a tree would fail, or its lists and objects nest deeper than `depth`.
pub fn check(body: &[u8], depth: usize) -> Result<(), NotJson> {
    run(body, Checked { depth }).map(|_| ())
}

/// Checks a whole body and gives the string or number at a path into it.
///
/// # Errors
/// As [`check`].
pub fn text_at(body: &[u8], path: &[String], depth: usize) -> Result<Option<String>, NotJson> {
    run(body, At { path, depth })
}

fn run<'de, S: DeserializeSeed<'de>>(body: &'de [u8], seed: S) -> Result<S::Value, NotJson> {
    // Checked once as a whole, not string by string.
    let text = std::str::from_utf8(body).map_err(|_| NotJson)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut reader).map_err(|_| NotJson)?;
    reader.end().map_err(|_| NotJson)?;
    Ok(value)
}

fn deeper<E: Error>(depth: usize) -> Result<usize, E> {
    depth.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))
}

/// Any value of at most this depth.
#[derive(Clone, Copy)]
struct Checked {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = Option<String>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! scalars {
    ($keep:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON value")
        }
        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok($keep(&self).then(|| text.to_owned()))
        }
        fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
            Ok($keep(&self).then(|| number.to_string()))
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
            Ok($keep(&self).then(|| number.to_string()))
        }
        fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
            Ok($keep(&self).then(|| serde_json::Value::from(number).to_string()))
        }
    };
}

impl<'de> Visitor<'de> for Checked {
    type Value = Option<String>;
    scalars!(|_: &Self| false);

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let inner = Self {
            depth: deeper(self.depth)?,
        };
        while items.next_element_seed(inner)?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let inner = Self {
            depth: deeper(self.depth)?,
        };
        // A key is decoded like any string; only its value is ignored.
        while entries.next_key_seed(Key)?.is_some() {
            entries.next_value_seed(inner)?;
        }
        Ok(None)
    }
}

/// The value at the end of a path.
#[derive(Clone, Copy)]
struct At<'p> {
    path: &'p [String],
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<String>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<String>;
    scalars!(|at: &Self| at.path.is_empty());

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let depth = deeper(self.depth)?;
        let wanted: Option<usize> = self.path.first().and_then(|segment| segment.parse().ok());
        let (mut found, mut place) = (None, 0);
        loop {
            let value = if wanted == Some(place) {
                let path = &self.path[1..];
                items.next_element_seed(At { path, depth })?
            } else {
                items.next_element_seed(Checked { depth })?
            };
            match value {
                None => return Ok(found),
                Some(value) if wanted == Some(place) => found = value,
                Some(_) => {}
            }
            place += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let depth = deeper(self.depth)?;
        let mut found = None;
        while let Some(key) = entries.next_key_seed(Key)? {
            match self.path.split_first() {
                Some((wanted, path)) if *wanted == key => found = entries.next_value_seed(At { path, depth })?,
                _ => {
                    entries.next_value_seed(Checked { depth })?;
                }
            }
        }
        Ok(found)
    }
}

/// A key, borrowed from the body where it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
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
            assert_eq!(check(body, 10), Err(NotJson), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn depth_is_bounded_also_along_a_path() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
        let path = vec!["0".to_owned(); 10];
        assert_eq!(check(&nested(10), 10), Ok(()));
        assert_eq!(check(&nested(11), 10), Err(NotJson));
        assert_eq!(text_at(&nested(10), &path, 10), Ok(Some("1".to_owned())));
        assert_eq!(text_at(&nested(11), &path, 10), Err(NotJson));
        assert_eq!(check(&b"[".repeat(1 << 20), 100), Err(NotJson));
    }

    proptest! {
        #[test]
        fn it_accepts_exactly_what_parsing_into_a_tree_accepts(body in r#"[\[\]{}:,"a\\u0-9eE.\-+ntrflsd ]{0,24}"#) {
            let tree: Result<serde_json::Value, _> = serde_json::from_str(&body);
            prop_assert_eq!(check(body.as_bytes(), 100).is_ok(), tree.is_ok());
        }
    }
}
