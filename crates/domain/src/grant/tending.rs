//! What the one who holds a grant does about it, one task after another, until it can be used or cannot.
//!
//! ```text
//!              ┌─────────────── overtaken: Read ◄──────────────┐
//!              ▼                                               │
//!  look ─► Store (intent) ─► Ask ─► Store (outcome) ─► Done    │ at each Store
//!              │ failed               │ failed ──► StoreLater ─┘ a new token
//!              ▼                      │        └─► PutOff        all else
//!            Done                     │ once more, within the grace
//!                                     └─► Store (intent) ─► …
//! ```
//!
//! Whoever has to wait before a provider may be asked waits before the intent is written, and may [give it up](Tending::held_back).
//!
//! Whoever performs the tasks may die after any of them: what is durable by then is enough for the next one who looks. Nothing
//! here waits or reads a clock; [`Grant`] says what an outcome means.

use super::{Grant, Need, Next, Outcome, Renewal, Rules, Status};
use crate::time::Timestamp;

/// How often a grant is read again in one go: a consent that comes in between is looked at once more, and there are few of those.
const READINGS: u8 = 8;

/// Why a grant cannot be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Somebody must consent, for the first time or again.
    Consent,
    /// Its token has ended and could not be renewed yet.
    Patience,
    /// It was given to another registration than the version that runs has: its provider may not see it, and nothing changes that.
    Moved,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Make what is held durable, if what is on disk is still what was read; then say how that [went](Tending::stored).
    Store,
    /// The same a while later: it is a new token, which must not be lost nor used before, and could not be written.
    StoreLater,
    /// Nothing more now: it could not be written, and what is held can be used as it is. The next look begins with what is held if it
    /// finds the same on disk: what was learnt of an [unsettled](Grant::is_unsettled) grant, and until when its provider is left alone.
    PutOff,
    /// Ask the provider for a token; then say what it [answered](Tending::answered).
    Ask {
        /// A request that has not arrived by then must not arrive any more.
        until: Option<Timestamp>,
    },
    /// Read what is on disk, and [look](Tending::look) again.
    Read,
    /// Nothing more now.
    Done,
}

/// How a write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// It is durable.
    Durable,
    /// It could not be written now: there was no room, or the disk failed.
    Failed,
    /// Somebody else wrote, or the holder is gone: what was held is not the truth any more.
    Overtaken,
}

/// What a look depends on besides the grant that is held.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'s> {
    /// The grant as it is on disk, if it is there.
    pub on_disk: Option<&'s Grant>,
    /// Whether its connection has another registration than it was given to, and that is not written down yet.
    pub is_moved: bool,
    /// Whether what is known of the provider is enough to ask it.
    pub can_ask: bool,
    /// Now.
    pub now: Timestamp,
    /// The rules, with what the provider declares.
    pub rules: &'s Rules,
}

/// One go at a grant.
#[derive(Debug, Default)]
pub struct Tending {
    stage: Stage,
    /// How often it was looked at.
    looks: u8,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// An intent is being written; the grant as it was before.
    Intending(Box<Grant>),
    /// The provider is being asked.
    Asking,
    /// A token that cannot be had again is being written.
    KeepingToken,
    /// Anything else is being written; what follows it.
    Keeping(Next),
}

impl Tending {
    /// Looks at what was read: settles what was interrupted, and begins what is due.
    pub fn look(&mut self, grant: &mut Grant, sight: &Sight<'_>) -> Task {
        let Sight { now, rules, .. } = *sight;
        self.stage = Stage::Idle;
        if self.looks == READINGS {
            return Task::Done;
        }
        self.looks += 1;
        if sight.is_moved {
            grant.moved(now, rules);
        }
        let mut next = grant.settle(now, rules);
        match grant.need(now, rules) {
            _ if next == Next::Again => {}
            Need::Renewal => next = Next::Again,
            Need::Consent if matches!(grant.status, Status::Active | Status::Error) => grant.expired(now, rules),
            Need::Consent | Need::Nothing | Need::Patience => {}
        }
        if next == Next::Again {
            return self.spend(grant, sight.can_ask, now, rules);
        }
        // What was only taken over from the configuration is written down with the first thing that happens to it.
        let differs = match sight.on_disk {
            Some(row) => row != grant,
            None => matches!(grant.status, Status::Failed | Status::Uncertain),
        };
        if differs { self.keep(Next::Done) } else { Task::Done }
    }

    /// Whether what is to be stored is that the provider is going to be asked.
    #[must_use]
    pub fn is_intending(&self) -> bool {
        matches!(self.stage, Stage::Intending(_))
    }

    /// Goes on where the provider may not be asked for so long that it is put off: nothing was spent.
    pub fn held_back(&mut self, grant: &mut Grant, outcome: Outcome, now: Timestamp, rules: &Rules) -> Task {
        let Stage::Intending(before) = std::mem::take(&mut self.stage) else {
            return Task::Done;
        };
        *grant = *before;
        if grant.intent.is_some() {
            // As where there is nobody to ask.
            return Task::Done;
        }
        let next = grant.learn(outcome, now, rules);
        self.keep(next)
    }

    /// Gives up what was intended, before anything of it was stored.
    pub fn called_off(&mut self, grant: &mut Grant) {
        if let Stage::Intending(before) = std::mem::take(&mut self.stage) {
            *grant = *before;
        }
    }

    /// Goes on after a [`Task::Store`] or [`Task::StoreLater`], or where a [`Task::PutOff`] could not be kept in mind and was stored again.
    pub fn stored(&mut self, grant: &mut Grant, wrote: Wrote, now: Timestamp, rules: &Rules) -> Task {
        match (std::mem::take(&mut self.stage), wrote) {
            (Stage::Idle | Stage::Asking, _) => Task::Done,
            (_, Wrote::Overtaken) => Task::Read,
            (Stage::Intending(_), Wrote::Durable) => match grant.last_moment(now, rules) {
                // The write took what was left of the grace. A first use has no second one then.
                Some(until) if until <= now && grant.intent.is_none_or(|intent| intent.spent < 2) => {
                    self.stage = Stage::Asking;
                    Task::Ask { until: None }
                }
                Some(until) if until <= now => {
                    let next = grant.learn(Outcome::Unknown("renewal_interrupted".into()), now, rules);
                    self.keep(next)
                }
                until => {
                    self.stage = Stage::Asking;
                    Task::Ask { until }
                }
            },
            (Stage::Intending(before), Wrote::Failed) => {
                // Nothing was spent, and nothing can be written down: what is held stays.
                *grant = *before;
                if grant.intent.is_none() {
                    grant.learn(passing("storage_failed"), now, rules);
                }
                Task::Done
            }
            // Whoever asks once more has asked before, and could.
            (Stage::Keeping(Next::Again), Wrote::Durable) => self.spend(grant, true, now, rules),
            (Stage::KeepingToken | Stage::Keeping(Next::Done), Wrote::Durable) => Task::Done,
            (Stage::KeepingToken, Wrote::Failed) => {
                self.stage = Stage::KeepingToken;
                Task::StoreLater
            }
            (Stage::Keeping(next), Wrote::Failed) => {
                self.stage = Stage::Keeping(next);
                Task::PutOff
            }
        }
    }

    /// Goes on after a [`Task::Ask`]; the token that was given is held by now.
    pub fn answered(&mut self, grant: &mut Grant, outcome: Outcome, now: Timestamp, rules: &Rules) -> Task {
        let is_token = matches!(&outcome, Outcome::Token(renewed) if renewed.renewal != Renewal::Credentials);
        let next = grant.learn(outcome, now, rules);
        if is_token {
            self.stage = Stage::KeepingToken;
            return Task::Store;
        }
        self.keep(next)
    }

    fn spend(&mut self, grant: &mut Grant, can_ask: bool, now: Timestamp, rules: &Rules) -> Task {
        if can_ask {
            self.stage = Stage::Intending(Box::new(grant.clone()));
            grant.intend(now);
            return Task::Store;
        }
        if grant.intent.is_some() {
            // It was spent before, and must not be forgotten: it can be asked for within the grace, or is uncertain after it.
            return Task::Done;
        }
        let next = grant.learn(passing("connection_incomplete"), now, rules);
        self.keep(next)
    }

    fn keep(&mut self, next: Next) -> Task {
        self.stage = Stage::Keeping(next);
        Task::Store
    }
}

impl Grant {
    /// Why it cannot be used now; `has_token` tells whether there is one at all.
    #[must_use]
    pub fn obstacle(&self, has_token: bool, now: Timestamp, rules: &Rules) -> Option<Obstacle> {
        match self.need(now, rules) {
            Need::Consent => Some(Obstacle::Consent),
            Need::Patience => Some(Obstacle::Patience),
            // What is due and was not renewed could not be written down.
            Need::Renewal if !has_token || self.has_ended(now) => Some(Obstacle::Patience),
            Need::Nothing if !has_token => Some(Obstacle::Consent),
            Need::Renewal | Need::Nothing => None,
        }
    }
}

fn passing(reason: &str) -> Outcome {
    Outcome::Passing {
        reason: reason.into(),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Renewed;
    use super::*;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn look(tending: &mut Tending, grant: &mut Grant, now: Timestamp, rules: &Rules) -> Task {
        let on_disk = grant.clone();
        let sight = Sight {
            on_disk: Some(&on_disk),
            is_moved: false,
            can_ask: true,
            now,
            rules,
        };
        tending.look(grant, &sight)
    }

    #[test]
    fn what_could_not_be_written_is_waited_for_where_it_is_a_token_that_cannot_be_had_again() {
        let rules = Rules::default();
        let hour = Duration::from_hours(1);
        let renewed = |renewal| Renewed {
            lifetime: Some(hour),
            renewal,
        };
        let refresh = Renewal::Refresh { rotates: None };
        let given = |renewal| Outcome::Token(renewed(renewal));
        let outcomes = [
            (refresh, given(refresh), Task::StoreLater, None),
            (refresh, given(Renewal::None), Task::StoreLater, None),
            (Renewal::Credentials, given(Renewal::Credentials), Task::PutOff, None),
            // Five minutes are left.
            (refresh, passing("http_503"), Task::PutOff, None),
            (
                refresh,
                Outcome::Over("invalid_grant".into()),
                Task::PutOff,
                Some(Obstacle::Consent),
            ),
            (
                refresh,
                Outcome::Unknown("connection_broken".into()),
                Task::PutOff,
                Some(Obstacle::Consent),
            ),
        ];
        for (renewal, outcome, task, obstacle) in outcomes {
            let mut grant = Grant::default();
            grant.consented(renewed(renewal), NOW, &rules);
            let due = NOW.after(hour - rules.lead);
            let mut tending = Tending::default();
            assert_eq!(look(&mut tending, &mut grant, due, &rules), Task::Store);
            assert_eq!(tending.stored(&mut grant, Wrote::Durable, due, &rules), Task::Ask { until: None });
            assert_eq!(tending.answered(&mut grant, outcome.clone(), due, &rules), Task::Store);
            for _ in 0..2 {
                assert_eq!(tending.stored(&mut grant, Wrote::Failed, due, &rules), task, "{outcome:?}");
            }
            assert_eq!(grant.obstacle(true, due, &rules), obstacle, "{outcome:?}");
            assert_eq!(tending.stored(&mut grant, Wrote::Durable, due, &rules), Task::Done);
        }
        // Nobody was asked at all.
        let mut grant = Grant::default();
        grant.consented(renewed(Renewal::None), NOW, &rules);
        let end = NOW.after(hour);
        let mut tending = Tending::default();
        assert_eq!(look(&mut tending, &mut grant, end, &rules), Task::Store);
        assert_eq!(tending.stored(&mut grant, Wrote::Failed, end, &rules), Task::PutOff);
        assert_eq!(grant.obstacle(true, end, &rules), Some(Obstacle::Consent));
    }

    #[test]
    fn what_may_not_be_asked_now_is_put_off_and_nothing_was_spent() {
        let rules = Rules {
            grace: Some(Duration::from_secs(30)),
            ..Rules::default()
        };
        let mut grant = Grant::default();
        let renewed = Renewed {
            lifetime: Some(Duration::from_hours(1)),
            renewal: Renewal::Refresh { rotates: Some(true) },
        };
        grant.consented(renewed, NOW, &rules);
        let due = NOW.after(Duration::from_hours(1));
        let later = || Outcome::Passing {
            reason: "rate_limited".into(),
            retry_after: Some(Duration::from_mins(7)),
        };
        let look = |tending: &mut Tending, grant: &mut Grant, now| look(tending, grant, now, &rules);
        let mut tending = Tending::default();
        let before = grant.clone();
        assert_eq!(look(&mut tending, &mut grant, due), Task::Store);
        assert_ne!(grant, before);
        tending.called_off(&mut grant);
        assert_eq!(grant, before);
        assert_eq!(look(&mut tending, &mut grant, due), Task::Store);
        assert!(tending.is_intending());
        assert_eq!(tending.held_back(&mut grant, later(), due, &rules), Task::Store);
        assert_eq!((grant.status, grant.intent), (Status::Error, None));
        assert_eq!(grant.retry_at, Some(due.after(Duration::from_mins(7))));
        assert!(!tending.is_intending());
        assert_eq!(tending.stored(&mut grant, Wrote::Durable, due, &rules), Task::Done);

        // A second use: the first one is not forgotten, and the grace still holds.
        grant.retry_at = None;
        grant.intend(due);
        let mut tending = Tending::default();
        let second = due.after(Duration::from_secs(10));
        assert_eq!(look(&mut tending, &mut grant, second), Task::Store);
        assert_eq!(grant.last_moment(second, &rules), Some(due.after(Duration::from_secs(30))));
        assert_eq!(tending.held_back(&mut grant, later(), second, &rules), Task::Done);
        assert_eq!(grant.intent.map(|intent| intent.spent), Some(1));
    }
}
