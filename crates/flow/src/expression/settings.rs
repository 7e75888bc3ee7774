//! What the variables of a configuration have.

use super::Connection;
use perseat_domain::definition::{ConfigVar, DataType};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

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

    /// What a variable that is no connection has where nobody set it: its default, or null where it need not be set.
    #[must_use]
    pub fn unset(variable: &ConfigVar) -> Option<Self> {
        match &variable.default_value {
            Some(text) => Some(Self::plain(variable, text)),
            None => (!variable.required).then_some(Self::Plain(Value::Null)),
        }
    }
}

/// What variables of one level have, by key. No map, whose nodes have room for eleven, because there is one for each user that is
/// active. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Level(
    /// In the order of the keys.
    Arc<[(String, Setting)]>,
);

impl Level {
    /// What the variable of this key has.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Setting> {
        let place = self.0.binary_search_by(|(other, _)| other.as_str().cmp(key)).ok()?;
        Some(&self.0[place].1)
    }

    /// Every variable that has a value, with its key.
    pub fn iter(&self) -> impl Iterator<Item = &(String, Setting)> {
        self.0.iter()
    }
}

impl FromIterator<(String, Setting)> for Level {
    /// Of two of one key the later counts.
    fn from_iter<I: IntoIterator<Item = (String, Setting)>>(all: I) -> Self {
        let ordered: BTreeMap<String, Setting> = all.into_iter().collect();
        Self(ordered.into_iter().collect())
    }
}

/// What an execution's variables have, by key: a user's own values over those that the instance has for all of its users, which are
/// not copied. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    common: Level,
    own: Level,
}

impl Settings {
    /// `own` over `common`.
    #[must_use]
    pub fn new(common: Level, own: Level) -> Self {
        Self { common, own }
    }

    /// What the variable of this key has.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.own.get(key).or_else(|| self.common.get(key))
    }

    /// Every variable that has a value, with its key; the user's own first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        let common = self.common.iter().filter(|(key, _)| self.own.get(key).is_none());
        self.own.iter().chain(common).map(|(key, setting)| (key.as_str(), setting))
    }

    /// The values of [`Settings::iter`].
    pub fn values(&self) -> impl Iterator<Item = &Setting> {
        self.iter().map(|(_, setting)| setting)
    }

    /// These with others in their place.
    #[must_use]
    pub fn with(&self, others: impl IntoIterator<Item = (String, Setting)>) -> Self {
        Self {
            common: self.common.clone(),
            own: self.own.iter().cloned().chain(others).collect(),
        }
    }
}

impl FromIterator<(String, Setting)> for Settings {
    fn from_iter<I: IntoIterator<Item = (String, Setting)>>(all: I) -> Self {
        Self::new(Level::default(), all.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn level(all: &BTreeMap<String, u8>) -> Level {
        // The order in which they come does not matter.
        let all = all.iter().rev();
        all.map(|(key, number)| (key.clone(), Setting::Plain(Value::from(*number))))
            .collect()
    }

    fn number(setting: &Setting) -> u64 {
        match setting {
            Setting::Plain(value) => value.as_u64().unwrap(),
            Setting::Connection(_) => panic!("no connection was put in"),
        }
    }

    proptest! {
        #[test]
        fn two_levels_are_what_one_map_extended_by_the_other_is(
            common in prop::collection::btree_map("[a-d]{0,2}", any::<u8>(), 0..12),
            own in prop::collection::btree_map("[a-d]{0,2}", any::<u8>(), 0..12),
            others in prop::collection::btree_map("[a-d]{0,2}", any::<u8>(), 0..4),
        ) {
            let mut expected = common.clone();
            expected.extend(own.clone());
            let settings = Settings::new(level(&common), level(&own));
            for (settings, expected) in [
                (settings.clone(), expected.clone()),
                (settings.with(level(&others).iter().cloned()), expected.into_iter().chain(others).collect()),
            ] {
                let found = settings.iter().map(|(key, setting)| (key.to_owned(), number(setting)));
                let found: Vec<_> = found.collect();
                let once: BTreeMap<_, _> = found.iter().cloned().collect();
                prop_assert_eq!(found.len(), once.len());
                let expected: BTreeMap<_, _> = expected.into_iter().map(|(key, value)| (key, u64::from(value))).collect();
                for key in expected.keys().map(String::as_str).chain(["", "a", "dd", "e"]) {
                    prop_assert_eq!(settings.get(key).map(number), expected.get(key).copied());
                }
                prop_assert_eq!(once, expected);
            }
        }
    }
}
