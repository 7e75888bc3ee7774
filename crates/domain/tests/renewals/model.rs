//! What must hold, from what the provider counted and what is durable.
//!
//! 1. A refresh token is spent once. A provider that forgives sees it a second time at most, and within its grace (`provider`).
//! 2. The intent is durable before the provider is asked, and the new token before anybody uses it.
//! 3. However many ask, and of however many users, one call is under way for a grant, and none is made that is not due or that the
//!    provider asked to put off.
//! 4. A grant is said to be over only if the provider said so, and not because a token was used again of which an answer of 5xx had
//!    said that it was not spent. It is said to be uncertain only if a renewal was cut off, or if the provider said that it is over
//!    and had answered 5xx before.
//! 5. A grant that goes on with another refresh token than the stored one is never said to be fine, but where an answer of 5xx
//!    said so, until the next renewal.
//! 6. Whoever has to consent again is told, from the moment on at which that is durable.
//! 7. What somebody consented to is never overwritten by what was before.
//! 8. No execution works without a credential that can be used, and none waits for one that can be.
//! 9. Of one user the oldest execution that can go on goes on first; of those that wait for a credential one at a time finds
//!    out, and none works before an older one that waits; all end once all is well (`stage`, `executions`).

use crate::disk::{Disk, Row};
use crate::holder::Lent;
use crate::provider::{Provider, Token};
use perseat_domain::grant::{Obstacle, Rules, Status, What};
use perseat_domain::time::Timestamp;
use std::collections::BTreeSet;

#[derive(Debug)]
pub(crate) struct Model {
    violation: Option<String>,
    grants: Vec<Known>,
    /// Tokens that were durable once.
    stored: BTreeSet<Token>,
    /// Tokens that the API refused.
    refused: BTreeSet<Token>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// Whether a renewal was cut off since the last token, and whether one was answered with 5xx.
    is_doubtful: bool,
    was_down: bool,
    /// Before this the provider wants to be left alone; what it said last, and what of it is durable.
    said: Option<Timestamp>,
    left_alone_until: Timestamp,
    /// Calls under way.
    calls: u32,
    /// The newest consent.
    chain: usize,
}

impl Model {
    pub(crate) fn new(rows: &[Row]) -> Self {
        let known = |row: &Row| Known {
            chain: row.token.chain,
            ..Known::default()
        };
        Self {
            violation: None,
            grants: rows.iter().map(known).collect(),
            stored: rows.iter().map(|row| row.token).collect(),
            refused: BTreeSet::new(),
        }
    }

    pub(crate) fn violation(&mut self) -> Option<String> {
        self.violation.take()
    }

    pub(crate) fn must(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(otherwise());
        }
    }

    /// The provider is about to be asked with what is held.
    pub(crate) fn asks(&mut self, of: usize, held: &Row, disk: &Disk, rules: &Rules, now: Timestamp) {
        let row = disk.row(of);
        // A consent that came in between has its own row; what was held before it may be spent.
        let is_intended = row.grant.generation != held.grant.generation || row.grant.intent.is_some();
        self.must(is_intended, || format!("grant {of}: asks before the intent is durable: {row:?}"));
        let is_first = held.grant.intent.is_none_or(|intent| intent.spent < 2);
        let is_ended = held.grant.held.and_then(|held| {
            let end = held.expires_at?;
            Some(
                end.0
                    .saturating_sub(rules.lead.min(end.since(held.issued_at) / 2).as_millis() as u64)
                    <= now.0,
            )
        });
        let is_due = !is_first || is_ended == Some(true) || self.refused.contains(&held.token);
        self.must(is_due, || format!("grant {of}: a renewal that is not due: {held:?}"));
        let known = &mut self.grants[of];
        known.calls += 1;
        let (calls, until) = (known.calls, known.left_alone_until);
        self.must(calls == 1, || format!("grant {of}: {calls} renewals at once"));
        self.must(until <= now, || {
            format!("grant {of}: asked at {now:?}, and was to wait until {until:?}")
        });
    }

    /// The provider wants to be left alone until then.
    pub(crate) fn is_told(&mut self, of: usize, until: Timestamp) {
        self.grants[of].said = Some(until);
    }

    /// A call is over, or nobody waits for it any more; `is_known` tells whether its outcome is.
    pub(crate) fn called(&mut self, of: usize, is_known: bool) {
        let known = &mut self.grants[of];
        known.calls = known.calls.saturating_sub(1);
        known.is_doubtful |= !is_known;
    }

    /// The provider answers with 5xx.
    pub(crate) fn is_down(&mut self, of: usize) {
        self.grants[of].was_down = true;
    }

    /// Whoever was at it died.
    pub(crate) fn is_cut_off(&mut self, of: usize) {
        let known = &mut self.grants[of];
        known.calls = 0;
        known.said = None;
        known.is_doubtful = true;
    }

    /// Somebody consented.
    pub(crate) fn consented(&mut self, of: usize, token: Token) {
        self.grants[of] = Known {
            chain: token.chain,
            calls: self.grants[of].calls,
            ..Known::default()
        };
    }

    /// A row is durable.
    pub(crate) fn stored(&mut self, of: usize, disk: &Disk, provider: &Provider) {
        let (row, notice) = (disk.row(of), disk.notice(of));
        let known = &mut self.grants[of];
        let (mut is_doubtful, chain) = (known.is_doubtful, known.chain);
        is_doubtful |= known.was_down && provider.chain(row.token).said_over;
        if self.stored.insert(row.token) {
            (known.is_doubtful, known.was_down) = (false, false);
            known.left_alone_until = Timestamp(0);
        }
        if row.grant.intent.is_none()
            && let Some(until) = known.said.take()
        {
            known.left_alone_until = until;
        }
        let story = || format!("grant {of}: {row:?}, {:?}", provider.chain(row.token));
        let said_over = provider.chain(row.token).said_over;
        self.must(row.token.chain == chain, || format!("{} overwrites consent {chain}", story()));
        let last = row.grant.timeline.last().map(|last| last.what);
        let is_told = notice.is_some();
        match row.grant.status {
            Status::Failed => {
                self.must(said_over, || format!("{} is said to be over, and nobody said so", story()));
                let is_stolen = provider.chain(row.token).is_stolen;
                self.must(!is_stolen, || {
                    format!("{} is said to be over, and was used once too often", story())
                });
                self.must(last == Some(What::Ended) && is_told, || format!("{} is over and not told", story()));
            }
            Status::Uncertain => {
                self.must(is_doubtful, || format!("{} is uncertain without a cause", story()));
                self.must(last == Some(What::Lost) && is_told, || format!("{} is lost and not told", story()));
            }
            Status::Active | Status::Error => {
                let is_lost = row.grant.intent.is_none() && provider.is_lost(row.token) && !provider.denied(row.token);
                self.must(!is_lost, || format!("{} is lost, and said to be fine", story()));
                self.must(!is_told, || format!("{} goes on, and somebody is told to consent", story()));
            }
            Status::Pending => self.must(false, || format!("{} was given up by nobody", story())),
        }
    }

    /// An execution begins to work with what it was lent.
    pub(crate) fn works(&mut self, of: usize, lent: &Lent, token: Token, now: Timestamp) {
        self.must(lent.obstacle.is_none(), || format!("grant {of}: works with {lent:?}"));
        self.must(lent.ends.is_none_or(|end| now < end), || {
            format!("grant {of}: works at {now:?} with a token that has ended: {lent:?}")
        });
        let is_stored = self.stored.contains(&token);
        self.must(is_stored, || format!("grant {of}: uses {token:?}, which was never stored"));
    }

    /// An execution waits.
    pub(crate) fn parks(&mut self, of: usize, lent: &Lent, disk: &Disk, rules: &Rules, now: Timestamp) {
        let row = disk.row(of);
        // One whose reading failed, or who has not heard of a new consent yet, waits for a moment.
        let is_old = row.grant.generation != lent.version;
        let lacks = row.grant.obstacle(true, now, rules);
        // That it was refused may not be written down for want of room.
        let is_refused = self.refused.contains(&row.token);
        self.must(is_old || is_refused || lacks.is_some(), || {
            format!("grant {of}: waits at {now:?} for what can be used: {lent:?}, {row:?}")
        });
        let is_over = lent.obstacle == Some(Obstacle::Consent);
        self.must(is_over || lent.look_again.is_some(), || {
            format!("grant {of}: waits, and nobody looks again: {lent:?}")
        });
    }

    /// The API refused a token.
    pub(crate) fn refuses(&mut self, token: Token) {
        self.refused.insert(token);
    }
}
