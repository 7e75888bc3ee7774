//! Holds a document against the shape of its kind, so that everything that is wrong with it is told at once, with its place.
//!
//! The shapes come from the types themselves, by way of their JSON Schemas: no second list of keys can drift from the first.

use super::kinds::{
    AppRegistration, Customer, CustomerUser, Instance, Integration, Manifest, Organization, OrganizationUser, SharedConnection,
    SharedConnectionValue, UserLevelConfig,
};
use perseat_flow::definition::{Key, Node, Place, nearest};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// One thing that is wrong with a document.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) at: Place,
    pub(super) message: String,
}

/// What may stand somewhere.
#[derive(Clone, Debug)]
enum Shape {
    /// Text; one of the words, where there are any.
    Text(Vec<String>),
    Flag,
    Number,
    List(Box<Self>),
    /// Anything by name, each of one shape.
    Map(Box<Self>),
    Record {
        fields: Vec<(String, Self)>,
        required: Vec<String>,
    },
    /// One of these; none of them is a choice itself.
    Either(Vec<Self>),
}

/// A kind of manifest, and how one is made of what fits its shape.
struct Kind {
    name: &'static str,
    shape: Shape,
    make: fn(Value) -> Result<Manifest, serde_json::Error>,
}

impl Kind {
    fn new<T: JsonSchema + DeserializeOwned>(name: &'static str, make: fn(Value) -> Result<Manifest, serde_json::Error>) -> Self {
        let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
        let schema = settings.into_generator().into_root_schema_for::<T>().to_value();
        Self {
            name,
            shape: Shape::of(&schema),
            make,
        }
    }
}

macro_rules! kinds {
    ($($kind:ident),*) => {
        static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| vec![$(
            Kind::new::<$kind>(stringify!($kind), |value| serde_json::from_value(value).map(Manifest::$kind)),
        )*]);
    };
}

kinds!(
    Organization,
    OrganizationUser,
    Customer,
    CustomerUser,
    SharedConnection,
    SharedConnectionValue,
    Integration,
    Instance,
    AppRegistration,
    UserLevelConfig
);

/// The manifest that a document is, with nothing resolved.
pub(super) fn manifest(document: &Node) -> Result<Manifest, Vec<Wrong>> {
    let wrong = |at, message: String| vec![Wrong { at, message }];
    let Some(members) = document.members() else {
        let message = format!("a manifest is a mapping with a `kind`, not {}", document.kind());
        return Err(wrong(document.at, message));
    };
    let Some((_, word)) = members.iter().find(|(key, _)| &*key.text == "kind") else {
        let message = format!("the key `kind` is missing; the kinds are {}", Manifest::KINDS.join(", "));
        return Err(wrong(document.at, message));
    };
    let name = word.scalar().unwrap_or_default();
    let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
        return Err(wrong(word.at, unknown_kind(name)));
    };
    let mut fitting = Fitting::default();
    let rest = members.iter().filter(|(key, _)| &*key.text != "kind");
    let value = fitting.record(&kind.shape, rest, document.at, "");
    if !fitting.wrong.is_empty() {
        return Err(fitting.wrong);
    }
    // What fits the shape of a type is one; should the two ever differ, this says so.
    (kind.make)(value).map_err(|error| wrong(document.at, format!("this is no {name}: {error}")))
}

fn unknown_kind(unknown: &str) -> String {
    match nearest(unknown, Manifest::KINDS) {
        Some(near) => format!("unknown kind `{unknown}`; did you mean `{near}`?"),
        None => format!("unknown kind `{unknown}`; the kinds are {}", Manifest::KINDS.join(", ")),
    }
}

impl Shape {
    fn of(schema: &Value) -> Self {
        let all = |key: &str| schema[key].as_array().map(|items| items.iter().map(Self::of).collect::<Vec<_>>());
        if let Some(choice) = all("oneOf").or_else(|| all("anyOf")) {
            return Self::either(choice);
        }
        let types = &schema["type"];
        let is = |name: &str| types == name || types.as_array().is_some_and(|types| types.iter().any(|of| of == name));
        if is("boolean") {
            Self::Flag
        } else if is("integer") {
            Self::Number
        } else if is("array") {
            Self::List(Box::new(Self::of(&schema["items"])))
        } else if let Some(properties) = schema["properties"].as_object() {
            let required = schema["required"].as_array().into_iter().flatten();
            Self::Record {
                fields: properties.iter().map(|(name, schema)| (name.clone(), Self::of(schema))).collect(),
                required: required.filter_map(|name| name.as_str().map(str::to_owned)).collect(),
            }
        } else if is("object") {
            Self::Map(Box::new(Self::of(&schema["additionalProperties"])))
        } else {
            let words = schema["enum"].as_array().into_iter().flatten().chain(schema.get("const"));
            Self::Text(words.filter_map(|word| word.as_str().map(str::to_owned)).collect())
        }
    }

    /// Choices within choices are one, and so are words.
    fn either(choice: Vec<Self>) -> Self {
        let (mut words, mut shapes) = (None, Vec::new());
        let flat = choice.into_iter().flat_map(|shape| match shape {
            Self::Either(inner) => inner,
            shape => vec![shape],
        });
        for shape in flat {
            match shape {
                Self::Text(more) => words.get_or_insert_with(Vec::new).extend(more),
                shape => shapes.push(shape),
            }
        }
        shapes.extend(words.map(Self::Text));
        match shapes.len() {
            1 => shapes.remove(0),
            _ => Self::Either(shapes),
        }
    }

    fn fields(&self) -> &[(String, Self)] {
        match self {
            Self::Record { fields, .. } => fields,
            _ => &[],
        }
    }

    fn required(&self) -> &[String] {
        match self {
            Self::Record { required, .. } => required,
            _ => &[],
        }
    }

    /// What is expected, for messages.
    fn wanted(&self) -> String {
        match self {
            Self::Text(words) if words.is_empty() => "text".to_owned(),
            Self::Text(words) => format!("one of {}", words.join(", ")),
            Self::Flag => "true or false".to_owned(),
            Self::Number => "a whole number".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a mapping".to_owned(),
            Self::Record { fields, .. } => {
                let keys: Vec<String> = fields.iter().map(|(name, _)| format!("`{name}`")).collect();
                format!("a mapping with {}", keys.join(" or "))
            }
            Self::Either(shapes) => {
                let mut wanted: Vec<String> = shapes.iter().map(Self::wanted).collect();
                wanted.dedup();
                wanted.join(", or ")
            }
        }
    }
}

#[derive(Default)]
struct Fitting {
    wrong: Vec<Wrong>,
}

impl Fitting {
    fn wrong(&mut self, at: Place, path: &str, message: &str) -> Value {
        let message = if path.is_empty() {
            message.to_owned()
        } else {
            format!("`{path}`: {message}")
        };
        self.wrong.push(Wrong { at, message });
        Value::Null
    }

    fn fit(&mut self, shape: &Shape, node: &Node, path: &str) -> Value {
        let fitting = match (shape, node.scalar(), node.plain()) {
            _ if node.is_null() => None,
            (Shape::Text(words), Some(text), _) => (words.is_empty() || words.iter().any(|word| word == text)).then(|| text.into()),
            (Shape::Flag, _, Some("true" | "True" | "TRUE")) => Some(true.into()),
            (Shape::Flag, _, Some("false" | "False" | "FALSE")) => Some(false.into()),
            (Shape::Number, _, Some(text)) => text.parse::<u32>().ok().map(Value::from),
            (Shape::List(of), ..) => node.items().map(|items| {
                let items = items.iter().enumerate();
                items.map(|(index, item)| self.fit(of, item, &format!("{path}[{index}]"))).collect()
            }),
            (Shape::Map(of), ..) => node.members().map(|members| {
                let fit = |(key, member): &(Key, Node)| {
                    let value = self.fit(of, member, &below(path, &key.text));
                    (key.text.to_string(), value)
                };
                members.iter().map(fit).collect::<Map<_, _>>().into()
            }),
            (Shape::Record { .. }, ..) => node.members().map(|members| self.record(shape, members.iter(), node.at, path)),
            (Shape::Either(shapes), ..) => chosen(shapes, node).map(|shape| self.fit(shape, node, path)),
            _ => None,
        };
        fitting.unwrap_or_else(|| {
            // Where text is expected it may be a secret.
            let is_open = match shape {
                Shape::Flag | Shape::Number => true,
                Shape::Text(words) => !words.is_empty(),
                _ => false,
            };
            let found = match node.plain() {
                Some(text) if is_open && !node.is_null() && text.len() <= 40 => format!("`{text}`"),
                _ => node.kind().to_owned(),
            };
            self.wrong(node.at, path, &format!("expected {}, found {found}", shape.wanted()))
        })
    }

    fn record<'n>(&mut self, shape: &Shape, members: impl Iterator<Item = &'n (Key, Node)>, at: Place, path: &str) -> Value {
        let mut made = Map::new();
        for (key, member) in members {
            let known = shape.fields().iter().find(|(name, _)| **name == *key.text);
            let Some((name, of)) = known else {
                let near = nearest(&key.text, shape.fields().iter().map(|(name, _)| name.as_str()));
                let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                self.wrong(key.at, path, &format!("there is no key `{}` here{near}", key.text));
                continue;
            };
            // A key without a value says as little as one that is not there.
            if member.is_null() && !shape.required().contains(name) {
                continue;
            }
            let value = self.fit(of, member, &below(path, name));
            made.insert(name.clone(), value);
        }
        for missing in shape.required().iter().filter(|name| !made.contains_key(*name)) {
            self.wrong(at, path, &format!("the key `{missing}` is missing"));
        }
        made.into()
    }
}

/// The choice that a node can only mean: by its keys, where it is a mapping.
fn chosen<'s>(shapes: &'s [Shape], node: &Node) -> Option<&'s Shape> {
    let Some(members) = node.members() else {
        return shapes
            .iter()
            .find(|shape| node.scalar().is_some() && matches!(shape, Shape::Text(_)));
    };
    let named = |shape: &&Shape| {
        let has = |key: &Key| shape.fields().iter().any(|(name, _)| **name == *key.text);
        members.iter().any(|(key, _)| has(key))
    };
    let open = |shape: &&Shape| members.is_empty() && matches!(shape, Shape::Record { required, .. } if required.is_empty());
    shapes.iter().find(named).or_else(|| shapes.iter().find(open))
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
