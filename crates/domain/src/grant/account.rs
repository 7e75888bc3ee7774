//! A grant that reaches several accounts at its provider is of no use before one of them is chosen.

use super::{Grant, Rules, Status, What};
use crate::time::Timestamp;

/// Why it is pending then.
const NOT_CHOSEN: &str = "account_not_chosen";

impl Grant {
    /// Whether there is a token, and the account in which it is used has to be chosen first.
    #[must_use]
    pub fn awaits_account(&self) -> bool {
        self.status == Status::Pending && self.held.is_some()
    }

    /// Makes it wait for an account, or no longer, as `is_lacking` says.
    pub fn await_account(&mut self, is_lacking: bool) {
        match (self.status, is_lacking) {
            (Status::Active | Status::Error, true) => {
                self.status = Status::Pending;
                self.reason = Some(NOT_CHOSEN.to_owned());
            }
            (Status::Pending, false) if self.awaits_account() => {
                self.status = Status::Active;
                self.reason = None;
            }
            _ => {}
        }
    }

    /// An account was chosen, or another one in the place of the last.
    pub fn account_chosen(&mut self, is_switch: bool, now: Timestamp, rules: &Rules) {
        self.await_account(false);
        self.generation += 1;
        let what = if is_switch { What::AccountSwitched } else { What::AccountChosen };
        self.note(now, what, None, rules);
    }
}
