//! The instance actor.

use super::messages::{CancelFor, EnqueueFor, Forget, Leave, RestartDue, StartFor, StillNeeded};
use crate::execution::{LoadError, LoadedInstance};
use crate::kit::{ChildExited, Mailbox, Nursery, NurseryOptions, Unavailable, Verdict, remind, start_here};
use crate::supervisor::{FeedAgain, InstanceStillNeeded};
use crate::user::{ForgetConfig, PutAway, Slot, StartNext, UserActor, UserEnv, UserKey};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, WrapFuture, fut::ActorFutureExt};
use perseat_domain::code::ErrorCode;
use perseat_domain::fair::Cost;
use perseat_domain::id::{InstanceId, UserConfigId};
use std::sync::Arc;

#[derive(Debug)]
enum Config {
    Unread,
    Reading { is_stale: bool },
    Read(Result<Arc<LoadedInstance>, ErrorCode>),
}

/// One deployed integration of one customer.
#[derive(Debug)]
pub struct InstanceActor {
    id: InstanceId,
    env: UserEnv,
    me: Mailbox<Self>,
    users: Nursery<Option<UserConfigId>, Mailbox<UserActor>>,
    config: Config,
    /// Slots granted while the configuration is being read.
    granted: Vec<Slot>,
}

impl InstanceActor {
    /// An instance with no user active.
    #[must_use]
    pub fn new(id: InstanceId, env: UserEnv, options: NurseryOptions, seed: u64, ctx: &Context<Self>) -> Self {
        let users = Nursery::new(options, env.execution.clock.clone(), seed);
        Self {
            id,
            env,
            me: Mailbox::of(ctx),
            users,
            config: Config::Unread,
            granted: Vec::new(),
        }
    }

    fn user(&mut self, config: Option<UserConfigId>) -> Result<Mailbox<UserActor>, Unavailable> {
        let (env, parent, instance) = (&self.env, &self.me, self.id);
        let started = self.users.ensure(&config, |birth| {
            let (env, parent) = (env.clone(), parent.clone());
            start_here(env.mailbox, birth.obituary(&parent), move |ctx| {
                UserActor::new(UserKey { instance, config }, env, parent, ctx)
            })
        });
        started.cloned()
    }

    fn start(&mut self, slot: Slot, ctx: &mut Context<Self>) {
        match &self.config {
            Config::Read(instance) => {
                let instance = instance.clone();
                self.hand_on(slot, instance);
            }
            Config::Reading { .. } => self.granted.push(slot),
            Config::Unread => {
                self.granted.push(slot);
                self.read_config(ctx);
            }
        }
    }

    fn hand_on(&mut self, slot: Slot, instance: Result<Arc<LoadedInstance>, ErrorCode>) {
        let handed = self
            .user(slot.user.config)
            .is_ok_and(|user| user.tell(StartNext { slot, instance }).is_ok());
        if !handed
            && self
                .env
                .supervisor
                .tell(crate::supervisor::SlotFreed {
                    slot,
                    cost: Cost::default(),
                })
                .is_err()
        {
            tracing::error!(instance = %self.id, "a slot could not be given back; the supervisor is overloaded or gone");
        }
    }

    fn read_config(&mut self, ctx: &mut Context<Self>) {
        self.config = Config::Reading { is_stale: false };
        let (custody, id) = (self.env.execution.custody.clone(), self.id);
        let read = tokio::task::spawn_blocking(move || LoadedInstance::load(&custody, id));
        ctx.spawn(read.into_actor(self).map(move |read, actor, ctx| {
            let read: Result<Option<LoadedInstance>, LoadError> = read.unwrap_or_else(|error| {
                tracing::error!(instance = %id, %error, "reading an instance's configuration failed");
                Ok(None)
            });
            let instance = match read {
                Ok(Some(instance)) => Ok(Arc::new(instance)),
                Ok(None) => Err(ErrorCode::InstanceRemoved),
                Err(error) => {
                    tracing::error!(instance = %id, error = &error as &dyn std::error::Error, "cannot read an instance's configuration");
                    Err(ErrorCode::Internal)
                }
            };
            if matches!(actor.config, Config::Reading { is_stale: true }) {
                return actor.read_config(ctx);
            }
            actor.config = Config::Read(instance);
            for slot in std::mem::take(&mut actor.granted) {
                actor.start(slot, ctx);
            }
        }));
    }

    fn feed_again(&self, config: Option<UserConfigId>) {
        if self.env.supervisor.tell(FeedAgain(UserKey { instance: self.id, config })).is_err() {
            tracing::error!(instance = %self.id, "a restarted user could not be fed; the supervisor is overloaded or gone");
        }
    }
}

impl Actor for InstanceActor {
    type Context = Context<Self>;
}

impl Handler<EnqueueFor> for InstanceActor {
    type Result = ();

    /// A user that cannot be had now is fed when it is back: what waits is live in the owner's table.
    fn handle(&mut self, EnqueueFor(config, enqueue): EnqueueFor, _: &mut Context<Self>) {
        match self.user(config) {
            Ok(user) => {
                if user.tell(enqueue).is_err() {
                    tracing::warn!(instance = %self.id, execution = %enqueue.execution, "a user's mailbox is full; the execution waits for its restart");
                }
            }
            Err(reason) => {
                tracing::debug!(instance = %self.id, execution = %enqueue.execution, %reason, "the execution waits for its user's actor");
            }
        }
    }
}

impl Handler<StartFor> for InstanceActor {
    type Result = ();

    fn handle(&mut self, StartFor(slot): StartFor, ctx: &mut Context<Self>) {
        self.start(slot, ctx);
    }
}

impl Handler<CancelFor> for InstanceActor {
    type Result = ();

    fn handle(&mut self, CancelFor(config, cancel): CancelFor, ctx: &mut Context<Self>) {
        // A queued one needs the configuration to be sealed as the rest of it was.
        if matches!(self.config, Config::Unread) {
            self.read_config(ctx);
        }
        if let Ok(user) = self.user(config)
            && user.tell(cancel).is_err()
        {
            tracing::warn!(instance = %self.id, "a cancellation waits: the user's mailbox is full");
        }
    }
}

impl Handler<Forget> for InstanceActor {
    type Result = ();

    fn handle(&mut self, _: Forget, _: &mut Context<Self>) {
        self.config = match self.config {
            Config::Reading { .. } => Config::Reading { is_stale: true },
            Config::Unread | Config::Read(_) => Config::Unread,
        };
        for (_, user) in self.users.alive() {
            if user.tell(ForgetConfig).is_err() {
                tracing::warn!(instance = %self.id, "a user's actor could not be told of a changed configuration");
            }
        }
    }
}

impl Handler<Leave> for InstanceActor {
    type Result = ();

    fn handle(&mut self, message: Leave, ctx: &mut Context<Self>) {
        const AT_ONCE: usize = 10_000;
        for config in self.users.idle(AT_ONCE) {
            if let Some(user) = self.users.put_away(&config)
                && user.tell(PutAway).is_err()
            {
                self.users.keep(&config);
            }
        }
        if message.is_idle {
            if self.users.is_empty() && self.granted.is_empty() {
                ctx.stop();
            } else if self.env.supervisor.tell(InstanceStillNeeded(self.id)).is_err() {
                tracing::debug!(instance = %self.id, "the supervisor did not hear that an instance is still needed");
            }
        }
    }
}

impl Handler<StillNeeded> for InstanceActor {
    type Result = ();

    fn handle(&mut self, StillNeeded(config): StillNeeded, _: &mut Context<Self>) {
        if self.users.keep(&config).is_some() {
            self.feed_again(config);
        }
    }
}

impl Handler<RestartDue> for InstanceActor {
    type Result = ();

    fn handle(&mut self, RestartDue(config): RestartDue, _: &mut Context<Self>) {
        self.feed_again(config);
    }
}

impl Handler<ChildExited<Option<UserConfigId>>> for InstanceActor {
    type Result = ();

    fn handle(&mut self, exited: ChildExited<Option<UserConfigId>>, ctx: &mut Context<Self>) {
        let config = exited.key;
        match self.users.on_exit(&exited) {
            Verdict::Stale | Verdict::Gone => {}
            Verdict::StartNow => self.feed_again(config),
            Verdict::RestartAfter(delay) => {
                tracing::error!(instance = %self.id, ?config, ?delay, "a user's actor panicked; it restarts");
                remind(ctx, &*self.env.execution.clock, delay, RestartDue(config));
            }
            Verdict::Quarantine(span) => {
                tracing::error!(instance = %self.id, ?config, ?span, "a user's actor panicked too often; its executions wait in quarantine");
                metrics::counter!(crate::telemetry::QUARANTINES).increment(1);
                remind(ctx, &*self.env.execution.clock, span, RestartDue(config));
            }
        }
    }
}
