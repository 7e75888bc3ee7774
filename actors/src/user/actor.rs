//! The user actor.

use super::messages::{CancelExecution, Enqueue, ForgetConfig, PutAway, StartNext};
use super::{Slot, UserKey};
use crate::execution::{self, Binding, ExecutionEnv, LoadError, LoadedInstance, LoadedUser, Start};
use crate::instance::InstanceActor;
use crate::kit::{ChildExited, Exit, LocalRun, Mailbox, Obituary, run_here};
use crate::supervisor::{LiveTable, SlotFreed, Supervisor};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, WrapFuture, fut::ActorFutureExt};
use perseat_domain::code::ErrorCode;
use perseat_domain::fair::Cost;
use perseat_domain::id::{ExecutionId, FlowNumber};
use perseat_store::seal::DataKey;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What all user actors of one owner share.
#[derive(Clone, Debug)]
pub struct UserEnv {
    /// For executions.
    pub execution: Arc<ExecutionEnv>,
    /// The live executions.
    pub live: Arc<LiveTable>,
    /// Takes back slots.
    pub supervisor: Mailbox<Supervisor>,
    /// Messages that wait in one mailbox at most (`supervision.mailbox`).
    pub mailbox: usize,
}

#[derive(Debug)]
struct Queued {
    execution: ExecutionId,
    flow: FlowNumber,
    after_death: bool,
}

#[derive(Debug)]
struct Running {
    slot: Option<Slot>,
    cancel: CancellationToken,
    flow: FlowNumber,
    /// Told by the execution when it comes to its end; a death leaves it out.
    _run: LocalRun,
}

/// A start that waits for the configuration to be read.
#[derive(Debug)]
struct Waiting {
    queued: Queued,
    slot: Option<Slot>,
}

#[derive(Debug)]
enum Config {
    /// To be read before the next start.
    Unread,
    /// Being read; a change meanwhile makes it stale.
    Reading { is_stale: bool },
    /// As it is.
    Read(Result<Arc<Binding>, ErrorCode>),
}

/// One user of one instance.
#[derive(Debug)]
pub struct UserActor {
    key: UserKey,
    env: UserEnv,
    parent: Mailbox<InstanceActor>,
    me: Mailbox<Self>,
    /// Waiting executions in position order.
    queue: VecDeque<Queued>,
    running: HashMap<ExecutionId, Running>,
    /// Everything queued, waiting or running: what is fed twice is taken once.
    known: HashSet<ExecutionId>,
    /// Starts that wait for the configuration.
    waiting: Vec<Waiting>,
    config: Config,
    /// The instance as of the last start; the configuration is joined with it.
    instance: Option<Result<Arc<LoadedInstance>, ErrorCode>>,
    /// Distinguishes activations of the same execution.
    next_generation: u64,
}

impl UserActor {
    /// A user actor with nothing to do.
    #[must_use]
    pub fn new(key: UserKey, env: UserEnv, parent: Mailbox<InstanceActor>, ctx: &Context<Self>) -> Self {
        Self {
            key,
            env,
            parent,
            me: Mailbox::of(ctx),
            queue: VecDeque::new(),
            running: HashMap::new(),
            known: HashSet::new(),
            waiting: Vec::new(),
            config: Config::Unread,
            instance: None,
            next_generation: 1,
        }
    }

    /// Starts it once the configuration is at hand.
    fn start(&mut self, waiting: Waiting, ctx: &mut Context<Self>) {
        match &self.config {
            Config::Read(binding) => {
                let binding = binding.clone();
                self.launch(waiting, binding, ctx);
            }
            Config::Reading { .. } => self.waiting.push(waiting),
            Config::Unread => {
                self.waiting.push(waiting);
                self.read_config(ctx);
            }
        }
    }

    fn read_config(&mut self, ctx: &mut Context<Self>) {
        let instance = match self.instance.clone() {
            Some(Ok(instance)) => instance,
            Some(Err(code)) => return self.config_is(Err(code), ctx),
            None => return self.config_is(Err(ErrorCode::InstanceRemoved), ctx),
        };
        self.config = Config::Reading { is_stale: false };
        let Some(config) = self.key.config else {
            let binding = Binding::new(instance, None, &self.env.execution.public_url);
            return self.config_is(Ok(Arc::new(binding)), ctx);
        };
        let (custody, public_url) = (self.env.execution.custody.clone(), self.env.execution.public_url.clone());
        let read = tokio::task::spawn_blocking(move || -> Result<Result<Arc<Binding>, ErrorCode>, LoadError> {
            let user = LoadedUser::load(&custody, &instance, config)?;
            let binding = user.map(|user| Arc::new(Binding::new(instance, Some(Arc::new(user)), &public_url)));
            Ok(binding.ok_or(ErrorCode::UserRemoved))
        });
        let key = self.key;
        ctx.spawn(read.into_actor(self).map(move |read, actor, ctx| {
            let binding = match read {
                Ok(Ok(binding)) => binding,
                Ok(Err(error)) => {
                    tracing::error!(?key, error = &error as &dyn std::error::Error, "cannot read a user's configuration");
                    Err(ErrorCode::Internal)
                }
                Err(error) => {
                    tracing::error!(?key, %error, "reading a user's configuration failed");
                    Err(ErrorCode::Internal)
                }
            };
            actor.config_is(binding, ctx);
        }));
    }

    fn config_is(&mut self, binding: Result<Arc<Binding>, ErrorCode>, ctx: &mut Context<Self>) {
        if matches!(self.config, Config::Reading { is_stale: true }) {
            return self.read_config(ctx);
        }
        self.config = Config::Read(binding);
        for waiting in std::mem::take(&mut self.waiting) {
            self.start(waiting, ctx);
        }
    }

    fn launch(&mut self, waiting: Waiting, binding: Result<Arc<Binding>, ErrorCode>, ctx: &mut Context<Self>) {
        let Waiting { queued, slot } = waiting;
        let Some(live) = self.env.live.take(queued.execution) else {
            // It ended meanwhile.
            self.known.remove(&queued.execution);
            return self.give_back(slot, Cost::default());
        };
        let cancel = CancellationToken::new();
        let start = Start {
            execution: queued.execution,
            identity: live.identity,
            entries: live.entries,
            accepted: live.accepted,
            after_death: queued.after_death,
            fallback_key: self.fallback_key(),
            binding,
            cancel: cancel.clone(),
        };
        let generation = self.next_generation;
        self.next_generation += 1;
        let obituary = Obituary::to(&self.me, queued.execution, generation);
        let (env, me, execution) = (self.env.execution.clone(), self.me.clone(), queued.execution);
        let run = run_here(obituary, async move {
            let cost = execution::run(env, start).await;
            if me.tell(ExecutionEnded { execution, cost }).is_err() {
                tracing::debug!(%execution, "the user's actor ended before its execution");
            }
        });
        let _ = ctx;
        self.running.insert(
            queued.execution,
            Running {
                slot,
                cancel,
                flow: queued.flow,
                _run: run,
            },
        );
    }

    /// The customer's key, for an execution whose user is gone.
    fn fallback_key(&self) -> Option<Arc<DataKey>> {
        match &self.instance {
            Some(Ok(instance)) => Some(instance.key().clone()),
            _ => None,
        }
    }

    fn give_back(&self, slot: Option<Slot>, cost: Cost) {
        if let Some(slot) = slot
            && self.env.supervisor.tell(SlotFreed { slot, cost }).is_err()
        {
            tracing::error!(key = ?self.key, "a slot could not be given back; its supervisor is overloaded or gone");
        }
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty() && self.waiting.is_empty()
    }
}

impl Actor for UserActor {
    type Context = Context<Self>;
}

impl Handler<Enqueue> for UserActor {
    type Result = ();

    fn handle(&mut self, message: Enqueue, _: &mut Context<Self>) {
        let Enqueue {
            execution,
            flow,
            after_death,
        } = message;
        if self.known.insert(execution) {
            self.queue.push_back(Queued {
                execution,
                flow,
                after_death,
            });
        }
    }
}

impl Handler<StartNext> for UserActor {
    type Result = ();

    fn handle(&mut self, message: StartNext, ctx: &mut Context<Self>) {
        let StartNext { slot, instance } = message;
        let is_same = match (&self.instance, &instance) {
            (Some(Ok(old)), Ok(new)) => Arc::ptr_eq(old, new),
            (Some(Err(old)), Err(new)) => old == new,
            _ => false,
        };
        if !is_same {
            self.instance = Some(instance);
            self.handle(ForgetConfig, ctx);
        }
        match self.queue.pop_front() {
            Some(queued) => self.start(Waiting { queued, slot: Some(slot) }, ctx),
            None => self.give_back(Some(slot), Cost::default()),
        }
    }
}

impl Handler<CancelExecution> for UserActor {
    type Result = ();

    /// A running one is told; a queued one ends now, outside its turn: it uses no slot worth counting.
    fn handle(&mut self, message: CancelExecution, ctx: &mut Context<Self>) {
        let CancelExecution(execution) = message;
        if let Some(running) = self.running.get(&execution) {
            running.cancel.cancel();
        } else if let Some(place) = self.queue.iter().position(|queued| queued.execution == execution)
            && let Some(queued) = self.queue.remove(place)
        {
            self.start(Waiting { queued, slot: None }, ctx);
        }
    }
}

impl Handler<ForgetConfig> for UserActor {
    type Result = ();

    fn handle(&mut self, _: ForgetConfig, _: &mut Context<Self>) {
        self.config = match self.config {
            Config::Reading { .. } => Config::Reading { is_stale: true },
            Config::Unread | Config::Read(_) => Config::Unread,
        };
    }
}

impl Handler<PutAway> for UserActor {
    type Result = ();

    fn handle(&mut self, _: PutAway, ctx: &mut Context<Self>) {
        if self.is_idle() {
            ctx.stop();
        } else if self.parent.tell(crate::instance::StillNeeded(self.key.config)).is_err() {
            tracing::debug!(key = ?self.key, "the instance's actor ended before its user's");
        }
    }
}

/// Sent by an execution: its end is durable.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct ExecutionEnded {
    execution: ExecutionId,
    cost: Cost,
}

impl Handler<ExecutionEnded> for UserActor {
    type Result = ();

    fn handle(&mut self, message: ExecutionEnded, _: &mut Context<Self>) {
        self.known.remove(&message.execution);
        if let Some(running) = self.running.remove(&message.execution) {
            self.give_back(running.slot, message.cost);
        }
    }
}

impl Handler<ChildExited<ExecutionId>> for UserActor {
    type Result = ();

    /// An execution's future is over. After an ordinary end its notice came first and there is nothing left to do;
    /// after a panic it goes back to the head of the queue in its own slot.
    fn handle(&mut self, message: ChildExited<ExecutionId>, ctx: &mut Context<Self>) {
        if message.exit != Exit::Panicked {
            return;
        }
        if let Some(running) = self.running.remove(&message.key) {
            tracing::error!(execution = %message.key, "an execution panicked; it is resumed from its last durable entry");
            let queued = Queued {
                execution: message.key,
                flow: running.flow,
                after_death: true,
            };
            self.start(
                Waiting {
                    queued,
                    slot: running.slot,
                },
                ctx,
            );
        }
    }
}
