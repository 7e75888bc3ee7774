//! Executions: what ran, step by step.

use super::answer::{actor, budget, desk, error, page, read, spend};
use super::connection::{
    Connection, ExecutionSectionOrder, InstanceExecutionResultOrder, InstanceExecutionResultOrderField, InstanceStepResultOrder, LogOrder,
    OrderDirection, terms,
};
use super::cost;
use super::instances::Instance;
use super::scalars::DateTime;
use super::{blobs, trigger};
use crate::control::Desk;
use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use perseat_admin::fault::Fault;
use perseat_admin::query::{Listed, Sight, VisibleExecution, VisibleLog, VisibleSummary, unknown_cursor};
use perseat_domain::entry::{LogLine, StepStatus};
use perseat_domain::id::{CustomerId, ExecutionId, InstanceId, join_global};
use perseat_domain::time::Timestamp;
use perseat_store::executions::{ExecutionSummary, OutlineError};
use perseat_store::index::{Filter, IndexError, Status};
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum ExecutionStatus {
    Error,
    Pending,
    Queued,
    Success,
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum InstanceExecutionResultResultType {
    Completed,
    Error,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum LogSeverityLevel {
    Debug,
    Error,
    Fatal,
    Info,
    Metric,
    Trace,
    Warn,
}

const LEVELS: [&str; 5] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];

/// A level of log lines, as alerts name it.
#[derive(Clone, Debug, SimpleObject)]
struct LogSeverity {
    id: usize,
    name: String,
}

/// One run of one flow.
#[derive(Clone, Debug)]
pub(super) struct InstanceExecutionResult(Arc<Shown>);

/// What lists know of an execution, and what happened in it and what it said once somebody asks for that.
#[derive(Debug)]
struct Shown {
    summary: VisibleSummary,
    view: OnceLock<VisibleExecution>,
    log: OnceLock<VisibleLog>,
}

impl InstanceExecutionResult {
    /// An execution that was just accepted, which whoever asks started.
    pub(super) fn of(ctx: &Context<'_>, id: ExecutionId) -> Result<Self> {
        Self::find(ctx, &id.global().into())
    }

    /// An execution that whoever asks may see.
    fn find(ctx: &Context<'_>, id: &ID) -> Result<Self> {
        let found = match id.parse::<ExecutionId>() {
            Ok(id) => Self::look_up(ctx, id)?,
            Err(_) => None,
        };
        found.ok_or_else(|| error(Fault::Absent("execution")))
    }

    /// The same, if it is there.
    fn look_up(ctx: &Context<'_>, id: ExecutionId) -> Result<Option<Self>> {
        spend(ctx, 1)?;
        match desk(ctx)?.executions().find(id).map_err(|fault| unreadable(&fault))? {
            Some(summary) => Self::visible(ctx, summary),
            None => Ok(None),
        }
    }

    /// The execution of a summary, if whoever asks may see it.
    fn visible(ctx: &Context<'_>, summary: ExecutionSummary) -> Result<Option<Self>> {
        let summary = read(ctx, |reader| reader.execution_summary(summary))?;
        let shown = |summary| Shown {
            summary,
            view: OnceLock::new(),
            log: OnceLock::new(),
        };
        Ok(summary.map(|summary| Self(Arc::new(shown(summary)))))
    }

    fn summary(&self) -> &ExecutionSummary {
        &self.0.summary
    }

    /// What happened in it: its entries are read here, once.
    fn view(&self, ctx: &Context<'_>) -> Result<&VisibleExecution> {
        if let Some(view) = self.0.view.get() {
            return Ok(view);
        }
        self.spend_entries(ctx)?;
        let outline = desk(ctx)?.executions().outline(self.summary().id, budget(ctx)?.as_ref());
        // One that was collected meanwhile has nothing more to show.
        let visible = match outline.map_err(not_read)? {
            Some(outline) => read(ctx, |reader| reader.execution(outline))?,
            None => None,
        };
        let visible = visible.ok_or_else(|| error(Fault::Absent("execution")))?;
        Ok(self.0.view.get_or_init(|| visible))
    }

    /// What it said: its entries are read here, once.
    fn log(&self, ctx: &Context<'_>) -> Result<&VisibleLog> {
        if let Some(log) = self.0.log.get() {
            return Ok(log);
        }
        self.spend_entries(ctx)?;
        let log = desk(ctx)?.executions().log(self.summary().id, budget(ctx)?.as_ref());
        let visible = match log.map_err(not_read)? {
            Some(log) => read(ctx, |reader| reader.execution_log(log))?,
            None => None,
        };
        let visible = visible.ok_or_else(|| error(Fault::Absent("execution")))?;
        Ok(self.0.log.get_or_init(|| visible))
    }

    fn spend_entries(&self, ctx: &Context<'_>) -> Result<()> {
        let steps = usize::try_from(self.summary().steps_finished).unwrap_or(usize::MAX);
        spend(ctx, steps.saturating_add(1))
    }
}

fn not_read(fault: OutlineError) -> async_graphql::Error {
    match fault {
        OutlineError::Index(fault) => unreadable(&fault),
        OutlineError::Spent(spent) => error(Fault::Spent(spent)),
    }
}

fn unreadable(fault: &IndexError) -> async_graphql::Error {
    tracing::error!(error = fault as &dyn std::error::Error, "executions could not be read");
    async_graphql::Error::new("Internal error.")
}

#[Object]
impl InstanceExecutionResult {
    async fn id(&self) -> ID {
        self.summary().id.global().into()
    }
    async fn instance(&self, ctx: &Context<'_>) -> Result<Option<Instance>> {
        let id = self
            .summary()
            .instance
            .as_ref()
            .and_then(|instance| instance.id.parse::<InstanceId>().ok());
        let Some(id) = id else { return Ok(None) };
        read(ctx, |reader| match reader.instance(id) {
            Ok(instance) => Ok(Some(Instance::real_one(instance))),
            Err(Fault::Absent(_)) => Ok(None),
            Err(fault) => Err(fault),
        })
    }
    /// The flow's name.
    async fn flow_name(&self) -> Option<&str> {
        self.summary().flow.as_ref()?.name.as_deref()
    }
    /// The name of the user on whose behalf it ran, for those who may see that person.
    async fn user_name(&self) -> Option<&str> {
        self.summary().user.as_ref()?.name.as_deref()
    }
    async fn started_at(&self) -> DateTime {
        DateTime(self.summary().started_at.unwrap_or(self.summary().accepted_at))
    }
    async fn ended_at(&self) -> Option<DateTime> {
        self.summary().ended_at.map(DateTime)
    }
    async fn status(&self) -> ExecutionStatus {
        match self.summary().status {
            Status::Queued => ExecutionStatus::Queued,
            Status::Running | Status::Parked => ExecutionStatus::Pending,
            Status::Succeeded => ExecutionStatus::Success,
            Status::Failed | Status::Cancelled | Status::Quarantined => ExecutionStatus::Error,
        }
    }
    /// When it was parked for the first time, while it waits for a connection to be usable.
    async fn parked_since(&self) -> Option<DateTime> {
        self.summary().parked_since.map(DateTime)
    }
    /// The stable key of the connection that it waits for while it is parked.
    async fn waits_for(&self) -> Option<&str> {
        self.summary().waits_for.as_deref()
    }
    async fn result_type(&self) -> Option<InstanceExecutionResultResultType> {
        match self.summary().status {
            Status::Queued | Status::Running | Status::Parked => None,
            Status::Succeeded => Some(InstanceExecutionResultResultType::Completed),
            Status::Failed | Status::Cancelled | Status::Quarantined => Some(InstanceExecutionResultResultType::Error),
        }
    }
    /// What went wrong, with secrets blanked.
    async fn error(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        match self.summary().code {
            Some(_) => Ok(self.view(ctx)?.error()),
            None => Ok(None),
        }
    }
    async fn step_count(&self) -> u32 {
        self.summary().steps_finished
    }
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn step_results(
        &self,
        ctx: &Context<'_>,
        display_step_name: Option<String>,
        order_by: Option<InstanceStepResultOrder>,
        after: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Result<Connection<InstanceStepResult>> {
        let mut all: Vec<InstanceStepResult> = InstanceStepResult::all(desk(ctx)?, self.view(ctx)?);
        all.retain(|step| display_step_name.as_ref().is_none_or(|name| *name == step.name));
        let total = all.len();
        if order_by.is_some_and(|order| order.direction == OrderDirection::Desc) {
            all.reverse();
        }
        if let Some(last) = last.and_then(|last| usize::try_from(last).ok()) {
            all.drain(..total.saturating_sub(last));
        }
        let mut connection = Connection::cut(ctx, all, after, first)?;
        connection.count(total);
        Ok(connection)
    }
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn logs(
        &self,
        ctx: &Context<'_>,
        order_by: Option<LogOrder>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Connection<Log>> {
        logs(ctx, self.log(ctx)?, order_by, after, first)
    }
}

/// What one step came to, the trigger first.
#[derive(Clone, Debug)]
pub(super) struct InstanceStepResult {
    execution: ExecutionId,
    place: usize,
    name: String,
    path: String,
    started_at: Timestamp,
    ended_at: Timestamp,
    has_error: bool,
    sight: Sight,
}

impl InstanceStepResult {
    fn all(desk: &Desk, view: &VisibleExecution) -> Vec<Self> {
        let sight = view.sight();
        let begun = view.summary.started_at.unwrap_or(view.summary.accepted_at);
        let trigger = trigger::name(desk, &view.summary).map(|name| Self {
            execution: view.summary.id,
            place: blobs::TRIGGER,
            path: name.clone(),
            name,
            started_at: begun,
            ended_at: begun,
            has_error: false,
            sight,
        });
        let steps = view.steps.iter().enumerate().map(|(place, step)| Self {
            execution: view.summary.id,
            place: place + 1,
            name: step.name.clone(),
            path: step.path.clone(),
            started_at: step.started_at,
            ended_at: step.ended_at,
            has_error: step.status != StepStatus::Ok,
            sight,
        });
        trigger.into_iter().chain(steps).collect()
    }
}

#[Object]
impl InstanceStepResult {
    async fn id(&self) -> ID {
        let base = self.execution.0.as_u128();
        join_global("InstanceStepResult", Uuid::from_u128(base ^ (self.place as u128 + 1))).into()
    }
    async fn step_name(&self) -> &str {
        &self.path
    }
    async fn display_step_name(&self) -> &str {
        &self.name
    }
    async fn started_at(&self) -> DateTime {
        DateTime(self.started_at)
    }
    async fn ended_at(&self) -> DateTime {
        DateTime(self.ended_at)
    }
    async fn has_error(&self) -> bool {
        self.has_error
    }
    /// Where the result can be fetched, for a short time, as MessagePack. Of an execution on behalf of somebody whom you may not
    /// see it says that it is withheld.
    async fn results_url(&self, ctx: &Context<'_>) -> Result<String> {
        Ok(blobs::step_url(desk(ctx)?, self.execution, self.place, self.sight))
    }
}

/// One log line.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct Log {
    id: ID,
    timestamp: DateTime,
    severity: LogSeverityLevel,
    message: Arc<str>,
    step_name: Option<String>,
    section_id: Option<Uuid>,
}

/// A part of an execution that log lines belong to. There are none.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct ExecutionSection {
    section_id: Uuid,
    label: String,
}

fn severity(word: &str) -> LogSeverityLevel {
    match word {
        "trace" => LogSeverityLevel::Trace,
        "debug" => LogSeverityLevel::Debug,
        "warn" => LogSeverityLevel::Warn,
        "error" => LogSeverityLevel::Error,
        "fatal" => LogSeverityLevel::Fatal,
        "metric" => LogSeverityLevel::Metric,
        _ => LogSeverityLevel::Info,
    }
}

/// The lines of an execution, and once it has ended a last one that says so: clients wait for it.
fn lines(said: &VisibleLog) -> Vec<Log> {
    let lines = said.lines().into_iter().enumerate();
    let log = |(place, line): (usize, LogLine)| Log {
        id: join_global("Log", Uuid::from_u128(said.summary().id.0.as_u128() ^ (place as u128 + 1))).into(),
        timestamp: DateTime(line.at),
        severity: severity(&line.level),
        message: line.message.into(),
        step_name: Some(line.step).filter(|step| !step.is_empty()),
        section_id: None,
    };
    lines.map(log).collect()
}

fn logs(
    ctx: &Context<'_>,
    said: &VisibleLog,
    order_by: Option<LogOrder>,
    after: Option<String>,
    first: Option<i32>,
) -> Result<Connection<Log>> {
    let mut lines = lines(said);
    if order_by.is_some_and(|order| order.direction == OrderDirection::Desc) {
        lines.reverse();
    }
    Connection::cut(ctx, lines, after, first)
}

/// Reading executions.
#[derive(Debug, Default)]
pub(super) struct ExecutionQuery;

#[Object]
impl ExecutionQuery {
    async fn execution_result(&self, ctx: &Context<'_>, id: ID) -> Result<InstanceExecutionResult> {
        InstanceExecutionResult::find(ctx, &id)
    }

    /// Executions, newest first; that is the one order there is.
    #[expect(clippy::too_many_arguments, reason = "filters are arguments")]
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn execution_results(
        &self,
        ctx: &Context<'_>,
        instance: Option<ID>,
        #[graphql(name = "instance_Customer")] customer: Option<ID>,
        #[graphql(name = "startedAt_Gte")] since: Option<DateTime>,
        sort_by: Option<Vec<Option<InstanceExecutionResultOrder>>>,
        order_by: Option<InstanceExecutionResultOrder>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Connection<InstanceExecutionResult>> {
        let is_known = |order: InstanceExecutionResultOrder| {
            order.field == InstanceExecutionResultOrderField::StartedAt && order.direction == OrderDirection::Desc
        };
        let orders: Vec<InstanceExecutionResultOrder> = terms(sort_by, order_by);
        if !orders.into_iter().all(is_known) {
            return Err(error(Fault::field("sortBy", "Executions are listed by STARTED_AT, DESC, alone.")));
        }
        let own = actor(ctx)?.customer();
        let instance = instance.map(|id| id.parse::<InstanceId>()).transpose();
        let customer = customer.map(|id| id.parse::<CustomerId>()).transpose();
        let (Ok(instance), Ok(customer)) = (instance, customer) else {
            return Ok(Connection::whole(Vec::new()));
        };
        let may = actor(ctx)?.may(perseat_admin::access::Operation::ViewLogs);
        if !may || own.is_some_and(|own| customer.is_some_and(|customer| customer != own)) {
            return Ok(Connection::whole(Vec::new()));
        }
        let filter = Filter {
            instance,
            customer: own.or(customer),
            since: since.map(|since| since.0),
            ..Filter::default()
        };
        let request = page(after, first);
        let before = request.after.as_deref().map(str::parse::<ExecutionId>).transpose();
        let before = before.map_err(|_| error(unknown_cursor()))?;
        let limits = desk(ctx)?.options().read;
        let limit = limits.page_of(&request);
        spend(ctx, 0)?;
        let listed = desk(ctx)?
            .executions()
            .list(&filter, before, limit)
            .map_err(|fault| unreadable(&fault))?;
        spend(ctx, listed.executions.len())?;
        let mut items = Vec::new();
        for summary in listed.executions {
            let cursor = summary.id.global();
            items.extend(InstanceExecutionResult::visible(ctx, summary)?.map(|found| (cursor, found)));
        }
        let listed = Listed {
            items,
            has_next: listed.next.is_some(),
            end: listed.next.map(|next| next.global()),
        };
        Ok(Connection::of(listed, request.after.as_deref()))
    }

    /// The log lines of an execution.
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn logs(
        &self,
        ctx: &Context<'_>,
        execution_result: ID,
        order_by: Option<LogOrder>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Connection<Log>> {
        let execution = InstanceExecutionResult::find(ctx, &execution_result)?;
        logs(ctx, execution.log(ctx)?, order_by, after, first)
    }

    /// The sections that log lines of an execution belong to. There are none.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn execution_sections(
        &self,
        ctx: &Context<'_>,
        execution_result: ID,
        #[graphql(name = "sectionId_In")] section_ids: Option<Vec<Uuid>>,
        order_by: Option<ExecutionSectionOrder>,
    ) -> Result<Connection<ExecutionSection>> {
        let _ = (section_ids, order_by);
        InstanceExecutionResult::find(ctx, &execution_result)?;
        Ok(Connection::whole(Vec::new()))
    }

    /// The levels that a log line can have.
    async fn log_severity_levels(&self) -> Vec<LogSeverity> {
        let named = LEVELS.iter().enumerate();
        named
            .map(|(place, name)| LogSeverity {
                id: place + 1,
                name: (*name).to_owned(),
            })
            .collect()
    }
}
