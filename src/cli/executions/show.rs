//! One execution as text.

use super::{error, name, time, word};
use crate::cli::print::spelled_out;
use perseat_store::executions::{BodyView, ExecutionView, Part, StepView, TriggerView};
use std::fmt::Write as _;

/// The execution for a person: who, what came in, each step, what went wrong, what was logged. What is in it strangers wrote: it gives the
/// terminal no orders, and no line of it begins like one of ours.
pub(super) fn text(view: &ExecutionView) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, view);
    spelled_out(&out, &['\n', '\t'])
}

fn write(out: &mut String, view: &ExecutionView) -> std::fmt::Result {
    let summary = &view.summary;
    let mut line = |name: &str, value: String| {
        if value.is_empty() {
            Ok(())
        } else {
            writeln!(out, "{name:<10} {}", hanging(&value))
        }
    };
    line("execution", summary.id.to_string())?;
    line("status", word(&summary.status))?;
    line("parked", summary.parked_since.map(time).unwrap_or_default())?;
    line("waits for", summary.waits_for.clone().unwrap_or_default())?;
    line("customer", name(summary.customer.as_ref()))?;
    line("user", name(summary.user.as_ref()))?;
    line("instance", name(summary.instance.as_ref()))?;
    line("flow", name(summary.flow.as_ref()))?;
    line("accepted", time(summary.accepted_at))?;
    line("started", summary.started_at.map(time).unwrap_or_default())?;
    line("ended", summary.ended_at.map(time).unwrap_or_default())?;
    line("error", error(summary))?;
    line(
        "message",
        view.message
            .as_ref()
            .map(|message| part(message, String::clone))
            .unwrap_or_default(),
    )?;
    line(
        "attempt",
        if summary.activation > 1 {
            format!("{}, taken up {} times", summary.attempt, summary.activation)
        } else {
            String::new()
        },
    )?;
    line(
        "cost",
        view.cost
            .map(|(slot, cpu)| format!("{slot} ms running, {cpu} ms of code"))
            .unwrap_or_default(),
    )?;
    match &view.trigger {
        Part::Readable(trigger) => request(out, trigger)?,
        Part::Unreadable { unreadable } => writeln!(out, "\ntrigger: {}", word(unreadable))?,
    }
    if !view.steps.is_empty() {
        writeln!(out, "\nsteps")?;
    }
    for step in &view.steps {
        one_step(out, step, view)?;
    }
    if let Some(response) = &view.response {
        writeln!(out, "\nresponse")?;
        match response {
            Part::Readable(response) => writeln!(
                out,
                "  {} {}\n{}",
                response.status,
                hanging(&response.content_type),
                indented(&body(&response.body))
            )?,
            Part::Unreadable { unreadable } => writeln!(out, "  {}", word(unreadable))?,
        }
    }
    if !view.logs.is_empty() {
        writeln!(out, "\nlog")?;
    }
    for flush in &view.logs {
        match flush {
            Part::Readable(lines) => {
                for line in lines {
                    let said = format!("{} {:<5} {}: {}", time(line.at), line.level, line.step, line.message);
                    writeln!(out, "  {}", hanging(&said))?;
                }
            }
            Part::Unreadable { unreadable } => writeln!(out, "  {}", word(unreadable))?,
        }
    }
    for reason in &view.missing {
        writeln!(out, "\nan entry cannot be read: {}", word(reason))?;
    }
    Ok(())
}

fn request(out: &mut String, trigger: &TriggerView) -> std::fmt::Result {
    let query = if trigger.query.is_empty() {
        String::new()
    } else {
        format!("?{}", trigger.query)
    };
    let head = format!("{} {}{query}", trigger.method, trigger.url);
    writeln!(out, "\ntrigger\n  {}", hanging(&head))?;
    for (name, value) in &trigger.headers {
        writeln!(out, "  {}", hanging(&format!("{name}: {value}")))?;
    }
    if trigger.body.bytes > 0 {
        writeln!(out, "{}", indented(&body(&trigger.body)))?;
    }
    Ok(())
}

fn one_step(out: &mut String, step: &StepView, view: &ExecutionView) -> std::fmt::Result {
    let took = step.ended_at.since(step.started_at).as_millis();
    let tries = if step.tries > 1 {
        format!(", {} tries", step.tries)
    } else {
        String::new()
    };
    let branch = view.branches.iter().find(|(path, _)| *path == step.path);
    let branch = branch.map(|(_, name)| format!(", took `{name}`")).unwrap_or_default();
    let status = word(&step.status).to_lowercase();
    let head = format!("{} {}: {status}, {took} ms{tries}{branch}", step.path, step.name);
    writeln!(out, "  {}", hanging(&head))?;
    writeln!(out, "{}", indented(&part(&step.output, |output| format!("  {output}"))))
}

fn part<T>(part: &Part<T>, show: impl Fn(&T) -> String) -> String {
    match part {
        Part::Readable(value) => show(value),
        Part::Unreadable { unreadable } => word(unreadable),
    }
}

fn body(body: &BodyView) -> String {
    let text = body
        .text
        .clone()
        .unwrap_or_else(|| format!("({} bytes that are no text)", body.bytes));
    if body.is_cut {
        format!("{text}\n… ({} bytes in all)", body.bytes)
    } else {
        text
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Text whose further lines stand further in than any of ours.
fn hanging(text: &str) -> String {
    text.replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::entry::LogLine;
    use perseat_domain::id::ExecutionId;
    use perseat_domain::time::Timestamp;
    use perseat_store::executions::ResponseView;
    use serde_json::{from_value, json};
    use uuid::Uuid;

    #[test]
    fn what_strangers_wrote_gives_the_terminal_no_orders_and_begins_no_line() {
        let hostile = "\u{1b}]0;x\u{7}\u{9b}2J\r\nstatus     succeeded\tand\u{7f}";
        let said = |what: &str| format!("{what}{hostile}");
        let body = |what| BodyView {
            bytes: hostile.len(),
            text: Some(said(what)),
            is_cut: false,
        };
        let summary = json!({
            "id": ExecutionId(Uuid::from_u128(7)), "status": "failed", "origin": "Webhook", "acceptedAt": 0, "attempt": 1, "activation": 1,
            "customer": { "id": "1", "name": said("customer") }, "cancelRequested": false, "stepsFinished": 0, "logCounts": [],
        });
        let step = StepView {
            output: Part::Readable(json!({ "said": hostile })),
            ..from_value(json!({
                "name": said("step"), "path": "0", "attempt": 1, "status": "Ok", "startedAt": 0, "endedAt": 0, "output": null,
                "credentials": [], "tries": 1,
            }))
            .unwrap()
        };
        let view = ExecutionView {
            summary: from_value(summary).unwrap(),
            trigger: Part::Readable(TriggerView {
                method: "POST".to_owned(),
                url: said("url"),
                query: said("query"),
                path_fragment: String::new(),
                headers: vec![("x-said".to_owned(), said("header"))],
                body: body("request"),
            }),
            steps: vec![step],
            branches: vec![("0".to_owned(), said("branch"))],
            message: Some(Part::Readable(said("message"))),
            logs: vec![Part::Readable(vec![LogLine {
                at: Timestamp(0),
                level: "info".to_owned(),
                step: said("logger"),
                message: said("log"),
            }])],
            response: Some(Part::Readable(ResponseView {
                status: 200,
                content_type: said("type"),
                headers: Vec::new(),
                body: body("response"),
            })),
            cost: None,
            missing: Vec::new(),
        };
        let text = text(&view);
        for what in ["customer", "request", "message", "log", "response"] {
            assert!(text.contains(&format!("{what}\\u{{1b}}]0;x\\u{{7}}\\u{{9b}}2J")), "{what}\n{text}");
        }
        assert!(
            !text.contains(|letter: char| letter.is_control() && !"\n\t".contains(letter)),
            "{text:?}"
        );
        assert_eq!(text.lines().filter(|line| line.starts_with("status")).count(), 1, "{text}");
    }
}
