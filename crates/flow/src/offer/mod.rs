//! What a data source offers, read from its result: choices, objects, fields to map, a form, or a value to begin with.
//!
//! Pure and bounded. A result comes from a script that asked a third party, so its shape is checked here and its texts are text
//! and nothing else.

mod check;
mod controls;
mod form;

pub use check::{Wrong, check};
pub use controls::{Control, ControlKind, Pick, controls};
pub use form::{assemble, begun, texts};

use perseat_domain::definition::{CollectionType, DataType};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Something to choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Element {
    /// What is stored.
    pub key: String,
    /// What is shown.
    pub label: String,
}

/// An object with its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Object {
    /// The object.
    pub element: Element,
    /// Its fields; empty where it is chosen as a whole.
    pub fields: Vec<Element>,
    /// Whether it is chosen to begin with.
    pub is_chosen: bool,
}

/// A field that a field of an object can be mapped to: the keys of object and field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The field.
    pub field: Element,
    /// What it is mapped to to begin with.
    pub mapped: Option<(String, String)>,
}

/// A form by its JSON schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// The schema.
    pub schema: Value,
    /// What is shown, in order; or what of the schema cannot be shown.
    pub controls: Result<Vec<Control>, String>,
    /// What it is filled in with to begin with.
    pub data: Value,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub enum Offer {
    /// Of a picklist.
    Choices(Vec<Element>),
    /// Of an object selection.
    Objects(Vec<Object>),
    /// Of an object field map: rows, and the objects whose fields can be chosen.
    Map(Vec<Row>, Vec<Object>),
    /// Of a form.
    Form(Box<Form>),
    /// Of every other kind: the value to begin with, in the form that is stored.
    Value(Option<String>),
}

/// A result is not what its data source should give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Another shape.
    #[error("the data source has to give {0}")]
    Shape(&'static str),
    /// Too much.
    #[error("the data source gives more than {0} choices")]
    TooMany(usize),
}

/// Counts what is offered.
struct Room {
    left: usize,
    most: usize,
}

impl Room {
    fn take(&mut self) -> Result<(), OfferError> {
        self.left = self.left.checked_sub(1).ok_or(OfferError::TooMany(self.most))?;
        Ok(())
    }

    /// Elements in order; a key that comes again is left out.
    fn elements(&mut self, items: &[Value], shape: &'static str) -> Result<Vec<Element>, OfferError> {
        let mut keys = BTreeSet::new();
        let mut elements = Vec::new();
        for item in items {
            self.take()?;
            let element = element(item).ok_or(OfferError::Shape(shape))?;
            if keys.insert(element.key.clone()) {
                elements.push(element);
            }
        }
        Ok(elements)
    }

    fn objects(&mut self, items: &[Value], shape: &'static str) -> Result<Vec<Object>, OfferError> {
        let mut keys = BTreeSet::new();
        let mut objects = Vec::new();
        for item in items {
            self.take()?;
            let object = item.get("object").and_then(element).ok_or(OfferError::Shape(shape))?;
            let fields = match item.get("fields") {
                None | Some(Value::Null) => Vec::new(),
                Some(Value::Array(fields)) => self.elements(fields, shape)?,
                Some(_) => return Err(OfferError::Shape(shape)),
            };
            if keys.insert(object.key.clone()) {
                objects.push(Object {
                    element: object,
                    fields,
                    is_chosen: item.get("defaultSelected") == Some(&Value::Bool(true)),
                });
            }
        }
        Ok(objects)
    }
}

/// Text, or `{key, label?}`. A key is neither empty nor something else than text or a number.
fn element(item: &Value) -> Option<Element> {
    let (key, label) = match item {
        Value::Object(members) => (members.get("key")?, members.get("label")),
        other => (other, None),
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let key = text(key).filter(|key| !key.is_empty())?;
    let label = label.and_then(text).filter(|label| !label.trim().is_empty());
    Some(Element {
        label: label.unwrap_or_else(|| key.clone()),
        key,
    })
}

impl Offer {
    /// Reads the result of a data source for a variable of this kind; at most `most` choices, fields and controls.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn read(kind: DataType, collection: Option<CollectionType>, result: &Value, most: usize) -> Result<Self, OfferError> {
        let mut room = Room { left: most, most };
        match kind {
            DataType::Picklist => {
                const SHAPE: &str = "a list of texts or of `{key, label}`";
                let items = result.as_array().ok_or(OfferError::Shape(SHAPE))?;
                room.elements(items, SHAPE).map(Self::Choices)
            }
            DataType::ObjectSelection => {
                const SHAPE: &str = "a list of `{object: {key, label}, fields}`";
                let items = result.as_array().ok_or(OfferError::Shape(SHAPE))?;
                room.objects(items, SHAPE).map(Self::Objects)
            }
            DataType::ObjectFieldMap => map(result, &mut room),
            DataType::JsonForm => form_of(result, most),
            _ => value(kind, collection, result).map(Self::Value),
        }
    }
}

fn map(result: &Value, room: &mut Room) -> Result<Offer, OfferError> {
    const SHAPE: &str = "`{fields: [{field: {key, label}}], options: [{object, fields}]}`";
    let list = |name: &str| result.get(name).and_then(Value::as_array).ok_or(OfferError::Shape(SHAPE));
    let objects = room.objects(list("options")?, SHAPE)?;
    let mut keys = BTreeSet::new();
    let mut rows = Vec::new();
    for item in list("fields")? {
        room.take()?;
        let field = item.get("field").and_then(element).ok_or(OfferError::Shape(SHAPE))?;
        let of = |name: &str| item.get(name).and_then(element).map(|element| element.key);
        let pair = |object: &str, field: &str| Some((of(object)?, of(field)?));
        let mapped = pair("mappedObject", "mappedField").or_else(|| pair("defaultObject", "defaultField"));
        if keys.insert(field.key.clone()) {
            rows.push(Row { field, mapped });
        }
    }
    Ok(Offer::Map(rows, objects))
}

fn form_of(result: &Value, most: usize) -> Result<Offer, OfferError> {
    let schema = result
        .get("schema")
        .filter(|schema| schema.is_object())
        .ok_or(OfferError::Shape("`{schema, uiSchema, data}`"))?;
    let layout = result.get("uiSchema").unwrap_or(&Value::Null);
    Ok(Offer::Form(Box::new(Form {
        controls: controls(schema, layout, most),
        data: begun(schema, result.get("data").unwrap_or(&Value::Null)),
        schema: schema.clone(),
    })))
}

/// A value as it is stored; nothing where nothing was given.
fn value(kind: DataType, collection: Option<CollectionType>, result: &Value) -> Result<Option<String>, OfferError> {
    if result.is_null() {
        return Ok(None);
    }
    match (collection, result) {
        (Some(CollectionType::ValueList), Value::Array(items)) if items.iter().all(is_simple) => Ok(Some(result.to_string())),
        (Some(CollectionType::ValueList), _) => Err(OfferError::Shape("a list of values")),
        (Some(CollectionType::KeyValueList), _) => pairs(result).map(Some),
        (None, _) => single(kind, result).map(Some),
    }
}

fn is_simple(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

/// A list of pairs, or an object.
fn pairs(result: &Value) -> Result<String, OfferError> {
    let wrong = OfferError::Shape("a list of `{key, value}`");
    let items = match result {
        Value::Object(members) => members.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect(),
        Value::Array(items) => items.clone(),
        _ => return Err(wrong),
    };
    let is_pair = |item: &Map<String, Value>| {
        let key = item.get("key").and_then(Value::as_str);
        key.is_some_and(|key| !key.is_empty()) && item.get("value").is_some_and(is_simple)
    };
    match items.iter().all(|item| item.as_object().is_some_and(is_pair)) {
        true => Ok(Value::Array(items).to_string()),
        false => Err(wrong),
    }
}

fn single(kind: DataType, result: &Value) -> Result<String, OfferError> {
    match (kind, result) {
        (DataType::Number, Value::Number(number)) => Ok(number.to_string()),
        (DataType::Number, Value::String(text)) if text.trim().parse::<f64>().is_ok_and(f64::is_finite) => Ok(text.trim().to_owned()),
        (DataType::Number, _) => Err(OfferError::Shape("a number")),
        (DataType::Boolean, Value::Bool(flag)) => Ok(flag.to_string()),
        (DataType::Boolean, Value::String(text)) if matches!(text.as_str(), "true" | "false") => Ok(text.clone()),
        (DataType::Boolean, _) => Err(OfferError::Shape("true or false")),
        (DataType::Schedule, Value::Object(members)) => match members.get("value") {
            Some(Value::String(text)) => Ok(text.clone()),
            _ => Err(OfferError::Shape("a schedule as text or as `{value}`")),
        },
        (DataType::Code, Value::Object(_) | Value::Array(_)) => Ok(result.to_string()),
        (_, Value::String(text)) => Ok(text.clone()),
        (DataType::String, Value::Number(number)) => Ok(number.to_string()),
        _ => Err(OfferError::Shape("text")),
    }
}

#[cfg(test)]
mod tests;
