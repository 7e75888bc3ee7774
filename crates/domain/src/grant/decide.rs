//! What is to be done about a grant, and what becomes of it.

use super::timeline::{What, word};
use super::{Grant, Held, Intent, Renewal, Rules, Status};
use crate::time::Timestamp;
use std::time::Duration;

/// The longest life of a token that is believed; beyond it the provider means "for ever".
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Why a grant ended that was given to another registration.
pub(super) const MOVED: &str = "another_registration";

/// What somebody who wants to use a grant must do first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: use the token.
    Nothing,
    /// Renew it: [`Grant::intend`], make that durable, call, [`Grant::learn`], make that durable, as
    /// [`Tending`](super::Tending) says.
    Renewal,
    /// Wait: its token has ended, and a renewal failed a moment ago.
    Patience,
    /// Have somebody consent.
    Consent,
}

/// What will become of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// Its token is renewed by itself then.
    Renews(Timestamp),
    /// Its token ends then, and somebody must consent again.
    Ends(Timestamp),
    /// Nobody knows its end.
    Open,
    /// Somebody must consent first.
    Over,
}

/// A token as a provider gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// How long it lives, if that was said.
    pub lifetime: Option<Duration>,
    /// How the next one is had.
    pub renewal: Renewal,
}

/// How a renewal went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is a new token.
    Token(Renewed),
    /// The provider says that the grant is over.
    Over(String),
    /// It failed, was surely not spent or may be spent again by the provider's answer, and may pass.
    Passing {
        /// Why.
        reason: String,
        /// For how long the provider wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// Nobody knows whether the refresh token was spent.
    Unknown(String),
}

/// What is to be done after an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more now.
    Done,
    /// Spend the same refresh token once more, at once.
    Again,
}

impl Grant {
    /// What must be done before it is used. A renewal of which no outcome is known has to be
    /// [settled](Self::settle) first.
    #[must_use]
    pub fn need(&self, now: Timestamp, rules: &Rules) -> Need {
        match (self.status, self.held) {
            (Status::Pending | Status::Failed | Status::Uncertain, _) | (_, None) => Need::Consent,
            (Status::Active | Status::Error, Some(held)) => {
                let has_ended = held.has_ended(now);
                let is_due = held.due_at(rules).is_some_and(|due| due <= now) || held.is_of_another_clock(now, rules);
                if !is_due {
                    Need::Nothing
                } else if held.renewal == Renewal::None {
                    if has_ended { Need::Consent } else { Need::Nothing }
                } else if self
                    .retry_at
                    .is_none_or(|retry| retry <= now || retry.since(now) > rules.longest_wait())
                {
                    Need::Renewal
                } else if has_ended {
                    Need::Patience
                } else {
                    Need::Nothing
                }
            }
        }
    }

    /// When [`Grant::need`] is to be asked again; never where only a person can change it.
    #[must_use]
    pub fn look_again(&self, now: Timestamp, rules: &Rules) -> Option<Timestamp> {
        let renewed_at = self.renewed_at(rules)?;
        // A provider may want to be left alone for longer than the token lives.
        let end = self.held.and_then(|held| held.expires_at).filter(|end| now < *end);
        Some(end.map_or(renewed_at, |end| renewed_at.min(end)))
    }

    /// When it is renewed next or tried again, or ends where it cannot be; never where only a person can change it.
    #[must_use]
    pub fn renewed_at(&self, rules: &Rules) -> Option<Timestamp> {
        let held = match self.status {
            Status::Active | Status::Error => self.held?,
            Status::Pending | Status::Failed | Status::Uncertain => return None,
        };
        let due = held.due_at(rules)?;
        if held.renewal == Renewal::None {
            return held.expires_at;
        }
        Some(self.retry_at.map_or(due, |retry| retry.max(due)))
    }

    /// What will become of it, as far as that is known.
    #[must_use]
    pub fn forecast(&self, rules: &Rules) -> Forecast {
        match (self.status, self.held) {
            (Status::Pending | Status::Failed | Status::Uncertain, _) | (_, None) => Forecast::Over,
            (Status::Active | Status::Error, Some(held)) if held.renewal == Renewal::None => match held.expires_at {
                Some(end) => Forecast::Ends(end),
                None => Forecast::Open,
            },
            (Status::Active | Status::Error, Some(_)) => self.renewed_at(rules).map_or(Forecast::Open, Forecast::Renews),
        }
    }

    /// A renewal begins.
    pub fn intend(&mut self, now: Timestamp) {
        self.intent = Some(match self.intent {
            Some(intent) => Intent {
                spent: intent.spent.saturating_add(1),
                ..intent
            },
            None => Intent { at: now, spent: 1 },
        });
    }

    /// Takes in how a renewal went.
    pub fn learn(&mut self, outcome: Outcome, now: Timestamp, rules: &Rules) -> Next {
        match outcome {
            Outcome::Token(renewed) => {
                self.hold(renewed, now, What::Renewed, rules);
                Next::Done
            }
            // Nobody can consent to it, and another secret may be given at any time.
            Outcome::Over(reason) if self.held.is_some_and(|held| held.renewal == Renewal::Credentials) => {
                self.failed(&reason, None, now, rules);
                Next::Done
            }
            Outcome::Over(reason) => {
                // After a second use the provider's word may mean the first: what it says is not known to be so. The same where it
                // answered 5xx before, and may have done what it was asked for.
                if self.intent.is_some_and(|intent| intent.spent > 1) {
                    self.is_lost("renewal_interrupted", now, rules);
                } else if self.may_be_spent() {
                    self.is_lost("refused_after_server_error", now, rules);
                } else {
                    self.ends(&reason, now, rules);
                }
                Next::Done
            }
            Outcome::Passing { reason, retry_after } => {
                if self.is_doubtful() && self.intent.is_some_and(|intent| intent.spent > 1) {
                    self.is_lost(&reason, now, rules);
                } else {
                    self.failed(&reason, retry_after, now, rules);
                }
                Next::Done
            }
            Outcome::Unknown(reason) => self.doubt(&reason, now, rules),
        }
    }

    /// What becomes of a renewal that a crash interrupted.
    pub fn settle(&mut self, now: Timestamp, rules: &Rules) -> Next {
        match self.intent {
            Some(_) if self.is_unsettled() => self.doubt("renewal_interrupted", now, rules),
            // It is due as it was, and may be spent as often as one likes.
            Some(_) => {
                self.intent = None;
                Next::Done
            }
            None => Next::Done,
        }
    }

    /// That of a registration which acts for itself: nobody has to consent, and its first token is due at once.
    #[must_use]
    pub fn of_credentials(generation: u64) -> Self {
        Self {
            status: Status::Active,
            generation,
            held: Some(Held {
                issued_at: Timestamp(0),
                expires_at: Some(Timestamp(0)),
                renewal: Renewal::Credentials,
                refused: false,
            }),
            ..Self::default()
        }
    }

    /// Somebody consented or supplied a token.
    pub fn consented(&mut self, renewed: Renewed, now: Timestamp, rules: &Rules) {
        self.hold(renewed, now, self.given(), rules);
    }

    /// Somebody supplied a token by hand: nobody knows how old it is.
    pub fn supplied(&mut self, renewed: Renewed) {
        self.consented(renewed, Held::NOBODY_KNOWS, &Rules::default());
    }

    /// Whether its token is used, or waits for no more than an account: it is neither over nor given up.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        matches!(self.status, Status::Active | Status::Error) || self.awaits_account()
    }

    /// Whether it is as somebody supplied it by hand: neither given up nor spent, nor may it have been.
    #[must_use]
    pub fn is_as_supplied(&self) -> bool {
        let is_first = |held: Held| held.issued_at == Held::NOBODY_KNOWS && held.renewal != Renewal::Credentials;
        self.is_kept() && self.held.is_some_and(is_first) && !self.is_unsettled()
    }

    /// A third party refused the token of this generation. Tells whether that changed anything: a fresh token is not at fault,
    /// and another one would fare no better.
    pub fn refused(&mut self, generation: u64, now: Timestamp, rules: &Rules) -> bool {
        let is_fresh = self.fresh_until(now, rules).is_some_and(|until| now < until);
        let Some(held) = self.held.as_mut().filter(|held| !held.refused) else {
            return false;
        };
        if is_fresh || generation != self.generation || !matches!(self.status, Status::Active | Status::Error) {
            return false;
        }
        held.refused = true;
        let renewal = held.renewal;
        self.note(now, What::Refused, None, rules);
        if renewal == Renewal::None {
            self.ends("token_refused", now, rules);
        }
        true
    }

    /// Until when nobody's refusal of its token counts; `None` where a clock wrote that it was given which was ahead of today's.
    #[must_use]
    pub fn fresh_until(&self, now: Timestamp, rules: &Rules) -> Option<Timestamp> {
        let held = self.held.filter(|held| !held.is_of_another_clock(now, rules))?;
        Some(held.issued_at.after(rules.fresh))
    }

    /// It is given up here: nothing is held any more.
    pub fn disconnected(&mut self, now: Timestamp, rules: &Rules) {
        self.end(Status::Pending, None);
        self.held = None;
        self.note(now, What::Disconnected, None, rules);
    }

    /// Its connection has another registration by now, which what was allowed to the old one is of no use to: nothing is held any
    /// more. Where nothing was, there is nothing to end.
    pub fn moved(&mut self, now: Timestamp, rules: &Rules) {
        if self.held.take().is_some() {
            self.end(Status::Pending, Some(MOVED));
            self.note(now, What::Moved, Some(MOVED), rules);
        }
    }

    /// A token whose end has come and that cannot be renewed.
    pub fn expired(&mut self, now: Timestamp, rules: &Rules) {
        self.ends("token_expired", now, rules);
    }

    /// Whether a renewal was begun whose outcome makes a difference: where it is not known, the grant may be
    /// [uncertain](Status::Uncertain).
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.intent.is_some() && self.is_doubtful()
    }

    /// Whether a second use of the refresh token could cost the grant.
    fn is_doubtful(&self) -> bool {
        self.held.is_some_and(|held| {
            matches!(
                held.renewal,
                Renewal::Refresh {
                    rotates: None | Some(true)
                }
            )
        })
    }

    /// Whether the provider answered 5xx since it gave the token, as far as that is remembered, and another use could cost the grant.
    fn may_be_spent(&self) -> bool {
        let is_new = |what| matches!(what, What::Issued | What::Reconnected | What::Renewed);
        let mut since = self.timeline.iter().rev().take_while(|happening| !is_new(happening.what));
        self.is_doubtful()
            && since.any(|happening| {
                let reason = happening.reason.as_deref().unwrap_or_default();
                happening.what == What::NotRenewed && reason.starts_with("http_5")
            })
    }

    /// When another use of the refresh token is not forgiven any more; none where nothing is forgiven anyway. That of a first use
    /// counts, too: it may arrive after a second one. How much is left of a use that another clock wrote nobody knows.
    #[must_use]
    pub fn last_moment(&self, now: Timestamp, rules: &Rules) -> Option<Timestamp> {
        let intent = self.intent.filter(|_| self.is_doubtful())?;
        let grace = rules.grace.or((intent.spent > 1).then_some(Duration::ZERO))?;
        Some(if intent.at <= now { intent.at.after(grace) } else { now })
    }

    /// Whether its token is good no more, as far as anybody said.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        self.held.is_some_and(|held| held.has_ended(now))
    }

    fn doubt(&mut self, reason: &str, now: Timestamp, rules: &Rules) -> Next {
        if !self.is_doubtful() {
            self.failed(reason, None, now, rules);
            return Next::Done;
        }
        // What a clock wrote that was ahead may be older than it says.
        let is_within = |intent: Intent, grace| intent.at <= now && now < intent.at.after(grace);
        let forgives = |intent: Intent| intent.spent < 2 && rules.grace.is_some_and(|grace| is_within(intent, grace));
        if self.intent.is_some_and(forgives) {
            return Next::Again;
        }
        self.is_lost(reason, now, rules);
        Next::Done
    }

    fn hold(&mut self, renewed: Renewed, now: Timestamp, what: What, rules: &Rules) {
        self.end(Status::Active, None);
        let lifetime = renewed.lifetime.filter(|lifetime| !lifetime.is_zero() && *lifetime <= LONGEST);
        self.held = Some(Held {
            issued_at: now,
            expires_at: lifetime.map(|lifetime| now.after(lifetime)),
            renewal: renewed.renewal,
            refused: false,
        });
        self.note(now, what, None, rules);
    }

    fn failed(&mut self, reason: &str, retry_after: Option<Duration>, now: Timestamp, rules: &Rules) {
        let factor = 1_u32.checked_shl(self.failures.min(20)).unwrap_or(u32::MAX);
        let wait = rules.back_off.saturating_mul(factor).min(rules.back_off_max);
        // A provider may ask for more than our own limit, but not for ever.
        let wait = wait.max(retry_after.unwrap_or_default().min(rules.longest_wait()));
        self.status = Status::Error;
        self.intent = None;
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now.after(wait));
        self.reason = Some(word(reason));
        self.note(now, What::NotRenewed, Some(reason), rules);
    }

    fn ends(&mut self, reason: &str, now: Timestamp, rules: &Rules) {
        self.end(Status::Failed, Some(reason));
        self.note(now, What::Ended, Some(reason), rules);
    }

    fn is_lost(&mut self, reason: &str, now: Timestamp, rules: &Rules) {
        self.end(Status::Uncertain, Some(reason));
        self.note(now, What::Lost, Some(reason), rules);
    }

    fn end(&mut self, status: Status, reason: Option<&str>) {
        self.status = status;
        self.generation += 1;
        self.intent = None;
        self.failures = 0;
        self.retry_at = None;
        self.reason = reason.map(word);
    }
}

impl Held {
    /// When a token was given that was supplied by hand.
    pub const NOBODY_KNOWS: Timestamp = Timestamp(0);

    /// Whether it was given by a clock that was ahead of today's, by more than one that is kept right is set back: when it ends nobody knows.
    fn is_of_another_clock(&self, now: Timestamp, rules: &Rules) -> bool {
        self.issued_at.since(now) > rules.fresh
    }

    fn has_ended(&self, now: Timestamp) -> bool {
        self.refused || self.expires_at.is_some_and(|end| end <= now)
    }

    /// From when on it is to be renewed; `None` where nobody knows its end.
    fn due_at(&self, rules: &Rules) -> Option<Timestamp> {
        if self.refused {
            return Some(Timestamp(0));
        }
        let end = self.expires_at?;
        let lead = rules.lead.min(end.since(self.issued_at) / 2);
        Some(Timestamp(end.0.saturating_sub(u64::try_from(lead.as_millis()).unwrap_or(u64::MAX))))
    }
}
