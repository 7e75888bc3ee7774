//! What happened to a grant.

use super::{Grant, Rules};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest reason that is kept, in bytes: it comes from a third party.
const REASON: usize = 120;

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Somebody consented, or supplied a token.
    Issued,
    /// The token was renewed.
    Renewed,
    /// A renewal failed; it is tried again.
    NotRenewed,
    /// A third party refused the token.
    Refused,
    /// The provider said that it is over.
    Ended,
    /// The outcome of a renewal is not known.
    Lost,
    /// It was given up here.
    Disconnected,
    /// Somebody consented again, or supplied another token, after it had ended or was given up.
    Reconnected,
    /// The account at the provider in which it is used was chosen.
    AccountChosen,
    /// Another account took its place.
    AccountSwitched,
    /// Its connection has another registration than the one that it was given to.
    Moved,
    /// The provider took back a token that was held before.
    GivenBack,
    /// The provider did not take it back: it may still be valid there.
    NotGivenBack,
}

impl What {
    /// Whether it is about a token that was held before.
    pub(super) fn is_of_former_token(self) -> bool {
        matches!(self, Self::GivenBack | Self::NotGivenBack)
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
    /// Why, as a stable word or the provider's own; never a token.
    pub reason: Option<String>,
}

/// Words as they may be kept: printable, bounded.
pub(super) fn word(text: &str) -> String {
    let kept: String = text.chars().filter(|letter| !letter.is_control()).collect();
    kept[..kept.floor_char_boundary(REASON)].to_owned()
}

impl Grant {
    /// What another token means after what happened last.
    pub(super) fn given(&self) -> What {
        let mut own = self.timeline.iter().rev().filter(|happening| !happening.what.is_of_former_token());
        match own.next().map(|last| last.what) {
            Some(What::Ended | What::Lost | What::Disconnected | What::Moved) => What::Reconnected,
            _ => What::Issued,
        }
    }

    /// Writes it down; the oldest go beyond the limit, and a failure that repeats the last one takes its place.
    pub(super) fn note(&mut self, at: Timestamp, what: What, reason: Option<&str>, rules: &Rules) {
        let happening = Happening {
            at,
            what,
            reason: reason.map(word),
        };
        let repeats = what == What::NotRenewed
            && self
                .timeline
                .last()
                .is_some_and(|last| last.what == what && last.reason == happening.reason);
        if repeats {
            self.timeline.pop();
        }
        self.timeline.push(happening);
        let surplus = self.timeline.len().saturating_sub(rules.timeline.max(1));
        self.timeline.drain(..surplus);
    }
}
