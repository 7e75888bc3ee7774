//! What is counted of executions and of the calls of their steps: by whom, through what, on which day.
//!
//! Ids alone: who is gone leaves a number that names nobody.

use crate::id::{CustomerId, InstanceId, RegistrationId, UserId};
use crate::identity::Identity;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A day of UTC, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(pub u32);

/// Text that is no day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no day such as 2026-01-31")]
pub struct NoDay(String);

/// Days of 400 years, after which the calendar repeats itself.
const ERA: u32 = 146_097;
/// Days from 0000-03-01, where years that begin in March are counted from, to 1970-01-01.
const EPOCH: u32 = 719_468;

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = u64::from(self.0) + u64::from(EPOCH);
        let (era, of_era) = (days / u64::from(ERA), days % u64::from(ERA));
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year + era * 400 + u64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Day {
    type Err = NoDay;

    fn from_str(text: &str) -> Result<Self, NoDay> {
        let no_day = || NoDay(text.chars().take(32).collect());
        let number = |part: Option<&str>, digits: usize| {
            let part = part.filter(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))?;
            part.parse::<u32>().ok()
        };
        let mut parts = text.split('-');
        let (year, month, day) = (number(parts.next(), 4), number(parts.next(), 2), number(parts.next(), 2));
        let (Some(year), Some(month @ 1..=12), Some(day @ 1..), None) = (year, month, day, parts.next()) else {
            return Err(no_day());
        };
        let year_from_march = (year + 399 + u32::from(month > 2)) % 400;
        let eras = (year + 400 - u32::from(month <= 2)) / 400;
        let from_march = (month + 9) % 12;
        let of_year = (153 * from_march + 2) / 5 + day - 1;
        let of_era = year_from_march * 365 + year_from_march / 4 - year_from_march / 100 + of_year;
        let days = (eras * ERA + of_era).checked_sub(EPOCH + ERA).map(Self);
        // A day that its month does not have is another one when it is written.
        days.filter(|found| found.to_string() == text).ok_or_else(no_day)
    }
}

impl TryFrom<String> for Day {
    type Error = NoDay;

    fn try_from(text: String) -> Result<Self, NoDay> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

impl Day {
    /// The day of a moment.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.0 / 86_400_000).unwrap_or(u32::MAX))
    }
}

/// Through what a call went.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Through {
    /// The connection's stable key; empty where the call used none.
    pub connection: String,
    /// The customer's app registration that its consent was given to; none where it is the integration's own.
    pub registration: Option<RegistrationId>,
    /// What the provider account that was chosen is counted as.
    pub account: Option<String>,
}

/// How much of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Executions that began; of a row of calls, those that called.
    pub executions: u64,
    /// Requests that were sent.
    pub calls: u64,
    /// Bytes of their bodies.
    pub sent: u64,
    /// Bytes of the bodies that came back, as a step reads them.
    pub received: u64,
}

impl Amount {
    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.executions = self.executions.saturating_add(other.executions);
        self.calls = self.calls.saturating_add(other.calls);
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
    }
}

/// What a row counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageKey {
    /// When it was recorded.
    pub day: Day,
    /// On behalf of whom.
    pub customer: CustomerId,
    /// Where.
    pub instance: InstanceId,
    /// On behalf of which person; none where the integration has no user level configuration.
    pub user: Option<UserId>,
    /// Calls through this; none for the row that counts the executions themselves.
    pub through: Option<Through>,
}

impl UsageKey {
    /// The row of what an execution of this identity did.
    #[must_use]
    pub fn of(identity: &Identity, at: Timestamp, through: Option<Through>) -> Self {
        Self {
            day: Day::of(at),
            customer: identity.customer,
            instance: identity.instance,
            user: identity.user.map(|bound| bound.user),
            through,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight_of_utc() {
        let midnight = 19_000 * 86_400_000;
        assert_eq!(Day::of(Timestamp(midnight - 1)), Day(18_999));
        assert_eq!(Day::of(Timestamp(midnight)), Day(19_000));
    }

    #[test]
    fn a_day_is_written_as_the_calendar_has_it() {
        for (day, text) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (19_722, "2023-12-31"),
            (19_782, "2024-02-29"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(Day(day).to_string(), text);
            assert_eq!(text.parse(), Ok(Day(day)));
        }
        for day in 0..60_000 {
            assert_eq!(Day(day).to_string().parse(), Ok(Day(day)));
        }
        for text in [
            "",
            "1969-12-31",
            "2023-02-29",
            "2023-13-01",
            "2023-1-1",
            "2023-01-00",
            "2023-01-01-",
            "+023-01-01",
        ] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }
}
