//! A step's inputs, resolved by name and read as what the action wants.

use super::{ActionSpec, StepError};
use crate::definition::is_on;
use crate::expression::{Connection, ExpressionError, Resolved, Scope, json_of, resolve, text_of};
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::Step;
use serde_json::Value;
use std::sync::Arc;

/// Resolves inputs when they are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    step: &'a Step,
    scope: &'a Scope,
}

impl<'a> Inputs<'a> {
    pub(crate) fn new(step: &'a Step, scope: &'a Scope) -> Self {
        Self { step, scope }
    }

    /// Refuses a step that lacks what its action cannot do without.
    pub(super) fn check_required(self, spec: &ActionSpec) -> Result<(), StepError> {
        match spec.required.iter().find(|name| !self.step.inputs.contains_key(**name)) {
            Some(name) => Err(bad(format!("the input `{name}` is missing"))),
            None => Ok(()),
        }
    }

    fn resolved(self, name: &str) -> Result<Option<Resolved>, StepError> {
        let Some(input) = self.step.inputs.get(name) else { return Ok(None) };
        resolve(input, self.scope).map(Some).map_err(|error| invalid(name, &error))
    }

    /// Data; null where nothing was given.
    pub(crate) fn value(self, name: &str) -> Result<Value, StepError> {
        match self.resolved(name)? {
            None => Ok(Value::Null),
            Some(Resolved::Value(value)) => Ok(value),
            Some(Resolved::Connection(_)) => Err(bad(format!("the input `{name}` takes data, not a connection"))),
        }
    }

    /// Data as it is sent: JSON that a step gave goes on as it came.
    pub(crate) fn data(self, name: &str) -> Result<Data, StepError> {
        if let Some(input) = self.step.inputs.get(name)
            && let Some(json) = json_of(input, self.scope).map_err(|error| invalid(name, &error))?
            && !json.starts_with(['"', 'n'])
        {
            return Ok(Data::Json(json.to_owned()));
        }
        Ok(match self.value(name)? {
            Value::Null => Data::Nothing,
            Value::String(text) => Data::Text(text),
            other => Data::Json(other.to_string()),
        })
    }

    /// Text; empty where nothing was given.
    pub(crate) fn text(self, name: &str) -> Result<String, StepError> {
        Ok(match self.value(name)? {
            Value::String(text) => text,
            other => text_of(&other).into_owned(),
        })
    }

    /// A connection; `None` where nothing was given.
    pub(crate) fn connection(self, name: &str) -> Result<Option<Arc<Connection>>, StepError> {
        match self.resolved(name)? {
            Some(Resolved::Connection(connection)) => Ok(Some(connection)),
            None | Some(Resolved::Value(Value::Null)) => Ok(None),
            Some(Resolved::Value(Value::String(text))) if text.is_empty() => Ok(None),
            Some(Resolved::Value(_)) => Err(bad(format!("the input `{name}` takes a connection"))),
        }
    }

    /// A switch: true, "true", "1", "yes", "on".
    pub(crate) fn flag(self, name: &str) -> Result<bool, StepError> {
        Ok(is_on(&self.text(name)?))
    }

    /// A whole number; `None` where nothing was given.
    pub(crate) fn number(self, name: &str) -> Result<Option<u64>, StepError> {
        let text = self.text(name)?;
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let number: Option<f64> = text.parse().ok().filter(|number: &f64| (0.0..=9e15).contains(number));
        number
            .map(|number| Some(number as u64))
            .ok_or_else(|| bad(format!("the input `{name}` is not a number")))
    }

    /// Pairs of a keyvaluelist: `[{key, value}]`, or an object. Pairs without a key are left out.
    pub(crate) fn pairs(self, name: &str) -> Result<Vec<(String, Value)>, StepError> {
        let value = match self.value(name)? {
            Value::String(text) if text.trim().is_empty() => Value::Null,
            // A configuration variable may hold the list as text.
            Value::String(text) => serde_json::from_str(&text).map_err(|_| bad(format!("the input `{name}` is not a list of pairs")))?,
            other => other,
        };
        let pairs: Vec<(String, Value)> = match value {
            Value::Null => Vec::new(),
            Value::Object(members) => members.into_iter().collect(),
            Value::Array(items) => items.into_iter().filter_map(pair).collect(),
            _ => return Err(bad(format!("the input `{name}` is not a list of pairs"))),
        };
        Ok(pairs.into_iter().filter(|(key, _)| !key.is_empty()).collect())
    }
}

/// An input as it is sent.
#[derive(Debug)]
pub(crate) enum Data {
    /// Nothing was given.
    Nothing,
    Text(String),
    /// Anything but text.
    Json(String),
}

fn invalid(name: &str, error: &ExpressionError) -> StepError {
    StepError::fatal(ErrorCode::ExpressionInvalid, format!("input `{name}`: {error}"))
}

fn pair(item: Value) -> Option<(String, Value)> {
    let Value::Object(mut item) = item else { return None };
    let key = text_of(item.get("key").or_else(|| item.get("name"))?).into_owned();
    Some((key, item.get_mut("value").map_or(Value::Null, Value::take)))
}

/// A step whose inputs cannot work, however often it is tried.
pub(crate) fn bad(message: impl Into<String>) -> StepError {
    StepError::fatal(ErrorCode::StepFailed, message)
}
