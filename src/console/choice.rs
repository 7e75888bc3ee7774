//! Which executions, and which of their log lines, somebody wants to see: the fields of the form above a list.

use super::route::View;
use super::{Asked, Console};
use perseat_admin::fault::Fault;
use perseat_admin::query::{InstanceField, InstanceFilter, Order, PageRequest, Reader};
use perseat_domain::entry::LogLine;
use perseat_domain::id::{CustomerId, ExecutionId, InstanceId};
use perseat_domain::time::Timestamp;
use perseat_flow::value::moment;
use perseat_store::executions::ExecutionSummary;
use perseat_store::index::{Filter, Status};
use serde::Serialize;

/// Results by which executions are chosen, with what they mean.
const RESULTS: [(&str, &[Status]); 5] = [
    ("succeeded", &[Status::Succeeded]),
    ("failed", &[Status::Failed, Status::Cancelled, Status::Quarantined]),
    ("running", &[Status::Running]),
    ("parked", &[Status::Parked]),
    ("queued", &[Status::Queued]),
];

/// What a result by which executions are chosen means.
pub(super) fn statuses(result: &str) -> &'static [Status] {
    let known = RESULTS.iter().find(|(name, _)| *name == result);
    known.map_or(&[], |(_, statuses)| statuses)
}

/// The word of a status by which executions are chosen.
pub(super) fn result_of(status: Status) -> &'static str {
    let known = RESULTS.iter().find(|(_, statuses)| statuses.contains(&status));
    known.map_or("", |(name, _)| name)
}

/// How much a log line matters.
fn rank(level: &str) -> u8 {
    match level {
        "trace" => 0,
        "debug" => 1,
        "warn" => 3,
        "error" => 4,
        "fatal" => 5,
        _ => 2,
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Choice {
    /// Which executions.
    pub(super) filter: Filter,
    /// The only one.
    pub(super) execution: Option<ExecutionId>,
    severity: u8,
    /// In lower case.
    text: String,
    sent: Sent,
}

/// The fields as they were sent.
#[derive(Clone, Debug, Serialize)]
struct Sent {
    instance: Option<String>,
    execution: Option<String>,
    severity: Option<String>,
    result: Option<String>,
    text: Option<String>,
    from: Option<String>,
    until: Option<String>,
}

/// An instance to choose.
#[derive(Debug, Serialize)]
struct Choosable {
    id: String,
    label: String,
    is_chosen: bool,
}

/// The form, filled in as it was sent.
#[derive(Debug, Serialize)]
pub(super) struct Form {
    action: String,
    instances: Vec<Choosable>,
    #[serde(flatten)]
    sent: Sent,
}

impl Choice {
    /// Reads the fields. What they choose is of this customer.
    pub(super) fn read(asked: Asked<'_>, customer: CustomerId) -> Result<Self, Fault> {
        let sent = Sent {
            instance: asked.parameter("instance"),
            execution: asked.parameter("execution"),
            severity: asked.parameter("severity"),
            result: asked.parameter("result"),
            text: asked.parameter("text"),
            from: asked.parameter("from"),
            until: asked.parameter("until"),
        };
        let at = |text: &Option<String>| text.as_deref().map(time).transpose();
        let instance = sent.instance.as_deref().map(str::parse::<InstanceId>).transpose();
        let execution = sent.execution.as_deref().map(str::parse::<ExecutionId>).transpose();
        Ok(Self {
            filter: Filter {
                customer: Some(customer),
                instance: instance.map_err(|_| Fault::Absent("instance"))?,
                status: sent.result.as_deref().map(statuses).unwrap_or_default().to_vec(),
                since: at(&sent.from)?,
                until: at(&sent.until)?,
                ..Filter::default()
            },
            execution: execution.map_err(|_| Fault::Absent("execution"))?,
            severity: sent.severity.as_deref().map_or(0, rank),
            text: sent.text.as_deref().unwrap_or_default().trim().to_lowercase(),
            sent,
        })
    }

    /// Whether a line is shown.
    pub(super) fn wants(&self, line: &LogLine) -> bool {
        rank(&line.level) >= self.severity && line.message.to_lowercase().contains(&self.text)
    }

    /// Whether an execution can have a line that is shown, as far as its lines were counted.
    pub(super) fn may_want(&self, summary: &ExecutionSummary) -> bool {
        let last = match summary.status {
            Status::Queued | Status::Running | Status::Parked => None,
            Status::Succeeded => Some("info"),
            Status::Failed | Status::Cancelled | Status::Quarantined => Some("error"),
        };
        let counted = summary.log_counts.iter().filter(|(_, count)| *count > 0);
        let mut levels = counted.map(|(level, _)| level.as_str()).chain(last);
        levels.any(|level| rank(level) >= self.severity)
    }

    /// The same choice further on.
    pub(super) fn link(&self, view: View, after: &str) -> String {
        let sent = &self.sent;
        view.with(&[
            ("instance", sent.instance.as_deref()),
            ("execution", sent.execution.as_deref()),
            ("severity", sent.severity.as_deref()),
            ("result", sent.result.as_deref()),
            ("text", sent.text.as_deref()),
            ("from", sent.from.as_deref()),
            ("until", sent.until.as_deref()),
            ("after", Some(after)),
        ])
    }
}

fn time(text: &str) -> Result<Timestamp, Fault> {
    let millis = moment(text).and_then(|at| u64::try_from(at.as_millisecond()).ok());
    millis.map(Timestamp).ok_or_else(|| Fault::wrong("Enter a date and a time."))
}

impl Console {
    /// The form above a list, with the instances that can be chosen: one page of them by name, and the chosen one.
    pub(super) fn choices(&self, reader: &Reader<'_>, view: View, choice: &Choice) -> Result<Form, Fault> {
        let filter = InstanceFilter {
            order: vec![Order {
                field: InstanceField::Name,
                descending: false,
            }],
            ..InstanceFilter::default()
        };
        let listed = reader.instances(&filter, &PageRequest::default())?;
        let mut instances: Vec<_> = listed.items.into_iter().map(|(_, instance)| instance).collect();
        if let Some(chosen) = choice.filter.instance
            && !instances.iter().any(|instance| instance.id == chosen)
        {
            instances.push(reader.instance(chosen)?);
        }
        let mut choosable = Vec::new();
        for instance in instances {
            let version = reader.version_of(instance.integration, instance.config.version)?;
            let integration = &version.integration.name;
            choosable.push(Choosable {
                is_chosen: choice.filter.instance == Some(instance.id),
                id: instance.id.to_string(),
                label: match *integration == instance.name {
                    true => instance.name,
                    false => format!("{}, {integration}", instance.name),
                },
            });
        }
        Ok(Form {
            action: view.path(),
            instances: choosable,
            sent: choice.sent.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_chosen_by_one_word() {
        for (word, statuses_of_word) in RESULTS {
            assert_eq!(statuses(word), statuses_of_word);
            for status in statuses_of_word {
                assert_eq!(result_of(*status), word);
            }
        }
        assert!(statuses("nonsense").is_empty());
    }

    #[test]
    fn times_without_a_zone_are_in_utc() {
        assert_eq!(time("2026-01-31T12:00").unwrap(), time("2026-01-31T13:00:00+01:00").unwrap());
        assert!(time("yesterday").is_err());
    }
}
