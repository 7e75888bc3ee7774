//! Gives flows their numbers: part of their URLs, so they stay over versions and are never given twice.

use perseat_domain::id::FlowNumber;
use std::collections::{BTreeMap, BTreeSet};

/// All 65,535 numbers of an integration were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the integration has used up its 65,535 flow numbers")]
pub struct NumberError;

/// New stable key → the old one that it takes over from.
pub type Renames = BTreeMap<String, String>;

/// The numbers of `keys` (stable keys, in order): known keys keep theirs, renamed ones take over the old key's
/// unless a flow still has it, new ones get the next above all that were ever given. The result keeps the keys of
/// flows that are gone.
///
/// # Errors
/// When no number is left.
pub fn assign_flow_numbers<'k>(
    previous: &BTreeMap<String, FlowNumber>,
    renames: &Renames,
    keys: impl IntoIterator<Item = &'k str>,
) -> Result<BTreeMap<String, FlowNumber>, NumberError> {
    let keys: Vec<&str> = keys.into_iter().collect();
    let present: BTreeSet<&str> = keys.iter().copied().collect();
    let mut numbers = previous.clone();
    let mut last = previous.values().map(|number| number.0).max().unwrap_or(0);
    for key in &keys {
        if numbers.contains_key(*key) {
            continue;
        }
        let old = renames.get(*key).filter(|old| !present.contains(old.as_str()));
        let number = match old.and_then(|old| numbers.remove(old)) {
            Some(kept) => kept,
            None => {
                last = last.checked_add(1).ok_or(NumberError)?;
                FlowNumber(last)
            }
        };
        numbers.insert((*key).to_owned(), number);
    }
    Ok(numbers)
}
