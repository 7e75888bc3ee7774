//! What is known of one scope.

use super::{Limits, Rate, ScopeId};
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// Nothing begins before.
    paused: Timestamp,
    /// When the last refusal was heard.
    learnt: Option<Timestamp>,
    /// Refusals in a row.
    refusals: u32,
    /// Until when so many more may begin.
    window: Option<(Timestamp, u32)>,
    /// Until when calls begin one by one, and when the last one did.
    ease: Timestamp,
    last: Timestamp,
    /// Where a rate holds: when calls began within its span.
    starts: VecDeque<Timestamp>,
    /// What was refused in a row within this scope, and until when that counts.
    witnesses: Vec<(ScopeId, Timestamp)>,
}

impl Scope {
    /// When a call may begin as far as this scope goes; `now` or earlier: at once. A clock that was set back makes nobody wait
    /// longer than limits allow.
    pub(super) fn free_at(&mut self, now: Timestamp, rate: Option<Rate>, limits: &Limits) -> Timestamp {
        let longest = now.after(limits.max_pause);
        let mut free = self.paused.min(longest);
        if let Some((until, 0)) = self.window {
            free = free.max(until.min(longest));
        }
        if now < self.ease {
            free = free.max(self.last.min(now).after(limits.spacing));
        }
        if let Some(rate) = rate {
            free = free.max(self.free_by(rate, now));
        }
        free
    }

    fn free_by(&mut self, rate: Rate, now: Timestamp) -> Timestamp {
        for start in self.starts.iter_mut().rev().take_while(|start| **start > now) {
            *start = now;
        }
        while self.starts.front().is_some_and(|start| start.after(rate.per) <= now) {
            self.starts.pop_front();
        }
        let count = rate.count as usize;
        match self.starts.len().checked_sub(count) {
            None => now,
            Some(over) => self.starts.get(over).map_or(now, |start| start.after(rate.per)),
        }
    }

    /// A call begins.
    pub(super) fn start(&mut self, now: Timestamp, rate: Option<Rate>) {
        self.last = now;
        match &mut self.window {
            Some((until, _)) if *until <= now => self.window = None,
            Some((_, left)) => *left = left.saturating_sub(1),
            None => {}
        }
        if rate.is_some() {
            self.starts.push_back(now);
        }
    }

    /// A call that began at `started` was refused; until when nothing begins. The refusals of calls that were on their way
    /// together count as one.
    pub(super) fn refuse(&mut self, started: Timestamp, again: Option<Duration>, now: Timestamp, limits: &Limits) -> Timestamp {
        if self.learnt.is_none_or(|learnt| started > learnt) {
            self.refusals = self.refusals.saturating_add(1);
        }
        let span = again.unwrap_or_else(|| {
            let doubled = 1u32.checked_shl(self.refusals.saturating_sub(1)).unwrap_or(u32::MAX);
            limits.back_off.saturating_mul(doubled).min(limits.back_off_max)
        });
        self.learnt = Some(now);
        self.pause(now.after(span.min(limits.max_pause)), limits);
        self.paused
    }

    /// Nothing begins before `until`.
    pub(super) fn pause(&mut self, until: Timestamp, limits: &Limits) {
        self.paused = self.paused.max(until);
        self.ease = self.paused.after(limits.ease);
    }

    /// Until when nothing begins.
    pub(super) fn paused(&self) -> Timestamp {
        self.paused
    }

    /// A call that began at `started` was served.
    pub(super) fn serve(&mut self, started: Timestamp) {
        self.witnesses.clear();
        if self.learnt.is_some_and(|learnt| started > learnt) {
            self.refusals = 0;
        }
    }

    /// The provider serves so many more within `span`. Calls that began since it counted are counted here.
    pub(super) fn left(&mut self, left: u32, span: Duration, now: Timestamp, limits: &Limits) {
        let until = now.after(span.min(limits.max_pause));
        self.window = match self.window {
            Some((open, known)) if open > now => Some((open, known.min(left))),
            _ => Some((until, left)),
        };
    }

    /// Notes that something within this scope was refused; whether that is enough against the scope itself.
    pub(super) fn witness(&mut self, who: ScopeId, until: Timestamp, now: Timestamp, limits: &Limits) -> bool {
        self.witnesses.retain(|(other, counts)| *other != who && *counts > now);
        self.witnesses.push((who, until));
        if self.witnesses.len() > limits.evidence {
            self.witnesses.remove(0);
        }
        self.witnesses.len() >= limits.evidence
    }

    /// From when on nothing of it matters any more.
    pub(super) fn ends(&self, rate: Option<Rate>) -> Timestamp {
        let window = self.window.map(|(until, _)| until);
        let started = rate.and_then(|rate| Some(self.starts.back()?.after(rate.per)));
        let witness = self.witnesses.iter().map(|(_, until)| *until).max();
        let ends = [window, started, witness].into_iter().flatten().max().unwrap_or_default();
        ends.max(self.ease)
    }
}
