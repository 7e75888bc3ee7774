//! What an activation did and has not written yet.

use crate::entry::{Entry, Started, StepRecord, StepsDone};
use crate::id::ExecutionId;
use crate::model::Sealed;

/// Gathers results until they are to be made durable.
#[derive(Debug, Default)]
pub struct Draft {
    started: Option<Started>,
    steps: Vec<StepRecord>,
    branches: Vec<(String, String)>,
}

/// Log lines that go with a draft: sealed, and counted by level.
#[derive(Debug, Default)]
pub struct DraftLogs {
    /// The lines; absent if there are none.
    pub lines: Option<Sealed>,
    /// (level, count).
    pub counts: Vec<(String, u32)>,
}

impl Draft {
    /// The activation began.
    pub fn started(&mut self, started: Started) {
        self.started = Some(started);
    }

    /// A step finished, choosing a branch if it branches.
    pub fn step(&mut self, record: StepRecord, branch: Option<String>) {
        self.branches.extend(branch.map(|branch| (record.path.clone(), branch)));
        self.steps.push(record);
    }

    /// Everything gathered, in the order in which it has to be durable; log lines go with the first results where they fit, and
    /// branches with them. An entry holds at most `entry_bytes` of both, or one larger result, or larger log lines, alone.
    pub fn take(&mut self, execution: ExecutionId, mut logs: DraftLogs, entry_bytes: usize) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.started.take().map(Entry::Started).into_iter().collect();
        let mut steps = std::mem::take(&mut self.steps).into_iter().peekable();
        while steps.peek().is_some() || logs.lines.is_some() || !self.branches.is_empty() {
            let mut chunk = Vec::new();
            let mut bytes = logs.lines.as_ref().map_or(0, |lines| lines.0.len());
            while let Some(step) = steps.next_if(|step| bytes == 0 || bytes + bytes_of(step) <= entry_bytes) {
                bytes += bytes_of(&step);
                chunk.push(step);
            }
            let branches = match chunk.is_empty() && steps.peek().is_some() {
                true => Vec::new(),
                false => std::mem::take(&mut self.branches),
            };
            entries.push(Entry::StepsDone(StepsDone {
                execution,
                attempt: 1,
                steps: chunk,
                branches,
                logs: logs.lines.take(),
                log_counts: std::mem::take(&mut logs.counts),
            }));
        }
        entries
    }
}

/// What a range to be masked takes in an entry, at most.
const MASK: usize = 10;

/// What a step's result takes in an entry.
#[must_use]
pub fn bytes_of(step: &StepRecord) -> usize {
    step.output.0.len() + MASK * step.masks.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::StepStatus;
    use crate::time::Timestamp;
    use uuid::Uuid;

    fn record(name: &str, bytes: usize) -> StepRecord {
        StepRecord {
            path: name.to_owned(),
            name: name.to_owned(),
            status: StepStatus::Ok,
            started_at: Timestamp(1),
            ended_at: Timestamp(2),
            output: Sealed(vec![0; bytes]),
            masks: Vec::new(),
            credentials: Vec::new(),
            tries: 1,
        }
    }

    #[test]
    fn log_lines_go_with_the_first_results_where_they_fit_and_branches_always_do() {
        for (logs, expected) in [
            (10, vec![(vec!["a", "b"], 1, true), (vec!["c"], 0, false)]),
            (50, vec![(vec!["a"], 1, true), (vec!["b"], 0, false), (vec!["c"], 0, false)]),
            (90, vec![(vec![], 0, true), (vec!["a", "b"], 1, false), (vec!["c"], 0, false)]),
        ] {
            let mut draft = Draft::default();
            draft.step(record("a", 40), Some("Yes".into()));
            draft.step(record("b", 40), None);
            draft.step(record("c", 200), None);
            let logs = DraftLogs {
                lines: Some(Sealed(vec![0; logs])),
                counts: vec![("info".into(), 1)],
            };
            let taken = draft.take(ExecutionId(Uuid::nil()), logs, 100);
            let seen: Vec<(Vec<&str>, usize, bool)> = taken
                .iter()
                .map(|entry| match entry {
                    Entry::StepsDone(done) => {
                        let names = done.steps.iter().map(|step| step.name.as_str()).collect();
                        (names, done.branches.len(), done.logs.is_some())
                    }
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn what_is_to_be_masked_counts_as_well() {
        let mut draft = Draft::default();
        for name in ["a", "b"] {
            draft.step(
                StepRecord {
                    masks: vec![(0, 1); 5],
                    ..record(name, 10)
                },
                None,
            );
        }
        assert_eq!(draft.take(ExecutionId(Uuid::nil()), DraftLogs::default(), 100).len(), 2);
    }
}
