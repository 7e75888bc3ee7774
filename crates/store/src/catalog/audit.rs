//! The audit: one entry per mutation, each holding the digest of the one before; and the events of the outbox.
//!
//! Entries hold digests of stored forms, in which secrets are sealed: the chain verifies after their keys are gone.

use super::{RecordKey, Touched};
use crate::error::StoreError;
use aws_lc_rs::digest::{Context, SHA256, digest};
use perseat_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    /// It is new.
    Created,
    /// It replaced an older form.
    Changed,
    /// It is gone.
    Deleted,
}

/// One changed record: which, how, and the SHA-256 digest of its new stored form (zero if gone).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordDigest {
    /// Which record.
    pub key: RecordKey,
    /// How it changed.
    pub kind: ChangeKind,
    /// Of the new stored form.
    pub digest: [u8; 32],
}

/// One mutation, as audited. Holds digests, never values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The revision that the mutation made.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What they did.
    pub action: String,
    /// How many records changed.
    pub count: u64,
    /// The changed records, as many as one entry names.
    pub changes: Vec<RecordDigest>,
    /// SHA-256 over all changed records in order, named or not.
    pub changes_digest: [u8; 32],
    /// SHA-256 of the stored form of the entry before; zero in the first.
    pub previous: [u8; 32],
}

/// One mutation, as told to others. Kept for a time; see [`super::Options::outbox_entries`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The revision that the mutation made.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What they did.
    pub action: String,
    /// To which records.
    pub touched: Touched,
}

const FORMAT: u8 = 1;

/// The stored form of an audit entry or event.
pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(value, vec![FORMAT]).map_err(|error| StoreError::corrupt(format!("audit entry to be stored: {error}")))
}

/// Reads the stored form.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &'static str) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(|_| StoreError::corrupt(what)),
        Some((&found, _)) => Err(StoreError::UnknownFormat {
            what,
            found: found.into(),
            known: FORMAT.into(),
        }),
        None => Err(StoreError::corrupt(what)),
    }
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    taken(&digest(&SHA256, bytes))
}

fn taken(digest: &aws_lc_rs::digest::Digest) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

/// The changes of one mutation so far, in bounded memory.
pub(super) struct Ledger {
    limit: usize,
    count: u64,
    named: Vec<RecordDigest>,
    all: Context,
}

impl Ledger {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            count: 0,
            named: Vec::new(),
            all: Context::new(&SHA256),
        }
    }

    /// Notes a change; `stored` is the new stored form, empty if the record is gone.
    pub(super) fn note(&mut self, key: RecordKey, kind: ChangeKind, stored: &[u8]) {
        let digest = if stored.is_empty() { [0; 32] } else { sha256(stored) };
        let (table, id, _) = key.parts();
        self.all.update(&[table as u8, kind as u8]);
        self.all.update(&id);
        self.all.update(&digest);
        self.count += 1;
        if self.named.len() < self.limit {
            self.named.push(RecordDigest { key, kind, digest });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn touched(&self) -> Touched {
        if self.count > self.named.len() as u64 {
            return Touched::Everything;
        }
        Touched::Records(self.named.iter().map(|change| change.key).collect())
    }

    /// The entry that says it all.
    pub(super) fn entry(self, revision: u64, change: super::Change<'_>, previous: [u8; 32]) -> AuditEntry {
        AuditEntry {
            revision,
            at: change.at,
            by: change.by.to_owned(),
            action: change.action.to_owned(),
            count: self.count,
            changes: self.named,
            changes_digest: taken(&self.all.finish()),
            previous,
        }
    }
}
