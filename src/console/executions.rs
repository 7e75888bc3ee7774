//! Executions: a list of a customer's, and one of them step by step. Results are not shown here, nor is what was sent.

use super::choice::{Choice, Form, result_of};
use super::route::View;
use super::trouble::Trouble;
use super::{Asked, Console};
use crate::boot::http::Answer;
use crate::control::{Budget, iso};
use http::StatusCode;
use perseat_admin::fault::Fault;
use perseat_admin::query::{Listed, Reader, VisibleExecution, unknown_cursor};
use perseat_domain::entry::StepStatus;
use perseat_domain::id::{ExecutionId, InstanceId};
use perseat_domain::time::Timestamp;
use perseat_store::executions::{ExecutionOutline, ExecutionSummary, Named, StepOutline};
use serde::Serialize;
use std::collections::BTreeMap;

/// What ran, and for whom: names as they are today, of those whom whoever looks may see.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Subject {
    integration: Option<String>,
    instance: Option<String>,
    flow: Option<String>,
    user: Option<String>,
}

/// Finds the names of integrations, each once.
pub(super) struct Namer<'r> {
    pub(super) reader: &'r Reader<'r>,
    integrations: BTreeMap<String, Option<String>>,
}

impl<'r> Namer<'r> {
    pub(super) fn new(reader: &'r Reader<'r>) -> Self {
        Self {
            reader,
            integrations: BTreeMap::new(),
        }
    }

    /// `summary` is one that whoever looks may see.
    pub(super) fn subject(&mut self, summary: &ExecutionSummary) -> Result<Subject, Fault> {
        let integration = match &summary.instance {
            Some(instance) => self.integration(&instance.id)?,
            None => None,
        };
        let name = |named: Option<&Named>| named.and_then(|named| named.name.clone());
        Ok(Subject {
            integration,
            instance: name(summary.instance.as_ref()),
            flow: name(summary.flow.as_ref()),
            user: name(summary.user.as_ref()),
        })
    }

    fn integration(&mut self, instance: &str) -> Result<Option<String>, Fault> {
        if let Some(known) = self.integrations.get(instance) {
            return Ok(known.clone());
        }
        let found = match instance.parse::<InstanceId>().map(|id| self.reader.instance(id)) {
            Ok(Ok(instance)) => {
                let version = self.reader.version_of(instance.integration, instance.config.version)?;
                Some(version.integration.name.clone())
            }
            Err(_) | Ok(Err(Fault::Absent(_))) => None,
            Ok(Err(fault)) => return Err(fault),
        };
        self.integrations.insert(instance.to_owned(), found.clone());
        Ok(found)
    }
}

#[derive(Debug, Serialize)]
struct Row {
    href: String,
    result: &'static str,
    code: Option<&'static str>,
    at: String,
    took: Option<String>,
    subject: Subject,
}

#[derive(Debug, Serialize)]
struct List {
    tab: &'static str,
    form: Form,
    rows: Vec<Row>,
    more: Option<String>,
}

#[derive(Debug, Serialize)]
struct Step {
    name: String,
    status: &'static str,
    at: String,
    took: Option<String>,
    tries: u8,
}

#[derive(Debug, Serialize)]
struct Detail {
    id: String,
    result: &'static str,
    code: Option<&'static str>,
    error: Option<String>,
    failed_step: Option<String>,
    subject: Subject,
    accepted_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    took: Option<String>,
    parked_since: Option<String>,
    waits_for: Option<String>,
    steps: Vec<Step>,
    more: Option<String>,
    logs: String,
    connections: String,
    back: String,
}

/// How long it took, as people read it.
fn took(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<String> {
    let millis = to?.0.saturating_sub(from?.0);
    Some(match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => format!("{} min {} s", millis / 60_000, millis % 60_000 / 1_000),
    })
}

fn step(step: &StepOutline) -> Step {
    Step {
        name: step.name.clone(),
        status: match step.status {
            StepStatus::Ok => "ok",
            StepStatus::Ignored => "ignored",
            StepStatus::Failed => "failed",
        },
        at: iso(step.started_at),
        took: took(Some(step.started_at), Some(step.ended_at)),
        tries: step.tries,
    }
}

impl Console {
    pub(super) fn executions(&self, asked: Asked<'_>) -> Result<Answer, Trouble> {
        let list = self.look(asked, |reader| {
            let choice = Choice::read(asked, reader.customer_of_executions()?)?;
            let request = self.page(asked);
            let before = request.after.as_deref().map(str::parse::<ExecutionId>).transpose();
            let before = before.map_err(|_| unknown_cursor())?;
            let most = self.desk.options().read.page_of(&request);
            let listed = self.desk.executions().list(&choice.filter, before, most)?;
            asked.spend(listed.executions.len())?;
            let (mut namer, mut rows) = (Namer::new(reader), Vec::new());
            for summary in listed.executions {
                let Some(summary) = reader.execution_summary(summary)? else {
                    continue;
                };
                rows.push(Row {
                    href: View::Execution(summary.id).path(),
                    result: result_of(summary.status),
                    code: summary.code.map(|code| code.as_str()),
                    at: iso(summary.accepted_at),
                    took: took(summary.started_at, summary.ended_at),
                    subject: namer.subject(&summary)?,
                });
            }
            Ok(List {
                tab: "executions",
                rows,
                more: listed.next.map(|next| choice.link(View::Executions, &next.to_string())),
                form: self.choices(reader, View::Executions, &choice)?,
            })
        })?;
        Ok(self.pages.fragment(StatusCode::OK, "executions.html", &list))
    }

    pub(super) fn execution(&self, asked: Asked<'_>, id: ExecutionId) -> Result<Answer, Trouble> {
        let detail = self.look(asked, |reader| {
            reader.customer_of_executions()?;
            let outline = self.outline(asked, id)?.ok_or(Fault::Absent("execution"))?;
            asked.spend(outline.steps.len().saturating_add(1))?;
            let view = reader.execution(outline)?.ok_or(Fault::Absent("execution"))?;
            Ok(self.detail_of(asked, reader, &view)?)
        })?;
        Ok(self.pages.fragment(StatusCode::OK, "execution.html", &detail))
    }

    /// What happened in an execution, within what the request may read.
    pub(super) fn outline(&self, asked: Asked<'_>, id: ExecutionId) -> Result<Option<ExecutionOutline>, Trouble> {
        let own = Budget::of(&self.desk);
        Ok(self.desk.executions().outline(id, asked.budget.unwrap_or(&own))?)
    }

    fn detail_of(&self, asked: Asked<'_>, reader: &Reader<'_>, view: &VisibleExecution) -> Result<Detail, Fault> {
        let summary = &view.summary;
        let id = summary.id.to_string();
        let steps: Vec<Step> = view.steps.iter().map(step).collect();
        let steps = Listed::of_all(steps, &self.page(asked), self.desk.options().read)?;
        let next = steps.end.as_deref().filter(|_| steps.has_next);
        Ok(Detail {
            result: result_of(summary.status),
            code: summary.code.map(|code| code.as_str()),
            error: view.error(),
            failed_step: summary.failed_step.clone(),
            subject: Namer::new(reader).subject(summary)?,
            accepted_at: iso(summary.accepted_at),
            started_at: summary.started_at.map(iso),
            ended_at: summary.ended_at.map(iso),
            took: took(summary.started_at, summary.ended_at),
            parked_since: summary.parked_since.map(iso),
            waits_for: summary.waits_for.clone(),
            more: next.map(|next| View::Execution(summary.id).with(&[("after", Some(next))])),
            steps: steps.items.into_iter().map(|(_, step)| step).collect(),
            logs: View::Logs.with(&[("execution", Some(&id))]),
            connections: View::Connections.path(),
            back: View::Executions.path(),
            id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_long_as_people_read_them() {
        let took = |millis: u64| took(Some(Timestamp(5)), Some(Timestamp(5 + millis))).unwrap_or_default();
        assert_eq!(
            [took(0), took(999), took(1_250), took(61_000)],
            ["0 ms", "999 ms", "1.2 s", "1 min 1 s"]
        );
        assert_eq!(super::took(None, Some(Timestamp(5))), None);
    }
}
