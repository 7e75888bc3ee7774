//! The user actor.

use super::crowd::{Crowd, Place};
use super::messages::{Cancel, ForgetConfig, InstanceIs, Orphaned, PutAway, Start};
use super::short::Short;
use super::sources::Offers;
use crate::execution::{
    self, Binding, Configuration, ExecutionEnv, LoadError, LoadedInstance, LoadedUser, Parking, READINGS, Refuse, Rest, TodayIs,
};
use crate::grant::Borrower;
use crate::instance::{self, InstanceActor, WhatNow};
use crate::kit::{Begun, ChildExited, LocalRun, Mailbox, Obituary, Reminder, begin_here, run_here};
use crate::source::Offer;
use crate::supervisor::{Fell, GiveBack, HasRoom, OwnerTable, Park, Supervisor, TryParked, Usable, Writes};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, WrapFuture, fut::ActorFutureExt};
use perseat_domain::code::ErrorCode;
use perseat_domain::fair::Cost;
use perseat_domain::id::{ExecutionId, IdMap, UserConfigId};
use perseat_domain::identity::Identity;
use perseat_domain::owner::{Turn, UserKey};
use perseat_store::seal::DataKey;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What all user actors of one owner share.
#[derive(Clone, Debug)]
pub struct UserEnv {
    /// For executions.
    pub execution: Arc<ExecutionEnv>,
    /// The live executions.
    pub owner: Arc<OwnerTable>,
    /// Hears of turns in which there is nothing to do, of what is parked, and of deaths.
    pub supervisor: Mailbox<Supervisor>,
    /// Messages that wait in one mailbox at most (`supervision.mailbox`).
    pub mailbox: usize,
    /// All users of the owner that are in memory.
    pub crowd: Arc<Crowd>,
}

#[derive(Debug)]
struct Running {
    turn: Turn,
    identity: Identity,
    cancel: CancellationToken,
    _run: LocalRun,
}

#[derive(Debug)]
enum Config {
    /// To be read before the next start.
    Unread,
    /// To be read once the instance has said what it is now.
    Asking,
    /// Being read.
    Reading,
    /// As it is.
    Read(Configuration),
}

/// One user of one instance.
#[derive(Debug)]
pub struct UserActor {
    key: UserKey,
    env: UserEnv,
    parent: Mailbox<InstanceActor>,
    me: Mailbox<Self>,
    running: IdMap<ExecutionId, Running>,
    /// Turns that wait for the configuration.
    waiting: Vec<Turn>,
    /// Executions that gave their turns back for want of memory, with what waits for it or has come.
    short: Short,
    /// Data sources of the user's page.
    offers: Offers,
    config: Config,
    /// The same, for the executions that run.
    today: TodayIs,
    /// The instance as of the last start; the configuration is joined with it.
    instance: Option<Result<Arc<LoadedInstance>, ErrorCode>>,
    /// Distinguishes readings of the configuration: an answer to an older one is stale.
    reading: u64,
    /// Whether one is under way, stale or not: it may be renewing a credential, and nobody else may meanwhile.
    is_reading: bool,
    /// How many readings failed one after the other.
    failed: u32,
    /// When it has to be read again by itself.
    read_again: Reminder,
    /// Credentials that third parties refused, for the next reading: connection and version.
    refused: Vec<(String, u64)>,
    /// Whether an execution was parked here: then the owner hears what can be used.
    has_parked: bool,
    /// Distinguishes activations of the same execution.
    next_generation: u64,
    _place: Place,
}

impl UserActor {
    /// A user actor with nothing to do.
    #[must_use]
    pub fn new(key: UserKey, env: UserEnv, parent: Mailbox<InstanceActor>, ctx: &Context<Self>) -> Self {
        Self {
            key,
            _place: env.crowd.place(),
            env,
            parent,
            me: Mailbox::of(ctx),
            running: IdMap::default(),
            waiting: Vec::new(),
            short: Short::default(),
            offers: Offers::default(),
            config: Config::Unread,
            today: TodayIs::default(),
            instance: None,
            reading: 0,
            is_reading: false,
            failed: 0,
            read_again: Reminder::default(),
            refused: Vec::new(),
            has_parked: false,
            next_generation: 1,
        }
    }

    /// Starts it once the configuration is at hand.
    fn start(&mut self, turn: Turn, ctx: &mut Context<Self>) {
        match &self.config {
            Config::Read(binding) => {
                let binding = binding.clone();
                self.launch(turn, binding);
            }
            Config::Asking | Config::Reading => self.waiting.push(turn),
            Config::Unread => {
                self.waiting.push(turn);
                self.read_config(ctx);
            }
        }
    }

    /// Runs a data source once the configuration is at hand.
    pub(super) fn offer(&mut self, offer: Offer, ctx: &mut Context<Self>) {
        match &self.config {
            Config::Read(binding) => self.offers.begin(&self.env.execution, offer, binding),
            Config::Asking | Config::Reading => self.offers.wait(offer),
            Config::Unread => {
                self.offers.wait(offer);
                self.read_config(ctx);
            }
        }
    }

    fn read_config(&mut self, ctx: &mut Context<Self>) {
        let instance = match self.instance.clone() {
            Some(Ok(instance)) => instance,
            Some(Err(code)) => return self.config_is(&Err(code), ctx),
            None => return self.config_is(&Err(ErrorCode::InstanceRemoved), ctx),
        };
        let Some(config) = self.key.config else {
            let binding = Binding::new(instance, None, &self.env.execution);
            return self.config_is(&Ok(Arc::new(binding)), ctx);
        };
        self.config = Config::Reading;
        if self.is_reading {
            return;
        }
        self.is_reading = true;
        let (reading, key) = (self.reading, self.key);
        let refused = std::mem::take(&mut self.refused);
        let borrower = Borrower::User(key, self.me.clone());
        let read = read(self.env.execution.clone(), instance, config, refused, borrower);
        ctx.spawn(read.into_actor(self).map(move |read, actor, ctx| {
            if let Err(error) = &read {
                tracing::error!(?key, error = error as &dyn std::error::Error, "cannot read a user's configuration");
            }
            actor.is_reading = false;
            if actor.reading != reading {
                if matches!(actor.config, Config::Reading) {
                    actor.read_config(ctx);
                }
                return;
            }
            match read {
                Ok(binding) => actor.config_is(&binding, ctx),
                Err(error) => actor.cannot_read(&error, ctx),
            }
        }));
    }

    /// What may be read a while later is waited for, within reason: an end that comes of it would be for good.
    fn cannot_read(&mut self, error: &LoadError, ctx: &mut Context<Self>) {
        self.failed += 1;
        if !error.is_passing() || self.failed >= READINGS {
            return self.config_is(&Err(ErrorCode::Internal), ctx);
        }
        let env = &self.env.execution;
        self.read_again
            .set(ctx, &*env.clock, env.limits.full_retry, ReadAgain(self.reading));
    }

    fn config_is(&mut self, binding: &Configuration, ctx: &mut Context<Self>) {
        self.failed = 0;
        if let Ok(binding) = binding {
            let due = binding.user.as_ref().and_then(|user| user.grants().due_in(&self.env.execution));
            if let Some(due) = due {
                self.read_again.set(ctx, &*self.env.execution.clock, due, ReadAgain(self.reading));
            }
        }
        self.tell_usable(binding);
        self.today.read(binding.clone());
        self.offers.read(&self.env.execution, binding);
        self.config = match binding {
            // What could not be read now may be read for the next turn.
            Err(ErrorCode::Internal) => Config::Unread,
            binding => Config::Read(binding.clone()),
        };
        for turn in std::mem::take(&mut self.waiting) {
            self.launch(turn, binding.clone());
        }
        #[cfg(feature = "faults")]
        perseat_journal::kill_point::reach("grant-told");
    }

    fn launch(&mut self, turn: Turn, binding: Configuration) {
        let execution = turn.execution;
        let room = self.short.take(execution);
        let taken = self.env.owner.lock().take_up(&turn);
        let Some(taken) = taken else {
            return self.env.owner.over(&turn, &self.env.supervisor);
        };
        if taken.is_scout {
            self.tell_usable(&binding);
        }
        let cancel = CancellationToken::new();
        let start = Box::new(execution::Start {
            execution,
            identity: taken.identity,
            entries: taken.entries,
            accepted: taken.accepted,
            deaths: taken.deaths,
            fallback_key: self.fallback_key(),
            binding,
            today: self.today.follow(),
            writes: Writes {
                turn,
                owner: self.env.owner.clone(),
                supervisor: self.env.supervisor.clone(),
            },
            cancel: cancel.clone(),
            refuse: self.refuse(),
            room,
        });
        let identity = start.identity;
        let run = match begin_here(Box::pin(execution::run(self.env.execution.clone(), start))) {
            Begun::Over(rest) => return self.is_through(turn, identity, rest),
            Begun::Panicked => return self.fell(turn),
            Begun::Waits(run) => run,
        };
        let generation = self.next_generation;
        self.next_generation += 1;
        let obituary = Obituary::of_panic(&self.me, execution, generation);
        let me = self.me.clone();
        let run = run_here(obituary, async move {
            let rest = run.await;
            if me.tell(Through { execution, rest }).is_err() {
                tracing::debug!(%execution, "the user's actor ended before its execution");
            }
        });
        self.running.insert(
            execution,
            Running {
                turn,
                identity,
                cancel,
                _run: run,
            },
        );
    }

    /// An execution has handed over its end, or waits.
    fn is_through(&mut self, turn: Turn, identity: Identity, rest: Option<(Cost, Rest)>) {
        match rest {
            None => {}
            Some((cost, Rest::Parked(parking))) => self.park(turn, cost, parking),
            Some((_, Rest::NoRoom(bytes))) => {
                self.env.supervisor.tell_past_the_bound(GiveBack(turn));
                self.short.wait(&self.env.execution, &self.me, (turn.execution, identity), bytes);
            }
        }
    }

    pub(super) fn short(&mut self) -> &mut Short {
        &mut self.short
    }

    /// There is memory for an execution that gave its turn back; false where that is for others, as it may not begin now.
    pub(super) fn has_room(&self, execution: ExecutionId) -> bool {
        let is_kept = self.env.owner.lock().room_came(execution);
        if is_kept {
            self.env.supervisor.tell_past_the_bound(HasRoom(execution));
        }
        is_kept
    }

    /// An execution panicked: it lines up again.
    fn fell(&self, turn: Turn) {
        let execution = turn.execution;
        tracing::error!(%execution, "an execution panicked; it is resumed from its last durable entry");
        if self.env.supervisor.tell(Fell(turn)).is_err() {
            tracing::error!(%execution, "a death could not be told; the supervisor is overloaded or gone");
        }
    }

    /// Takes an execution out. Most users run nothing most of the time: no room is kept for it then.
    fn take_out(&mut self, execution: ExecutionId) -> Option<Running> {
        let running = self.running.remove(&execution);
        if self.running.is_empty() {
            self.running = IdMap::default();
        }
        running
    }

    /// How an execution says that a credential was refused.
    fn refuse(&self) -> Refuse {
        let me = self.me.clone();
        Refuse::new(move |connection, version| {
            let refused = CredentialRefused {
                connection: connection.to_owned(),
                version,
            };
            me.tell(refused).is_ok()
        })
    }

    /// Lets go what is parked and can go on, or has to end.
    fn tell_usable(&self, binding: &Configuration) {
        let missing = match binding {
            Ok(binding) => binding.lacking(),
            // It may be read the next time.
            Err(ErrorCode::Internal) => return,
            Err(_) => Vec::new(),
        };
        if self.has_parked || self.env.owner.lock().has_parked(self.key) {
            let user = self.key;
            self.env.supervisor.tell_past_the_bound(Usable { user, missing });
        }
    }

    fn park(&mut self, turn: Turn, cost: Cost, parking: Parking) {
        let env = &self.env.execution;
        // What it lacked may be back by now, and nobody would say so again.
        let is_missing = match &self.config {
            Config::Read(Ok(binding)) => binding.lack_of(&parking.connection, env).is_some(),
            Config::Asking | Config::Reading => true,
            Config::Unread | Config::Read(Err(_)) => false,
        };
        let mut wait = parking.wait(env);
        if !is_missing {
            wait.again = Some(env.clock.now());
        }
        self.has_parked = true;
        self.env.supervisor.tell_past_the_bound(Park { turn, cost, wait });
    }

    /// The customer's key, for an execution whose user is gone.
    fn fallback_key(&self) -> Option<Arc<DataKey>> {
        match &self.instance {
            Some(Ok(instance)) => Some(instance.key().clone()),
            _ => None,
        }
    }

    /// What the instance is now: its word always comes after a change that it told of.
    pub(super) fn instance_is(&mut self, instance: Result<Arc<LoadedInstance>, ErrorCode>, ctx: &mut Context<Self>) {
        let is_same = match (&self.instance, &instance) {
            (Some(Ok(old)), Ok(new)) => Arc::ptr_eq(old, new),
            (Some(Err(old)), Err(new)) => old == new,
            _ => false,
        };
        self.instance = Some(instance);
        if !is_same || matches!(self.config, Config::Asking) {
            self.unread(Config::Unread, ctx);
            if !self.is_idle() {
                self.read_config(ctx);
            }
        }
    }

    fn unread(&mut self, now: Config, ctx: &mut Context<Self>) {
        self.today.unread();
        self.read_again.cancel(ctx);
        self.reading += 1;
        self.config = now;
    }

    fn forget(&mut self, now: Config, ctx: &mut Context<Self>) {
        self.unread(now, ctx);
        self.try_parked();
    }

    /// What is parked finds out what nobody reads now.
    fn try_parked(&self) {
        if self.has_parked && self.is_idle() {
            self.env.supervisor.tell_past_the_bound(TryParked(self.key));
        }
    }

    fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty() && self.short.is_empty() && self.offers.is_idle()
    }
}

/// The configuration of one user with credentials that can be used.
async fn read(
    env: Arc<ExecutionEnv>,
    instance: Arc<LoadedInstance>,
    config: UserConfigId,
    refused: Vec<(String, u64)>,
    borrower: Borrower,
) -> Result<Configuration, LoadError> {
    let (reading, of) = (env.clone(), instance.clone());
    let load = move || {
        #[cfg(feature = "faults")]
        reading.faults.may_read(crate::execution::Reading::Configuration)?;
        LoadedUser::load(&reading.custody, &of, config).map(|user| user.map(Box::new))
    };
    let Some(mut user) = env.errands.run(load).await?? else {
        return Ok(Err(ErrorCode::UserRemoved));
    };
    user.tend(&env, &instance, &refused, &borrower).await?;
    Ok(Ok(Arc::new(Binding::new(instance, Some(Arc::from(user)), &env))))
}

impl Actor for UserActor {
    type Context = Context<Self>;
}

impl Handler<Start> for UserActor {
    type Result = ();

    fn handle(&mut self, message: Start, ctx: &mut Context<Self>) {
        let Start { turn, instance } = message;
        self.instance_is(instance, ctx);
        self.start(turn, ctx);
    }
}

impl Handler<Cancel> for UserActor {
    type Result = ();

    /// One that waits for the configuration finds out when it is taken up.
    fn handle(&mut self, Cancel(execution): Cancel, _: &mut Context<Self>) {
        if let Some(running) = self.running.get(&execution) {
            running.cancel.cancel();
        }
    }
}

impl Handler<ForgetConfig> for UserActor {
    type Result = ();

    /// What starts next reads it again. What runs has to hear at once: its next step uses today's credentials, and it
    /// ends if there are none for it any more.
    fn handle(&mut self, _: ForgetConfig, ctx: &mut Context<Self>) {
        if self.is_idle() {
            self.forget(Config::Unread, ctx);
        } else {
            self.forget(Config::Asking, ctx);
            self.parent.tell_past_the_bound(WhatNow(self.key.config));
        }
    }
}

/// Sent by the actor to itself: a credential of this reading has to be looked at again, or it failed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
struct ReadAgain(u64);

impl Handler<ReadAgain> for UserActor {
    type Result = ();

    /// Nobody who is idle needs it.
    fn handle(&mut self, ReadAgain(reading): ReadAgain, ctx: &mut Context<Self>) {
        if reading != self.reading {
            return;
        }
        self.forget(Config::Unread, ctx);
        if !self.is_idle() {
            self.read_config(ctx);
        }
    }
}

/// Sent by an execution: a third party refused this credential.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
struct CredentialRefused {
    connection: String,
    version: u64,
}

impl Handler<CredentialRefused> for UserActor {
    type Result = ();

    /// The configuration is read again, which renews the credential, whoever's it is; the execution waits for that.
    fn handle(&mut self, refused: CredentialRefused, ctx: &mut Context<Self>) {
        let CredentialRefused { connection, version } = refused;
        let Config::Read(Ok(binding)) = &self.config else {
            // What is being read is new to the execution.
            return;
        };
        if binding.grant_version(&connection) != Some(version) {
            return;
        }
        let is_own = binding
            .user
            .as_ref()
            .is_some_and(|user| user.grants().standing(&connection).is_some());
        if is_own {
            self.refused.push((connection, version));
            self.forget(Config::Unread, ctx);
            self.read_config(ctx);
        } else {
            self.forget(Config::Asking, ctx);
            self.parent.tell_past_the_bound(instance::CredentialRefused { connection, version });
            self.parent.tell_past_the_bound(WhatNow(self.key.config));
        }
    }
}

impl Handler<InstanceIs> for UserActor {
    type Result = ();

    fn handle(&mut self, InstanceIs(instance): InstanceIs, ctx: &mut Context<Self>) {
        self.instance_is(instance, ctx);
        if matches!(self.config, Config::Unread) {
            self.try_parked();
        }
    }
}

impl Handler<PutAway> for UserActor {
    type Result = ();

    fn handle(&mut self, _: PutAway, ctx: &mut Context<Self>) {
        if self.is_idle() && !self.is_reading {
            ctx.stop();
        } else if self.parent.tell(crate::instance::StillNeeded(self.key.config)).is_err() {
            tracing::debug!(key = ?self.key, "the instance's actor ended before its user's");
        }
    }
}

impl Handler<Orphaned> for UserActor {
    type Result = ();

    fn handle(&mut self, _: Orphaned, ctx: &mut Context<Self>) {
        ctx.terminate();
    }
}

/// Sent by an execution: it has handed over its end, or waits.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Through {
    execution: ExecutionId,
    /// Set where it did not end, but waits.
    rest: Option<(Cost, Rest)>,
}

impl Handler<Through> for UserActor {
    type Result = ();

    fn handle(&mut self, Through { execution, rest }: Through, _: &mut Context<Self>) {
        if let Some(running) = self.take_out(execution) {
            self.is_through(running.turn, running.identity, rest);
        }
    }
}

impl Handler<ChildExited<ExecutionId>> for UserActor {
    type Result = ();

    /// An execution's future panicked.
    fn handle(&mut self, message: ChildExited<ExecutionId>, _: &mut Context<Self>) {
        if let Some(running) = self.take_out(message.key) {
            self.fell(running.turn);
        }
    }
}

/// Sent by tests through the instance · panic · no reply.
#[cfg(feature = "faults")]
impl Handler<crate::supervisor::Fail> for UserActor {
    type Result = ();

    fn handle(&mut self, _: crate::supervisor::Fail, _: &mut Context<Self>) {
        panic!("a user's actor fails on purpose");
    }
}
