//! Inputs → values.

use super::results::{Part, part_of};
use super::scope::{Budget, VALUE_BYTES};
use super::{Connection, ExpressionError, Limits, Results, Scope, Setting, account_part};
use crate::payload::json;
use perseat_domain::definition::{ComplexItem, Input, Reference, TemplatePart};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

/// What an input came to.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// Data.
    Value(Value),
    /// A credential.
    Connection(Arc<Connection>),
}

/// A value that an input comes to.
#[derive(Clone, Debug)]
pub(super) enum Seen<'a> {
    /// Made for it, within the budget.
    Made(Value),
    /// It is there already; a copy has to be within the budget.
    There(Cow<'a, Value>),
}

impl Deref for Seen<'_> {
    type Target = Value;

    fn deref(&self) -> &Value {
        match self {
            Self::Made(value) => value,
            Self::There(value) => value,
        }
    }
}

impl Seen<'_> {
    fn into_owned(self, budget: &mut Budget) -> Result<Value, ExpressionError> {
        match self {
            Self::Made(value) => Ok(value),
            Self::There(value) => {
                budget.take_whole(&value)?;
                Ok(value.into_owned())
            }
        }
    }
}

/// Resolves one input.
///
/// # Errors
/// See [`ExpressionError`].
pub fn resolve(input: &Input, scope: &Scope) -> Result<Resolved, ExpressionError> {
    if let Input::ConfigVar(key) = input
        && let Some(Setting::Connection(connection)) = scope.setting(key)
    {
        return Ok(Resolved::Connection(Arc::clone(connection)));
    }
    owned(input, scope, &mut Budget::of(scope.limits())).map(Resolved::Value)
}

/// The JSON of an input that is a reference to a part of a step's results, as it came; `None` for every other input. It is the same
/// each time, also after a crash.
///
/// # Errors
/// See [`ExpressionError`].
pub(crate) fn json_of<'a>(input: &Input, scope: &'a Scope) -> Result<Option<&'a str>, ExpressionError> {
    let Input::Reference(reference) = input else { return Ok(None) };
    let Source::Results(results, any_case) = source(reference, scope)? else {
        return Ok(None);
    };
    let Some(json) = results.json_part(&reference.path, any_case) else {
        return Ok(None);
    };
    let limits = scope.limits();
    Budget::of(limits).take(json.len())?;
    take_values(json, limits)?;
    // Results are checked before they are kept: what fails here nests deeper.
    json::check(json.as_bytes(), limits.depth).map_err(|_| ExpressionError::TooDeep(limits.depth))?;
    Ok(Some(json))
}

/// The value of an input, copied only where it has to be made.
pub(super) fn view<'a>(input: &'a Input, scope: &'a Scope, budget: &mut Budget) -> Result<Seen<'a>, ExpressionError> {
    Ok(match input {
        Input::Value(None) => Seen::Made(Value::Null),
        Input::Value(Some(text)) => Seen::Made(string(text.clone(), budget)?),
        Input::Reference(reference) => match follow(reference, scope)? {
            Some(part) => Seen::There(value_of(part, scope.limits())?),
            None => Seen::Made(Value::Null),
        },
        Input::ConfigVar(key) => Seen::There(Cow::Borrowed(plain(key, scope)?)),
        Input::Template(parts) => Seen::Made(Value::String(template(parts, scope, budget)?)),
        Input::Complex(items) => Seen::Made(complex(items, scope, budget)?),
    })
}

fn owned(input: &Input, scope: &Scope, budget: &mut Budget) -> Result<Value, ExpressionError> {
    view(input, scope, budget)?.into_owned(budget)
}

fn value_of(part: Part<'_>, limits: Limits) -> Result<Cow<'_, Value>, ExpressionError> {
    match part {
        Part::Tree(value) => Ok(Cow::Borrowed(value)),
        Part::Text(json) => {
            take_values(json, limits)?;
            // Results are checked before they are kept.
            Ok(Cow::Owned(serde_json::from_str(json).unwrap_or_default()))
        }
    }
}

/// Fails for text of more values than there may be in one: before a tree is made, which takes much more than its text.
fn take_values(json: &str, limits: Limits) -> Result<(), ExpressionError> {
    // There are no more values than bytes.
    if json.len().saturating_mul(VALUE_BYTES) > limits.bytes {
        Budget::of(limits).take(json::count(json).saturating_mul(VALUE_BYTES))?;
    }
    Ok(())
}

fn string(text: String, budget: &mut Budget) -> Result<Value, ExpressionError> {
    budget.take(text.len())?;
    Ok(Value::String(text))
}

fn setting<'a>(key: &str, scope: &'a Scope) -> Result<&'a Setting, ExpressionError> {
    scope.setting(key).ok_or_else(|| ExpressionError::ConfigVarNotFound(key.to_owned()))
}

fn plain<'a>(key: &str, scope: &'a Scope) -> Result<&'a Value, ExpressionError> {
    if scope.setting(key).is_none()
        && let Some((variable, part)) = account_part(key)
        && let Some(Setting::Connection(connection)) = scope.setting(variable)
    {
        let chosen = connection.chosen().and_then(|chosen| chosen.get(part));
        return chosen.ok_or_else(|| ExpressionError::NoAccount(variable.to_owned()));
    }
    match setting(key, scope)? {
        Setting::Plain(value) => Ok(value),
        Setting::Connection(_) => Err(ExpressionError::ConnectionAsData(key.to_owned())),
    }
}

/// Where a reference begins.
enum Source<'a> {
    Item(&'a Value),
    /// Of a trigger's headers, the place of the name: it is found in any case.
    Results(&'a Results, Option<usize>),
}

fn source<'a>(reference: &Reference, scope: &'a Scope) -> Result<Source<'a>, ExpressionError> {
    let Reference { step, root, path } = reference;
    if root == "currentItem" {
        let item = scope.item_of(step).ok_or_else(|| ExpressionError::LoopNotFound(step.clone()))?;
        return Ok(Source::Item(item));
    }
    let results = scope.result_of(step).ok_or_else(|| ExpressionError::StepNotFound(step.clone()))?;
    let is_header = scope.is_trigger(step) && path.first().is_some_and(|first| first == "headers");
    Ok(Source::Results(results, is_header.then_some(1)))
}

/// Walks a reference; `None` where the path leads nowhere.
fn follow<'a>(reference: &Reference, scope: &'a Scope) -> Result<Option<Part<'a>>, ExpressionError> {
    Ok(match source(reference, scope)? {
        Source::Item(item) => part_of(item, &reference.path, None).map(Part::Tree),
        Source::Results(results, any_case) => results.part(&reference.path, any_case),
    })
}

fn template(parts: &[TemplatePart], scope: &Scope, budget: &mut Budget) -> Result<String, ExpressionError> {
    let mut text = String::new();
    for part in parts {
        let before = text.len();
        match part {
            TemplatePart::Text(literal) => text.push_str(literal),
            TemplatePart::Reference(reference) => {
                if let Some(part) = follow(reference, scope)? {
                    append(&mut text, &*value_of(part, scope.limits())?, budget)?;
                }
            }
            TemplatePart::ConfigVar(key) => append(&mut text, plain(key, scope)?, budget)?,
        }
        budget.take(text.len() - before)?;
    }
    Ok(text)
}

fn append(text: &mut String, value: &Value, budget: &Budget) -> Result<(), ExpressionError> {
    budget.fits(value)?;
    text.push_str(&text_of(value));
    Ok(())
}

/// A list of values; of `{key, value}` objects where the items have names.
fn complex(items: &[ComplexItem], scope: &Scope, budget: &mut Budget) -> Result<Value, ExpressionError> {
    budget.enter()?;
    let mut list = Vec::with_capacity(items.len());
    for item in items {
        budget.take(VALUE_BYTES)?;
        list.push(match item {
            ComplexItem::Operator(word) => string(word.clone(), budget)?,
            ComplexItem::List(items) => complex(items, scope, budget)?,
            ComplexItem::Input { name: None, input } => owned(input, scope, budget)?,
            ComplexItem::Input { name: Some(name), input } => {
                budget.enter()?;
                budget.take("keyvalue".len())?;
                let key = text_of(&owned(name, scope, budget)?).into_owned();
                let mut pair = Map::with_capacity(2);
                pair.insert("key".to_owned(), Value::String(key));
                pair.insert("value".to_owned(), owned(input, scope, budget)?);
                budget.leave();
                Value::Object(pair)
            }
        });
    }
    budget.leave();
    Ok(Value::Array(list))
}

/// How a value looks as text: strings as they are, null as nothing, all else as JSON.
#[must_use]
pub fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null => Cow::Borrowed(""),
        other => Cow::Owned(other.to_string()),
    }
}
