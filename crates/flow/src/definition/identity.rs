//! Which of an earlier version's configuration variables each one is: what is configured is kept by stable key.

use super::read::Text;
use super::report::{Report, quoted};
use super::{Code, raw};
use std::collections::{BTreeMap, BTreeSet};

/// The stable keys of the variables, by key; `previous` are those of the version before. A variable without a `stableKey` has what its
/// key had there, or else what the key had that it was renamed from. Reports another `stableKey` than that: the values would be lost.
pub(super) fn stable_keys(raw: &raw::Integration, previous: &BTreeMap<String, String>, report: &mut Report) -> BTreeMap<String, String> {
    let same: BTreeMap<&str, &str> = previous
        .iter()
        .map(|(key, stable_key)| (key.as_str(), stable_key.as_str()))
        .collect();
    let hints = raw.renames.iter().flat_map(|renames| renames.config_vars.iter().flatten());
    let renamed = hints.filter_map(|hint| Some((hint.new.as_str(), *same.get(hint.old.as_str())?)));
    let renamed: BTreeMap<&str, &str> = renamed.collect();

    let variables = raw.config_vars.as_deref().unwrap_or_default();
    let given = variables
        .iter()
        .filter_map(|variable| variable.stable_key.as_ref().map(Text::as_str));
    let mut taken: BTreeSet<&str> = given.collect();
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    for earlier in [&same, &renamed] {
        for variable in variables.iter().filter(|variable| variable.stable_key.is_none()) {
            let key = variable.key.as_str();
            if !found.contains_key(key)
                && let Some(earlier) = earlier.get(key)
                && taken.insert(earlier)
            {
                found.insert(key, earlier);
            }
        }
    }
    let known: BTreeSet<&str> = same.values().copied().collect();
    for variable in variables {
        let key = variable.key.as_str();
        let Some(given) = &variable.stable_key else {
            found.entry(key).or_insert(key);
            continue;
        };
        let earlier = renamed.get(key).or_else(|| same.get(key));
        if let Some(earlier) = earlier.filter(|earlier| !known.contains(given.as_str()) && !taken.contains(*earlier)) {
            let (key, earlier) = (quoted(key), quoted(earlier));
            let message = format!(
                "the values of {key} are kept under the stable key {earlier} and would be lost with another one: write {earlier}, or give a \
                 new variable a key of its own"
            );
            report.problem(&given.spot, Code::ValueInvalid, message);
        }
        found.insert(key, given.as_str());
    }
    found
        .into_iter()
        .map(|(key, stable_key)| (key.to_owned(), stable_key.to_owned()))
        .collect()
}
