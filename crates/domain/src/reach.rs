//! The accounts at a provider that one grant reaches, and the one that is used.
//!
//! A grant is what somebody allowed; the provider may let it act in several accounts (Docusign's organizations, Xero's tenants).
//! One of them is chosen: by the person, or without asking where there is nothing to choose.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One account at a provider. What people call it is not printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderAccount {
    /// What the provider calls it in its API.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Where its API is, if the provider says so.
    pub base_url: Option<String>,
    /// Whether it is the one that the provider would take.
    pub is_default: bool,
    /// What it is counted as: the same for all of a customer who use it, and nothing that can be read back.
    pub counted_as: String,
}

impl fmt::Debug for ProviderAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderAccount")
            .field("counted_as", &self.counted_as)
            .finish_non_exhaustive()
    }
}

/// What one grant reaches. It is sealed with the grant's token.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Every account, in the provider's order.
    pub accounts: Vec<ProviderAccount>,
    /// The id of the one that is used.
    pub chosen: Option<String>,
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach")
            .field("accounts", &self.accounts.len())
            .finish_non_exhaustive()
    }
}

/// What a choice came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The grant does not reach it: nothing is otherwise.
    Unknown,
    /// It was that one already.
    Same,
    /// It is the first that is used.
    First,
    /// It takes the place of another.
    Switch,
}

impl Reach {
    /// What a consent gave. `before` is the account that was used until then; it stays where it is still reached. Without one, the
    /// only account is taken, and the provider's default where `takes_default` says so. Nothing else is guessed.
    #[must_use]
    pub fn of_consent(accounts: Vec<ProviderAccount>, before: Option<&str>, takes_default: bool) -> Self {
        let mut reach = Self { accounts, chosen: None };
        let mut defaults = reach.accounts.iter().filter(|account| account.is_default);
        let default = match (defaults.next(), defaults.next()) {
            (Some(default), None) if takes_default => Some(default),
            _ => None,
        };
        let only = match reach.accounts.as_slice() {
            [only] => Some(only),
            _ => None,
        };
        let kept = before.and_then(|before| reach.accounts.iter().find(|account| account.id == before));
        reach.chosen = kept.or(only).or(default).map(|account| account.id.clone());
        reach
    }

    /// The account that is used.
    #[must_use]
    pub fn account(&self) -> Option<&ProviderAccount> {
        let chosen = self.chosen.as_ref()?;
        self.accounts.iter().find(|account| account.id == *chosen)
    }

    /// Whether none of its accounts is one of the other's.
    #[must_use]
    pub fn is_apart_from(&self, other: &Self) -> bool {
        let is_there = |account: &ProviderAccount| other.accounts.iter().any(|theirs| theirs.id == account.id);
        !self.accounts.is_empty() && !other.accounts.is_empty() && !self.accounts.iter().any(is_there)
    }

    /// Uses another account from now on.
    pub fn choose(&mut self, id: &str) -> Choice {
        if !self.accounts.iter().any(|account| account.id == id) {
            return Choice::Unknown;
        }
        match self.chosen.replace(id.to_owned()) {
            None => Choice::First,
            Some(before) if before == id => Choice::Same,
            Some(_) => Choice::Switch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(all: &[(&str, bool)]) -> Vec<ProviderAccount> {
        let account = |(id, is_default): &(&str, bool)| ProviderAccount {
            id: (*id).to_owned(),
            name: format!("Account {id}"),
            base_url: None,
            is_default: *is_default,
            counted_as: String::new(),
        };
        all.iter().map(account).collect()
    }

    #[test]
    fn only_what_leaves_no_choice_is_chosen_for_a_person() {
        let (several, two_defaults) = ([("a", false), ("b", true)], [("a", true), ("b", true)]);
        for (all, before, takes_default, chosen) in [
            (&[][..], None, true, None),
            (&[("a", false)], None, false, Some("a")),
            (&[("a", false)], Some("gone"), false, Some("a")),
            (&several, None, false, None),
            (&several, None, true, Some("b")),
            (&several, Some("a"), true, Some("a")),
            (&several, Some("gone"), false, None),
            (&two_defaults, None, true, None),
        ] {
            let reach = Reach::of_consent(accounts(all), before, takes_default);
            assert_eq!(reach.chosen.as_deref(), chosen, "{all:?} {before:?} {takes_default}");
            assert_eq!(reach.account().map(|account| account.id.as_str()), chosen);
        }
    }

    #[test]
    fn a_choice_is_among_what_is_reached() {
        let mut reach = Reach::of_consent(accounts(&[("a", false), ("b", false)]), None, false);
        let choices = ["c", "a", "a", "b", "c"].map(|id| reach.choose(id));
        assert_eq!(
            choices,
            [Choice::Unknown, Choice::First, Choice::Same, Choice::Switch, Choice::Unknown]
        );
        assert_eq!(reach.chosen.as_deref(), Some("b"));
    }
}
