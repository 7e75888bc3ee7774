//! What instances and users do with a message.

use super::World;
use crate::stage::{Config, Timer, ToInstance, ToOwner, ToUser};
use perseat_actors::kit::{ChildExited, Exit, Verdict};
use perseat_domain::id::InstanceId;
use perseat_domain::owner::{Refusal, UserKey};
use std::time::Duration;

impl World {
    pub(super) fn instance_handles(&mut self, id: InstanceId) {
        if self.stage.dies() {
            return self.stage.instance_dies(id);
        }
        let Some(instance) = self.stage.instances.get_mut(&id) else {
            return;
        };
        let Some(message) = instance.mail.pop_front() else { return };
        match message {
            ToInstance::Start(turn) => {
                let is_busy = self.stage.is_busy();
                let refused = match self.stage.user(turn.user) {
                    Ok(_) if is_busy => Some(Refusal::Busy),
                    Ok(user) => {
                        user.mail.push_back(ToUser::Start(turn));
                        None
                    }
                    Err(why) => Some(why),
                };
                self.stage.to_owner.extend(refused.map(|why| ToOwner::NotStarted(turn, why)));
            }
            ToInstance::Cancel(key, execution) => {
                let is_busy = self.stage.is_busy();
                let now = self.stage.now();
                match self.stage.alive(key) {
                    Some(_) if is_busy => {
                        self.stage.model.not_heard(execution, now);
                        self.stage.to_owner.push_back(ToOwner::NotHeard(execution));
                    }
                    Some(user) => user.mail.push_back(ToUser::Cancel(execution)),
                    None => {}
                }
            }
            ToInstance::UserExited(exited) => match instance.nursery.on_exit(&exited) {
                Verdict::Stale | Verdict::Gone => {}
                Verdict::StartNow => self.stage.to_owner.push_back(ToOwner::UserBack(exited.key)),
                Verdict::RestartAfter(delay) | Verdict::Quarantine(delay) => {
                    let generation = instance.generation;
                    self.died(|user| *user == exited.key);
                    self.stage.to_owner.push_back(ToOwner::UserDied);
                    self.stage.after(delay, Timer::UserBack(exited.key, generation));
                }
            },
            ToInstance::UserBack(key) => self.stage.to_owner.push_back(ToOwner::UserBack(key)),
            ToInstance::StillNeeded(key) => {
                if instance.nursery.keep(&key).is_some() {
                    self.stage.to_owner.push_back(ToOwner::UserBack(key));
                }
            }
            ToInstance::Leave { is_idle } => self.leave(id, is_idle),
        }
    }

    fn leave(&mut self, id: InstanceId, is_idle: bool) {
        let Some(instance) = self.stage.instances.get_mut(&id) else {
            return;
        };
        for key in instance.nursery.idle(100) {
            if instance.nursery.put_away(&key).is_some()
                && let Some(user) = instance.users.get_mut(&key)
            {
                user.mail.push_back(ToUser::PutAway);
            }
        }
        if !is_idle {
            return;
        }
        if instance.nursery.is_empty() {
            let key = id;
            let generation = instance.generation;
            self.stage.instances.remove(&id);
            let exit = Exit::Stopped;
            self.stage
                .to_owner
                .push_back(ToOwner::InstanceExited(ChildExited { key, generation, exit }));
        } else {
            self.stage.to_owner.push_back(ToOwner::InstanceStillNeeded(id));
        }
    }

    pub(super) fn user_handles(&mut self, key: UserKey) {
        if self.stage.dies() {
            return self.stage.user_dies(key);
        }
        let Some(instance) = self.stage.instances.get_mut(&key.instance) else {
            return;
        };
        let Some(user) = instance.users.get_mut(&key) else { return };
        match user.mail.pop_front() {
            Some(ToUser::Start(turn)) => self.start(turn),
            Some(ToUser::Cancel(execution)) => {
                if let Some(number) = user.running.get(&execution).copied() {
                    self.cancel(number);
                }
            }
            Some(ToUser::RoomCame(execution, room)) => self.room_came(key, execution, room),
            Some(ToUser::Forget) => {
                user.config = Config::Unread;
                user.reading += 1;
                if !user.is_idle() {
                    self.read_config(key, Duration::from_millis(1));
                } else if user.has_parked {
                    self.stage.to_owner.push_back(ToOwner::TryParked(key));
                }
            }
            Some(ToUser::PutAway) => {
                if user.is_idle() {
                    self.stage.user_exits(key, Exit::Stopped);
                } else {
                    instance.mail.push_back(ToInstance::StillNeeded(key));
                }
            }
            None => {}
        }
    }
}
