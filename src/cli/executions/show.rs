//! One execution as text.

use super::{error, name, time, word};
use perseat_store::executions::{BodyView, ExecutionView, Part, StepView, TriggerView};
use std::fmt::Write as _;

/// The execution for a person: who, what came in, each step, what went wrong, what was logged.
pub(super) fn text(view: &ExecutionView) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, view);
    out
}

fn write(out: &mut String, view: &ExecutionView) -> std::fmt::Result {
    let summary = &view.summary;
    let mut line = |name: &str, value: String| {
        if value.is_empty() {
            Ok(())
        } else {
            writeln!(out, "{name:<10} {value}")
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
                response.content_type,
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
                    writeln!(out, "  {} {:<5} {}: {}", time(line.at), line.level, line.step, line.message)?;
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
    writeln!(out, "\ntrigger\n  {} {}{query}", trigger.method, trigger.url)?;
    for (name, value) in &trigger.headers {
        writeln!(out, "  {name}: {value}")?;
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
    writeln!(out, "  {} {}: {status}, {took} ms{tries}{branch}", step.path, step.name)?;
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
