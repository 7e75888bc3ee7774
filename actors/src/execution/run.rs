//! Carries out what the state machine decides.

use super::ExecutionEnv;
use super::binding::{Binding, masker};
use super::bound::{self, Bound, Unbound};
use super::memory::{Room, UNCLAIMED, reckoned};
use super::parking::{Parking, Still, still};
use super::reading::{PastUnread, patiently, read_past};
use super::recorder::{End, Recorder};
use super::today::{Configuration, Today};
use super::view::{View, open, request, restored};
use crate::kit::relayed;
use crate::supervisor::Writes;
use bytes::Bytes;
use perseat_domain::code::ErrorCode;
use perseat_domain::entry::{EndStatus, Ended, EntryRef, Started, SyncResponse};
use perseat_domain::execution::{Effect, Event, Machine, Past, Plan, Verdict};
use perseat_domain::fair::Cost;
use perseat_domain::id::{ExecutionId, FlowNumber};
use perseat_domain::identity::Identity;
use perseat_domain::model::{IntegrationVersion, Sealed};
use perseat_domain::owner::Deaths;
use perseat_domain::time::Timestamp;
use perseat_flow::component::{StepError, webhook_answer};
use perseat_flow::expression::Results;
use perseat_store::seal::DataKey;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// An execution that got a slot.
#[derive(Debug)]
pub struct Start {
    /// Which.
    pub execution: ExecutionId,
    /// On whose behalf.
    pub identity: Identity,
    /// Where its entries stand, oldest first.
    pub entries: Vec<EntryRef>,
    /// Its accepted entry, if it is still in memory and the only one.
    pub accepted: Option<Bytes>,
    /// Actors that died under it.
    pub deaths: Deaths,
    /// What it starts with, or why it cannot.
    pub binding: Configuration,
    /// What that has become when a step begins.
    pub today: Today,
    /// Seals what is written about an execution that cannot run; none where the key was destroyed.
    pub fallback_key: Option<Arc<DataKey>>,
    /// Accounts for what it writes.
    pub writes: Writes,
    /// Cancelled when somebody asks for its end.
    pub cancel: CancellationToken,
    /// Hears that a third party refused a credential.
    pub refuse: Refuse,
    /// Memory that was claimed for it, where it gave its turn back for want of it.
    pub room: Option<Room>,
}

type TellRefusal = dyn Fn(&str, u64) -> bool;

/// The way to whoever tends the grants.
pub struct Refuse(Box<TellRefusal>);

impl Refuse {
    /// `tell` says that a third party refused the credential of this connection and version; whether that was heard.
    pub fn new(tell: impl Fn(&str, u64) -> bool + 'static) -> Self {
        Self(Box::new(tell))
    }

    pub(super) fn tell(&self, connection: &str, version: u64) -> bool {
        (self.0)(connection, version)
    }
}

impl std::fmt::Debug for Refuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Refuse")
    }
}

/// Why an execution that has not ended runs no more for now.
#[derive(Debug)]
pub enum Rest {
    /// It waits for a credential, which is durable.
    Parked(Parking),
    /// There is no memory for it, of which it takes so much, and it has begun nothing.
    NoRoom(usize),
}

/// Runs an execution from its last durable entry until it has handed over its end, or has to wait; then it gives
/// what that cost. What few executions come to is boxed: the rest would carry the room for it, and there are thousands at a time.
pub async fn run(env: Arc<ExecutionEnv>, mut start: Box<Start>) -> Option<(Cost, Rest)> {
    let began = env.clock.uptime();
    let (rest, cpu) = match within_memory(&env, &mut start, began).await {
        Ok(mut running) => {
            // What was read of it is all there is of it from now on.
            start.accepted = None;
            (Rest::Parked(running.run(&mut start, began).await?), running.cpu)
        }
        Err(Halt::Unable(unable)) => {
            unable.finish(&env, &start, began);
            return None;
        }
        Err(Halt::Rests(rest)) => (rest, Duration::ZERO),
    };
    let slot = env.clock.uptime().saturating_sub(began);
    Some((Cost { slot, cpu }, rest))
}

/// Why an execution does not get to its next step.
enum Halt {
    /// It ends.
    Unable(Unable),
    /// It waits on.
    Rests(Rest),
}

impl From<Unable> for Halt {
    fn from(unable: Unable) -> Self {
        Self::Unable(unable)
    }
}

/// Runs blocking or long work on the runtime's pool. A panic in it is the caller's.
pub(crate) async fn off_arbiter<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match relayed(tokio::task::spawn_blocking(work)).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

/// An execution that ends before its first step.
pub(super) struct Unable {
    pub(super) attempt: u32,
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl Unable {
    fn finish(self, env: &Arc<ExecutionEnv>, start: &Start, began: Duration) {
        tracing::info!(execution = %start.execution, code = %self.code, "execution cannot run: {}", self.message);
        let ended = Ended {
            execution: start.execution,
            attempt: self.attempt,
            status: match self.code {
                ErrorCode::Cancelled => EndStatus::Cancelled,
                ErrorCode::Quarantined => EndStatus::Quarantined,
                _ => EndStatus::Failed,
            },
            code: Some(self.code),
            failed_step: None,
            message: None,
            response: None,
            cost: (millis(env.clock.uptime().saturating_sub(began)), 0),
            at: env.clock.now(),
        };
        let key = start
            .binding
            .as_ref()
            .map(|binding| binding.key().clone())
            .ok()
            .or_else(|| start.fallback_key.clone());
        let has_key = key.is_some();
        let masker = start.binding.as_ref().map(|binding| binding.masker.clone()).unwrap_or_default();
        let mut recorder = Recorder::new(env.clone(), key, masker, began, start.writes.clone());
        let end = End {
            ended,
            message: has_key.then_some(self.message),
            response: None,
            is_awaited: true,
            cpu: Duration::ZERO,
        };
        recorder.end(end, None);
    }
}

/// Everything a running execution holds.
pub(super) struct Running {
    pub(super) env: Arc<ExecutionEnv>,
    /// As of the last step that began.
    pub(super) binding: Arc<Binding>,
    /// What the attempt bound, where that is not what `binding` holds.
    pub(super) bound: Option<Bound>,
    pub(super) plan: Arc<Plan>,
    version: Arc<IntegrationVersion>,
    pub(super) view: View,
    /// Of the instance's configuration and of the user's, as the attempt bound them.
    revisions: (u64, u64),
    /// When the attempt began.
    began_at: Timestamp,
    pub(super) past: Past,
    pub(super) recorder: Recorder,
    pub(super) last: Option<Arc<Results>>,
    pub(super) stopped: Option<SyncResponse>,
    pub(super) failure: Option<String>,
    pub(super) cpu: Duration,
    /// What it has claimed of the memory for executions.
    pub(super) held: Vec<Room>,
}

/// Whether there was memory enough for it.
enum Prepared {
    Running(Box<Running>),
    /// It takes so much.
    Larger(usize),
}

/// Claims memory before anything is held: first for what is stored, which may have been compressed, then for what that turned out to be.
async fn within_memory(env: &Arc<ExecutionEnv>, start: &mut Start, began: Duration) -> Result<Box<Running>, Halt> {
    let mut bytes = reckoned(start.entries.iter().map(|entry| entry.bytes as usize).sum());
    let mut room = start.room.take();
    loop {
        bytes = room.as_ref().map_or(bytes, Room::bytes);
        // Without a slot it is taken up to be ended.
        if bytes > UNCLAIMED && room.is_none() && start.writes.has_slot() {
            let Some(claimed) = env.memory.try_claim(&start.identity, bytes) else {
                return Err(Halt::Rests(Rest::NoRoom(bytes)));
            };
            room = Some(claimed);
        }
        match prepare(env, start, began, bytes.max(UNCLAIMED)).await? {
            Prepared::Larger(more) => (bytes, room) = (more, None),
            Prepared::Running(mut running) => {
                running.held.extend(room);
                return Ok(running);
            }
        }
    }
}

async fn prepare(env: &Arc<ExecutionEnv>, start: &Start, began: Duration, within: usize) -> Result<Prepared, Halt> {
    let past = match &start.accepted {
        Some(accepted) => Past::gather([accepted]).map_err(PastUnread::from),
        None => Box::pin(patiently(env, start, PastUnread::is_passing, || read_past(env, start))).await?,
    };
    let mut past = past.map_err(|error| {
        tracing::error!(execution = %start.execution, error = &error as &dyn std::error::Error, "cannot read an execution from the journal");
        Unable { attempt: 0, code: ErrorCode::Internal, message: "the execution's entries cannot be read".into() }
    })?;
    let attempt = past.attempt();
    let unable = |code, message: String| Unable { attempt, code, message };
    let deaths = start.deaths.total(past.progress.deaths);
    if let Some(code) = past.obstacle(&start.binding, deaths, &env.limits.machine) {
        return Err(unable(code, refusal_sentence(code)).into());
    }
    let binding = start
        .binding
        .as_ref()
        .map_err(|code| unable(*code, refusal_sentence(*code)))?
        .clone();
    let flow = start.identity.flow;
    let bound = match &past.started {
        None => None,
        Some(started) => {
            let found = patiently(env, start, Unbound::is_passing, || Bound::find(env, &binding, started));
            Box::pin(found).await?.map_err(|error| {
                tracing::error!(execution = %start.execution, error = &error as &dyn std::error::Error, "an execution cannot be taken up");
                unable(
                    ErrorCode::Internal,
                    "the configuration that it was started with cannot be read".into(),
                )
            })?
        }
    };
    let version = bound
        .as_ref()
        .map_or(&binding.instance.bundle().version, |bound| &bound.version)
        .clone();
    let plan = plan_of(env, &binding, &version, flow)
        .ok_or_else(|| unable(ErrorCode::FlowNotFound, "the flow is not part of the version that runs".into()))?;
    let revisions = match &past.started {
        Some(started) => (started.instance_revision, started.user_revision),
        None => bound::revisions(&binding),
    };
    let settings = match &bound {
        Some(bound) => &bound
            .open(start.execution, &binding)
            .map_err(|code| unable(code, refusal_sentence(code)))?,
        None => &binding.settings,
    };
    match still(&past, &binding, settings, env) {
        Still::Free => {}
        Still::Parked(parking) => return Err(Halt::Rests(Rest::Parked(parking))),
        Still::Over(code) => return Err(unable(code, refusal_sentence(code)).into()),
    }

    // It is opened below, and need not be held twice.
    let sealed = Sealed(std::mem::take(&mut past.accepted.request.0));
    let began_at = past.began_at.unwrap_or_else(|| env.clock.now());
    let mut taken = 0;
    // A flow without steps that nobody waits for has no reader of its payload: it is not made.
    let mut view = if plan.first().is_some() || past.accepted.sync_deadline.is_some() {
        let unreadable = |(code, message)| unable(code, message);
        let (request, bytes) = request(env, start.execution, &binding, sealed).await.map_err(unreadable)?;
        taken = bytes;
        if taken > within {
            return Ok(Prepared::Larger(taken));
        }
        let opened = open(env, start, request, &binding, &version, settings.clone(), began_at);
        Box::pin(opened).await.map_err(unreadable)?
    } else {
        View::unread()
    };
    let key = Some(binding.key().clone());
    let mut recorder = Recorder::new(env.clone(), key, binding.masker.clone(), began, start.writes.clone());
    if bound.is_some() {
        recorder.mask_also(&masker(settings.values()));
    }
    recorder.has_called(past.called.clone());
    let (mut last, mut here) = (None, env.limits.offload_bytes);
    for mut step in std::mem::take(&mut past.steps) {
        let Some(node) = plan.find(&step.path) else { continue };
        let is_branch = past.progress.branches.contains_key(&step.path);
        let masks = std::mem::take(&mut step.masks);
        // All that is opened here together is no more than one may be.
        let Some(value) = restored(&binding, start.execution, step, here).await else {
            continue;
        };
        let bytes = value.json().len();
        taken = taken.saturating_add(bytes);
        here = here.checked_sub(bytes).unwrap_or(here);
        if taken > within {
            return Ok(Prepared::Larger(taken.saturating_mul(2)));
        }
        if !masks.is_empty() {
            Box::pin(recorder.mask_as_before(masks, value.json())).await;
        }
        view.scope.finish(node.step.reference.clone(), value.clone());
        if !is_branch {
            last = Some(value);
        }
    }
    Ok(Prepared::Running(Box::new(Running {
        env: env.clone(),
        binding,
        bound,
        plan,
        version,
        view,
        revisions,
        began_at,
        past,
        recorder,
        last,
        stopped: None,
        failure: None,
        cpu: Duration::ZERO,
        held: Vec::new(),
    })))
}

/// The compiled flow of the version that runs.
fn plan_of(env: &ExecutionEnv, binding: &Binding, version: &Arc<IntegrationVersion>, flow: FlowNumber) -> Option<Arc<Plan>> {
    if version.version == binding.instance.bundle().version.version {
        return binding.plan(flow).cloned();
    }
    env.plans.of(version).get(&flow).cloned()
}

impl Running {
    async fn run(&mut self, start: &mut Start, began: Duration) -> Option<Parking> {
        let deadline = began + self.env.limits.timeout;
        let mut machine = Machine::new(self.plan.clone(), self.env.limits.machine);
        let progress = self.past.progress.clone();
        let mut next = Some(Event::Begin {
            progress,
            deaths: start.deaths.total(self.past.progress.deaths),
        });
        let mut finished_step = None;
        let mut performed = None;
        while let Some(event) = next.take() {
            for effect in machine.on(event) {
                match effect {
                    Effect::WriteStarted { activation, deaths } => self.write_started(start, activation, deaths),
                    Effect::WriteStep {
                        node,
                        status,
                        branch,
                        tries,
                    } => {
                        if let Some(done) = finished_step.take() {
                            Box::pin(self.write_step(&start.identity, node, (status, branch, tries), done)).await;
                        }
                    }
                    Effect::Flush => {
                        self.recorder.flush().await;
                        next = Some(Event::Flushed);
                    }
                    Effect::Perform { node, .. } => match Box::pin(self.perform(start, node, deadline)).await {
                        Ok((event, done)) => {
                            performed = Some(node);
                            finished_step = done;
                            next = Some(event);
                        }
                        Err(parking) => return Some(parking),
                    },
                    Effect::Sleep(delay) => {
                        if let (Some(done), Some(node)) = (finished_step.take(), performed) {
                            Box::pin(self.tried(node, done, delay)).await;
                        }
                        next = Some(Box::pin(self.wait(start, delay, deadline)).await);
                    }
                    Effect::Abandon => {}
                    Effect::Finish(verdict) => {
                        let end = Box::pin(self.end(verdict, began)).await;
                        self.recorder.make_room_for(&end).await;
                        let response = self.recorder.seal_response(&end).await;
                        self.recorder.end(end, response);
                        return None;
                    }
                }
            }
        }
        None
    }

    fn write_started(&mut self, start: &Start, activation: u32, deaths: u32) {
        let (instance_revision, user_revision) = self.revisions;
        self.recorder.started(Started {
            execution: start.execution,
            attempt: 1,
            activation,
            deaths,
            definition_version: self.version.version,
            instance_revision,
            user_revision,
            at: match self.past.started {
                None => self.began_at,
                Some(_) => self.env.clock.now(),
            },
        });
    }

    async fn wait(&self, start: &mut Start, delay: Duration, deadline: Duration) -> Event {
        let left = deadline.saturating_sub(self.env.clock.uptime());
        tokio::select! {
            biased;
            () = start.cancel.cancelled() => Event::CancelRequested,
            () = self.env.clock.sleep(left) => Event::DeadlinePassed,
            code = start.today.gone() => Event::ConfigurationGone(code),
            () = self.env.clock.sleep(delay) => Event::RetryDue,
        }
    }

    async fn end(&mut self, verdict: Verdict, began: Duration) -> End {
        let is_synchronous = self.past.accepted.sync_deadline.is_some();
        let failed_step = verdict.failed.map(|node| self.plan.node(node).step.name.clone());
        let message = match verdict.status {
            EndStatus::Succeeded => None,
            _ => Some(
                self.failure
                    .take()
                    .unwrap_or_else(|| verdict.code.map(refusal_sentence).unwrap_or_default()),
            ),
        };
        let ended = Ended {
            execution: self.past.accepted.execution,
            attempt: 1,
            status: verdict.status,
            code: verdict.code,
            failed_step,
            message: None,
            response: None,
            cost: (millis(self.env.clock.uptime().saturating_sub(began)), millis(self.cpu)),
            at: self.env.clock.now(),
        };
        let mut end = End {
            ended,
            message,
            response: None,
            is_awaited: is_synchronous,
            cpu: self.cpu,
        };
        if verdict.status == EndStatus::Succeeded && is_synchronous {
            match self.response() {
                Ok(response) => end.response = Some(response),
                Err(error) => end.cannot_answer(error.code, self.recorder.message(&error.message).await.into_owned()),
            }
        }
        end
    }

    /// What a synchronous caller gets: the answer of a stop step, that of the trigger, or the last step's results.
    fn response(&self) -> Result<SyncResponse, StepError> {
        if let Some(response) = &self.stopped {
            return Ok(response.clone());
        }
        let flow = self
            .version
            .definition
            .flows
            .iter()
            .find(|flow| self.view.context.names.flow.stable_id == flow.stable_key);
        let body = match &self.last {
            Some(results) => results.json().clone(),
            None => json!({ "executionId": self.view.context.execution_id }).to_string().into(),
        };
        let results = SyncResponse {
            status: 200,
            content_type: "application/json".into(),
            headers: Vec::new(),
            body,
        };
        match flow {
            Some(flow) => webhook_answer(&flow.trigger, &self.view.scope, results, self.env.performer.max_result()),
            None => Ok(results),
        }
    }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

pub(super) fn rfc3339(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .map(|at| at.to_string())
        .unwrap_or_default()
}

pub(super) fn refusal_sentence(code: ErrorCode) -> String {
    match code {
        ErrorCode::OrganizationUserNotAllowed => "the external id belongs to an organization user, who is not a customer user",
        ErrorCode::UserRemoved => "the user's configuration was removed before the execution ended",
        ErrorCode::InstanceRemoved => "the instance was removed before the execution ended",
        ErrorCode::Cancelled => "the execution was cancelled",
        ErrorCode::ExecutionTimeout => "the execution ran longer than execution.timeout",
        ErrorCode::Quarantined => "the execution was stopped after its actor died under it repeatedly",
        ErrorCode::ParkedTooLong => "the execution waited longer than execution.park-limit for a connection to be usable again",
        ErrorCode::StepFailed => "a step failed before the daemon restarted",
        _ => "the execution could not run",
    }
    .to_owned()
}
