//! What expressions can see at one point of an execution.

use super::Connection;
use perseat_domain::definition::{ConfigVar, DataType};
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

/// The value of a configuration variable.
#[derive(Clone, Debug)]
pub enum Setting {
    /// Text as configured; collections and forms as JSON.
    Plain(Value),
    /// An unsealed credential.
    Connection(Arc<Connection>),
}

impl Setting {
    /// The configured text as steps see it: JSON for collections, selections, maps and forms, else a string.
    #[must_use]
    pub fn plain(variable: &ConfigVar, text: &str) -> Self {
        let structured = variable.collection.is_some()
            || matches!(
                variable.data_type,
                DataType::ObjectSelection | DataType::ObjectFieldMap | DataType::JsonForm
            );
        let parsed = if structured { serde_json::from_str(text).ok() } else { None };
        Self::Plain(parsed.unwrap_or_else(|| Value::String(text.to_owned())))
    }
}

/// Step results, loop items and configuration. Cheap to extend by one step; values are shared, not copied.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    trigger: String,
    results: BTreeMap<String, Arc<Value>>,
    items: BTreeMap<String, Arc<Value>>,
    settings: Arc<BTreeMap<String, Setting>>,
    limits: Limits,
}

impl Scope {
    /// A scope with the trigger's payload. `settings` by variable *key* (the display name); variables without a
    /// value are left out or null.
    #[must_use]
    pub fn new(trigger: impl Into<String>, payload: Arc<Value>, settings: Arc<BTreeMap<String, Setting>>, limits: Limits) -> Self {
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
    pub fn finish(&mut self, step: impl Into<String>, results: Arc<Value>) {
        self.results.insert(step.into(), results);
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
    pub fn results(&self) -> impl Iterator<Item = (&str, &Arc<Value>)> {
        self.results.iter().map(|(step, value)| (step.as_str(), value))
    }

    /// The value of a configuration variable, by key.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)
    }

    /// How large values may be.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn result_of(&self, step: &str) -> Option<&Arc<Value>> {
        self.results
            .get(step)
            .or_else(|| (step == "trigger").then(|| self.results.get(&self.trigger)).flatten())
    }

    pub(super) fn item_of(&self, step: &str) -> Option<&Arc<Value>> {
        self.items.get(step)
    }

    pub(super) fn is_trigger(&self, step: &str) -> bool {
        step == self.trigger || (step == "trigger" && !self.results.contains_key(step))
    }
}
