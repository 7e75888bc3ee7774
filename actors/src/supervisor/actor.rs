//! The supervisor.

use super::endings::{Answered, Ending};
use super::messages::{
    Committed, Conclude, ConfigChanged, Drain, Fell, GiveBack, HasRoom, Hold, LookDue, NotHeard, NotStarted, Park, Recovered, RestartDue,
    Settled, TidyDue, TryParked, TurnsOver, Usable, UserBack, UserDied,
};
use super::shares::Shares;
use super::table::{OwnerTable, Through};
use crate::admission::Admission;
use crate::execution::ExecutionEnv;
use crate::instance::{InstanceActor, InstanceHandle, Leave};
use crate::kit::{ChildExited, Mailbox, Nursery, NurseryOptions, Reminder, Reply, Unavailable, Verdict, relayed, remind};
use crate::telemetry::{self, OwnerMetrics};
use crate::user::UserEnv;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use perseat_domain::fair::FairOptions;
use perseat_domain::id::InstanceId;
use perseat_domain::owner::{Commit, Note, Owner, OwnerOptions, Recovered as RecoveredExecution, Users, Wait};
use perseat_domain::time::Timestamp;
use perseat_journal::AppendError;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// For how long nobody used a user that is put away where there are too many, and how often they are looked for. No key: a user who is
/// called every second stays.
const RESTED: Duration = Duration::from_secs(1);

/// Limits of one owner.
#[derive(Clone, Debug)]
pub struct SupervisorOptions {
    /// Slots and shares (`execution.slots`).
    pub fair: FairOptions,
    /// Restart, idleness and number of instances.
    pub instances: NurseryOptions,
    /// Restart, idleness and number of users of one instance.
    pub users: NurseryOptions,
    /// Users in memory; past it those that rest are put away early (`supervision.max-users`).
    pub users_max: usize,
    /// Messages that wait in one mailbox at most (`supervision.mailbox`).
    pub mailbox: usize,
    /// How often idle actors are looked for (`supervision.tidy-every`).
    pub tidy_every: Duration,
    /// Accepted entries kept in memory until they start (`execution.payload-cache`).
    pub payload_cache: usize,
    /// Which owner this is, for the metrics.
    pub owner: usize,
    /// Feeds the jitter of restarts.
    pub seed: u64,
}

/// The root of one owner's tree.
#[derive(Debug)]
pub struct Supervisor {
    options: SupervisorOptions,
    admission: Admission,
    env: UserEnv,
    me: Mailbox<Self>,
    instances: Nursery<InstanceId, InstanceHandle>,
    pub(super) shares: Shares,
    /// Set once the daemon ends: nothing new starts, and this is answered when nothing runs.
    draining: Option<Vec<Reply<()>>>,
    /// When parked executions are looked at next.
    look_at: Option<Timestamp>,
    look_due: Reminder,
    /// When idle actors were looked for last.
    tidied_at: Duration,
    metrics: Arc<OwnerMetrics>,
}

impl Supervisor {
    /// A supervisor with nothing live.
    #[must_use]
    pub fn new(options: SupervisorOptions, execution: ExecutionEnv, admission: Admission, ctx: &Context<Self>) -> Self {
        let me = Mailbox::of(ctx);
        let owner = OwnerOptions {
            fair: options.fair,
            cache_bytes: options.payload_cache,
            shares: admission.shares(),
        };
        let clock = execution.clock.clone();
        let env = UserEnv {
            execution: Arc::new(execution),
            owner: Arc::new(OwnerTable::new(owner)),
            supervisor: me.clone(),
            mailbox: options.mailbox,
            crowd: Arc::default(),
        };
        Self {
            instances: Nursery::new(options.instances, clock, options.seed),
            shares: Shares::new(options.users, options.seed, env.execution.clone(), me.clone(), options.mailbox),
            metrics: Arc::new(OwnerMetrics::new(options.owner)),
            options,
            admission,
            env,
            me,
            draining: None,
            look_at: None,
            look_due: Reminder::default(),
            tidied_at: Duration::ZERO,
        }
    }

    /// Lets the owner decide, with a way to its users.
    fn decide<R>(&mut self, decision: impl FnOnce(&mut Owner, &mut dyn Users) -> R) -> R {
        let mut users = self.through();
        let owner = &users.env.owner;
        decision(&mut owner.lock(), &mut users)
    }

    fn through(&mut self) -> Through<'_> {
        Through {
            instances: &mut self.instances,
            env: &self.env,
            parent: &self.me,
            options: &self.options,
        }
    }

    /// The actor of an instance, started where there is none.
    pub(super) fn instance(&mut self, id: InstanceId) -> Result<Mailbox<InstanceActor>, Unavailable> {
        self.through().instance(id).map(|instance| instance.actor.clone())
    }

    fn after_change(&mut self) {
        let (running, live, parked, apart) = self.decide(|owner, users| {
            owner.grant(users);
            if owner.running() == 0 {
                owner.catch_up(users);
            }
            (owner.running(), owner.live(), owner.parked_now(), owner.apart_now())
        });
        self.metrics.live.set(live as f64);
        self.metrics.running.set(f64::from(running));
        self.metrics.parked.set(parked as f64);
        self.metrics.apart.set(apart as f64);
        self.metrics.users.set(self.env.crowd.len() as f64);
        if let (0, Some(waiting)) = (running, &mut self.draining) {
            waiting.drain(..).for_each(|reply| reply.send(()));
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    fn is_crowded(&self) -> bool {
        self.env.crowd.len() > self.options.users_max
    }

    /// Where there are more users than there may be, those that rest are put away without waiting for their time.
    fn make_room(&mut self) {
        if self.is_crowded() && self.env.execution.clock.uptime() >= self.tidied_at + RESTED {
            self.tidy(RESTED);
        }
    }

    /// Puts away what is idle, and users that nobody used for `rested`.
    fn tidy(&mut self, rested: Duration) {
        // Bounds one message's work on the arbiter, not what is put away: the next round takes the others.
        const AT_ONCE: usize = 10_000;
        self.tidied_at = self.env.execution.clock.uptime();
        self.shares.tidy(AT_ONCE);
        let idle: HashSet<InstanceId> = self.instances.idle(AT_ONCE).into_iter().collect();
        for (id, instance) in self.instances.alive() {
            if !idle.contains(id) && instance.actor.tell(Leave { is_idle: false, rested }).is_err() {
                tracing::debug!(instance = %id, "an instance is too busy to look for idle users");
            }
        }
        for id in idle {
            if let Some(instance) = self.instances.put_away(&id)
                && instance.actor.tell(Leave { is_idle: true, rested }).is_err()
            {
                self.instances.keep(&id);
            }
        }
    }

    /// Sees to it that parked executions are looked at when there is something to do.
    fn look_later(&mut self, ctx: &mut Context<Self>) {
        let Some(next) = self.env.owner.lock().next_look() else { return };
        if self.look_at.is_some_and(|at| at <= next) {
            return;
        }
        self.look_at = Some(next);
        let clock = &self.env.execution.clock;
        self.look_due.set(ctx, &**clock, next.since(clock.now()), LookDue(next));
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        self.look_at = None;
        let now = self.env.execution.clock.now();
        self.decide(|owner, users| owner.look(now, users));
        self.look_later(ctx);
    }

    /// Waits for the next ends that the journal answers.
    fn wait_for_ends(&self, ctx: &mut Context<Self>) {
        let answered = relayed(Answered(self.env.owner.clone()));
        ctx.spawn(answered.into_actor(self).map(|answered, actor, ctx| {
            for (ending, outcome) in answered {
                match outcome {
                    Ok(()) => actor.settle(ending),
                    Err(error) if error.is_for_lack_of_room() => actor.append_again(ending, error, ctx),
                    Err(error) => ending.stands_still(error),
                }
            }
            actor.after_change();
            actor.wait_for_ends(ctx);
        }));
    }

    /// An execution's end is durable: its turn is over.
    fn settle(&self, ending: Ending) {
        let (turn, cost) = ending.settle(&self.env.execution);
        self.env.owner.lock().over(&turn, Some(cost));
    }

    /// There was no room for an execution's end.
    fn append_again(&self, ending: Ending, error: AppendError, ctx: &mut Context<Self>) {
        let execution = ending.turn.execution;
        tracing::debug!(%execution, %error, "there is no room to record the end of an execution; it is tried again");
        let env = self.env.execution.clone();
        let again = async move { ending.append_again(&env).await };
        ctx.spawn(again.into_actor(self).map(|ending, actor, _| {
            if let Some(ending) = ending {
                actor.settle(ending);
                actor.after_change();
            }
        }));
    }

    /// Whether [everything is held](Hold).
    pub(super) fn is_held(&self) -> bool {
        self.env.execution.oauth.is_held()
    }

    /// What it is about is read again before the next start.
    fn forget(&self, changed: &ConfigChanged) {
        for (_, instance) in self.instances.alive().filter(|(id, _)| changed.is_about(**id)) {
            instance.table.forget();
        }
        for user in changed.users.iter().filter(|user| !changed.is_about(user.instance)) {
            if let Some(instance) = self.instances.get(&user.instance) {
                instance.table.forget_user(user.config);
            }
        }
        self.shares.changed(changed);
    }

    fn died(&mut self, id: InstanceId) {
        self.env.owner.lock().died(|user| user.instance == id);
        self.after_change();
    }

    /// Tries again what found a mailbox full.
    fn catch_up(&mut self) {
        let behind = self.env.owner.lock().behind();
        if behind > 0 {
            tracing::warn!(
                users = behind,
                "mailboxes were full (supervision.mailbox); their users are tried again"
            );
        }
        self.decide(|owner, users| owner.catch_up(users));
    }

    fn is_back(&mut self, id: InstanceId) {
        self.decide(|owner, users| owner.back(|user| user.instance == id, users));
    }
}

impl Mailbox<Supervisor> {
    /// Says that the catalog has changed. Never refused: what was replaced must not stay in use.
    pub fn announce(&self, changed: ConfigChanged) {
        self.tell_past_the_bound(changed);
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        remind(ctx, &*self.env.execution.clock, self.options.tidy_every, TidyDue);
        self.wait_for_ends(ctx);
    }
}

impl Handler<Committed> for Supervisor {
    type Result = ();

    fn handle(&mut self, Committed(batch): Committed, _: &mut Context<Self>) {
        let (admission, metrics) = (self.admission.clone(), self.metrics.clone());
        self.decide(|owner, users| {
            for entry in batch.iter() {
                let commit = Commit {
                    position: entry.position.to_bits(),
                    payload: &entry.payload,
                };
                match owner.committed(commit, users) {
                    Ok(Note::Accepted) => metrics.taken_up.increment(1),
                    Ok(Note::Grew(claim)) => admission.grew(&claim),
                    Ok(Note::Ended(claim)) => {
                        admission.ended(&claim);
                        metrics.finished.increment(1);
                    }
                    Ok(Note::Other) => {}
                    Err(error) => tracing::error!(position = ?entry.position, %error, "a committed entry cannot be read"),
                }
            }
        });
        self.after_change();
        self.make_room();
    }
}

impl Handler<Recovered> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: Recovered, ctx: &mut Context<Self>) {
        let park_limit = self.env.execution.limits.park_limit;
        for live in message.executions {
            let Some(identity) = live.identity else { continue };
            let recovered = RecoveredExecution {
                execution: live.execution,
                identity,
                order: live.accepted,
                entries: live.entries,
                cancel_requested: live.cancel_requested,
                parked: live.parked.map(|parked| Wait {
                    connection: parked.connection,
                    until: parked.since.after(park_limit),
                    again: None,
                }),
            };
            let claim = self.decide(|owner, users| owner.recover(recovered, users));
            self.admission.restore(&claim);
        }
        self.look_later(ctx);
        self.after_change();
        message.reply.send(());
    }
}

impl Handler<Hold> for Supervisor {
    type Result = ();

    fn handle(&mut self, Hold { is_held, reply }: Hold, _: &mut Context<Self>) {
        self.env.execution.oauth.hold(is_held);
        if !is_held {
            // What was read meanwhile was not tended.
            self.forget(&ConfigChanged::everywhere());
        }
        self.decide(|owner, users| {
            owner.hold(is_held);
            if !is_held {
                // What parked executions waited for may have come while the daemon was down.
                owner.try_parked(|_| true, users);
            }
        });
        self.after_change();
        reply.send(());
    }
}

impl Handler<TurnsOver> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: TurnsOver, _: &mut Context<Self>) {
        self.env.owner.is_heard();
        self.after_change();
    }
}

impl Handler<Park> for Supervisor {
    type Result = ();

    fn handle(&mut self, Park { turn, cost, wait }: Park, ctx: &mut Context<Self>) {
        self.env.owner.lock().parked(&turn, cost, wait);
        self.look_later(ctx);
        self.after_change();
    }
}

impl Handler<GiveBack> for Supervisor {
    type Result = ();

    fn handle(&mut self, GiveBack(turn): GiveBack, _: &mut Context<Self>) {
        self.decide(|owner, users| owner.gave_back(&turn, users));
        self.after_change();
    }
}

impl Handler<HasRoom> for Supervisor {
    type Result = ();

    fn handle(&mut self, HasRoom(execution): HasRoom, _: &mut Context<Self>) {
        self.env.owner.lock().has_room(execution);
        self.after_change();
    }
}

impl Handler<Usable> for Supervisor {
    type Result = ();

    fn handle(&mut self, Usable { user, missing }: Usable, _: &mut Context<Self>) {
        self.decide(|owner, users| owner.usable(user, &missing, users));
    }
}

impl Handler<TryParked> for Supervisor {
    type Result = ();

    fn handle(&mut self, TryParked(user): TryParked, _: &mut Context<Self>) {
        self.decide(|owner, users| owner.try_parked_of(user, users));
    }
}

impl Handler<LookDue> for Supervisor {
    type Result = ();

    fn handle(&mut self, LookDue(at): LookDue, ctx: &mut Context<Self>) {
        // A look that was called for earlier has taken its place.
        if self.look_at == Some(at) {
            self.look(ctx);
        }
    }
}

impl Handler<Fell> for Supervisor {
    type Result = ();

    fn handle(&mut self, Fell(turn): Fell, _: &mut Context<Self>) {
        self.env.owner.lock().fell(&turn);
        self.after_change();
    }
}

impl Handler<Settled> for Supervisor {
    type Result = ();

    fn handle(&mut self, Settled { user, execution }: Settled, _: &mut Context<Self>) {
        self.decide(|owner, users| owner.settled(user, execution, users));
    }
}

impl Handler<NotStarted> for Supervisor {
    type Result = ();

    fn handle(&mut self, NotStarted { turn, why }: NotStarted, _: &mut Context<Self>) {
        self.env.owner.lock().refused(&turn, why);
        self.after_change();
    }
}

impl Handler<NotHeard> for Supervisor {
    type Result = ();

    fn handle(&mut self, NotHeard(execution): NotHeard, _: &mut Context<Self>) {
        self.env.owner.lock().not_heard(execution);
    }
}

impl Handler<UserDied> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: UserDied, _: &mut Context<Self>) {
        self.after_change();
    }
}

impl Handler<UserBack> for Supervisor {
    type Result = ();

    fn handle(&mut self, UserBack(key): UserBack, _: &mut Context<Self>) {
        self.decide(|owner, users| owner.back(|user| *user == key, users));
    }
}

impl Handler<ConfigChanged> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: ConfigChanged, _: &mut Context<Self>) {
        self.forget(&message);
        // A new consent is a change, too: whether it is the one that was waited for, its user finds out.
        self.decide(|owner, users| owner.try_parked(|user| message.is_about_user(user), users));
    }
}

impl Handler<Drain> for Supervisor {
    type Result = ();

    fn handle(&mut self, Drain(reply): Drain, _: &mut Context<Self>) {
        self.env.owner.lock().drain();
        self.draining.get_or_insert_default().push(reply);
        self.after_change();
    }
}

impl Handler<Conclude> for Supervisor {
    type Result = ();

    /// Nobody has any use for another credential, and one that is on its way must not be lost.
    fn handle(&mut self, Conclude(reply): Conclude, ctx: &mut Context<Self>) {
        let env = self.env.execution.clone();
        env.oauth.hold(true);
        let concluded = async move {
            env.oauth.is_through(&env).await;
            reply.send(());
        };
        ctx.spawn(concluded.into_actor(self));
    }
}

impl Handler<RestartDue> for Supervisor {
    type Result = ();

    fn handle(&mut self, RestartDue(id): RestartDue, _: &mut Context<Self>) {
        tracing::info!(instance = %id, "an instance's actor may start again");
        self.is_back(id);
    }
}

impl Handler<TidyDue> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: TidyDue, ctx: &mut Context<Self>) {
        self.catch_up();
        // The clock was set ahead, or the machine was suspended: who waits by time that passed does not know.
        if self.look_at.is_some_and(|at| at <= self.env.execution.clock.now()) {
            self.look(ctx);
        }
        let rested = if self.is_crowded() { RESTED } else { self.options.users.idle_after };
        self.tidy(rested);
        // Nothing else may happen here: who was put away since the last round is told of in this one.
        self.metrics.users.set(self.env.crowd.len() as f64);
        remind(ctx, &*self.env.execution.clock, self.options.tidy_every, TidyDue);
    }
}

/// Sent by an instance that was told to leave and has users.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct InstanceStillNeeded(pub InstanceId);

impl Handler<InstanceStillNeeded> for Supervisor {
    type Result = ();

    fn handle(&mut self, InstanceStillNeeded(id): InstanceStillNeeded, _: &mut Context<Self>) {
        if self.instances.keep(&id).is_some() {
            self.is_back(id);
        }
    }
}

impl Handler<ChildExited<InstanceId>> for Supervisor {
    type Result = ();

    fn handle(&mut self, exited: ChildExited<InstanceId>, ctx: &mut Context<Self>) {
        let id = exited.key;
        match self.instances.on_exit(&exited) {
            Verdict::Stale | Verdict::Gone => {}
            Verdict::StartNow => self.is_back(id),
            Verdict::RestartAfter(delay) => {
                self.died(id);
                tracing::error!(instance = %id, ?delay, "an instance's actor panicked; it restarts");
                remind(ctx, &*self.env.execution.clock, delay, RestartDue(id));
            }
            Verdict::Quarantine(span) => {
                self.died(id);
                tracing::error!(instance = %id, ?span, "an instance's actor panicked too often; its executions wait in quarantine");
                metrics::counter!(telemetry::QUARANTINES).increment(1);
                remind(ctx, &*self.env.execution.clock, span, RestartDue(id));
            }
        }
    }
}

#[cfg(feature = "faults")]
impl Handler<super::messages::Fail> for Supervisor {
    type Result = ();

    fn handle(&mut self, fail: super::messages::Fail, _: &mut Context<Self>) {
        assert!(fail != super::messages::Fail::Supervisor, "a supervisor fails on purpose");
        for (_, instance) in self.instances.alive() {
            let _ = instance.actor.tell(fail);
        }
    }
}
