//! What expressions can see at one point of an execution.

use super::{ExpressionError, Results, Setting, Settings};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How large a resolved value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Text and keys in all, each value counted with 8 bytes besides.
    pub bytes: usize,
    /// Lists and objects within one another.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            depth: 128,
        }
    }
}

/// Step results, loop items and configuration. Cheap to extend by one step; values are shared, not copied.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    trigger: String,
    results: BTreeMap<String, Arc<Results>>,
    items: BTreeMap<String, Arc<Value>>,
    settings: Settings,
    limits: Limits,
}

impl Scope {
    /// A scope with the trigger's payload.
    #[must_use]
    pub fn new(trigger: impl Into<String>, payload: Arc<Results>, settings: Settings, limits: Limits) -> Self {
        let trigger = trigger.into();
        Self {
            results: BTreeMap::from([(trigger.clone(), payload)]),
            items: BTreeMap::new(),
            trigger,
            settings,
            limits,
        }
    }

    /// Adds a finished step's results under its reference name.
    pub fn finish(&mut self, step: impl Into<String>, results: Arc<Results>) {
        self.results.insert(step.into(), results);
    }

    /// Replaces the configuration that the next steps see.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Sets the item that a loop's body sees as `<loop>.currentItem`.
    pub fn enter(&mut self, step: impl Into<String>, item: Arc<Value>) {
        self.items.insert(step.into(), item);
    }

    /// Ends a loop's body.
    pub fn leave(&mut self, step: &str) {
        self.items.remove(step);
    }

    /// The results of every finished step, the trigger's included, by reference name.
    pub fn results(&self) -> impl Iterator<Item = (&str, &Arc<Results>)> {
        self.results.iter().map(|(step, results)| (step.as_str(), results))
    }

    /// The value of a configuration variable, by key.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)
    }

    /// The configuration variables that have a value.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How large values may be.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn result_of(&self, step: &str) -> Option<&Results> {
        self.results.get(step).map(AsRef::as_ref)
    }

    pub(super) fn item_of(&self, step: &str) -> Option<&Value> {
        self.items.get(step).map(AsRef::as_ref)
    }

    pub(super) fn is_trigger(&self, step: &str) -> bool {
        step == self.trigger
    }
}

/// What each value is counted with, besides its text.
pub(super) const VALUE_BYTES: usize = 8;

/// What is left of [`Limits`] while one value is made.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    bytes: usize,
    depth: usize,
}

impl Budget {
    pub(super) fn of(limits: Limits) -> Self {
        Self {
            limits,
            bytes: limits.bytes,
            depth: 0,
        }
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<(), ExpressionError> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(ExpressionError::TooLarge(self.limits.bytes))?;
        Ok(())
    }

    pub(super) fn enter(&mut self) -> Result<(), ExpressionError> {
        self.depth += 1;
        if self.depth > self.limits.depth {
            return Err(ExpressionError::TooDeep(self.limits.depth));
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Takes what a copy of `value` needs.
    pub(super) fn take_whole(&mut self, value: &Value) -> Result<(), ExpressionError> {
        self.take(VALUE_BYTES)?;
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
            Value::String(text) => self.take(text.len()),
            Value::Array(items) => {
                self.enter()?;
                items.iter().try_for_each(|item| self.take_whole(item))?;
                self.leave();
                Ok(())
            }
            Value::Object(members) => {
                self.enter()?;
                for (key, member) in members {
                    self.take(key.len())?;
                    self.take_whole(member)?;
                }
                self.leave();
                Ok(())
            }
        }
    }

    /// Whether a copy of `value` would be within what is left.
    pub(super) fn fits(&self, value: &Value) -> Result<(), ExpressionError> {
        Self { ..*self }.take_whole(value)
    }
}
