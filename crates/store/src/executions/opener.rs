//! Opens what an execution's entries seal, and keeps the secrets of its results to blank them elsewhere.

use super::mask;
use super::secrets::Secrets;
use super::view::{Part, Unreadable};
use crate::seal::{DataKey, RecordKind};
use perseat_domain::entry::StepRecord;
use perseat_domain::id::ExecutionId;
use perseat_domain::model::Sealed;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use zeroize::Zeroizing;

/// See the module.
pub(super) struct Opener {
    execution: ExecutionId,
    key: Result<Arc<DataKey>, Unreadable>,
    pub(super) secrets: Secrets,
}

impl Opener {
    pub(super) fn new(execution: ExecutionId, key: Result<Arc<DataKey>, Unreadable>) -> Self {
        Self {
            execution,
            key,
            secrets: Secrets::default(),
        }
    }

    /// Opens a record whose id is the execution's, followed by `rest`.
    pub(super) fn open(&self, kind: RecordKind, rest: &[u8], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
        let id = [self.execution.0.as_bytes().as_slice(), rest].concat();
        let key = self.key.as_ref().map_err(|reason| *reason)?;
        key.unseal(kind, &id, sealed).map_err(|_| Unreadable::Damaged)
    }

    /// How long that is which a step gave; 0 where it does not open.
    pub(super) fn output_length(&self, step: &StepRecord) -> usize {
        let id = [self.execution.0.as_bytes().as_slice(), step.path.as_bytes()].concat();
        let length = self
            .key
            .as_ref()
            .ok()
            .and_then(|key| key.length(RecordKind::StepOutput, &id, &step.output).ok());
        length.unwrap_or(0)
    }

    /// What a step gave, with its secrets in it.
    pub(super) fn output(&self, step: &StepRecord) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
        self.open(RecordKind::StepOutput, step.path.as_bytes(), &step.output)
    }

    /// Keeps the secrets of a result, which is opened only if it has any.
    pub(super) fn learn(&mut self, step: &StepRecord) {
        if !step.masks.is_empty() {
            self.keep(&self.output(step), step);
        }
    }

    /// Keeps the secrets of a result that was opened.
    pub(super) fn keep(&mut self, opened: &Result<Zeroizing<Vec<u8>>, Unreadable>, step: &StepRecord) {
        match opened {
            Ok(plain) => mask::secrets(plain, &step.masks).for_each(|secret| self.secrets.add(secret)),
            Err(reason) if !step.masks.is_empty() => self.secrets.lacks(*reason),
            Err(_) => {}
        }
    }

    /// A message without the secrets of the results; those known when it was written were blanked then.
    pub(super) fn message(&self, sealed: &Sealed) -> Result<String, Unreadable> {
        let plain = self.open(RecordKind::Message, &[], sealed)?;
        let (shown, _) = self.secrets.finder()?.shown(&plain, usize::MAX);
        Ok(String::from_utf8_lossy(&shown).into_owned())
    }
}

pub(super) fn decoded<T: DeserializeOwned>(plain: &[u8]) -> Result<T, Unreadable> {
    postcard::from_bytes(plain).map_err(|_| Unreadable::Damaged)
}

pub(super) fn part<T>(result: Result<T, Unreadable>) -> Part<T> {
    match result {
        Ok(value) => Part::Readable(value),
        Err(unreadable) => Part::Unreadable { unreadable },
    }
}
