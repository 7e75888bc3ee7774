//! Credentials that come and go, and who hears of it.

use super::World;
use crate::execution;
use crate::stage::{Config, Timer, ToOwner, User};
use crate::workload::Account;
use perseat_domain::code::ErrorCode;
use perseat_domain::owner::UserKey;
use std::collections::BTreeSet;

impl World {
    pub(super) fn try_parked(&mut self, which: impl Fn(&UserKey) -> bool) {
        self.stage.model.try_parked(&which);
        self.owner.try_parked(which, &mut self.stage);
    }

    /// Sees to it that parked executions are looked at when there is something to do.
    pub(super) fn look_later(&mut self) {
        let Some(next) = self.owner.next_look() else { return };
        if self.look_at.is_none_or(|at| at > next) {
            self.look_at = Some(next);
            let span = next.since(execution::at(&self.stage));
            self.stage.after(span, Timer::Look(next));
        }
    }

    /// A credential is gone, or back.
    pub(super) fn account(&mut self, account: Account) {
        let Account {
            user,
            connection,
            is_missing,
        } = account;
        if is_missing {
            self.stage.missing.insert((user, connection));
        } else {
            self.stage.missing.remove(&(user, connection));
        }
        self.stage.model.account(user, connection, is_missing);
        self.stage.to_owner.push_back(ToOwner::ConfigChanged(user));
    }

    pub(super) fn config_read(&mut self, key: UserKey, generation: u64, reading: u64) {
        let is_gone = self.stage.chance.one_in(self.stage.workload.faults.removed);
        let missing = self.stage.lacking(key);
        let has_parked = self.owner.has_parked(key);
        let is_meant = |user: &&mut User| (user.generation, user.reading) == (generation, reading);
        let Some(user) = self.stage.alive(key).filter(is_meant) else {
            return;
        };
        let usable = (user.has_parked || has_parked).then(|| {
            let missing = if is_gone { BTreeSet::new() } else { missing.clone() };
            ToOwner::Usable(key, missing.into_iter().map(str::to_owned).collect())
        });
        user.config = Config::Read(if is_gone { Err(ErrorCode::UserRemoved) } else { Ok(missing) });
        self.stage.to_owner.extend(usable);
        let Some(user) = self.stage.alive(key) else { return };
        for turn in std::mem::take(&mut user.waiting) {
            self.start(turn);
        }
    }
}
