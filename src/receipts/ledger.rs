//! What a journal says of each execution, read from outside, in as many readings as one likes.
//!
//! A journal drops its oldest segments, so the ledger is brought up to date after each kill, while no daemon runs.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use perseat_domain::entry::{Carried, EndStatus, Entry, StepStatus};
use perseat_domain::id::ExecutionId;
use perseat_journal::{Position, inspect};

/// What the journal says of one execution. Positions are ordered as the entries are.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// How often it was accepted.
    pub accepted: u64,
    /// Where each activation began.
    pub started: Vec<Position>,
    /// Where each step's result stands, by the step's path.
    pub done: BTreeMap<String, Vec<Position>>,
    /// Steps that did not succeed.
    pub failed: Vec<String>,
    /// Where its end was asked for.
    pub cancelled: Vec<Position>,
    /// Where and how it ended.
    pub ended: Vec<(Position, EndStatus)>,
    /// How often it was carried, and whether each time as it was.
    pub carried: u64,
    /// Digests of its entries in order, to hold what is carried against.
    pub entries: Vec<u64>,
}

impl Story {
    /// How it ended; none while it lives.
    #[must_use]
    pub fn end(&self) -> Option<EndStatus> {
        self.ended.first().map(|(_, status)| *status)
    }

    /// Whether it is accepted and has not begun.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.started.is_empty() && self.ended.is_empty()
    }

    /// Whether it has begun and not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.started.is_empty() && self.ended.is_empty()
    }

    /// What is wrong with it by itself: it has to be accepted once, each of its steps recorded once, and ended once.
    fn contradiction(&self) -> Option<String> {
        let repeated: Vec<&String> = self.done.iter().filter(|(_, at)| at.len() > 1).map(|(path, _)| path).collect();
        match self {
            _ if self.accepted != 1 => Some(format!("was accepted {} times", self.accepted)),
            _ if !repeated.is_empty() => Some(format!("has more than one result of the steps {repeated:?}")),
            _ if self.ended.is_empty() => Some("never ended".to_owned()),
            _ if self.ended.len() > 1 => Some(format!("ended {} times", self.ended.len())),
            _ => None,
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    stories: HashMap<ExecutionId, Story>,
    last: Option<Position>,
    entries: u64,
    problems: Vec<String>,
}

impl Ledger {
    /// Reads what came since the last reading.
    ///
    /// # Errors
    /// The directory or one of its segments cannot be read, or the journal has dropped what was not read.
    pub fn read(&mut self, journal: &Path) -> anyhow::Result<()> {
        let segments = inspect::segments(journal).with_context(|| format!("the journal in {}", journal.display()))?;
        let segments = segments.into_iter().collect::<Result<Vec<_>, _>>()?;
        if let Some(last) = self.last {
            let holds_last = segments.iter().any(|segment| segment.info().number == last.segment());
            anyhow::ensure!(holds_last, "the journal went on by more than it holds between two readings");
        }
        for segment in &segments {
            if segment.info().damaged {
                self.problems.push(format!("segment {} has lost entries", segment.info().number));
            }
            for committed in inspect::entries(segment) {
                let committed = committed?;
                if self.last.is_none_or(|last| last < committed.position) {
                    self.take(committed.position, &committed.payload)?;
                }
            }
        }
        Ok(())
    }

    /// Takes up one entry.
    ///
    /// # Errors
    /// It does not decode.
    pub fn take(&mut self, at: Position, payload: &Bytes) -> anyhow::Result<()> {
        let entry = Entry::decode(payload).with_context(|| format!("the entry at {at}"))?;
        self.last = Some(at);
        self.entries += 1;
        let execution = entry.execution();
        let story = self.stories.entry(execution).or_default();
        if let Entry::Carried(carried) = entry {
            story.carried += 1;
            if !is_repeated_by(&carried, &story.entries) {
                self.problems
                    .push(format!("{execution} was carried at {at} as something else than it was"));
            }
            return Ok(());
        }
        story.entries.push(digest(payload));
        match entry {
            Entry::Accepted(_) => story.accepted += 1,
            Entry::Started(_) => story.started.push(at),
            Entry::StepsDone(done) => {
                for step in done.steps {
                    if step.status != StepStatus::Ok {
                        story.failed.push(step.path.clone());
                    }
                    story.done.entry(step.path).or_default().push(at);
                }
            }
            Entry::Cancelled(_) => story.cancelled.push(at),
            Entry::Ended(ended) => story.ended.push((at, ended.status)),
            Entry::Parked(_) | Entry::Called(_) | Entry::Carried(_) => {}
        }
        Ok(())
    }

    /// Every execution that the journal ever spoke of.
    #[must_use]
    pub fn stories(&self) -> &HashMap<ExecutionId, Story> {
        &self.stories
    }

    /// How many entries were read.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether an execution is known.
    #[must_use]
    pub fn knows(&self, execution: ExecutionId) -> bool {
        self.stories.contains_key(&execution)
    }

    /// Everything that does not hold: each receipt must be in the journal, and each execution, acknowledged or not, must
    /// be accepted once, have each of its steps once, and have ended once.
    #[must_use]
    pub fn reconcile<'a>(&self, receipts: impl IntoIterator<Item = &'a ExecutionId>) -> Vec<String> {
        let lost = receipts.into_iter().filter(|receipt| !self.knows(**receipt));
        let lost = lost.map(|receipt| format!("{receipt} was acknowledged and is lost"));
        let stories = self.stories.iter();
        let contradictions = stories.filter_map(|(id, story)| Some(format!("{id} {}: {story:?}", story.contradiction()?)));
        self.problems.iter().cloned().chain(lost).chain(contradictions).collect()
    }
}

fn is_repeated_by(carried: &Carried, entries: &[u64]) -> bool {
    let first = carried.first as usize;
    let repeated = entries.get(first..first + carried.entries.len());
    repeated.is_some_and(|repeated| carried.entries.iter().map(digest).eq(repeated.iter().copied()))
}

fn digest(payload: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::entry::{Accepted, Ended, Origin, Started};
    use perseat_domain::model::Sealed;
    use perseat_domain::time::Timestamp;
    use uuid::Uuid;

    const ID: ExecutionId = ExecutionId(Uuid::from_u128(1));

    fn accepted() -> Entry {
        Entry::from(Accepted {
            execution: ID,
            identity: None,
            origin: Origin::Webhook,
            received_at: Timestamp(1),
            dedupe_id: None,
            unique_request_id: None,
            catalog_revision: 1,
            sync_deadline: None,
            refusal: None,
            request: Sealed(vec![1, 2, 3]),
        })
    }

    fn started() -> Entry {
        Entry::from(Started {
            execution: ID,
            attempt: 1,
            activation: 1,
            deaths: 0,
            definition_version: 1,
            instance_revision: 1,
            user_revision: 1,
            at: Timestamp(2),
        })
    }

    fn ended() -> Entry {
        Entry::from(Ended {
            execution: ID,
            attempt: 1,
            status: EndStatus::Succeeded,
            code: None,
            failed_step: None,
            message: None,
            response: None,
            cost: (0, 0),
            at: Timestamp(3),
        })
    }

    fn carried(first: u32, entries: &[Entry]) -> Entry {
        Entry::from(Carried {
            execution: ID,
            first,
            entries: entries.iter().map(|entry| entry.encode().into()).collect(),
        })
    }

    /// How much is wrong with a journal of these entries and one receipt.
    fn wrong(entries: &[Entry]) -> usize {
        let mut ledger = Ledger::default();
        for (entry, offset) in entries.iter().zip(1..) {
            ledger.take(Position::from_bits(offset), &entry.encode().into()).unwrap();
        }
        ledger.reconcile(&[ID]).len()
    }

    #[test]
    fn an_execution_that_was_accepted_and_ended_once_is_right_also_when_it_was_carried() {
        assert_eq!(wrong(&[accepted(), started(), ended()]), 0);
        let carried = carried(0, &[accepted(), started()]);
        assert_eq!(wrong(&[accepted(), started(), carried.clone(), carried, ended()]), 0);
    }

    #[test]
    fn every_way_to_be_wrong_is_found() {
        assert_eq!(wrong(&[]), 1, "it is lost");
        assert_eq!(wrong(&[accepted(), started()]), 1, "it never ended");
        assert_eq!(wrong(&[accepted(), ended(), ended()]), 1, "it ended twice");
        assert_eq!(wrong(&[accepted(), accepted(), ended()]), 1, "it was accepted twice");
        assert_eq!(
            wrong(&[accepted(), carried(0, &[started()]), ended()]),
            1,
            "it was carried as something else"
        );
        assert_eq!(
            wrong(&[accepted(), carried(1, &[accepted()]), ended()]),
            1,
            "it was carried in another place"
        );
    }
}
