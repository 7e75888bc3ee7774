//! Turns nodes into the raw types and reports everything that does not fit on the way.
//!
//! A raw struct is always made where there is a mapping: what is missing or wrong has been reported and is left
//! empty, so that one typing error does not hide the next.

use super::Code;
use super::document::{Content, Node};
use super::report::{Report, Spot, quoted};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// Reads itself from a node; `None` once the reason was reported.
pub(super) trait Read: Sized {
    fn read(node: &Node, spot: &Spot, report: &mut Report) -> Option<Self>;
}

/// A value that stands in one scalar.
pub(super) trait Leaf: Sized {
    const WANTED: &'static str;
    fn leaf(text: &str) -> Option<Self>;
    /// All words, where it is one of a few.
    fn words() -> &'static [&'static str] {
        &[]
    }
    fn schema() -> Schema;
}

/// A value and where it stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) spot: Spot,
}

/// Text; numbers and flags count as what was written.
pub(super) type Text = Located<String>;
/// `true` or `false`.
pub(super) type Flag = Located<bool>;
/// A whole number.
pub(super) type Count = Located<i64>;

impl Text {
    pub(super) fn as_str(&self) -> &str {
        &self.value
    }
}

impl<T: Leaf> Read for Located<T> {
    fn read(node: &Node, spot: &Spot, report: &mut Report) -> Option<Self> {
        let Some(text) = node.scalar().filter(|_| !node.is_null()) else {
            let message = format!("expected {}, found {}", T::WANTED, node.kind());
            report.problem(spot, Code::TypeMismatch, message);
            return None;
        };
        let Some(value) = T::leaf(text) else {
            let words = T::words();
            if words.is_empty() {
                report.problem(spot, Code::TypeMismatch, format!("expected {}, found {}", T::WANTED, quoted(text)));
            } else {
                let message = format!("{} is none of {}", quoted(text), words.join(", "));
                report.suggest(spot, Code::ValueInvalid, message, text, words.iter().copied());
            }
            return None;
        };
        Some(Self { value, spot: spot.clone() })
    }
}

impl<T: Leaf> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed(T::WANTED)
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::schema()
    }
}

impl Leaf for String {
    const WANTED: &'static str = "text";
    fn leaf(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
    fn schema() -> Schema {
        json_schema!({"type": ["string", "number", "boolean"]})
    }
}

impl Leaf for bool {
    const WANTED: &'static str = "true or false";
    fn leaf(text: &str) -> Option<Self> {
        match text {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => None,
        }
    }
    fn schema() -> Schema {
        json_schema!({"type": "boolean"})
    }
}

impl Leaf for i64 {
    const WANTED: &'static str = "a whole number";
    fn leaf(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn schema() -> Schema {
        json_schema!({"type": "integer"})
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(node: &Node, spot: &Spot, report: &mut Report) -> Option<Self> {
        let Some(items) = node.items() else {
            report.problem(spot, Code::TypeMismatch, format!("expected a list, found {}", node.kind()));
            return None;
        };
        let read = |(index, item): (usize, &Node)| T::read(item, &spot.index(index, item.at), report);
        Some(items.iter().enumerate().filter_map(read).collect())
    }
}

impl<T: Read> Read for Box<T> {
    fn read(node: &Node, spot: &Spot, report: &mut Report) -> Option<Self> {
        T::read(node, spot, report).map(Self::new)
    }
}

/// A mapping with names of the author's choice.
#[derive(Clone, Debug)]
pub(super) struct Named<T>(pub(super) Vec<(Text, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Read> Read for Named<T> {
    fn read(node: &Node, spot: &Spot, report: &mut Report) -> Option<Self> {
        let Some(members) = node.members() else {
            report.problem(spot, Code::TypeMismatch, format!("expected a mapping, found {}", node.kind()));
            return None;
        };
        let mut named = Vec::with_capacity(members.len());
        for (key, member) in members {
            let name = Located {
                value: key.text.to_string(),
                spot: spot.key(&key.text, key.at),
            };
            if !member.is_null()
                && let Some(value) = T::read(member, &spot.key(&key.text, member.at), report)
            {
                named.push((name, value));
            }
        }
        Some(Self(named))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let member = generator.subschema_for::<T>();
        json_schema!({"type": "object", "additionalProperties": {"anyOf": [member, {"type": "null"}]}})
    }
}

/// Anything at all; kept in the stored text, not looked into.
#[derive(Clone, Debug, Default)]
pub(super) struct Anything {
    pub(super) spot: Spot,
}

impl Read for Anything {
    fn read(_: &Node, spot: &Spot, _: &mut Report) -> Option<Self> {
        Some(Self { spot: spot.clone() })
    }
}

impl JsonSchema for Anything {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Anything")
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}

/// Reads the members of a mapping for one raw struct.
pub(super) struct Fields<'n, 'r> {
    node: &'n Node,
    spot: &'n Spot,
    report: &'r mut Report,
}

impl<'n, 'r> Fields<'n, 'r> {
    /// `None` for anything but a mapping. Keys that are not in `known` are reported.
    pub(super) fn open(node: &'n Node, spot: &'n Spot, report: &'r mut Report, known: &[&'static str]) -> Option<Self> {
        let Content::Map(members) = &*node.content else {
            report.problem(spot, Code::TypeMismatch, format!("expected a mapping, found {}", node.kind()));
            return None;
        };
        for (key, _) in members {
            if known.contains(&&*key.text) {
                continue;
            }
            let spot = spot.key(&key.text, key.at);
            let message = match &*key.text {
                "userLevelConfigPages" => "user-level pages stand among `configPages`, with `userLevelConfigured: true`".to_owned(),
                other => format!("there is no key {} here", quoted(other)),
            };
            report.suggest(&spot, Code::KeyUnknown, message, &key.text, known.iter().copied());
        }
        Some(Self { node, spot, report })
    }

    /// A key that may be left out or null.
    pub(super) fn optional<T: Read>(&mut self, name: &str) -> Option<T> {
        let (key, member) = self.node.members()?.iter().find(|(key, _)| &*key.text == name)?;
        if member.is_null() {
            return None;
        }
        T::read(member, &self.spot.key(&key.text, member.at), self.report)
    }

    /// A key that must be there. An empty stand-in where it is not, or is wrong.
    pub(super) fn required<T: Read + Default>(&mut self, name: &str) -> T {
        if self.node.member(name).is_none_or(Node::is_null) {
            let message = format!("the key `{name}` is missing");
            self.report.problem(self.spot, Code::KeyMissing, message);
        }
        self.optional(name).unwrap_or_default()
    }
}

/// Declares a raw struct: its JSON Schema and its reader come from the same list of keys.
macro_rules! raw {
    ($($(#[$doc:meta])* $type:ident { $($(#[$field_doc:meta])* $name:ident: $need:ident $of:ty = $key:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        #[allow(dead_code, reason = "every key of the format is read and its type checked; not every key has an effect")]
        pub(super) struct $type {
            #[schemars(skip)]
            pub(super) spot: $crate::definition::report::Spot,
            $(
                $(#[$field_doc])*
                #[schemars(rename = $key)]
                pub(super) $name: $crate::definition::read::raw!(@type $need $of),
            )*
        }

        impl $crate::definition::read::Read for $type {
            fn read(
                node: &$crate::definition::document::Node,
                spot: &$crate::definition::report::Spot,
                report: &mut $crate::definition::report::Report,
            ) -> Option<Self> {
                let mut fields = $crate::definition::read::Fields::open(node, spot, report, &[$($key,)*])?;
                Some(Self { spot: spot.clone(), $($name: fields.$need($key),)* })
            }
        }
    )*};
    (@type required $of:ty) => { $of };
    (@type optional $of:ty) => { Option<$of> };
}
pub(super) use raw;

/// Declares an enum whose variants are words of the format.
macro_rules! words {
    ($($(#[$doc:meta])* $type:ident($wanted:literal) { $($(#[$word_doc:meta])* $name:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(super) enum $type { $($(#[$word_doc])* $name,)* }

        impl $crate::definition::read::Leaf for $type {
            const WANTED: &'static str = $wanted;
            fn leaf(text: &str) -> Option<Self> {
                match text { $($word => Some(Self::$name),)* _ => None }
            }
            fn words() -> &'static [&'static str] {
                &[$($word,)*]
            }
            fn schema() -> schemars::Schema {
                schemars::json_schema!({"enum": [$($word,)*]})
            }
        }
    )*};
}
pub(super) use words;
