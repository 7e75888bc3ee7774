//! What an instance runs with and for whom, where its supervisor reaches it, too.

use super::actor::InstanceActor;
use crate::execution::LoadedInstance;
use crate::kit::{Mailbox, Nursery, NurseryOptions, start_here};
use crate::supervisor::{refusal, unavailable};
use crate::user::{ForgetConfig, Orphaned, Start, UserActor, UserEnv};
use perseat_domain::code::ErrorCode;
use perseat_domain::id::{InstanceId, UserConfigId};
use perseat_domain::owner::{Reached, Refusal, Turn, UserKey};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An instance's configuration.
#[derive(Clone, Debug)]
pub(super) enum Config {
    Unread,
    Reading { is_stale: bool },
    Read(Result<Arc<LoadedInstance>, ErrorCode>),
}

/// The running users of an instance.
pub(super) type UserNursery = Nursery<Option<UserConfigId>, Mailbox<UserActor>>;

/// One instance's table: written by its actor; the supervisor gives turns to its users while the configuration is at hand, and
/// says that it is not. One message fewer for each event, and that to an actor of which little is in the processor's cache.
///
/// All that use it run on one arbiter; nobody waits.
#[derive(Debug)]
pub struct InstanceTable {
    pub(super) id: InstanceId,
    pub(super) env: UserEnv,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Config,
    users: UserNursery,
}

impl InstanceTable {
    /// An instance with no user active.
    #[must_use]
    pub fn new(id: InstanceId, env: UserEnv, options: NurseryOptions, seed: u64) -> Self {
        let users = Nursery::new(options, env.execution.clock.clone(), seed);
        let config = Config::Unread;
        Self {
            id,
            env,
            state: Mutex::new(State { config, users }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a turn to its user; `None` if the configuration has to be read first, which the actor does.
    pub fn give(&self, turn: &Turn, actor: &Mailbox<InstanceActor>) -> Option<Reached> {
        let Config::Read(instance) = self.config() else {
            return None;
        };
        Some(self.give_with(turn, instance, actor))
    }

    /// As [`InstanceTable::give`], with the configuration that is given.
    pub(super) fn give_with(
        &self,
        turn: &Turn,
        instance: Result<Arc<LoadedInstance>, ErrorCode>,
        actor: &Mailbox<InstanceActor>,
    ) -> Reached {
        let mut state = self.state();
        let user = self.running(&mut state.users, turn.user.config, actor)?;
        user.tell(Start { turn: *turn, instance }).map_err(refusal)
    }

    /// What starts next reads the configuration again, and so do the users.
    pub fn forget(&self) {
        let mut state = self.state();
        state.config = match state.config {
            Config::Reading { .. } => Config::Reading { is_stale: true },
            Config::Unread | Config::Read(_) => Config::Unread,
        };
        for (_, user) in state.users.alive() {
            user.tell_past_the_bound(ForgetConfig);
        }
    }

    /// The same for one user alone: what is the instance's stays as it was read.
    pub fn forget_user(&self, config: Option<UserConfigId>) {
        if let Some(user) = self.state().users.get(&config) {
            user.tell_past_the_bound(ForgetConfig);
        }
    }

    /// The actor ends: nothing is given any more, and the users end with it. What they run would otherwise run beside what the
    /// actor's successor starts.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.config = Config::Unread;
        for (_, user) in state.users.alive() {
            user.tell_past_the_bound(Orphaned);
        }
    }

    pub(super) fn config(&self) -> Config {
        self.state().config.clone()
    }

    pub(super) fn config_is(&self, config: Config) {
        self.state().config = config;
    }

    /// Lets the actor see to the users.
    pub(super) fn users<R>(&self, see_to: impl FnOnce(&mut UserNursery) -> R) -> R {
        see_to(&mut self.state().users)
    }

    /// The actor of a user, started where there is none.
    pub(super) fn user(&self, config: Option<UserConfigId>, actor: &Mailbox<InstanceActor>) -> Result<Mailbox<UserActor>, Refusal> {
        self.running(&mut self.state().users, config, actor).cloned()
    }

    fn running<'u>(
        &self,
        users: &'u mut UserNursery,
        config: Option<UserConfigId>,
        actor: &Mailbox<InstanceActor>,
    ) -> Result<&'u mut Mailbox<UserActor>, Refusal> {
        let (env, instance) = (&self.env, self.id);
        let started = users.ensure(&config, |birth| {
            let (env, parent) = (env.clone(), actor.clone());
            start_here(env.mailbox, birth.obituary(&parent), move |ctx| {
                UserActor::new(UserKey { instance, config }, env, parent, ctx)
            })
        });
        started.map_err(unavailable)
    }
}

/// Where an instance is reached.
#[derive(Clone, Debug)]
pub struct InstanceHandle {
    /// Its actor.
    pub actor: Mailbox<InstanceActor>,
    /// Its table.
    pub table: Arc<InstanceTable>,
}
