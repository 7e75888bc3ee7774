//! Reads the document's blocks, and bytes by them.

use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What a block says a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    Byte,
    Varint,
    Bool,
    Text,
    Bytes,
    Id,
    Hash,
    Option(Box<Type>),
    List(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Tuple(Vec<Type>),
    Fields(Vec<(String, Type)>),
    OneOf(Vec<(String, Option<Type>)>),
    Named(String),
}

/// The types that the document defines.
pub(crate) struct Layout(pub(crate) BTreeMap<String, Type>);

/// The words of a block.
struct Words<'a>(std::iter::Peekable<std::vec::IntoIter<&'a str>>);

impl<'a> Words<'a> {
    fn of(block: &'a str) -> Self {
        let is_mark = |c: char| "{}(),:=".contains(c);
        let mut words = Vec::new();
        for mut rest in block.split_whitespace() {
            while let Some(at) = rest.find(is_mark) {
                words.extend((at > 0).then(|| &rest[..at]));
                words.push(&rest[at..=at]);
                rest = &rest[at + 1..];
            }
            words.extend((!rest.is_empty()).then_some(rest));
        }
        Self(words.into_iter().peekable())
    }

    fn next(&mut self) -> &'a str {
        self.0.next().unwrap()
    }

    fn takes(&mut self, word: &str) -> bool {
        self.0.next_if_eq(&word).is_some()
    }

    fn expect(&mut self, word: &str) {
        assert_eq!(self.next(), word);
    }

    fn of_type(&mut self) -> Type {
        let boxed = |words: &mut Self| Box::new(words.of_type());
        match self.next() {
            "u8" => Type::Byte,
            "u16" | "u32" | "u64" => Type::Varint,
            "bool" => Type::Bool,
            "text" => Type::Text,
            "bytes" => Type::Bytes,
            "id" => Type::Id,
            "hash" => Type::Hash,
            "option" => Type::Option(boxed(self)),
            "list" => Type::List(boxed(self)),
            "map" => Type::Map(boxed(self), boxed(self)),
            "(" => {
                let mut types = vec![self.of_type()];
                while self.takes(",") {
                    types.push(self.of_type());
                }
                self.expect(")");
                Type::Tuple(types)
            }
            "{" => {
                let mut fields = Vec::new();
                while !self.takes("}") {
                    let name = self.next().to_owned();
                    self.expect(":");
                    fields.push((name, self.of_type()));
                    let _ = self.takes(",");
                }
                Type::Fields(fields)
            }
            "one" => {
                self.expect("of");
                let mut variants = Vec::new();
                loop {
                    let name = self.next().to_owned();
                    // The next definition begins with a name and `=`.
                    let ends = self.0.peek().is_none_or(|word| *word == ",") || self.is_definition();
                    variants.push((name, (!ends).then(|| self.of_type())));
                    if !self.takes(",") {
                        return Type::OneOf(variants);
                    }
                }
            }
            name => Type::Named(name.to_owned()),
        }
    }

    fn is_definition(&self) -> bool {
        self.0.clone().nth(1) == Some("=")
    }
}

impl Layout {
    pub(crate) fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/store-format.md");
        let text = std::fs::read_to_string(path).unwrap();
        let mut types = BTreeMap::new();
        for block in text.split("```layout\n").skip(1) {
            let mut words = Words::of(block.split("```").next().unwrap());
            while words.0.peek().is_some() {
                let name = words.next().to_owned();
                words.expect("=");
                let found = words.of_type();
                assert_eq!(types.insert(name.clone(), found), None, "{name} is there twice");
            }
        }
        Self(types)
    }

    /// Reads a value as the document says, in the form in which it would be JSON.
    fn value(&self, kind: &Type, bytes: &mut &[u8]) -> Value {
        match kind {
            Type::Byte => json!(take(bytes, 1)[0]),
            Type::Varint => json!(varint(bytes)),
            Type::Bool => json!([false, true][usize::from(take(bytes, 1)[0])]),
            Type::Text => json!(std::str::from_utf8(blob(bytes)).unwrap()),
            Type::Bytes => json!(blob(bytes)),
            Type::Id => json!(Uuid::from_slice(blob(bytes)).unwrap()),
            Type::Hash => json!(take(bytes, 32)),
            Type::Option(inner) => match take(bytes, 1)[0] {
                0 => Value::Null,
                1 => self.value(inner, bytes),
                other => panic!("{other} before an optional value"),
            },
            Type::List(inner) => (0..varint(bytes)).map(|_| self.value(inner, bytes)).collect(),
            Type::Map(key, inner) => {
                let pairs = (0..varint(bytes)).map(|_| {
                    let key = match self.value(key, bytes) {
                        Value::String(text) => text,
                        other => other.to_string(),
                    };
                    (key, self.value(inner, bytes))
                });
                Value::Object(pairs.collect())
            }
            Type::Tuple(types) => types.iter().map(|one| self.value(one, bytes)).collect(),
            Type::Fields(fields) => {
                let fields = fields.iter().map(|(name, one)| (name.clone(), self.value(one, bytes)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
            Type::OneOf(variants) => match &variants[usize::try_from(varint(bytes)).unwrap()] {
                (name, None) => json!(name),
                (name, Some(inner)) => json!({ name: self.value(inner, bytes) }),
            },
            Type::Named(name) => self.value(self.0.get(name).unwrap_or_else(|| panic!("no layout of {name}")), bytes),
        }
    }

    /// Holds the document to a value of this name, or of this type.
    #[track_caller]
    pub(crate) fn check(&self, name: &str, value: &impl Serialize, mut bytes: &[u8]) {
        let kind = Words::of(name).of_type();
        assert_eq!(self.value(&kind, &mut bytes), serde_json::to_value(value).unwrap(), "{name}");
        assert!(bytes.is_empty(), "{name}: {} bytes are left over", bytes.len());
    }

    #[track_caller]
    pub(crate) fn check_stored(&self, name: &str, value: &impl Serialize) {
        self.check(name, value, &postcard::to_stdvec(value).unwrap());
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

fn blob<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::try_from(varint(bytes)).unwrap();
    take(bytes, length)
}
