//! The instance actor.

use super::messages::{CancelFor, CredentialRefused, Forget, Leave, RestartDue, StartFor, StillNeeded, WhatNow};
use super::table::{Config, InstanceTable};
use crate::execution::{ExecutionEnv, LoadError, LoadedInstance, READINGS};
use crate::grant::Borrower;
use crate::kit::{ChildExited, Mailbox, Reminder, Verdict, remind};
use crate::source::Offer;
use crate::supervisor::{InstanceStillNeeded, NotHeard, NotStarted, UserBack, UserDied, refusal};
use crate::user::{Answer, Cancel, InstanceIs, PutAway};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, WrapFuture, fut::ActorFutureExt};
use perseat_domain::code::ErrorCode;
use perseat_domain::id::{InstanceId, UserConfigId};
use perseat_domain::owner::{Refusal, Turn, UserKey};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One deployed integration of one customer.
#[derive(Debug)]
pub struct InstanceActor {
    table: Arc<InstanceTable>,
    me: Mailbox<Self>,
    /// How often reading the configuration was begun.
    reading: u64,
    /// How many readings failed one after the other.
    failed: u32,
    /// When it has to be read again by itself.
    read_again: Reminder,
    /// Credentials that third parties refused, for the next reading: connection and version.
    refused: Vec<(String, u64)>,
    /// Turns that came while the configuration is being read.
    granted: Vec<Turn>,
    /// Questions for data sources that came meanwhile.
    offers: Vec<Offer>,
    /// Users that asked what the instance is now, while it is being read.
    asked: BTreeSet<Option<UserConfigId>>,
}

impl InstanceActor {
    /// The actor of an instance that nobody used yet.
    #[must_use]
    pub fn new(table: Arc<InstanceTable>, ctx: &Context<Self>) -> Self {
        Self {
            table,
            me: Mailbox::of(ctx),
            reading: 0,
            failed: 0,
            read_again: Reminder::default(),
            refused: Vec::new(),
            granted: Vec::new(),
            offers: Vec::new(),
            asked: BTreeSet::new(),
        }
    }

    fn hand_on(&self, turn: Turn, instance: Result<Arc<LoadedInstance>, ErrorCode>) {
        if let Err(why) = self.table.give_with(&turn, instance, &self.me)
            && self.table.env.supervisor.tell(NotStarted { turn, why }).is_err()
        {
            tracing::error!(instance = %self.table.id, "a turn could not be given back; the supervisor is overloaded or gone");
        }
    }

    fn read_config(&mut self, ctx: &mut Context<Self>) {
        self.table.config_is(Config::Reading { is_stale: false });
        self.reading += 1;
        let id = self.table.id;
        let refused = std::mem::take(&mut self.refused);
        let borrower = Borrower::Instance(id, self.me.clone());
        let read = read(self.table.env.execution.clone(), id, refused, borrower);
        ctx.spawn(read.into_actor(self).map(move |read, actor, ctx| {
            if let Err(error) = &read {
                tracing::error!(instance = %id, error = error as &dyn std::error::Error, "cannot read an instance's configuration");
            }
            if matches!(actor.table.config(), Config::Reading { is_stale: true }) {
                return actor.read_config(ctx);
            }
            match read {
                Ok(Some(instance)) => actor.config_is(Ok(Arc::from(instance)), ctx),
                Ok(None) => actor.config_is(Err(ErrorCode::InstanceRemoved), ctx),
                Err(error) => actor.cannot_read(&error, ctx),
            }
        }));
    }

    /// As a user's actor does.
    fn cannot_read(&mut self, error: &LoadError, ctx: &mut Context<Self>) {
        self.failed += 1;
        if !error.is_passing() || self.failed >= READINGS {
            return self.config_is(Err(ErrorCode::Internal), ctx);
        }
        let env = &self.table.env.execution;
        self.read_again
            .set(ctx, &*env.clock, env.limits.full_retry, ReadAgain(self.reading));
    }

    fn config_is(&mut self, instance: Result<Arc<LoadedInstance>, ErrorCode>, ctx: &mut Context<Self>) {
        self.failed = 0;
        let env = &self.table.env.execution;
        match instance.as_ref().ok().and_then(|instance| instance.grants().due_in(env)) {
            Some(due) => self.read_again.set(ctx, &*env.clock, due, ReadAgain(self.reading)),
            None => self.read_again.cancel(ctx),
        }
        for config in std::mem::take(&mut self.asked) {
            self.answer(config, instance.clone());
        }
        for turn in std::mem::take(&mut self.granted) {
            self.hand_on(turn, instance.clone());
        }
        for offer in std::mem::take(&mut self.offers) {
            self.answer_with(offer, instance.clone());
        }
        self.table.config_is(match instance {
            // What could not be read now may be read for the next turn.
            Err(ErrorCode::Internal) => Config::Unread,
            instance => Config::Read(instance),
        });
    }

    /// Has the user answer. A question that cannot be handed on is dropped, which its asker hears.
    fn answer_with(&mut self, offer: Offer, instance: Result<Arc<LoadedInstance>, ErrorCode>) {
        let id = self.table.id;
        let handed = self
            .table
            .user(offer.question.user.config, &self.me)
            .and_then(|user| user.tell(Answer { offer, instance }).map_err(refusal));
        if let Err(why) = handed {
            tracing::warn!(instance = %id, ?why, "a data source cannot be run now");
        }
    }

    fn answer(&self, config: Option<UserConfigId>, instance: Result<Arc<LoadedInstance>, ErrorCode>) {
        self.table.users(|users| {
            if let Some(user) = users.get(&config) {
                user.tell_past_the_bound(InstanceIs(instance));
            }
        });
    }

    fn is_back(&self, config: Option<UserConfigId>) {
        let instance = self.table.id;
        if self.table.env.supervisor.tell(UserBack(UserKey { instance, config })).is_err() {
            tracing::error!(%instance, "a restarted user could not be given its work; the supervisor is overloaded or gone");
        }
    }

    /// The table has to know before the user can start anew: what the supervisor sent to the old actor must find its turn
    /// void, and what the new one takes up must not be counted among what died.
    fn died(&self, config: Option<UserConfigId>) {
        let user = UserKey {
            instance: self.table.id,
            config,
        };
        self.table.env.owner.lock().died(|other| *other == user);
        if self.table.env.supervisor.tell(UserDied).is_err() {
            tracing::error!(instance = %self.table.id, "a user's death could not be told; the supervisor is overloaded or gone");
        }
    }
}

impl Actor for InstanceActor {
    type Context = Context<Self>;
}

impl Drop for InstanceActor {
    fn drop(&mut self) {
        self.table.end();
    }
}

impl Handler<StartFor> for InstanceActor {
    type Result = ();

    fn handle(&mut self, StartFor(turn): StartFor, ctx: &mut Context<Self>) {
        match self.table.config() {
            Config::Read(instance) => self.hand_on(turn, instance),
            Config::Reading { .. } => self.granted.push(turn),
            Config::Unread => {
                self.granted.push(turn);
                self.read_config(ctx);
            }
        }
    }
}

impl Handler<Offer> for InstanceActor {
    type Result = ();

    fn handle(&mut self, offer: Offer, ctx: &mut Context<Self>) {
        match self.table.config() {
            Config::Read(instance) => self.answer_with(offer, instance),
            Config::Reading { .. } => self.offers.push(offer),
            Config::Unread => {
                self.offers.push(offer);
                self.read_config(ctx);
            }
        }
    }
}

impl Handler<CancelFor> for InstanceActor {
    type Result = ();

    /// A user that is down is running nothing: its executions find out when they are taken up again.
    fn handle(&mut self, CancelFor(config, execution): CancelFor, _: &mut Context<Self>) {
        let told = self
            .table
            .users(|users| users.get(&config).map(|user| user.tell(Cancel(execution)).map_err(refusal)));
        if told == Some(Err(Refusal::Busy)) && self.table.env.supervisor.tell(NotHeard(execution)).is_err() {
            tracing::error!(instance = %self.table.id, %execution, "a cancellation is lost; the supervisor is overloaded or gone");
        }
    }
}

/// Sent by the actor to itself: a credential of this reading has to be looked at again, or it failed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
struct ReadAgain(u64);

impl Handler<ReadAgain> for InstanceActor {
    type Result = ();

    fn handle(&mut self, ReadAgain(reading): ReadAgain, ctx: &mut Context<Self>) {
        if reading != self.reading {
            return;
        }
        match self.table.config() {
            Config::Read(_) => self.table.forget(),
            Config::Reading { .. } => self.read_config(ctx),
            Config::Unread => {}
        }
    }
}

impl Handler<CredentialRefused> for InstanceActor {
    type Result = ();

    /// An older token than today's was refused, or what takes the place of it is on its way: nothing is to be done.
    fn handle(&mut self, refused: CredentialRefused, _: &mut Context<Self>) {
        let CredentialRefused { connection, version } = refused;
        let today = match self.table.config() {
            Config::Read(Ok(instance)) => instance.grants().standing(&connection).and_then(|(version, _)| version),
            _ => None,
        };
        if today == Some(version) {
            self.refused.push((connection, version));
            self.table.forget();
        }
    }
}

impl Handler<Forget> for InstanceActor {
    type Result = ();

    fn handle(&mut self, _: Forget, _: &mut Context<Self>) {
        self.table.forget();
    }
}

/// An instance with credentials that can be used.
async fn read(
    env: Arc<ExecutionEnv>,
    id: InstanceId,
    refused: Vec<(String, u64)>,
    borrower: Borrower,
) -> Result<Option<Box<LoadedInstance>>, LoadError> {
    let reading = env.clone();
    let load = move || {
        #[cfg(feature = "faults")]
        reading.faults.may_read(crate::execution::Reading::Configuration)?;
        LoadedInstance::load(&reading.custody, &reading.plans, id).map(|instance| instance.map(Box::new))
    };
    let Some(mut instance) = env.errands.run(load).await?? else {
        return Ok(None);
    };
    instance.tend(&env, &refused, &borrower).await?;
    Ok(Some(instance))
}

impl Handler<WhatNow> for InstanceActor {
    type Result = ();

    fn handle(&mut self, WhatNow(config): WhatNow, ctx: &mut Context<Self>) {
        match self.table.config() {
            Config::Read(instance) => self.answer(config, instance),
            Config::Reading { .. } => drop(self.asked.insert(config)),
            Config::Unread => {
                self.asked.insert(config);
                self.read_config(ctx);
            }
        }
    }
}

impl Handler<Leave> for InstanceActor {
    type Result = ();

    fn handle(&mut self, message: Leave, ctx: &mut Context<Self>) {
        // Bounds one message's work on the arbiter: the next one takes the others.
        const AT_ONCE: usize = 10_000;
        let is_empty = self.table.users(|users| {
            let idle = users.idle_for(message.rested, AT_ONCE);
            if idle.len() == AT_ONCE {
                let rested = message.rested;
                self.me.tell_past_the_bound(Leave { is_idle: false, rested });
            }
            for config in idle {
                if let Some(user) = users.put_away(&config)
                    && user.tell(PutAway).is_err()
                {
                    users.keep(&config);
                }
            }
            users.is_empty()
        });
        if message.is_idle {
            let is_reading = matches!(self.table.config(), Config::Reading { .. });
            if is_empty && self.granted.is_empty() && self.offers.is_empty() && !is_reading {
                ctx.stop();
            } else if self.table.env.supervisor.tell(InstanceStillNeeded(self.table.id)).is_err() {
                tracing::debug!(instance = %self.table.id, "the supervisor did not hear that an instance is still needed");
            }
        }
    }
}

impl Handler<StillNeeded> for InstanceActor {
    type Result = ();

    fn handle(&mut self, StillNeeded(config): StillNeeded, _: &mut Context<Self>) {
        if self.table.users(|users| users.keep(&config)).is_some() {
            self.is_back(config);
        }
    }
}

impl Handler<RestartDue> for InstanceActor {
    type Result = ();

    fn handle(&mut self, RestartDue(config): RestartDue, _: &mut Context<Self>) {
        tracing::info!(instance = %self.table.id, ?config, "a user's actor may start again");
        self.is_back(config);
    }
}

impl Handler<ChildExited<Option<UserConfigId>>> for InstanceActor {
    type Result = ();

    fn handle(&mut self, exited: ChildExited<Option<UserConfigId>>, ctx: &mut Context<Self>) {
        let config = exited.key;
        match self.table.users(|users| users.on_exit(&exited)) {
            Verdict::Stale | Verdict::Gone => {}
            Verdict::StartNow => self.is_back(config),
            Verdict::RestartAfter(delay) => {
                self.died(config);
                tracing::error!(instance = %self.table.id, ?config, ?delay, "a user's actor panicked; it restarts");
                remind(ctx, &*self.table.env.execution.clock, delay, RestartDue(config));
            }
            Verdict::Quarantine(span) => {
                self.died(config);
                tracing::error!(instance = %self.table.id, ?config, ?span, "a user's actor panicked too often; its executions wait in quarantine");
                metrics::counter!(crate::telemetry::QUARANTINES).increment(1);
                remind(ctx, &*self.table.env.execution.clock, span, RestartDue(config));
            }
        }
    }
}

/// Sent by tests through the supervisor · panic, or let the users panic · no reply.
#[cfg(feature = "faults")]
impl Handler<crate::supervisor::Fail> for InstanceActor {
    type Result = ();

    fn handle(&mut self, fail: crate::supervisor::Fail, _: &mut Context<Self>) {
        assert!(fail != crate::supervisor::Fail::Instances, "an instance's actor fails on purpose");
        self.table.users(|users| {
            for (_, user) in users.alive() {
                let _ = user.tell(fail);
            }
        });
    }
}
