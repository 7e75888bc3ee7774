//! What a step gave: as JSON, which is stored and handed to scripts, and as a value, which references walk.

use bytes::Bytes;
use serde_json::Value;
use std::fmt;
use std::sync::OnceLock;

/// A step's results. Each form is made from the other when it is first asked for: most results are only stored, or only
/// handed to a script.
#[derive(Clone, Default)]
pub struct Results {
    json: OnceLock<Bytes>,
    value: OnceLock<Value>,
}

impl Results {
    /// Takes JSON that has been checked as [`crate::payload::json::check`] does; anything else counts as null.
    #[must_use]
    pub fn of_json(json: Bytes) -> Self {
        Self {
            json: OnceLock::from(json),
            value: OnceLock::new(),
        }
    }

    /// Takes a value.
    #[must_use]
    pub fn of_value(value: Value) -> Self {
        Self {
            json: OnceLock::new(),
            value: OnceLock::from(value),
        }
    }

    /// The results as JSON: what is sealed and stored.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        self.json.get_or_init(|| Bytes::from(self.value().to_string()))
    }

    /// The same as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.json()).unwrap_or("null")
    }

    /// The results as a value.
    #[must_use]
    pub fn value(&self) -> &Value {
        self.value.get_or_init(|| {
            self.json
                .get()
                .and_then(|json| serde_json::from_slice(json).ok())
                .unwrap_or_default()
        })
    }
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
    use serde_json::json;

    #[test]
    fn each_form_is_made_from_the_other() {
        let value = json!({ "b": [1, "x", null], "a": 2.5 });
        let made = Results::of_value(value.clone());
        assert_eq!(made.json().as_ref(), br#"{"b":[1,"x",null],"a":2.5}"#);
        let read = Results::of_json(Bytes::from_static(b" {\"b\": [1, \"x\", null], \"a\": 2.5}"));
        assert_eq!(*read.value(), value);
        assert_eq!(read.text(), " {\"b\": [1, \"x\", null], \"a\": 2.5}", "it stays as it came");
        assert_eq!(*Results::of_json(Bytes::from_static(b"{")).value(), Value::Null);
        assert!(!format!("{made:?}{read:?}").contains("2.5"), "`Debug` tells nothing of them");
    }
}
