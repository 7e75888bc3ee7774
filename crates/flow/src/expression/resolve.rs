//! Inputs → values.

use super::scope::Budget;
use super::{Connection, ExpressionError, Scope, Setting, account_part};
use perseat_domain::definition::{ComplexItem, Input, Reference, TemplatePart};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;

/// What an input came to.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// Data.
    Value(Value),
    /// A credential.
    Connection(Arc<Connection>),
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
    let mut budget = Budget::of(scope.limits());
    match view(input, scope, &mut budget)? {
        Cow::Owned(value) => Ok(Resolved::Value(value)),
        Cow::Borrowed(value) => {
            budget.take_whole(value)?;
            Ok(Resolved::Value(value.clone()))
        }
    }
}

/// The value of an input, copied only where it has to be made. Owned values are within `budget`.
pub(super) fn view<'a>(input: &'a Input, scope: &'a Scope, budget: &mut Budget) -> Result<Cow<'a, Value>, ExpressionError> {
    Ok(match input {
        Input::Value(None) => Cow::Owned(Value::Null),
        Input::Value(Some(text)) => Cow::Owned(string(text.clone(), budget)?),
        Input::Reference(reference) => follow(reference, scope)?.map_or(Cow::Owned(Value::Null), Cow::Borrowed),
        Input::ConfigVar(key) => Cow::Borrowed(plain(key, scope)?),
        Input::Template(parts) => Cow::Owned(Value::String(template(parts, scope, budget)?)),
        Input::Complex(items) => Cow::Owned(complex(items, scope, budget)?),
    })
}

fn owned(input: &Input, scope: &Scope, budget: &mut Budget) -> Result<Value, ExpressionError> {
    Ok(match view(input, scope, budget)? {
        Cow::Owned(value) => value,
        Cow::Borrowed(value) => {
            budget.take_whole(value)?;
            value.clone()
        }
    })
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

/// Walks a reference; `None` where the path leads nowhere.
fn follow<'a>(reference: &Reference, scope: &'a Scope) -> Result<Option<&'a Value>, ExpressionError> {
    let is_item = reference.root == "currentItem";
    let mut value: &Value = if is_item {
        scope
            .item_of(&reference.step)
            .ok_or_else(|| ExpressionError::LoopNotFound(reference.step.clone()))?
    } else {
        scope
            .result_of(&reference.step)
            .ok_or_else(|| ExpressionError::StepNotFound(reference.step.clone()))?
    };
    let headers = !is_item && scope.is_trigger(&reference.step) && reference.path.first().is_some_and(|first| first == "headers");
    for (depth, segment) in reference.path.iter().enumerate() {
        let next = match value {
            Value::Object(members) if headers && depth == 1 => header(members, segment),
            Value::Object(members) => members.get(segment),
            Value::Array(items) => segment.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        match next {
            Some(next) => value = next,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

fn header<'a>(headers: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    headers.get(name).or_else(|| {
        headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    })
}

fn template(parts: &[TemplatePart], scope: &Scope, budget: &mut Budget) -> Result<String, ExpressionError> {
    let mut text = String::new();
    for part in parts {
        let before = text.len();
        match part {
            TemplatePart::Text(literal) => text.push_str(literal),
            TemplatePart::Reference(reference) => {
                if let Some(value) = follow(reference, scope)? {
                    append(&mut text, value, budget)?;
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
        budget.take(8)?;
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
