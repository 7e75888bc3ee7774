//! The supervisor.

use super::live::{LiveExecution, LiveTable};
use super::messages::{Committed, ConfigChanged, Drain, FeedAgain, Recovered, RestartDue, SlotFreed, TidyDue};
use crate::admission::Admission;
use crate::execution::ExecutionEnv;
use crate::instance::{CancelFor, EnqueueFor, Forget, InstanceActor, Leave, StartFor};
use crate::kit::{ChildExited, Mailbox, Nursery, NurseryOptions, Reply, Unavailable, Verdict, remind, start_here};
use crate::telemetry;
use crate::user::{CancelExecution, Enqueue, UserEnv, UserKey};
use actix::{Actor, Context, Handler, Message};
use perseat_domain::budget::Claim;
use perseat_domain::entry::EntryHead;
use perseat_domain::fair::{Cost, FairOptions, FairQueue};
use perseat_domain::id::{CustomerId, ExecutionId, FlowNumber, InstanceId};
use perseat_domain::identity::Identity;
use perseat_journal::Committed as CommittedEntry;
use perseat_store::index::EntryRef;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Limits of one owner.
#[derive(Clone, Debug)]
pub struct SupervisorOptions {
    /// Slots and shares (`execution.slots`).
    pub fair: FairOptions,
    /// Restart, idleness and number of instances.
    pub instances: NurseryOptions,
    /// Restart, idleness and number of users of one instance.
    pub users: NurseryOptions,
    /// Messages that wait in one mailbox at most (`supervision.mailbox`).
    pub mailbox: usize,
    /// How often idle actors are looked for (`supervision.tidy-every`).
    pub tidy_every: Duration,
    /// Accepted entries kept in memory until they start (`execution.payload-cache`).
    pub payload_cache: usize,
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
    instances: Nursery<InstanceId, Mailbox<InstanceActor>>,
    fair: FairQueue<CustomerId, UserKey, (InstanceId, FlowNumber)>,
    live: Arc<LiveTable>,
    /// Instances whose mailbox was full: they are fed again from the live table.
    behind: BTreeSet<InstanceId>,
    /// Set once the daemon ends: nothing new starts, and this is answered when nothing runs.
    draining: Option<Vec<Reply<()>>>,
}

impl Supervisor {
    /// A supervisor with nothing live.
    #[must_use]
    pub fn new(options: SupervisorOptions, execution: ExecutionEnv, admission: Admission, ctx: &Context<Self>) -> Self {
        let me = Mailbox::of(ctx);
        let live = Arc::new(LiveTable::new(options.payload_cache));
        let clock = execution.clock.clone();
        let env = UserEnv {
            execution: Arc::new(execution),
            live: live.clone(),
            supervisor: me.clone(),
            mailbox: options.mailbox,
        };
        Self {
            instances: Nursery::new(options.instances, clock, options.seed),
            fair: FairQueue::new(options.fair),
            options,
            admission,
            env,
            me,
            live,
            behind: BTreeSet::new(),
            draining: None,
        }
    }

    fn instance(&mut self, id: InstanceId) -> Result<Mailbox<InstanceActor>, Unavailable> {
        let (env, parent, options) = (&self.env, &self.me, &self.options);
        let started = self.instances.ensure(&id, |birth| {
            let env = env.clone();
            let seed = options.seed ^ birth.generation;
            let users = options.users;
            start_here(env.mailbox, birth.obituary(parent), move |ctx| {
                InstanceActor::new(id, env, users, seed, ctx)
            })
        });
        started.cloned()
    }

    fn take_entry(&mut self, entry: &CommittedEntry) {
        let reference = |entries| EntryRef {
            position: entry.position.to_bits(),
            entries,
            bytes: u32::try_from(entry.payload.len()).unwrap_or(u32::MAX),
        };
        match EntryHead::read(&entry.payload) {
            Ok(EntryHead::Accepted {
                execution,
                identity: Some(identity),
            }) => {
                let live = LiveExecution {
                    identity,
                    order: entry.position.to_bits(),
                    entries: vec![reference(1)],
                    bytes: entry.payload.len() as u64,
                    accepted: Some(entry.payload.clone()),
                };
                self.live.insert(execution, live);
                metrics::counter!(telemetry::TAKEN_UP).increment(1);
                self.enqueue(execution, &identity, false);
            }
            Ok(EntryHead::Accepted { identity: None, .. }) => {}
            Ok(EntryHead::Progress(execution)) => self.live.push(execution, reference(1)),
            Ok(EntryHead::Carried { execution, first, count }) => self.live.carried(execution, first, reference(count)),
            Ok(EntryHead::Cancelled(execution)) => {
                self.live.push(execution, reference(1));
                self.cancel(execution);
            }
            Ok(EntryHead::Ended(execution)) => {
                if let Some(live) = self.live.remove(execution) {
                    self.admission.ended(&Claim::of(Some(&live.identity), live.bytes));
                    metrics::counter!(telemetry::FINISHED).increment(1);
                }
            }
            Err(error) => tracing::error!(position = ?entry.position, %error, "a committed entry cannot be read"),
        }
    }

    fn enqueue(&mut self, execution: ExecutionId, identity: &Identity, after_death: bool) {
        let key = UserKey::of(identity);
        let enqueue = Enqueue {
            execution,
            flow: identity.flow,
            after_death,
        };
        match self.instance(identity.instance) {
            Ok(instance) if instance.tell(EnqueueFor(key.config, enqueue)).is_ok() => {
                self.fair.ready(key, identity.customer, (identity.instance, identity.flow));
            }
            Ok(_) => {
                self.behind.insert(identity.instance);
            }
            Err(reason) => tracing::debug!(%execution, %reason, "the execution waits for its instance's actor"),
        }
    }

    fn cancel(&mut self, execution: ExecutionId) {
        let Some(identity) = self.live.identity(execution) else {
            return;
        };
        if let Ok(instance) = self.instance(identity.instance)
            && instance
                .tell(CancelFor(UserKey::of(&identity).config, CancelExecution(execution)))
                .is_err()
        {
            tracing::warn!(%execution, "a cancellation waits: the instance's mailbox is full");
        }
    }

    fn grant(&mut self) {
        if self.draining.is_some() {
            return;
        }
        while let Some(slot) = self.fair.grant() {
            let given = self
                .instances
                .get(&slot.user.instance)
                .is_some_and(|instance| instance.tell(StartFor(slot)).is_ok());
            if !given {
                self.fair.ended(slot, Cost::default());
            }
        }
    }

    /// Puts the live executions of these users back into their queues.
    fn feed(&mut self, which: impl Fn(&UserKey) -> bool) {
        let executions = self.live.of(which);
        let mut keys: Vec<UserKey> = executions.iter().map(|(_, identity, _)| UserKey::of(identity)).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            self.fair.gone(key);
        }
        for (execution, identity, had_started) in executions {
            self.enqueue(execution, &identity, had_started);
        }
        self.grant();
    }

    /// Feeds the instances whose mailbox was full when their work came; what does not fit again stays behind.
    fn catch_up(&mut self) {
        let behind = std::mem::take(&mut self.behind);
        if !behind.is_empty() {
            tracing::warn!(
                instances = behind.len(),
                "mailboxes were full (supervision.mailbox); their instances are fed again"
            );
            self.feed(|key| behind.contains(&key.instance));
        }
    }

    fn after_change(&mut self) {
        self.grant();
        if self.fair.running() == 0 {
            self.catch_up();
        }
        metrics::gauge!(telemetry::LIVE).set(self.live.len() as f64);
        metrics::gauge!(telemetry::RUNNING).set(f64::from(self.fair.running()));
        if self.fair.running() == 0
            && let Some(waiting) = &mut self.draining
        {
            waiting.drain(..).for_each(|reply| reply.send(()));
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        remind(ctx, &*self.env.execution.clock, self.options.tidy_every, TidyDue);
    }
}

impl Handler<Committed> for Supervisor {
    type Result = ();

    fn handle(&mut self, Committed(batch): Committed, _: &mut Context<Self>) {
        for entry in batch.iter() {
            self.take_entry(entry);
        }
        self.after_change();
    }
}

impl Handler<Recovered> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: Recovered, _: &mut Context<Self>) {
        for recovered in message.executions {
            let Some(identity) = recovered.identity else {
                continue;
            };
            let bytes = recovered.entries.first().map_or(0, |first| u64::from(first.bytes));
            self.admission.restore(&Claim::of(Some(&identity), bytes));
            let live = LiveExecution {
                identity,
                order: recovered.accepted,
                entries: recovered.entries,
                bytes,
                accepted: None,
            };
            self.live.insert(recovered.execution, live);
            self.enqueue(recovered.execution, &identity, false);
            if recovered.cancel_requested {
                self.cancel(recovered.execution);
            }
        }
        self.after_change();
        message.reply.send(());
    }
}

impl Handler<SlotFreed> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: SlotFreed, _: &mut Context<Self>) {
        self.fair.ended(message.slot, message.cost);
        self.after_change();
    }
}

impl Handler<ConfigChanged> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: ConfigChanged, _: &mut Context<Self>) {
        let changed = |id: &InstanceId| message.instances.as_ref().is_none_or(|ids| ids.contains(id));
        for (_, instance) in self.instances.alive().filter(|(id, _)| changed(id)) {
            if instance.tell(Forget).is_err() {
                tracing::warn!("an instance's actor could not be told of a changed configuration");
            }
        }
    }
}

impl Handler<FeedAgain> for Supervisor {
    type Result = ();

    fn handle(&mut self, FeedAgain(key): FeedAgain, _: &mut Context<Self>) {
        self.feed(|other| *other == key);
    }
}

impl Handler<Drain> for Supervisor {
    type Result = ();

    fn handle(&mut self, Drain(reply): Drain, _: &mut Context<Self>) {
        self.draining.get_or_insert_default().push(reply);
        self.after_change();
    }
}

impl Handler<RestartDue> for Supervisor {
    type Result = ();

    fn handle(&mut self, RestartDue(id): RestartDue, _: &mut Context<Self>) {
        self.feed(|key| key.instance == id);
    }
}

impl Handler<TidyDue> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: TidyDue, ctx: &mut Context<Self>) {
        const AT_ONCE: usize = 10_000;
        self.catch_up();
        let idle = self.instances.idle(AT_ONCE);
        for (id, instance) in self.instances.alive() {
            if !idle.contains(id) && instance.tell(Leave { is_idle: false }).is_err() {
                tracing::debug!(instance = %id, "an instance is too busy to look for idle users");
            }
        }
        for id in idle {
            if let Some(instance) = self.instances.put_away(&id)
                && instance.tell(Leave { is_idle: true }).is_err()
            {
                self.instances.keep(&id);
            }
        }
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
            self.feed(|key| key.instance == id);
        }
    }
}

impl Handler<ChildExited<InstanceId>> for Supervisor {
    type Result = ();

    fn handle(&mut self, exited: ChildExited<InstanceId>, ctx: &mut Context<Self>) {
        let id = exited.key;
        match self.instances.on_exit(&exited) {
            Verdict::Stale | Verdict::Gone => {}
            Verdict::StartNow => self.feed(|key| key.instance == id),
            Verdict::RestartAfter(delay) => {
                tracing::error!(instance = %id, ?delay, "an instance's actor panicked; it restarts");
                remind(ctx, &*self.env.execution.clock, delay, RestartDue(id));
            }
            Verdict::Quarantine(span) => {
                tracing::error!(instance = %id, ?span, "an instance's actor panicked too often; its executions wait in quarantine");
                metrics::counter!(telemetry::QUARANTINES).increment(1);
                remind(ctx, &*self.env.execution.clock, span, RestartDue(id));
            }
        }
    }
}
