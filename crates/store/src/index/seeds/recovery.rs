//! Whatever fails below them, state and history come to say what the journal says.

use crate::error::StoreError;
use crate::fault_backend::{FaultFolder, open_at_last};
use crate::fault_workload::{Workload, campaign};
use crate::history::{History, HistoryOptions};
use crate::index::samples::{accepted, cancelled, ended, execution, identity, logged, started, steps};
use crate::index::{ExecutionIndex, ExecutionRow, Feed, FeedOptions, Filter, IndexError, Limits, LiveExecution, Logged, Rebuild};
use crate::pressure::{IndexLag, StoragePressure};
use crate::state::{StateOptions, StateStore};
use perseat_domain::entry::{EndStatus, Entry};
use perseat_domain::id::ExecutionId;
use perseat_journal::disk::{Campaign, MemoryDisk, Random};
use std::rc::Rc;
use std::sync::Arc;

const INDEX: Campaign = Campaign {
    package: "perseat-store",
    test: "index::seeds::recovery::the_index_comes_to_say_what_the_journal_says_whichever_call_fails",
};

const ENTRIES: usize = 90;
const ENTRIES_PER_SEGMENT: u64 = 16;

/// A journal: executions that start, do steps, are cancelled and end, in any mixture.
fn journal(random: &mut Random) -> Vec<Logged> {
    let mut open: Vec<(ExecutionId, u64)> = Vec::new();
    let mut log: Vec<Logged> = Vec::new();
    let mut next = 0;
    while log.len() < ENTRIES {
        let entry: Entry = if open.is_empty() || random.below(3) == 0 {
            next += 1;
            let id = execution(1_000 + next, next);
            open.push((id, 0));
            accepted(id, identity(next.into()), 1_000 + next)
        } else {
            let at = random.below(open.len() as u64) as usize;
            let (id, age) = &mut open[at];
            let (id, stage) = (*id, *age);
            *age += 1;
            match stage {
                0 => started(id, 1, 1),
                1 => steps(id, 1, random.below(3) as usize + 1),
                2 if random.below(3) == 0 => cancelled(id),
                _ => {
                    open.remove(at);
                    ended(id, EndStatus::Succeeded)
                }
            }
        };
        let position = log.len() as u64 + 1;
        log.push(logged(position, (position / ENTRIES_PER_SEGMENT) as u32, &entry));
    }
    log
}

/// Everything that readers can see.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    listed: Vec<(ExecutionId, ExecutionRow)>,
    live: Vec<LiveExecution>,
    of_one_user: Vec<ExecutionId>,
    executions: u64,
    bytes: u64,
}

impl Seen {
    fn of(index: &ExecutionIndex) -> Result<Self, IndexError> {
        let of_user = Filter {
            user_config: identity(3).user.map(|user| user.config),
            ..Filter::default()
        };
        let of_one_user = index.list(&of_user, None, 1_000)?.rows.into_iter().map(|(id, _)| id).collect();
        let backlog = index.backlog();
        Ok(Self {
            listed: index.list(&Filter::default(), None, 1_000)?.rows,
            live: index.live()?,
            of_one_user,
            executions: backlog.executions,
            bytes: backlog.bytes,
        })
    }
}

fn feed() -> Arc<Feed> {
    Arc::new(Feed::new(
        FeedOptions::default(),
        Arc::new(IndexLag::default()),
        Arc::new(StoragePressure::default()),
    ))
}

/// Opens both, makes missing history again and applies what comes after the watermark: what the daemon does on its start.
fn recover(disk: &MemoryDisk, log: &[Logged]) -> Result<ExecutionIndex, IndexError> {
    let state = Arc::new(StateStore::open_in(
        FaultFolder::of(disk),
        "state.redb",
        &StateOptions {
            cache_bytes: 1 << 20,
            ..StateOptions::default()
        },
    )?);
    let options = HistoryOptions {
        cache_bytes: 2 << 20,
        max_open: 2,
        ..HistoryOptions::default()
    };
    let of_history = |source: std::io::Error| IndexError::Store {
        file: "history".into(),
        source: StoreError::Io(source),
    };
    let history = Arc::new(History::open_in(FaultFolder::beside(disk, "state.redb"), options).map_err(of_history)?);
    if let Some(watermark) = state.watermark()? {
        let before = || log.iter().filter(|logged| logged.position <= watermark);
        let missing = history.missing(before().map(|logged| logged.segment));
        let mut rebuild = Rebuild::new(&history, missing, Limits::default());
        before().try_for_each(|logged| rebuild.apply(logged))?;
        rebuild.finish()?;
    }
    let head = log.last().map_or(0, |logged| logged.position + 1);
    let index = ExecutionIndex::open(state, history, feed(), head, Limits::default())?;
    let from = index.applied();
    index.apply(log.iter().filter(|logged| Some(logged.position) >= from))?;
    index.flush()?;
    Ok(index)
}

struct Rig {
    disk: MemoryDisk,
    log: Vec<Logged>,
    index: Option<ExecutionIndex>,
    /// How much of the journal is durable, and how much of it the index was given.
    written: usize,
    given: usize,
    commits: u64,
    /// What a disk without faults comes to show.
    expected: Rc<Seen>,
}

impl Workload for Rig {
    const WARM_UP: u64 = 6;
    const ACKNOWLEDGED: u64 = 1;

    fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    fn close(&mut self) {
        self.index = None;
    }

    fn step(&mut self, random: &mut Random) -> Result<(), String> {
        let index = match self.index.take() {
            Some(index) => index,
            None => {
                let index = open_at_last(&self.disk, || recover(&self.disk, &self.log[..self.written]))?;
                self.given = self.written;
                index
            }
        };
        if random.below(3) == 0 {
            // A commit that fails is tried again, with what has come since; readers see it all.
            self.commits += u64::from(index.flush().is_ok());
        } else {
            self.written = self.log.len().min(self.written + 1 + random.below(12) as usize);
            if index.apply(&self.log[self.given..self.written]).is_err() {
                return Ok(());
            }
            self.given = self.written;
        }
        self.index = Some(index);
        Ok(())
    }

    fn end(&mut self, _: &mut Random) -> Result<(), String> {
        let index = recover(&self.disk, &self.log).map_err(|error| format!("in the end it does not recover: {error:?}"))?;
        let seen = Seen::of(&index).map_err(|error| format!("in the end it cannot be read: {error:?}"))?;
        if seen == *self.expected {
            Ok(())
        } else {
            Err(format!("the index says\n{seen:?}\nand the journal\n{:?}", self.expected))
        }
    }

    fn acknowledged(&self) -> u64 {
        self.commits
    }
}

#[test]
fn the_index_comes_to_say_what_the_journal_says_whichever_call_fails() {
    // All runs of a seed have one journal: what it comes to is made once.
    let mut known: Option<(u64, Rc<Seen>)> = None;
    campaign(&INDEX, |seed, random| {
        let log = journal(random);
        let expected = match &known {
            Some((of, expected)) if *of == seed => expected.clone(),
            _ => Rc::new(Seen::of(&recover(&MemoryDisk::new(0), &log).unwrap()).unwrap()),
        };
        known = Some((seed, expected.clone()));
        Rig {
            disk: MemoryDisk::new(seed),
            log,
            index: None,
            written: 0,
            given: 0,
            commits: 0,
            expected,
        }
    });
}
