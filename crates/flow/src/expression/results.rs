//! What a step gave: as JSON, which is stored and handed to scripts, and as a value, which references walk.

use crate::payload::json::{Index, value_at};
use bytes::Bytes;
use serde_json::Value;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// References that are looked up in the text; for the next one a tree is made. No key: making one costs about as much as so many
/// look-ups.
const LOOK_UPS: u8 = 8;

/// Of a text up to this a tree is made, which stays as long as the results do; of a longer one it is kept where members stand. No
/// key: a tree takes up to sixty times as much memory as its text.
const TREE_TEXT: usize = 16 << 10;

/// A step's results: their JSON, and where it is walked often a tree of it, or an index if it is large.
pub struct Results {
    json: Bytes,
    tree: OnceLock<Value>,
    index: OnceLock<Box<Index>>,
    looked_up: AtomicU8,
}

/// A part of results, in the form that they have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'r> {
    Tree(&'r Value),
    /// Its JSON.
    Text(&'r str),
}

impl Results {
    /// Takes JSON that has been checked as [`crate::payload::json::check`] does; anything else counts as null.
    #[must_use]
    pub fn of_json(json: Bytes) -> Self {
        Self {
            json,
            tree: OnceLock::new(),
            index: OnceLock::new(),
            looked_up: AtomicU8::new(0),
        }
    }

    /// The same with what is known of where their members stand, if they are large.
    #[must_use]
    pub(crate) fn with_index(self, index: impl FnOnce(&[u8]) -> Index) -> Self {
        if self.json.len() > TREE_TEXT {
            let _ = self.index.set(Box::new(index(&self.json)));
        }
        self
    }

    /// Takes a value.
    #[must_use]
    pub fn of_value(value: Value) -> Self {
        let results = Self::of_json(value.to_string().into());
        if results.json.len() <= TREE_TEXT {
            let _ = results.tree.set(value);
        }
        results
    }

    /// The results as JSON: what is sealed and stored.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The same as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.json()).unwrap_or("null")
    }

    /// The part that a path leads to; `None` where it leads nowhere. The segment at the place `any_case` is compared without regard
    /// to case where no key is the same.
    pub(super) fn part(&self, path: &[String], any_case: Option<usize>) -> Option<Part<'_>> {
        let is_small = self.json.len() <= TREE_TEXT;
        let tree = self
            .tree
            .get()
            .or_else(|| (is_small && self.is_walked_often()).then(|| self.tree.get_or_init(|| self.value())));
        match tree {
            Some(tree) => part_of(tree, path, any_case).map(Part::Tree),
            None => self.json_part(path, any_case).map(Part::Text),
        }
    }

    /// The JSON of the part that a path leads to, as it came; `None` where there is no such part.
    pub(super) fn json_part(&self, path: &[String], any_case: Option<usize>) -> Option<&str> {
        let is_large = self.json.len() > TREE_TEXT;
        let index = self
            .index
            .get()
            .or_else(|| (is_large && self.is_walked_often()).then(|| self.index.get_or_init(Box::default)));
        match index {
            Some(index) => index.value_at(&self.json, path, any_case),
            None => value_at(&self.json, path, any_case),
        }
    }

    /// Whether there were some look-ups already. Counts one.
    fn is_walked_often(&self) -> bool {
        let before = self
            .looked_up
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_add(1));
        before.unwrap_or(u8::MAX) >= LOOK_UPS
    }

    /// The results as a value.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }
}

/// The part of a tree that a path leads to, as [`Results::part`].
pub(super) fn part_of<'v>(tree: &'v Value, path: &[String], any_case: Option<usize>) -> Option<&'v Value> {
    path.iter().enumerate().try_fold(tree, |value, (place, segment)| match value {
        Value::Object(members) => {
            let in_any_case = || members.iter().find(|(key, _)| key.eq_ignore_ascii_case(segment));
            let similar = || (any_case == Some(place)).then(in_any_case).flatten().map(|(_, value)| value);
            members.get(segment).or_else(similar)
        }
        Value::Array(items) => segment.parse::<usize>().ok().and_then(|index| items.get(index)),
        _ => None,
    })
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A trigger's hold API keys, and any may hold what a third party answered.
        f.debug_struct("Results").finish_non_exhaustive()
    }
}

impl PartialEq for Results {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{FlowContext, Limits, trigger_payload};
    use perseat_domain::entry::TriggerRequest;
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn each_form_is_made_from_the_other() {
        let value = json!({ "b": [1, "x", null], "a": 2.5 });
        let made = Results::of_value(value.clone());
        assert_eq!(made.json().as_ref(), br#"{"b":[1,"x",null],"a":2.5}"#);
        let read = Results::of_json(Bytes::from_static(b" {\"b\": [1, \"x\", null], \"a\": 2.5}"));
        assert_eq!((made.value(), read.value()), (value.clone(), value));
        assert_eq!(read.text(), " {\"b\": [1, \"x\", null], \"a\": 2.5}", "it stays as it came");
        assert_eq!(Results::of_json(Bytes::from_static(b"{")).value(), Value::Null);
        assert!(!format!("{made:?}{read:?}").contains("2.5"), "`Debug` tells nothing of them");
    }

    #[test]
    fn parts_are_the_same_in_text_and_tree() {
        let json = br#"{"headers":{"x-a":[{"b":1.50}],"X-B":"c"},"n":null}"#;
        let results = Results::of_json(Bytes::from_static(json));
        let path = |text: &str| -> Vec<String> { text.split('/').map(str::to_owned).collect() };
        let paths = ["headers/X-A/0/b", "headers/x-b", "n", "headers/x-a/1", "n/x"].map(path);
        let expected = [Some(json!(1.5)), Some(json!("c")), Some(Value::Null), None, None];
        let mut texts = 0;
        for _ in 0..3 {
            for (path, expected) in paths.iter().zip(&expected) {
                let found = results.part(path, Some(1)).map(|part| match part {
                    Part::Tree(value) => value.clone(),
                    Part::Text(text) => {
                        texts += 1;
                        serde_json::from_str(text).unwrap()
                    }
                });
                assert_eq!(found, *expected, "{path:?}");
            }
        }
        // Of the eight look-ups in the text two in five find nothing.
        assert_eq!(texts, 6);
        assert_eq!(results.json().as_ref(), json, "it stays as it came");
    }

    #[test]
    fn nobody_looks_through_a_large_body_for_what_stands_beside_it() {
        let request = TriggerRequest {
            method: "POST".into(),
            headers: vec![("x-a".into(), "one".into()), ("X-B".into(), "two".into())],
            query: "q=1".into(),
            path_fragment: "orders/7".into(),
            invoke_url: "https://hooks.example/trigger/x".into(),
            body: "{ü\"".repeat(TREE_TEXT).into(),
            debug: true,
        };
        let context = FlowContext::new("RXg=".into(), request.invoke_url.clone(), "now".into(), Arc::default());
        let payload = trigger_payload(&request, &context, Limits::default()).unwrap();
        let passes = || payload.index.get().map(|index| index.passes());
        assert_eq!(passes(), Some(1), "its own members are known");
        let value = payload.value();
        let members = value.as_object().unwrap();
        assert!(members.len() > 10, "{members:?}");
        for (name, expected) in members {
            let Some(Part::Text(found)) = payload.part(std::slice::from_ref(name), Some(1)) else {
                panic!("{name} is not found");
            };
            assert_eq!(serde_json::from_str::<Value>(found).unwrap(), *expected, "{name}");
        }
        for (name, expected) in [("X-A", Some("\"one\"")), ("x-b", Some("\"two\"")), ("x-c", None)] {
            let found = payload.json_part(&["headers".to_owned(), name.to_owned()], Some(1));
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(passes(), Some(1), "and nothing was passed over");
    }

    #[test]
    fn no_tree_is_kept_of_a_large_text() {
        let large = json!({ "list": vec![0; TREE_TEXT], "last": 1 });
        for results in [Results::of_value(large.clone()), Results::of_json(large.to_string().into())] {
            for n in 0..1_000 {
                assert!(matches!(results.part(&["last".to_owned()], None), Some(Part::Text("1"))));
                assert!(matches!(
                    results.part(&["list".to_owned(), n.to_string()], None),
                    Some(Part::Text("0"))
                ));
            }
            let passes = results.index.get().map(|index| index.passes());
            assert_eq!(passes, Some(2), "each list and object is passed over once");
        }
    }
}
