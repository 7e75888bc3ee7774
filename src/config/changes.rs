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

/// The keys whose values differ, in the order of the reference. `started` is what the daemon was started with: a part that
/// it has not, or that the new values take away, comes and goes with a restart only.
#[must_use]
pub fn changes(started: &Settings, before: &Settings, now: &Settings) -> Vec<Change> {
    let keys = sections().into_iter().flat_map(|section| section.keys);
    let show = |value: Option<toml::Value>| value.map_or_else(|| "unset".to_owned(), |value| value.to_string());
    let values = before.entries().into_iter().zip(now.entries()).zip(started.entries());
    values
        .zip(keys)
        .filter(|((((_, before), (_, now)), _), _)| before != now)
        .map(|((((key, before), (_, now)), (_, started)), described)| Change {
            key,
            reloads: described.reloads && started.is_some() == now.is_some(),
            before: show(before),
            now: show(now),
        })
        .collect()
}
