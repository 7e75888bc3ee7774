//! Reads executions for support staff: the index says where their entries stand, the keyring opens them.
//!
//! This is an exit: recorded secrets are blanked here and nowhere earlier, because resuming needs outputs whole. What
//! cannot be read any more is named with its reason instead of failing the whole: a destroyed key, a dropped segment.

mod counts;
mod mask;
#[cfg(test)]
mod tests;
mod usage;
mod uses;
mod view;

pub use counts::Counts;
pub use usage::{Dimension, NoDimension, UsageError, UsageQuery, UsageReport, UsageRow};
pub use uses::Uses;
pub use view::{BodyView, ExecutionList, ExecutionSummary, ExecutionView, Named, Part, ResponseView, StepView, TriggerView, Unreadable};

use crate::error::StoreError;
use crate::index::{EntryRef, ExecutionIndex, ExecutionRow, Filter, IndexError, unpack};
use crate::keyring::{Keyring, Owner};
use crate::seal::{DataKey, RecordKind};
use bytes::Bytes;
use perseat_domain::entry::{Ended, Entry, LogLine, StepRecord, StepsDone, SyncResponse, TriggerRequest};
use perseat_domain::id::{CustomerId, ExecutionId, InstanceId, RegistrationId, UserId};
use perseat_domain::identity::Identity;
use perseat_domain::model::Sealed;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

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
    /// How many bytes of a body are shown.
    pub body_bytes: usize,
    /// How many executions a page lists at most.
    pub page: usize,
    /// How many rows a usage report has at most.
    pub usage_rows: usize,
}

impl Default for ViewLimits {
    fn default() -> Self {
        Self {
            body_bytes: 64 << 10,
            page: 1_000,
            usage_rows: 50_000,
        }
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

    /// One execution with everything that can be read of it; `None` if there is none of this id. Blocks on the disk.
    ///
    /// # Errors
    /// If an index cannot be read.
    pub fn show(&self, execution: ExecutionId) -> Result<Option<ExecutionView>, IndexError> {
        let Some(row) = self.index.get(execution)? else { return Ok(None) };
        let key = self.key_of(row.identity.as_ref());
        let references = row.entries.clone();
        let mut view = Composer {
            execution,
            key,
            body_bytes: self.limits.body_bytes,
            secrets: Vec::new(),
            request: None,
            ended: None,
            view: ExecutionView {
                summary: self.summary(execution, row),
                trigger: Part::Unreadable {
                    unreadable: Unreadable::Expired,
                },
                steps: Vec::new(),
                branches: Vec::new(),
                message: None,
                logs: Vec::new(),
                response: None,
                cost: None,
                missing: Vec::new(),
            },
        };
        for reference in references {
            self.take_in(&mut view, reference);
        }
        Ok(Some(view.finish()))
    }

    fn take_in(&self, view: &mut Composer, reference: EntryRef) {
        let payloads = self
            .entries
            .payload(reference.position)
            .and_then(|payload| unpack(payload).map_err(|_| Unreadable::Damaged));
        match payloads {
            Ok(payloads) => payloads.iter().for_each(|payload| view.take_in(payload)),
            Err(reason) => view.view.missing.push(reason),
        }
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

/// Builds a view from entries in their order.
struct Composer {
    execution: ExecutionId,
    key: Result<Arc<DataKey>, Unreadable>,
    body_bytes: usize,
    /// What was blanked in step outputs; blanked in the request, the message and the response too.
    secrets: Vec<Zeroizing<Vec<u8>>>,
    request: Option<Sealed>,
    ended: Option<Ended>,
    view: ExecutionView,
}

impl Composer {
    fn take_in(&mut self, payload: &[u8]) {
        match Entry::decode(payload) {
            Ok(Entry::Accepted(accepted)) => self.request = Some(accepted.request),
            Ok(Entry::StepsDone(done)) => self.steps(done),
            Ok(Entry::Ended(ended)) => self.ended = Some(ended),
            Ok(Entry::Started(_) | Entry::Parked(_) | Entry::Called(_) | Entry::Cancelled(_) | Entry::Carried(_)) => {}
            Err(_) => self.view.missing.push(Unreadable::Damaged),
        }
    }

    fn steps(&mut self, done: StepsDone) {
        for step in done.steps {
            let output = self.output(&step);
            self.view.steps.push(StepView {
                name: step.name,
                path: step.path,
                attempt: done.attempt,
                status: step.status,
                started_at: step.started_at,
                ended_at: step.ended_at,
                output,
                credentials: step.credentials,
                tries: step.tries,
            });
        }
        self.view.branches.extend(done.branches);
        if let Some(logs) = &done.logs {
            let lines = self
                .open(RecordKind::Logs, &[], logs)
                .and_then(|plain| decoded::<Vec<LogLine>>(&plain));
            self.view.logs.push(part(lines));
        }
    }

    fn output(&mut self, step: &StepRecord) -> Part<serde_json::Value> {
        let opened = self.open(RecordKind::StepOutput, step.path.as_bytes(), &step.output);
        if let Ok(plain) = &opened {
            self.secrets.extend(mask::secrets(plain, &step.masks));
        }
        part(opened.map(|plain| mask::json(&plain, &step.masks)))
    }

    fn finish(mut self) -> ExecutionView {
        if let Some(request) = self.request.take() {
            let opened = self.open(RecordKind::Request, &[], &request);
            self.view.trigger = part(opened.and_then(|plain| decoded(&plain)).map(|request| self.trigger(request)));
        } else if let Some(reason) = self.view.missing.first() {
            self.view.trigger = Part::Unreadable { unreadable: *reason };
        }
        if let Some(ended) = self.ended.take() {
            self.view.cost = Some(ended.cost);
            self.view.message = ended
                .message
                .map(|sealed| part(self.open(RecordKind::Message, &[], &sealed).map(|plain| self.text(&plain))));
            self.view.response = ended.response.map(|sealed| {
                let opened = self.open(RecordKind::Response, &[], &sealed);
                part(opened.and_then(|plain| decoded(&plain)).map(|response| self.response(response)))
            });
        }
        self.view
    }

    fn trigger(&self, request: TriggerRequest) -> TriggerView {
        let url = request
            .invoke_url
            .split_once('?')
            .map_or(request.invoke_url.as_str(), |(url, _)| url);
        TriggerView {
            url: url.to_owned(),
            query: mask::query(&request.query),
            headers: blank_headers(request.headers),
            body: self.body(&request.body),
            method: request.method,
            path_fragment: request.path_fragment,
        }
    }

    fn response(&self, response: SyncResponse) -> ResponseView {
        ResponseView {
            status: response.status,
            content_type: response.content_type,
            headers: blank_headers(response.headers),
            body: self.body(&response.body),
        }
    }

    fn body(&self, body: &[u8]) -> BodyView {
        // A secret that the cut would divide has to be found whole.
        let blanked = mask::texts(body, &self.secrets);
        let shown = blanked.get(..self.body_bytes).unwrap_or(&blanked);
        let text = match std::str::from_utf8(shown) {
            Ok(text) => Some(text.to_owned()),
            Err(error) if error.error_len().is_none() => Some(String::from_utf8_lossy(&shown[..error.valid_up_to()]).into_owned()),
            Err(_) => None,
        };
        BodyView {
            bytes: body.len(),
            text,
            is_cut: shown.len() < blanked.len(),
        }
    }

    fn text(&self, plain: &[u8]) -> String {
        String::from_utf8_lossy(&mask::texts(plain, &self.secrets)).into_owned()
    }

    /// Opens a record whose id is the execution's, followed by `rest`.
    fn open(&self, kind: RecordKind, rest: &[u8], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
        let id = [self.execution.0.as_bytes().as_slice(), rest].concat();
        let key = self.key.as_ref().map_err(|reason| *reason)?;
        key.unseal(kind, &id, sealed).map_err(|_| Unreadable::Damaged)
    }
}

fn blank_headers(headers: Vec<(String, String)>) -> Vec<(String, String)> {
    let blank = |(name, value): (String, String)| {
        if mask::names_credential(&name) {
            (name, mask::BLANK.to_owned())
        } else {
            (name, value)
        }
    };
    headers.into_iter().map(blank).collect()
}

fn decoded<T: DeserializeOwned>(plain: &[u8]) -> Result<T, Unreadable> {
    postcard::from_bytes(plain).map_err(|_| Unreadable::Damaged)
}

fn part<T>(result: Result<T, Unreadable>) -> Part<T> {
    match result {
        Ok(value) => Part::Readable(value),
        Err(unreadable) => Part::Unreadable { unreadable },
    }
}
