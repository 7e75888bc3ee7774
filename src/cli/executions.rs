//! `perseat executions`: what ran, for whom, and how it ended.

mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use perseat_domain::id::ExecutionId;
use perseat_domain::time::Timestamp;
use perseat_store::executions::{ExecutionList, ExecutionSummary, ExecutionView, Named};

use super::ConfigArgs;
use super::client::{self, target};
use super::table::Table;
use crate::cli::print::{say, show};

/// List, show or cancel executions of the running daemon
#[derive(Debug, Args)]
pub struct Executions {
    #[command(subcommand)]
    command: ExecutionsCommand,
}

#[derive(Debug, Subcommand)]
enum ExecutionsCommand {
    List(List),
    Show(Show),
    Cancel(Cancel),
}

/// List executions, newest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perseat executions list --status failed
  perseat executions list --customer globex --user jane --limit 10")]
struct List {
    /// Only of the customer with this external id or name
    #[arg(long)]
    customer: Option<String>,

    /// Only of the customer's instance with this name
    #[arg(long, requires = "customer")]
    instance: Option<String>,

    /// Only of the customer's user with this external id or e-mail address
    #[arg(long, requires = "customer")]
    user: Option<String>,

    /// Only these: queued, running, parked, succeeded, failed, cancelled, quarantined; commas join several
    #[arg(long)]
    status: Option<String>,

    /// Only older than this execution: the next page
    #[arg(long, value_name = "EXECUTION")]
    before: Option<ExecutionId>,

    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

/// Show one execution: user, trigger, steps with their results, error, log lines; secrets are blanked
#[derive(Debug, Args)]
struct Show {
    /// The execution's id, as a receipt or a list gives it
    execution: ExecutionId,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

/// Ask for the end of an execution; a step that has begun may still finish
#[derive(Debug, Args)]
struct Cancel {
    /// The execution's id, as a receipt or a list gives it
    execution: ExecutionId,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Executions {
    /// Runs the command.
    ///
    /// # Errors
    /// No daemon answers, or it refuses.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            ExecutionsCommand::List(list) => list.run(),
            ExecutionsCommand::Show(show) => show.run(),
            ExecutionsCommand::Cancel(cancel) => cancel.run(),
        }
    }
}

impl List {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let (limit, before) = (Some(self.limit.to_string()), self.before.map(|id| id.to_string()));
        let query = [
            ("customer", &self.customer),
            ("instance", &self.instance),
            ("user", &self.user),
            ("status", &self.status),
            ("before", &before),
            ("limit", &limit),
        ];
        let answer = client::block_on(client::call(&config.socket(), Method::GET, &target("/executions", &query), None))??;
        if self.json {
            say!("{answer:#}");
            return Ok(ExitCode::SUCCESS);
        }
        let list: ExecutionList = serde_json::from_value(answer)?;
        show!("{}", table(&list.executions));
        if let Some(next) = list.next {
            say!("older ones: --before {next}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn table(executions: &[ExecutionSummary]) -> Table {
    let mut table = Table::new(&[
        "execution",
        "status",
        "accepted",
        "took",
        "customer",
        "instance",
        "flow",
        "user",
        "steps",
        "error",
    ]);
    for execution in executions {
        let took = execution
            .ended_at
            .map(|ended| format!("{} ms", ended.since(execution.accepted_at).as_millis()));
        table.row([
            execution.id.to_string(),
            word(&execution.status),
            time(execution.accepted_at),
            took.unwrap_or_default(),
            name(execution.customer.as_ref()),
            name(execution.instance.as_ref()),
            name(execution.flow.as_ref()),
            name(execution.user.as_ref()),
            execution.steps_finished.to_string(),
            error(execution),
        ]);
    }
    table
}

impl Show {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let path = format!("/executions/{}", self.execution);
        let answer = client::block_on(client::call(&config.socket(), Method::GET, &path, None))??;
        if self.json {
            say!("{answer:#}");
        } else {
            show!("{}", show::text(&serde_json::from_value::<ExecutionView>(answer)?));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Cancel {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let path = format!("/executions/{}/cancel", self.execution);
        client::block_on(client::call(&config.socket(), Method::POST, &path, None))??;
        say!("{} will be cancelled", self.execution);
        Ok(ExitCode::SUCCESS)
    }
}

/// The word of a value that serializes as one.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => other.map(|value| value.to_string()).unwrap_or_default(),
    }
}

fn name(named: Option<&Named>) -> String {
    named
        .map(|named| named.name.clone().unwrap_or_else(|| format!("({}, deleted)", named.id)))
        .unwrap_or_default()
}

fn error(execution: &ExecutionSummary) -> String {
    match (execution.code, &execution.failed_step) {
        (Some(code), Some(step)) => format!("{code} at {step}"),
        (Some(code), None) => code.to_string(),
        _ => String::new(),
    }
}

fn time(at: Timestamp) -> String {
    let moment = i64::try_from(at.0)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    moment.map(|moment| format!("{moment:.3}")).unwrap_or_default()
}
