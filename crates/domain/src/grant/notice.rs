//! The notice that somebody has to consent again: whom it goes to, once, and whom next.
//!
//! ```text
//! the grant is over ─► HOLDER ── told, or nobody to tell ─► (after a while) ADMINS ── told ─► TOLD
//!                         └────────────── consented again, given up, or gone: no notice ◄──────┘
//! ```
//!
//! There is one for a grant that is over, however often its renewal fails and however many executions wait for it.

use super::decide::MOVED;
use super::{Grant, Holder, Status};
use crate::id::UserId;
use crate::model::KeyDigest;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Who is to be told next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Whose connection it is.
    Holder,
    /// The admins of their customer, because nobody has consented yet.
    Admins,
    /// Nobody any more.
    Told,
}

/// A link by which the holder consents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeLink {
    /// SHA-256 of its secret.
    pub digest: KeyDigest,
    /// When it ends by itself.
    pub until: Timestamp,
}

/// One notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Whose connection.
    pub holder: Holder,
    /// The generation of the grant that is over: with the connection it names the notice.
    pub generation: u64,
    /// Since when it is over.
    pub since: Timestamp,
    /// Who is told next.
    pub step: Step,
    /// When.
    pub due_at: Timestamp,
    /// When the first attempt of this step failed; until then when it is first due.
    pub began_at: Timestamp,
    /// Attempts of this step that failed.
    pub attempts: u32,
    /// Who was told in this step.
    pub told: Vec<UserId>,
    /// When the holder was told.
    pub told_at: Option<Timestamp>,
    /// When the admins were told.
    pub escalated_at: Option<Timestamp>,
    /// The links that were given: one for each who was told, in that order, or the one of a webhook; then that of an attempt which did
    /// not succeed.
    pub links: Vec<NoticeLink>,
}

/// How notices are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long after the end of a grant its holder's admins are told (`notices.escalate-after`).
    pub escalate_after: Duration,
    /// How long one step is tried (`notices.keep-trying`).
    pub keep_trying: Duration,
    /// The wait after the first attempt that failed; it doubles with each (`notices.back-off`).
    pub back_off: Duration,
    /// The longest such wait (`notices.back-off-max`).
    pub back_off_max: Duration,
}

/// What a change of a grant means to its notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It stays as it is.
    Keep,
    /// There is one now.
    Begin(Notice),
    /// There is none any more.
    Clear,
}

impl Grant {
    /// Whether somebody has to consent again: not where nobody has yet, where it was given up here, or where only an account is to be
    /// chosen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.status {
            Status::Failed | Status::Uncertain => true,
            Status::Pending => self.reason.as_deref() == Some(MOVED),
            Status::Active | Status::Error => false,
        }
    }
}

impl Notice {
    /// What becomes of a notice when `before` becomes `after`.
    #[must_use]
    pub fn change(holder: Holder, before: Option<&Grant>, after: &Grant) -> Change {
        match (before.is_some_and(Grant::is_over), after.is_over()) {
            (_, false) => Change::Clear,
            (true, true) => Change::Keep,
            (false, true) => {
                let since = after.timeline.last().map_or(Timestamp(0), |last| last.at);
                Change::Begin(Self {
                    holder,
                    generation: after.generation,
                    since,
                    step: Step::Holder,
                    due_at: since,
                    began_at: since,
                    attempts: 0,
                    told: Vec::new(),
                    told_at: None,
                    escalated_at: None,
                    links: Vec::new(),
                })
            }
        }
    }

    /// A link for whoever is told next. That of an attempt for them that did not succeed ends.
    pub fn give(&mut self, link: NoticeLink) {
        self.links.truncate(self.told.len());
        self.links.push(link);
    }

    /// It is about to be sent: whatever becomes of that, it is not due again before the first wait is over.
    pub fn claim(&mut self, now: Timestamp, pace: &Pace) {
        self.due_at = now.after(pace.back_off);
    }

    /// The step is done; `reached` tells whether anybody was.
    pub fn done(&mut self, reached: bool, now: Timestamp, pace: &Pace) {
        let stamp = reached.then_some(now);
        let is_own = self.holder.is_persons_own();
        match self.step {
            // What an instance holds is its admins' from the beginning.
            Step::Holder if is_own => {
                self.told_at = stamp;
                self.next(Step::Admins, self.since.after(pace.escalate_after).max(now));
            }
            Step::Holder => {
                self.told_at = stamp;
                self.next(Step::Told, now);
            }
            Step::Admins => {
                self.escalated_at = stamp;
                self.next(Step::Told, now);
            }
            Step::Told => {}
        }
    }

    /// An attempt failed and is made again later. Tells whether it is: else the step was given up.
    pub fn put_off(&mut self, now: Timestamp, pace: &Pace) -> bool {
        if self.attempts == 0 {
            self.began_at = now;
        }
        let doubled = 2_u32.saturating_pow(self.attempts);
        let due_at = now.after(pace.back_off.saturating_mul(doubled).min(pace.back_off_max));
        if due_at > self.began_at.after(pace.keep_trying) {
            self.done(!self.told.is_empty(), now, pace);
            return false;
        }
        self.attempts += 1;
        self.due_at = due_at;
        true
    }

    /// Whether it is to be sent now.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.step != Step::Told && self.due_at <= now
    }

    fn next(&mut self, step: Step, due_at: Timestamp) {
        self.step = step;
        self.due_at = due_at;
        self.began_at = due_at;
        self.attempts = 0;
        self.told.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::{Need, Outcome, Renewal, Renewed, Rules, What};
    use crate::id::UserConfigId;
    use uuid::Uuid;

    const HOLDER: Holder = Holder::UserConfig(UserConfigId(Uuid::from_u128(7)));
    const PACE: Pace = Pace {
        escalate_after: Duration::from_secs(100),
        keep_trying: Duration::from_secs(60),
        back_off: Duration::from_secs(10),
        back_off_max: Duration::from_secs(25),
    };

    fn given(grant: &mut Grant, at: u64) {
        let renewed = Renewed {
            lifetime: None,
            renewal: Renewal::None,
        };
        grant.consented(renewed, Timestamp(at), &Rules::default());
    }

    fn begun(grant: &Grant) -> Notice {
        match Notice::change(HOLDER, None, grant) {
            Change::Begin(notice) => notice,
            other => panic!("{other:?}"),
        }
    }

    fn over(at: u64) -> Grant {
        let mut grant = Grant::default();
        given(&mut grant, 0);
        grant.learn(Outcome::Over("invalid_grant".into()), Timestamp(at), &Rules::default());
        grant
    }

    #[test]
    fn a_grant_that_is_over_has_one_notice_until_somebody_consents_again() {
        let (mut grant, fine) = (over(5), Grant::default());
        assert_eq!(Notice::change(HOLDER, None, &fine), Change::Clear);
        let notice = begun(&grant);
        assert_eq!(
            (notice.since, notice.due_at, notice.step),
            (Timestamp(5), Timestamp(5), Step::Holder)
        );
        let mut again = grant.clone();
        again.learn(Outcome::Over("invalid_grant".into()), Timestamp(9), &Rules::default());
        assert_eq!(Notice::change(HOLDER, Some(&grant), &again), Change::Keep);
        let before = grant.clone();
        given(&mut grant, 20);
        assert_eq!(Notice::change(HOLDER, Some(&before), &grant), Change::Clear);
        let mut later = grant.clone();
        later.learn(Outcome::Over("invalid_grant".into()), Timestamp(30), &Rules::default());
        let Change::Begin(second) = Notice::change(HOLDER, Some(&grant), &later) else {
            panic!("a new end has a new notice")
        };
        assert!(second.generation > notice.generation);
    }

    #[test]
    fn who_is_moved_is_told_unless_that_is_told_already_or_nothing_was_given() {
        let rules = Rules::default();
        let mut grant = Grant::default();
        grant.moved(Timestamp(1), &rules);
        assert_eq!(grant, Grant::default(), "nobody had consented");
        given(&mut grant, 2);
        let before = grant.clone();
        grant.moved(Timestamp(3), &rules);
        assert_eq!(
            (grant.status, grant.held, grant.need(Timestamp(3), &rules)),
            (Status::Pending, None, Need::Consent)
        );
        assert!(grant.generation > before.generation && grant.is_over());
        let Change::Begin(notice) = Notice::change(HOLDER, Some(&before), &grant) else {
            panic!("nobody is told")
        };
        assert_eq!(notice.since, Timestamp(3));
        let again = grant.clone();
        grant.moved(Timestamp(4), &rules);
        assert_eq!(grant, again, "it is moved already");

        // What was over before keeps its notice.
        let mut grant = over(5);
        let before = grant.clone();
        grant.moved(Timestamp(6), &rules);
        assert_eq!(Notice::change(HOLDER, Some(&before), &grant), Change::Keep);
        let told: Vec<What> = grant.timeline.iter().map(|happening| happening.what).collect();
        assert_eq!(told, [What::Issued, What::Ended, What::Moved]);
        let before = grant.clone();
        given(&mut grant, 7);
        assert_eq!(grant.timeline.last().map(|last| last.what), Some(What::Reconnected));
        assert_eq!(Notice::change(HOLDER, Some(&before), &grant), Change::Clear);
        grant.moved(Timestamp(8), &rules);
        grant.disconnected(Timestamp(9), &rules);
        assert!(!grant.is_over(), "given up");
        given(&mut grant, 10);
        grant.await_account(true);
        assert!(!grant.is_over(), "an account is to be chosen");
        grant.moved(Timestamp(11), &rules);
        assert!(grant.is_over() && !grant.awaits_account());
    }

    #[test]
    fn the_holder_comes_first_their_admins_once_and_then_nobody() {
        let mut notice = begun(&over(5_000));
        assert!(!notice.is_due(Timestamp(4_999)) && notice.is_due(Timestamp(5_000)));
        notice.done(true, Timestamp(6_000), &PACE);
        assert_eq!((notice.step, notice.told_at), (Step::Admins, Some(Timestamp(6_000))));
        assert!(!notice.is_due(Timestamp(104_999)) && notice.is_due(Timestamp(105_000)));
        notice.done(true, Timestamp(106_000), &PACE);
        assert_eq!((notice.step, notice.escalated_at), (Step::Told, Some(Timestamp(106_000))));
        assert!(!notice.is_due(Timestamp(u64::MAX)));
        let mut shared = Notice {
            holder: Holder::Instance(crate::id::InstanceId(Uuid::from_u128(8))),
            ..begun(&over(5))
        };
        shared.done(true, Timestamp(6), &PACE);
        assert_eq!(shared.step, Step::Told, "an instance's admins are told from the beginning");
    }

    #[test]
    fn what_is_about_to_be_sent_is_due_again_after_the_first_wait() {
        let mut notice = begun(&over(5_000));
        notice.claim(Timestamp(6_000), &PACE);
        assert!(!notice.is_due(Timestamp(15_999)) && notice.is_due(Timestamp(16_000)));
    }

    #[test]
    fn waits_double_up_to_their_limit_and_a_step_that_fails_for_long_gives_way_to_the_next() {
        let mut notice = begun(&over(0));
        let mut waits = Vec::new();
        let mut now = Timestamp(0);
        while notice.put_off(now, &PACE) {
            waits.push((notice.due_at.0 - now.0) / 1_000);
            now = notice.due_at;
        }
        assert_eq!(waits, [10, 20, 25]);
        assert_eq!((notice.step, notice.told_at, notice.attempts), (Step::Admins, None, 0));
        // The admins were due long before this is looked at, and have as much time all the same.
        let late = notice.due_at.after(10 * PACE.keep_trying);
        assert!(notice.put_off(late, &PACE), "an attempt that comes late is not the only one");
        assert!(!notice.put_off(late.after(PACE.keep_trying), &PACE));
    }
}
