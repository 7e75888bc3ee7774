//! Log lines: those of a customer's executions, the newest execution first.

use super::choice::{Choice, Form};
use super::executions::{Namer, Subject};
use super::route::View;
use super::trouble::Trouble;
use super::{Asked, Console};
use crate::boot::http::Answer;
use crate::control::{Budget, iso};
use http::StatusCode;
use perseat_admin::query::unknown_cursor;
use perseat_domain::entry::LogLine;
use perseat_domain::id::ExecutionId;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

#[derive(Debug, Serialize)]
struct Line {
    at: String,
    level: String,
    message: String,
    step: String,
    subject: Subject,
    /// Its execution.
    href: String,
}

#[derive(Debug, Serialize)]
struct List {
    tab: &'static str,
    form: Form,
    lines: Vec<Line>,
    more: Option<String>,
}

/// Where the next page begins: the lines of an execution below this one, then those of executions before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    execution: ExecutionId,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.execution, self.line)
    }
}

impl FromStr for Place {
    type Err = Trouble;

    fn from_str(text: &str) -> Result<Self, Trouble> {
        let parts = text.split_once('.');
        let place = parts.and_then(|(execution, line)| {
            Some(Self {
                execution: execution.parse().ok()?,
                line: line.parse().ok()?,
            })
        });
        place.ok_or_else(|| unknown_cursor().into())
    }
}

/// A page while it is filled.
struct Page<'p> {
    choice: &'p Choice,
    most: usize,
    lines: Vec<Line>,
    next: Option<Place>,
}

impl Console {
    pub(super) fn logs(&self, asked: Asked<'_>) -> Result<Answer, Trouble> {
        let list = self.look(asked, |reader| {
            let choice = Choice::read(asked, reader.customer_of_executions()?)?;
            let request = self.page(asked);
            let after = request.after.as_deref().map(Place::from_str).transpose()?;
            let mut page = Page {
                choice: &choice,
                most: self.desk.options().read.page_of(&request),
                lines: Vec::new(),
                next: None,
            };
            self.fill(asked, &mut Namer::new(reader), &mut page, after)?;
            Ok(List {
                tab: "logs",
                more: page.next.map(|next| choice.link(View::Logs, &next.to_string())),
                lines: page.lines,
                form: self.choices(reader, View::Logs, &choice)?,
            })
        })?;
        Ok(self.pages.fragment(StatusCode::OK, "logs.html", &list))
    }

    fn fill(&self, asked: Asked<'_>, namer: &mut Namer<'_>, page: &mut Page<'_>, after: Option<Place>) -> Result<(), Trouble> {
        match (after, page.choice.execution) {
            (Some(place), _) if place.line > 0 => self.take_in(asked, namer, page, place.execution, place.line)?,
            (None, Some(only)) => self.take_in(asked, namer, page, only, usize::MAX)?,
            _ => {}
        }
        let mut before = after.map(|place| place.execution);
        let mut looked_at = 0;
        while page.next.is_none() && page.choice.execution.is_none() {
            let listed = self.desk.executions().list(&page.choice.filter, before, page.most)?;
            asked.spend(listed.executions.len())?;
            // A page of executions may be empty, and yet not the last.
            looked_at += listed.executions.len().max(1);
            for summary in &listed.executions {
                if page.choice.may_want(summary) {
                    self.take_in(asked, namer, page, summary.id, usize::MAX)?;
                }
                let end = Place {
                    execution: summary.id,
                    line: 0,
                };
                let is_enough = page.lines.len() == page.most || asked.budget.is_some_and(Budget::has_read_much);
                page.next = page.next.or(is_enough.then_some(end));
                if page.next.is_some() {
                    return Ok(());
                }
            }
            before = listed.next;
            if before.is_none() || looked_at >= self.options.looked_at {
                page.next = before.map(|execution| Place { execution, line: 0 });
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes in the lines of an execution below one of them, the last first, until the page is full.
    fn take_in(
        &self,
        asked: Asked<'_>,
        namer: &mut Namer<'_>,
        page: &mut Page<'_>,
        execution: ExecutionId,
        below: usize,
    ) -> Result<(), Trouble> {
        asked.spend(1)?;
        let own = Budget::of(&self.desk);
        let Some(log) = self.desk.executions().log(execution, asked.budget.unwrap_or(&own))? else {
            return Ok(());
        };
        asked.spend(usize::try_from(log.summary.steps_finished).unwrap_or(usize::MAX))?;
        let Some(said) = namer.reader.execution_log(log)? else {
            return Ok(());
        };
        let mut lines = said.lines();
        // Its end says what went wrong, too.
        if said.summary().code.is_some()
            && let Some(outline) = self.outline(asked, execution)?
            && let Some(view) = namer.reader.execution(outline)?
            && let (Some(error), Some(last)) = (view.error(), lines.last_mut())
        {
            last.message = format!("{}: {error}", last.message);
        }
        asked.spend(lines.len())?;
        let wanted = lines.into_iter().enumerate().take(below);
        let wanted: Vec<(usize, LogLine)> = wanted.filter(|(_, line)| page.choice.wants(line)).collect();
        for (place, line) in wanted.into_iter().rev() {
            if page.lines.len() == page.most {
                page.next = Some(Place {
                    execution,
                    line: place + 1,
                });
                break;
            }
            page.lines.push(Line {
                at: iso(line.at),
                level: line.level,
                message: line.message,
                step: line.step,
                subject: namer.subject(said.summary())?,
                href: View::Execution(execution).path(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = Place {
            execution: ExecutionId(uuid::Uuid::from_u128(7)),
            line: 3,
        };
        assert_eq!(place.to_string().parse::<Place>().ok(), Some(place));
        for nonsense in ["", "x.1", "3", "00000000-0000-0000-0000-000000000007.x"] {
            assert!(nonsense.parse::<Place>().is_err(), "{nonsense}");
        }
    }
}
