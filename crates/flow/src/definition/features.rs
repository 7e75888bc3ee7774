//! Settings of a flow: what they exclude, and which of them cannot run yet.

use super::Code;
use super::flows::within;
use super::raw;
use super::report::{Report, Spot, quoted};
use super::words::{MissingWord, QueueWord, ScheduleWord};

/// Ranges and contradictions of a flow's settings.
pub(super) fn check_flow(raw: &raw::Flow, report: &mut Report) {
    let synchronous = raw.is_synchronous.as_ref().is_some_and(|flag| flag.value);
    let schedule = raw
        .steps
        .first()
        .and_then(|step| step.schedule.as_ref())
        .filter(|schedule| runs(schedule));
    if let Some(retry) = &raw.retry {
        let attempts = within("maxAttempts", retry.max_attempts.as_ref(), 0, 10, report);
        within("delayMinutes", retry.delay_minutes.as_ref(), 0, 60, report);
        if synchronous && attempts > 0 {
            report.problem(&retry.spot, Code::Contradiction, "a synchronous flow is not tried again");
        }
    }
    if let Some(schedule) = schedule.filter(|_| synchronous) {
        report.problem(&schedule.spot, Code::Contradiction, "a synchronous flow has no schedule");
    }
    let Some(queue) = &raw.queue else { return };
    let fifo = queue.fifo.as_ref().is_some_and(|flag| flag.value);
    let singleton = queue.singleton.as_ref().is_some_and(|flag| flag.value);
    if queue.limit.is_some() {
        within("concurrencyLimit", queue.limit.as_ref(), 2, 15, report);
    }
    let mut contradiction = |holds: bool, message: &str| {
        if holds {
            report.problem(&queue.spot, Code::Contradiction, message);
        }
    };
    contradiction(fifo && singleton, "`usesFifoQueue` and `singletonExecutions` exclude each other");
    contradiction(fifo && schedule.is_some(), "a scheduled flow has no queue");
    contradiction(fifo && synchronous, "a synchronous flow has no queue");
    contradiction(singleton && schedule.is_none(), "`singletonExecutions` goes with a schedule only");
}

fn runs(schedule: &raw::Schedule) -> bool {
    let kind = schedule.meta.as_ref().and_then(|meta| meta.kind.as_ref()).map(|word| word.value);
    kind != Some(ScheduleWord::None) || schedule.value.as_ref().is_some_and(|value| !value.as_str().trim().is_empty())
}

/// Five fields, unless the schedule is `none` or `once`.
pub(super) fn check_cron(schedule: &raw::Schedule, report: &mut Report) {
    let text = schedule.value.as_ref().map(|value| value.as_str().trim()).unwrap_or_default();
    let kind = schedule.meta.as_ref().and_then(|meta| meta.kind.as_ref()).map(|word| word.value);
    if text.is_empty() && matches!(kind, Some(ScheduleWord::None | ScheduleWord::Once)) {
        return;
    }
    let is_field = |field: &str| field.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"*/,-?#".contains(&byte));
    if text.split_whitespace().count() != 5 || !text.split_whitespace().all(is_field) {
        let spot = schedule.value.as_ref().map_or(&schedule.spot, |value| &value.spot);
        let message = format!("{} is not a cron expression of five fields", quoted(text));
        report.problem(spot, Code::ValueInvalid, message);
    }
}

/// Whether the text of a switch means yes.
pub(crate) fn is_on(text: &str) -> bool {
    ["true", "1", "yes", "on"].iter().any(|word| text.trim().eq_ignore_ascii_case(word))
}

/// What a flow asks for and does not get yet: where it stands, and a sentence.
pub(super) fn later(raw: &raw::Flow) -> Vec<(&Spot, String)> {
    let mut later = Vec::new();
    let mut lacks = |spot, what: &str| later.push((spot, format!("{what} not supported yet")));
    if let Some(schedule) = raw
        .steps
        .first()
        .and_then(|step| step.schedule.as_ref())
        .filter(|schedule| runs(schedule))
    {
        lacks(&schedule.spot, "schedules are");
    }
    if let Some(retry) = raw
        .retry
        .as_ref()
        .filter(|retry| retry.max_attempts.as_ref().is_some_and(|count| count.value > 0))
    {
        lacks(&retry.spot, "retries of whole executions are");
    }
    if let Some(queue) = &raw.queue {
        let fifo = queue.fifo.as_ref().is_some_and(|flag| flag.value);
        let singleton = queue.singleton.as_ref().is_some_and(|flag| flag.value);
        let named = queue.kind.as_ref().is_some_and(|word| word.value != QueueWord::Parallel);
        if fifo || singleton || named || queue.limit.is_some() {
            lacks(&queue.spot, "queues other than parallel are");
        }
        if let Some(dedupe) = &queue.dedupe {
            lacks(&dedupe.0.spot, "recognizing repeated deliveries is");
        }
    }
    if let Some(resolver) = raw
        .resolver
        .as_ref()
        .filter(|resolver| resolver.enabled.as_ref().is_some_and(|flag| flag.value))
    {
        lacks(&resolver.spot, "batches of a trigger's results are");
    }
    if let Some(word) = raw.extensions.as_ref().and_then(|extensions| extensions.when_user_missing.as_ref())
        && word.value == MissingWord::Park
    {
        lacks(&word.spot, "parking events until a user connects is");
    }
    later
}

/// Why a step's action is not there.
pub(super) fn missing_action(component: &str, action: &str, trigger: bool, known: bool) -> (Code, String) {
    let later = match component {
        "schedule-triggers" => Some("schedules are not supported yet"),
        "management-triggers" => Some("flows that run on deploy or remove are not supported yet"),
        _ => None,
    };
    if let Some(sentence) = later.filter(|_| trigger && !known) {
        return (Code::FeatureUnsupported, sentence.to_owned());
    }
    let sentence = if known {
        let what = if trigger { "trigger" } else { "action" };
        format!("the component {} has no {what} {}", quoted(component), quoted(action))
    } else {
        format!("the component {} is not available", quoted(component))
    };
    (Code::ComponentMissing, sentence)
}
