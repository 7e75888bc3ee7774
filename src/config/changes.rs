//! What a reload changed, key by key.

use super::settings::{Settings, sections};

/// One key whose value differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The dotted name.
    pub key: String,
    /// The value before, as TOML.
    pub before: String,
    /// The value now, as TOML.
    pub now: String,
    /// Whether the running daemon takes the new value up; otherwise it waits for a restart.
    pub reloads: bool,
}

/// The keys whose values differ, in the order of the reference.
#[must_use]
pub fn changes(before: &Settings, now: &Settings) -> Vec<Change> {
    let keys = sections().into_iter().flat_map(|section| section.keys);
    let show = |value: Option<toml::Value>| value.map_or_else(|| "unset".to_owned(), |value| value.to_string());
    let pairs = before.entries().into_iter().zip(now.entries()).zip(keys);
    pairs
        .filter(|(((_, before), (_, now)), _)| before != now)
        .map(|(((key, before), (_, now)), described)| Change {
            key,
            before: show(before),
            now: show(now),
            reloads: described.reloads,
        })
        .collect()
}
