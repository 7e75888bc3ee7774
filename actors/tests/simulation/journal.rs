//! The journal's twin, with the index behind it: appends that wait for a sync, entries that are durable, positions that
//! expire once their entries were carried.

use bytes::Bytes;
use perseat_actors::admission::Admitted;
use perseat_domain::id::ExecutionId;
use perseat_domain::owner::Turn;
use perseat_store::index::{Backlog, Core, EntryRef, ExecutionRow, IndexError, Limits, Logged, Stored};
use std::collections::{BTreeMap, VecDeque};

/// Who is told that an append is durable.
#[derive(Debug)]
pub(crate) enum Ticket {
    /// A client gets its receipt.
    Receipt(ExecutionId, Admitted),
    /// An activation goes on.
    Flushed(u64, Turn),
    /// An activation is over, and its execution waits for a credential.
    Parked(u64, Turn),
    /// An activation is over.
    Ended(u64),
    /// Nobody waits.
    Nobody,
}

#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) payloads: Vec<Bytes>,
    pub(crate) ticket: Ticket,
}

/// What one sync made durable.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<(u64, Bytes)>,
    pub(crate) tickets: Vec<Ticket>,
}

#[derive(Debug, Default)]
struct Rows(BTreeMap<ExecutionId, ExecutionRow>);

impl Stored for Rows {
    fn stored(&self, execution: ExecutionId) -> Result<Option<ExecutionRow>, IndexError> {
        Ok(self.0.get(&execution).cloned())
    }
}

#[derive(Debug)]
pub(crate) struct Journal {
    /// By position; none where it expired.
    durable: Vec<Option<Bytes>>,
    pending: VecDeque<Append>,
    /// The indexes as of their last commit, and what they have seen since.
    rows: Rows,
    watermark: Option<u64>,
    core: Core,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            durable: Vec::new(),
            pending: VecDeque::new(),
            rows: Rows::default(),
            watermark: None,
            core: core(None, &Rows::default()),
        }
    }

    pub(crate) fn append(&mut self, payloads: Vec<Bytes>, ticket: Ticket) {
        self.pending.push_back(Append { payloads, ticket });
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(crate) fn len(&self) -> u64 {
        self.durable.len() as u64
    }

    /// Makes the oldest `appends` durable, in one frame; it ends early where it passes `stop`.
    pub(crate) fn sync(&mut self, appends: usize, stop: u64) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..appends {
            let Some(append) = self.pending.pop_front() else { break };
            let before = self.len();
            for payload in append.payloads {
                let position = self.len();
                let logged = Logged {
                    position,
                    segment: 1,
                    partition: 0,
                    payload: payload.clone(),
                };
                self.core.apply(&logged, &self.rows).unwrap();
                self.durable.push(Some(payload.clone()));
                batch.entries.push((position, payload));
            }
            batch.tickets.push(append.ticket);
            if before <= stop && stop < self.len() {
                break;
            }
        }
        batch
    }

    /// The payload at a position, if it has not expired.
    pub(crate) fn read(&self, position: u64) -> Option<&Bytes> {
        self.durable.get(position as usize)?.as_ref()
    }

    pub(crate) fn expire(&mut self, position: u64) {
        self.durable[position as usize] = None;
    }

    /// The indexes commit what they have seen.
    pub(crate) fn commit_index(&mut self) {
        if let Some((batch, _)) = self.core.net() {
            self.watermark = Some(batch.watermark);
            self.rows.0.extend(batch.put);
            for ended in batch.remove {
                self.rows.0.remove(&ended);
            }
            self.core.committed();
        }
    }

    /// The process is gone, with whatever was not durable.
    pub(crate) fn crash(&mut self) {
        self.pending.clear();
        self.core = core(self.watermark, &self.rows);
    }

    /// As after a restart: the index catches up with the journal and says what is live, in the order of acceptance.
    pub(crate) fn recover(&mut self) -> Vec<(ExecutionId, ExecutionRow)> {
        let first = self.watermark.map_or(0, |watermark| watermark + 1);
        for position in first..self.len() {
            let Some(payload) = self.durable[position as usize].clone() else {
                continue;
            };
            let logged = Logged {
                position,
                segment: 1,
                partition: 0,
                payload,
            };
            self.core.apply(&logged, &self.rows).unwrap();
        }
        self.commit_index();
        let mut live: Vec<_> = self.rows.0.iter().map(|(id, row)| (*id, row.clone())).collect();
        live.sort_by_key(|(_, row)| row.accepted);
        live
    }

    /// Where an execution's entries stand, as the collector sees it.
    pub(crate) fn row(&mut self, which: usize) -> Option<(ExecutionId, Vec<EntryRef>)> {
        self.commit_index();
        let count = self.rows.0.len();
        let (id, row) = self.rows.0.iter().nth(which % count.max(1))?;
        Some((*id, row.entries.clone()))
    }
}

fn core(watermark: Option<u64>, rows: &Rows) -> Core {
    let backlog = Backlog {
        executions: rows.0.len() as u64,
        bytes: rows.0.values().map(|row| row.bytes).sum(),
    };
    Core::new(watermark, backlog, Limits::default())
}
