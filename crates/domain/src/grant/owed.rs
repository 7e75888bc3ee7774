//! A token that was given up here, and that its provider has not been told of yet: owed, until the provider took it back, said that it
//! never will, or was asked for long enough.

use super::timeline::{What, word};
use super::{Grant, Happening};
use crate::id::{CustomerId, UserId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Who allows clients something: a person, a customer for itself, or the organization, where there is neither. What one of them
/// allowed a client is often one authorization at its provider, by however many connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// The customer.
    pub customer: Option<CustomerId>,
    /// The person.
    pub user: Option<UserId>,
}

/// How long and how often a provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Attempts at most (`owed.attempts`).
    pub attempts: u32,
    /// For so long at most (`owed.age`).
    pub age: Duration,
    /// The wait after the first attempt that failed; each further one waits twice as long (`oauth.back-off`).
    pub back_off: Duration,
    /// The longest such wait (`oauth.back-off-max`).
    pub back_off_max: Duration,
}

/// How far giving one token back is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// Since when it is owed.
    pub since: Timestamp,
    /// Attempts that failed.
    pub attempts: u32,
    /// Before this it is not tried again.
    pub due_at: Timestamp,
}

impl Debt {
    /// One that is due at once.
    #[must_use]
    pub fn begun(now: Timestamp) -> Self {
        Self {
            since: now,
            attempts: 0,
            due_at: now,
        }
    }

    /// Whether it was kept for as long as one is, the time in which nothing ran included.
    #[must_use]
    pub fn is_too_old(&self, now: Timestamp, patience: &Patience) -> bool {
        self.since.after(patience.age) <= now
    }

    /// An attempt failed in a way that may pass. Tells whether there is to be another one. A provider may ask for a longer pause itself,
    /// up to twelve times `back_off_max`.
    pub fn put_off(&mut self, retry_after: Option<Duration>, now: Timestamp, patience: &Patience) -> bool {
        let factor = 1_u32.checked_shl(self.attempts.min(20)).unwrap_or(u32::MAX);
        let wait = patience.back_off.saturating_mul(factor).min(patience.back_off_max);
        let asked = retry_after.unwrap_or_default().min(patience.back_off_max.saturating_mul(12));
        self.attempts = self.attempts.saturating_add(1);
        self.due_at = now.after(wait.max(asked));
        self.attempts < patience.attempts && self.due_at < self.since.after(patience.age)
    }
}

impl Grant {
    /// A token that it held before was given back, or could not be and why. Says nothing of what it holds now. It takes the place of
    /// the oldest event where the timeline has `most` already.
    pub fn told_of_token(&mut self, refusal: Option<&str>, at: Timestamp, most: usize) {
        let what = if refusal.is_none() { What::GivenBack } else { What::NotGivenBack };
        self.timeline.push(Happening {
            at,
            what,
            reason: refusal.map(word),
        });
        self.bound(most);
    }

    /// Whether it is the same as another one but for what is written down of it. What happens to a grant shows in more than its timeline,
    /// but for tokens that it held before.
    #[must_use]
    pub fn stands_as(&self, other: &Self) -> bool {
        let bare = |grant: &Self| Self {
            timeline: Vec::new(),
            ..grant.clone()
        };
        self == other || bare(self) == bare(other)
    }

    /// Takes over what another form of it says of tokens that it held before.
    pub fn keep_told(&mut self, other: &Self) {
        let most = self.timeline.len().max(other.timeline.len());
        let told = other.timeline.iter().filter(|happening| happening.what.is_of_former_token());
        let missing: Vec<Happening> = told.filter(|happening| !self.timeline.contains(happening)).cloned().collect();
        if missing.is_empty() {
            return;
        }
        self.timeline.extend(missing);
        self.timeline.sort_by_key(|happening| happening.at);
        self.bound(most);
    }

    fn bound(&mut self, most: usize) {
        let surplus = self.timeline.len().saturating_sub(most.max(1));
        self.timeline.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Renewal, Renewed, Rules};
    use super::*;

    const PATIENCE: Patience = Patience {
        attempts: 5,
        age: Duration::from_hours(1),
        back_off: Duration::from_secs(5),
        back_off_max: Duration::from_mins(1),
    };

    #[test]
    fn waits_double_up_to_a_limit_and_end_with_attempts_or_age() {
        let start = Timestamp(1_000_000);
        let mut debt = Debt::begun(start);
        let mut now = start;
        let mut waits = Vec::new();
        loop {
            let goes_on = debt.put_off(None, now, &PATIENCE);
            if !goes_on {
                break;
            }
            waits.push(debt.due_at.since(now).as_secs());
            now = debt.due_at;
        }
        assert_eq!(waits, [5, 10, 20, 40]);

        let mut asked = Debt::begun(start);
        assert!(
            asked.put_off(Some(Duration::from_mins(10)), start, &PATIENCE),
            "a provider may ask for more"
        );
        assert_eq!(asked.due_at.since(start), Duration::from_mins(10));
        let mut long = Debt::begun(start);
        long.put_off(Some(Duration::from_hours(5)), start, &PATIENCE);
        assert_eq!(long.due_at.since(start), Duration::from_mins(12), "and not for ever");
        let late = start.after(Duration::from_mins(59) + Duration::from_secs(58));
        assert!(!Debt::begun(start).put_off(None, late, &PATIENCE), "it would be too old by then");
        assert!(!Debt::begun(start).is_too_old(late, &PATIENCE));
        assert!(
            Debt::begun(start).is_too_old(start.after(PATIENCE.age), &PATIENCE),
            "nor is it tried once more"
        );
    }

    #[test]
    fn what_became_of_a_former_token_is_no_other_state_and_is_not_lost_beside_a_renewal() {
        let rules = Rules {
            timeline: 3,
            ..Rules::default()
        };
        let renewed = Renewed {
            lifetime: None,
            renewal: Renewal::None,
        };
        let mut grant = Grant::default();
        grant.consented(renewed, Timestamp(1), &rules);
        grant.disconnected(Timestamp(2), &rules);
        let read = grant.clone();
        grant.told_of_token(None, Timestamp(3), rules.timeline);
        assert!(read.stands_as(&grant) && read != grant);
        let mut other = read;
        other.consented(renewed, Timestamp(4), &rules);
        assert!(!other.stands_as(&grant));
        other.keep_told(&grant);
        other.keep_told(&grant);
        let words: Vec<What> = other.timeline.iter().map(|happening| happening.what).collect();
        assert_eq!(
            words,
            [What::Disconnected, What::GivenBack, What::Reconnected],
            "once, in its place, within the limit"
        );
        grant.consented(renewed, Timestamp(5), &rules);
        assert_eq!(grant.timeline.last().map(|last| last.what), Some(What::Reconnected));
    }
}
