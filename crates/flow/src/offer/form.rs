//! Between the data of a form and the texts of its controls.

use super::check::Wrong;
use super::controls::{Control, ControlKind, Pick};
use serde_json::{Map, Number, Value};

/// The texts that a control is filled in with.
#[must_use]
pub fn texts(control: &Control, data: &Value) -> Vec<String> {
    let value = data.pointer(&control.pointer);
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    match (&control.kind, value) {
        (_, None | Some(Value::Null)) | (ControlKind::Group(_), _) => Vec::new(),
        (ControlKind::Choice(_), Some(value)) => vec![value.to_string()],
        (ControlKind::Several(_), Some(Value::Array(items))) => items.iter().map(Value::to_string).collect(),
        (ControlKind::List { .. }, Some(Value::Array(items))) => items.iter().map(word).collect(),
        (_, Some(value)) => vec![word(value)],
    }
}

/// What a form begins with: the data, and where it has nothing what the schema says (`default`).
#[must_use]
pub fn begun(schema: &Value, data: &Value) -> Value {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return data.clone();
    };
    let mut members = match data {
        Value::Object(members) => members.clone(),
        Value::Null => Map::new(),
        other => return other.clone(),
    };
    for (name, property) in properties {
        let known = members.get(name).or_else(|| property.get("default"));
        let value = begun(property, known.unwrap_or(&Value::Null));
        let is_nothing = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        if !is_nothing {
            members.insert(name.clone(), value);
        }
    }
    Value::Object(members)
}

/// The data that controls give: `base` with what each says. `texts` gives what a control was filled in with, by its pointer;
/// `None` where it was not shown.
///
/// # Errors
/// What cannot be read.
pub fn assemble<'t>(controls: &[Control], base: &Value, texts: &dyn Fn(&str) -> Option<Vec<&'t str>>) -> Result<Value, Vec<Wrong>> {
    let mut data = if base.is_object() {
        base.clone()
    } else {
        Value::Object(Map::new())
    };
    let mut wrong = Vec::new();
    fill(controls, texts, &mut data, &mut wrong);
    if wrong.is_empty() { Ok(data) } else { Err(wrong) }
}

fn fill<'t>(controls: &[Control], texts: &dyn Fn(&str) -> Option<Vec<&'t str>>, data: &mut Value, wrong: &mut Vec<Wrong>) {
    for control in controls {
        if let ControlKind::Group(within) = &control.kind {
            if control.is_required && !control.pointer.is_empty() {
                place(data, &control.pointer, |_| ());
            }
            fill(within, texts, data, wrong);
            continue;
        }
        let Some(given) = texts(&control.pointer) else { continue };
        match read(control, &given) {
            Ok(Some(value)) => put(data, &control.pointer, value),
            Ok(None) => remove(data, &control.pointer),
            Err(sentence) => wrong.push(Wrong {
                pointer: control.pointer.clone(),
                sentence: sentence.to_owned(),
            }),
        }
    }
}

/// The value of a control; none where it is left empty.
fn read(control: &Control, given: &[&str]) -> Result<Option<Value>, &'static str> {
    let first = given.first().copied().unwrap_or_default();
    let is_empty = first.trim().is_empty();
    let value = match &control.kind {
        ControlKind::Group(_) => None,
        // A box that is not ticked is not sent; a hidden field before it is.
        ControlKind::Flag => Some(Value::Bool(given.last() == Some(&"true"))),
        ControlKind::Text { .. } => (!first.is_empty()).then(|| first.into()),
        ControlKind::Number { is_integer, .. } if !is_empty => Some(number(first, *is_integer)?),
        ControlKind::Choice(options) if !is_empty => Some(chosen(options, first)?),
        ControlKind::Number { .. } | ControlKind::Choice(_) => None,
        ControlKind::Several(options) => {
            let given = given.iter().filter(|text| !text.is_empty());
            Some(given.map(|text| chosen(options, text)).collect::<Result<_, _>>()?)
        }
        ControlKind::List { is_number, is_integer } => {
            let given = given.iter().filter(|text| !text.trim().is_empty());
            let item = |text: &&str| match is_number {
                true => number(text, *is_integer),
                false => Ok(Value::from(*text)),
            };
            Some(given.map(item).collect::<Result<_, _>>()?)
        }
    };
    let is_nothing = match &value {
        None => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    };
    match is_nothing && control.is_required && !matches!(control.kind, ControlKind::Several(_) | ControlKind::List { .. }) {
        true => Err("Fill in this field."),
        false => Ok(value),
    }
}

fn number(text: &str, is_integer: bool) -> Result<Value, &'static str> {
    let text = text.trim();
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(whole.into());
    }
    if is_integer {
        return Err("Enter a whole number.");
    }
    let number = text.parse::<f64>().ok().and_then(Number::from_f64);
    number.map(Value::Number).ok_or("Enter a number.")
}

fn chosen(options: &[Pick], text: &str) -> Result<Value, &'static str> {
    let found = options.iter().find(|option| option.text() == text);
    found.map(|option| option.value.clone()).ok_or("Choose one of the list.")
}

fn names(pointer: &str) -> Vec<String> {
    pointer
        .split('/')
        .skip(1)
        .map(|name| name.replace("~1", "/").replace("~0", "~"))
        .collect()
}

/// The object at a pointer, made where there is none.
fn place<T>(data: &mut Value, pointer: &str, take: impl FnOnce(&mut Map<String, Value>) -> T) -> Option<T> {
    let mut at = data;
    for name in names(pointer) {
        at = object(at)?.entry(name).or_insert_with(|| Value::Object(Map::new()));
    }
    object(at).map(take)
}

/// A value as an object; whatever else it was gives way.
fn object(value: &mut Value) -> Option<&mut Map<String, Value>> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

fn put(data: &mut Value, pointer: &str, value: Value) {
    let Some((parent, _)) = pointer.rsplit_once('/') else { return };
    let Some(last) = names(pointer).pop() else { return };
    place(data, parent, |members| members.insert(last, value));
}

fn remove(data: &mut Value, pointer: &str) {
    let Some((parent, _)) = pointer.rsplit_once('/') else { return };
    let Some(last) = names(pointer).pop() else { return };
    if let Some(Value::Object(members)) = data.pointer_mut(parent) {
        members.remove(&last);
    }
}
