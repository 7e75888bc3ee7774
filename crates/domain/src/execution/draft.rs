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

    /// Everything gathered, in the order in which it has to be durable; log lines and branches go with the first
    /// results. An entry holds at most `entry_bytes` of results, or one larger result alone.
    pub fn take(&mut self, execution: ExecutionId, mut logs: DraftLogs, entry_bytes: usize) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.started.take().map(Entry::Started).into_iter().collect();
        let mut steps = std::mem::take(&mut self.steps).into_iter().peekable();
        while steps.peek().is_some() || logs.lines.is_some() || !self.branches.is_empty() {
            let mut chunk = Vec::new();
            let mut bytes = 0;
            while let Some(step) = steps.next_if(|step| chunk.is_empty() || bytes + step.output.0.len() <= entry_bytes) {
                bytes += step.output.0.len();
                chunk.push(step);
            }
            entries.push(Entry::StepsDone(StepsDone {
                execution,
                attempt: 1,
                steps: chunk,
                branches: std::mem::take(&mut self.branches),
                logs: logs.lines.take(),
                log_counts: std::mem::take(&mut logs.counts),
            }));
        }
        entries
    }
}
