//! Reads executions for support staff: the index says where their entries stand, the keyring opens them.
//!
//! This is an exit: recorded secrets are blanked here and nowhere earlier, because resuming needs outputs whole. What
//! cannot be read any more is named with its reason instead of failing the whole: a destroyed key, a dropped segment.

mod composer;
mod counts;
mod mask;
mod opener;
mod secrets;
#[cfg(test)]
mod tests;
mod usage;
mod uses;
mod view;

pub use counts::Counts;
pub use usage::{Dimension, NoDimension, UsageError, UsageQuery, UsageReport, UsageRow};
pub use uses::Uses;
pub use view::{
    BodyView, ExecutionList, ExecutionLog, ExecutionOutline, ExecutionSummary, ExecutionView, Named, Part, ResponseView, StepOutline,
    StepView, TriggerView, Unreadable,
};

use crate::catalog::{Allowance, Spent};
use crate::error::StoreError;
use crate::index::{EntryRef, ExecutionIndex, ExecutionRow, Filter, IndexError, unpack};
use crate::keyring::{Keyring, Owner};
use crate::seal::{DataKey, RecordKind};
use bytes::Bytes;
use composer::{Composer, Shown};
use opener::{Opener, decoded, part};
use perseat_domain::entry::{Ended, Entry, LogLine, StepRecord, StepsDone};
use perseat_domain::id::{CustomerId, ExecutionId, InstanceId, RegistrationId, UserId};
use perseat_domain::identity::Identity;
use std::fmt;
use std::sync::Arc;

/// Where payloads are read from: the journal.
pub trait EntrySource: Send + Sync {
    /// The payload at a position. May block.
    ///
    /// # Errors
    /// If it expired or is damaged.
    fn payload(&self, position: u64) -> Result<Bytes, Unreadable>;
}

/// The names of what executions refer to by id, as they are today.
pub trait Names: Send + Sync {
    /// A customer's name.
    fn customer(&self, id: CustomerId) -> Option<String>;
    /// An instance's name.
    fn instance(&self, id: InstanceId) -> Option<String>;
    /// The name of the identity's flow in this version of the integration (0: the deployed one).
    fn flow(&self, identity: &Identity, version: u32) -> Option<String>;
    /// A user's name.
    fn user(&self, id: UserId) -> Option<String>;
    /// The name of an app registration of an instance.
    fn registration(&self, instance: InstanceId, id: RegistrationId) -> Option<String>;
}

/// Limits of what is shown.
#[derive(Clone, Copy, Debug)]
pub struct ViewLimits {
    /// How many bytes of a body or a result are shown.
    pub body_bytes: usize,
    /// How many executions a page lists at most.
    pub page: usize,
    /// How many rows a usage report has at most.
    pub usage_rows: usize,
    /// How many bytes of the log of one execution are read.
    pub log_bytes: usize,
}

impl Default for ViewLimits {
    fn default() -> Self {
        Self {
            body_bytes: 64 << 10,
            page: 1_000,
            usage_rows: 50_000,
            log_bytes: 16 << 20,
        }
    }
}

/// How many results are shown of one execution where each is as long as is shown; no key, as it follows `body_bytes`.
const RESULTS: usize = 16;

/// Why there is no outline, or no log.
#[derive(Debug, thiserror::Error)]
pub enum OutlineError {
    /// The index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Nothing more may be read.
    #[error(transparent)]
    Spent(#[from] Spent),
}

/// Where the entries of an execution are, and what opens them.
struct Entries {
    references: Vec<EntryRef>,
    opener: Opener,
}

/// What a step gave, which is not opened yet.
pub struct StoredResult {
    opener: Opener,
    step: StepRecord,
}

impl StoredResult {
    /// How long it is; 0 where it does not open.
    #[must_use]
    pub fn length(&self) -> usize {
        self.opener.output_length(&self.step)
    }

    /// JSON with secrets blanked, as text.
    #[must_use]
    pub fn open(self) -> Part<Vec<u8>> {
        let opened = self.opener.output(&self.step);
        let masks = self.step.masks;
        drop(self.step.output);
        part(opened.map(|plain| mask::blanked(&plain, &masks)))
    }
}

impl fmt::Debug for StoredResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredResult")
            .field("step", &self.step.path)
            .finish_non_exhaustive()
    }
}

/// Lists and shows executions.
#[derive(Clone)]
pub struct ExecutionReader {
    index: Arc<ExecutionIndex>,
    entries: Arc<dyn EntrySource>,
    keyring: Arc<Keyring>,
    names: Arc<dyn Names>,
    limits: ViewLimits,
}

impl fmt::Debug for ExecutionReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutionReader")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl ExecutionReader {
    /// Joins what is needed to read.
    #[must_use]
    pub fn new(
        index: Arc<ExecutionIndex>,
        entries: Arc<dyn EntrySource>,
        keyring: Arc<Keyring>,
        names: Arc<dyn Names>,
        limits: ViewLimits,
    ) -> Self {
        Self {
            index,
            entries,
            keyring,
            names,
            limits,
        }
    }

    /// The newest matching executions below `before`. Blocks on the disk.
    ///
    /// # Errors
    /// If an index cannot be read.
    pub fn list(&self, filter: &Filter, before: Option<ExecutionId>, limit: usize) -> Result<ExecutionList, IndexError> {
        let page = self.index.list(filter, before, limit.min(self.limits.page))?;
        let executions = page.rows.into_iter().map(|(execution, row)| self.summary(execution, row)).collect();
        Ok(ExecutionList {
            executions,
            next: page.next,
        })
    }

    /// One execution as lists have it: none of its entries is read. `None` if there is none of this id. Blocks on the disk.
    ///
    /// # Errors
    /// If an index cannot be read.
    pub fn find(&self, execution: ExecutionId) -> Result<Option<ExecutionSummary>, IndexError> {
        let row = self.index.get(execution)?;
        Ok(row.map(|row| self.summary(execution, row)))
    }

    /// One execution with everything that can be read of it, bodies and results as far as they are shown; `None` if there is none of
    /// this id. Blocks on the disk.
    ///
    /// # Errors
    /// If an index cannot be read.
    pub fn show(&self, execution: ExecutionId) -> Result<Option<ExecutionView>, IndexError> {
        self.view(execution, RESULTS * self.limits.body_bytes)
    }

    /// The request that made an execution; `None` if there is none of this id. Blocks on the disk.
    ///
    /// # Errors
    /// If an index cannot be read.
    pub fn request(&self, execution: ExecutionId) -> Result<Option<(ExecutionSummary, Part<TriggerView>)>, IndexError> {
        let view = self.view(execution, 0)?;
        Ok(view.map(|view| (view.summary, view.trigger)))
    }

    fn view(&self, execution: ExecutionId, results: usize) -> Result<Option<ExecutionView>, IndexError> {
        let Some((summary, entries)) = self.look_up(execution)? else {
            return Ok(None);
        };
        let shown = Shown {
            body: self.limits.body_bytes,
            results,
        };
        let mut view = Composer::new(summary, entries.opener, shown);
        for reference in entries.references {
            match self.payloads(&reference) {
                Ok(payloads) => payloads.iter().for_each(|payload| view.take_in(payload)),
                Err(reason) => view.misses(reference.entries, reason),
            }
        }
        Ok(Some(view.finish()))
    }

    /// What happened in one execution, without its log, what was sent and what steps gave; `None` if there is none of this id. Its message
    /// is taken from the allowance. Blocks on the disk.
    ///
    /// # Errors
    /// If an index cannot be read, or nothing more may be.
    pub fn outline(&self, execution: ExecutionId, allowance: &dyn Allowance) -> Result<Option<ExecutionOutline>, OutlineError> {
        let Some((summary, entries)) = self.look_up(execution)? else {
            return Ok(None);
        };
        let mut opener = entries.opener;
        let mut outline = ExecutionOutline {
            summary,
            steps: Vec::new(),
            message: None,
        };
        let mut ended: Option<Ended> = None;
        for reference in entries.references {
            for entry in self.entries(&reference, allowance)? {
                match entry {
                    Entry::StepsDone(done) => {
                        done.steps.iter().for_each(|step| opener.learn(step));
                        outline.steps.extend(done.steps.into_iter().map(StepOutline::from));
                    }
                    Entry::Ended(end) => ended = Some(end),
                    _ => {}
                }
            }
        }
        if let Some(message) = ended.and_then(|ended| ended.message) {
            let message = opener.message(&message);
            allowance.take_bytes(message.as_ref().map_or(0, String::len))?;
            outline.message = Some(part(message));
        }
        Ok(Some(outline))
    }

    /// The log of one execution, of a long one the beginning; `None` if there is none of this id. What it holds is taken from the
    /// allowance. Blocks on the disk.
    ///
    /// # Errors
    /// As above.
    pub fn log(&self, execution: ExecutionId, allowance: &dyn Allowance) -> Result<Option<ExecutionLog>, OutlineError> {
        let Some((summary, entries)) = self.look_up(execution)? else {
            return Ok(None);
        };
        let mut log = ExecutionLog {
            summary,
            parts: Vec::new(),
            is_cut: false,
        };
        let mut left = self.limits.log_bytes;
        for reference in entries.references {
            for entry in self.entries(&reference, allowance)? {
                let Entry::StepsDone(StepsDone { logs: Some(sealed), .. }) = entry else {
                    continue;
                };
                let opened = entries.opener.open(RecordKind::Logs, &[], &sealed);
                let bytes = opened.as_ref().map_or(0, |plain| plain.len());
                let lines: Result<Vec<LogLine>, _> = opened.and_then(|plain| decoded(&plain));
                log.is_cut = bytes > left;
                allowance.take_bytes(bytes.min(left))?;
                log.parts
                    .push(part(lines.map(|lines| if log.is_cut { up_to(left, lines) } else { lines })));
                if log.is_cut {
                    return Ok(Some(log));
                }
                left -= bytes;
            }
        }
        Ok(Some(log))
    }

    /// What the step at this place, of those that ended, gave, as it is stored. `None` if there is no such step, or if what stands before it
    /// cannot be read: how many steps that was is not known. Blocks on the disk.
    ///
    /// # Errors
    /// If an index cannot be read.
    pub fn result(&self, execution: ExecutionId, place: usize) -> Result<Option<StoredResult>, IndexError> {
        let Some((_, entries)) = self.look_up(execution)? else {
            return Ok(None);
        };
        let (mut left, mut came) = (place, 0);
        for reference in entries.references {
            // The first entry is the acceptance.
            let is_passed_over = came == 0 && reference.entries == 1;
            came += reference.entries;
            let Ok(payloads) = self.payloads(&reference) else {
                if is_passed_over {
                    continue;
                }
                return Ok(None);
            };
            for payload in payloads {
                let mut done = match Entry::decode(&payload) {
                    Ok(Entry::StepsDone(done)) => done,
                    Err(_) if !is_passed_over => return Ok(None),
                    _ => continue,
                };
                if left < done.steps.len() {
                    return Ok(Some(StoredResult {
                        opener: entries.opener,
                        step: done.steps.swap_remove(left),
                    }));
                }
                left -= done.steps.len();
            }
        }
        Ok(None)
    }

    fn look_up(&self, execution: ExecutionId) -> Result<Option<(ExecutionSummary, Entries)>, IndexError> {
        let Some(row) = self.index.get(execution)? else { return Ok(None) };
        let entries = Entries {
            references: row.entries.clone(),
            opener: Opener::new(execution, self.key_of(row.identity.as_ref())),
        };
        Ok(Some((self.summary(execution, row), entries)))
    }

    /// The execution's entries at one position.
    fn payloads(&self, reference: &EntryRef) -> Result<Vec<Bytes>, Unreadable> {
        if *reference == EntryRef::UNKNOWN {
            return Err(Unreadable::Expired);
        }
        let payload = self.entries.payload(reference.position)?;
        unpack(payload, reference.entries).map_err(|_| Unreadable::Damaged)
    }

    /// The same, read; what cannot be read is absent. Whether there is time left is asked first.
    fn entries(&self, reference: &EntryRef, allowance: &dyn Allowance) -> Result<impl Iterator<Item = Entry>, Spent> {
        allowance.take(0)?;
        let payloads = self.payloads(reference).unwrap_or_default();
        Ok(payloads.into_iter().filter_map(|payload| Entry::decode(&payload).ok()))
    }

    fn summary(&self, execution: ExecutionId, row: ExecutionRow) -> ExecutionSummary {
        let named = |id: String, name: Option<String>| Named { id, name };
        let identity = row.identity;
        let status = row.status();
        let outcome = row.outcome;
        ExecutionSummary {
            id: execution,
            status,
            customer: identity.map(|it| named(it.customer.to_string(), self.names.customer(it.customer))),
            instance: identity.map(|it| named(it.instance.to_string(), self.names.instance(it.instance))),
            flow: identity.map(|it| named(it.flow.to_string(), self.names.flow(&it, row.definition_version))),
            user: identity
                .and_then(|it| it.user)
                .map(|it| named(it.user.to_string(), self.names.user(it.user))),
            origin: row.origin,
            accepted_at: row.accepted_at,
            started_at: row.started_at,
            ended_at: outcome.as_ref().map(|outcome| outcome.at),
            code: outcome.as_ref().and_then(|outcome| outcome.code),
            failed_step: outcome.and_then(|outcome| outcome.failed_step),
            attempt: row.attempt,
            activation: row.activation,
            cancel_requested: row.cancel_requested,
            parked_since: row.parked.as_ref().map(|parked| parked.since),
            waits_for: row.parked.map(|parked| parked.connection),
            steps_finished: row.steps_finished,
            log_counts: row.log_counts,
        }
    }

    /// The key that seals this identity's payloads.
    fn key_of(&self, identity: Option<&Identity>) -> Result<Arc<DataKey>, Unreadable> {
        let owner = match identity {
            None => Owner::Organization,
            Some(Identity { user: Some(user), .. }) => Owner::User(user.user),
            Some(Identity { customer, .. }) => Owner::Customer(*customer),
        };
        self.keyring.data_key(owner).map_err(|error| match error {
            StoreError::NoKey { .. } => Unreadable::KeyDestroyed,
            error => {
                tracing::error!(error = &error as &dyn std::error::Error, "a key cannot be read");
                Unreadable::Damaged
            }
        })
    }
}

/// As many of the lines as have room.
fn up_to(bytes: usize, lines: Vec<LogLine>) -> Vec<LogLine> {
    let mut left = bytes;
    let has_room = |line: &LogLine| {
        let taken = line.level.len() + line.step.len() + line.message.len();
        left.checked_sub(taken).map(|less| left = less).is_some()
    };
    lines.into_iter().take_while(has_room).collect()
}
