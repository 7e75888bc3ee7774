//! Whether data is as a JSON schema says, as far as its keywords are known here; patterns in linear time.

use super::controls::type_of;
use regex::{Regex, RegexBuilder};
use serde_json::{Number, Value};

/// What is wrong at one place of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// A JSON pointer.
    pub pointer: String,
    /// What to do about it.
    pub sentence: String,
}

/// The most memory of a compiled pattern. No key: what needs more is no pattern of a form.
const LARGEST: usize = 256 << 10;

/// A pattern that can be checked in linear time.
pub(super) fn pattern(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).size_limit(LARGEST).dfa_size_limit(LARGEST).build().ok()
}

/// Everything that is wrong with `data`, in order. Keywords that are not known say nothing, so data that is not complained of
/// may still be against the schema.
#[must_use]
pub fn check(schema: &Value, data: &Value) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    look(schema, data, "", &mut wrong);
    wrong
}

fn look(schema: &Value, data: &Value, pointer: &str, wrong: &mut Vec<Wrong>) {
    let mut say = |sentence: String| {
        wrong.push(Wrong {
            pointer: pointer.to_owned(),
            sentence,
        });
    };
    if !is_of_type(type_of(schema), data) {
        return say(match type_of(schema) {
            "integer" => "Enter a whole number.".to_owned(),
            "number" => "Enter a number.".to_owned(),
            kind => format!("This has to be of the type {kind}."),
        });
    }
    if !is_offered(schema, data) {
        return say("Choose one of the list.".to_owned());
    }
    match data {
        Value::String(text) => text_problem(schema, text).into_iter().for_each(say),
        Value::Number(number) => number_problem(schema, number).into_iter().for_each(say),
        Value::Array(items) => {
            list_problem(schema, items).into_iter().for_each(say);
            if let Some(each) = schema.get("items").filter(|each| each.is_object()) {
                for (place, item) in items.iter().enumerate() {
                    look(each, item, &format!("{pointer}/{place}"), wrong);
                }
            }
        }
        Value::Object(members) => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let at = |name: &str| format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            for name in required.filter_map(Value::as_str).filter(|name| !members.contains_key(*name)) {
                wrong.push(Wrong {
                    pointer: at(name),
                    sentence: "Fill in this field.".to_owned(),
                });
            }
            let properties = schema.get("properties");
            let is_closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
            for (name, member) in members {
                match properties.and_then(|all| all.get(name)) {
                    Some(property) => look(property, member, &at(name), wrong),
                    None if is_closed => wrong.push(Wrong {
                        pointer: at(name),
                        sentence: "There is no such field in this form.".to_owned(),
                    }),
                    None => {}
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn is_of_type(kind: &str, data: &Value) -> bool {
    match kind {
        "string" => data.is_string(),
        "number" => data.is_number(),
        "integer" => data.as_f64().is_some_and(|number| number.fract() == 0.0),
        "boolean" => data.is_boolean(),
        "object" => data.is_object(),
        "array" => data.is_array(),
        "null" => data.is_null(),
        _ => true,
    }
}

/// Whether the data is one of what `enum`, `const` and a `oneOf` of constants allow.
fn is_offered(schema: &Value, data: &Value) -> bool {
    let listed = schema
        .get("enum")
        .and_then(Value::as_array)
        .is_none_or(|values| values.contains(data));
    let constant = schema.get("const").is_none_or(|value| value == data);
    let one_of = schema.get("oneOf").and_then(Value::as_array);
    let constants: Option<Vec<&Value>> = one_of.and_then(|items| items.iter().map(|item| item.get("const")).collect());
    listed && constant && constants.is_none_or(|values| values.contains(&data))
}

fn text_problem(schema: &Value, text: &str) -> Option<String> {
    let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    if let Some(least) = bound("minLength").filter(|least| length < *least) {
        return Some(format!("Enter at least {least} characters."));
    }
    if let Some(most) = bound("maxLength").filter(|most| length > *most) {
        return Some(format!("Enter at most {most} characters."));
    }
    if schema.get("format").and_then(Value::as_str) == Some("date") && text.parse::<jiff::civil::Date>().is_err() {
        return Some("Enter a date.".to_owned());
    }
    let text_of_pattern = schema.get("pattern").and_then(Value::as_str)?;
    let is_against = pattern(text_of_pattern).is_some_and(|pattern| !pattern.is_match(text));
    is_against.then(|| format!("This does not match {text_of_pattern}."))
}

fn number_problem(schema: &Value, number: &Number) -> Option<String> {
    let number = number.as_f64()?;
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    if let Some(least) = bound("minimum").filter(|least| number < *least) {
        return Some(format!("Enter {least} or more."));
    }
    if let Some(most) = bound("maximum").filter(|most| number > *most) {
        return Some(format!("Enter {most} or less."));
    }
    if let Some(least) = bound("exclusiveMinimum").filter(|least| number <= *least) {
        return Some(format!("Enter more than {least}."));
    }
    if let Some(most) = bound("exclusiveMaximum").filter(|most| number >= *most) {
        return Some(format!("Enter less than {most}."));
    }
    let step = bound("multipleOf").filter(|step| *step > 0.0)?;
    let places = number / step;
    ((places - places.round()).abs() > 1e-9).then(|| format!("Enter a multiple of {step}."))
}

fn list_problem(schema: &Value, items: &[Value]) -> Option<String> {
    let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    if let Some(least) = bound("minItems").filter(|least| count < *least) {
        return Some(format!("Give at least {least}."));
    }
    if let Some(most) = bound("maxItems").filter(|most| count > *most) {
        return Some(format!("Give at most {most}."));
    }
    let is_unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
    let mut seen = std::collections::BTreeSet::new();
    let is_twice = is_unique && !items.iter().all(|item| seen.insert(item.to_string()));
    is_twice.then(|| "Give each only once.".to_owned())
}
